"""The second phase of a search: other seeds and other folds of what it found, to be run to their end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from astmoa.sweep.ledger import Sink
from astmoa.sweep.proposals import Proposal

if TYPE_CHECKING:
    from astmoa.sweep.driver import Driver

Confirm = Callable[["Driver"], Sequence[Proposal]]


class Replicates:
    """confirm: names them, once the search is over and all of it has ended; None where nothing is to be confirmed."""

    def __init__(self, journal: Sink, confirm: Confirm | None):
        self._journal, self._confirm = journal, confirm
        self._waiting: deque[Proposal] | None = None

    def __len__(self) -> int:
        """Those that are still to be started."""
        return len(self._waiting or ())

    def next(self, driver: Driver) -> Proposal | None:
        if self._confirm is None:
            return None
        if self._waiting is None:
            wanted = list(self._confirm(driver))
            points = list(dict.fromkeys(proposal.config.point() for proposal in wanted))
            self._journal.append("confirm", points=points, num_trials=len(wanted))
            states = {trial_id: trial.state for trial_id, trial in driver.trials.items()}
            self._waiting = deque(p for p in wanted if states.get(p.trial_id, "cut") == "cut")
        return self._waiting.popleft() if self._waiting else None
