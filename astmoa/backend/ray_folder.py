"""The folder of a Ray of one's own: where it is, who may enter it, and when it goes.

It is removed with the Ray, or by the next sweep where that was killed; of a Ray that broke the logs are kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from astmoa.errors import RunError

LONGEST_SOCKET = 107
"""Bytes of a path, as Linux allows them to a socket."""
LEAST_DISK = 1 << 30
"""Bytes that are free where Ray works: for its logs, and features that do not fit its object store."""
_IN_BASE = "/astmoa-12345678/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """What this process, and those that it starts, write meanwhile. Ray's go on so, but for its workers (worker.py)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


class Folder:
    """Ray's, which nobody else may enter. Locked as long as its sweep lives: who finds it unlocked may remove it."""

    def __init__(self, base: Path):
        self.path = Path(tempfile.mkdtemp(prefix="astmoa-", dir=base))
        self.ray = self.path / "r"  # opened to everybody by Ray, inside of what is closed
        self._handle = os.open(self.path / "new", os.O_CREAT | os.O_WRONLY, 0o600)
        with contextlib.suppress(OSError):  # some file systems have no locks: there it is left to who cleans up
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            os.rename(self.path / "new", self.path / "lock")

    def token(self) -> Path:
        """A new one."""
        path = self.path / "token"
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
        return path

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)  # a process that is just ending may still write there
        os.close(self._handle)

    def keep_logs(self) -> Path:
        """Remove the rest. Returns where they are."""
        kept = self.path / "logs"
        for logs in self.ray.glob("session_2*/logs"):
            logs.rename(kept)
        for name in ("lock", "new", "token"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.ray, ignore_errors=True)
        os.close(self._handle)
        return kept


def base_folder() -> Path:
    """Where Ray would put its folder: RAY_TMPDIR, TMPDIR, /tmp. Raises RunError where that cannot be."""
    most = LONGEST_SOCKET - len(_IN_BASE)
    told = os.environ.get("RAY_TMPDIR")
    if told and len(os.fsencode(os.path.abspath(told))) > most:
        raise RunError(
            f"RAY_TMPDIR={told} is too long a path for Ray's sockets: give one of {most} bytes at most, or unset it"
        )
    if told:
        return Path(os.path.abspath(told))
    other = os.environ.get("TMPDIR", "")
    fits = len(os.fsencode(other)) <= most and os.path.isabs(other) and os.access(other, os.W_OK | os.X_OK)
    return Path(other if fits else "/tmp")


def check_room(base: Path) -> None:
    """Raises RunError where too little is free: Ray itself would not come up, without a word why."""
    while not base.exists():
        base = base.parent
    free = shutil.disk_usage(base).free
    if free < LEAST_DISK:
        raise RunError(
            f"{free / 2**30:.2f} GiB are free in {base}, where Ray works, {LEAST_DISK >> 30} are needed: make room "
            "there, or set RAY_TMPDIR"
        )


def make_folder(base: Path) -> Folder:
    try:
        base.mkdir(parents=True, exist_ok=True)
        return Folder(base)
    except OSError as error:
        raise RunError(f"{base} cannot be written ({error.strerror}): make room there, or set RAY_TMPDIR") from None


def remove_stale(base: Path) -> None:
    """Folders of sweeps that were killed."""
    for lock in base.glob("astmoa-*/lock"):
        with contextlib.suppress(OSError):  # somebody else's, or locked, or just being removed
            if os.lstat(lock.parent).st_uid != os.getuid():
                continue
            handle = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(handle)
