"""Random search: methods drawn from spaces (Bergstra and Bengio 2012), the baseline of every other way to propose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from astmoa.config import MethodConfig
from astmoa.errors import ConfigError


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
        space = spaces[int(rng.integers(len(spaces)))]
        drawn = {key: choices[int(rng.integers(len(choices)))] for key, choices in space.items()}
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
