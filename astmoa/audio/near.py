"""A file that is not there, and the one that was probably meant."""

from __future__ import annotations

import difflib
import functools
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path, PureWindowsPath

_MOST_NAMES = 20_000  # that are searched for a slip of the pen, or below the folder


class Nearby:
    """Looks for files that are nearly called so, seen from the folder `base`; `taken` are no candidates, since they are
    listed under their own names. Each folder is read once."""

    def __init__(self, base: Path, taken: Collection[str] = ()):
        self._base, self._taken = base, taken
        self._names: dict[str, tuple[str, ...]] = {}

    def of(self, path: Path) -> str | None:
        """The path, from `base` where it lies below that, of what was probably meant; None where there is nothing.

        Tried are backslashes, `~`, file://, %20, blanks or quotation marks around names, letter case, composed or
        decomposed accents, another or no suffix, an absolute path of another machine, a slip of the pen, and the same
        name in a folder below.
        """
        inside = f"{self._base}{os.sep}"
        for reading in _readings(str(path).removeprefix(inside)):
            found = self._resolve(reading)
            if found is not None:
                return found.removeprefix(inside)
        found = self._below.get(_key(re.split(r"[/\\]", str(path))[-1]))
        return found.removeprefix(inside) if found and found not in self._taken else None

    @functools.cached_property
    def _below(self) -> dict[str, str]:
        """Files in the folders below, by their names' keys; not all where there are many."""
        found: dict[str, str] = {}
        for folder, _, names in os.walk(self._base):
            found |= {_key(name): os.path.join(folder, name) for name in names if not name.startswith(".")}
            if len(found) > _MOST_NAMES:
                break
        return found

    def _resolve(self, listed: str) -> str | None:
        """The file below `base`, or anywhere if `listed` is absolute, whose path is alike."""
        parts = [part for part in listed.split("/") if part not in ("", ".")]
        place = "/" if listed.startswith("/") else str(self._base)
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            found = part if part == ".." else self._alike(place, part, is_last)
            if found is None:
                return None
            place = os.path.join(place, found)
        return place if parts and os.path.isfile(place) and place not in self._taken else None

    def _alike(self, folder: str, name: str, is_file: bool) -> str | None:
        names = self._listed(folder)
        if name in names:
            return name
        key, stem = _key(name), _key(os.path.splitext(name)[0])
        same = next((other for other in names if _key(other) == key), None)
        if same is not None or not is_file:
            return same
        same = next((other for other in names if _key(os.path.splitext(other)[0]) in (stem, key)), None)
        if same is not None or len(names) > _MOST_NAMES:
            return same
        free = [other for other in names if os.path.join(folder, other) not in self._taken]
        return next(iter(difflib.get_close_matches(name, free, 1, 0.8)), None)

    def _listed(self, folder: str) -> tuple[str, ...]:
        if folder not in self._names:
            try:
                names = tuple(sorted(name for name in os.listdir(folder) if not name.startswith(".")))
            except (OSError, ValueError):  # no folder, or no name of one
                names = ()
            self._names[folder] = names
        return self._names[folder]


def is_there(missing: str, found: str) -> str:
    """In words; names that look alike are told apart."""
    if unicodedata.normalize("NFC", missing).strip() != unicodedata.normalize("NFC", found):
        return f"{found} is there"
    what = "accents written otherwise" if missing.strip() == missing else "no blanks around its name"
    return f"{found} is there, with {what}"


def _readings(listed: str) -> Iterator[str]:
    """What may be meant, the likeliest first."""
    readings = [listed, listed.strip(), listed.strip(" \t'\"")]
    if listed.lower().startswith("file:"):
        readings.append(urllib.parse.unquote(re.sub(r"^file:/+(localhost/+)?", "/", listed, flags=re.IGNORECASE)))
    readings += [urllib.parse.unquote(reading) for reading in readings]
    if "\\" in listed:
        readings += [PureWindowsPath(reading).as_posix() for reading in readings]
    if listed.startswith("~"):
        readings.append(os.path.expanduser(listed))
    readings = list(dict.fromkeys(readings))
    yield from readings
    for reading in readings:  # the path of another machine, or seen from another folder: the longest end that is there
        parts = [part for part in reading.split("/") if part not in ("", ".", "..")]
        for number in range(1, len(parts)):
            yield "/".join(parts[number:])


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()
