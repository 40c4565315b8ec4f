"""Sounds of one's own as a list of clips: labels, splits and groups looked at before anything is decoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astmoa.audio.csv_files import shown
from astmoa.audio.listing import Listing
from astmoa.audio.lists import check_files
from astmoa.audio.names import check_classes, check_label, doubtful
from astmoa.audio.splits import Clip, check_groups
from astmoa.errors import DataError


@dataclass(frozen=True)
class Sound:
    """One clip, as a layout of your own names it."""

    path: Path | str
    """A file; a relative path starts at the data's folder."""
    label: str | Collection[str]
    """Its class, or a set of classes where clips have several."""
    split: str | None = None
    """train, val or test; without val a tenth of train is held out."""
    fold: int | None = None
    """Number of its fold, of at least three, in place of a split."""
    group: str | None = None
    """Whatever must not be on two sides of a split, such as a speaker."""
    span: tuple[float, float] | None = None
    """The part of its file in seconds, (start, end); None: all of it."""


def listing_of(
    place: Path, sounds: Sequence[Any], where: Callable[[int], str], allow_missing: bool, base: Path | None = None
) -> Listing:
    """The clips, their classes in order (by number where all are numbers), and what may be meant otherwise.

    place: what names the sounds, for messages. where: the place of sound `index` in it, such as "line 3". base: where
    relative paths start; default: `place`. Raises DataError for what is no Sound, a missing or unknown split, a
    group on two sides, a file listed twice or (unless they may be missing) not there.
    """
    base = base or place
    _check(place, sounds, where)
    several = any(not isinstance(sound.label, str) for sound in sounds)
    marks = [_labels(sound) for sound in sounds]
    first: dict[str, int] = {}
    for index, labels in enumerate(marks):
        for label in labels:
            if label not in first:
                check_label(f"{place} {where(index)}", label)
                first[label] = index
    counts = Counter(label for labels in marks for label in labels)
    names = sorted(counts, key=numbers_as_numbers(sorted(counts)))
    number = {name: i for i, name in enumerate(names)}
    clips = tuple(
        Clip(
            _name(base, sound),
            -1 if several else number[labels[0]],
            base / sound.path,
            sound.fold,
            sound.split,
            sound.group or None,
            sound.span,
        )
        for sound, labels in zip(sounds, marks, strict=True)
    )
    check_files(place, clips, allow_missing)
    _check_paths(place, clips)
    check_groups(place, clips)
    check_classes(place, names)
    said = {label: f"{count_of(counts[label])}, first in {where(index)}" for label, index in first.items()}
    groups = Counter(clip.group for clip in clips if clip.group is not None)
    warnings = (
        *doubtful(place, "classes", said),
        *doubtful(place, "groups", {name: count_of(count) for name, count in groups.items()}),
    )
    named = sounds[0].split is not None
    targets = _targets(marks, number) if several else None
    return Listing(base.resolve().name, tuple(names), clips, None, targets, own_validation=named, warnings=warnings)


def count_of(count: int) -> str:
    return f"{count:,} clip{'s' if count > 1 else ''}"


def numbers_as_numbers(labels: Sequence[str]) -> Callable[[str], int | str]:
    """What labels are sorted by: their value where all are numbers, and different ones."""
    return (
        int if all(label.isdecimal() for label in labels) and len({int(x) for x in labels}) == len(set(labels)) else str
    )


def _check(place: Path, sounds: Sequence[Any], where: Callable[[int], str]) -> None:
    if not sounds:
        raise DataError(f"{place}: no sounds were named: is that the right folder?")
    named = isinstance(sounds[0], Sound) and sounds[0].split is not None
    for index, sound in enumerate(sounds):
        here = f"{place} {where(index)}"
        if not isinstance(sound, Sound):
            raise DataError(f"{here}: {shown(repr(sound))} is no astmoa.Sound(path, label, ...)")
        if not isinstance(sound.path, str | os.PathLike) or not str(sound.path) or not _labels(sound):
            raise DataError(f"{here}: path {shown(repr(sound.path))} with label {shown(repr(sound.label))}: give both")
        if named != (sound.split is not None) or named == (sound.fold is not None):
            raise DataError(f"{here}: give every sound a split, or every one a fold, not both")
        if named and sound.split not in ("train", "val", "test"):
            what = f"split {shown(repr(sound.split))} of {shown(sound.path)} is unknown"
            raise DataError(f"{here}: {what}: use train, val or test")
        if not named and (type(sound.fold) is not int or sound.fold < 0):
            raise DataError(f"{here}: fold {shown(repr(sound.fold))} is no whole number of at least 0")
        if sound.group is not None and not isinstance(sound.group, str):
            raise DataError(f"{here}: group {shown(repr(sound.group))} is no text")
        if sound.span is not None and not _is_span(sound.span):
            raise DataError(f"{here}: span {shown(repr(sound.span))}: give (start, end) in seconds")


def _is_span(span: object) -> bool:
    if not isinstance(span, tuple) or len(span) != 2 or any(isinstance(edge, bool) for edge in span):
        return False
    return all(isinstance(edge, int | float) for edge in span) and 0 <= span[0] < span[1] < float("inf")


def _labels(sound: Sound) -> list[str]:
    """Without the space around them: spreadsheets leave some, and "dog " would be a class of its own."""
    labels = [sound.label] if isinstance(sound.label, str) else sound.label
    if not isinstance(labels, Collection) or not all(isinstance(label, str) for label in labels):
        return []
    return sorted({label.strip() for label in labels} - {""})


def _name(base: Path, sound: Sound) -> str:
    """As it is written, or as it is seen from the data's folder; a part of a file with where it is."""
    name = os.fspath(sound.path)
    if os.path.isabs(name) or not isinstance(sound.path, str):
        path = Path(name)
        name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
    return name if sound.span is None else f"{name} {sound.span[0]:g} to {sound.span[1]:g} s"


def _targets(marks: Sequence[Sequence[str]], number: dict[str, int]) -> Any:
    """[clips, classes] float32: every label is known of every clip."""
    import numpy as np

    targets = np.zeros((len(marks), len(number)), dtype=np.float32)
    for index, labels in enumerate(marks):
        targets[index, [number[label] for label in labels]] = 1
    return targets


def _check_paths(place: Path, clips: Sequence[Clip]) -> None:
    """No sound is listed under two spellings, ./0.wav and 0.wav: one could train, the other test. Parts of one file may
    overlap on one side alone."""
    seen: dict[str, list[Clip]] = {}
    for clip in clips:
        path = os.path.abspath(clip.path or "")
        for first in seen.get(path, ()):
            apart = clip.span and first.span and (clip.span[0] >= first.span[1] or first.span[0] >= clip.span[1])
            one_side = clip.span and first.span and (clip.split, clip.fold) == (first.split, first.fold)
            if not apart and not one_side:
                two = f"{shown(first.name)} and {shown(clip.name)}"
                raise DataError(f"{place} lists {two}, which are one file: keep one line per clip")
        seen.setdefault(path, []).append(clip)
