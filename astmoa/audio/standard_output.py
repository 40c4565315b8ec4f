"""Standard output is ours: decoders of libsndfile print there when a file puzzles them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import sys
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_inside, _kept = 0, -1


@contextlib.contextmanager
def kept_clean() -> Iterator[None]:
    """While it lasts, what is written to file descriptor 1 goes to standard error, or nowhere if that is closed.

    C libraries hold back what they print, so they are told to write it before the descriptor is as it was. It is one
    descriptor for all threads: print nothing yourself meanwhile. Several may be inside, in any order; the last one to
    leave puts it back.
    """
    global _inside, _kept
    with _lock:
        if _inside == 0:
            _kept = _divert()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _kept >= 0:
                _flush()
                with contextlib.suppress(OSError, AttributeError):  # a system without this name in it
                    ctypes.CDLL(None).fflush(None)
                os.dup2(_kept, 1)
                os.close(_kept)


def _divert() -> int:
    """A copy of descriptor 1, which then leads elsewhere; -1 where it is closed."""
    _flush()
    try:
        kept = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)  # not in the place of a closed standard error
    except OSError:
        return -1
    try:
        os.dup2(2, 1)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    return kept


def _flush() -> None:
    """Python's own."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
        sys.stdout.flush()
