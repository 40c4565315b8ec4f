"""One audio file to mono samples at 16 kHz, or one line on why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from astmoa.audio import flac
from astmoa.audio.fbank import SAMPLE_RATE
from astmoa.audio.parts import Part
from astmoa.audio.plain_files import PlainFile
from astmoa.audio.sound import MOST_FRAMES, find_parts, known_frames, open_part, read_blocks, reason
from astmoa.audio.splits import Clip
from astmoa.errors import ClipError

_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000
# MP3 headers and padding bytes are off by a little in sound files; a missing tenth of a second is not a little.
_TOLERANCE_SECONDS = 0.1


def num_samples(seconds: float) -> int:
    """Samples at 16 kHz in `seconds`, rounded: 2.3 s are 36,800, though 2.3 * 16000 is a little less in floats."""
    return round(seconds * SAMPLE_RATE)


def load_clip(path: Path | str, seconds: float | None = None) -> torch.Tensor:
    """Decode the first `seconds` of a file (None: all of it), to where its sound ends, whatever its header says of its
    length; frames after that are not decoded.

    Channels are averaged. Returns [samples] float32 at 16 kHz, at most `num_samples(seconds)` of them. Raises ClipError
    for what is missing or no file, no audio, cut short or damaged inside the wanted part, empty, silent throughout, or
    not finite.
    """
    path = Path(path)
    try:
        samples, rate = _read(path, seconds)
    except (soundfile.SoundFileError, OSError) as error:
        raise ClipError(path, reason(error)) from error
    return resampled(samples, rate, seconds, path)


def resampled(samples: np.ndarray, rate: int, seconds: float | None, named: object) -> torch.Tensor:
    """The first `seconds` (None: all) of [samples] float32 at `rate` Hz as [samples] at 16 kHz.

    named: where they come from. Raises ClipError for samples that are silent throughout, or not finite.
    """
    if not samples.any():
        part = "" if seconds is None else f" in the first {seconds:g} s"
        raise ClipError(named, f"all samples are zero{part}: record it again or remove it")
    if not (np.abs(samples) < 1e9).all():
        raise ClipError(named, "samples are NaN, infinite or absurdly large: export it again or remove it")
    # The kernel of resample has as many rows as the reduced ratio's numerator: 44,101 Hz would need gigabytes. Ratios
    # up to 1/1000 are exact for every usual rate and within a millionth for the others.
    ratio = Fraction(SAMPLE_RATE, rate).limit_denominator(1000)
    wave = torchaudio.functional.resample(torch.from_numpy(samples), ratio.denominator, ratio.numerator)
    return wave if seconds is None else wave[: num_samples(seconds)]


def check_rate(rate: int, named: object) -> None:
    """Raises ClipError for what is no rate of sound."""
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise ClipError(named, f"a sample rate of {rate} Hz is not sound: correct its header or convert it again")


def _read(path: Path, seconds: float | None) -> tuple[np.ndarray, int]:
    """The wanted part as [frames] float32 at the file's own rate, and that rate."""
    blocks: list[np.ndarray] = []
    rate, there = 0, 0
    with PlainFile(path) as file:
        for part in find_parts(file, seconds):
            if rate and seconds is not None and there >= seconds * rate:
                break
            with open_part(file, part) as sound:
                if rate not in (0, sound.samplerate):
                    raise ClipError(path, "its parts have different sample rates: convert it to WAV or FLAC")
                rate = sound.samplerate
                check_rate(rate, path)
                wanted = MOST_FRAMES if seconds is None else -int(-seconds * rate // 1) - there  # rounded up
                most = min(wanted, known_frames(sound, part) or wanted)
                found = [block.mean(axis=1) for block in read_blocks(sound, most, "float32")]
            blocks += found
            count = sum(map(len, found))
            _check(file, part, sound, count, wanted, there)
            there += count
    if there == 0:
        raise ClipError(path, "empty, it has no samples: replace or remove it")
    return np.concatenate(blocks), rate


def _check(file: PlainFile, part: Part, sound: soundfile.SoundFile, count: int, wanted: int, before: int) -> None:
    """Raises ClipError where sound that was promised is not there, in the wanted part. count, wanted: frames of this
    part; before: of those before it."""
    rate = sound.samplerate
    more = 0 if part.times == 1 else count * part.times if count else wanted
    promised = min(wanted, max(known_frames(sound, part) or 0, part.announced, more))
    if count < promised - _TOLERANCE_SECONDS * rate and (part.sure or not _is_whole(file, part)):
        of = f" of {(before + promised) / rate:.2f} s" if promised < MOST_FRAMES else ""
        raise ClipError(
            file.path, f"truncated, {(before + count) / rate:.2f} s{of} are there: copy it again or replace it"
        )
    if part.lost > _TOLERANCE_SECONDS:
        raise ClipError(
            file.path,
            f"damaged, {part.lost:.2f} s of it are no sound, or one of another rate: convert it to WAV or FLAC, or "
            "replace it",
        )


def _is_whole(file: PlainFile, part: Part) -> bool:
    """Whether a FLAC file that announces more samples than it has says so by mistake: the digest of all fits."""
    known = flac.info(file.read_at(part.start, flac.HEADER))

    def blocks() -> Iterator[np.ndarray]:
        with open_part(file, part) as sound:
            yield from read_blocks(sound, MOST_FRAMES, "int32")

    return known is not None and flac.is_whole(known, blocks)


def load_part(clip: Clip, seconds: float) -> torch.Tensor:
    """A clip as `load_clip` gives it, or the part of its file that it is. Raises ClipError, also for a silent part."""
    assert clip.path is not None
    if clip.span is None:
        return load_clip(clip.path, seconds)
    modified = os.stat(clip.path).st_mtime_ns if os.path.isfile(clip.path) else 0
    start, end = (num_samples(edge) for edge in clip.span)
    wave = _recording(clip.path, modified)[start:end][: num_samples(seconds)]
    if not wave.any():
        raise ClipError(clip.path, f"no sound from {clip.span[0]:g} s to {clip.span[1]:g} s: restore the recording")
    return wave.clone()


@lru_cache(maxsize=8)
def _recording(path: Path, modified: int) -> torch.Tensor:
    """A recording that many clips are cut from, decoded once; `modified` is part of the key."""
    return load_clip(path)
