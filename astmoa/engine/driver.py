"""One sweep as a state machine: what runs next, what came in, what is stopped, and why it ends.

No Ray here: Ray's searcher, scheduler and callback hand their calls over to a Driver, and the replay of recorded curves
drives the same object on a virtual clock. Every fact is in the journal before anybody hears of it, and `restore` brings
a driver back from the journal alone: proposals in their order, rungs, decisions, the sampler's history.

A search has two phases. It searches until a budget or its space is used up; then, where asked, `confirm` names trials
(other seeds, other folds) that replicate what the search found, and these run to their end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from astmoa.config.proposals import Proposal
from astmoa.engine.budgets import Budget
from astmoa.engine.confirmation import Confirm, Replicates
from astmoa.engine.judging import EarlyStopping, Judge
from astmoa.engine.ledger import DrivenTrial, Event, Ledger, Sink
from astmoa.engine.proposers import Proposer
from astmoa.engine.recovery import recover
from astmoa.engine.retries import Retries
from astmoa.errors import AstmoaError, RunError

INTERRUPTED = "interrupted"


class Driver:
    """count: trainable parameters by group of a proposal, known before training.

    num_val_clips: validation clips of every fold; the standard error that the scheduler's margin is made of.
    share: GPUs, or CPUs where there is no GPU, that one trial holds: the factor from seconds to device-seconds.
    shared_device: does a trial hold a part of a device, so that a whole one may help where its memory is too small?
    confirm: called once the search is over, with its ledger; the replicates to run.
    """

    def __init__(
        self,
        journal: Sink,
        proposer: Proposer,
        count: Callable[[Proposal], Mapping[str, int]],
        *,
        scheduler: EarlyStopping | None = None,
        budget: Budget | None = None,
        confirm: Confirm | None = None,
        objectives: Sequence[str] = ("params", "accuracy"),
        num_val_clips: Mapping[int, int] | None = None,
        device: str = "cpu",
        share: float = 1.0,
        shared_device: bool = False,
        clock: Callable[[], float] = time.time,
    ):
        self.ledger = Ledger(share)
        self._journal, self.proposer, self._count = journal, proposer, count
        self.judge, self.budget = Judge(scheduler, objectives, num_val_clips or {}), budget or Budget()
        self._device, self._clock = device, clock
        self.failure: AstmoaError | None = None
        """Why the sweep cannot go on (the journal cannot be written, say)."""
        self.reason: str | None = None
        """Why the search is over; None while it is not."""
        self.finished = False
        """Whether nothing will ever be proposed again."""
        self.seconds_before = 0.0
        """Seconds on the wall that earlier runs of this sweep searched."""
        self.search_seconds: float | None = None
        """Seconds on the wall, once the search is over: replicates that confirm it come on top of its bounds."""
        self._given_up = False
        self._start = clock()
        self._retries = Retries(journal, shared_device)
        self._decided: dict[str, int] = {}
        self._written: set[str] = set()
        self._replicates = Replicates(journal, confirm)
        self._changed: Callable[[str, DrivenTrial], None] = lambda what, trial: None

    def watch(self, changed: Callable[[str, DrivenTrial], None]) -> None:
        """Tell the display: changed("start" | "epoch" | "past epoch" | "end", trial)."""
        self._changed = changed

    # -- what runs next

    def next(self) -> Proposal | None:
        """The next trial to start. None: nothing now (see `finished`), ask again when a trial has ended."""
        try:
            proposal = self._next()
        except AstmoaError as error:
            self._give_up(error)
            return None
        if proposal is not None:  # here, for a worker that never comes up starts no trial
            self.ledger.trials[proposal.trial_id].failures_before = self.ledger.failures_in_a_row
        return proposal

    def _next(self) -> Proposal | None:
        if self.failure:
            return None
        self._make_up_for_crash()
        self._check_budget()
        if self._cutting:  # or it would wait for ever for what nobody starts
            self._retries.cut()
        again = self._retries.next()
        if again is not None:
            return again.proposal
        # At a bound of time there is no later.
        hold = self.budget.bounds_time and self._retries.any_alone
        if self.reason is None and not hold:
            proposal = self.proposer.next()
            if proposal is not None:
                return self._add(proposal).proposal
            self.reason = self.proposer.exhausted
        alone = self._retries.next_alone(self.ledger.trials.values())
        if alone is not None:
            return alone.proposal
        if any(trial.open and not trial.confirms for trial in self.ledger.trials.values()):
            return None
        if not self.gave_up:
            if self.search_seconds is None:
                self.search_seconds = self.elapsed
            replicate = self._replicates.next(self.ledger)
            if replicate is not None:
                return self._add(replicate).proposal
        self.finished = not any(trial.open for trial in self.ledger.trials.values())
        return None

    def runs_alone(self, trial_id: str) -> bool:
        """Does it need a device of its own?"""
        return self.ledger.trials[trial_id].alone

    @property
    def num_waiting(self) -> int:
        """Replicates that are still to be started."""
        return len(self._replicates)

    @property
    def _cutting(self) -> bool:
        return self.failure is not None or self.gave_up or self.budget.time_is_up(self.ledger, self.elapsed) is not None

    @property
    def gave_up(self) -> bool:
        """Did too many trials fail one after another?"""
        self._given_up = self._given_up or self.ledger.failures_in_a_row >= self.budget.max_failures
        return self._given_up

    def _check_budget(self) -> None:
        if self.reason is None:
            self.reason = self.budget.over(self.ledger, self.elapsed)

    def _add(self, proposal: Proposal) -> DrivenTrial:
        """Take a proposal in and write what the trial is, once, before anything else about it."""
        known = self.ledger.trials.get(proposal.trial_id)
        if known is not None:
            known.state = "proposed"
            return known
        trial = self.ledger.propose(proposal, dict(self._count(proposal)))
        self._journal.append("proposal", index=len(self.ledger.trials) - 1, **trial.described())
        return trial

    # -- what came in

    def start(self, trial_id: str) -> None:
        """A worker has begun with a trial."""
        trial = self.ledger.trials[trial_id]
        trial.state, trial.failures_before = "running", self.ledger.failures_in_a_row
        self._guarded("start", trial_id=trial_id, device=self._device)
        self._changed("start", trial)

    def report(
        self,
        trial_id: str,
        record: Event | None,
        end: Event | None,
        device_seconds: float = 0.0,
        done_now: bool = False,
    ) -> bool:
        """A trial's epoch (`record`), and with its last one its `end`; see `Result`. Returns whether it goes on."""
        trial = self.ledger.trials[trial_id]
        self.ledger.spend(trial, device_seconds)
        try:
            if record is not None and not self._take(trial, record, done_now):
                return False
            if end is not None and self._retries.out_of_memory(trial, end):
                self._changed("retry", trial)
                return False
            if end is not None:
                self._end(trial, {**end, "device_seconds": device_seconds})
                return False
        except AstmoaError as error:
            self._give_up(error)
            return False
        self._check_budget()
        if not trial.confirms and self._cutting:
            trial.state = "cut"
            return False
        return self.failure is None

    def lose(self, trial_id: str, error: str, strike: bool) -> None:
        """A worker died, or its machine with it (then it is no strike): the trial goes on from its checkpoint."""
        trial = self.ledger.trials[trial_id]
        try:
            enough = self._retries.lost(trial, error, strike)
        except AstmoaError as failure:
            self._give_up(failure)
            return
        if enough is None:
            self._changed("retry", trial)
        else:
            self.fail(trial_id, enough)

    def fail(self, trial_id: str, error: str) -> None:
        """Something raised what a trial may not raise: it may be tried again when the sweep is resumed."""
        trial = self.ledger.trials[trial_id]
        try:
            self._end(trial, {"state": "failed", "error": error, "device_seconds": trial.device_seconds, "retry": True})
        except AstmoaError as failure:
            self._give_up(failure)

    def begin_again(self, error: str, trace: str) -> None:
        """What ran the trials broke and was replaced: the open ones go on from their checkpoints."""
        self._guarded("restart", error=error, traceback=trace)
        self._retries.replace(trial for trial in self.ledger.trials.values() if trial.open)

    def _take(self, trial: DrivenTrial, record: Event, done_now: bool) -> bool:
        fresh = record["epoch"] > trial.epoch  # a resumed trial reports its past first
        if not fresh:
            if done_now:  # again: the journal's last account of an epoch is the one that holds
                self._journal.append("epoch", trial_id=trial.trial_id, **record)
            self._changed("past epoch", trial)
            return True
        self._journal.append("epoch", trial_id=trial.trial_id, **record)
        self.ledger.learn(trial, record)
        self._changed("epoch", trial)
        milestone = self.judge.verdict(trial)
        if milestone is not None:
            self._stop(trial, milestone)
        return milestone is None

    def _stop(self, trial: DrivenTrial, milestone: int, decided: bool = False) -> None:
        if not decided:
            own = {"trial_id": trial.trial_id, "epoch": trial.epoch}
            self._journal.append("decision", **own, action="stop", milestone=milestone)
        self._end(trial, {"state": "stopped", "error": None, "device_seconds": trial.device_seconds})

    def _end(self, trial: DrivenTrial, end: Event) -> None:
        self._journal.append("end", trial_id=trial.trial_id, **end)
        self.ledger.settle(trial, end)
        if not trial.confirms:
            self.proposer.ended(trial)
        self._changed("end", trial)

    # -- beginning and end

    def restore(self, events: Sequence[Event]) -> None:
        """Bring back what a journal tells of; writes nothing. Unfinished trials come first in `next`, failed ones too.

        Raises RunError where the journal holds what this study would not propose.
        """
        recovered = recover(self.ledger, self.proposer, self.judge, events)
        self.seconds_before += recovered.seconds
        self.ledger.failures_in_a_row = 0
        self._decided, self._written = recovered.decided, recovered.written
        for trial in recovered.unfinished:
            self._retries.add(trial)

    def _make_up_for_crash(self) -> None:
        while self._decided:
            trial_id, milestone = self._decided.popitem()
            self._stop(self.ledger.trials[trial_id], milestone, decided=trial_id in self._written)

    def close(self, interrupted: bool = False) -> str:
        """Write the end of this run and return its reason. Raises what made the sweep give up."""
        if self.failure is not None:
            raise self.failure
        reason = INTERRUPTED if interrupted else self.reason or INTERRUPTED
        self._journal.append("sweep_end", reason=reason, seconds=self._clock() - self._start)
        return reason

    def check_failures(self) -> None:
        """Raises RunError with the first error where too many trials failed one after another."""
        if self.gave_up:
            number, error = self.budget.max_failures, self.ledger.first_error
            raise RunError(f"stopped after {number} failed trials in a row (--max-failures); the first error: {error}")

    # -- what there is to tell

    @property
    def elapsed(self) -> float:
        """Seconds on the wall, earlier runs of this sweep included, as far as they searched."""
        if self.search_seconds is not None:
            return self.search_seconds
        return self.seconds_before + self._clock() - self._start

    def _guarded(self, type: str, **fields: Any) -> None:
        try:
            self._journal.append(type, **fields)
        except AstmoaError as error:
            self._give_up(error)

    def _give_up(self, error: AstmoaError) -> None:
        self.failure = self.failure or error
        self.finished = True
