"""Standard output is ours: decoders of libsndfile print there when a file puzzles them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def kept_clean() -> Iterator[None]:
    """While it lasts, what is written to file descriptor 1 goes to standard error, or nowhere if that is closed.

    C libraries hold back what they print, so they are told to write it before the descriptor is as it was. It is one
    descriptor for all threads: print nothing yourself meanwhile.
    """
    _flush_ours()
    try:
        kept = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)  # not in the place of a closed standard error
    except OSError:  # closed
        yield
        return
    try:
        os.dup2(2, 1)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    try:
        yield
    finally:
        _flush_ours()
        with contextlib.suppress(OSError, AttributeError):  # a system without this name in it
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _flush_ours() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
        sys.stdout.flush()
