"""What a file from somewhere else says, read into types with bounds; what is wrong with it is one line."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from astmoa.errors import printable

STRICT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
"""For the records that files are read into: no text for a number, no NaN, and what a later version adds is kept."""


def checked(kind: TypeAdapter, value: Any) -> Any:
    """The value, which is of this kind. Raises ValueError with the place and the reason of the first thing wrong."""
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = printable(".".join(str(part) for part in first["loc"]), 100)
    raise ValueError(f"{where}: {first['msg']}" if where else first["msg"])
