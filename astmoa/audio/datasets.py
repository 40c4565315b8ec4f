"""Which clips there are, what they are called, and on which side of a split they lie.

Many layouts, one shape: `open_data` is the only door. The layouts themselves are in layout_sound, layout_speech,
layout_music and layout_own; the built-in set is in synthetic.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from astmoa.audio import layout_music, layout_own, layout_sound, layout_speech, synthetic
from astmoa.audio.decode import load_clip, num_samples
from astmoa.audio.lists import Listing, longest
from astmoa.audio.splits import Clip, Splits, divide, fold_numbers
from astmoa.config import DataConfig
from astmoa.errors import ClipError, DataError

__all__ = ["Clip", "DataSet", "Splits", "open_data"]

_LAYOUTS: dict[str, Callable[[Path, DataConfig], Listing]] = {
    "esc50": layout_sound.esc50,
    "urbansound8k": layout_sound.urbansound8k,
    "speech_commands_v1": layout_speech.speech_commands,
    "speech_commands_v2": layout_speech.speech_commands,
    "fluent_speech_commands": layout_speech.fluent_speech_commands,
    "gtzan": layout_music.gtzan,
    "gtzan_folds": layout_music.gtzan_folds,
    "openmic": layout_music.openmic,
    "folder": layout_own.folder,
    "csv": layout_own.manifest,
}


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
    """False where the validation side is our rule and no part of the data's protocol."""
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


def open_data(config: DataConfig, check_fold: bool = True) -> DataSet:
    """The data set that a configuration names. Reads lists and headers, decodes nothing.

    Raises DataError for lists that are wrong, and where the configured fold cannot be split, unless `check_fold` is
    False.
    """
    if config.name == "builtin":
        clips = tuple(Clip(**item) for item in synthetic.plan())
        seconds = config.seconds or synthetic.SECONDS
        load = partial(_render, num_samples(seconds))
        metric = _metric(config, multi_label=False)
        data = DataSet("builtin", synthetic.LABELS, clips, seconds, load, synthetic.VERSION, metric=metric)
    else:
        if config.root is None:
            raise DataError(f"data.root is not set: give the folder of the {config.name} data (--data-root)")
        listing = _LAYOUTS[config.name](Path(config.root), config)
        seconds = config.seconds or listing.seconds or longest(Path(config.root), listing.clips)
        data = DataSet(
            name=listing.name,
            labels=listing.labels,
            clips=listing.clips,
            seconds=seconds,
            load=partial(_load, listing.clips, seconds),
            targets=listing.targets,
            metric=_metric(config, multi_label=listing.targets is not None),
            own_validation=listing.own_validation,
            warnings=listing.warnings,
        )
    if check_fold:
        data.splits(config.fold)  # a set that cannot be split should say so before hours of decoding
    return data


def _metric(config: DataConfig, multi_label: bool) -> str:
    fits = "mAP" if multi_label else "accuracy"
    if config.metric not in ("auto", fits):
        labels = "several labels" if multi_label else "one label"
        raise DataError(
            f"data.metric={config.metric} does not fit {config.name} ({labels} per clip): use {fits} or auto"
        )
    return fits


def _render(samples: int, index: int) -> torch.Tensor:
    return torch.from_numpy(synthetic.render(index)[:samples])


def _load(clips: Sequence[Clip], seconds: float, index: int) -> torch.Tensor:
    clip = clips[index]
    if clip.span is None:
        return load_clip(clip.path, seconds)
    modified = os.stat(clip.path).st_mtime_ns if os.path.isfile(clip.path) else 0
    start, end = (num_samples(edge) for edge in clip.span)
    wave = _recording(clip.path, modified)[start:end][: num_samples(seconds)]
    if not wave.any():
        raise ClipError(clip.path, f"no sound from {clip.span[0]:g} s to {clip.span[1]:g} s: restore the recording")
    return wave.clone()


@lru_cache(maxsize=8)
def _recording(path: Path, modified: int) -> torch.Tensor:
    """A recording that many clips are cut from, decoded once; `modified` is part of the key."""
    return load_clip(path)
