"""Files from somewhere else, read within bounds; what is wrong with one is a ValueError in one line, or an OSError."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from astmoa.errors import ConfigError, shown

_PIPES = (Path("/dev/fd"), Path("/dev/stdin"))


def as_path(name: str, value: object) -> Path:
    """What a program gave as a path. Raises ConfigError for what is none."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ConfigError(f"{name}={shown(value)} is no path: give a text or a pathlib.Path")
    return Path(os.fsdecode(value))


def read_bytes(path: Path, most: int) -> bytes:
    """All that a file holds. Raises OSError, and ValueError where it is no regular file or has more than `most` bytes:
    then it is not read at all. A pipe of the shell's is read all the same: only its user names it."""
    if not any(Path(path).is_relative_to(pipe) for pipe in _PIPES):
        require_file(path)
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def require_file(path: Path) -> None:
    """Raises OSError where there is nothing, ValueError where it is no regular file: a pipe would be waited for."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError("it is no file")


def read_json(path: Path, most: int) -> Any:
    """The value in a JSON file of at most `most` bytes. Raises as `read_bytes`, and ValueError where it is no JSON."""
    return parse_json(read_bytes(path, most))


def parse_json(text: bytes | str) -> Any:
    """As `json.loads`, which raises RecursionError, too. Raises ValueError alone."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def first_line(error: BaseException) -> str:
    """Of what an error says, and never empty: libraries write several lines, or none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
