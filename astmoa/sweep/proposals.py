"""What to try: a proposal is a labelled trial configuration. A searcher is anything that yields proposals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from astmoa.config import MethodConfig, TrialConfig, complete
from astmoa.errors import ConfigError


@dataclass(frozen=True)
class Point:
    """One configuration of a study: what differs from the study's template."""

    label: str
    """Its name in tables and pictures."""
    method: MethodConfig
    faithful: tuple[str, ...] = ()
    """Switches on top of the template's."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """The paper's accuracy in percent, by data set."""
    lr: float | None = None
    """Its own peak learning rate. None: the template's."""


@dataclass(frozen=True)
class Proposal:
    """One trial to run. `label` and `paper` are the same for all replicates of a point."""

    label: str
    config: TrialConfig
    paper: Mapping[str, float] = field(default_factory=dict)
    phase: Literal["search", "confirm"] | None = None
    """None in studies that enumerate their points."""
    ask: Mapping[str, Any] = field(default_factory=dict)
    """What a sampler needs to put a proposal of an earlier run back into its history."""

    @property
    def trial_id(self) -> str:
        return self.config.hash()


def replicate(
    points: Iterable[Point], template: TrialConfig, seeds: Iterable[int], folds: Iterable[int]
) -> list[Proposal]:
    """Every point of an enumerated study under every seed and fold.

    Replicates come in the outer loops: an interrupted sweep has all its points once before it has any twice. Points
    that are the same trial (on a backbone of two layers "the last half" is "every second") run once, under the first
    label.
    """
    points = list(points)
    proposals: dict[str, Proposal] = {}
    for seed in seeds:
        for fold in folds:
            for point in points:
                data = dataclasses.replace(template.data, fold=fold)
                faithful = (*template.faithful, *point.faithful)
                optim = template.optim if point.lr is None else dataclasses.replace(template.optim, lr=point.lr)
                config = dataclasses.replace(
                    template, data=data, method=point.method, optim=optim, seed=seed, faithful=faithful
                )
                proposal = Proposal(point.label, complete(config), point.paper)
                proposals.setdefault(proposal.trial_id, proposal)
    return list(proposals.values())


def random_methods(
    spaces: Sequence[Mapping[str, Sequence[Any]]],
    num_points: int,
    seed: int,
    accept: Callable[[MethodConfig], bool] = lambda method: True,
) -> Iterator[MethodConfig]:
    """Draw different methods: one of `spaces`, then each of its keys (fields of MethodConfig) uniformly.

    A space per method, so that each is drawn as often and only its own keys are. What is no possible method (a `both`
    of one expert, say) or what `accept` refuses (a budget) is drawn again. Raises ConfigError when a space is empty or
    there are fewer than `num_points` possible points within reach.
    """
    empty = [key for space in spaces for key, choices in space.items() if not len(choices)]
    if empty or not spaces:
        raise ConfigError(f"the search space is empty: no choices for {', '.join(empty) or 'any key'}")
    if num_points < 1:
        raise ConfigError(f"{num_points} points to draw is not possible: give at least 1")
    if seed < 0:
        raise ConfigError(f"search seed {seed} is not possible: give a whole number of at least 0")
    rng = np.random.default_rng(seed)
    seen: set[MethodConfig] = set()
    combinations = sum(math.prod(map(len, space.values())) for space in spaces)
    for _ in range(200 * min(num_points, combinations)):
        space = spaces[rng.integers(len(spaces))]
        drawn = {key: choices[rng.integers(len(choices))] for key, choices in space.items()}
        try:
            method = MethodConfig(**drawn)
        except ConfigError:
            continue
        if method not in seen and accept(method):
            seen.add(method)
            yield method
            if len(seen) == num_points:
                return
    raise ConfigError(
        f"the search space gave {len(seen)} possible points of the {num_points} wanted; widen it or ask for fewer"
    )
