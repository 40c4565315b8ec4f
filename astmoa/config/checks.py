"""One line for an impossible value: the key, the value, what is allowed."""

from __future__ import annotations

import math

from astmoa.errors import require

MOST = 1_000_000
"""Largest number of anything that is counted, such as epochs; `checks` that know better say less."""


def at_least_one(prefix: str, config: object, *names: str, most: int = MOST) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None:
            ok = type(value) is int and value >= 1
            require(ok, f"{prefix}.{name}", value, "give a whole number of at least 1")
            require(value <= most, f"{prefix}.{name}", value, f"at most {most:,}")


def positive(prefix: str, config: object, *names: str, zero: bool = False) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None:
            ok = is_finite(value) and (value > 0 or (zero and value == 0))
            require(ok, f"{prefix}.{name}", value, f"give a number {'of at least' if zero else 'above'} 0")


def is_finite(value: object) -> bool:
    """Is it a number that a float can hold?"""
    try:
        return (type(value) is int or type(value) is float) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
