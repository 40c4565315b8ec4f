"""What an earlier call of the same sweep left in a run folder, and whether it was the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astmoa.config.difference import branches_difference, difference
from astmoa.errors import RunError
from astmoa.records.journal import NAME as JOURNAL
from astmoa.records.journal import read_journal
from astmoa.records.journal_events import JournalEvent

# What must be equal in the header when a run folder is resumed.
_HEADER_IDENTITY = ("study", "methods", "layouts", "data", "backbone", "search")


def check_run_dir(run_dir: Path, header: dict[str, Any], keys: Sequence[str] = _HEADER_IDENTITY) -> list[JournalEvent]:
    """The events that an earlier run left, if there was one. Raises RunError if it was a run of something else.

    keys: what of the header is compared, for what is known before the rest.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise RunError(f"{run_dir} is a file; give --out a folder, or a new name")
    events = read_journal(run_dir) if (run_dir / JOURNAL).exists() else []
    if (run_dir / JOURNAL).exists() and not os.access(run_dir / JOURNAL, os.W_OK):
        raise RunError(f"{run_dir / JOURNAL}: cannot be written: correct its rights, or choose another --out")
    if events and not {"sweep_id", "study"} <= events[0].keys():
        raise RunError(f"{run_dir}: its journal begins with no sweep; choose another --out")
    for key in keys if events else ():
        before, now = _identity(events[0].get(key)), _identity(header.get(key))
        if key in ("methods", "layouts"):
            _check_sources(run_dir, before or {}, now or {})
        elif before != now:
            changed = _search_difference(before, now) if key == "search" else difference(before, now)
            raise RunError(f"{run_dir}: written with another {key}: {changed}; choose another --out")
    return events


def _check_sources(run_dir: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """Raises RunError where code from outside is another one by now. Others may join, if the study says so."""
    for name, source in now.items():
        if before.get(name, source) != source:
            raise RunError(
                f"{run_dir}: {name} has changed since this run began: bring its old source back (it is in the "
                "journal's first line), or choose another --out"
            )


def _search_difference(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    if before is None or now is None:
        return "one lists its points, the other searches"
    old, new = ({key: value for key, value in search.items() if key != "space"} for search in (before, now))
    parts = branches_difference(before.get("space") or [], now.get("space") or []), difference(old, new)
    return "; ".join(part for part in parts if part)


def _identity(value: Any) -> Any:
    """Without the sizes of the folds that were asked for: more folds may join a sweep. All are in the fingerprint."""
    return {k: v for k, v in value.items() if k != "splits"} if isinstance(value, dict) else value
