"""Which sounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

import astmoa.audio.layouts  # noqa: F401  (registers them)
from astmoa.audio.layout import LAYOUTS, Layout
from astmoa.config.checks import MOST, positive
from astmoa.config.later import later
from astmoa.errors import require

DATA_NAMES = LAYOUTS.names()
if TYPE_CHECKING:
    DataName = str
else:
    DataName = Literal[DATA_NAMES] | str
"""Of a layout that is registered."""
ABOUT_DATA = "\n".join(f"{name}: {LAYOUTS.find(name).about}." for name in DATA_NAMES)


@dataclass(frozen=True)
class DataConfig:
    """Which sounds, and which part of them is held out."""

    name: Annotated[DataName, tyro.conf.arg(help=ABOUT_DATA)] = "builtin"
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

    code: Annotated[str | None, tyro.conf.Suppress] = later(None)
    """Hash of the source of a layout from outside, filled in: another source is another trial."""

    def __post_init__(self) -> None:
        choices: tuple[int, ...] = ()
        if self.code is None or LAYOUTS.known(self.name):  # a model of somebody's data predicts without their layout
            object.__setattr__(self, "code", self.layout.code)
            choices = self.layout.label_choices
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

    @property
    def layout(self) -> Layout:
        """The layout of this name. Raises ConfigError where there is none."""
        return LAYOUTS.find(self.name, self.code)
