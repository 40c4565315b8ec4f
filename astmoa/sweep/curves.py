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
from typing import Any

from astmoa.config import TrialConfig
from astmoa.errors import RunError
from astmoa.shape import BackboneShape
from astmoa.sweep.search import proposal_of
from astmoa.sweep.space import Candidate, Space

FORMAT = 1
PER_EPOCH = ("val_accuracy", "seconds", "val_seconds", "step_seconds")


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
        return self.template.optim.epochs

    @functools.cached_property
    def candidates(self) -> list[Candidate]:
        """Every one that was recorded."""
        return self.space.candidates(self.shape)

    def config(self, candidate: Mapping[str, Any], seed: int) -> TrialConfig:
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
            values = json.loads(gzip.decompress(Path(path).read_bytes()))
            if values["format"] > FORMAT:
                raise RunError(f"{path}: recorded by a newer astmoa (format {values['format']}): upgrade")
            return cls(
                about=values["about"],
                template=TrialConfig.from_dict(values["template"]),
                shape=BackboneShape(**values["shape"]),
                space=Space.from_json(values["space"]),
                num_val_clips={int(fold): number for fold, number in values["num_val_clips"].items()},
                seeds=tuple(values["seeds"]),
                trials={key: Curve(**curve) for key, curve in values["trials"].items()},
            )
        except FileNotFoundError:
            raise RunError(f"{path} does not exist: give a file that benchmarks/record_grid.py wrote") from None
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: no recorded curves ({error!r}): give a file that record_grid.py wrote") from None


def _rounded(curve: dict[str, Any]) -> dict[str, Any]:
    """Seconds to a hundredth of a per cent or so: noise does not compress."""
    digits = {"val_accuracy": 6, "seconds": 3, "val_seconds": 3, "step_seconds": 4}
    return {k: [round(value, digits[k]) for value in v] if k in digits else v for k, v in curve.items()}
