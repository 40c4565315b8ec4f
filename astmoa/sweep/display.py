"""The one progress display of a sweep: a live line on a terminal, a line every so often in a file."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table


class Display:
    """Counts epochs and trials by state and estimates the time left from the pace so far."""

    def __init__(self, num_trials: int, num_epochs: int, every: float = 15.0):
        self.num_trials, self.num_epochs, self.every = num_trials, num_epochs, every
        self.done_epochs = 0
        self.running: set[str] = set()
        self.states = {"completed": 0, "stopped": 0, "failed": 0}
        self.best: tuple[float, str] | None = None
        self._start = self._last_line = time.monotonic()
        self._first_epoch: float | None = None
        self._fresh_epochs = 0
        console = Console(stderr=True)
        self._live = (
            Live(console=console, refresh_per_second=4, get_renderable=self._render) if console.is_terminal else None
        )

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        self._line(force=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def started(self, trial_id: str) -> None:
        self.running.add(trial_id)
        self._first_epoch = self._first_epoch or time.monotonic()

    def epoch(self, label: str, val_accuracy: float, fresh: bool = True) -> None:
        """fresh: it was trained now. What a resumed trial had done before says nothing about the pace."""
        self.done_epochs += 1
        self._fresh_epochs += fresh
        if self.best is None or val_accuracy > self.best[0]:
            self.best = (val_accuracy, label)
        self._line()

    def ended(self, trial_id: str, state: str, epochs_not_run: int = 0) -> None:
        self.running.discard(trial_id)
        self.states[state] += 1
        self.num_epochs -= epochs_not_run
        self._line(force=sum(self.states.values()) == self.num_trials)

    def seconds_left(self) -> float | None:
        """Epochs still to run at the pace since the first trial started; None before there is a pace."""
        if not self._fresh_epochs or self._first_epoch is None:
            return None
        pace = (time.monotonic() - self._first_epoch) / self._fresh_epochs
        return pace * max(0, self.num_epochs - self.done_epochs)

    def text(self) -> str:
        counts = [f"{len(self.running)} running"] + [f"{n} {state}" for state, n in self.states.items() if n]
        left = self.seconds_left()
        parts = [
            f"{sum(self.states.values())}/{self.num_trials} trials ({', '.join(counts)})",
            f"{self.done_epochs}/{self.num_epochs} epochs",
            f"best val {100 * self.best[0]:.1f} % ({self.best[1]})" if self.best else "starting workers",
            f"{_clock(time.monotonic() - self._start)} gone",
            f"about {_clock(left)} left" if left is not None else "",
        ]
        return " | ".join(part for part in parts if part)

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=max(1, self.num_epochs), completed=self.done_epochs, width=24), self.text())
        return grid

    def _line(self, force: bool = False) -> None:
        if self._live is None and (force or time.monotonic() - self._last_line >= self.every):
            self._last_line = time.monotonic()
            print(self.text(), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
