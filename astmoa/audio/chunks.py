"""Formats made of chunks that announce their sizes: WAV, RF64, Wave64, AIFF, CAF, and AU with its one size."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from astmoa.audio.parts import Part
from astmoa.audio.plain_files import PlainFile

_MOST_CHUNKS = 10_000
# What programs write that cannot know a size: 0xFFFFFFFF or a little less than 2 or 4 GB; in 64 bits the like.
_UNKNOWN = {4: 0x7FFF_0000, 8: 0x7FFF_0000_0000_0000}
# So many bytes behind the sound, or an eighth of it, may be anything: they are less than a moment of sound.
_SCRAPS = 4096
_BLOCK, _MOST_ZEROS = 1 << 16, 1 << 26
# What Wave64 writes behind the four letters of a name, and behind those of the file's own.
_W64, _W64_FILE = bytes.fromhex("f3acd3118cd100c04f8edb8a"), bytes.fromhex("2e91cf11a5d628db04c10000")
# What may follow the sound, at its full size or cut.
_TAGS = {b"LIST", b"id3 ", b"ID3 ", b"fact", b"bext", b"cue ", b"smpl", b"PEAK", b"afsp", b"RIFF", b"FORM", b"APET"}


@dataclass(frozen=True)
class _Form:
    """How a format writes chunks: a name of `letters` bytes, a size, `first` the place of the first chunk.

    with_head: sizes count name and size themselves. inset: bytes of the sound's chunk before its samples. outer: place
    of the size of everything, None where there is no such size.
    """

    order: str
    sound: bytes
    letters: int = 4
    first: int = 12
    align: int = 2
    with_head: bool = False
    inset: int = 0
    outer: int | None = 4

    @property
    def head(self) -> int:
        return self.letters + struct.calcsize(self.order)


_SVX = _Form(">I", b"BODY")
_RIFF, _RIFX = _Form("<I", b"data"), _Form(">I", b"data")
_FORMS = {
    b"RIFF": _RIFF,
    b"RIFX": _RIFX,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"FORM": _Form(">I", b"SSND", inset=8),
    b"caff": _Form(">q", b"data", first=8, align=1, inset=4, outer=None),
    b"riff": _Form("<q", b"data" + _W64, letters=16, first=40, align=8, with_head=True, outer=16),
}
_AU = {b".snd": ">I", b"dns.": "<I"}


@dataclass(frozen=True)
class Sound:
    """Where the samples are, for libsndfile as `part`; is_mpeg: they are MPEG frames, not samples."""

    start: int
    length: int
    part: Part
    is_mpeg: bool = False


def find_sound(file: PlainFile, base: int) -> Sound | None:
    """The sound in the file that begins at `base`; None where it is in none of these formats, or too damaged."""
    magic = file.read_at(base, 4)
    if magic in _AU:
        return _au(file, base, _AU[magic])
    form = _FORMS.get(magic)
    if magic == b"FORM" and file.read_at(base + 8, 4) in (b"8SVX", b"16SV"):
        form = _SVX
    if form is None or (magic == b"riff" and file.read_at(base + 4, 12) != _W64_FILE):
        return None
    chunks = _chunks(file, form, base)
    place, size = chunks.get(form.sound, (0, 0))
    if not place:
        return None
    start = place + form.head + form.inset
    length = size - form.inset - (form.head if form.with_head else 0)
    field, order = place + form.letters, form.order
    wide = chunks.get(b"ds64")
    if magic in (b"RF64", b"BW64") and wide and size == 0xFFFF_FFFF:
        field, order = wide[0] + 16, "<q"
        length = _number(file, field, order) or 0
    outer = None
    if form.outer is not None and magic not in (b"RF64", b"BW64"):
        outer = base + (0 if form.with_head else 8) + (_number(file, base + form.outer, form.order) or 0)
    elif wide:
        outer = base + 8 + (_number(file, wide[0] + 8, "<q") or 0)
    coding = file.read_at(chunks[b"fmt "][0] + 8, 2) if b"fmt " in chunks else b""
    extra = size - length if field == place + form.letters else 0
    return _judged(file, form, start, length, outer, (field, order, extra), coding == b"\x55\x00")


def _chunks(file: PlainFile, form: _Form, base: int) -> dict[bytes, tuple[int, int]]:
    """Place and size of every chunk up to the sound."""
    found: dict[bytes, tuple[int, int]] = {}
    place = base + form.first
    for _ in range(_MOST_CHUNKS):
        size = _number(file, place + form.letters, form.order)
        if size is None:
            break
        name = file.read_at(place, form.letters)
        found.setdefault(name, (place, size))
        step = size if form.with_head else form.head + size
        if name == form.sound or step < form.head:
            break
        place += -(-step // form.align) * form.align
    return found


def _number(file: PlainFile, place: int, order: str) -> int | None:
    read = file.read_at(place, struct.calcsize(order))
    return struct.unpack(order, read)[0] if len(read) == struct.calcsize(order) else None


def _judged(
    file: PlainFile,
    form: _Form,
    start: int,
    length: int,
    outer: int | None,
    field: tuple[int, str, int],
    is_mpeg: bool,
) -> Sound:
    """The sound with a believable length: the announced one, or all that is there."""
    there = max(0, file.size - start)
    place, order, extra = field
    unknown = length < 0 or length >= _UNKNOWN[struct.calcsize(order)]
    if not unknown and length <= there and _may_end(file, form, start, length):
        return Sound(start, length, Part(0, file.size), is_mpeg)
    # A file that is all there by its own size is not cut: then the sound's size is wrong.
    is_cut = length > there and not unknown and outer != file.size
    most = 0xFFFF_FFF0 if struct.calcsize(order) == 4 else there + extra
    patches = {place: struct.pack(order, min(there + extra, most))}
    return Sound(start, there, Part(0, file.size, patches, times=length / max(1, there) if is_cut else 1.0), is_mpeg)


def _may_end(file: PlainFile, form: _Form, start: int, length: int) -> bool:
    """Whether what follows the announced sound may follow: nothing, a chunk, or what is certainly no sound."""
    end = start + length
    behind = file.size - end
    if behind < form.align or _is_name(file, form, end):
        return True
    if length == 0:
        return behind <= form.head
    return behind <= min(_SCRAPS, length // 8) or _is_silent(file, end)


def _is_silent(file: PlainFile, place: int) -> bool:
    """Whether only zeros follow, as far as one cares to look."""
    blocks = range(place, min(file.size, place + _MOST_ZEROS), _BLOCK)
    return file.size - place <= _MOST_ZEROS and not any(file.read_at(at, _BLOCK).strip(b"\0") for at in blocks)


def _is_name(file: PlainFile, form: _Form, place: int) -> bool:
    """Whether a chunk, or a tag of another kind, begins at `place` or at the next place where one may."""
    for at in {place, place + 1} if form.align > 1 else {place}:
        name = file.read_at(at, form.letters)
        size = _number(file, at + form.letters, form.order)
        letters = name[:4].isascii() and name[:4].decode("latin1").isprintable() and len(name) == form.letters
        if name[:3] in (b"TAG", b"ID3") or name[:4] in _TAGS:
            return True
        if letters and size is not None and 0 <= size <= file.size - at and name[4:] in (b"", _W64):
            return True
    return False


def _au(file: PlainFile, base: int, order: str) -> Sound | None:
    start, length = _number(file, base + 4, order), _number(file, base + 8, order)
    if start is None or length is None:
        return None
    return _judged(file, _Form(order, b"", outer=None), base + start, length, None, (base + 8, order, 0), False)
