"""Trainable parameters in closed form, before anything is built, and the bottleneck that fits a budget.

d width, i width inside the MLP, N experts, p slots per expert, r bottleneck, C classes. The papers count adapter +
router + norm; the head is d C + C and a LayerNorm's 2 d.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from astmoa.config import DIALS, MOST_OF_A_KIND, MethodConfig
from astmoa.errors import ConfigError
from astmoa.shape import BackboneShape

CONFORMER_KERNEL_SIZE = 31
LIBRARY_METHODS = ("lora", "dora", "vera", "ia3", "oft", "ln_tuning")
LARGEST = 10**9
"""Parameters that may be trained: their optimiser alone holds 8 bytes of each."""
_ATTENTION_TARGETS, _FFN_TARGETS = ("attention.q_proj", "attention.v_proj"), ("mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class ParamCount:
    """Trainable parameters by group; they sum to `num_trainable_params`."""

    adapter: int
    """Inserted modules; for methods that insert none, what they train of the backbone."""
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
    aat = {"aat_m": ("ffn",), "aat_s": ("attention",), "aat_ms": ("attention", "ffn")}
    if method.name in aat:
        return aat[method.name]
    if "placement" not in DIALS[method.name]:
        return ()
    return ("attention", "ffn") if method.placement == "both" else (method.placement,)


def experts_per_place(method: MethodConfig) -> int:
    """A mixture's experts are shared out between the places; a single adapter stands at each."""
    return max(1, method.num_experts // max(1, len(places(method))))


def grafted_layers(method: MethodConfig, num_layers: int) -> tuple[int, ...]:
    """Layers that get modules. Raises ConfigError for a layer that the backbone does not have."""
    layers = range(num_layers // 2 if method.name == "partial" else 0, num_layers)
    if method.layers is not None:
        layers = method.layers
    if max(layers) >= num_layers:
        raise ConfigError(
            f"method.layers={list(layers)} is not possible: this backbone has layers 0 to {num_layers - 1}"
        )
    return tuple(layers)


def library_targets(method: MethodConfig) -> tuple[str, ...]:
    """What peft's method works on inside one layer: LoRA's usual query and value, IA3's key, value and second linear
    layer of the MLP, both LayerNorms."""
    if method.name == "ia3":
        return ("attention.k_proj", "attention.v_proj", "mlp.fc2")
    if method.name == "ln_tuning":
        return ("layernorm_before", "layernorm_after")
    return {"attention": _ATTENTION_TARGETS, "ffn": _FFN_TARGETS}.get(
        method.placement, _ATTENTION_TARGETS + _FFN_TARGETS
    )


def count_params(method: MethodConfig, shape: BackboneShape, num_classes: int = 0) -> ParamCount:
    """Count what `method` trains in a backbone of this shape. Without `num_classes` the head is left out.

    Raises ConfigError where the backbone has no such layer, or oft's blocks do not divide its widths.
    """
    method = method.resolved()
    d, name = shape.hidden_size, method.name
    num_layers = len(grafted_layers(method, shape.num_layers))
    adapter, router, norm = 0, 0, 0
    if name == "full":
        adapter = shape.num_params - (2 * d if method.pooling == "mean" else 0)
    elif name == "partial":
        adapter = num_layers * shape.layer_params
    elif name == "bitfit":
        adapter = shape.num_layers * shape.layer_biases + d
    elif name in ("prompt_shallow", "prompt_deep", "prefix"):
        each = method.num_virtual_tokens * d
        adapter = {"prompt_shallow": each, "prompt_deep": num_layers * each, "prefix": 2 * num_layers * each}[name]
    elif name in LIBRARY_METHODS:
        adapter = num_layers * sum(_library_target_params(method, target, shape) for target in library_targets(method))
    elif name != "linear":
        modules, n = num_layers * len(places(method)), experts_per_place(method)
        adapter = modules * n * _expert_params(method, d)
        router = modules * {"soft_moa": d * n * method.slots_per_expert, "dense_moa": d * n + n}.get(name, 0)
        norm = 0 if name.startswith("aat") else modules * 2 * d
    own_norm = 0 if name == "bitfit" and method.pooling == "mean" else 2 * d
    return ParamCount(adapter, router, norm, d * num_classes + num_classes + own_norm if num_classes else 0)


def check_size(method: MethodConfig, shape: BackboneShape, num_classes: int = 0) -> ParamCount:
    """The count, before anything of that size is built. Raises ConfigError where it is above `LARGEST`."""
    count = count_params(method, shape, num_classes)
    if count.num_trainable_params > LARGEST:
        raise ConfigError(
            f"{method.name} with these sizes has {count.num_trainable_params:,} trainable parameters: at most "
            f"{LARGEST:,} are trained; lower num_experts, slots_per_expert, bottleneck_dim or num_virtual_tokens"
        )
    return count


def _expert_params(method: MethodConfig, d: int) -> int:
    """bottleneck 2 d r + r + d; Convpass 3 r^2 + r more (2d: 9 r^2 + r); Conformer down to 2 r, with a LayerNorm,
    a depth-wise convolution and a batch normalisation."""
    r, k = method.bottleneck_dim, CONFORMER_KERNEL_SIZE
    if method.expert_kind == "conformer":
        return 2 * d + (2 * d * r + 2 * r) + (k * r + r) + 2 * r + (r * d + d)
    taps = {"1d": 3, "2d": 9}[method.convolution]
    return 2 * d * r + r + d + (taps * r * r + r if method.expert_kind == "convpass" else 0)


def _library_target_params(method: MethodConfig, target: str, shape: BackboneShape) -> int:
    d, i, r = shape.hidden_size, shape.intermediate_size, method.bottleneck_dim
    inputs, outputs = {"mlp.fc1": (d, i), "mlp.fc2": (i, d)}.get(target, (d, d))
    if method.name == "oft":
        check_blocks(r, inputs)
    return {
        "lora": r * (inputs + outputs),
        "dora": r * (inputs + outputs) + outputs,  # and a magnitude per output
        "vera": r + outputs,  # two vectors that scale fixed random projections
        "ia3": inputs if target == "mlp.fc2" else outputs,
        "oft": inputs // r * (r * (r - 1) // 2),  # a rotation per block of r inputs
        "ln_tuning": 2 * d,
    }[method.name]


def check_blocks(block_size: int, *widths: int) -> None:
    """Raises ConfigError where oft's blocks do not divide a width."""
    for width in widths:
        if width % block_size:
            raise ConfigError(
                f"method.bottleneck_dim={block_size} is not possible: oft's blocks must divide the width {width}"
            )


def solve_bottleneck(budget: int, method: MethodConfig, shape: BackboneShape) -> MethodConfig:
    """The same method with the largest bottleneck whose count, as the papers count, is within `budget`.

    Raises ConfigError if even a bottleneck of 1 is above it, or if the method has none.
    """

    def count(r: int) -> int:
        return count_params(dataclasses.replace(method, bottleneck_dim=r), shape).paper

    if "bottleneck_dim" not in DIALS[method.name] or method.name == "oft":
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
