"""A search as a source of trials: its sampler's candidates become proposals, and what came of them is told to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from astmoa.config import TrialConfig, complete
from astmoa.config.difference import difference
from astmoa.config.proposals import Proposal
from astmoa.engine.ledger import DrivenTrial, Event
from astmoa.errors import RunError
from astmoa.methods.shape import BackboneShape
from astmoa.search.curve_model import predicted_end
from astmoa.search.space import Space

if TYPE_CHECKING:
    from astmoa.search.sampler import OptunaSampler


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
        from astmoa.search.sampler import Suggestion

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
            self._sampler.tell_completed(number, _values(trial, trial.accuracy))
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


def proposal_of(candidate: Mapping[str, Any], space: Space, shape: BackboneShape, template: TrialConfig) -> Proposal:
    """The trial that a candidate means: the template with its method and learning rate."""
    point = space.point(candidate, shape)
    optim = dataclasses.replace(template.optim, lr=point.lr) if point.lr is not None else template.optim
    config = complete(dataclasses.replace(template, method=point.method, optim=optim))
    return Proposal(point.label, config, phase="search")


def _values(trial: DrivenTrial, accuracy: float) -> tuple[float, float, float]:
    """Of all objectives there may be; a sampler takes as many as it has."""
    return trial.size, accuracy, trial.step_seconds
