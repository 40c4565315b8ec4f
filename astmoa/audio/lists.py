"""What every layout needs: reading a CSV file, finding the files that a list names, and saying what is missing."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from astmoa.audio.sound import duration
from astmoa.audio.sources import SOURCES
from astmoa.audio.splits import Clip, some
from astmoa.errors import DataError

LONGEST_DEFAULT_SECONDS = 10.0
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# .opus and .oga are Ogg; libsndfile lists formats, not all of their suffixes.
_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".aifc", ".opus", ".oga", ".sph"}


class Listing(NamedTuple):
    """What a layout says: the parts of a `DataSet` that are read from lists and folders.

    seconds: the layout's clip length, None for the longest clip's. targets: [clips, classes] float32, see `DataSet`.
    own_validation: False where the validation clips that folds or splits show are our rule, not the data's.
    """

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    seconds: float | None
    targets: np.ndarray | None = None
    own_validation: bool = True


def inner(name: str, root: Path, marker: str, *below: str) -> Path:
    """The first of `root` and the folders `below` it that holds `marker`. Raises DataError that says where data set
    `name` comes from."""
    for folder in (root, *(root / path for path in below)):
        if (folder / marker).exists():
            return folder
    page = SOURCES[name].page
    raise DataError(f"{root} has no {marker}: set data.root to {name} from {page}; astmoa data check {name} says more")


def read_rows(table: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file; every one of `columns` ("a|b": one of them) is there and filled."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{table} does not exist: set data.root to the folder that holds it, or restore it") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error}): save it as a CSV file in UTF-8") from None
    if not rows:
        raise DataError(f"{table} lists no clips: give a header line and one line per clip")
    for alternatives in columns:
        present = [name for name in alternatives.split("|") if name in rows[0]]
        if not present:
            raise DataError(
                f"{table} has no column {alternatives.replace('|', ' or ')}: it has {', '.join(map(str, rows[0]))}"
            )
        for line, row in enumerate(rows, start=2):
            if not (row[present[0]] or "").strip():
                raise DataError(f"{table} line {line} has no {present[0]}: fill it or remove the line")
    return rows


def read_lines(path: Path) -> list[str]:
    """The lines of an official list that are not empty, at least one, without the space around them."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read ({reason}): restore it from the data set's archive") from None
    if not lines:
        raise DataError(f"{path} lists no clips: restore it from the data set's archive")
    return lines


def integer(text: str, table: Path, column: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{table}: {column} {text!r} is no whole number: correct it") from None


def folders(root: Path) -> list[Path]:
    """The folders in `root`, sorted, without hidden ones."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def audio_files(folder: Path, also: Sequence[str] = ()) -> list[Path]:
    """Files in `folder` with the suffix of a sound format (or one of `also`), sorted; none where there is no such
    folder. Hidden files are no clips: archives made on a Mac hold a ._ beside every file."""
    if not folder.is_dir():
        return []
    wanted = _SUFFIXES | set(also)
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in wanted]


class Finder:
    """Finds a clip under the name in the list, or under the same stem in another format. Reads each folder once."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[set[str], dict[str, Path]]] = {}

    def find(self, listed: Path) -> Path:
        """The file for `listed`, or `listed` itself where there is none."""
        if listed.parent not in self._seen:
            files = audio_files(listed.parent)
            self._seen[listed.parent] = {path.name for path in files}, {path.stem: path for path in files}
        names, stems = self._seen[listed.parent]
        return listed if listed.name in names else stems.get(listed.stem, listed)


def check_files(table: Path, clips: Sequence[Clip], allow_missing: bool) -> None:
    """Names are unique and files exist; `table` is for messages. Raises DataError."""
    twice = [name for name, count in Counter(clip.name for clip in clips).items() if count > 1]
    if twice:
        raise DataError(f"{table} lists {some(twice)} more than once: keep one line per clip")
    missing = [] if allow_missing else missing_files(clips)
    if missing:
        fix = "restore them, or use --skip-bad-clips to leave them out"
        raise DataError(f"{table} lists {len(missing)} clips that do not exist, {some(missing)}: {fix}")


def missing_files(clips: Sequence[Clip]) -> list[str]:
    return [str(clip.path) for clip in clips if clip.path is not None and not os.path.isfile(clip.path)]


def longest(clips: Sequence[Clip]) -> float:
    """Seconds of the longest clip, 10 at most; a file that is not readable does not count."""
    most = max((duration(clip.path, LONGEST_DEFAULT_SECONDS) or 0.0 for clip in clips), default=0.0)
    if most == 0.0:
        raise DataError(
            f"none of {len(clips)} clips is readable audio, {clips[0].path} for one: convert them to WAV or FLAC"
        )
    return most
