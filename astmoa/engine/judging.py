"""Is a trial stopped? Its last epoch as costs, put before whatever rule of early stopping the sweep was given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from astmoa.engine.ledger import DrivenTrial
from astmoa.pareto.confidence import accuracy_error


class EarlyStopping(Protocol):
    def report(self, trial_id: str, epoch: int, costs: Sequence[float], errors: Sequence[float]) -> int | None:
        """A trial's state after `epoch`. None: go on. Otherwise the milestone at which it is stopped.

        costs: (log10 params, -accuracy, ...), all minimised. errors: their standard errors, 0 for exact ones.

        An epoch that is no milestone is never judged: a trial whose first report comes after a milestone stays out
        of that rung, where its later value would be unfair, and is judged at the next one. Of several reports of the
        same epoch the first one counts. Raises ValueError for a cost that is not finite: such a trial has failed.
        """
        ...


class Judge:
    """rule: None stops nobody. objectives: `params`, `accuracy` and perhaps `step_time`.

    num_val_clips: validation clips of every fold, which the standard error of an accuracy is made of.
    """

    def __init__(self, rule: EarlyStopping | None, objectives: Sequence[str], num_val_clips: Mapping[int, int]):
        self._rule, self.objectives, self._num_val_clips = rule, tuple(objectives), num_val_clips

    def verdict(self, trial: DrivenTrial) -> int | None:
        """The milestone at which the trial is stopped, or None. Replicates always run to their end."""
        if self._rule is None or trial.confirms or trial.epoch >= trial.max_epochs:
            return None
        clips, accuracy = self._num_val_clips.get(trial.proposal.config.data.fold), trial.curve[-1]
        costs = [math.log10(trial.size), -accuracy]
        errors = [0.0, accuracy_error(accuracy, clips) if clips else 0.0]
        if "step_time" in self.objectives:
            # In steps of 12 %: below that are other programs on the machine, not the trial.
            costs, errors = [*costs, round(20 * math.log10(trial.step_seconds)) / 20], [*errors, 0.0]
        return self._rule.report(trial.trial_id, trial.epoch, costs, errors)
