"""FLAC: is the number of samples in its first block that of its last frame?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from astmoa.audio.parts import Part
from astmoa.audio.plain_files import PlainFile

HEADER = 42  # "fLaC", the head of a block, and the 34 bytes of the first one, STREAMINFO
_LARGEST_FRAME, _MOST_LOOKED_AT = 65_536, 1 << 18
_MAY_BEGIN = re.compile(rb"\xff[\xf8\xf9]")
_ID3V1 = 128


@dataclass(frozen=True)
class Info:
    """What STREAMINFO tells: samples of one channel (0: unknown), bits of each, the digest of all of them, the largest
    block in samples and the largest frame in bytes (0: unknown)."""

    samples: int
    bits: int
    md5: bytes
    block: int
    frame: int


def info(block: bytes) -> Info | None:
    """From the first 42 bytes; None where they are no FLAC's."""
    if len(block) < HEADER or block[:4] != b"fLaC" or block[4] & 127 != 0:
        return None
    bits = ((block[20] & 1) << 4 | block[21] >> 4) + 1
    samples = (block[21] & 15) << 32 | int.from_bytes(block[22:26])
    return Info(samples, bits, block[26:42], int.from_bytes(block[10:12]), int.from_bytes(block[15:18]))


def without_samples(block: bytes) -> bytes:
    """The same 42 bytes with an unknown number of samples: then libsndfile decodes to the end."""
    return block[:21] + bytes([block[21] & 0xF0]) + bytes(4) + block[26:]


def part(file: PlainFile, start: int) -> Part:
    """The file, with an unknown number of samples where its last frame does not end with the announced one."""
    block = file.read_at(start, HEADER)
    known = info(block)
    if known is None:
        return Part(0, file.size)
    end = file.size - (_ID3V1 if file.read_at(file.size - _ID3V1, 3) == b"TAG" else 0)
    frames = _frames(file, start + HEADER, end, known)
    ends, begins = {last for _, last in frames}, {first for first, _ in frames}
    if known.samples in ends - begins:  # and no frame follows
        return Part(0, file.size)
    return Part(0, end, {start: without_samples(block)}, sure=False, announced=known.samples)


def _frames(file: PlainFile, first: int, end: int, known: Info) -> set[tuple[int, int]]:
    """The first sample, and the one behind the last, of every frame that begins in the last bytes of the file."""
    begin = max(first, end - min(known.frame or _LARGEST_FRAME, _MOST_LOOKED_AT) - 16)
    tail = file.read_at(begin, end - begin)
    heads = (tail[found.start() : found.start() + 16] for found in _MAY_BEGIN.finditer(tail))
    return {samples for head in heads if (samples := _samples(head, known.block)) is not None}


def _samples(head: bytes, block: int) -> tuple[int, int] | None:
    """The first sample, and the one behind the last, of the frame that `head` begins; None where it begins none."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[3] & 1:
        return None
    length = 1 if head[4] < 0x80 else 8 - (head[4] ^ 0xFF).bit_length()  # of a number in UTF-8's way
    if length == 8 or (length == 1 and head[4] >= 0x80):
        return None
    number = head[4] & (0x7F if length == 1 else (1 << 7 - length) - 1)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    place, code = 4 + length, head[2] >> 4
    if code in (6, 7):
        samples = int.from_bytes(head[place : place + code - 5]) + 1
        place += code - 5
    else:
        samples = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    place += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if place >= len(head) or _crc8(head[:place]) != head[place]:
        return None
    start = number if head[1] & 1 else number * block
    return start, start + samples


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 7) & 0xFF if value & 0x80 else value << 1
    return value


def is_whole(known: Info, blocks: Callable[[], Iterable[np.ndarray]]) -> bool:
    """Whether decoded samples, [frames, channels] int32 as libsndfile scales them, give the digest that was announced.

    False also where none was.
    """
    if not any(known.md5):
        return False
    width, digest = -(-known.bits // 8), hashlib.md5(usedforsecurity=False)
    for block in blocks():
        samples = np.ascontiguousarray(block >> 32 - known.bits, dtype="<i4")
        digest.update(samples.view(np.uint8).reshape(-1, 4)[:, :width].tobytes())
    return digest.digest() == known.md5
