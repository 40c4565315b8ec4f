"""A look at a whole data set before hours of training: what is there, what is missing or broken, what leaks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from astmoa.audio.datasets import DataSet, open_data
from astmoa.audio.doubles import Doubles, find_doubles
from astmoa.audio.layout import LAYOUTS, Choice
from astmoa.audio.lists import missing_clips, nearby
from astmoa.audio.progress import in_order
from astmoa.audio.sound import measure
from astmoa.audio.splits import leaks
from astmoa.audio.store import content_digest
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
    per class (with several labels: clips that have it). splits: clips per named split, or per fold. near: missing clip
    -> the file that was probably meant. broken: clip -> why. groups: how many there are; without any, nothing is known
    about leaks. doubles, relabelled: the same bytes on two sides, or under two labels; not looked for where only
    headers were read (`decoded` False). warnings: what may be meant otherwise than it is written. unmeasured: val or
    test -> classes that mAP passes over there, because no usable clip has them or none is known to lack them.
    problems: why splits cannot be made."""

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
    near: dict[str, str]
    broken: dict[str, str]
    groups: int
    leaks: tuple[Leak, ...]
    doubles: Doubles | None
    relabelled: Doubles | None
    warnings: tuple[str, ...]
    unmeasured: dict[str, tuple[str, ...]]
    problems: tuple[str, ...]
    decoded: bool

    @property
    def ok(self) -> bool:
        """Leaks do not count: known ones are part of official sets."""
        return not (self.missing or self.broken or self.problems)


def inspect(config: Choice, fast: bool = False, threads: int | None = None, progress: bool = True) -> Report:
    """Open the data set and look at every clip: decode it as a sweep would, or read its header alone (`fast`).

    Raises DataError where the lists are wrong; clips that are missing or broken are reported, not raised.
    """
    data = open_data(dataclasses.replace(config, skip_bad_clips=True), check_fold=False)
    held_out = data.splits(data.folds[0] if data.folds else 1).held_out
    sides = data.sides()  # before hours of decoding: a set that cannot be split at all ends here
    absent = missing_clips(data.clips)
    near = nearby(_base(config), data.clips, absent)
    gone = {id(clip) for clip in absent}
    missing = [i for i, clip in enumerate(data.clips) if id(clip) in gone]
    there = [i for i, clip in enumerate(data.clips) if id(clip) not in gone]

    def look(number: int) -> _Look:
        return _look(data, there[number], fast)

    rows = in_order(look, len(there), threads or torch.get_num_threads(), f"Checking {data.name}", progress)
    with contextlib.closing(rows):
        looks = dict(zip(there, rows, strict=True))
    broken = {index: look.reason for index, look in looks.items() if look.reason is not None}
    names = [clip.name for clip in data.clips]
    digests = [looks[i].digest if i in looks and i not in broken else None for i in range(len(names))]
    classes = [None if data.multi_label else data.labels[clip.label] for clip in data.clips]
    where = leaks(data.clips, sides)
    sizes = Counter(clip.group for clip in data.clips if clip.group in where)
    return Report(
        name=data.name,
        clips=len(data.clips),
        # Ten and twelve labels are a choice of the clips.
        official=None if config.num_labels in (10, 12) else LAYOUTS.find(config.name).source.clips,
        hours=sum(look.seconds for look in looks.values()) / 3600,
        seconds=data.seconds,
        metric=data.metric,
        labels=_labels(data),
        splits={side: sides.count(side) for side in dict.fromkeys(_ordered(sides))},
        held_out=held_out,
        missing=tuple(names[index] for index in missing),
        near=near,
        broken={names[index]: reason for index, reason in broken.items()},
        groups=len({clip.group for clip in data.clips} - {None}),
        leaks=tuple(Leak(group, tuple(_ordered(at)), sizes[group]) for group, at in where.items()),
        doubles=find_doubles(digests, names, sides),
        relabelled=find_doubles(digests, names, classes),
        warnings=data.warnings,
        unmeasured=_unmeasured(data, sides, {*missing, *broken}),
        problems=tuple(_problems(data, [*missing, *broken])),
        decoded=not fast,
    )


class _Look(NamedTuple):
    """Of one clip: seconds, why it is unusable (None: it is not), and a digest of what was decoded."""

    seconds: float
    reason: str | None
    digest: str | None


def _look(data: DataSet, index: int, fast: bool) -> _Look:
    clip = data.clips[index]
    seconds = 0.0
    try:
        if clip.span is not None:
            seconds = clip.span[1] - clip.span[0]
        else:
            seconds = data.seconds if clip.path is None else measure(clip.path)
        if fast:
            return _Look(seconds, None if seconds > 0 else "it announces no samples", None)
        data.load(index)
    except ClipError as error:
        return _Look(seconds, error.reason, None)
    return _Look(seconds, None, None if clip.path is None else content_digest(data, index))


def _base(config: Choice) -> Path:
    """The folder that paths in messages are seen from."""
    root = Path(config.root or ".")
    return root if root.is_dir() else root.parent


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
