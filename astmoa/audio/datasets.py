"""Which clips there are, what they are called, and on which side of a split they lie: many layouts, one shape."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

import astmoa.audio.layouts  # noqa: F401 (registers them)
from astmoa.audio.layout import LAYOUTS, Choice, read_own
from astmoa.audio.lists import longest
from astmoa.audio.splits import Clip, Splits, divide, fold_numbers
from astmoa.errors import DataError


@dataclass(frozen=True, eq=False)
class DataSet:
    """A named, ordered list of clips. `load(i)` gives clip i as [samples] float32, mono, 16 kHz, at most `seconds`
    long."""

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    seconds: float
    load: Callable[[int], torch.Tensor] = field(repr=False)
    version: str = ""
    """What the clips are made from, where they are no files: it takes part in the feature store's key."""
    targets: np.ndarray | None = field(default=None, repr=False)
    """[clips, classes] float32 where clips have several labels: 1 there, 0 not there, NaN not labelled."""
    metric: str = "accuracy"
    """What selects and reports: "accuracy", or "mAP" (mean average precision) where clips have several labels."""
    own_validation: bool = True
    """Whether the validation side is part of the data's protocol; otherwise it is our rule."""
    warnings: tuple[str, ...] = ()
    """What may be meant otherwise than it is written, such as classes that differ only in case; one line each."""

    @property
    def folds(self) -> tuple[int, ...]:
        """Fold numbers, ascending; empty where the data name their splits."""
        return fold_numbers(self.clips)

    @property
    def multi_label(self) -> bool:
        return self.targets is not None

    def splits(self, fold: int = 1, leave_out: Collection[int] = ()) -> Splits:
        """Fold `fold` tests, the next one (cyclic) validates, the others train; named splits are taken as they are.

        Without a validation split a tenth of train is held out, chosen by the clips' names: the same for every seed,
        machine and `leave_out`. Clips in `leave_out` are dropped. Raises DataError for a fold that does not exist, an
        empty split and a class that is missing from train (with several labels: no train clip has it).
        """
        return divide(self.name, self.labels, self.clips, fold, leave_out, self.targets, self.own_validation)

    def sides(self) -> list[str | None]:
        """Where each clip is: its fold ("fold 3"), or its split with what is held out; None for one that is unused."""
        if self.folds:
            return [f"fold {clip.fold}" for clip in self.clips]
        splits = self.splits()
        sides: list[str | None] = [None] * len(self.clips)
        for side in ("train", "val", "test"):
            for index in getattr(splits, side):
                sides[index] = side
        return sides


def open_data(choice: Choice, check_fold: bool = True) -> DataSet:
    """The data set that a configuration names. Reads lists and headers, decodes nothing.

    Raises DataError for lists that are wrong, and where the configured fold cannot be split, unless `check_fold` is
    False; ConfigError for a layout that there is not.
    """
    layout = LAYOUTS.find(choice.name, getattr(choice, "code", None))
    if layout.needs_root and choice.root is None:
        raise DataError(f"data.root is not set: give the folder of the {choice.name} data (--data-root)")
    root = Path(choice.root or ".")
    listing = layout.read(root, choice) if layout.code is None else read_own(layout, root, choice)
    seconds = choice.seconds or listing.seconds or longest(root, listing.clips)
    data = DataSet(
        name=listing.name,
        labels=listing.labels,
        clips=listing.clips,
        seconds=seconds,
        load=partial(layout.load, listing.clips, seconds),
        version=layout.version,
        targets=listing.targets,
        metric=_metric(choice, multi_label=listing.targets is not None),
        own_validation=listing.own_validation,
        warnings=listing.warnings,
    )
    if check_fold:
        data.splits(choice.fold)  # a set that cannot be split should say so before hours of decoding
    return data


def _metric(choice: Choice, multi_label: bool) -> str:
    fits = "mAP" if multi_label else "accuracy"
    if choice.metric not in ("auto", fits):
        labels = "several labels" if multi_label else "one label"
        raise DataError(
            f"data.metric={choice.metric} does not fit {choice.name} ({labels} per clip): use {fits} or auto"
        )
    return fits
