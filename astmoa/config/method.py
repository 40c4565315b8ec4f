"""What is trained, and where it sits."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from typing import Literal

from astmoa.config.checks import MOST, at_least_one, require

MethodName = Literal[
    "linear",
    "full",
    "partial",
    "bitfit",
    "prompt_shallow",
    "prompt_deep",
    "prefix",
    "lora",
    "dora",
    "vera",
    "ia3",
    "oft",
    "ln_tuning",
    "bottleneck",
    "convpass",
    "conformer",
    "dense_moa",
    "soft_moa",
    "aat_m",
    "aat_s",
    "aat_ms",
]
ExpertName = Literal["bottleneck", "convpass", "conformer"]
METHODS: tuple[str, ...] = typing.get_args(MethodName)
MIXTURES = ("dense_moa", "soft_moa")

MOST_OF_A_KIND = 10_000
"""Experts, slots, virtual tokens, and a bottleneck's width: far more than helps, and what memory may still hold."""

# What each method can be told; every other field of MethodConfig keeps its default. Read by __post_init__ and by
# `astmoa params --help`.
_PLACED = {"bottleneck_dim", "placement", "composition", "layers"}
_LOW_RANK = {"bottleneck_dim", "placement", "layers"}
_AAT = {"bottleneck_dim", "layers"}
DIALS: dict[str, set[str]] = {
    "linear": set(),
    "full": set(),
    "partial": {"layers"},
    "bitfit": set(),
    "prompt_shallow": {"num_virtual_tokens"},
    "prompt_deep": {"num_virtual_tokens", "layers"},
    "prefix": {"num_virtual_tokens", "layers"},
    "lora": _LOW_RANK,
    "dora": _LOW_RANK,
    "vera": _LOW_RANK,
    "ia3": {"layers"},
    "oft": _LOW_RANK,
    "ln_tuning": {"layers"},
    "bottleneck": _PLACED,
    "convpass": _PLACED | {"convolution"},
    "conformer": _PLACED,
    "dense_moa": _PLACED | {"num_experts", "expert", "convolution"},
    "soft_moa": _PLACED | {"num_experts", "slots_per_expert", "expert", "convolution"},
    "aat_m": _AAT,
    "aat_s": _AAT,
    "aat_ms": _AAT,
}


@dataclass(frozen=True)
class MethodConfig:
    """What is trained, and where it sits."""

    name: MethodName = "soft_moa"
    """linear: the head alone. full: everything. partial: the last half of the layers, or `layers`.
    bitfit: every bias. prompt_shallow, prompt_deep, prefix: virtual tokens.
    lora, dora, vera, ia3, oft, ln_tuning: as in the peft library.
    bottleneck, convpass, conformer: one adapter per place. dense_moa, soft_moa: a mixture of them per place.
    aat_m, aat_s, aat_ms: AAT's MLP adapter, spatial adapter, both."""
    num_experts: int = 1
    """Experts (adapters) per layer, the paper's N; `both` splits them evenly between the two places."""
    slots_per_expert: int = 1
    """Soft-MoA: slots that each expert processes, the paper's p."""
    bottleneck_dim: int = 1
    """Width of a bottleneck, the paper's r; the rank of lora, dora and vera; the block size of oft."""
    placement: Literal["attention", "ffn", "both"] = "attention"
    """attention or ffn: one module per layer (the literature's Pfeiffer). both: two per layer (Houlsby)."""
    composition: Literal["parallel", "sequential"] = "parallel"
    """parallel: beside the sub-layer, fed by its LayerNorm. sequential: after it, on its output, with a skip."""
    layers: tuple[int, ...] | None = None
    """Layers that get modules, counted from 0. Default: all (partial: the last half)."""
    expert: ExpertName = "bottleneck"
    """What a mixture's experts are."""
    convolution: Literal["1d", "2d"] = "1d"
    """Convpass: 1d over the tokens in their order (the authors' code), 2d over the patches' grid of frequency and time
    (the Convpass paper)."""
    num_virtual_tokens: int | None = None
    """Prompts per layer (default 25), or a prefix's keys and as many values (default 12)."""
    pooling: Literal["mean", "cls"] | None = None
    """What the head reads. mean: all output tokens (Soft-MoA paper). cls: (CLS + distillation) / 2 (AAT).
    Default: cls for aat methods, mean for all others."""

    def __post_init__(self) -> None:
        require(self.name in METHODS, "method.name", self.name, f"one of {', '.join(METHODS)}")
        for key, choices in _METHOD_CHOICES.items():
            require(
                getattr(self, key) in choices,
                f"method.{key}",
                getattr(self, key),
                f"one of {', '.join(filter(None, choices))}",
            )
        dials = ("num_experts", "slots_per_expert", "bottleneck_dim", "num_virtual_tokens")
        at_least_one("method", self, *dials, most=MOST_OF_A_KIND)
        for key in ("num_experts", "slots_per_expert", "bottleneck_dim", "placement", "composition", "layers",
                    "expert", "convolution", "num_virtual_tokens"):  # fmt: skip
            if key not in DIALS[self.name]:
                unused = type(self).__dataclass_fields__[key].default
                require(getattr(self, key) == unused, f"method.{key}", getattr(self, key), f"{self.name} has no {key}")
        if self.placement == "both" and self.name in MIXTURES:
            shared = "both places share them: give an even number"
            require(self.num_experts % 2 == 0, "method.num_experts", self.num_experts, shared)
        if self.convolution == "2d":
            kind = self.expert if self.name in MIXTURES else self.name
            require(kind == "convpass", "method.convolution", self.convolution, f"{kind} has no convolution to choose")
            slots = "soft_moa convolves over slots, which lie on no grid: use 1d"
            require(self.name != "soft_moa", "method.convolution", self.convolution, slots)
        if self.layers is not None:
            ok = len(self.layers) > 0 and all(type(i) is int and 0 <= i < MOST for i in self.layers)
            require(ok, "method.layers", self.layers, "layer numbers counted from 0, at least one")
            require(len(set(self.layers)) == len(self.layers), "method.layers", self.layers, "name each layer once")
            object.__setattr__(self, "layers", tuple(sorted(self.layers)))
        turns = "a block of one input cannot turn: give a block size of at least 2"
        require(self.name != "oft" or self.bottleneck_dim > 1, "method.bottleneck_dim", self.bottleneck_dim, turns)

    def resolved(self) -> MethodConfig:
        """The same method with every None replaced by the value used (but `layers`, which the backbone decides)."""
        virtual_tokens = self.num_virtual_tokens
        if virtual_tokens is None and "num_virtual_tokens" in DIALS[self.name]:
            virtual_tokens = 12 if self.name == "prefix" else 25
        pooling = self.pooling or ("cls" if self.name.startswith("aat") else "mean")
        return dataclasses.replace(self, num_virtual_tokens=virtual_tokens, pooling=pooling)

    @property
    def expert_kind(self) -> str:
        """What one inserted adapter is: bottleneck, convpass or conformer."""
        if self.name in MIXTURES:
            return self.expert
        return self.name if self.name in _METHOD_CHOICES["expert"] else "bottleneck"


_METHOD_CHOICES = {
    "placement": ("attention", "ffn", "both"),
    "composition": ("parallel", "sequential"),
    "expert": typing.get_args(ExpertName),
    "convolution": ("1d", "2d"),
    "pooling": (None, "mean", "cls"),
}
