"""Run folders for machines without a common disk: in S3, or wherever else Arrow's file systems reach.

A folder that all machines share (NFS) needs none of this: the run folder simply lies there. With an address, such as
s3://bucket/astmoa, the run folder stays on the head's disk, where its journal can be appended to; workers put a trial's
checkpoint at ADDRESS/RUN/trials/ID after every epoch, before the journal hears of the epoch, and `Upload` keeps the
journal there up to date, so that another machine can go on where the head is lost.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from astmoa.errors import RunError
from astmoa.provenance import redact
from astmoa.records.journal import NAME as JOURNAL

VARIABLE = "ASTMOA_STORAGE"
_UNKNOWN = "unknown"
_RESULTS = ("table.md", "table.json", "frontier.png", "best")


def is_address(text: object) -> bool:
    """s3://bucket/prefix is, /mnt/runs is not. Raises RunError for s3:/bucket, which would be a folder named s3:."""
    if re.match(r"(s3|gs|gcs|hdfs|file|abfss?):(?!//)", str(text)):
        raise RunError(f"{redact(str(text))} is no address: two slashes follow its colon, as in s3://bucket/astmoa")
    return "://" in str(text)


def join(storage: str, name: str) -> str:
    """The place `name` in a folder or behind an address, whose options (?region=...) stay at its end."""
    place, question, options = storage.partition("?") if is_address(storage) else (storage, "", "")
    return f"{place.rstrip('/')}/{name}{question}{options}"


def split(address: str) -> tuple[str, str]:
    """The inverse of `join`."""
    place, question, options = address.partition("?")
    folder, _, name = place.rstrip("/").rpartition("/")
    return f"{folder}{question}{options}", name


class Store:
    """A folder behind an address. Every failure is a RunError in one line; passwords in the address are not in it."""

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self._name = redact(self.address)
        with self._one_line("opened"):
            from pyarrow import fs

            self._fs, self._root = fs.FileSystem.from_uri(self.address)
            self._local = isinstance(self._fs, fs.LocalFileSystem)

    def put(self, source: Path, name: str, patience: float = 0.0) -> None:
        """Copy a file there. Either the whole of it appears under its name or nothing does.

        patience: seconds to try again for, where the store does not work.
        """
        with self._one_line("written"), ThreadPoolExecutor(1) as thread:
            # Arrow takes a copy that an exception ends for complete. In another thread no signal raises one.
            thread.submit(_patiently, patience, self._put, source, name).result()

    def _put(self, source: Path, name: str) -> None:
        path = f"{self._root}/{name}"
        if self._local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        # An object appears when its upload is complete. Two machines may write one trial's: one was thought dead.
        target = f"{path}.{uuid.uuid4().hex}.tmp" if self._local else path
        with open(source, "rb") as file, self._fs.open_output_stream(target) as out:
            shutil.copyfileobj(file, out, 1 << 20)
        if self._local:
            self._fs.move(target, path)

    def get(self, name: str, target: Path, patience: float = 0.0) -> bool:
        """Bring a file here. False where there is none. patience: as for `put`."""
        with self._one_line("read"):
            return _patiently(patience, self._get, name, target)

    def _get(self, name: str, target: Path) -> bool:
        path = f"{self._root}/{name}"
        if not self._fs.get_file_info(path).is_file:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")  # others may bring the same file
        try:
            with self._fs.open_input_stream(path) as file, open(temporary, "wb") as out:
                shutil.copyfileobj(file, out, 1 << 20)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is no such file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            return path.read_bytes() if self.get(name, path) else None

    def has(self, name: str) -> bool:
        return self.stamp(name) is not None

    def stamp(self, name: str) -> tuple[int, int] | None:
        """Another one after every change: bytes and time of a file; None where there is no such file."""
        with self._one_line("read"):
            info = self._fs.get_file_info(f"{self._root}/{name}")
            return (info.size, info.mtime_ns) if info.is_file else None

    def remove(self, name: str) -> None:
        with self._one_line("written"):
            self._fs.delete_file(f"{self._root}/{name}")

    def clear(self) -> None:
        """Remove all that is in it."""
        with self._one_line("written"):
            self._fs.delete_dir(self._root)

    def check(self) -> None:
        """Write something, read it, remove it. Raises RunError."""
        with tempfile.TemporaryDirectory() as folder:
            name, path = f".astmoa-{uuid.uuid4().hex}", Path(folder) / "probe"
            path.write_text(name)
            self.put(path, name)
            if not self.get(name, path) or path.read_text() != name:
                raise RunError(f"storage {self._name}: what was written there cannot be read back")
            self.remove(name)

    @contextlib.contextmanager
    def _one_line(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, ImportError) as error:
            why = redact(" ".join(str(error).split()))[:200] or type(error).__name__
            raise RunError(
                f"storage {self._name}: cannot be {what} ({why}); check --storage, and that every machine may use it"
            ) from None

    def __reduce__(self) -> Any:  # a worker opens its own connection
        return Store, (self.address,)


