"""Files that appear whole under their name, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

_STALE_SECONDS = 3600  # no write takes as long
_UNFINISHED = re.compile(r"[0-9a-f]{16}\.tmp|\d+")  # and what earlier versions called it, after the process


def unfinished_name(path: Path) -> Path:
    """A hidden name beside `path` to write under, another one every time.

    Not the process id: machines that share a folder may have the same ones, and a container always has the same.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write under; it takes its place at the end, or is removed if the writing fails.

    What a killed process left there is removed by a write an hour later.
    """
    path = Path(path)
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename:
            error.filename = str(path)  # nobody has heard of the other name
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    _remove_stale(path)


def check_place(path: Path) -> None:
    """Can a file be written there? Raises OSError that names `path` where not."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(21, "Is a directory", str(path))
    unfinished = unfinished_name(path)
    try:
        unfinished.touch(exist_ok=False)
        unfinished.unlink()
    except OSError as error:
        error.filename = str(path)
        raise


def _remove_stale(path: Path) -> None:
    with contextlib.suppress(OSError):  # another process removed it first, say: the write itself is done
        now = path.stat().st_mtime  # by the clock of whoever keeps the folder, which may be another machine
        for other in path.parent.iterdir():
            rest = other.name.removeprefix(f".{path.name}.")
            if rest != other.name and _UNFINISHED.fullmatch(rest) and now - other.stat().st_mtime > _STALE_SECONDS:
                other.unlink()
