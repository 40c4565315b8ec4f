"""Features of a whole data set, computed once and kept on disk as one memory-mapped half-precision array.

A store is found below the cache by a key over the front end, the clip length and every file's path, size and time of
change; neither labels nor folds are part of it. Rows of an older store are taken over, so that mending one clip does
not decode the others again; rows that are damaged are not, and are computed again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from astmoa.audio.datasets import DataSet
from astmoa.audio.decode import num_samples
from astmoa.audio.fbank import NUM_MEL_BINS, SILENCE, fbank, num_frames
from astmoa.audio.plain_files import PlainFile
from astmoa.audio.progress import in_order
from astmoa.audio.splits import some
from astmoa.audio.store_files import Row, Store, is_of_this_version, kept_rows, open_store, write_store
from astmoa.errors import ClipError, DataError, printable

# Change it when the numbers in a store would change: old stores are then not found any more.
FRONT_END = "kaldi fbank 128 mel 25/10 ms hann 16 kHz, float16, 1"
# Part of the key: stores of earlier versions could be padded otherwise.
_PADDING = "silence"


@dataclass(frozen=True)
class Features:
    """A data set as the trainer needs it.

    array: [clips, frames, 128] float16, memory-mapped, read-only. lengths: [clips] int32, how many frames of each row
    are the clip's; what the front end gives for digital silence follows. bad: clip index -> why its row is only padding
    (length 0). fingerprint: 16 hexadecimal digits over front end, files' contents, names, labels, targets and splits;
    where the files lie and when they were written is not part of it. digests: one per clip, of its file's bytes and the
    part that it is; empty for a file that could not be read.
    """

    array: np.ndarray
    lengths: np.ndarray
    bad: dict[int, str]
    fingerprint: str
    digests: tuple[str, ...] = ()


class _Wanted(NamedTuple):
    """What is looked for: `front_end` and `stamps` make the key, `shape` is the array's."""

    data: DataSet
    front_end: list[Any]
    stamps: list[str]
    shape: tuple[int, int, int]


def cache_root() -> Path:
    """$ASTMOA_CACHE, else astmoa in $XDG_CACHE_HOME, else in ~/.cache."""
    if os.environ.get("ASTMOA_CACHE"):
        return Path(os.environ["ASTMOA_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "astmoa"


def load_features(
    data: DataSet,
    cache_dir: Path | None = None,
    processes: int | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> Features:
    """Read the features of `data` from the cache, or compute them, `processes` clips at a time, and keep them.

    Shorter clips are filled up with silence; whoever wants another filling finds its place by `lengths`. `processes`
    defaults to as many as torch has threads. Raises one DataError that counts the unusable clips, unless `skip_bad`,
    and one where the cache cannot be written.
    """
    folder = Path(cache_dir or cache_root()) / "features"
    shape = (len(data.clips), num_frames(num_samples(data.seconds)), NUM_MEL_BINS)
    if shape[1] < 1:
        raise DataError(f"data.seconds={data.seconds} is shorter than one window: give at least 0.025")
    stamps = [_stamp(data, index) for index in range(len(data.clips))]
    wanted = _Wanted(data, [FRONT_END, data.seconds, _PADDING], stamps, shape)
    target = folder / f"{data.name}-{_digest([wanted.front_end, stamps])}"
    threads = processes or torch.get_num_threads()
    store = _whole(target, shape, threads)
    if store is None:
        try:
            rows = _rows(folder, wanted, threads, progress)
            write_store(target, wanted.front_end, stamps, rows, shape)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"{folder} cannot keep features ({reason}): set ASTMOA_CACHE to a folder with room"
            ) from error
        store = open_store(target, shape)
        if store is None or store.damaged(threads):
            raise DataError(f"{target} is damaged right after writing: check that disk, or set ASTMOA_CACHE elsewhere")
    bad = {int(index): reason for index, reason in store.meta["bad"].items()}
    if bad and not skip_bad:
        found = [f"{data.clips[index].path}: {reason}" for index, reason in bad.items()]
        raise DataError(
            f"{len(bad)} of {len(data.clips)} clips of {data.name} are unusable, {some(found, '; ')}; "
            "mend them, or use --skip-bad-clips to leave them out"
        )
    content = [
        [digest, clip.name, clip.label, clip.fold, clip.split, clip.group]
        for digest, clip in zip(store.meta["digests"], data.clips, strict=True)
    ]
    known = [wanted.front_end, data.labels, content]
    if data.targets is not None:
        known.append(hashlib.sha256(data.targets.astype("<f4").tobytes()).hexdigest())
    lengths = np.array(store.meta["lengths"], dtype=np.int32)
    return Features(store.array, lengths, bad, _digest(known), tuple(store.meta["digests"]))


def _whole(target: Path, shape: tuple[int, int, int], threads: int) -> Store | None:
    """The store at `target` if all of it is as it was written; says why one that is there is made again."""
    store = open_store(target, shape)
    damaged = [] if store is None else store.damaged(threads)
    if store is not None and not damaged:
        return store
    if store is not None:
        why = f"damaged in {len(damaged)} of {shape[0]} rows"
    elif not os.path.lexists(target):
        return None
    else:
        why = "from an earlier version" if is_of_this_version(target) is False else "damaged"
    print(printable(f"the features in {target} are {why}: they are computed again"), file=sys.stderr)
    return None


def _stamp(data: DataSet, index: int) -> str:
    """What changes when clip `index` does, as far as one can tell without reading it."""
    path = data.clips[index].path
    if path is None:
        return f"{data.version}#{index}"
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return f"{path.absolute()} missing"
    # The time of the last chmod or rename counts too: an unreadable file that was made readable has to be tried again.
    return f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}{_cut(data, index)}"


def _cut(data: DataSet, index: int) -> str:
    """Which part of its file a clip is; empty for the whole."""
    span = data.clips[index].span
    return "" if span is None else f" {span[0]:.4f}-{span[1]:.4f}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _rows(folder: Path, wanted: _Wanted, threads: int, progress: bool) -> Generator[Row, None, None]:
    """Every clip's row, in order: from a store that has the same file, if it is undamaged there; computed otherwise."""
    kept = kept_rows(folder, wanted.front_end)

    def row(index: int) -> Row:
        store, place = kept.get(wanted.stamps[index], (None, 0))
        return (store and store.row(place)) or _compute(wanted, index)

    return in_order(row, wanted.shape[0], threads, f"Features of {wanted.data.name}", progress)


def _compute(wanted: _Wanted, index: int) -> Row:
    values = np.full(wanted.shape[1:], SILENCE, dtype=np.float16)
    digest = ""
    try:
        digest = content_digest(wanted.data, index)
        features = fbank(wanted.data.load(index))[: len(values)]
    except ClipError as error:
        return Row(values, 0, digest, error.reason)
    values[: len(features)] = features.numpy()
    return Row(values, len(features), digest, None)


def content_digest(data: DataSet, index: int) -> str:
    """A digest of the file's bytes: unlike one of samples or features it does not depend on a processor's rounding."""
    path = data.clips[index].path
    if path is None:
        return f"{data.version}#{index}"
    try:
        cut = _cut(data, index)  # many clips of one file: its time of change tells whether it was read before
        return _shared_digest(path, path.stat().st_mtime_ns) + cut if cut else _file_digest(path)
    except (OSError, ValueError):
        return ""  # `load` says what is wrong


def _file_digest(path: Path) -> str:
    with PlainFile(path) as plain, open(plain.descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=16)
def _shared_digest(path: Path, modified: int) -> str:
    return _file_digest(path)
