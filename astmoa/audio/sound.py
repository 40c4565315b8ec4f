"""libsndfile on the parts of a file: how long they are, and their frames in blocks."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from astmoa.audio import chunks, flac, mpeg, ogg
from astmoa.audio.parts import Part, skip_id3
from astmoa.audio.plain_files import Excerpt, NotAFileError, PlainFile
from astmoa.errors import ClipError

# Read piece by piece: a header that promises hours or hundreds of channels never becomes one allocation.
_BLOCK = 262_144
# What libsndfile says where it does not know, and nobody's recording.
MOST_FRAMES = 1 << 62
# Where only decoding tells how long a sound is, nobody waits for more than an hour of it, or for so many samples.
_MOST_SECONDS, _MOST_SAMPLES = 3600.0, 400_000_000
_NIST_SAMPLES = re.compile(rb"sample_count -i (\d{1,12})")
# No header at all: libsndfile would go by the name, but it is given open files.
_HEADLESS = {".gsm": "GSM610", ".vox": "VOX_ADPCM", ".au": "ULAW", ".snd": "ULAW"}


def find_parts(file: PlainFile, seconds: float | None) -> list[Part]:
    """The parts of a file, one but for chained Ogg; `seconds` bounds the look where that is costly: beyond it
    nothing is needed. Files in formats that announce no length, or in none at all, come back whole."""
    start = skip_id3(file, 0)
    magic = file.read_at(start, 4)
    whole = Part(0, file.size)
    if magic == b"fLaC":
        return [flac.part(file, start)]
    if magic == b"OggS":
        return ogg.parts(file, start, seconds) or [whole]
    if magic == b"NIST":  # libsndfile takes what is there
        count = _NIST_SAMPLES.search(file.read_at(start, 1024))
        return [Part(0, file.size, announced=int(count[1]) if count else 0)]
    if mpeg.is_frame(magic):
        return [mpeg.part(file, 0, file.size, seconds) or whole]
    chunk = chunks.find_sound(file, start)
    if chunk is None:
        return [whole]
    if chunk.is_mpeg:
        inside = mpeg.part(file, chunk.start, chunk.start + chunk.length, seconds)
        return [inside or chunk.part]
    return [chunk.part]


def measure(path: Path, most: float | None = None) -> float:
    """Seconds of sound, or `most` where there is more: by headers as far as they are right, otherwise by decoding.
    Raises ClipError for what cannot be read."""
    total = 0.0
    try:
        with PlainFile(path) as file:
            for part in find_parts(file, most):
                left = _MOST_SECONDS if most is None else most - total
                with open_part(file, part) as sound:
                    total += _frames(sound, part, left) / max(1, sound.samplerate)
                if most is not None and total >= most:
                    return most
    except (soundfile.SoundFileError, OSError) as error:
        raise ClipError(path, reason(error)) from error
    return total


def duration(path: Path, most: float | None = None) -> float | None:
    """As `measure`; None for what cannot be read."""
    try:
        return measure(path, most)
    except ClipError:
        return None


def reason(error: soundfile.SoundFileError | OSError) -> str:
    """What is wrong with a file that could not be read, and how to mend it."""
    if isinstance(error, FileNotFoundError):
        return "no such file: correct the path or restore the file"
    if isinstance(error, NotAFileError):
        return f"{error.strerror}: correct the path"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error}): correct the path, the rights or the disk"
    said = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
    if "SF_INFO" in said:  # libsndfile's words for it help nobody
        said = "the header gives 0 as sample rate or number of channels"
    return f"not readable as audio ({said}): convert it to WAV or FLAC, or replace it"


def known_frames(sound: soundfile.SoundFile, part: Part) -> int | None:
    """How many frames the sound has; None where only decoding tells."""
    return sound.frames if part.sure and sound.frames < MOST_FRAMES else None


def _frames(sound: soundfile.SoundFile, part: Part, seconds: float) -> int:
    """How many frames there are, where only decoding tells up to `seconds`."""
    known = known_frames(sound, part)
    if known is not None:
        return known
    most = min(int(seconds * sound.samplerate) + 1, _MOST_SAMPLES // sound.channels)
    return sum(len(block) for block in read_blocks(sound, most, "int16"))


class _Forward(soundfile.SoundFile):
    """Read from front to back. soundfile seeks after every read, which fails at an end that no header tells."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_part(file: PlainFile, part: Part) -> Iterator[soundfile.SoundFile]:
    """libsndfile on a part of a file. Never by name: it would also look at files beside that one, such as the ._ that
    archives made on a Mac hold."""
    source: bytes | int | Excerpt
    excerpt = None
    suffix = os.path.splitext(file.path)[1].lower()
    if (part.start, part.end) == (0, file.size) and not part.patches and not part.shy:
        os.lseek(file.descriptor, 0, os.SEEK_SET)
        # Only the two files together are one in Sound Designer's format.
        source = os.fsencode(file.path) if suffix == ".sd2" else file.descriptor
    else:
        source = excerpt = Excerpt(file, part.start, part.end, part.patches, part.shy)
    open_sound = functools.partial(_Forward, mode="r", closefd=False)
    try:
        sound = open_sound(source)
    except soundfile.SoundFileError:
        if suffix not in _HEADLESS:
            raise
        os.lseek(file.descriptor, 0, os.SEEK_SET)
        sound = open_sound(file.descriptor, samplerate=8000, channels=1, format="RAW", subtype=_HEADLESS[suffix])
    with sound:
        yield sound
        if excerpt is not None and excerpt.failure is not None:
            raise excerpt.failure


def read_blocks(sound: soundfile.SoundFile, most: int, kind: str) -> Iterator[np.ndarray]:
    """[frames, channels] arrays, until the decoder gives nothing more or `most` frames are there."""
    step = max(1, _BLOCK // sound.channels)
    while most > 0:  # not sound.blocks(): after a short read that yields what the buffer held before
        block = sound.read(min(step, most), dtype=kind, always_2d=True)
        if len(block) == 0:
            return
        yield block
        most -= len(block)
