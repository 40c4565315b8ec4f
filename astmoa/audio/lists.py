"""What every layout needs: finding the files that a list names, and saying what is missing."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import soundfile

from astmoa.audio.csv_files import shown
from astmoa.audio.near import Nearby, is_there
from astmoa.audio.sound import duration
from astmoa.audio.splits import Clip, some
from astmoa.errors import DataError

LONGEST_DEFAULT_SECONDS = 10.0
_MOST_NEAR = 1000
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# .opus and .oga are Ogg; libsndfile lists formats, not all of their suffixes.
_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".aifc", ".opus", ".oga", ".sph"}


def inner(name: str, page: str, root: Path, marker: str, *below: str) -> Path:
    """The first of `root` and the folders `below` it that holds `marker`, or the one that does and lies one or two
    folders deeper. Raises DataError that says where data set `name` comes from."""
    for folder in (root, *(root / path for path in below)):
        if (folder / marker).exists():
            return folder
    deeper = below_root(root, marker, *below)
    if len(deeper) == 1:
        return deeper[0]
    if deeper:
        raise DataError(f"{root} has {marker} in {some(list(map(str, deeper)))}: set data.root to one of them")
    raise DataError(f"{root} has no {marker}: set data.root to {name} from {page}; astmoa data check {name} says more")


def below_root(root: Path, marker: str, *below: str) -> list[Path]:
    """Folders one or two below `root` that hold `marker`, themselves or in a folder `below` them: archives are often
    unpacked into a folder of their own."""
    if not root.is_dir():
        return []
    places = folders(root)
    for folder in tuple(places):
        with contextlib.suppress(DataError):  # one may not look there
            places += folders(folder)
    inside = dict.fromkeys(place / path for place in places for path in ("", *below))
    return [place for place in inside if os.path.exists(place / marker)]


def folders(root: Path) -> list[Path]:
    """The folders in `root`, sorted, without hidden ones and what archives made on a Mac add. Raises DataError."""
    return [root / name for name in _listed(root) if not name.startswith("__MACOSX") and (root / name).is_dir()]


def _listed(folder: Path) -> list[str]:
    """The names in a folder that are not hidden, sorted."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror}): correct its rights or the path") from None


def audio_files(folder: Path, also: Sequence[str] = ()) -> list[Path]:
    """Files in `folder` with the suffix of a sound format (or one of `also`), sorted; none where there is no such
    folder. Hidden files are no clips: archives made on a Mac hold a ._ beside every file."""
    if not folder.is_dir():
        return []
    wanted = _SUFFIXES | set(also)
    return [folder / name for name in _listed(folder) if os.path.splitext(name)[1].lower() in wanted]


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
    """Names are unique and files exist; `table` is for messages, and its folder for what is near. Raises DataError."""
    twice = [name for name, count in Counter(clip.name for clip in clips).items() if count > 1]
    if twice:
        raise DataError(f"{table} lists {some(twice)} more than once: keep one line per clip")
    missing = [] if allow_missing else missing_clips(clips)
    if missing:
        count = "a clip that does not exist" if len(missing) == 1 else f"{len(missing):,} clips that do not exist"
        fix = "restore them or correct the paths, or use --skip-bad-clips to leave them out"
        raise DataError(f"{table} lists {count}, {_some_missing(table, clips, missing)}: {fix}")


def missing_clips(clips: Sequence[Clip]) -> list[Clip]:
    """Clips with nothing at their paths; what is no file there is told when it is opened."""
    return [clip for clip in clips if clip.path is not None and not _exists(clip.path)]


def _exists(path: Path) -> bool:
    try:
        os.stat(path)
    except PermissionError:  # told when it is opened
        return True
    except (OSError, ValueError):  # ValueError: no name of a file
        return False
    return True


def nearby(base: Path, clips: Sequence[Clip], missing: Sequence[Clip]) -> dict[str, str]:
    """Name of a missing clip -> the file that was probably meant, for some at most."""
    look = Nearby(base, {str(clip.path) for clip in clips})
    found = {clip.name: look.of(clip.path) for clip in missing[:_MOST_NEAR] if clip.path is not None}
    return {name: path for name, path in found.items() if path is not None}


def _some_missing(table: Path, clips: Sequence[Clip], missing: Sequence[Clip]) -> str:
    near = nearby(table if table.is_dir() else table.parent, clips, missing[:3])
    said = {name: f" ({is_there(name, found)})" for name, found in near.items()}
    return some([f"{clip.path}{said.get(clip.name, '')}" for clip in missing])


def longest(place: Path, clips: Sequence[Clip]) -> float:
    """Seconds of the longest clip, 10 at most; a file that is not readable does not count. `place` is where they are
    listed, for the message."""
    paths = [clip.path for clip in clips if clip.path is not None]
    assert len(paths) == len(clips)  # what is made by a formula has a length of its own
    most = max((duration(path, LONGEST_DEFAULT_SECONDS) or 0.0 for path in paths), default=0.0)
    if most == 0.0:
        missing = missing_clips(clips)
        if len(missing) == len(clips):
            listed = _some_missing(place, clips, missing)
            raise DataError(
                f"none of the {len(clips)} listed clips exists, {listed}: restore them or correct the paths"
            )
        there = next(path for path in paths if _exists(path))
        raise DataError(
            f"none of {len(clips)} clips is readable audio, {shown(there)} for one: convert them to WAV or FLAC"
        )
    return most
