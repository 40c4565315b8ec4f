"""How a sweep went: what its hypervolume gained with every trial, and where the device's time went."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

from astmoa.pareto.frontier import REFERENCE
from astmoa.records.trials import TrialRecord


class TraceRow(NamedTuple):
    """A sweep right after a trial has completed."""

    time: float
    """Time, in seconds since 1970."""
    num_completed: int
    epochs_spent: int
    """Epochs of all trials so far, whatever became of them."""
    hypervolume: float
    """Hypervolume of the completed trials so far, as `frontier.standard_hypervolume` has it."""


class Staircase:
    """The front of points that come one by one, and its `standard_hypervolume`: a point costs a search in the front."""

    def __init__(self) -> None:
        self.hypervolume = 0.0
        self._sizes: list[float] = []  # log10, ascending, and so the accuracies
        self._accuracies: list[float] = []

    def add(self, num_params: int, accuracy: float) -> None:
        """Raises ValueError for a size of 0 or less."""
        size, (most, least) = math.log10(num_params), REFERENCE
        first = bisect.bisect_left(self._sizes, size)
        level = self._accuracies[first - 1] if first else least
        if size >= most or accuracy <= level:
            return
        # What the new point adds lies above the old steps: walk over those that it covers.
        after, begin, gain = first, size, 0.0
        while after < len(self._sizes) and self._accuracies[after] <= accuracy:
            gain += (self._sizes[after] - begin) * (accuracy - level)
            begin, level = self._sizes[after], self._accuracies[after]
            after += 1
        end = self._sizes[after] if after < len(self._sizes) else most
        gain += (end - begin) * (accuracy - level)
        if gain > 0:  # not where the front has the same size with more accuracy
            self.hypervolume += gain
            self._sizes[first:after], self._accuracies[first:after] = [size], [accuracy]


def hypervolume_trace(trials: Sequence[TrialRecord]) -> list[TraceRow]:
    """A row for each completed trial, in the order of their ends. Every trial is a point of its own here, also where
    several are seeds of one configuration."""
    events: list[tuple[float, int, TrialRecord]] = []
    for trial in trials:
        events += [(epoch["time"], 0, trial) for epoch in trial.epochs]
        if trial.state == "completed" and trial.end is not None:
            events.append((trial.end["time"], 1, trial))
    rows: list[TraceRow] = []
    stairs, num_epochs = Staircase(), 0
    for time, is_end, trial in sorted(events, key=lambda event: event[:2]):
        if not is_end:
            num_epochs += 1
            continue
        if trial.val_accuracy is not None:
            stairs.add(trial.num_trainable_params, trial.val_accuracy)
        rows.append(TraceRow(time, len(rows) + 1, num_epochs, stairs.hypervolume))
    return rows


def device_seconds(trials: Sequence[TrialRecord]) -> dict[str, float]:
    """Device-seconds (seconds times devices held) of all ended trials by what they went into; the parts add up.

    start_up, training and evaluation (validation and test) of completed trials, stopped (all of the trials that the
    scheduler stopped) and failed. start_up is what is in no epoch and no test: building the modules, reading a
    checkpoint, waiting for the driver between epochs. Journals that do not tell validation and test apart have no
    `start_up` and no `evaluation`: all of a completed trial is training then. A trial whose worker died left no time.
    """
    completed = [trial for trial in trials if trial.state == "completed"]
    parts = ("start_up", "training", "evaluation") if all(map(_is_divided, completed)) else ("training",)
    seconds = dict.fromkeys((*parts, "stopped", "failed"), 0.0)
    for trial in trials:
        spent = trial.device_seconds or 0.0
        if trial.state in ("stopped", "failed"):
            seconds[trial.state] += spent
        elif trial.state == "completed" and len(parts) == 1:
            seconds["training"] += spent
        elif trial.state == "completed" and spent:
            validation, test, share = trial.val_seconds, trial.test_seconds, trial.device_share
            assert validation is not None
            assert test is not None
            assert share is not None
            evaluation, training = validation + test, trial.epoch_seconds - validation
            # Clocks of driver and worker differ by milliseconds: no part may come out negative.
            share = min(share, spent / max(training + evaluation, 1e-9))
            seconds["training"] += share * training
            seconds["evaluation"] += share * evaluation
            seconds["start_up"] += spent - share * (training + evaluation)
    return seconds


def _is_divided(trial: TrialRecord) -> bool:
    return None not in (trial.val_seconds, trial.test_seconds, trial.device_share)
