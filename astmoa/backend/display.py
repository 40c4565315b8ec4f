"""The one progress display of a sweep: some live lines on a terminal, a line every so often in a file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from astmoa.config.proposals import Proposal
from astmoa.engine.driver import Driver
from astmoa.engine.ledger import DrivenTrial
from astmoa.errors import printable


class Display:
    """Shows a driver's trials by state, its front and hypervolume, where device time went, and the time left.

    proposals: all of an enumerated study's; None for a search, whose end is known by its budget alone.
    """

    def __init__(self, driver: Driver, proposals: Sequence[Proposal] | None, every: float = 15.0):
        self._driver, self._every = driver, every
        self._num_trials = len(proposals) if proposals is not None else driver.budget.max_trials
        self._planned = sum(p.config.optim.epochs for p in proposals) if proposals is not None else None
        self._start = self._last_line = time.monotonic()
        self._first_epoch: float | None = None
        self._fresh_epochs = 0
        self._old_seconds = driver.ledger.searched_device_seconds
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
        else:
            self._line(force=True)

    def changed(self, what: str, trial: DrivenTrial) -> None:
        """The driver's news: a trial's start, epoch, past epoch (of a resumed one), end."""
        if what == "start":
            self._first_epoch = self._first_epoch or time.monotonic()
        self._fresh_epochs += what == "epoch"
        self._line()

    def epochs_left(self) -> float | None:
        """Epochs still to run; None where nothing bounds them, or before the first trial of a search has ended."""
        driver, trials = self._driver, list(self._driver.ledger.trials.values())
        running = sum(trial.max_epochs - trial.epoch for trial in trials if trial.open)
        if self._planned is not None:
            ended = sum(trial.max_epochs for trial in trials if not trial.open)
            known = sum(trial.max_epochs for trial in trials if trial.open)
            return max(0, self._planned - ended - known) + running
        if driver.reason is not None:
            waiting = driver.num_waiting * trials[-1].max_epochs if trials else 0
            return running + waiting
        used = [trial.epoch for trial in trials if trial.state in ("completed", "stopped", "failed")]
        if self._num_trials is None or not used:
            return None
        return max(0, self._num_trials - driver.ledger.num_searched) * sum(used) / len(used) + running

    def seconds_left(self) -> float | None:
        """By the pace since the first trial started, and by the budgets of time; None before there is a pace."""
        if not self._fresh_epochs or self._first_epoch is None:
            return None
        gone, driver, bounds = time.monotonic() - self._first_epoch, self._driver, []
        epochs = self.epochs_left()
        if epochs is not None:
            bounds.append(gone / self._fresh_epochs * epochs)
        if driver.budget.max_hours is not None and driver.reason is None:
            bounds.append(3600 * driver.budget.max_hours - driver.elapsed)
        spent = driver.ledger.searched_device_seconds - self._old_seconds
        if driver.budget.max_device_hours is not None and driver.reason is None and spent > 0:
            bounds.append(
                (3600 * driver.budget.max_device_hours - driver.ledger.searched_device_seconds) * gone / spent
            )
        return max(0.0, min(bounds)) if bounds else None

    def text(self) -> str:
        """Everything in one line."""
        driver, states = self._driver, Counter(trial.state for trial in list(self._driver.ledger.trials.values()))
        ended = states["completed"] + states["stopped"] + states["failed"]
        total = max(self._num_trials or 0, len(driver.ledger.trials)) + driver.num_waiting
        counts = [f"{states['running']} running"]
        counts += [f"{states[state]} {state}" for state in ("completed", "stopped", "failed", "cut") if states[state]]
        best = max(driver.ledger.searched("completed"), key=lambda trial: trial.accuracy, default=None)
        left = self.seconds_left()
        parts = [
            f"{ended}/{total} trials ({', '.join(counts)})",
            f"{driver.ledger.num_epochs} epochs",
            f"best val {100 * best.accuracy:.1f} % ({best.proposal.label})" if best else self._beginning(),
            f"front {len(driver.ledger.front())}, hypervolume {driver.ledger.hypervolumes[-1]:.4f}"
            if driver.ledger.hypervolumes
            else "",
            f"{_clock(driver.elapsed)} gone",
            f"about {_clock(left)} left" if left is not None else "",
        ]
        return printable(" | ".join(part for part in parts if part))

    def _beginning(self) -> str:
        running = [trial.curve[-1] for trial in list(self._driver.ledger.trials.values()) if trial.curve]
        return f"best val so far {100 * max(running):.1f} %" if running else "starting workers"

    def details(self) -> list[str]:
        """The front, smallest first, and where device time went."""
        driver, trials = self._driver, list(self._driver.ledger.trials.values())
        lines = []
        if driver.ledger.hypervolumes:
            points = [f"{t.size:,} {100 * t.accuracy:.1f} % ({t.proposal.label})" for t in driver.ledger.front()]
            lines.append(
                "front: " + ", ".join(points[:3] + ["..."] * (len(points) > 6) + points[max(3, len(points) - 3) :])
            )
        training, evaluation = (sum(getattr(t, key) for t in trials) for key in ("training", "evaluation"))
        stopped = sum(t.device_seconds for t in trials if t.state == "stopped")
        start_up = max(0.0, driver.ledger.device_seconds - training - evaluation)
        lines.append(
            f"device-seconds: start-up {start_up:.0f}, training {training:.0f}, evaluation {evaluation:.0f}; "
            f"of these in stopped trials {stopped:.0f}"
        )
        return [printable(line) for line in lines]

    def _render(self) -> Group:
        left, done = self.epochs_left(), self._driver.ledger.num_epochs
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1.0, done + left) if left is not None else None, completed=done, width=24)
        grid.add_row(bar, Text(self.text()))
        return Group(grid, *(Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in self.details()))

    def _line(self, force: bool = False) -> None:
        if self._live is None and (force or time.monotonic() - self._last_line >= self._every):
            self._last_line = time.monotonic()
            print(self.text(), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
