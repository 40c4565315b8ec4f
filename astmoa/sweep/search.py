"""What a driver runs: an enumerated study's list, a search's proposals, and the replicates that confirm a search."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from astmoa.config import TrialConfig, complete
from astmoa.errors import RunError
from astmoa.shape import BackboneShape
from astmoa.sweep.ledger import DrivenTrial, Event
from astmoa.sweep.proposals import Proposal
from astmoa.sweep.space import Space

if TYPE_CHECKING:
    from astmoa.sweep.sampler import OptunaSampler


NEAREST = 5


@runtime_checkable
class Proposer(Protocol):
    """Where trials come from."""

    exhausted: str
    """Why a sweep ends when there is no next proposal."""

    def next(self) -> Proposal | None:
        """A trial never proposed before; None when there is none left."""

    def restore(self, event: Event) -> Proposal:
        """Take note of a proposal that is in the journal already. Raises RunError if it is not one of this study."""

    def ended(self, trial: DrivenTrial) -> None:
        """A trial completed, was stopped or failed."""


class FixedProposals:
    """An enumerated study: its proposals in their order."""

    exhausted = "every trial ended"

    def __init__(self, proposals: Iterable[Proposal]):
        self._proposals = {p.trial_id: p for p in proposals}
        self._left = dict(self._proposals)

    def next(self) -> Proposal | None:
        return self._left.pop(next(iter(self._left))) if self._left else None

    def restore(self, event: Event) -> Proposal:
        trial_id = event["trial_id"]
        if trial_id not in self._proposals:
            theirs = TrialConfig.from_dict(event["config"]).to_dict()
            nearest = min((difference(theirs, p.config.to_dict()) for p in self._proposals.values()), key=len)
            raise RunError(f"written by another configuration: {nearest}; choose another --out")
        self._left.pop(trial_id, None)
        return self._proposals[trial_id]

    def ended(self, trial: DrivenTrial) -> None:
        """Nothing to learn: the order is fixed."""


class Search:
    """A sampler's candidates as proposals, and what came of them told to the sampler.

    A stopped trial's accuracy is truncated. Beside it the sampler gets a prediction, see `predicted_end`.
    """

    exhausted = "every candidate of the space was proposed"

    def __init__(self, sampler: OptunaSampler, space: Space, shape: BackboneShape, template: TrialConfig):
        self._sampler, self._space, self._shape, self._template = sampler, space, shape, template
        self._numbers: dict[str, int] = {}
        self._finished_curves: list[list[float]] = []

    def next(self) -> Proposal | None:
        suggestion = self._sampler.ask()
        if suggestion is None:
            return None
        ask = {
            "number": suggestion.number,
            "candidate": dict(suggestion.candidate),
            "passed_over": [dict(candidate) for candidate in suggestion.passed_over],
        }
        proposal = self._proposal(ask)
        self._numbers[proposal.trial_id] = suggestion.number
        return proposal

    def restore(self, event: Event) -> Proposal:
        from astmoa.sweep.sampler import Suggestion

        ask = event.get("ask")
        if ask is None:
            raise RunError(f"the proposal of trial {event['trial_id']} does not say what it was: restore the journal")
        self._sampler.again(Suggestion(ask["number"], ask["candidate"], tuple(ask["passed_over"])))
        self._numbers[event["trial_id"]] = ask["number"]
        proposal = self._proposal(ask)
        if proposal.trial_id != event["trial_id"]:
            changed = difference(event["config"], proposal.config.to_dict())
            raise RunError(f"written with other settings: {changed}; choose another --out")
        return proposal

    def ended(self, trial: DrivenTrial) -> None:
        number = self._numbers[trial.proposal.trial_id]
        if trial.state == "completed":
            self._finished_curves.append(trial.curve)
            self._sampler.tell_completed(number, _values(trial, trial.final))
        elif trial.state == "stopped":
            predicted = predicted_end(trial.curve, self._finished_curves)
            fraction = trial.epoch / trial.max_epochs
            truncated = _values(trial, trial.curve[-1])
            self._sampler.tell_stopped(number, truncated, _values(trial, predicted), fraction)
        else:
            self._sampler.tell_failed(number)

    def _proposal(self, ask: Event) -> Proposal:
        proposal = proposal_of(ask["candidate"], self._space, self._shape, self._template)
        return dataclasses.replace(proposal, ask=ask)


def predicted_end(curve: Sequence[float], completed: Sequence[Sequence[float]]) -> float:
    """What a curve's last value would have been, had it not been cut off: what it has, and what the completed curves
    that were nearest to it so far (NEAREST of them, by Euclidean distance) gained on average from there to their end.

    In the first epochs the mean gain of all is worse than the mean of all ends: what starts low rises most
    (benchmarks/search_quality.py prints the errors of all three).
    """

    def distance(other: Sequence[float]) -> float:
        return sum((theirs - ours) ** 2 for theirs, ours in zip(other, curve, strict=False))

    long_enough = [other for other in completed if len(other) >= len(curve)]
    near = heapq.nsmallest(NEAREST, long_enough, key=distance)
    gain = sum(other[-1] - other[len(curve) - 1] for other in near) / len(near) if near else 0.0
    return min(1.0, curve[-1] + gain)


def proposal_of(candidate: Mapping[str, Any], space: Space, shape: BackboneShape, template: TrialConfig) -> Proposal:
    """The trial that a candidate means: the template with its method and learning rate."""
    point = space.point(candidate, shape)
    optim = dataclasses.replace(template.optim, lr=point.lr) if point.lr is not None else template.optim
    config = complete(dataclasses.replace(template, method=point.method, optim=optim))
    return Proposal(point.label, config, phase="search")


def replicates(trials: Sequence[DrivenTrial], seeds: Iterable[int], folds: Iterable[int]) -> list[list[Proposal]]:
    """Per trial of a search its replicates: every other seed in every fold, never the seed that it was found with.

    The search's own run was picked for its accuracy, so it is lucky on average; fresh runs are not.
    """
    folds = list(folds)
    found = []
    for trial in trials:
        config, own = trial.proposal.config, []
        for seed in seeds:
            for fold in folds:
                data = dataclasses.replace(config.data, fold=fold)
                replicate = dataclasses.replace(config, data=data, seed=seed)
                own.append(Proposal(trial.proposal.label, replicate, phase="confirm"))
        found.append(own)
    return found


def difference(old: object, new: object, key: str = "") -> str:
    """`key old there, new now` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [
            difference(old.get(k), new.get(k), f"{key}.{k}" if key else k)
            for k in sorted({*old, *new})
            if old.get(k) != new.get(k)
        ]
        return ", ".join(parts)
    return f"{key + ' ' if key else ''}{old} there, {new} now"


def _values(trial: DrivenTrial, accuracy: float) -> tuple[float, float, float]:
    """Of all objectives there may be; a sampler takes as many as it has."""
    return trial.size, accuracy, trial.step_seconds
