"""Sound files as bytes, whole or with another length in their headers."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import soundfile
import torch

from astmoa.audio.decode import load_clip

RATE = 16_000


def noise(samples: int = 2 * RATE, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def encode(form: str, coding: str | None = None, wave: np.ndarray | None = None, rate: int = RATE, **how) -> bytes:
    """Two seconds of noise, or `wave`, in one of libsndfile's formats."""
    file = io.BytesIO()
    wave = noise() if wave is None else wave
    channels = 1 if wave.ndim == 1 else wave.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, coding, format=form, **how) as sound:
        sound.write(wave)
    return file.getvalue()


def put(content: bytes, place: int, kind: str, value: int) -> bytes:
    """`content` with a number at `place`, written as struct's `kind` says."""
    changed = bytearray(content)
    struct.pack_into(kind, changed, place, value)
    return bytes(changed)


def decode(folder: Path, content: bytes, seconds: float | None = None, name: str = "clip") -> torch.Tensor:
    """What the product makes of these bytes in a file."""
    path = folder / name
    path.write_bytes(content)
    return load_clip(path, seconds)
