"""A page as a user sees it: its DOM after its scripts have run, and a picture, by headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--virtual-time-budget=20000",
    "--window-size=1600,2000",
]


def chromium() -> str | None:
    """The program; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def dom(url: str) -> str:
    """The page's HTML, as its scripts have made it."""
    return _run(url, "--dump-dom")


def screenshot(url: str, path: Path) -> Path:
    """A PNG of the page, written to `path`."""
    _run(url, f"--screenshot={path}")
    return path


def _run(url: str, *flags: str) -> str:
    with tempfile.TemporaryDirectory(prefix="astmoa-browser-") as profile:
        command = [chromium() or "chromium", *_FLAGS, f"--user-data-dir={profile}", *flags, url]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=180).stdout
