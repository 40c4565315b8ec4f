"""Your own sounds: a CSV manifest, or one folder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from astmoa.audio.csv_files import Row, integer, read_rows
from astmoa.audio.layout import Choice, Layout, Listing, Source, register
from astmoa.audio.lists import SPLIT_NAMES, audio_files, below_root, check_files, folders
from astmoa.audio.names import check_classes, check_label, doubtful
from astmoa.audio.own_sounds import Sound, count_of, listing_of, numbers_as_numbers
from astmoa.audio.splits import Clip, by_hash, some
from astmoa.errors import DataError

# Formats that libsndfile does not read: listed, so that decoding names them instead of a class that shrinks silently.
_FOREIGN = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr")


@register
class Manifest(Layout):
    """a manifest.csv of yours with the columns path,label and split (train, val, test) or fold"""

    name = "csv"
    source = Source(
        page="your own files",
        licence="yours",
        layout=("ROOT/manifest.csv with path,label and split (train, val, test) or fold; optional: group",),
        by_hand="these are your own sounds",
        group="group",
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """Any CSV with path, label, and split or fold (split counts where both are there); paths start at its folder.

        ROOT is the file, or a folder with a manifest.csv. A column group is kept on one side of every split, or
        DataError. Space around labels and groups does not count: spreadsheets leave some, and "dog " would be a class
        of its own.
        """
        table = _table(root)
        rows = read_rows(table, "path", "label", "split|fold", path="path")
        sounds = [_sound(row, table) for row in rows]
        lines = [f"line {row.line}" for row in rows]
        return listing_of(table, sounds, lines.__getitem__, choice.skip_bad_clips, table.parent)


def _sound(row: Row, table: Path) -> Sound:
    split = row.get("split")
    if split is not None:
        split = SPLIT_NAMES.get(split.strip().lower(), split)
    fold = integer(row, "fold", table) if split is None else None
    return Sound(row["path"], row["label"], split, fold, row.get("group", "").strip() or None)


def _table(root: Path) -> Path:
    """ROOT itself if it is no folder, else its manifest.csv."""
    table = root / "manifest.csv" if root.is_dir() or not root.exists() else root
    deeper = [] if os.path.lexists(table) else below_root(root, table.name)
    if deeper:
        places = some(list(map(str, deeper)))
        raise DataError(f"{table} does not exist, but there is one in {places}: set data.root to that folder")
    return table


@register
class Folder(Layout):
    """one folder per class of yours, divided by us or in train, val and test"""

    name = "folder"
    source = Source(
        page="your own files",
        licence="yours",
        layout=("ROOT/CLASS/clip.wav, divided 80/10/10, or", "ROOT/train/CLASS/clip.wav, ROOT/val/..., ROOT/test/..."),
        by_hand="these are your own sounds",
        group="group",
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """ROOT/CLASS/clip.*, or ROOT/train/CLASS/clip.* with test and (optionally) val beside train.

        Without these folders every class is divided by itself: a tenth for test, a tenth for validation (at least one
        clip each), the rest for train, by a hash of the clips' names, so that a new clip moves hardly any other.
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
        labels = tuple(sorted(names, key=numbers_as_numbers(sorted(names))))
        clips = []
        for (split, label), files in classes.items():
            paths = {path.relative_to(root).as_posix(): path for path in files}
            sides = dict.fromkeys(paths, split) if divided else _eighty_ten_ten(root / label, list(paths))
            clips += [Clip(name, labels.index(label), path, None, sides[name]) for name, path in paths.items()]
        strange = sorted(names - {label for split, label in classes if split in (None, "train")})
        if strange:
            raise DataError(f"{root}/train has no {some(strange)}: add clips there, or remove these classes elsewhere")
        check_files(root, clips, choice.skip_bad_clips)
        counts = Counter(labels[clip.label] for clip in clips)
        warnings = doubtful(root, "classes", {name: count_of(count) for name, count in counts.items()})
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
