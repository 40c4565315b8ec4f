"""One audio file to mono samples at 16 kHz, or one line on why not."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from astmoa.audio.fbank import SAMPLE_RATE
from astmoa.errors import ClipError

# Read piece by piece: a header that promises hours or hundreds of channels never becomes one allocation.
_BLOCK = 262_144
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000
# MP3 headers and padding bytes are off by a little in sound files; a missing tenth of a second is not a little.
_TOLERANCE_SECONDS = 0.1
# libsndfile shortens a truncated WAV, AIFF or AU silently and says so only in its log: promised bytes, bytes that are
# there.
_SHORTENED = re.compile(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)")
# Programs that write into a pipe cannot know the size; they promise about 2 or 4 GB, and the file is whole.
_SIZE_UNKNOWN = 0x7FFF_0000


def num_samples(seconds: float) -> int:
    """Samples at 16 kHz in `seconds`, rounded: 2.3 s are 36,800, though 2.3 * 16000 is a little less in floats."""
    return round(seconds * SAMPLE_RATE)


def load_clip(path: Path | str, seconds: float | None = None) -> torch.Tensor:
    """Decode the first `seconds` of a file (None: all of it); frames after that are not decoded.

    Channels are averaged. Returns [samples] float32 at 16 kHz, at most `num_samples(seconds)` of them. Raises ClipError
    for a file that is missing, no audio, truncated or damaged inside the wanted part, empty, silent throughout, or not
    finite.
    """
    path = Path(path)
    if not os.path.isfile(path):  # Path.is_file raises for a forbidden folder or an impossible name
        raise ClipError(path, "no such file: correct the path or restore the file")
    try:
        with soundfile.SoundFile(path) as file:
            samples, rate = _read(file, path, seconds), file.samplerate
    except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:  # TypeError: .raw files have no header
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        if "SF_INFO" in reason:  # libsndfile's words for it help nobody
            reason = "the header gives 0 as sample rate or number of channels"
        raise ClipError(path, f"not readable as audio ({reason}): convert it to WAV or FLAC, or replace it") from error
    if not samples.any():
        part = "" if seconds is None else f" in the first {seconds:g} s"
        raise ClipError(path, f"all samples are zero{part}: record it again or remove it")
    if not (np.abs(samples) < 1e9).all():
        raise ClipError(path, "samples are NaN, infinite or absurdly large: export it again or remove it")
    # The kernel of resample has as many rows as the reduced ratio's numerator: 44,101 Hz would need gigabytes. Ratios
    # up to 1/1000 are exact for every usual rate and within a millionth for the others.
    ratio = Fraction(SAMPLE_RATE, rate).limit_denominator(1000)
    wave = torchaudio.functional.resample(torch.from_numpy(samples), ratio.denominator, ratio.numerator)
    return wave if seconds is None else wave[: num_samples(seconds)]


def _read(file: soundfile.SoundFile, path: Path, seconds: float | None) -> np.ndarray:
    """The wanted part as [frames] float32 at the file's own rate."""
    rate = file.samplerate
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise ClipError(path, f"a sample rate of {rate} Hz is not sound: correct its header or convert it again")
    if file.frames <= 0:
        raise ClipError(path, "empty, it has no samples: replace or remove it")
    wanted = _promised_frames(file)
    if seconds is not None:
        wanted = min(wanted, -int(-seconds * rate // 1))  # rounded up
    blocks, there = [], 0
    while there < wanted:  # not file.blocks(): after a short read that yields what the buffer held before
        block = file.read(min(_BLOCK, wanted - there), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block.mean(axis=1))
        there += len(block)
    if there == 0 or there < wanted - _TOLERANCE_SECONDS * rate:
        seconds = f"{there / rate:.2f} s of {wanted / rate:.2f} s"
        raise ClipError(path, f"truncated, {seconds} are there: copy it again or replace it")
    return np.concatenate(blocks)


def _promised_frames(file: soundfile.SoundFile) -> int:
    """Frames that the header announces, which are more than libsndfile reports when the file was cut short."""
    found = _SHORTENED.search(file.extra_info)
    if found is None:
        return file.frames
    promised, there = int(found[1]), int(found[2])
    if promised >= _SIZE_UNKNOWN or there == 0:
        return file.frames
    return max(file.frames, file.frames * promised // there)
