"""A look at a whole data set before hours of training: what is there, what is missing or broken, what leaks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import torch

from astmoa.audio.datasets import DataSet, open_data
from astmoa.audio.lists import missing_files
from astmoa.audio.progress import in_order
from astmoa.audio.sound import duration
from astmoa.audio.sources import SOURCES
from astmoa.audio.splits import leaks
from astmoa.config import DataConfig
from astmoa.errors import ClipError, DataError


@dataclass(frozen=True)
class Leak:
    """A group (one speaker, one source recording) that is on several sides, and how many clips it has there."""

    group: str
    sides: tuple[str, ...]
    clips: int


@dataclass(frozen=True)
class Report:
    """official: clips of the whole published set, None where there is none. hours: by the files' headers. labels: clips
    per class (with several labels: clips that have it). splits: clips per named split, or per fold. broken: clip ->
    why. groups: how many there are; without any, nothing is known about leaks. unmeasured: val or test -> classes that
    mAP passes over there, because no usable clip has them or none is known to lack them. decoded: False where only
    headers were read. problems: why splits cannot be made."""

    name: str
    clips: int
    official: int | None
    hours: float
    seconds: float
    metric: str
    labels: dict[str, int]
    splits: dict[str, int]
    held_out: bool
    missing: tuple[str, ...]
    broken: dict[str, str]
    groups: int
    leaks: tuple[Leak, ...]
    unmeasured: dict[str, tuple[str, ...]]
    problems: tuple[str, ...]
    decoded: bool

    @property
    def ok(self) -> bool:
        """Leaks do not count: known ones are part of official sets."""
        return not (self.missing or self.broken or self.problems)


def inspect(config: DataConfig, fast: bool = False, threads: int | None = None, progress: bool = True) -> Report:
    """Open the data set and look at every clip: decode it as a sweep would, or read its header alone (`fast`).

    Raises DataError where the lists are wrong; clips that are missing or broken are reported, not raised.
    """
    data = open_data(dataclasses.replace(config, skip_bad_clips=True), check_fold=False)
    sides, held_out = _sides(data)  # before hours of decoding: a set that cannot be split at all ends here
    absent = set(missing_files(data.clips))
    missing = [i for i, clip in enumerate(data.clips) if str(clip.path) in absent]
    there = [i for i, clip in enumerate(data.clips) if str(clip.path) not in absent]

    def look(number: int) -> tuple[float, str | None]:
        return _look(data, there[number], fast)

    rows = in_order(look, len(there), threads or torch.get_num_threads(), f"Checking {data.name}", progress)
    with contextlib.closing(rows):
        looks = dict(zip(there, rows, strict=True))
    broken = {index: reason for index, (_, reason) in looks.items() if reason is not None}
    where = leaks(data.clips, sides)
    sizes = Counter(clip.group for clip in data.clips if clip.group in where)
    return Report(
        name=data.name,
        clips=len(data.clips),
        # Ten and twelve labels are a choice of the clips.
        official=None if config.num_labels in (10, 12) else SOURCES[config.name].clips,
        hours=sum(seconds for seconds, _ in looks.values()) / 3600,
        seconds=data.seconds,
        metric=data.metric,
        labels=_labels(data),
        splits={side: sides.count(side) for side in dict.fromkeys(_ordered(sides))},
        held_out=held_out,
        missing=tuple(data.clips[index].name for index in missing),
        broken={data.clips[index].name: reason for index, reason in broken.items()},
        groups=len({clip.group for clip in data.clips} - {None}),
        leaks=tuple(Leak(group, tuple(_ordered(at)), sizes[group]) for group, at in where.items()),
        unmeasured=_unmeasured(data, sides, {*missing, *broken}),
        problems=tuple(_problems(data, [*missing, *broken])),
        decoded=not fast,
    )


def _look(data: DataSet, index: int, fast: bool) -> tuple[float, str | None]:
    """Seconds by the header, and why the clip is unusable (None: it is usable)."""
    clip = data.clips[index]
    seconds = data.seconds
    if clip.span is not None:
        seconds = clip.span[1] - clip.span[0]
    elif clip.path is not None:
        seconds = duration(clip.path) or 0.0
    if fast:
        return seconds, None if seconds > 0 else "the header is not readable, or it announces no samples"
    try:
        data.load(index)
    except ClipError as error:
        return seconds, error.reason
    return seconds, None


def _sides(data: DataSet) -> tuple[list[str | None], bool]:
    """Where each clip is: its fold, or its split with what is held out; and whether validation is our own rule."""
    if data.folds:
        first = data.splits(data.folds[0])
        return [f"fold {clip.fold}" for clip in data.clips], first.held_out
    splits = data.splits()
    sides: list[str | None] = [None] * len(data.clips)
    for side in ("train", "val", "test"):
        for index in getattr(splits, side):
            sides[index] = side
    return sides, splits.held_out


def _ordered(sides: Sequence[str | None]) -> list[str]:
    """Sides as people count them: train, val, test; fold 2 before fold 10."""
    place = {"train": 0, "val": 1, "test": 2}

    def key(side: str) -> int:
        return place[side] if side in place else int(side.removeprefix("fold "))

    return sorted((side for side in sides if side is not None), key=key)


def _labels(data: DataSet) -> dict[str, int]:
    if data.targets is not None:
        counts = np.nansum(data.targets, axis=0).astype(int).tolist()
    else:
        counts = np.bincount([clip.label for clip in data.clips], minlength=len(data.labels)).tolist()
    return dict(zip(data.labels, counts, strict=True))


def _unmeasured(data: DataSet, sides: Sequence[str | None], bad: Set[int]) -> dict[str, tuple[str, ...]]:
    if data.targets is None or data.folds:  # only sets with named splits have several labels
        return {}
    found = {}
    for side in ("val", "test"):
        targets = data.targets[[i for i, at in enumerate(sides) if at == side and i not in bad]]
        whole = (targets == 1).any(axis=0) & (targets == 0).any(axis=0)
        if not whole.all():
            found[side] = tuple(label for label, is_whole in zip(data.labels, whole, strict=True) if not is_whole)
    return found


def _problems(data: DataSet, bad: Sequence[int]) -> list[str]:
    """Why splits cannot be made without the missing and broken clips: each message once."""
    found: dict[str, None] = {}
    for fold in data.folds or (1,):
        try:
            data.splits(fold, leave_out=bad)
        except DataError as error:
            found[str(error)] = None
    return list(found)
