"""Fields that a configuration gets after trials have been run: they must not rename those."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

Value = TypeVar("Value")


def later(default: Value) -> Value:
    """A dataclass's field that was not there when the first trials were named; at its default it is no part of a hash.

    Every field that a configuration gets from now on is one: `gain: float = later(1.0)`. Its default means what trials
    did before there was the field, for ever.
    """
    return dataclasses.field(default=default, metadata={"later": True})


def identity(config: Any) -> dict[str, Any]:
    """What a configuration's hash is made of, as nested dictionaries: all its fields, but for later ones that are at
    their defaults."""
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not (field.metadata.get("later") and value == field.default):
            values[field.name] = identity(value) if dataclasses.is_dataclass(value) else value
    return values
