"""Follows a sweep's journal: passes while it grows, in a thread of this process. `LiveMirror` starts one in a process
of its own: `python -m astmoa.tracking.follower`, which is told what to do on stdin and answers on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TextIO

from astmoa.errors import AstmoaError
from astmoa.records.journal import NAME as JOURNAL_NAME
from astmoa.tracking.artifacts import ARTIFACTS, REPORT
from astmoa.tracking.failure import reason
from astmoa.tracking.mirror import Mirror

_LONGEST_WAIT = 60.0
_REPORT_EVERY = 60.0


class Follower:
    """Brings MLflow up to date every `interval` seconds, table and picture every minute, and all once more at the end.

    Failures are not raised. The first one is told to `warn` in one line; the next tries come after twice the interval,
    four times, and so on, up to a minute.
    """

    def __init__(self, run_dir: Path, uri: str, interval: float, warn: Callable[[str], object]):
        self._mirror, self._interval, self._warn = Mirror(run_dir, uri), interval, warn
        self._closing = threading.Event()
        self._reported = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="astmoa-tracking", daemon=True)
        self._thread.start()

    def close(self) -> str | None:
        """The last pass, all files included, in the caller's thread. None, or what went wrong in one line."""
        self._closing.set()
        self._thread.join()
        return self._pass(ARTIFACTS) if self._begun() else None

    def _run(self) -> None:
        wait, warned = self._interval, False
        while not self._closing.wait(wait):
            if not self._begun():
                continue
            failure = self._pass(self._due())
            wait = self._interval if failure is None else min(2 * wait, max(_LONGEST_WAIT, self._interval))
            if failure is not None and not warned:
                warned = True
                self._warn(failure)

    def _begun(self) -> bool:
        """Has the journal its first line? Before it there is nothing to mirror, and nothing wrong."""
        path = self._mirror.run_dir / JOURNAL_NAME
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.readline().endswith(b"\n")

    def _due(self) -> Collection[str]:
        """Table and picture, once a minute. The journal goes at the end: it is long, and all of it is in the runs."""
        if time.monotonic() - self._reported < _REPORT_EVERY:
            return ()
        self._reported = time.monotonic()
        return REPORT

    def _pass(self, artifacts: Collection[str]) -> str | None:
        try:
            self._mirror.sync(artifacts)
        except AstmoaError as error:
            return str(error)
        except Exception as error:  # a fault of the mirror itself must not end the sweep either
            return f"tracking failed ({type(error).__name__}: {reason(error)})"
        return None


def main() -> None:
    """Line 1 of stdin says what to follow, line 2 ends it. Answers {"warn": text} at most once, {"end": text or null}.

    stdin that ends without a line 2 means that the sweep's process is gone, however it ended: so is this one, at once.
    """
    os.nice(5)  # trials first
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print as they please; MLflow did, to servers only
    told = json.loads(sys.stdin.readline())
    follower = Follower(Path(told["run_dir"]), told["uri"], told["interval"], lambda text: _answer(answers, warn=text))
    if not sys.stdin.readline():
        os._exit(1)
    _answer(answers, end=follower.close())


def _answer(answers: TextIO, **fields: str | None) -> None:
    print(json.dumps(fields), file=answers, flush=True)


if __name__ == "__main__":
    main()