def _patiently(patience: float, call: Callable[..., Any], *arguments: Any) -> Any:
    """Again and again, in growing intervals, while it raises an OSError."""
    deadline, pause = time.monotonic() + patience, 1.0
    while True:
        try:
            return call(*arguments)
        except OSError:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause *= 2


class Upload:
    """Keeps a run folder's journal in a store, every `interval` seconds while it grows, and its results at the end.

    The sweep goes on whatever happens: the first failure is told to `warn`; `error` is the last one, after `close`.
    What another sweep has written there since is not written over: a head that was given up may come back.
    """

    def __init__(self, run_dir: Path, store: Store, warn: Callable[[str], object], interval: float = 5.0):
        self._run_dir, self._store, self._warn, self._interval = run_dir, store, warn, interval
        self._sent = 0
        self._stamp: tuple[int, int] | str | None = store.stamp(JOURNAL)
        self.error: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="astmoa-storage", daemon=True)
        self._thread.start()

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Send what is left, tables and best bundle too."""
        self._closing.set()
        self._thread.join()
        try:
            self._send_journal()
            for name in _RESULTS:
                here = self._run_dir / name
                for path in here.rglob("*") if here.is_dir() else [here]:
                    if path.is_file():
                        self._store.put(path, str(path.relative_to(self._run_dir)))
        except RunError as error:
            self.error = str(error)

    def _run(self) -> None:
        warned = False
        while not self._closing.wait(self._interval):
            try:
                self._send_journal()
            except RunError as error:
                if not warned:
                    warned = True
                    self._warn(f"{error}; trying again until the sweep ends")

    def _send_journal(self) -> None:
        journal = self._run_dir / JOURNAL
        size = journal.stat().st_size if journal.is_file() else 0
        if size > self._sent:
            if self._stamp not in (_UNKNOWN, self._store.stamp(JOURNAL)):
                raise RunError(
                    f"storage {redact(self._store.address)}: another sweep writes its {JOURNAL} there now; this one's "
                    f"is in {self._run_dir} alone"
                )
            self._stamp = _UNKNOWN  # unless all of this works
            self._store.put(journal, JOURNAL)  # it may end in half a line, which readers drop
            self._stamp, self._sent = self._store.stamp(JOURNAL), size


def check_same_run(run_dir: Path, store: Store) -> None:
    """Raises RunError where the store holds what a sweep that goes on from `run_dir` would write over."""
    place, there, here = f"storage {redact(store.address)}", *_journals(run_dir, store)
    if here.startswith(there):
        return
    if there.startswith(here):
        more = "more of that run" if here else "a run of that name"
        raise RunError(f"{place} holds {more}: go on with --resume and that address, or choose another --out")
    raise RunError(
        f"{place} holds another {JOURNAL} than {run_dir}: choose another --out; or move {run_dir} away, and go on with "
        "--resume and that address"
    )


def _journals(run_dir: Path, store: Store) -> tuple[bytes, bytes]:
    """The store's and the run folder's, as far as their lines are whole."""
    path = run_dir / JOURNAL
    both = store.read(JOURNAL) or b"", path.read_bytes() if path.is_file() else b""
    there, here = (journal[: journal.rfind(b"\n") + 1] for journal in both)
    return there, here


def folder_of(address: str, runs: Path = Path("runs")) -> Path:
    """Where a sweep goes on here with the run at `address`."""
    name = split(address)[1]
    if name in ("", ".", ".."):
        raise RunError(f"{redact(address)} names no run: give the address of one, the storage's and the run's name")
    return runs / name


def bring_run(address: str, runs: Path = Path("runs")) -> Path:
    """The run folder at `address`, made here for a sweep to go on in: its journal; checkpoints are fetched by workers.

    A journal that is here already and goes further is kept. Raises RunError where no sweep was kept at the address, and
    where the run folder holds another one. Hold the folder while you do this, see `lock.hold`.
    """
    store, run_dir = Store(address), folder_of(address, runs)
    if not store.has(JOURNAL):
        raise RunError(f"{redact(address)}: no {JOURNAL} there; give the address of a run: the storage's, and its name")
    there, here = _journals(run_dir, store)
    if there.startswith(here):
        store.get(JOURNAL, run_dir / JOURNAL)
    else:
        check_same_run(run_dir, store)
    return run_dir


def fetch(run_dir: Path, name: str, address: str | None) -> Path:
    """A file of a run folder, brought here first where it is in the run's store only."""
    path = Path(run_dir) / name
    if not path.is_file() and address is not None:
        Store(address).get(name, path)
    return path
