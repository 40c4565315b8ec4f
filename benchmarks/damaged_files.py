"""Many damaged files of each kind: is every one read, or refused in one line, in time and within bounds?

    python benchmarks/damaged_files.py                          1,000 of every kind
    python benchmarks/damaged_files.py --kind audio --number 50 --seed 7
    python benchmarks/damaged_files.py --kind audio --first 421 --number 1 --keep /tmp/offender

A kind is a function in a `_damaged_*.py` beside this file, listed in its KINDS: it is given an empty folder and a
source of random numbers, makes one damaged input there, and returns what is to be run on it: a callable, or the
arguments of an `astmoa` command. It is called in this process, so what is costly to make may be cached, and what it
imports is there; what it returns runs in a child that is forked from here, so that nothing is imported again and
nothing is left over.

read: it returned, or the command ended with 0 or 1. refused: one of our errors, in one line; a command ended with 2.
traceback: any other exception, an error of several lines, or death by a signal. too slow: above 10 s. too large: above
1 GB of memory, beyond what the imports take.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

for _library in ("OMP", "OPENBLAS", "MKL"):  # a fork of a process with threads may wait for ever
    os.environ[f"{_library}_NUM_THREADS"] = "1"
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import tyro  # noqa: E402
from _common import table  # noqa: E402

from astmoa.errors import AstmoaError  # noqa: E402

Run = Callable[[], object] | Sequence[str]
Kind = Callable[[Path, random.Random], Run]
OUTCOMES = ("read", "refused", "traceback", "too slow", "too large")
_SECONDS, _BYTES = 10.0, 1 << 30
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Outcome(NamedTuple):
    """One of OUTCOMES, a line or a traceback that says more, seconds, and bytes above what the imports take."""

    name: str
    detail: str
    seconds: float
    size: int


def kinds() -> dict[str, Kind]:
    """Every kind's function, by name."""
    found: dict[str, Kind] = {}
    for path in sorted(HERE.glob("_damaged_*.py")):
        found |= importlib.import_module(path.stem).KINDS
    return found


def attempt(run: Run, printed: Path) -> Outcome:
    """Run it in a forked child, with limits; `printed` takes what the child writes to standard output and error."""
    if not callable(run):
        importlib.import_module("astmoa.cli.main")
    reader, writer = os.pipe()
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_child(run, printed, writer)
    os.close(writer)
    before = _resident(os.getpid())  # the child's own count begins without the libraries' pages
    stopped = _watch(child, reader, begin + _SECONDS, before)
    if stopped:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    _, status, usage = os.wait4(child, 0)
    size, seconds = max(0, usage.ru_maxrss * 1024 - before), time.perf_counter() - begin
    if stopped or size > _BYTES:
        return Outcome(stopped or "too large", told, seconds, size)
    if os.WIFSIGNALED(status):
        return Outcome("traceback", signal.Signals(os.WTERMSIG(status)).name, seconds, size)
    name, _, detail = told.partition("\n")
    return Outcome(name, detail, seconds, size)


def _watch(child: int, reader: int, until: float, before: int) -> str:
    """Wait until the child has told its outcome or died; returns which limit it has broken, or nothing."""
    while not select.select([reader], [], [], 0.02)[0]:
        if time.perf_counter() > until:
            return "too slow"
        if _resident(child) - before > _BYTES:
            return "too large"
    return ""


def _resident(process: int) -> int:
    """Bytes of memory that a process has, by Linux's account."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _be_child(run: Run, printed: Path, writer: int) -> None:
    """Run, tell the outcome through `writer` and end, whatever happens."""
    code = 1
    try:
        out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = (os.fdopen(place, "w", errors="replace", closefd=False) for place in (1, 2))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (used + 8 * _BYTES,) * 2)  # the machine is spared in any case
        os.write(writer, "\n".join(_judged(run, printed)).encode(errors="replace")[:60_000])  # fits into the pipe
        code = 0
    finally:
        os._exit(code)


def _judged(run: Run, printed: Path) -> tuple[str, str]:
    try:
        if not callable(run):
            return _command(list(run), printed)
        run()
    except AstmoaError as error:
        return ("traceback" if "\n" in str(error) else "refused"), str(error)
    except BaseException:
        return "traceback", traceback.format_exc()
    return "read", ""


def _command(arguments: list[str], printed: Path) -> tuple[str, str]:
    from astmoa.cli.main import main

    sys.argv = ["astmoa", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    lines = printed.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if code in (0, None, 1) and not errors and not any(line.startswith("Traceback") for line in lines):
        return "read", ""
    if code == 2 and len(errors) == 1 and lines[-1] == errors[0]:
        return "refused", errors[0]
    return "traceback", f"exit code {code}\n" + "\n".join(lines)


@dataclass(frozen=True)
class Arguments:
    """Run many damaged files of each kind; prints how they ended and the first that ended badly."""

    kind: tuple[str, ...] = ()
    """Which kinds; all of them by default."""
    number: int = 1000
    """Files of each kind."""
    seed: int = 0
    first: int = 0
    """The first file's number: with --number 1, that one file again."""
    shown: int = 5
    """Offenders to print per kind."""
    all: bool = False
    """Print every file's outcome in a line."""
    keep: Path | None = None
    """Folder for the offenders' files, one folder each."""


def run_kind(name: str, make: Kind, arguments: Arguments) -> list[Outcome]:
    """Make and try files of one kind; offenders are printed as they come."""
    outcomes: list[Outcome] = []
    shown = 0
    for number in range(arguments.first, arguments.first + arguments.number):
        with tempfile.TemporaryDirectory(prefix="damaged-") as place:
            folder = Path(place, "input")
            folder.mkdir()
            run = make(folder, random.Random(f"{name} {arguments.seed} {number}"))
            outcome = attempt(run, Path(place, "printed"))
            outcomes.append(outcome)
            if arguments.all:
                print(f"{name} {number}: {outcome.name} {outcome.detail.strip().splitlines()[-1:]}", flush=True)
            if outcome.name in ("read", "refused"):
                continue
            if arguments.keep:
                with contextlib.suppress(FileExistsError):
                    shutil.copytree(folder, arguments.keep / f"{name}-{arguments.seed}-{number}", symlinks=True)
        if shown < arguments.shown:
            shown += 1
            print(f"{name} {number}: {outcome.name}, {outcome.seconds:.1f} s, {outcome.size / 1e6:.0f} MB", flush=True)
            print("  " + "\n  ".join(outcome.detail.strip().splitlines()[-12:]), flush=True)
    return outcomes


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    known = kinds()
    strange = set(arguments.kind) - set(known)
    if strange:
        sys.exit(f"error: no kind {', '.join(sorted(strange))}: choose from {', '.join(known)}")
    rows = []
    for name in arguments.kind or tuple(known):
        outcomes = run_kind(name, known[name], arguments)
        counts = Counter(outcome.name for outcome in outcomes)
        slowest, largest = max(o.seconds for o in outcomes), max(o.size for o in outcomes) / 1e6
        rows.append([name, len(outcomes), *(counts[o] for o in OUTCOMES), f"{slowest:.2f}", f"{largest:.0f}"])
    table(["kind", "files", *OUTCOMES, "slowest s", "largest MB"], rows)


if __name__ == "__main__":
    main()
