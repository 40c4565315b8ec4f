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

from astmoa.tracking.server import again, redact

_log_warning = logging.getLogger("astmoa.tracking").warning


class LiveMirror:
    """Brings MLflow up to date every `interval` seconds, and once more at the end (see `Follower`).

    The sweep never notices a failure: the first one is told to `warn` in one line, from another thread. The process has
    a session of its own, so that Ctrl-C does not keep it from the last pass; it ends with this one, however that ends.
    """

    def __init__(self, run_dir: Path, uri: str, interval: float = 5.0, warn: Callable[[str], object] = _log_warning):
        self._run_dir, self._uri, self._warn = run_dir, uri, warn
        self._answer: dict[str, str | None] = {}
        self._closed = False
        self.error: str | None = None
        """Set by `close`: what the tracker misses, and how to fill it in, in one line."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "astmoa.tracking.follower"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Not on its command line: the address may hold a password, and that anybody can list.
        self._tell(json.dumps({"run_dir": str(run_dir), "uri": uri, "interval": interval}))
        self._listener = threading.Thread(target=self._listen, name="astmoa-tracking", daemon=True)
        self._listener.start()

    def close(self) -> str | None:
        """Waits for the last pass, artifacts included. None, or what went wrong in one line."""
        if not self._closed:
            self._closed = True
            self._tell("close")
            self._listener.join()
            self._process.wait()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self.error = self._answer["end"] if "end" in self._answer else self._gone()
        return self.error

    def __enter__(self) -> LiveMirror:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is gone; the listener says so
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        with self._process.stdout as answers:
            for line in answers:
                self._answer |= json.loads(line)
                if "warn" in self._answer:
                    self._warn(self._answer.pop("warn"))
        if "end" not in self._answer:
            self._process.wait()
            self._warn(self._gone())

    def _gone(self) -> str:
        """What to say of a process that somebody or something else has ended."""
        code = self._process.returncode
        return f"tracking at {redact(self._uri)} ended by itself (exit code {code}); {again(self._run_dir, self._uri)}"
