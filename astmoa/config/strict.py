"""Nested mappings (a YAML file, a journal line) to configurations: an unknown key or a wrong type is an error."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from astmoa.config.checks import is_finite
from astmoa.errors import ConfigError, shown


def build(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        key = prefix.removesuffix(".") or "configuration"
        raise ConfigError(f"{key}={shown(values)} is not possible: give a mapping of keys to values")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            named = prefix + (key if isinstance(key, str) and key.isidentifier() and len(key) < 100 else shown(key))
            raise ConfigError(f"unknown key {named}: known are {', '.join(prefix + name for name in hints)}")
    return cls(**{key: _value(hints[key], value, prefix + key) for key, value in values.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, key + ".")
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    for option in options:
        origin = typing.get_origin(option)
        if origin is tuple and isinstance(value, list | tuple):
            item = typing.get_args(option)[0]
            return tuple(_value(item, element, f"{key}[{index}]") for index, element in enumerate(value))
        if origin is Mapping and isinstance(value, dict):
            kind = typing.get_args(option)[1]
            return {name: _value(kind, item, f"{key}.{shown(name)}") for name, item in value.items()}
        if origin is Literal and value in typing.get_args(option):
            return value
        if option is float and (is_finite(value) or type(value) is float):
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
    hint = f", without quotes and as {float(value)!r}" if isinstance(value, str) and _is_number(value) else ""
    raise ConfigError(f"{key}={shown(value)} is not possible: give {wanted}{hint}")


def _is_number(text: str) -> bool:
    """Also what YAML takes for text, such as 5e-3."""
    try:
        return is_finite(float(text))
    except ValueError:
        return False
