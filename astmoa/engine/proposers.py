"""Where a driver's trials come from: an enumerated study's list here, a search elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from astmoa.config import TrialConfig
from astmoa.config.difference import difference
from astmoa.config.proposals import Proposal
from astmoa.engine.ledger import DrivenTrial, Event
from astmoa.errors import RunError


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
