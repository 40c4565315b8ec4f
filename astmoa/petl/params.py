"""Trainable parameters in closed form, before anything is built, and the bottleneck that fits a budget.

d width, N experts, p slots per expert, r bottleneck, C classes; per expert 2 d r + r + d, per slot d, per router d N +
N, per feeding LayerNorm 2 d, head d C + C plus the final LayerNorm's 2 d. The papers count adapter + router + norm.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from astmoa.config import MethodConfig
from astmoa.errors import ConfigError


@dataclass(frozen=True)
class ParamCount:
    """Trainable parameters by group; they sum to `num_trainable_params`."""

    adapter: int
    router: int
    norm: int
    """LayerNorms that feed the modules."""
    head: int
    """Linear classifier and final LayerNorm; 0 where no classes are given."""

    @property
    def paper(self) -> int:
        """The figure that the papers print: without head and final LayerNorm."""
        return self.adapter + self.router + self.norm

    @property
    def num_trainable_params(self) -> int:
        return self.paper + self.head

    def to_dict(self) -> dict[str, int]:
        return {
            **dataclasses.asdict(self),
            "paper": self.paper,
            "num_trainable_params": self.num_trainable_params,
        }


def places(method: MethodConfig) -> tuple[str, ...]:
    """The sub-layers of one layer that get a module."""
    if method.name == "linear":
        return ()
    return ("attention", "ffn") if method.placement == "both" else (method.placement,)


def experts_per_place(method: MethodConfig) -> int:
    """A mixture's experts are shared out between the places; a single adapter stands at each."""
    return max(1, method.num_experts // len(places(method)))


def grafted_layers(method: MethodConfig, num_layers: int) -> tuple[int, ...]:
    """Layers that get modules. Raises ConfigError for a layer that the backbone does not have."""
    layers = range(num_layers) if method.layers is None else method.layers
    if max(layers) >= num_layers:
        raise ConfigError(
            f"method.layers={list(layers)} is not possible: this backbone has layers 0 to {num_layers - 1}"
        )
    return tuple(layers)


def count_params(method: MethodConfig, hidden_size: int, num_layers: int, num_classes: int = 0) -> ParamCount:
    """Count what `method` trains in a backbone of this shape. Without `num_classes` the head is left out."""
    d, r = hidden_size, method.bottleneck_dim
    head = d * num_classes + num_classes + 2 * d if num_classes else 0
    modules = len(places(method)) * len(grafted_layers(method, num_layers))
    if not modules:
        return ParamCount(0, 0, 0, head)
    n = experts_per_place(method)
    router = {"soft_moa": d * n * method.slots_per_expert, "dense_moa": d * n + n}.get(method.name, 0)
    return ParamCount(modules * n * (2 * d * r + r + d), modules * router, modules * 2 * d, head)


def solve_bottleneck(budget: int, method: MethodConfig, hidden_size: int, num_layers: int) -> MethodConfig:
    """The same method with the largest bottleneck whose count, as the papers count, is within `budget`.

    Raises ConfigError if even a bottleneck of 1 is above it.
    """
    smallest, next_one = (
        count_params(dataclasses.replace(method, bottleneck_dim=r), hidden_size, num_layers).paper for r in (1, 2)
    )
    if smallest > budget or next_one == smallest:
        raise ConfigError(
            f"no bottleneck fits: {method.name} with N={method.num_experts}, p={method.slots_per_expert} needs "
            f"at least {smallest:,} parameters, the budget is {budget:,}; raise the budget or lower N or p"
        )
    return dataclasses.replace(method, bottleneck_dim=1 + (budget - smallest) // (next_one - smallest))
