"""What a file from somewhere else says, read into types with bounds; what is wrong with it is one line."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

STRICT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
"""For the records that files are read into: no text for a number, no NaN, and what a later version adds is kept."""


def read_bytes(path: Path, most: int) -> bytes:
    """All that a file holds. Raises OSError, and ValueError where it is no regular file or has more than `most` bytes:
    then it is not read at all. What /dev holds, such as a shell's pipe, is read all the same: only its user names it.
    """
    if not Path(path).absolute().is_relative_to("/dev"):
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


def checked(kind: TypeAdapter, value: Any) -> Any:
    """The value, which is of this kind. Raises ValueError with the place and the reason of the first thing wrong."""
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:100]
    raise ValueError(f"{where}: {first['msg']}" if where else first["msg"])


def first_line(error: BaseException) -> str:
    """Of what an error says, and never empty: libraries write several lines, or none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
