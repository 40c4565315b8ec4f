"""Everyday sounds in folds: ESC-50 and UrbanSound8K in their official layouts."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from astmoa.audio.csv_files import Row, integer, read_rows, shown
from astmoa.audio.layout import Choice, Download, Layout, Listing, Source, register
from astmoa.audio.lists import Finder, check_files, inner
from astmoa.audio.names import check_label
from astmoa.audio.splits import Clip
from astmoa.errors import DataError


@register
class Esc50(Layout):
    """ESC-50: everyday sounds, 50 classes, 5 folds"""

    name = "esc50"
    recipe: ClassVar = {"epochs": 50, "batch_size": 32, "freq_mask": 24, "time_mask": 80}
    source = Source(
        page="github.com/karolpiczak/ESC-50",
        licence="CC BY-NC 3.0 (its subset ESC-10: CC BY 3.0)",
        layout=("ROOT/meta/esc50.csv", "ROOT/audio/1-100032-A-0.wav   2,000 clips, 5 folds"),
        # The last commit: master's archive changes with its README. The author publishes no checksum, and GitHub makes
        # the archive anew from time to time: its files stay, its bytes, and so the checksum, may change.
        download=Download(
            "https://github.com/karolpiczak/ESC-50/archive/33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
            645_832_161,
            "sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
            "public projects that pin this commit; the author has none, and it may change: GitHub promises no bytes",
        ),
        clips=2000,
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """ROOT/meta/esc50.csv and ROOT/audio/; a file of the listed stem in another format will do.

        Five folds; one tests, the next one validates, as arXiv 2402.00828 has it. Classes are numbered by their
        targets.
        """
        root = inner(self.name, self.source.page, root, "meta/esc50.csv", "ESC-50-master", "ESC-50")
        table = root / "meta" / "esc50.csv"
        rows = read_rows(table, "filename", "fold", "target", "category")
        labels, index = _classes(table, rows, "target", "category", 50)
        finder, clips = Finder(), []
        for row in rows:
            fold, group = _fold(table, row, 5), row.get("src_file") or None
            path = finder.find(root / "audio" / row["filename"])
            clips.append(Clip(row["filename"], index[int(row["target"])], path, fold, None, group))
        check_files(table, clips, choice.skip_bad_clips)
        return Listing("esc50", labels, tuple(clips), 5.0)


@register
class UrbanSound8K(Layout):
    """UrbanSound8K: sounds of a city, 10 classes, 10 folds"""

    name = "urbansound8k"
    recipe: ClassVar = {"epochs": 30, "batch_size": 32, "freq_mask": 24, "time_mask": 80}
    source = Source(
        page="urbansounddataset.weebly.com/urbansound8k.html (zenodo.org/records/1203745)",
        licence="CC BY-NC 3.0",
        layout=("ROOT/metadata/UrbanSound8K.csv", "ROOT/audio/fold1/101415-3-0-2.wav   8,732 clips, 10 folds"),
        download=Download(
            "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz",
            6_023_741_708,
            "md5:9aa69802bbf37fb986f71ec1483a196e",
            "Zenodo's record 1203745",
        ),
        clips=8732,
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """ROOT/metadata/UrbanSound8K.csv and ROOT/audio/fold1/ to fold10/; other formats as for `esc50`.

        Ten folds, each with all slices of its recordings (fsID). The protocol names no validation split: the fold after
        the test fold is held out of the training folds.
        """
        root = inner(self.name, self.source.page, root, "metadata/UrbanSound8K.csv", "UrbanSound8K")
        table = root / "metadata" / "UrbanSound8K.csv"
        rows = read_rows(table, "slice_file_name", "fsID", "fold", "classID", "class")
        labels, index = _classes(table, rows, "classID", "class", 10)
        finder, clips = Finder(), []
        for row in rows:
            fold, name = _fold(table, row, 10), row["slice_file_name"]
            path = finder.find(root / "audio" / f"fold{fold}" / name)
            clips.append(Clip(name, index[int(row["classID"])], path, fold, None, row["fsID"]))
        check_files(table, clips, choice.skip_bad_clips)
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
