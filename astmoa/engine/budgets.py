"""When a sweep has had enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from astmoa.engine.ledger import Ledger
from astmoa.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """Bounds of the search; None is no bound. Replicates that confirm a search come on top.

    Trials that run when `max_trials` or `patience` is reached go on to their end. At a bound of time they are cut off
    after their epoch, unfinished, and a resumed sweep goes on with them.
    """

    max_trials: int | None = None
    max_hours: float | None = None
    """Hours on the wall, over all runs of one sweep."""
    max_device_hours: float | None = None
    """Seconds that trials held a GPU (or a CPU core where there is none), summed."""
    patience: int | None = None
    """Completed trials over which the hypervolume has to grow by `min_growth` (a fraction of itself)."""
    min_growth: float = 0.001
    max_failures: int = 10
    """Failed trials in a row that end the search."""

    def __post_init__(self) -> None:
        for key in ("max_trials", "patience", "max_failures"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"--{key.replace('_', '-')} {value} is not possible: give at least 1")
        for key in ("max_hours", "max_device_hours"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"--{key.replace('_', '-')} {value} is not possible: give hours above 0")
        if not 0 <= self.min_growth < math.inf:
            raise ConfigError(f"--min-growth {self.min_growth} is not possible: give a fraction of at least 0")

    def over(self, ledger: Ledger, elapsed: float) -> str | None:
        """Why no further trial is proposed, or None. elapsed: seconds on the wall."""
        if ledger.failures_in_a_row >= self.max_failures:
            return f"{ledger.failures_in_a_row} trials in a row failed (--max-failures)"
        if self.max_trials is not None and ledger.num_searched >= self.max_trials:
            return f"{self.max_trials} trials proposed (--max-trials)"
        return self.time_is_up(ledger, elapsed) or self._stagnation(ledger)

    @property
    def bounds_time(self) -> bool:
        return self.max_hours is not None or self.max_device_hours is not None

    def time_is_up(self, ledger: Ledger, elapsed: float) -> str | None:
        if self.max_hours is not None and elapsed >= 3600 * self.max_hours:
            return f"{self.max_hours:g} hours gone (--max-hours)"
        if self.max_device_hours is not None and ledger.searched_device_seconds >= 3600 * self.max_device_hours:
            return f"{self.max_device_hours:g} device-hours spent (--max-device-hours)"
        return None

    def _stagnation(self, ledger: Ledger) -> str | None:
        trace = ledger.hypervolumes
        if self.patience is None or len(trace) <= self.patience:
            return None
        before, now = trace[-1 - self.patience], trace[-1]
        if now > before * (1 + self.min_growth):
            return None
        grown = 100 * (now / before - 1) if before else 0.0
        return f"hypervolume grew by {grown:.2g} % over the last {self.patience} completed trials (--patience)"
