"""The same sound, byte for byte, more than once: on two sides of a split it leaks, under two labels one is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from astmoa.errors import printable

_LONGEST = 200


@dataclass(frozen=True)
class Doubles:
    """sounds: how many contents there are with different marks (sides, or labels); clips: how many clips have them;
    first: the names of two such clips, and `marks` theirs."""

    sounds: int
    clips: int
    first: tuple[str, str]
    marks: tuple[str, str]


def find_doubles(digests: Sequence[str | None], names: Sequence[str], marks: Sequence[str | None]) -> Doubles | None:
    """Clips with the same digest and different marks. Those without a digest, or without a mark, do not count."""
    same: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for digest, name, mark in zip(digests, names, marks, strict=True):
        if digest and mark is not None:
            same[digest].append((name, mark))
    found = [clips for clips in same.values() if len({mark for _, mark in clips}) > 1]
    if not found:
        return None
    one, mark = found[0][0]
    other, another = next(clip for clip in found[0] if clip[1] != mark)
    return Doubles(len(found), sum(map(len, found)), (one, other), (mark, another))


def told(doubles: Doubles, where: str) -> str:
    """In words; where: "on two sides" or "under two labels"."""
    sounds = f"{doubles.sounds:,} sound{'s are' if doubles.sounds > 1 else ' is'} {where}, byte for byte"
    first = " and ".join(
        f"{printable(name, 200)} ({printable(mark, 200)})"
        for name, mark in zip(doubles.first, doubles.marks, strict=True)
    )
    return f"{sounds} ({doubles.clips:,} clips), first {first}"
