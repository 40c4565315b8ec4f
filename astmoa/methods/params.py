"""Trainable parameters in closed form, before anything is built, and the bottleneck that fits a budget.

What a method inserts it counts itself; the papers count that: adapter + router + norm. The head is d C + C, for C
classes, and a LayerNorm's 2 d.
"""

from __future__ import annotations

import dataclasses

from astmoa.errors import ConfigError
from astmoa.methods.method import MOST_OF_A_KIND, Dials, ParamCount
from astmoa.methods.shape import BackboneShape

LARGEST = 10**9
"""Parameters that may be trained: their optimiser alone holds 8 bytes of each."""


def count_params(method: Dials, shape: BackboneShape, num_classes: int = 0) -> ParamCount:
    """Count what `method` trains in a backbone of this shape. Without `num_classes` the head is left out.

    Raises ConfigError where the backbone has no such layer, or oft's blocks do not divide its widths.
    """
    method, d = method.resolved(), shape.hidden_size
    count = method.kind.count(method, shape)
    own_norm = 0 if method.kind.trains_final_norm and method.pooling == "mean" else 2 * d
    return dataclasses.replace(count, head=d * num_classes + num_classes + own_norm if num_classes else 0)


def check_size(method: Dials, shape: BackboneShape, num_classes: int = 0) -> ParamCount:
    """The count, before anything of that size is built. Raises ConfigError where it is above `LARGEST`."""
    count = count_params(method, shape, num_classes)
    if count.num_trainable_params > LARGEST:
        raise ConfigError(
            f"{method.name} with these sizes has {count.num_trainable_params:,} trainable parameters: at most "
            f"{LARGEST:,} are trained; lower num_experts, slots_per_expert, bottleneck_dim or num_virtual_tokens"
        )
    return count


def solve_bottleneck(budget: int, method: Dials, shape: BackboneShape) -> Dials:
    """The same method with the largest bottleneck whose count, as the papers count, is within `budget`.

    Raises ConfigError if even a bottleneck of 1 is above it, or if the method has none.
    """

    def count(r: int) -> int:
        return count_params(dataclasses.replace(method, bottleneck_dim=r), shape).paper

    if "bottleneck_dim" not in method.kind.dials or not method.kind.solves_bottleneck:
        raise ConfigError(f"{method.name} has no bottleneck that a budget could decide: leave the budget out")
    if count(1) > budget:
        raise ConfigError(
            f"no bottleneck fits: {method.name} with N={method.num_experts}, p={method.slots_per_expert} needs "
            f"at least {count(1):,} parameters, the budget is {budget:,}; raise the budget or lower N or p"
        )
    if count(MOST_OF_A_KIND) <= budget:
        raise ConfigError(
            f"the budget {budget:,} is above what the widest bottleneck needs, {count(MOST_OF_A_KIND):,} with "
            f"r={MOST_OF_A_KIND:,}; lower it"
        )
    low, high = 1, MOST_OF_A_KIND  # Convpass grows with r squared: no formula, a search
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    return dataclasses.replace(method, bottleneck_dim=low)
