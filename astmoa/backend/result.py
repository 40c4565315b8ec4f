"""What a worker tells the driver. In a module of its own, for it is all that a worker that trains nothing needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One result: an epoch's record, with the last one its end, or the end alone of a trial that failed. An object,
    because Ray flattens dictionaries."""

    record: dict[str, Any] | None
    end: dict[str, Any] | None
    device_seconds: float
    """Seconds that the trial has held its share of the device so far, earlier runs included."""
    done_now: bool = False
    """Was the record's epoch done now, not told from a checkpoint? Then it counts, even where the sweep knows of one by
    its number: the trial's checkpoint was damaged, and it began anew."""
