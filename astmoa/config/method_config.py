"""What is trained, and where it sits."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

import astmoa.methods  # noqa: F401  (registers them)
from astmoa.config.checks import MOST, at_least_one
from astmoa.config.later import later
from astmoa.errors import require
from astmoa.methods.method import MOST_OF_A_KIND, DialValue, Method, OwnDials, find_method, names

ExpertName = Literal["bottleneck", "convpass", "conformer"]
if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[names()] | str
"""Of one that is registered."""
_ABOUT = "\n".join(f"{name}: {find_method(name).about}." for name in names())


@dataclass(frozen=True)
class MethodConfig:
    """What is trained, and where it sits."""

    name: Annotated[MethodName, tyro.conf.arg(help=_ABOUT)] = "soft_moa"
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
    """Kind of adapter that a mixture's experts are."""
    convolution: Literal["1d", "2d"] = "1d"
    """Convpass: 1d over the tokens in their order (the authors' code), 2d over the patches' grid of frequency and time
    (the Convpass paper)."""
    num_virtual_tokens: int | None = None
    """Prompts per layer (default 25), or a prefix's keys and as many values (default 12)."""
    pooling: Literal["mean", "cls"] | None = None
    """What the head reads. mean: all output tokens (Soft-MoA paper). cls: (CLS + distillation) / 2 (AAT).
    Default: cls for aat methods, mean for all others."""

    own: Mapping[str, DialValue] = later(OwnDials())
    """Dials that this method alone has, by name; what is not given has the method's default."""
    code: Annotated[str | None, tyro.conf.Suppress] = later(None)
    """Hash of the source of a method from outside, filled in: another source is another trial."""

    def __post_init__(self) -> None:
        kind = self.kind
        object.__setattr__(self, "own", kind.own_values(self.own))
        object.__setattr__(self, "code", kind.code)
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
            if key not in kind.dials:
                unused = type(self).__dataclass_fields__[key].default
                require(getattr(self, key) == unused, f"method.{key}", getattr(self, key), f"{self.name} has no {key}")
        if self.layers is not None:
            ok = len(self.layers) > 0 and all(type(i) is int and 0 <= i < MOST for i in self.layers)
            require(ok, "method.layers", self.layers, "layer numbers counted from 0, at least one")
            require(len(set(self.layers)) == len(self.layers), "method.layers", self.layers, "name each layer once")
            object.__setattr__(self, "layers", tuple(sorted(self.layers)))
        kind.check(self)

    @property
    def kind(self) -> Method:
        """The method of this name. Raises ConfigError where there is none."""
        return find_method(self.name, self.code)

    def __getattr__(self, name: str) -> DialValue:
        """Dials of the method's own are read like the others."""
        own = self.__dict__.get("own", {})
        if name in own:
            return own[name]
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def resolved(self) -> MethodConfig:
        """The same method with every None replaced by the value used (but `layers`, which the backbone decides)."""
        kind = self.kind
        tokens = kind.num_virtual_tokens if self.num_virtual_tokens is None else self.num_virtual_tokens
        return dataclasses.replace(self, num_virtual_tokens=tokens, pooling=self.pooling or kind.pooling)

    @property
    def expert_kind(self) -> str:
        """What one inserted adapter is: bottleneck, convpass or conformer."""
        return self.kind.expert_kind(self)


_METHOD_CHOICES = {
    "placement": ("attention", "ffn", "both"),
    "composition": ("parallel", "sequential"),
    "expert": typing.get_args(ExpertName),
    "convolution": ("1d", "2d"),
    "pooling": (None, "mean", "cls"),
}
