"""An Optuna study that is asked for candidates and told what came of them.

Optuna decides what to try; what may start is decided here. No candidate starts twice, none above the budget starts at
all, and a study that is rebuilt from the recorded asks and tells goes on as the undisturbed one would. For that, every
candidate enters the study in one way only: enqueued with its own parameters. What a sampler draws is read off a trial
that fails at once, which no sampler looks at; its generator is seeded anew for every draw by the search's seed, the
ask's number and the draw's, so nothing lives outside of the history.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState
from threadpoolctl import threadpool_limits

from astmoa.errors import ConfigError, RunError
from astmoa.methods.shape import BackboneShape
from astmoa.search.encoding import Encoding
from astmoa.search.pool import Pool
from astmoa.search.samplers import SAMPLERS, OwnSampler, Sampler, name_of
from astmoa.search.space import Candidate, Space

if TYPE_CHECKING:
    from astmoa.search.ehvi import Ehvi

TELL_STOPPED = {
    "failed": "not at all: the sampler learns from completed trials alone",
    "pruned": "as pruned, without values: TPE counts them among the bad, the others leave them out",
    "predicted": "as completed, with the accuracy that is predicted for their last epoch",
    "infeasible": "with the predicted accuracy, but breaking a constraint by the share of epochs that they missed "
    "(ehvi takes it as predicted)",
    "truncated": "as completed, with the accuracy they had (what Ray's OptunaSearch does; for comparison only)",
}
OBJECTIVES: dict[str, Literal["minimize", "maximize"]] = {
    "params": "minimize",
    "accuracy": "maximize",
    "step_time": "minimize",
}
MakeSampler = Callable[[int], BaseSampler]
"""Function from a seed to a sampler of Optuna's, a fresh one for every draw: nothing may live outside of the
history."""


@dataclass(frozen=True)
class Suggestion:
    """What an ask gave."""

    number: int
    """Number of the ask, counted from 0."""
    candidate: Mapping[str, Any]
    passed_over: tuple[Mapping[str, Any], ...] = ()
    """Candidates drawn before it and refused: infeasible, or proposed already."""


class OptunaSampler:
    """objectives: `params` and `accuracy`, optionally `step_time`; values are told in this order and in natural units
    (parameters, a share from 0 to 1, seconds).

    name: one of SAMPLERS, or your own: a function from a seed to one of Optuna's samplers.
    num_startup: so many results before the sampler's model is asked, drawn as `random` does; NSGA-II's population.
    None: the sampler's own.
    Raises ConfigError for unknown names and an impossible space or budget.
    """

    def __init__(
        self,
        space: Space,
        shape: BackboneShape,
        name: str | MakeSampler = "nsga2",
        seed: int = 0,
        *,
        max_params: int | None = None,
        objectives: Sequence[str] = ("params", "accuracy"),
        tell_stopped: str = "failed",
        num_startup: int | None = None,
    ):
        self._kind: Sampler = OwnSampler(name_of(name), None, name) if callable(name) else SAMPLERS.find(name)
        num_startup = self._kind.num_startup if num_startup is None else num_startup
        if tell_stopped not in TELL_STOPPED:
            raise ConfigError(f"tell_stopped={tell_stopped!r} is not known: one of {', '.join(TELL_STOPPED)}")
        if tuple(objectives) not in (tuple(OBJECTIVES)[:2], tuple(OBJECTIVES)):
            raise ConfigError(
                f"objectives={list(objectives)} is not possible: params, accuracy and if wanted step_time"
            )
        if seed < 0:
            raise ConfigError(f"search seed {seed} is not possible: give a whole number of at least 0")
        if num_startup < 2:
            raise ConfigError(f"num_startup={num_startup} is not possible: give at least 2")
        self._space, self._shape, self._max_params = space, shape, max_params
        self._seed, self._how, self._num_startup = seed, tell_stopped, num_startup
        self._pool = Pool(space, shape, max_params)
        self._encoding = Encoding(space)
        if len(objectives) > self._kind.most_objectives:
            raise ConfigError(f"sampler {name!r} knows params and accuracy alone: take tpe, nsga2 or gp with step_time")
        self._infeasible: set[tuple[int, ...]] = set()
        self._proposed: list[Mapping[str, Any]] = []
        self._proposed_rows: list[int] = []  # of the pool
        self._running: dict[int, Trial] = {}
        self._failed: set[int] = set()
        self._told: list[list[float]] = []
        self._rows: list[int] = []  # of the pool, told
        self._num_pruned = 0
        # Constraints cost a Gaussian process a model, so only where they can be broken.
        self._bounded = len(self._pool) < space.num_combinations
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [OBJECTIVES[objective] for objective in objectives]
        self._study = optuna.create_study(directions=directions)

    @property
    def num_running(self) -> int:
        """Suggestions not told yet."""
        return len(self._running)

    def ask(self) -> Suggestion | None:
        """A candidate never suggested before; None when there is none left."""
        if not len(self._pool):
            return None
        number = len(self._proposed)
        passed_over: list[Candidate] = []
        if not self._kind.models or self._num_informed < self._num_startup:
            row = self._pool.at_random(self._generator(number, 0))
        elif self._kind.from_the_pool:
            running = [self._proposed_rows[other] for other in sorted(self._running)]
            row = self._ehvi.best(self._rows, self._told, running, self._pool.left, seed=number)
        else:
            row, passed_over = self._drawn(number)
        suggestion = Suggestion(number, self._pool.candidates[row], tuple(passed_over))
        self._start(suggestion, row)
        return suggestion

    def again(self, suggestion: Suggestion) -> None:
        """Put what an ask gave in an earlier run back, as running, with what it passed over.

        Raises RunError where it does not follow on what was put back before.
        """
        row = self._pool.row(suggestion.candidate)
        if suggestion.number != len(self._proposed) or row is None or not self._pool.has(row):
            raise RunError(
                f"proposal {suggestion.number} ({self._space.label(suggestion.candidate)}) does not follow on the "
                f"{len(self._proposed)} before it in this search space; start anew in another run folder"
            )
        for candidate in suggestion.passed_over:
            self._refuse(candidate)
        self._start(suggestion, row)

    def tell_completed(self, number: int, values: Sequence[float]) -> None:
        """Raises ValueError for a value that is not finite and for a number that is not running."""
        self._finish(number, self._objectives(values))

    def tell_stopped(
        self, number: int, truncated_values: Sequence[float], predicted_values: Sequence[float], fraction: float
    ) -> None:
        """A trial stopped after `fraction` of its epochs, with the values it had and those that were to be expected.

        Raises ValueError as `tell_completed` does, and for a fraction outside of [0, 1].
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction={fraction}: give the share of a trial's epochs, from 0 to 1")
        truncated, predicted = self._objectives(truncated_values), self._objectives(predicted_values)
        if self._how == "failed":
            self._finish(number, state=TrialState.FAIL)
        elif self._how == "pruned":
            self._finish(number, state=TrialState.PRUNED)
        elif self._how == "infeasible":
            self._finish(number, predicted, missed=max(1 - fraction, 1e-3))
        else:
            self._finish(number, truncated if self._how == "truncated" else predicted)

    def tell_failed(self, number: int) -> None:
        """A failed trial may be tried again: its number can be told once more."""
        if number not in self._failed:
            self._finish(number, state=TrialState.FAIL)
            self._failed.add(number)

    # -- what the study knows

    @property
    def _num_informed(self) -> int:
        """Trials that the sampler's model can be made of. Refused ones are none."""
        return len(self._told) + (self._num_pruned if self._kind.counts_pruned else 0)

    def _drawn(self, number: int) -> tuple[int, list[Candidate]]:
        """Optuna's first draw that is left, in the end what is nearest to its last one; and the draws passed over."""
        passed_over: list[Candidate] = []
        for draw in range(self._kind.max_draws):
            drawn = self._draw(number, draw)
            row = self._pool.row(drawn)
            if row is not None and self._pool.has(row):
                return row, passed_over
            self._refuse(drawn)
            passed_over.append(drawn)
        return self._pool.nearest(drawn, self._generator(number, len(passed_over))), passed_over

    def _draw(self, number: int, draw: int) -> Candidate:
        """What Optuna would try next, on a trial that leaves no trace."""
        seed = int(self._generator(number, draw).integers(2**31))
        self._study.sampler = self._encoding.adopted(self._kind.make(seed, self._num_startup))
        trial = self._study.ask()
        # A Gaussian process has torch's and numpy's threads wait for each other: ten times slower on a busy machine.
        with threadpool_limits(1) if self._kind.single_thread else contextlib.nullcontext():
            drawn = self._encoding.draw(trial)
        self._study.tell(trial, state=TrialState.FAIL)
        return drawn

    @functools.cached_property
    def _ehvi(self) -> Ehvi:
        from astmoa.search.ehvi import Ehvi  # scikit-learn takes a second to import

        sizes = [self._space.size(candidate, self._shape) for candidate in self._pool.candidates]
        return Ehvi(sizes, self._pool.features())

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *key])

    def _start(self, suggestion: Suggestion, row: int) -> None:
        self._running[suggestion.number] = self._enter(suggestion.candidate)
        self._proposed.append(suggestion.candidate)
        self._proposed_rows.append(row)
        self._pool.take(row)

    def _enter(self, candidate: Mapping[str, Any]) -> Trial:
        """Make it one of the study's trials, running."""
        self._study.enqueue_trial(self._encoding.encode(candidate))
        # Only NSGA-II keeps anything about how a trial came: its generation, set when it is asked for a child. Without
        # it a trial never becomes a parent.
        entering = self._kind if self._kind.keeps_generations else SAMPLERS.find("random")
        self._study.sampler = self._encoding.adopted(entering.make(0, self._num_startup))
        trial = self._study.ask()
        if self._kind.keeps_generations:
            _ = trial.relative_params
        self._encoding.draw(trial)
        return trial

    def _refuse(self, candidate: Mapping[str, Any]) -> None:
        """Tell an infeasible candidate as such, once. One proposed already is nothing new.

        NSGA-II and TPE rank infeasible trials by their violation alone. A Gaussian process reads all values: it gets
        the middle of what it knows, which says nothing.
        """
        code = self._pool.code(candidate)
        if self._pool.row(candidate) is not None or code in self._infeasible:
            return
        values = np.median(self._told, axis=0).tolist() if self._told else [0.0] * len(self._study.directions)
        violation = 1.0
        try:
            size = self._space.size(candidate, self._shape)
            assert self._max_params is not None  # what has a size is refused for it alone
            values[0], violation = _log(size), _log(size) - _log(self._max_params)
        except ConfigError:
            pass  # an impossible method has no size: as bad as ten times the budget
        trial = self._enter(candidate)
        self._constrain(trial, violation, -1.0)
        self._study.tell(trial, values)
        self._infeasible.add(code)

    def _constrain(self, trial: Trial, violation: float, missed: float) -> None:
        """On all trials or on none: a Gaussian process wants the same constraints everywhere."""
        if self._bounded:
            trial.set_constraint("space", violation)
        if self._how == "infeasible":
            trial.set_constraint("stopped", missed)

    def _finish(
        self, number: int, values: list[float] | None = None, state: TrialState | None = None, missed: float = -1.0
    ) -> None:
        if number in self._failed:  # tried again
            self._failed.remove(number)
            self._running[number] = self._enter(self._proposed[number])
        if number not in self._running:
            raise ValueError(f"suggestion {number} is not running: it was told already, or never asked for")
        trial = self._running.pop(number)
        if values is not None:
            size = self._space.size(self._proposed[number], self._shape)
            self._constrain(trial, -1.0 if self._max_params is None else _log(size) - _log(self._max_params), missed)
            self._told.append(values)
            self._rows.append(self._proposed_rows[number])
        self._num_pruned += state is TrialState.PRUNED
        self._study.tell(trial, values, state)

    def _objectives(self, values: Sequence[float]) -> list[float]:
        """The first ones, of which there may be more than objectives; parameters in decades."""
        values = [float(value) for value in values[: len(self._study.directions)]]
        if len(values) < len(self._study.directions) or not all(math.isfinite(value) for value in values):
            raise ValueError(f"values {values} are not possible: give {len(self._study.directions)} finite numbers")
        return [_log(values[0]), *values[1:]]


def _log(params: float) -> float:
    return math.log10(max(params, 1))  # a linear probe counts 0 without its head
