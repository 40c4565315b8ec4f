"""Other searches over recorded curves, on a virtual clock: a sweep of 200 trials in seconds.

The driver, the sampler and the scheduler are those of a real sweep; only the training is looked up. A worker takes
over the next trial as soon as one ends, as Ray's do.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from astmoa.config.proposals import Proposal
from astmoa.engine.budgets import Budget
from astmoa.engine.driver import Driver
from astmoa.engine.ledger import DrivenTrial
from astmoa.engine.proposers import Proposer
from astmoa.errors import ConfigError, RunError
from astmoa.pareto import frontier
from astmoa.replay.curves import Curve, Curves
from astmoa.search.sampler import OptunaSampler
from astmoa.search.searcher import Search
from astmoa.search.stopping_rules import DEFAULT_MARGIN, Spread, make_scheduler


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
    for, RunError for a proposal that was never recorded, and ConfigError for less than one worker.
    """
    if num_workers < 1:
        raise ConfigError(f"{num_workers} workers are not possible: give at least 1")
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
            if not driver.finished:  # a live sweep would wait for ever
                raise RuntimeError("the driver waits for a trial that it has not handed out")
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


@dataclass(frozen=True)
class Policy:
    """A way to search, by the names that sweeps know."""

    sampler: str = "ehvi"
    scheduler: str = "pareto_asha"
    tell_stopped: str = "predicted"
    grace_period: int | None = None
    reduction_factor: int = 3
    margin: float | None = None
    spread: Spread = "epsilon_net"
    max_params: int | None = None
    step_time: bool = False
    """A third objective: the recorded time of one training step."""
    num_startup: int | None = None
    """Results drawn at random before a model is asked; None: the sampler's default."""

    def replay(
        self,
        curves: Curves,
        seed: int = 0,
        num_workers: int = 4,
        max_trials: int | None = None,
        watch: Callable[[Driver, str, DrivenTrial], None] | None = None,
        stop: Callable[[Driver], bool] = lambda driver: False,
        proposer: Proposer | None = None,
    ) -> Driver:
        """One search. Which of the recorded training seeds it sees is `seed` modulo their number.

        watch: told what the driver's display is told. proposer: another one than this policy's sampler. Raises
        ConfigError for what is not possible, RunError where the curves do not hold what the policy asks for.
        """
        if self.step_time and not all(min(curve.step_seconds) > 0 for curve in curves.trials.values()):
            raise RunError("these curves were recorded without the time of a step: leave --step-time out")
        objectives = ("params", "accuracy", "step_time") if self.step_time else ("params", "accuracy")
        margin = DEFAULT_MARGIN if self.margin is None else self.margin
        scheduler = make_scheduler(
            self.scheduler,
            curves.max_epochs,
            self.grace_period,
            reduction_factor=self.reduction_factor,
            margin=margin,
            spread=self.spread,
        )
        if proposer is None:
            sampler = OptunaSampler(
                curves.space,
                curves.shape,
                self.sampler,
                seed,
                max_params=self.max_params,
                objectives=objectives,
                tell_stopped=self.tell_stopped,
                num_startup=self.num_startup,
            )
            template = dataclasses.replace(curves.template, seed=curves.seeds[seed % len(curves.seeds)])
            proposer = Search(sampler, curves.space, curves.shape, template)
        clock, lookup = VirtualClock(), recorded(curves.trials)
        driver = Driver(
            MemoryJournal(clock),
            proposer,
            lambda proposal: lookup(proposal).params,
            scheduler=scheduler,
            budget=Budget(max_trials=max_trials),
            objectives=objectives,
            num_val_clips=curves.num_val_clips,
            clock=clock,
        )
        if watch is not None:
            driver.watch(lambda what, trial: watch(driver, what, trial))
        replay(driver, lookup, clock, num_workers, stop)
        return driver


class GridMeasure:
    """Shares of a recorded grid's hypervolume, accuracies averaged over the recorded seeds.

    Measured from the grid's largest size and from the best accuracy of its smallest: what more parameters than the
    linear probe's are worth. From 0 and 100 M parameters, as hypervolumes of sweeps are, the linear probe alone has
    nearly all of it.
    """

    def __init__(self, curves: Curves):
        every = curves.scores()
        smallest = min(size for size, _ in every)
        least = max(accuracy for size, accuracy in every if size == smallest)
        self._reference = math.log10(max(size for size, _ in every)), least
        self._whole = frontier.hypervolume(frontier.log_params(every), self._reference)
        named = zip(curves.candidates, every, strict=True)
        self._scores = {curves.config(c, curves.seeds[0]).point(): score for c, score in named}
        self.front = {list(self._scores)[index] for index in frontier.front(every)}
        """Hashes of the points on the grid's front."""

    def share(self, points: Iterable[str]) -> float:
        """What the candidates with these hashes have of it, from 0 to 1."""
        found = [self._scores[point] for point in points]
        return frontier.hypervolume(frontier.log_params(found), self._reference) / self._whole


def shares(curves: Curves, proposals: Sequence[Proposal]) -> float:
    """The share of the whole grid's hypervolume that these candidates have."""
    return GridMeasure(curves).share(proposal.config.point() for proposal in proposals)
