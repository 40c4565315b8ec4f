"""Trials to go on with: left by an earlier run, or tried again because their worker, their machine or the memory of
their device was lost.

Whose fault a dead worker is cannot be known. Where its machine lives on, the trial may have killed it: it gets three
strikes. A machine that is gone (spot instances are) is no strike; after ten such losses it is enough all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from astmoa.engine.ledger import DrivenTrial, Event, Sink

MAX_STRIKES = 3
MAX_LOSSES = 10


class Retries:
    """shared_device: does a trial hold a part of a device, so that a whole one may help where memory is too small?"""

    def __init__(self, journal: Sink, shared_device: bool):
        self._journal, self._shared_device = journal, shared_device
        self._waiting: deque[DrivenTrial] = deque()
        self._alone: deque[DrivenTrial] = deque()

    def add(self, trial: DrivenTrial) -> None:
        trial.state = "proposed"
        (self._alone if trial.alone else self._waiting).append(trial)

    def replace(self, trials: Iterable[DrivenTrial]) -> None:
        """These wait now, and no others."""
        self._waiting.clear()
        self._alone.clear()
        for trial in trials:
            self.add(trial)

    def next(self) -> DrivenTrial | None:
        return self._waiting.popleft() if self._waiting else None

    @property
    def any_alone(self) -> bool:
        """Does one wait for a whole device?"""
        return bool(self._alone)

    def next_alone(self, trials: Iterable[DrivenTrial]) -> DrivenTrial | None:
        """One that needs a whole device, when nothing else runs: then one is free, and nobody waits for it."""
        waiting = {trial.trial_id for trial in self._alone}
        nothing_runs = all(trial.trial_id in waiting for trial in trials if trial.open)
        return self._alone.popleft() if waiting and nothing_runs else None

    def cut(self) -> None:
        """Leave all of them to a later run."""
        for queue in (self._waiting, self._alone):
            while queue:
                queue.popleft().state = "cut"

    def lost(self, trial: DrivenTrial, error: str, strike: bool) -> str | None:
        """A trial's worker is gone: queue it again, or say why not."""
        trial.losses += 1
        trial.strikes += strike
        if trial.strikes >= MAX_STRIKES:
            return f"its worker died {trial.strikes} times; the last time: {error}"
        if trial.losses >= MAX_LOSSES:
            return f"it lost its worker or machine {trial.losses} times; the last time: {error}"
        self._again(trial, error)
        return None

    def out_of_memory(self, trial: DrivenTrial, end: Event) -> bool:
        """Did it fail for want of a shared device's memory? Then queue it for a device of its own."""
        if not end.get("out_of_memory") or not self._shared_device or trial.alone:
            return False
        trial.alone = True
        self._again(trial, end["error"])
        return True

    def _again(self, trial: DrivenTrial, error: str) -> None:
        counts = {"strikes": trial.strikes, "losses": trial.losses, "alone": trial.alone}
        self._journal.append("retry", trial_id=trial.trial_id, epoch=trial.epoch, error=error, **counts)
        self.add(trial)
