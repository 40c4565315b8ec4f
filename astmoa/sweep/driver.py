"""One sweep as a state machine: what runs next, what came in, what is stopped, and why it ends.

No Ray here: Ray's searcher, scheduler and callback hand their calls over to a Driver, and the replay of recorded curves
drives the same object on a virtual clock. Every fact is in the journal before anybody hears of it, and `restore` brings
a driver back from the journal alone: proposals in their order, rungs, decisions, the sampler's history.

A search has two phases. It searches until a budget or its space is used up; then, where asked, `confirm` names trials
(other seeds, other folds) that replicate what the search found, and these run to their end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from astmoa.confidence import accuracy_error
from astmoa.errors import AstmoaError
from astmoa.sweep.budget import Budget
from astmoa.sweep.halving import EarlyStopping
from astmoa.sweep.ledger import DrivenTrial, Event, Ledger, Sink
from astmoa.sweep.past import recall
from astmoa.sweep.proposals import Proposal
from astmoa.sweep.replicates import Confirm, Replicates
from astmoa.sweep.retries import Retries
from astmoa.sweep.search import Proposer

INTERRUPTED = "interrupted"


class Driver(Ledger):
    """count: trainable parameters by group of a proposal, known before training.

    num_val_clips: validation clips of every fold; the standard error that the scheduler's margin is made of.
    share: GPUs, or CPUs where there is no GPU, that one trial holds: the factor from seconds to device-seconds.
    shared_device: does a trial hold a part of a device, so that a whole one may help where its memory is too small?
    confirm: called once the search is over, with this driver; the replicates to run.
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
        super().__init__(share)
        self._journal, self.proposer, self._count = journal, proposer, count
        self._scheduler, self.budget = scheduler, budget or Budget()
        self.objectives, self._num_val_clips = tuple(objectives), num_val_clips or {}
        self._device, self._clock = device, clock
        self.failure: AstmoaError | None = None
        """Why the sweep cannot go on (the journal cannot be written, say)."""
        self.reason: str | None = None
        """Why the search is over; None while it is not."""
        self.finished = False
        """Nothing will ever be proposed again."""
        self.seconds_before = 0.0
        """That earlier runs of this sweep searched."""
        self.search_seconds: float | None = None
        """On the wall, once the search is over: replicates that confirm it come on top of its bounds."""
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
            self.trials[proposal.trial_id].failures_before = self.failures_in_a_row
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
        alone = self._retries.next_alone(self.trials.values())
        if alone is not None:
            return alone.proposal
        if any(trial.open and not trial.confirms for trial in self.trials.values()):
            return None
        if not self.gave_up:
            if self.search_seconds is None:
                self.search_seconds = self.elapsed
            replicate = self._replicates.next(self)
            if replicate is not None:
                return self._add(replicate).proposal
        self.finished = not any(trial.open for trial in self.trials.values())
        return None

    def runs_alone(self, trial_id: str) -> bool:
        """Does it need a device of its own?"""
        return self.trials[trial_id].alone

    @property
    def num_waiting(self) -> int:
        """Replicates that are still to be started."""
        return len(self._replicates)

    @property
    def _cutting(self) -> bool:
        return self.failure is not None or self.gave_up or self.budget.time_is_up(self) is not None

    @property
    def gave_up(self) -> bool:
        """Did too many trials fail one after another?"""
        self._given_up = self._given_up or self.failures_in_a_row >= self.budget.max_failures
        return self._given_up

    def _check_budget(self) -> None:
        if self.reason is None:
            self.reason = self.budget.over(self)

    def _add(self, proposal: Proposal) -> DrivenTrial:
        """Take a proposal in and write what the trial is, once, before anything else about it."""
        known = self.trials.get(proposal.trial_id)
        if known is not None:
            known.state = "proposed"
            return known
        trial = self.propose(proposal, dict(self._count(proposal)))
        optional = {"paper": dict(proposal.paper), "phase": proposal.phase, "ask": dict(proposal.ask)}
        self._journal.append(
            "proposal",
            trial_id=trial.trial_id,
            index=len(self.trials) - 1,
            config=proposal.config.to_dict(),
            config_hash=trial.trial_id,
            point=proposal.config.point(),
            label=proposal.label,
            params=dict(trial.params),
            **{key: value for key, value in optional.items() if value},
        )
        return trial

    # -- what came in

    def start(self, trial_id: str) -> None:
        """A worker has begun with a trial."""
        trial = self.trials[trial_id]
        trial.state, trial.failures_before = "running", self.failures_in_a_row
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
        """A trial's epoch (`record`), and with its last one its `end`; see `News`. Returns whether it goes on."""
        trial = self.trials[trial_id]
        self.spend(trial, device_seconds)
        try:
            if record is not None and not self._take(trial, record, done_now):
                return False
            if end is not None and self._retries.out_of_memory(trial, end):
                self._changed("retry", trial)
                return False
            if end is not None:
                self._end(trial, end | {"device_seconds": device_seconds})
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
        trial = self.trials[trial_id]
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
        """Something raised what a trial may not raise: it may be tried again when the sweep is gone on with."""
        trial = self.trials[trial_id]
        try:
            self._end(trial, {"state": "failed", "error": error, "device_seconds": trial.device_seconds, "retry": True})
        except AstmoaError as failure:
            self._give_up(failure)

    def begin_again(self, error: str, trace: str) -> None:
        """What ran the trials broke and was replaced: the open ones go on from their checkpoints."""
        self._guarded("restart", error=error, traceback=trace)
        self._retries.replace(trial for trial in self.trials.values() if trial.open)

    def _take(self, trial: DrivenTrial, record: Event, done_now: bool) -> bool:
        fresh = record["epoch"] > trial.epoch  # a resumed trial reports its past first
        if not fresh:
            if done_now:  # again: the journal's last account of an epoch is the one that holds
                self._journal.append("epoch", trial_id=trial.trial_id, **record)
            self._changed("past epoch", trial)
            return True
        self._journal.append("epoch", trial_id=trial.trial_id, **record)
        self.learn(trial, record)
        self._changed("epoch", trial)
        milestone = self.judge(trial)
        if milestone is not None:
            self._stop(trial, milestone)
        return milestone is None

    def judge(self, trial: DrivenTrial) -> int | None:
        """The milestone at which the trial is stopped, or None. Replicates always run to their end."""
        if self._scheduler is None or trial.confirms or trial.epoch >= trial.max_epochs:
            return None
        clips, accuracy = self._num_val_clips.get(trial.proposal.config.data.fold), trial.curve[-1]
        costs = [math.log10(trial.size), -accuracy]
        errors = [0.0, accuracy_error(accuracy, clips) if clips else 0.0]
        if "step_time" in self.objectives:
            # In steps of 12 %: below that are other programs on the machine, not the trial.
            costs, errors = [*costs, round(20 * math.log10(trial.step_seconds)) / 20], [*errors, 0.0]
        return self._scheduler.report(trial.trial_id, trial.epoch, costs, errors)

    def _stop(self, trial: DrivenTrial, milestone: int, decided: bool = False) -> None:
        if not decided:
            own = {"trial_id": trial.trial_id, "epoch": trial.epoch}
            self._journal.append("decision", **own, action="stop", milestone=milestone)
        self._end(trial, {"state": "stopped", "error": None, "device_seconds": trial.device_seconds})

    def _end(self, trial: DrivenTrial, end: Event) -> None:
        self._journal.append("end", trial_id=trial.trial_id, **end)
        self.settled(trial, end)
        self._changed("end", trial)

    def settled(self, trial: DrivenTrial, end: Event) -> None:
        self.settle(trial, end)
        if not trial.confirms:
            self.proposer.ended(trial)

    # -- beginning and end

    def restore(self, events: Sequence[Event]) -> None:
        """Bring back what a journal tells of; writes nothing. Unfinished trials come first in `next`, failed ones too.

        Raises RunError where the journal holds what this study would not propose.
        """
        past = recall(self, events)
        self.seconds_before += past.seconds
        self.failures_in_a_row = 0
        self._decided, self._written = past.decided, past.written
        for trial in past.unfinished:
            self._retries.add(trial)

    def _make_up_for_crash(self) -> None:
        while self._decided:
            trial_id, milestone = self._decided.popitem()
            self._stop(self.trials[trial_id], milestone, decided=trial_id in self._written)

    def close(self, interrupted: bool = False) -> str:
        """Write the end of this run and return its reason. Raises what made the sweep give up."""
        if self.failure is not None:
            raise self.failure
        reason = INTERRUPTED if interrupted else self.reason or INTERRUPTED
        self._journal.append("sweep_end", reason=reason, seconds=self._clock() - self._start)
        return reason

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
