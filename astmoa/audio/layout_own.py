"""Your own sounds: a CSV manifest, or one folder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from astmoa.audio.csv_files import Row, integer, read_rows, shown
from astmoa.audio.lists import SPLIT_NAMES, Listing, audio_files, below_root, check_files, folders
from astmoa.audio.names import check_classes, check_label, doubtful
from astmoa.audio.splits import Clip, by_hash, check_groups, some
from astmoa.config import DataConfig
from astmoa.errors import DataError

# Formats that libsndfile does not read: listed, so that decoding names them instead of a class that shrinks silently.
_FOREIGN = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr")


def manifest(root: Path, config: DataConfig) -> Listing:
    """Any CSV with path, label, and split or fold (split counts where both are there); paths start at its folder.

    ROOT is the file, or a folder with a manifest.csv. A column group is kept on one side of every split, or DataError.
    Space around labels and groups does not count: spreadsheets leave some, and "dog " would be a class of its own.
    """
    table = _table(root)
    rows = read_rows(table, "path", "label", "split|fold", path="path")
    named = "split" in rows[0]
    counts = Counter(row["label"].strip() for row in rows)
    lines: dict[str, Row] = {}
    for row in rows:
        lines.setdefault(row["label"].strip(), row)
    for label, row in lines.items():
        check_label(f"{table} line {row.line}", label)
    names = sorted(counts, key=_numbers_as_numbers(sorted(counts)))
    index = {name: i for i, name in enumerate(names)}
    clips = []
    for row in rows:
        split = SPLIT_NAMES.get(row["split"].strip().lower()) if named else None
        if named and split is None:
            what = f"split {shown(repr(row['split']))} of {shown(row['path'])} is unknown"
            raise DataError(f"{table} line {row.line}: {what}: use train, val or test")
        fold = None if named else integer(row, "fold", table)
        path, group = table.parent / row["path"], row.get("group", "").strip()
        clips.append(Clip(row["path"], index[row["label"].strip()], path, fold, split, group or None))
    check_files(table, clips, config.skip_bad_clips)
    _check_paths(table, clips)
    check_groups(table, clips)
    check_classes(table, names)
    said = {label: f"{_clips(counts[label])}, first in line {row.line}" for label, row in lines.items()}
    groups = Counter(clip.group for clip in clips if clip.group is not None)
    warnings = [
        *doubtful(table, "classes", said),
        *doubtful(table, "groups", {name: _clips(count) for name, count in groups.items()}),
    ]
    name = table.resolve().parent.name
    return Listing(name, tuple(names), tuple(clips), None, own_validation=named, warnings=tuple(warnings))


def _clips(count: int) -> str:
    return f"{count:,} clip{'s' if count > 1 else ''}"


def _table(root: Path) -> Path:
    """ROOT itself if it is no folder, else its manifest.csv."""
    table = root / "manifest.csv" if root.is_dir() or not root.exists() else root
    deeper = [] if os.path.lexists(table) else below_root(root, table.name)
    if deeper:
        places = some(list(map(str, deeper)))
        raise DataError(f"{table} does not exist, but there is one in {places}: set data.root to that folder")
    return table


def _check_paths(table: Path, clips: Sequence[Clip]) -> None:
    """No file is listed under two spellings, ./0.wav and 0.wav: one could train, the other test."""
    seen: dict[str, str] = {}
    for clip in clips:
        first = seen.setdefault(os.path.abspath(clip.path), clip.name)
        if first != clip.name:
            raise DataError(
                f"{table} lists {shown(first)} and {shown(clip.name)}, which are one file: keep one line per clip"
            )


def _numbers_as_numbers(labels: Sequence[str]) -> Callable[[str], int | str]:
    return (
        int if all(label.isdecimal() for label in labels) and len({int(x) for x in labels}) == len(set(labels)) else str
    )


def folder(root: Path, config: DataConfig) -> Listing:
    """ROOT/CLASS/clip.*, or ROOT/train/CLASS/clip.* with test and (optionally) val beside train.

    Without these folders every class is divided by itself: a tenth for test, a tenth for validation (at least one clip
    each), the rest for train, by a hash of the clips' names, so that a new clip moves hardly any other.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder: set data.root to a folder with one folder per class")
    root = _unpacked(root)
    below = folders(root)
    splits = [SPLIT_NAMES.get(path.name.lower()) for path in below]
    divided = {"train", "test"} <= set(splits) or (bool(below) and None not in splits)
    classes: dict[tuple[str | None, str], list[Path]] = {}
    for path, split in zip(below, splits, strict=True):
        if divided and split is None:
            raise DataError(f"{path} is beside train and test: move it into one of them, or elsewhere")
        for place in folders(path) if divided else [path]:
            files = audio_files(place, _FOREIGN)
            for deeper in folders(place):
                _check_none_below(place, deeper)
            if not files:
                raise DataError(f"{place} has no sound files: put the clips of that class there, or remove it")
            classes.setdefault((split if divided else None, place.name), []).extend(files)
    if not classes:
        raise DataError(f"{root} has no folders with clips: make one folder per class")
    names = {label for _, label in classes}
    for label in sorted(names):
        check_label(root, label)
    check_classes(root, sorted(names))
    labels = tuple(sorted(names, key=_numbers_as_numbers(sorted(names))))
    clips = []
    for (split, label), files in classes.items():
        paths = {path.relative_to(root).as_posix(): path for path in files}
        sides = dict.fromkeys(paths, split) if divided else _eighty_ten_ten(root / label, list(paths))
        clips += [Clip(name, labels.index(label), path, None, sides[name]) for name, path in paths.items()]
    strange = sorted(names - {label for split, label in classes if split in (None, "train")})
    if strange:
        raise DataError(f"{root}/train has no {some(strange)}: add clips there, or remove these classes elsewhere")
    check_files(root, clips, config.skip_bad_clips)
    counts = Counter(labels[clip.label] for clip in clips)
    warnings = doubtful(root, "classes", {name: _clips(count) for name, count in counts.items()})
    name = root.resolve().name
    return Listing(name, labels, tuple(clips), None, own_validation=divided, warnings=tuple(warnings))


def _unpacked(root: Path) -> Path:
    """Where the classes are: archives are often unpacked into a folder of their own, or two. One folder alone cannot be
    a class, there would be nothing to tell it from."""
    for _ in range(2):
        below = folders(root)
        if len(below) != 1 or below[0].name.lower() in SPLIT_NAMES or audio_files(root, _FOREIGN):
            break
        if audio_files(below[0], _FOREIGN) or not folders(below[0]):
            break
        root = below[0]
    return root


def _check_none_below(place: Path, deeper: Path) -> None:
    for folder, _, _ in os.walk(deeper):
        if audio_files(Path(folder), _FOREIGN):
            mend = f"move them into {place}, or use --data csv"
            if not audio_files(place, _FOREIGN):
                mend = f"set data.root to {place} if its folders are the classes, {mend}"
            raise DataError(f"{folder} has clips below class {place.name}: {mend}")


def _eighty_ten_ten(place: Path, names: Sequence[str]) -> dict[str, str]:
    if len(names) < 3:
        raise DataError(f"{place} has {len(names)} clips: give at least 3 (train, val, test), or remove the class")
    tenth = max(1, round(len(names) / 10))
    order = sorted(names, key=by_hash)
    return {name: "test" if i < tenth else "val" if i < 2 * tenth else "train" for i, name in enumerate(order)}
