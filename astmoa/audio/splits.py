"""Which clips fit, which choose, which are published: folds, named splits, and a validation part held out of train."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astmoa.errors import DataError

HELD_OUT = 0.1


@dataclass(frozen=True)
class Clip:
    """One clip: `name` relative to the data set, `label` an index into its labels, `path` None where it is made by a
    formula."""

    name: str
    label: int
    path: Path | None = None
    fold: int | None = None
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Splits:
    """Indices of clips, int64, ascending: train to fit, val to choose, test to publish."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def fold_numbers(clips: Sequence[Clip]) -> tuple[int, ...]:
    """Fold numbers, ascending; empty where the data name their splits."""
    return tuple(sorted({clip.fold for clip in clips if clip.fold is not None}))


def divide(
    name: str, labels: Sequence[str], clips: Sequence[Clip], fold: int, leave_out: Collection[int] = ()
) -> Splits:
    """The three sides; the rules are those of `DataSet.splits`, and `name` is for messages."""
    sides = _fold_sides(name, clips, fold) if fold_numbers(clips) else [clip.split for clip in clips]
    if "val" not in sides and "train" in sides:
        for index in _hold_out(name, clips, [i for i, side in enumerate(sides) if side == "train"]):
            sides[index] = "val"
    for index in leave_out:
        sides[index] = None
    train, val, test = (np.flatnonzero([s == side for s in sides]) for side in ("train", "val", "test"))
    for side, indices in (("train", train), ("val", val), ("test", test)):
        if len(indices) == 0:
            raise DataError(f"{name} has no usable {side} clips: add rows with split {side}, or mend its clips")
    missing = set(range(len(labels))) - {clips[i].label for i in train}
    if missing:
        names = some([labels[label] for label in sorted(missing)])
        raise DataError(f"{name}: no train clip of {names}: add some, or remove these classes from the data set")
    return Splits(train, val, test)


def _fold_sides(name: str, clips: Sequence[Clip], fold: int) -> list[str | None]:
    folds = fold_numbers(clips)
    if len(folds) < 3:
        raise DataError(f"{name} has {len(folds)} folds: give at least 3 (train, validation, test), or a split column")
    if fold not in folds:
        raise DataError(f"data.fold={fold} does not exist in {name}: choose from {', '.join(map(str, folds))}")
    sides = {fold: "test", folds[(folds.index(fold) + 1) % len(folds)]: "val"}
    return [sides.get(clip.fold, "train") for clip in clips]


def check_groups(table: Path, clips: Sequence[Clip]) -> None:
    """One group, one side: raises DataError that names the group which has two."""
    sides: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.group is not None:
            sides[clip.group].add(clip.split or f"fold {clip.fold}")
    for group, where in sides.items():
        if len(where) > 1:
            raise DataError(
                f"{table}: group {group!r} is in {' and '.join(sorted(where))}: keep it on one side of every split"
            )


def _hold_out(name: str, clips: Sequence[Clip], train: Sequence[int]) -> list[int]:
    """About a tenth of `train`, class by class, in whole groups where clips have groups; never all clips of a class.

    Units (a group, or one clip) are visited in the order of a hash of their names, and taken when that brings the
    number held out per class nearer to a tenth, at least one. Where groups are so large that none does, the one that
    overshoots least goes.
    """
    units: dict[str, Counter] = defaultdict(Counter)
    members: dict[str, list[int]] = defaultdict(list)
    for index in train:
        clip = clips[index]
        unit = f"group {clip.group}" if clip.group is not None else f"clip {clip.name}"
        units[unit][clip.label] += 1
        members[unit].append(index)
    left = Counter(clips[index].label for index in train)
    goal = Counter({label: max(1, round(count * HELD_OUT)) for label, count in left.items() if count > 1})
    need, taken = goal.copy(), []

    def miss_after(unit: str) -> int:
        """By how much the unit brings us away from the goal; below 0 is nearer."""
        return sum(abs(need[label] - count) - abs(need[label]) for label, count in units[unit].items())

    def spares_all(unit: str) -> bool:
        return all(left[label] > count for label, count in units[unit].items())

    order = sorted(units, key=lambda unit: hashlib.sha256(unit.encode()).digest())
    for unit in order:
        if miss_after(unit) < 0 and spares_all(unit):
            taken.append(unit)
            left.subtract(units[unit])
            need.subtract(units[unit])
    if not taken:
        possible = [unit for unit in order if spares_all(unit)]
        if not possible:
            raise DataError(f"{name}: no part of train can be held out for validation: give rows with split val")
        taken.append(min(possible, key=miss_after))
    return [index for unit in taken for index in members[unit]]


def some(names: Sequence[str], separator: str = ", ", shown: int = 3) -> str:
    """The first few of many names, for a message of one line."""
    return separator.join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
