"""One process at a time has a run folder: from before it reads the journal until the last file is written.

What a process reads before it has the folder may be past when it acts on it. So whoever decides anything from a journal
(what is left to run, what to bring from a store) holds the folder first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from astmoa.errors import RunError

Given = ParamSpec("Given")
Result = TypeVar("Result")

NAME = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_LONGEST = 4096
_TRIES = 100


@dataclass
class _Held:
    """A folder of this process's: the lock's descriptor, whether the folder is new, how often it is held."""

    file: int
    made: bool
    times: int = 0


_held: dict[str, _Held] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def hold(run_dir: Path) -> Iterator[None]:
    """Make the folder where there is none, and keep all other processes out of it, on other machines that share it too.

    The same process may hold it several times over. The system lets go of it however the process ends. Raises RunError
    where another process has it (by name: host, process id, since when) and where it cannot be written. A folder that
    was made here and got nothing is removed.
    """
    run_dir = Path(run_dir)
    with _guard:
        made, key = _make(run_dir), str(run_dir.resolve())
        if key not in _held:
            _held[key] = _Held(_open(run_dir), made)
        _held[key].times += 1
    try:
        yield
    finally:
        with _guard:
            _held[key].times -= 1
            if not _held[key].times:
                _let_go(run_dir, _held.pop(key))


def is_held(run_dir: Path) -> bool:
    """Has a process the folder now? On a file system without locks that is not known, and taken for granted."""
    try:  # not to wait for whatever lies there under this name
        file = os.open(Path(run_dir) / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def holding(call: Callable[Concatenate[Path, Given], Result]) -> Callable[Concatenate[Path, Given], Result]:
    """A function that holds the run folder, its first argument, from its beginning to its end."""

    @functools.wraps(call)
    def held(run_dir: Path, *arguments: Given.args, **options: Given.kwargs) -> Result:
        with hold(run_dir):
            return call(run_dir, *arguments, **options)

    return held


def _let_go(run_dir: Path, held: _Held) -> None:
    if held.made:
        _remove_if_empty(run_dir)
    with contextlib.suppress(OSError):  # no more than a courtesy: without the lock its words mean nothing
        os.ftruncate(held.file, 0)
    os.close(held.file)


def _make(run_dir: Path) -> bool:
    """Is it new?"""
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        if not run_dir.is_dir():
            raise RunError(f"{run_dir} is a file; give --out a folder, or a new name") from None
        return False
    except (OSError, ValueError) as error:
        raise _not_writable(run_dir, error) from None
    return True


def _open(run_dir: Path) -> int:
    """A descriptor that has the lock, whose file says who we are."""
    path = run_dir / NAME
    for _ in range(_TRIES):
        try:  # no link: a folder from elsewhere could have it point at any file, which would be emptied
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # whoever had it has removed the folder
            _make(run_dir)
            continue
        except OSError as error:
            raise _not_writable(run_dir, error) from None
        try:
            if not _lock(file, run_dir):
                raise RunError(f"{run_dir}: {_holder(file)} has it: wait for its end, or give another --out")
            if not _is(file, path):  # whoever had it has removed it: a lock on it keeps nobody out
                os.close(file)
                continue
            _sign(file, run_dir)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(file)
            raise
        return file
    raise RunError(f"{run_dir}: it comes and goes while it is opened: give another --out")


def _lock(file: int, run_dir: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _not_writable(run_dir, error) from None
        print(
            f"{run_dir}: this file system has no locks ({error.strerror}); let no second process use the folder",
            file=sys.stderr,
        )
    return True


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(file: int, run_dir: Path) -> None:
    words = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(words).encode() + b"\n", 0)
    except OSError as error:
        raise _not_writable(run_dir, error) from None


def _holder(file: int) -> str:
    """Who has it, as far as the file says so: its words are a file's, and another may just be writing them."""
    for _ in range(5):
        with contextlib.suppress(OSError, ValueError, TypeError, ArithmeticError, RecursionError):
            return _named(json.loads(os.pread(file, _LONGEST, 0)))
        time.sleep(0.1)
    return "another process"


def _named(words: dict[str, Any]) -> str:
    host, pid, since = str(words["host"]), int(words["pid"]), time.localtime(words["since"])
    where = f"process {pid}" + ("" if host == socket.gethostname() else f" on {host}")
    return f"{where}, since {time.strftime('%Y-%m-%d %H:%M:%S', since)},"


def _not_writable(run_dir: Path, error: OSError | ValueError) -> RunError:
    why = getattr(error, "strerror", None) or error
    return RunError(f"{run_dir} cannot be written ({why}): make room, mend the path, or give another --out (--storage)")


def _remove_if_empty(run_dir: Path) -> None:
    """Leave no trace of a sweep that was refused before it began."""
    with contextlib.suppress(OSError):
        if [entry.name for entry in os.scandir(run_dir)] == [NAME]:
            (run_dir / NAME).unlink()
            run_dir.rmdir()
