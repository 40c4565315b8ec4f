"""Labels and groups as people type them: what is none, and what may be meant as one."""

from __future__ import annotations

import contextlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from astmoa.audio.csv_files import shown
from astmoa.errors import DataError

_LONGEST_LABEL = 200
_MOST_CLASSES = 50_000


def check_label(place: object, label: str) -> None:
    """Raises DataError for what can be no class's name: too long, or with characters that nobody sees or that break
    lines; `place` is for the message."""
    if len(label) > _LONGEST_LABEL:
        raise DataError(
            f"{place}: the label {shown(label)[:40]}... has {len(label):,} characters: give at most {_LONGEST_LABEL}"
        )
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in label):
        raise DataError(f"{place}: the label {shown(label)} has a control character in it: type it again")


def check_classes(place: Path, names: Iterable[str]) -> None:
    """Raises DataError for one class, and for so many that they can be none."""
    names = list(names)
    if len(names) == 1:
        what = f"{place} has one class, {shown(names[0])}"
        raise DataError(f"{what}: nothing to tell apart; add clips of another one")
    if len(names) > _MOST_CLASSES:
        what = f"{place} has {len(names):,} classes, {shown(names[0])} for one"
        raise DataError(f"{what}: give at most {_MOST_CLASSES:,}; is that the column of labels?")


def doubtful(place: object, kind: str, names: Mapping[str, str] | Counter[str]) -> list[str]:
    """One warning for every set of names that differ only in case, blanks, Unicode form or the writing
    of a number. kind: "classes" or
    "groups"; names: name -> what is said of it, such as a number of clips."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_plain(name)].append(name)
    return [
        f"{place}: {kind} {' and '.join(f'{shown(repr(name))} ({names[name]})' for name in same[:3])} differ only in "
        "case, blanks, Unicode form or a number's writing: write them alike if they are one"
        for same in alike.values()
        if len(same) > 1
    ]


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    kept = "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")
    if kept and all(c in "+-.0123456789" for c in kept):
        with contextlib.suppress(ValueError):
            return f"{float(kept):.17g}"  # 1, 01 and 1.0
    return kept or name
