"""A feature store on disk: one half-precision array, what is known of its rows, and checksums of both.

A store is a folder `features.npy` + `meta.json`. It comes to its name in one rename, so a killed writer leaves only a
temporary folder that nobody reads, and of two writers the first one wins. Every row has a checksum, which is looked
at whenever the store is opened: bytes that a disk or a memory turned would otherwise train, and end as a loss that is
no number.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from astmoa.audio.plain_files import PlainFile, read_plain

# Change it when the same file gives other rows than before, or meta.json has another form.
VERSION = 2
_TEMPORARY = ".writing-"
_DAY_SECONDS = 24 * 3600
_BLOCK_BYTES = 1 << 24
_LISTS = ("stamps", "digests", "lengths", "checksums")


class Row(NamedTuple):
    """One clip: values [frames, 128] float16, how many of them are its own, a digest of its file, and why it is
    unusable (None: it is not)."""

    values: np.ndarray
    length: int
    digest: str
    reason: str | None


class Store(NamedTuple):
    """array: [clips, frames, 128] float16, memory-mapped. meta: front_end, shape, bad, and a list of stamps, digests,
    lengths and checksums with one entry per row."""

    array: np.ndarray
    meta: dict[str, Any]

    def row(self, index: int) -> Row | None:
        """None where its bytes are not what was written."""
        values = self.array[index]
        if zlib.crc32(values) != self.meta["checksums"][index]:
            return None
        return Row(values, self.meta["lengths"][index], self.meta["digests"][index], self.meta["bad"].get(str(index)))

    def damaged(self, threads: int) -> list[int]:
        """Rows whose bytes are not what was written. All are read, at about the speed of the disk."""
        step = max(1, _BLOCK_BYTES // max(1, self.array[:1].nbytes))

        def look(first: int) -> list[int]:
            rows = range(first, min(first + step, len(self.array)))
            return [row for row in rows if zlib.crc32(self.array[row]) != self.meta["checksums"][row]]

        with ThreadPoolExecutor(threads) as pool:  # checksums are computed without the interpreter's lock
            return [row for found in pool.map(look, range(0, len(self.array), step)) for row in found]


def is_of_this_version(target: Path) -> bool | None:
    """Whether the store at `target` was written by this version; None where that cannot be read."""
    try:
        return json.loads(read_plain(target / "meta.json")).get("version") == VERSION
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def open_store(target: Path, shape: tuple[int, int, int] | None = None) -> Store | None:
    """The store at `target`, or None where there is none of this version and shape. Rows are not looked at."""
    try:
        read = json.loads(read_plain(target / "meta.json"))
        meta = read["meta"]
        if (read["version"], read["sha256"]) != (VERSION, _sha256(meta)):
            return None
        wanted = tuple(meta["shape"])
        if shape not in (None, wanted):
            return None
        header = _header(wanted)
        path = target / "features.npy"
        size = len(header) + 2 * int(np.prod(wanted, dtype=np.int64))
        with PlainFile(path) as file:
            if file.read_at(0, len(header)) != header or file.size != size:
                return None
        array = np.memmap(path, np.float16, "r", len(header), wanted)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # any JSON may be there
        return None
    return Store(array, meta)


def write_store(
    target: Path, front_end: list[Any], stamps: list[str], rows: Generator[Row, None, None], shape: Any
) -> None:
    """Put the store to its name, all or nothing; what is there is replaced unless it is whole. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{_TEMPORARY}*"):  # by a writer that was killed, if it is a day old
        with contextlib.suppress(FileNotFoundError):  # its writer is done
            if time.time() - left.stat().st_mtime > _DAY_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=target.parent))
    try:
        meta: dict[str, Any] = {"front_end": front_end, "shape": list(shape), "bad": {}, "stamps": stamps}
        meta |= {"digests": [], "lengths": [], "checksums": []}
        # Plain writes, not a writable map: on a full disk a write raises, a map kills the process.
        with open(temporary / "features.npy", "wb") as file, contextlib.closing(rows):
            file.write(_header(shape))
            for index, row in enumerate(rows):
                file.write(row.values.tobytes())
                meta["digests"].append(row.digest)
                meta["lengths"].append(row.length)
                meta["checksums"].append(zlib.crc32(np.ascontiguousarray(row.values).data))
                if row.reason is not None:
                    meta["bad"][str(index)] = row.reason
            _sync(file)
        with open(temporary / "meta.json", "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, "sha256": _sha256(meta), "meta": meta}, file)
            _sync(file)
        _move(temporary, target, shape)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, target: Path, shape: Any) -> None:
    """Replace what is damaged; where another process was faster, its store stays: it has the same rows."""
    with _alone(target.parent):
        if target.exists() and _is_whole(target, shape):
            return
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif os.path.lexists(target):
            target.unlink()
        temporary.rename(target)


def _is_whole(target: Path, shape: Any) -> bool:
    store = open_store(target, shape)
    return store is not None and not store.damaged(1)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process replaces a store in `folder` meanwhile, where the file system can lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def kept_rows(folder: Path, front_end: list[Any]) -> dict[str, tuple[Store, int]]:
    """Where the usable rows of the stores in `folder` are that have this front end and length, by stamp."""
    kept: dict[str, tuple[Store, int]] = {}
    for path in folder.glob("*-*/meta.json"):
        store = None if path.parent.name.startswith(_TEMPORARY) else open_store(path.parent)
        if store is not None and store.meta["front_end"] == front_end:
            usable = (row for row in range(len(store.array)) if str(row) not in store.meta["bad"])
            kept |= {store.meta["stamps"][row]: (store, row) for row in usable}
    return kept


def _header(shape: Any) -> bytes:
    file = io.BytesIO()
    header = {"descr": np.dtype(np.float16).str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_2_0(file, header)
    return file.getvalue()


def _sha256(meta: Any) -> str:
    return hashlib.sha256(json.dumps(meta).encode()).hexdigest()


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
