"""Which clips fit, which choose, which are published: folds, named splits, and a validation part held out of train."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astmoa.errors import DataError, printable

HELD_OUT = 0.1
LONGEST_NAME = 300  # characters of a name in a message


@dataclass(frozen=True)
class Clip:
    """One clip: `name` relative to the data set, `label` an index into its labels (-1 where it has several), `path`
    None where it is made by a formula, `span` the part of its file in seconds (start, end), None for all of it."""

    name: str
    label: int
    path: Path | None = None
    fold: int | None = None
    split: str | None = None
    group: str | None = None
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class Splits:
    """Indices of clips, int64, ascending: train to fit, val to choose, test to publish."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    held_out: bool = False
    """The data have no validation split of their own: `val` was taken from their training clips by our rule."""


def fold_numbers(clips: Sequence[Clip]) -> tuple[int, ...]:
    """Fold numbers, ascending; empty where the data name their splits."""
    return tuple(sorted({clip.fold for clip in clips if clip.fold is not None}))


def divide(
    name: str,
    labels: Sequence[str],
    clips: Sequence[Clip],
    fold: int,
    leave_out: Collection[int] = (),
    targets: np.ndarray | None = None,
    own_validation: bool = True,
) -> Splits:
    """The three sides; the rules are those of `DataSet.splits`, and `name` is for messages.

    targets: [clips, classes] of clips with several labels, NaN where nobody labelled. own_validation: False where a
    validation side that `clips` show is our rule, not the data's protocol.
    """
    marks = _marks(clips, targets)
    sides = _fold_sides(name, clips, fold) if fold_numbers(clips) else [clip.split for clip in clips]
    held_out = not own_validation
    if "val" not in sides and "train" in sides:
        held_out = True
        for index in _hold_out(name, clips, marks, [i for i, side in enumerate(sides) if side == "train"]):
            sides[index] = "val"
    for index in leave_out:
        sides[index] = None
    train, val, test = (np.flatnonzero([s == side for s in sides]) for side in ("train", "val", "test"))
    for side, indices in (("train", train), ("val", val), ("test", test)):
        if len(indices) == 0:
            raise DataError(f"{name} has no usable {side} clips: give it some with split {side}, or mend them")
    shown = {label for i in train for label, present in marks[i] if present}
    missing = set(range(len(labels))) - shown
    if missing:
        names = some([labels[label] for label in sorted(missing)])
        raise DataError(f"{name}: no train clip of {names}: add some, or remove these classes from the data set")
    return Splits(train, val, test, held_out)


def _marks(clips: Sequence[Clip], targets: np.ndarray | None) -> list[tuple[tuple[int, bool], ...]]:
    """What is known of each clip as (class, is it there): one pair for a single label, else one per labelled class."""
    if targets is None:
        return [((clip.label, True),) for clip in clips]
    return [tuple((int(c), bool(row[c] > 0)) for c in np.flatnonzero(~np.isnan(row))) for row in targets]


def _fold_sides(name: str, clips: Sequence[Clip], fold: int) -> list[str | None]:
    folds = fold_numbers(clips)
    if len(folds) < 3:
        raise DataError(f"{name} has {len(folds)} folds: give at least 3 (train, validation, test), or a split column")
    if fold not in folds:
        raise DataError(f"data.fold={fold} does not exist in {name}: choose from {', '.join(map(str, folds))}")
    sides: dict[int | None, str] = {fold: "test", folds[(folds.index(fold) + 1) % len(folds)]: "val"}
    return [sides.get(clip.fold, "train") for clip in clips]


def leaks(clips: Sequence[Clip], sides: Sequence[str | None]) -> dict[str, list[str]]:
    """Groups with clips on more than one side, and these sides; `sides` says where each clip is, None: nowhere."""
    found: dict[str, set[str]] = defaultdict(set)
    for clip, side in zip(clips, sides, strict=True):
        if clip.group is not None and side is not None:
            found[clip.group].add(side)
    return {group: sorted(where) for group, where in found.items() if len(where) > 1}


def check_groups(table: Path, clips: Sequence[Clip]) -> None:
    """One group, one side: raises DataError that names the group which has two."""
    for group, where in leaks(clips, [clip.split or f"fold {clip.fold}" for clip in clips]).items():
        raise DataError(f"{table}: group {group!r} is in {' and '.join(where)}: keep it on one side of every split")


def by_hash(name: str) -> bytes:
    """A key that sorts names in an order as good as random and the same on every machine."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()  # bytes of a name that are no UTF-8


def _hold_out(
    name: str, clips: Sequence[Clip], marks: Sequence[tuple[tuple[int, bool], ...]], train: Sequence[int]
) -> list[int]:
    """About a tenth of `train`, class by class, in whole groups where clips have groups; never all clips of a class.

    Units (a group, or one clip) are visited in the order of a hash of their names, and taken when that brings the
    number held out per class nearer to a tenth, at least one. Where groups are so large that none does, the one that
    overshoots least goes. Where clips have several labels, "is there" and "is not there" of a class count as two,
    and each gets at least one clip.
    """
    units: dict[str, Counter] = defaultdict(Counter)
    members: dict[str, list[int]] = defaultdict(list)
    for index in train:
        clip = clips[index]
        unit = f"group {clip.group}" if clip.group is not None else f"clip {clip.name}"
        units[unit].update(marks[index])
        members[unit].append(index)
    left = Counter(mark for index in train for mark in marks[index])
    goal = Counter({mark: max(1, round(count * HELD_OUT)) for mark, count in left.items() if count > 1})
    need, taken = goal.copy(), []

    def miss_after(unit: str) -> int:
        """By how much the unit brings us away from the goal; below 0 is nearer."""
        return sum(abs(need[mark] - count) - abs(need[mark]) for mark, count in units[unit].items())

    def spares_all(unit: str) -> bool:
        return all(left[mark] > count for mark, count in units[unit].items())

    def take(unit: str) -> None:
        taken.append(unit)
        left.subtract(units[unit])
        need.subtract(units[unit])

    order = sorted(units, key=by_hash)
    for unit in order:
        if miss_after(unit) < 0 and spares_all(unit):
            take(unit)
    if any(len(mark) > 1 for mark in marks):  # several labels: no class without a clip to be measured on
        for mark in sorted(goal):
            having = [unit for unit in order if units[unit][mark] and spares_all(unit)]
            if need[mark] == goal[mark] and having:
                take(having[0])  # not taken before: otherwise less would be needed
    if not taken:
        possible = [unit for unit in order if spares_all(unit)]
        if not possible:
            raise DataError(f"{name}: no part of train can be held out for validation: give rows with split val")
        taken.append(min(possible, key=miss_after))
    return [index for unit in taken for index in members[unit]]


def some(names: Sequence[str], separator: str = ", ", shown: int = 3) -> str:
    """The first few of many names, for a message of one line."""
    return separator.join(printable(name, LONGEST_NAME) for name in names[:shown]) + (
        f" and {len(names) - shown} more" if len(names) > shown else ""
    )
