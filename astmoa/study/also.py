"""`--also my_adapters.py:Scaled,bottleneck_dim=8`: methods of the user's own, beside what a study compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, overload

from astmoa.config import MethodConfig
from astmoa.config.proposals import Point
from astmoa.errors import ConfigError
from astmoa.methods.method import find_method
from astmoa.search.space import Space


@overload
def with_methods(planned: Space, also: Sequence[str]) -> Space: ...
@overload
def with_methods(planned: list[Point], also: Sequence[str]) -> list[Point]: ...
def with_methods(planned: list[Point] | Space, also: Sequence[str]) -> list[Point] | Space:
    """The study's points and these, a point each; or its space with a branch more for each.

    Raises ConfigError for a method or a dial that there is not.
    """
    for text in also:
        method, given = parse(text)
        if isinstance(planned, Space):
            planned = planned.and_method(method, given)
        else:
            planned = [*planned, Point(_label(method, given), method)]
    return planned


def parse(text: str) -> tuple[MethodConfig, tuple[str, ...]]:
    """A method as it is written on a command line, NAME,DIAL=VALUE,..., and the names of the dials that are given."""
    name, *settings = text.split(",")
    method = find_method(name)
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(
                f"--also {text}: {setting!r} is no dial: write NAME,DIAL=VALUE, such as {name},pooling=cls"
            )
        if key in method.own:
            own[key] = _value(value, type(method.own[key].default))
        elif key in (*method.dials, "pooling"):
            shared[key] = _shared(key, value)
        else:
            dials = ", ".join((*method.dials, *method.own, "pooling"))
            raise ConfigError(f"--also {text}: {name} has no {key}; its dials are {dials}")
    return MethodConfig(name, **shared, own=own), (*shared, *own)


def _shared(key: str, value: str) -> Any:
    if key == "layers":  # 0+2+5
        return tuple(_value(index, int) for index in value.split("+"))
    default = next(field.default for field in dataclasses.fields(MethodConfig) if field.name == key)
    return _value(value, int if key == "num_virtual_tokens" else type(default) if default is not None else str)


def _value(text: str, kind: type) -> Any:
    """The text as a value of this type, or as it is: then whoever checks the dial says what is wrong."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def _label(method: MethodConfig, given: Sequence[str]) -> str:
    """Such as `Scaled r8 scale 10`."""
    name = method.name.rpartition(":")[2]
    form = {"bottleneck_dim": "r{}"}
    return " ".join([name, *(form.get(key, f"{key} {{}}").format(getattr(method, key)) for key in given)])
