"""Mirrors a sweep while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from astmoa.errors import AstmoaError
from astmoa.journal import NAME as JOURNAL_NAME
from astmoa.tracking.mirror import Mirror
from astmoa.tracking.server import reason

_LONGEST_WAIT = 60.0
_log_warning = logging.getLogger("astmoa.tracking").warning


class LiveMirror:
    """Brings MLflow up to date every `interval` seconds from a thread of the driver, and once more at the end.

    The sweep never notices a failure. The first one is told to `warn` in one line; the next tries come after twice the
    interval, four times, and so on, up to a minute.
    """

    def __init__(self, run_dir: Path, uri: str, interval: float = 5.0, warn: Callable[[str], object] = _log_warning):
        self._mirror, self._interval, self._warn = Mirror(run_dir, uri), interval, warn
        self._closing = threading.Event()
        self._closed = False
        self.error: str | None = None
        """Set by `close`: what the tracker misses, and how to fill it in, in one line."""
        self._thread = threading.Thread(target=self._run, name="astmoa-tracking", daemon=True)
        self._thread.start()

    def close(self) -> str | None:
        """The last pass, artifacts included, in the caller's thread. None, or what went wrong in one line."""
        if not self._closed:
            self._closed = True
            self._closing.set()
            self._thread.join()
            self.error = self._pass(artifacts=True) if self._begun() else None
        return self.error

    def __enter__(self) -> LiveMirror:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        wait, warned = self._interval, False
        while not self._closing.wait(wait):
            if not self._begun():
                continue
            failure = self._pass(artifacts=False)
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

    def _pass(self, artifacts: bool) -> str | None:
        try:
            self._mirror.sync(artifacts)
        except AstmoaError as error:
            return str(error)
        except Exception as error:  # a fault of the mirror itself must not end the sweep either
            return f"tracking failed ({type(error).__name__}: {reason(error)})"
        return None
