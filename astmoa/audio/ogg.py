"""Ogg: pages with a clock (granule position), whose last one tells libsndfile where a stream ends.

A stream may be followed by another one (chained); libsndfile decodes the first. So every link of a chain is a part of
its own. The clock of a last page that cannot be right, or is missing, is replaced by a later one: then libsndfile
decodes to the end.
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass, field

from astmoa.audio.parts import Part
from astmoa.audio.plain_files import PlainFile

_HEAD = struct.Struct("<4sBBqIII")  # OggS, version, flags, granule position, serial, sequence, checksum
_FIRST, _LAST = 2, 4
_BLOCK = 65_536
_MARGIN_SECONDS = 2.0
_MOST_PAGES = 300_000
_LATER = 1 << 40
_VORBIS_HEAD = 30
# Opus: ticks of 1/48000 s of one frame, by a packet's first five bits.
_OPUS_RATE = 48_000
_OPUS_FRAMES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


@dataclass(frozen=True)
class _Page:
    """table: the sizes of its segments, of which a packet's last one is below 255."""

    start: int
    body: int
    end: int
    flags: int
    granule: int
    serial: int
    table: bytes

    @property
    def packets(self) -> int:
        """How many packets end on it."""
        return len(self.table) - self.table.count(255)


@dataclass
class _Link:
    """One stream of a chain: the beginning of its first packet, and its pages, of which `clocks` tell a position. cut:
    the last page is not all there; bounded: the look ended before the stream did; mixed: there are other streams'
    pages between."""

    first: bytes
    pages: list[_Page] = field(default_factory=list)
    clocks: list[_Page] = field(default_factory=list)
    cut: bool = False
    bounded: bool = False
    mixed: bool = False

    @functools.cached_property
    def rate(self) -> int:
        """Of the clock; 0 where the codec is none that libsndfile reads."""
        if self.first[:7] == b"\x01vorbis":
            return int.from_bytes(self.first[12:16], "little")
        return _OPUS_RATE if self.is_opus else 0

    @property
    def is_opus(self) -> bool:
        return self.first[:8] == b"OpusHead"

    def add(self, page: _Page) -> None:
        self.mixed |= bool(self.pages) and page.serial != self.pages[0].serial
        self.pages.append(page)
        if page.granule >= 0:
            self.clocks.append(page)

    def passed(self) -> float:
        """Seconds up to the last clock but one: the last one may be wrong."""
        if len(self.clocks) < 2 or not self.rate:
            return 0.0
        return (self.clocks[-2].granule - self.clocks[0].granule) / self.rate

    def most_ticks(self, file: PlainFile, page: _Page) -> int:
        """How far the packets of a page can bring the clock."""
        if self.is_opus:
            return _opus_ticks(file.read_at(page.body, page.end - page.body), page.table)
        return page.packets << max(0, (self.first[28] >> 4) - 1)  # half of the longer block, each


def parts(file: PlainFile, start: int, seconds: float | None) -> list[Part]:
    """One part per link of the chain, with an end that is right for its first `seconds` at least."""
    links = _links(file, start, seconds)
    found = []
    for number, link in enumerate(links):
        begin = link.pages[0].start if number else 0
        end = links[number + 1].pages[0].start if number + 1 < len(links) else file.size
        if link.bounded:  # without the last clock, which may be wrong
            end = link.clocks[-2].end if len(link.clocks) > 1 else link.pages[-1].end
        found.append(_part(file, link, begin, end))
    return found


def _part(file: PlainFile, link: _Link, begin: int, end: int) -> Part:
    times = math.inf if link.cut else 1.0
    if link.mixed or not link.rate or link.bounded:
        return Part(begin, end, times=times)
    page = link.pages[-1]
    content = bytearray(file.read_at(page.start, page.end - page.start))
    if _clock_is_right(file, link):
        if page.flags & _LAST or not link.is_opus:
            return Part(begin, end, times=times)
        content[5] |= _LAST  # libsndfile takes a shortened last packet for an error without it
        return Part(begin, end, _patched(page, content), times=times)
    content[5] &= ~_LAST  # otherwise decoders cut the last packet where the clock says
    later = _LATER + max(0, link.clocks[-1].granule if link.clocks else 0) % _LATER
    content[6:14] = later.to_bytes(8, "little")
    return Part(begin, end, _patched(page, content), sure=False, times=times)


def _clock_is_right(file: PlainFile, link: _Link) -> bool:
    """Whether the last clock is no earlier than the one before, and no later than the packets since can bring it."""
    if not link.clocks:
        return False
    last, before = link.clocks[-1], link.clocks[-2] if len(link.clocks) > 1 else None
    since = [page for page in link.pages if before is None or page.start > before.start]
    if any(page.packets for page in since if page.start > last.start):
        return False
    start = before.granule if before else 0
    return start <= last.granule <= start + sum(link.most_ticks(file, page) for page in since)


def _opus_ticks(body: bytes, table: bytes) -> int:
    """The length of the packets that begin on a page."""
    ticks, place, begins = 0, 0, True
    for size in table:
        if begins and size:
            head = body[place : place + 2]
            frames = (1, 2, 2, head[-1] & 63)[head[0] & 3] if head else 0
            ticks += frames * _OPUS_FRAMES[head[0] >> 3] if head else 0
        begins, place = size < 255, place + size
    return ticks


def _patched(page: _Page, content: bytearray) -> dict[int, bytes]:
    content[22:26] = bytes(4)
    content[22:26] = _checksum(content).to_bytes(4, "little")
    return {page.start: bytes(content)}


def _links(file: PlainFile, start: int, seconds: float | None) -> list[_Link]:
    """Every page's head is read; what lies between pages is skipped, as libogg does."""
    links: list[_Link] = []
    place: int | None = start
    while place is not None and place < file.size:
        page = _page(file, place)
        if page is None:
            place = _next(file, place + 1)
            continue
        if not links or (page.flags & _FIRST and not links[-1].pages[-1].flags & _FIRST):
            links.append(_Link(file.read_at(page.body, _VORBIS_HEAD)))
        link, place = links[-1], page.end
        if page.end > file.size or len(link.pages) >= _MOST_PAGES:
            link.cut, link.bounded = page.end > file.size, page.end <= file.size
            break
        link.add(page)
        if seconds is not None and link.passed() > seconds + _MARGIN_SECONDS:
            link.bounded = True
            break
    return [link for link in links if link.pages]


def _page(file: PlainFile, place: int) -> _Page | None:
    head = file.read_at(place, _HEAD.size + 256)
    if len(head) <= _HEAD.size or head[:5] != b"OggS\0":
        return None
    _, _, flags, granule, serial, *_ = _HEAD.unpack_from(head)
    table = head[_HEAD.size + 1 : _HEAD.size + 1 + head[_HEAD.size]]
    body = place + _HEAD.size + 1 + head[_HEAD.size]
    return _Page(place, body, body + sum(table), flags, granule, serial, table)


def _next(file: PlainFile, place: int) -> int | None:
    while block := file.read_at(place, _BLOCK):
        at = block.find(b"OggS\0")
        if at >= 0:
            return place + at
        if len(block) < _BLOCK:
            return None
        place += len(block) - 4
    return None


@functools.cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C1_1DB7) & 0xFFFF_FFFF if value & 0x8000_0000 else value << 1
        table.append(value)
    return tuple(table)


def _checksum(page: bytes | bytearray) -> int:
    """Ogg's: the polynomial of zip's, in the other direction, which Python's library does not have."""
    table, value = _table(), 0
    for byte in page:
        value = (value << 8 & 0xFFFF_FFFF) ^ table[value >> 24 ^ byte]
    return value
