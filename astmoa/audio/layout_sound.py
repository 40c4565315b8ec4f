"""Everyday sounds in folds: ESC-50 and UrbanSound8K in their official layouts."""

from __future__ import annotations

from pathlib import Path

from astmoa.audio.csv_files import Row, integer, read_rows, shown
from astmoa.audio.lists import Finder, Listing, check_files, inner
from astmoa.audio.names import check_label
from astmoa.audio.splits import Clip
from astmoa.config import DataConfig
from astmoa.errors import DataError


def esc50(root: Path, config: DataConfig) -> Listing:
    """ROOT/meta/esc50.csv and ROOT/audio/; a file of the listed stem in another format will do.

    Five folds; one tests, the next one validates, as arXiv 2402.00828 has it. Classes are numbered by their targets.
    """
    root = inner("esc50", root, "meta/esc50.csv", "ESC-50-master", "ESC-50")
    table = root / "meta" / "esc50.csv"
    rows = read_rows(table, "filename", "fold", "target", "category")
    labels, index = _classes(table, rows, "target", "category", 50)
    finder, clips = Finder(), []
    for row in rows:
        fold, group = _fold(table, row, 5), row.get("src_file") or None
        path = finder.find(root / "audio" / row["filename"])
        clips.append(Clip(row["filename"], index[int(row["target"])], path, fold, None, group))
    check_files(table, clips, config.skip_bad_clips)
    return Listing("esc50", labels, tuple(clips), 5.0)


def urbansound8k(root: Path, config: DataConfig) -> Listing:
    """ROOT/metadata/UrbanSound8K.csv and ROOT/audio/fold1/ to fold10/; other formats as for `esc50`.

    Ten folds, each with all slices of its recordings (fsID). The protocol names no validation split: the fold after
    the test fold is held out of the training folds.
    """
    root = inner("urbansound8k", root, "metadata/UrbanSound8K.csv", "UrbanSound8K")
    table = root / "metadata" / "UrbanSound8K.csv"
    rows = read_rows(table, "slice_file_name", "fsID", "fold", "classID", "class")
    labels, index = _classes(table, rows, "classID", "class", 10)
    finder, clips = Finder(), []
    for row in rows:
        fold, name = _fold(table, row, 10), row["slice_file_name"]
        path = finder.find(root / "audio" / f"fold{fold}" / name)
        clips.append(Clip(name, index[int(row["classID"])], path, fold, None, row["fsID"]))
    check_files(table, clips, config.skip_bad_clips)
    return Listing("urbansound8k", labels, tuple(clips), 4.0, own_validation=False)


def _fold(table: Path, row: Row, most: int) -> int:
    fold = integer(row, "fold", table)
    if not 1 <= fold <= most:
        raise DataError(f"{table} line {row.line}: fold {fold} is outside 1 to {most}: restore the official file")
    return fold


def _classes(table: Path, rows: list[Row], number: str, name: str, most: int) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names in the order of their official numbers, and number -> index. A part of the data set may lack some."""
    names: dict[int, str] = {}
    for row in rows:
        target = integer(row, number, table)
        if not 0 <= target < most:
            raise DataError(
                f"{table} line {row.line}: {number} {target} is outside 0 to {most - 1}: restore the official file"
            )
        if names.setdefault(target, row[name]) != row[name]:
            what = f"{table} line {row.line}: {number} {target} has two names in {name}, {shown(row[name])} and "
            raise DataError(f"{what}{shown(names[target])}: give each {number} one {name}")
        check_label(f"{table} line {row.line}", row[name])
    numbers: dict[str, int] = {}
    for target, category in sorted(names.items()):
        other = numbers.setdefault(category, target)
        if other != target:
            raise DataError(
                f"{table}: {number} {other} and {target} are both {shown(category)}: restore the official file"
            )
    return tuple(names[target] for target in sorted(names)), {target: i for i, target in enumerate(sorted(names))}
