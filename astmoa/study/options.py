"""What all studies can be told, and the paper's setting that their figures are compared with."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from astmoa.config import ABOUT_DATA, BackboneConfig, DataConfig, DataName, OptimConfig, TrialConfig, complete
from astmoa.config.proposals import MOST_SEEDS
from astmoa.errors import RunError
from astmoa.records.storage import VARIABLE, is_address, join

# Where and how arXiv 2402.00828 measured: a study whose points carry its figures says how this run's setting differs.
SOFT_MOA_SETTING: dict[str, Any] = {
    "data": ["esc50", "urbansound8k", "speech_commands_v2", "fluent_speech_commands"],
    "backbone": "MIT/ast-finetuned-audioset-10-10-0.4593",
    "hidden_size": 768,
    "num_layers": 12,
    "epochs": {"esc50": 50, "urbansound8k": 30, "speech_commands_v2": 75, "fluent_speech_commands": 75},
    "folds": {"esc50": 5, "urbansound8k": 10},
    "seconds": {"esc50": 5.0, "urbansound8k": 4.0, "speech_commands_v2": 1.0, "fluent_speech_commands": 4.0},
    "classes": {"esc50": 50, "urbansound8k": 10, "speech_commands_v2": 35, "fluent_speech_commands": 31},
    "clips": {"esc50": 2000, "urbansound8k": 8732, "speech_commands_v2": 105829, "fluent_speech_commands": 30043},
    "validation": {"urbansound8k": "the test fold"},
}
_LARGEST = 10**12
_YOURS = "Or a layout of yours, as FILE.py:NAME (docs/extending.md). `astmoa data check NAME ROOT` says more of each."
_DATA_HELP = f"{ABOUT_DATA}\n{_YOURS}"
# Options that the setting above speaks of, or that change where a study runs, not what.
_NO_CHANGE = {
    "data",
    "data_root",
    "backbone",
    "out",
    "seeds",
    "folds",
    "cross_validate",
    "num_labels",
    "epochs",
    "seconds",
    "quick",
    "precision",
    "trials_at_once",
    "gpus_per_trial",
    "tracking_uri",
    "skip_bad_clips",
    "faithful",
    "only_paper",  # leaves points out
    "also",  # adds some
    "storage",
    "resume",
    "max_failures",
}


@dataclass(frozen=True)
class StudyOptions:
    """What all studies share."""

    recipes: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    """Epochs, batch and masks by data set, where a study has others than its methods' own."""
    least_quick_epochs: ClassVar[int] = 1
    """Fewest epochs that --quick leaves."""

    refused: ClassVar[dict[str, str]] = {}
    """Options of other studies that this one does not show, and what to do instead."""

    data: Annotated[DataName, tyro.conf.arg(help=_DATA_HELP)] = "builtin"
    data_root: str | None = None
    """Folder of the data set; for csv also the manifest itself."""
    backbone: str = "builtin"
    """builtin: small, shipped with the package.
    Otherwise a Hugging Face id, such as MIT/ast-finetuned-audioset-10-10-0.4593, or a save_pretrained folder."""
    out: Path | None = None
    """Run folder: journal, checkpoints, table, picture, best bundle.
    Default: runs/STUDY-DATA-TIME.
    The same folder again goes on where it was interrupted, and runs nothing twice."""
    storage: str | None = None
    """Where run folders are kept when trials run on several machines: a folder that all of them share (NFS), or an
    address such as s3://bucket/astmoa. With a folder, --out is a name in it. Default: $ASTMOA_STORAGE, else runs."""
    resume: Path | None = None
    """Go on with this run folder, with the options that it was started with; those given besides may raise a bound.
    Also the address of a run that was kept there, such as s3://bucket/astmoa/RUN: it is brought here first."""
    also: tuple[str, ...] = ()
    """Methods of your own to compare with the study's, such as my_adapters.py:Scaled,bottleneck_dim=8 (see
    docs/extending.md). Dials that are not given are at their defaults; a search tries their choices."""
    seeds: int = 2
    """Replicates of every configuration, with seeds 0, 1, ..."""
    folds: tuple[int, ...] = (1,)
    """Test folds of a cross-validated set (the next fold validates); each is one more replicate."""
    cross_validate: bool = False
    """Every fold of the data set tests once, whatever --folds says."""
    num_labels: int | None = None
    """Speech Commands: 12 or 10 labels instead of all words."""
    epochs: int | None = None
    """Default: the data set's recipe (builtin 6, esc50 50, urbansound8k 30, csv 20, ...)."""
    batch_size: int | None = None
    """Default: the data set's recipe."""
    lr: float | None = None
    """Peak learning rate. Default: the method's (adapters and mixtures 5e-3, prompts 1e-2, full 5e-5, linear 1e-3)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on a GPU that has it, fp32 elsewhere.
    bf16 also runs on CPUs, faster where they have instructions for it."""
    seconds: float | None = None
    """Clip length: longer clips are cut, shorter ones padded.
    Default: the layout's own (ESC-50 5 s, UrbanSound8K and Fluent Speech Commands 4 s, Speech Commands 1 s, GTZAN 30 s,
    OpenMIC 10 s); csv and folder: the longest clip, 10 s at most."""
    quick: bool = False
    """A look in minutes: one seed and a fifth of the epochs. Not a result."""
    trials_at_once: int | None = None
    """Trials that run side by side. Default: one per CPU core, or as many as fit the GPUs."""
    gpus_per_trial: float | None = None
    """Share of a GPU that one trial holds. Default: 0.25 where there is a GPU, else 0."""
    tracking_uri: str | None = None
    """MLflow tracking server, such as http://HOST:5000.
    Default: $MLFLOW_TRACKING_URI, else an SQLite file mlflow.db beside the run folder."""
    max_failures: int = 10
    """End the sweep after this many failed trials in a row."""
    skip_bad_clips: bool = False
    """Leave unreadable clips out, and count them in the report, instead of stopping."""
    faithful: tuple[str, ...] = ()
    """Do as the authors' published code where it departs from the paper, by the names in docs/faithful.md, or all."""

    def __post_init__(self) -> None:
        for name in ("out", "resume"):  # from Python also a text
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))
        for name in ("folds", "also", "faithful"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, value in vars(self).items():
            _check_number(f"--{name.replace('_', '-')}", value)
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise RunError(f"--seeds {self.seeds} is not possible: give at least 1, and at most {MOST_SEEDS:,}")
        if self.trials_at_once is not None and self.trials_at_once < 1:
            raise RunError(f"--trials-at-once {self.trials_at_once} is not possible: give at least 1")
        if self.max_failures < 1:
            raise RunError(f"--max-failures {self.max_failures} is not possible: give at least 1")
        check_gpus_per_trial(self.gpus_per_trial)
        if not self.folds or len(set(self.folds)) < len(self.folds):
            raise RunError(f"--folds {list(self.folds)} is not possible: name at least one test fold, and each once")

    def place(self, name: str) -> tuple[Path, str | None]:
        """The run folder, and the address where it is kept besides, if any. name: what it is called without --out."""
        storage = self.storage or os.environ.get(VARIABLE)
        given = self.out or self.resume  # from Python `resume` alone is enough
        if storage is None or is_address(storage):
            out = given or Path("runs") / name
            return out, join(storage, out.name) if storage else None
        if self.resume and given is not None:
            return given, None
        return Path(storage) / (self.out or name), None

    def template(self) -> TrialConfig:
        """The trial that every point of the study varies: everything but the method, complete."""
        own: Mapping[str, Any] = self.recipes.get(self.data, {})
        config = TrialConfig(
            data=DataConfig(
                self.data, self.data_root, self.folds[0], self.seconds, self.skip_bad_clips, self.num_labels
            ),
            backbone=BackboneConfig(self.backbone),
            optim=OptimConfig(**own, lr=self.lr, precision=self.precision),
            faithful=self.faithful,
        )
        told = {key: value for key in ("epochs", "batch_size") if (value := getattr(self, key)) is not None}
        config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, **told))
        if self.quick and self.epochs is None:
            recipe = complete(config).optim.epochs
            epochs = max(min(self.least_quick_epochs, recipe), recipe // 5)
            config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, epochs=epochs))
        return config

    def changed(self) -> list[str]:
        """Options that make this run another experiment than the study describes: "--lr 1"."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return [
            f"--{name.replace('_', '-')} {value}"
            for name, value in given.items()
            if name not in _NO_CHANGE and value != defaults[name]
        ]

    def seed_range(self) -> range:
        return range(1 if self.quick else self.seeds)


def _check_number(name: str, value: object) -> None:
    """Raises RunError for what no machine counts to, and for what is no number."""
    if type(value) is float and not math.isfinite(value):
        raise RunError(f"{name} {value} is not possible: give a finite number")
    if type(value) is int and abs(value) > _LARGEST:
        raise RunError(f"{name} {value} is not possible: give a number up to {_LARGEST:,}")


def check_gpus_per_trial(gpus: float | None) -> None:
    """Raises RunError where Ray would."""
    if gpus is not None and not (0 <= gpus <= 1 or (math.isfinite(gpus) and gpus == int(gpus) > 0)):
        raise RunError(f"--gpus-per-trial {gpus:g} is not possible: give a share from 0 to 1, or a whole number")
