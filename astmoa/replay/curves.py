"""Recorded learning curves: every candidate of a space, trained to its end, for replaying other ways to search.

The file is JSON, compressed: what was recorded (`about`), the complete configuration that every trial varies, the
space, and per candidate its parameters and the curves of its seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from astmoa.config import CompleteTrial, TrialConfig
from astmoa.errors import ConfigError, RunError
from astmoa.methods.shape import BackboneShape
from astmoa.records.event_check import first_problem
from astmoa.records.events import Amount, Config, Count, Id, Label, Leaf, Number, Params, Score
from astmoa.search.searcher import proposal_of
from astmoa.search.space import Candidate, Space

FORMAT = 1
_LARGEST, _MOST_CANDIDATES = 1 << 27, 100_000
PER_EPOCH = ("val_accuracy", "seconds", "val_seconds", "step_seconds")


_strict = with_config(ConfigDict(extra="forbid", strict=True))


@_strict
class _Curve(TypedDict):
    label: Label
    params: Params
    val_accuracy: list[Score]
    seconds: list[Amount]
    val_seconds: list[Amount]
    step_seconds: list[Annotated[float, Field(gt=0, le=1e9)]]
    test_accuracy: Score


@_strict
class _Recorded(TypedDict):
    """The file."""

    format: int
    about: dict[Label, Any]
    template: Config
    shape: dict[Label, bool | Number]
    space: list[dict[Label, Leaf]]
    num_val_clips: dict[Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}$")], Number]
    seeds: Annotated[list[Count], Field(min_length=1)]
    trials: dict[Id, _Curve]


@dataclass(frozen=True)
class Curve:
    """One trial's. Lists have one value per epoch."""

    label: str
    params: Mapping[str, int]
    val_accuracy: Sequence[float]
    seconds: Sequence[float]
    val_seconds: Sequence[float]
    step_seconds: Sequence[float]
    test_accuracy: float

    def record(self, epoch: int) -> dict[str, Any]:
        """As a trial reports it; `epoch` counts from 1."""
        return {"epoch": epoch, **{key: getattr(self, key)[epoch - 1] for key in PER_EPOCH}}

    def end(self) -> dict[str, Any]:
        best = max(self.val_accuracy)
        epoch = 1 + list(self.val_accuracy).index(best)
        accuracies = {"val_accuracy": best, "test_accuracy": self.test_accuracy}
        return {"state": "completed", "best_epoch": epoch, **accuracies, "error": None}


@dataclass(frozen=True, eq=False)
class Curves:
    """template: the configuration that every trial varies. trials: by (trial id of the seed's configuration)."""

    about: Mapping[str, Any]
    template: TrialConfig
    shape: BackboneShape
    space: Space
    num_val_clips: Mapping[int, int]
    seeds: tuple[int, ...]
    trials: Mapping[str, Curve]

    @property
    def max_epochs(self) -> int:
        epochs = self.template.optim.epochs
        assert epochs is not None  # it is complete
        return epochs

    @functools.cached_property
    def candidates(self) -> list[Candidate]:
        """Every one that was recorded."""
        return self.space.candidates(self.shape)

    def config(self, candidate: Mapping[str, Any], seed: int) -> CompleteTrial:
        template = dataclasses.replace(self.template, seed=seed)
        return proposal_of(candidate, self.space, self.shape, template).config

    @functools.lru_cache(maxsize=1)  # noqa: B019 (a table lives as long as its program)
    def scores(self) -> list[tuple[int, float]]:
        """(params, final validation accuracy averaged over the seeds) of every candidate: what a search looks for."""
        found = []
        for candidate in self.candidates:
            curves = [self.trials[self.config(candidate, seed).hash()] for seed in self.seeds]
            accuracy = statistics.fmean(max(curve.val_accuracy) for curve in curves)
            found.append((curves[0].params["num_trainable_params"], accuracy))
        return found

    def save(self, path: Path) -> None:
        values = {
            "format": FORMAT,
            "about": self.about,
            "template": self.template.to_dict(),
            "shape": dataclasses.asdict(self.shape),
            "space": self.space.to_json(),
            "num_val_clips": {str(fold): number for fold, number in self.num_val_clips.items()},
            "seeds": self.seeds,
            "trials": {key: _rounded(dataclasses.asdict(curve)) for key, curve in self.trials.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        # No time in the header: the same curves are the same bytes.
        path.write_bytes(gzip.compress(json.dumps(values, separators=(",", ":")).encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> Curves:
        """Raises RunError for what `save` did not write, or a newer version did."""
        try:
            values = _unpacked(Path(path))
            curves = cls(
                about=values["about"],
                template=TrialConfig.from_dict(values["template"]),
                shape=BackboneShape(**values["shape"]),
                space=Space.from_json(values["space"]),
                num_val_clips={int(fold): number for fold, number in values["num_val_clips"].items()},
                seeds=tuple(values["seeds"]),
                trials={key: Curve(**curve) for key, curve in values["trials"].items()},
            )
            curves._check_whole()
            return curves
        except FileNotFoundError:
            raise RunError(f"{path} does not exist: give a file that benchmarks/record_grid.py wrote") from None
        except ValidationError as error:
            why = first_problem(error)
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
            why = " ".join(str(error).split())[:300] or type(error).__name__
        raise RunError(f"{path}: no recorded curves ({why}): give a file that record_grid.py wrote")

    def _check_whole(self) -> None:
        """Every candidate was recorded, with every seed, to its end. Raises ValueError."""
        if self.space.num_combinations > _MOST_CANDIDATES:
            raise ValueError(f"a space of {self.space.num_combinations:,} candidates is none that was recorded")
        if self.template.data.fold not in self.num_val_clips:
            raise ValueError(f"it does not say how many clips validate fold {self.template.data.fold}")
        if not self.trials.keys() >= {self.config(c, seed).hash() for c in self.candidates for seed in self.seeds}:
            raise ValueError("a candidate of its space was not recorded")
        for curve in self.trials.values():
            if any(len(getattr(curve, key)) != self.max_epochs for key in PER_EPOCH):
                raise ValueError(f"{curve.label}: a curve is shorter or longer than {self.max_epochs} epochs")


def _unpacked(path: Path) -> dict[str, Any]:
    with gzip.open(path) as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"unpacked it has more than {_LARGEST >> 20} MiB")
    values = json.loads(text)
    written = values.get("format") if isinstance(values, dict) else None
    if type(written) is int and written > FORMAT:
        raise RunError(f"{path}: recorded by a newer astmoa (format {written}): upgrade")
    TypeAdapter(_Recorded).validate_python(values)
    return values


def _rounded(curve: dict[str, Any]) -> dict[str, Any]:
    """Seconds to a hundredth of a per cent or so: noise does not compress."""
    digits = {"val_accuracy": 6, "seconds": 3, "val_seconds": 3, "step_seconds": 4}
    return {k: [round(value, digits[k]) for value in v] if k in digits else v for k, v in curve.items()}
