"""Which sounds."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from astmoa.config.checks import MOST, positive
from astmoa.errors import require

DataName = Literal[
    "builtin",
    "esc50",
    "urbansound8k",
    "speech_commands_v1",
    "speech_commands_v2",
    "fluent_speech_commands",
    "gtzan",
    "gtzan_folds",
    "openmic",
    "folder",
    "csv",
]
DATA_NAMES: tuple[str, ...] = typing.get_args(DataName)


@dataclass(frozen=True)
class DataConfig:
    """Which sounds, and which part of them is held out."""

    name: DataName = "builtin"
    """builtin: intents made here from a seed.
    folder: one folder per class. csv: a manifest.csv with the columns path,label and split (train, val, test) or fold;
    an optional column group (a speaker, a source) is kept on one side of every split.
    All others: the official layout; `astmoa data check NAME ROOT` says what it is and where to get it."""
    root: str | None = None
    """Folder of the data set (for csv also the manifest itself). Not needed for builtin."""
    fold: int = 1
    """Test fold of a cross-validated set; the next one validates, the others train.
    Ignored where the data name their splits."""
    seconds: float | None = None
    """Clip length: longer clips are cut, shorter ones padded.
    Default: the layout's own (ESC-50 5 s, UrbanSound8K and Fluent Speech Commands 4 s, Speech Commands 1 s, GTZAN 30 s,
    OpenMIC 10 s); csv and folder: the longest clip, 10 s at most."""
    skip_bad_clips: bool = False
    """Leave unreadable clips out, list and count them, instead of stopping at the first look."""
    num_labels: int | None = None
    """Speech Commands: 12 (ten commands, unknown, silence), 10 (the commands alone) or all words (35 in v2, 30 in v1).
    Default: all words."""
    metric: Literal["auto", "accuracy", "mAP"] = "auto"
    """What selects and reports. auto: mAP (mean average precision) for multi-label data, accuracy for all others."""

    def __post_init__(self) -> None:
        require(self.name in DATA_NAMES, "data.name", self.name, f"one of {', '.join(DATA_NAMES)}")
        choices = {"speech_commands_v1": (30, 12, 10), "speech_commands_v2": (35, 12, 10)}.get(self.name, ())
        require(
            self.num_labels is None or self.num_labels in choices,
            "data.num_labels",
            self.num_labels,
            f"{self.name} has {', '.join(map(str, choices)) or 'no choice of labels: leave it out'}",
        )
        require(self.metric in ("auto", "accuracy", "mAP"), "data.metric", self.metric, "auto, accuracy or mAP")
        require(type(self.fold) is int and self.fold >= 0, "data.fold", self.fold, "give a whole number of at least 0")
        require(self.fold <= MOST, "data.fold", self.fold, f"at most {MOST:,}")
        positive("data", self, "seconds")
        if self.seconds is not None:
            object.__setattr__(self, "seconds", float(self.seconds))
        longest = 600.0  # a picture of an hour is no input for this backbone, and gigabytes of padding for all others
        require(self.seconds is None or self.seconds <= longest, "data.seconds", self.seconds, f"at most {longest:g}")
