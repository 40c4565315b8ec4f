"""What happens to a file on its way: flipped bits, a cut, bytes too many, parts twice or in another place."""

from __future__ import annotations

import random

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
