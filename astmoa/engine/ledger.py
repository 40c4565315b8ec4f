"""What is known of a sweep's trials, the same whether it comes from workers or from the journal of an earlier run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from astmoa.config.proposals import Proposal
from astmoa.pareto import frontier

Event = Mapping[str, Any]


class Sink(Protocol):
    """A journal, or a list that stands for one."""

    def append(self, type: str, **fields: Any) -> Any: ...


@dataclass
class DrivenTrial:
    """One trial. Times are device-seconds: seconds times the share of the device that the trial holds."""

    proposal: Proposal
    params: Mapping[str, int]
    trial_id: str
    """The proposal's, which is a hash to work out anew each time it is asked for."""
    epoch: int = 0
    """Last epoch in the journal, from 1; 0 where there is none."""
    curve: list[float] = field(default_factory=list)
    """Best validation accuracy so far, after every epoch: what the trial would have, had it ended there."""
    step_seconds: float = math.inf
    """The fastest epoch's: other programs on the machine only ever slow a step down."""
    device_seconds: float = 0.0
    training: float = 0.0
    evaluation: float = 0.0
    """Device-seconds of validation and test; `training` and the start-up are the rest of device_seconds."""
    state: str = "proposed"
    """proposed, running, completed, stopped, failed; cut: by a budget, and to be gone on with."""
    strikes: int = 0
    """Workers that died while they ran it, on machines that live on: it may be to blame."""
    losses: int = 0
    """Workers that it has lost, for whatever reason."""
    alone: bool = False
    """It ran out of a shared device's memory: it gets a whole one."""
    failures_before: int = 0
    """Failures in a row when it was handed out or, later, started."""
    final: float | None = None
    """Validation accuracy of a completed trial."""

    def described(self) -> Event:
        """What the trial is, for the journal."""
        proposal = self.proposal
        optional = {"paper": dict(proposal.paper), "phase": proposal.phase, "ask": dict(proposal.ask)}
        return {
            "trial_id": self.trial_id,
            "config": proposal.config.to_dict(),
            "config_hash": self.trial_id,
            "point": proposal.config.point(),
            "label": proposal.label,
            "params": dict(self.params),
            **{key: value for key, value in optional.items() if value},
        }

    @property
    def size(self) -> int:
        return self.params["num_trainable_params"]

    @property
    def accuracy(self) -> float:
        """`final` of a trial that has one. Raises ValueError for one that has none: it has no place on a front."""
        if self.final is None:
            raise ValueError(f"trial {self.trial_id} has no accuracy: leave trials without one out")
        return self.final

    @property
    def max_epochs(self) -> int:
        return self.proposal.config.optim.epochs

    @property
    def open(self) -> bool:
        return self.state in ("proposed", "running")

    @property
    def confirms(self) -> bool:
        """Is it a replicate of something that a search found?"""
        return self.proposal.phase == "confirm"


class Ledger:
    """share: GPUs, or CPUs where there is no GPU, that one trial holds."""

    def __init__(self, share: float = 1.0):
        self.share = share
        self.trials: dict[str, DrivenTrial] = {}
        self.num_searched = 0
        """Number of trials proposed, without replicates that confirm."""
        self.device_seconds = 0.0
        """Device-seconds of all trials."""
        self.searched_device_seconds = 0.0
        """Device-seconds of trials that are no replicates."""
        self.hypervolumes: list[float] = []
        """Hypervolume after every completed trial that is no replicate."""
        self.failures_in_a_row = 0
        self.first_error: str | None = None
        self._scores: list[tuple[int, float]] = []

    def propose(self, proposal: Proposal, params: Mapping[str, int]) -> DrivenTrial:
        trial = DrivenTrial(proposal, params, proposal.trial_id)
        self.trials[trial.trial_id] = trial
        self.num_searched += not trial.confirms
        return trial

    def learn(self, trial: DrivenTrial, record: Event) -> None:
        """An epoch."""
        trial.epoch = record["epoch"]
        trial.curve.append(max([*trial.curve[-1:], record["val_accuracy"]]))
        trial.step_seconds = min(trial.step_seconds, record.get("step_seconds") or math.inf)
        validating = record.get("val_seconds") or 0.0
        trial.training += self.share * (record["seconds"] - validating)
        trial.evaluation += self.share * validating

    def spend(self, trial: DrivenTrial, device_seconds: float) -> None:
        """All that the trial has held its device so far."""
        self.device_seconds += device_seconds - trial.device_seconds
        if not trial.confirms:
            self.searched_device_seconds += device_seconds - trial.device_seconds
        trial.device_seconds = device_seconds

    def settle(self, trial: DrivenTrial, end: Event) -> None:
        """A trial's end."""
        # In this order: the display, in a thread of its own, asks completed trials for what they came to.
        trial.final, trial.state = end.get("val_accuracy"), end["state"]
        self.spend(trial, end.get("device_seconds") or trial.device_seconds)
        trial.evaluation += self.share * (end.get("test_seconds") or 0.0)
        if trial.state == "failed":
            # Of trials that ran side by side one failure counts: a lost machine takes them all along.
            self.failures_in_a_row += trial.failures_before == self.failures_in_a_row
            self.first_error = self.first_error or end.get("error")
        else:
            self.failures_in_a_row = 0
        if trial.state == "completed" and not trial.confirms:
            self._scores.append((trial.size, trial.accuracy))
            self._scores = [self._scores[i] for i in frontier.front(self._scores)]  # what is dominated stays so
            self.hypervolumes.append(frontier.standard_hypervolume(self._scores))

    @property
    def num_epochs(self) -> int:
        """In the journal, of all trials."""
        return sum(trial.epoch for trial in list(self.trials.values()))

    def searched(self, *states: str) -> list[DrivenTrial]:
        """Trials that are no replicates, in one of `states`, in the order of their proposal."""
        return [trial for trial in list(self.trials.values()) if not trial.confirms and trial.state in states]

    def front(self) -> list[DrivenTrial]:
        """The completed trials that no other dominates, smallest first."""
        completed = self.searched("completed")
        return [completed[i] for i in frontier.front([(trial.size, trial.accuracy) for trial in completed])]
