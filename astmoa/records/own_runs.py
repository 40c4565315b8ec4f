"""Which runs this user has started on this machine, and which addresses they were given.

A run folder may come from anybody, and its journal names addresses: a store, a tracker. Who follows them sends signed
requests to a host of that other's choice. So an address out of a journal is followed only where the user has given it
himself, now or, as noted here and not in the run folder, when he started the run.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astmoa.provenance import redact

ADDRESSES = ("storage", "tracking_uri")


def cache_root() -> Path:
    """$ASTMOA_CACHE, else astmoa in $XDG_CACHE_HOME, else in ~/.cache."""
    if os.environ.get("ASTMOA_CACHE"):
        return Path(os.environ["ASTMOA_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "astmoa"


def note(sweep_id: str, **given: str | None) -> None:
    """Keep the addresses that a run was given, without those that hold a password. sweep_id: checked, see `events`."""
    known = {key: value for key, value in given.items() if value and redact(value) == value}
    with contextlib.suppress(OSError):  # then its addresses have to be given again
        path = _path(sweep_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(json.dumps(_noted(sweep_id) | known) + "\n")


def follows(header: Mapping[str, Any], key: str, address: object) -> bool:
    """Was the run of this journal started here by this user, with this address as its `storage` or `tracking_uri`?"""
    return isinstance(address, str) and _noted(str(header.get("sweep_id"))).get(key) == address


def _noted(sweep_id: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        noted = json.loads(_path(sweep_id).read_text())
        return noted if isinstance(noted, dict) else {}
    return {}


def _path(sweep_id: str) -> Path:
    return cache_root() / "runs" / f"{sweep_id}.json"
