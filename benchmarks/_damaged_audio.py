"""Damaged manifests, sound files and feature stores, for damaged_files.py."""

from __future__ import annotations

import functools
import io
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from astmoa.audio.datasets import DataSet, open_data
from astmoa.audio.decode import load_clip
from astmoa.audio.sound import duration
from astmoa.audio.store import load_features
from astmoa.config import DataConfig
from tests.helpers import layouts
from tests.helpers.damage import damage

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


_SIDES = ("train", "val", "test")
_ROWS = [[f"{side}{n}.wav", label, side, str(n), f"g{side}{n}"] for side in _SIDES for n, label in enumerate("ab")]
_ODD = (
    "",
    " ",
    '"',
    "a,b",
    "a\nb",
    "\x1b[31m",
    "\0",
    "é",
    "e\u0301",
    "x" * 300,
    "B",
    "-1",
    "9" * 5000,
    "../..",
    "~",
    "\udce9",
)


def _edited(rows: list[list[str]], rng: random.Random) -> list[list[str]]:
    """As a person or a spreadsheet may spoil a table: fields too many, too few, exchanged or odd."""
    rows = [list(row) for row in rows]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        place = rng.randrange(len(row) + 1)
        match rng.randrange(4):
            case 0:
                row.insert(place, rng.choice(_ODD))
            case 1:
                del row[place:]
            case 2:
                row[place : place + 1] = [rng.choice(_ODD)]
            case 3:
                rng.shuffle(row)
    return rows


def manifest(folder: Path, rng: random.Random):
    """One list of six clips that are there; half of them spoilt as text, half as bytes."""
    layouts.wavs([folder / row[0] for row in _ROWS])
    as_text = rng.random() < 0.5
    rows = [["path", "label", "split", "fold", "group"], *_ROWS]
    text = "\n".join(",".join(row) for row in (_edited(rows, rng) if as_text else rows)) + "\n"
    content = text.encode(rng.choice(("utf-8", "utf-8-sig")), errors="surrogateescape")
    (folder / "manifest.csv").write_bytes(content if as_text else damage(content, rng))
    config = DataConfig("csv", root=str(folder), skip_bad_clips=rng.random() < 0.5)
    return lambda: open_data(config)


@functools.cache
def _kept() -> tuple[tempfile.TemporaryDirectory, DataSet, np.ndarray, str]:
    """Six clips that stay where they are, and a feature store of them in the folder `cache` beside."""
    place = tempfile.TemporaryDirectory(prefix="damaged-store-")
    for number, row in enumerate(_ROWS):
        layouts.wav(Path(place.name, "sounds", row[0]), 0.1 + 0.02 * number)
    rows = [",".join(row[:3]) for row in _ROWS]
    layouts.table(Path(place.name, "sounds", "manifest.csv"), "path,label,split", rows)
    data = open_data(DataConfig("csv", root=f"{place.name}/sounds"))
    features = load_features(data, Path(place.name, "cache"), progress=False)
    return place, data, features.array.copy(), features.fingerprint


def store(folder: Path, rng: random.Random):
    """A feature store with damage in its array or in what it knows of it; the same features must come out."""
    place, data, array, fingerprint = _kept()
    shutil.copytree(Path(place.name, "cache"), folder, dirs_exist_ok=True)
    (target,) = (folder / "features").iterdir()
    file = target / rng.choice(("features.npy", "meta.json"))
    file.write_bytes(damage(file.read_bytes(), rng))

    def run() -> None:
        features = load_features(data, folder, progress=False)
        assert np.array_equal(features.array, array)
        assert features.fingerprint == fingerprint

    return run


KINDS = {"manifest": manifest, "audio": audio, "store": store}
