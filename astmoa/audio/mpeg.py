"""MPEG audio (MP3 and its elder sisters): a row of frames, without a length unless an encoder added one.

libsndfile asks libmpg123, which takes the number of frames from an information frame (Xing, Info, VBRI) if there is
one, and otherwise guesses it from the first frame's bit rate and the size of the file: wrong for every variable rate.
Here frames are counted, by their heads alone. An information frame with another number is mended. Without one,
libmpg123 is not told the file's size (`Part.shy`): then it counts itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from astmoa.audio.parts import ID3, Part, skip_id3
from astmoa.audio.plain_files import PlainFile

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
# Kilobits per second by the head's code, for MPEG-1's layers 1, 2, 3, then for MPEG-2's layer 1, and 2 and 3.
_BIT_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MARGIN_SECONDS = 2.0  # what is counted beyond the wanted part: encoders' delays, and more
_BLOCK, _FIRST_BLOCK = 65_536, 4_096
# What may begin a frame, by its first three bytes; and how many such places are looked at before one gives up.
_MAY_BEGIN = re.compile(rb"(?=\xff[\xe2-\xff][\x10-\xef])", re.DOTALL)
_MOST_TRIES, _MOST_TAGS = 50_000, 10_000


@dataclass(frozen=True)
class _Head:
    """A frame's head. kind: what all frames of one stream share; size: bytes, 0 where the head does not tell."""

    kind: tuple[int, int, int]
    size: int
    samples: int
    rate: int
    side: int
    """Bytes of layer 3's side information, behind which an information frame has its name."""


def _head(four: bytes) -> _Head | None:
    if len(four) < 4 or four[0] != 0xFF or four[1] & 0xE0 != 0xE0:
        return None
    version, layer = four[1] >> 3 & 3, 4 - (four[1] >> 1 & 3)
    code, rate_code, padding = four[2] >> 4, four[2] >> 2 & 3, four[2] >> 1 & 1
    if version == 1 or layer == 4 or code == 15 or rate_code == 3:
        return None
    first = version == 3
    rate = _RATES[version][rate_code]
    bits = 1000 * _BIT_RATES[(1, layer) if first else (2, min(layer, 2))][code]
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    size = (12 * bits // rate + padding) * 4 if layer == 1 else samples // 8 * bits // rate + padding
    mono = four[3] >> 6 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return _Head((version, layer, rate_code), size if code else 0, samples, rate, side)


def is_frame(four: bytes) -> bool:
    """Whether a file that begins with these bytes may be MPEG audio."""
    return _head(four) is not None


@dataclass
class _Count:
    """What was found: frames, and where the last one ends; bytes in frames; bytes in the wanted part, between frames
    and behind the last one, that are neither in frames nor in tags; whether there are frames of another kind, and
    whether the count ended before the file did."""

    end: int
    frames: int = 0
    sound: int = 0
    between: int = 0
    behind: int = 0
    mixed: bool = False
    bounded: bool = False


def part(file: PlainFile, start: int, end: int, seconds: float | None) -> Part | None:
    """The stream from `start` to `end`, with a length that is right for its first `seconds` at least; None where it
    is no such stream. Frames whose heads tell no size (free format) are counted by libmpg123 alone."""
    first = skip_id3(file, start)
    head = _head(file.read_at(first, 4))
    if head is None:
        return None
    if not head.size:
        return Part(start, end, shy=True)
    count = _count(file, first, end, head, seconds)
    told = _information(file, first, head)
    announced, place, size = told or (None, first, None)
    frames = count.frames - (told is not None)
    patches: dict[int, bytes] = {}
    if announced is not None and announced != frames and not (count.bounded and announced > frames):
        cut = size is not None and size > end - first + head.size
        if cut or (size is None and announced > frames):
            return Part(start, end, announced=announced * head.samples)
        patches = {place: frames.to_bytes(4)}
    # Behind as many frames as were announced, anything may follow but another recording.
    lost: float = count.between + (count.behind if announced != frames or count.mixed else 0)
    lost *= count.frames * head.samples / head.rate / max(1, count.sound)
    if announced is not None:
        return Part(start, end, patches, lost=lost)
    end = count.end if count.bounded else end
    return Part(start, end, announced=frames * head.samples, lost=lost, shy=True)


def _count(file: PlainFile, first: int, end: int, head: _Head, seconds: float | None) -> _Count:
    per_second = head.rate / head.samples
    wanted = None if seconds is None else seconds * per_second
    count, tags = _Count(first), 0
    while count.end < end and not count.bounded:
        four = file.read_at(count.end, 4)
        frame = _head(four)
        if frame is not None and frame.kind == head.kind and frame.size:
            if count.end + frame.size > end:
                break  # the last one is cut: libmpg123 does not take it either
            count.frames += 1
            count.sound += frame.size
            count.end += frame.size
            count.bounded = wanted is not None and count.frames > wanted + _MARGIN_SECONDS * per_second
        elif four[:3] == ID3 and tags < _MOST_TAGS:
            tags += 1
            count.end = skip_id3(file, count.end)
        elif four[:3] == b"TAG" or four in (b"APET", b"LYRI"):
            break
        else:
            found = _next(file, count.end + 1, end, head.kind)
            missed = 0 if wanted is not None and count.frames >= wanted else (found or end) - count.end
            if found is None:
                count.behind = missed if any(file.read_at(count.end, _BLOCK)) else 0  # or filled up with zeros
                count.mixed = _next(file, count.end, end, None) is not None
                break
            count.between += missed
            count.end = found
    return count


def _next(file: PlainFile, place: int, end: int, kind: tuple[int, int, int] | None) -> int | None:
    """Where the next frame of a kind, or of any, begins that is followed by another one of its own."""
    tries, size = 0, _FIRST_BLOCK
    while place < end:
        block = file.read_at(place, min(size, end - place))
        for found in _MAY_BEGIN.finditer(block):
            if _is_followed(file, place + found.start(), end, kind):
                return place + found.start()
            tries += 1
            if tries > _MOST_TRIES:
                return None
        size = _BLOCK
        place += max(1, len(block) - 2)  # a head may lie across the border
    return None


def _is_followed(file: PlainFile, place: int, end: int, kind: tuple[int, int, int] | None) -> bool:
    for _ in range(2 if kind else 3):
        if place == end and kind:
            return True
        frame = _head(file.read_at(place, 4))
        if frame is None or not frame.size or frame.kind != (kind or frame.kind):
            return False
        kind, place = frame.kind, place + frame.size
    return True


def _information(file: PlainFile, first: int, head: _Head) -> tuple[int | None, int, int | None] | None:
    """What an information frame in the first place says: frames, where that stands, and bytes; None for what is not
    said, and where the first frame is sound."""
    frame = file.read_at(first, head.size)
    for name, at in ((b"Xing", 4 + head.side), (b"Info", 4 + head.side), (b"VBRI", 36)):
        if head.kind[1] != 3 or frame[at : at + 4] != name:
            continue
        if name == b"VBRI":
            return int.from_bytes(frame[at + 14 : at + 18]), first + at + 14, int.from_bytes(frame[at + 10 : at + 14])
        flags, at = int.from_bytes(frame[at + 4 : at + 8]), at + 8
        announced = int.from_bytes(frame[at : at + 4]) if flags & 1 else None
        size_at = at + 4 * (flags & 1)
        size = int.from_bytes(frame[size_at : size_at + 4]) if flags & 2 else None
        return announced, first + at, size
    return None
