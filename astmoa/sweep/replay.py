"""Other searches over recorded curves, on a virtual clock: a sweep of 200 trials in seconds.

The driver, the sampler and the scheduler are those of a real sweep; only the training is looked up. A worker takes
over the next trial as soon as one ends, as Ray's do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from astmoa.errors import RunError
from astmoa.sweep.curves import Curve
from astmoa.sweep.driver import Driver
from astmoa.sweep.proposals import Proposal


@dataclass
class VirtualClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class MemoryJournal:
    """Events in a list, for a driver that leaves no run folder."""

    clock: Callable[[], float]
    events: list[dict[str, Any]] = field(default_factory=list)

    def append(self, type: str, **fields: Any) -> dict[str, Any]:
        self.events.append({"type": type, "time": self.clock(), **fields})
        return self.events[-1]


def replay(
    driver: Driver,
    lookup: Callable[[Proposal], Curve],
    clock: VirtualClock,
    num_workers: int,
    stop: Callable[[Driver], bool] = lambda driver: False,
) -> None:
    """Run `driver` to its end, or until `stop` says so after a result. `clock` is the one that the driver reads.

    Of two epochs that end at the same moment the trial that started first comes first. Raises what the driver gave up
    for, and RunError for a proposal that was never recorded.
    """
    queue: list[tuple[float, int, Proposal, Curve, int, float]] = []
    started = 0
    while True:
        while len(queue) < num_workers and (proposal := driver.next()) is not None:
            curve = lookup(proposal)
            driver.start(proposal.trial_id)
            heapq.heappush(queue, (clock.now + curve.seconds[0], started, proposal, curve, 1, clock.now))
            started += 1
        if driver.failure is not None:
            raise driver.failure
        if not queue:
            return
        clock.now, order, proposal, curve, epoch, since = heapq.heappop(queue)
        last = epoch == len(curve.val_accuracy)
        goes_on = driver.report(
            proposal.trial_id, curve.record(epoch), curve.end() if last else None, clock.now - since
        )
        if goes_on:
            heapq.heappush(queue, (clock.now + curve.seconds[epoch], order, proposal, curve, epoch + 1, since))
        if stop(driver):
            return


def recorded(trials: Mapping[str, Curve]) -> Callable[[Proposal], Curve]:
    """Look a proposal up by its trial id."""

    def lookup(proposal: Proposal) -> Curve:
        if proposal.trial_id not in trials:
            raise RunError(f"{proposal.label} with seed {proposal.config.seed} was not recorded: replay its own space")
        return trials[proposal.trial_id]

    return lookup
