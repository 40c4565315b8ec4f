"""Mirrors a sweep while it runs, from a process of its own: MLflow's work would hold up the driver's thread."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from astmoa.errors import printable
from astmoa.provenance import redact
from astmoa.tracking.server import again

_log_warning = logging.getLogger("astmoa.tracking").warning


_LONGEST_END = 120.0
"""Seconds that the last pass may take: a tracker that hangs does not hold up what comes after a sweep."""


class LiveMirror:
    """Brings MLflow up to date every `interval` seconds, and once more at the end (see `Follower`).

    The sweep never notices a failure: the first one is told to `warn` in one line, from another thread. The process has
    a session of its own, so that Ctrl-C does not keep it from the last pass; it ends with this one, however that ends.
    """

    def __init__(self, run_dir: Path, uri: str, interval: float = 5.0, warn: Callable[[str], object] = _log_warning):
        self._run_dir, self._uri, self._warn = run_dir, uri, warn
        self._answer: dict[str, str | None] = {}
        self._closed = self._hung = False
        self.error: str | None = None
        """Set by `close`: what the tracker misses, and how to fill it in, in one line."""
        command = [sys.executable, "-P", "-m", "astmoa.tracking.follower"]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, text=True, errors="replace", start_new_session=True
            )
        except OSError as error:  # too many processes or open files
            self._closed = True
            self.error = f"tracking cannot start ({error.strerror}); {again(run_dir, uri)}"
            warn(self.error)
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        # Not on its command line: the address may hold a password, and that anybody can list.
        self._tell(json.dumps({"run_dir": str(run_dir), "uri": uri, "interval": interval}))
        self._listener = threading.Thread(target=self._listen, name="astmoa-tracking", daemon=True)
        self._listener.start()

    def close(self) -> str | None:
        """Waits for the last pass, artifacts included. None, or what went wrong in one line."""
        if not self._closed:
            self._closed = True
            self._tell("close")
            self._listener.join(_LONGEST_END)
            if self._listener.is_alive():
                self._hung = True
                self._process.kill()
                self._listener.join()
            self._process.wait()
            with contextlib.suppress(BrokenPipeError):
                self._orders.close()
            self.error = self._answer["end"] if "end" in self._answer else self._gone()
        return self.error

    def __enter__(self) -> LiveMirror:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is gone; the listener says so
            self._orders.write(line + "\n")
            self._orders.flush()

    def _listen(self) -> None:
        with self._answers as answers:
            for line in answers:
                with contextlib.suppress(ValueError, TypeError):  # what a library printed past Python is no answer
                    self._answer |= json.loads(line)
                if "warn" in self._answer:
                    self._warn(printable(self._answer.pop("warn")))
        if "end" not in self._answer:
            self._process.wait()
            self._warn(self._gone())

    def _gone(self) -> str:
        """What to say of a process that somebody or something else has ended."""
        how = f"ended by itself (exit code {self._process.returncode})"
        if self._hung:
            how = f"did not come to an end within {_LONGEST_END:.0f} s"
        return printable(f"tracking at {redact(self._uri)} {how}; {again(self._run_dir, self._uri)}")
