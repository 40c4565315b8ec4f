"""JSON values that somebody got wrong: of another type, absent, absurdly large or deep."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_DEEP = "@nested very deep@"
_HUGE = "@a number of 5000 digits@"
STRANGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 3.7, 10**400, -(10**30), 1e308, "", "x" * 200_000, "../../../escaped", "a\nb\x1b[31m", [], {}),
    *([None], [[1, 2], [3]], {"a": {"b": 1}}, "\ud800", "NaN", [0.1] * 3, _DEEP, _HUGE),
)


def dumps(value: Any) -> bytes:
    """As JSON, with what Python does not write."""
    text = json.dumps(value).replace(f'"{_DEEP}"', 100_000 * "[" + 100_000 * "]").replace(f'"{_HUGE}"', 5000 * "9")
    return text.encode()


def mutate(value: Any, rng: random.Random) -> Any:
    """A copy with one to three places, wherever they are, made strange, removed, or swapped with another."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return value
        holder, key = rng.choice(places)
        what = rng.random()
        if what < 0.15:
            del holder[key]
        elif what < 0.3:
            other, name = rng.choice(places)
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = copy.deepcopy(rng.choice(STRANGE))
    return value


def _places(value: Any):
    """(container, key) of everything inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)
