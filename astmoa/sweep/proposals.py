"""What to try: a proposal is a labelled trial configuration. A searcher is anything that yields proposals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astmoa.config import MethodConfig, TrialConfig, complete
from astmoa.errors import ConfigError


@dataclass(frozen=True)
class Proposal:
    """One trial to run. `label` names its configuration in tables and pictures, the same for all its replicates."""

    label: str
    config: TrialConfig

    @property
    def trial_id(self) -> str:
        return self.config.hash()


def replicate(
    points: Iterable[tuple[str, MethodConfig]], template: TrialConfig, seeds: Iterable[int], folds: Iterable[int]
) -> list[Proposal]:
    """Every method of an enumerated study under every seed and fold.

    Replicates come in the outer loops: an interrupted sweep has all its points once before it has any twice.
    """
    points = list(points)
    proposals = []
    for seed in seeds:
        for fold in folds:
            for label, method in points:
                data = dataclasses.replace(template.data, fold=fold)
                config = dataclasses.replace(template, data=data, method=method, seed=seed)
                proposals.append(Proposal(label, complete(config)))
    return proposals


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
    for _ in range(200 * num_points):
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
