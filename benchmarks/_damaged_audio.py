"""Damaged manifests and sound files, for damaged_files.py."""

from __future__ import annotations

import functools
import io
import random
from pathlib import Path

import numpy as np
import soundfile

from astmoa.audio.datasets import open_data
from astmoa.audio.decode import load_clip
from astmoa.audio.sound import duration
from astmoa.config import DataConfig
from tests.audio import layouts
from tests.damage import damage

_SUBTYPES = {
    "WAV": ("PCM_16", "PCM_24", "FLOAT", "ULAW", "MS_ADPCM", "IMA_ADPCM", "GSM610", "MPEG_LAYER_III"),
    "FLAC": ("PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
    "MP3": ("MPEG_LAYER_III", "MPEG_LAYER_II"),
    "AIFF": ("PCM_16", "FLOAT", "IMA_ADPCM"),
    "CAF": ("PCM_16", "ALAC_16"),
    **{name: ("PCM_16",) for name in ("RF64", "W64", "WAVEX", "AU", "NIST", "IRCAM", "PAF", "SVX", "VOC", "SDS")},
    **{name: ("PCM_16",) for name in ("AVR", "HTK", "MAT4", "MAT5", "MPC2K", "PVF", "WVE", "XI")},
}


@functools.cache
def _sounds() -> tuple[tuple[str, bytes], ...]:
    """One second of noise in every format and coding that this libsndfile writes: suffix and content."""
    noise = 0.1 * np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    found = []
    for name, codings in _SUBTYPES.items():
        for coding in codings:
            file = io.BytesIO()
            try:
                soundfile.write(file, noise, 16_000, coding, format=name)
            except (soundfile.SoundFileError, ValueError):
                continue  # not with this library
            found.append((name.lower(), file.getvalue()))
    return tuple(found)


def audio(folder: Path, rng: random.Random):
    """One sound; in half of the files the damage is in the first 200 bytes, where headers are."""
    suffix, content = rng.choice(_sounds())
    head = rng.choice((200, len(content)))
    path = folder / f"clip.{suffix}"
    path.write_bytes(damage(content[:head], rng) + content[head:])
    return lambda: (duration(path), load_clip(path, rng.choice((0.5, 5.0, None))))


_ROWS = [
    f"{split}{number}.wav,{label},{split}"
    for split in ("train", "val", "test")
    for number, label in ((0, "a"), (1, "b"))
]


def manifest(folder: Path, rng: random.Random):
    """One list of six clips that are there, with every kind of column."""
    rows = [f"{row},{number},speaker{number}" for number, row in enumerate(_ROWS)]
    layouts.wavs([folder / row.split(",")[0] for row in rows])
    text = "\n".join(["path,label,split,fold,group", *rows]) + "\n"
    content = text.encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-8")))
    (folder / "manifest.csv").write_bytes(damage(content, rng))
    config = DataConfig("csv", root=str(folder), skip_bad_clips=rng.random() < 0.5)
    return lambda: open_data(config)


KINDS = {"manifest": manifest, "audio": audio}
