"""Nested mappings (a YAML file, a journal line) to configurations: an unknown key or a wrong type is an error."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal

from astmoa.errors import ConfigError


def build(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix or 'configuration'}={values!r} is not possible: give a mapping of keys to values")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(f"unknown key {prefix}{key}: known are {', '.join(prefix + name for name in hints)}")
    return cls(**{key: _value(hints[key], value, prefix + key) for key, value in values.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(hint, value, key + ".")
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    for option in options:
        origin = typing.get_origin(option)
        if origin is tuple and isinstance(value, list | tuple):
            item = typing.get_args(option)[0]
            return tuple(_value(item, element, f"{key}[{index}]") for index, element in enumerate(value))
        if origin is Literal and value in typing.get_args(option):
            return value
        if option is float and type(value) in (int, float):
            return float(value)
        if option is Path and type(value) is str:
            return Path(value)
        if origin is None and type(value) is option:
            return value
    wanted = ", ".join(
        "one of " + ", ".join(map(str, typing.get_args(o)))
        if typing.get_origin(o) is Literal
        else getattr(o, "__name__", str(o))
        for o in options
    )
    hint = "" if not isinstance(value, str) or not _is_number(value) else f", without quotes and as {float(value)!r}"
    raise ConfigError(f"{key}={value!r} is not possible: give {wanted}{hint}")


def _is_number(text: str) -> bool:
    """Also what YAML takes for text, such as 5e-3."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
