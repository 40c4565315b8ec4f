"""Files as they are opened: plain ones alone, and for the decoder also a part of one, mended."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotAFileError(OSError):
    """Something is there that is no plain file; `strerror` says what."""


def is_plain(path: Path | str) -> bool:
    """Whether a plain file is there; a link to one counts. False also where one may not look, or the name is
    impossible."""
    return os.path.isfile(path)  # Path.is_file raises for these two


class PlainFile:
    """An open plain file that is read at any place; a context manager.

    Pipes, devices, sockets and folders are no files here: to open them may block for ever, or do something. Raises
    NotAFileError for them, and OSError.
    """

    def __init__(self, path: Path | str):
        self.path = path
        try:
            mode = os.stat(path).st_mode
        except ValueError as error:  # a NUL in it
            raise OSError(errno.EINVAL, f"no name of a file: {error}", str(path)) from None
        _check_plain(path, mode)
        # Not blocking, in case that it has become a pipe since.
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(self.descriptor)
            _check_plain(path, status.st_mode)
        except OSError:
            os.close(self.descriptor)
            raise
        self.size = status.st_size

    def read_at(self, place: int, count: int) -> bytes:
        """Up to `count` bytes from `place` on; fewer at the end of the file, none beyond it."""
        return os.pread(self.descriptor, count, place) if place >= 0 else b""

    def __enter__(self) -> PlainFile:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.descriptor)


def _check_plain(path: Path | str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise NotAFileError(errno.EINVAL, f"it is {kind}, no file", str(path))


def read_plain(path: Path | str) -> bytes:
    """All of a plain file. Raises as PlainFile does."""
    with PlainFile(path) as file, open(file.descriptor, "rb", closefd=False) as stream:
        return stream.read()


class Excerpt(io.RawIOBase):
    """Bytes `start` to `end` of a file, as if they were a file of their own, for libsndfile.

    patches: place in the whole file -> what is read there instead. shy: who asks for the end a second time is told 0,
    see `mpeg`. An error of reading is kept in `failure` and looks like the end of the file: the decoder's C code cannot
    be told.
    """

    def __init__(self, file: PlainFile, start: int, end: int, patches: Mapping[int, bytes], shy: bool = False):
        self._file, self._start, self._size = file, start, end - start
        self._patches, self._shy = {place - start: patch for place, patch in patches.items()}, shy
        self._place = self._asked = 0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, min(len(view), self._size - self._place))]
        if not view:
            return 0
        try:
            count = os.preadv(self._file.descriptor, [view], self._start + self._place)
        except OSError as error:
            self.failure = error
            return 0
        for place, patch in self._patches.items():
            first, last = max(place, self._place), min(place + len(patch), self._place + count)
            if first < last:
                view[first - self._place : last - self._place] = patch[first - place : last - place]
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            self._asked += 1
            base = 0 if self._shy and self._asked > 1 else self._size
        else:
            base = self._place if whence == os.SEEK_CUR else 0
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place
