"""What happens to a file on its way: flipped bits, a cut, bytes too many, parts twice or in another place. And to what
it says, where a program or a person has written something else there."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from typing import Any

_SIZES = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")


def damage(content: bytes, rng: random.Random) -> bytes:
    """`content` after one to four mishaps, each at a place that `rng` draws."""
    for _ in range(rng.randint(1, 4)):
        content = rng.choice(_MISHAPS)(content, rng)
    return content


def _slice(content: bytes, rng: random.Random) -> tuple[int, int]:
    """Where a part begins and ends: mostly a few bytes, at times most of the file."""
    start = rng.randint(0, len(content))
    longest = rng.choice((4, 64, 1024, len(content)))
    return start, min(len(content), start + rng.randint(1, max(1, longest)))


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    flipped = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _cut_end(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    start, end = _slice(content, rng)
    return content[:start] + content[end:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start, _ = _slice(content, rng)
    return content[:start] + rng.randbytes(rng.choice((1, 4, 100, 5000))) + content[start:]


def _double(content: bytes, rng: random.Random) -> bytes:
    start, end = _slice(content, rng)
    return content[:end] + content[start:end] + content[end:]


def _swap(content: bytes, rng: random.Random) -> bytes:
    first, middle, last = sorted(rng.randint(0, len(content)) for _ in range(3))
    return content[:first] + content[middle:last] + content[first:middle] + content[last:]


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    start, end = _slice(content, rng)
    return content[:start] + rng.choice((b"\x00", b"\xff")) * (end - start) + content[end:]


def _promise(content: bytes, rng: random.Random) -> bytes:
    """Four bytes become the largest number, signed or not: often a length or a count."""
    start = rng.randint(0, min(len(content), rng.choice((64, 4096, len(content)))))
    return content[:start] + rng.choice(_SIZES) + content[start + 4 :]


_MISHAPS = (_flip, _cut_end, _cut_out, _insert, _double, _swap, _overwrite, _promise)


def distort(value: Any, rng: random.Random) -> Any:
    """A copy of what JSON or YAML can hold, with one to three parts gone, doubled or replaced by something odd."""
    held = [copy.deepcopy(value)]
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(list(_places(held)))
        how = rng.random()
        if how < 0.15 and holder is not held:
            del holder[key]
        elif how < 0.25 and isinstance(holder, list) and holder is not held:
            holder.insert(rng.randint(0, len(holder)), copy.deepcopy(holder[key]))
        elif how < 0.35 and isinstance(holder[key], dict):
            holder[key][rng.choice(("", "other", "x" * 5000, "\x1b[2J", "a\nb"))] = _odd(rng)
        elif how < 0.5 and type(holder[key]) in (int, float) and abs(holder[key]) < 1e100:
            holder[key] *= rng.choice((-1, 0, 10, 1000, 1e9, 0.5))
        else:
            holder[key] = _odd(rng)
    return held[0]


def _places(held: Any):
    """Every part below, as the list or dictionary that holds it and its place there."""
    for key in range(len(held)) if isinstance(held, list) else list(held):
        yield held, key
        if isinstance(held[key], dict | list):
            yield from _places(held[key])


def _odd(rng: random.Random) -> Any:
    return rng.choice(_ODD)()


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested]
    return nested


_ODD: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2,
    lambda: 10**6,
    lambda: 2**63,
    lambda: 10**400,
    lambda: 0.5,
    lambda: 1e308,
    lambda: math.nan,
    lambda: math.inf,
    lambda: "",
    lambda: "1",
    lambda: "../../escaped",
    lambda: "\x1b]0;title\x07\x1b[2J",
    lambda: "a\nb\u202e",
    lambda: "\udcff",
    lambda: "x" * 200_000,
    lambda: [],
    lambda: {},
    lambda: [1, 2, 3],
    lambda: [None] * 1000,
    lambda: {"name": None},
    _deep,
)
