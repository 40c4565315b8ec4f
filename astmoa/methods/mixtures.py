"""Mixtures of adapters (arXiv 2402.00828). d width, N experts, p slots per expert, r bottleneck."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from astmoa.errors import require
from astmoa.methods.adapters import Placed, Site, as_published, check_convolution, make_experts
from astmoa.methods.expert_params import expert_params
from astmoa.methods.method import Dials, register

if TYPE_CHECKING:
    from torch import nn


class Mixture(Placed):
    """Adapters and what shares tokens out between them, at each place."""

    is_mixture = True
    example: ClassVar = {"num_experts": 14}
    paper = "arXiv 2402.00828"
    dials: ClassVar[tuple[str, ...]] = ("num_experts", "bottleneck_dim", "placement", "composition", "layers", "expert",
                                        "convolution")  # fmt: skip

    def check(self, dials: Dials) -> None:
        shared = "both places share them: give an even number"
        even = dials.placement != "both" or dials.num_experts % 2 == 0
        require(even, "method.num_experts", dials.num_experts, shared)
        check_convolution(dials.expert, dials)

    def expert_kind(self, dials: Dials) -> str:
        return dials.expert

    def experts_per_place(self, dials: Dials) -> int:
        """Its experts are shared out between the places."""
        return max(1, dials.num_experts // len(self.places(dials)))

    def added_twice(self, dials: Dials, faithful: tuple[str, ...]) -> bool:
        return "added_twice" in faithful and dials.placement == "attention"

    def module_params(self, dials: Dials, d: int) -> tuple[int, int]:
        n = self.experts_per_place(dials)
        return n * expert_params(dials.expert, dials, d), self.router_params(n, dials, d)

    @abc.abstractmethod
    def router_params(self, n: int, dials: Dials, d: int) -> int:
        """Of one module with n experts."""

    def label(self, dials: Mapping[str, Any]) -> list[str]:
        return [self.name.removesuffix("_moa"), str(dials.get("num_experts", 1))]


@register
class DenseMoA(Mixture):
    """every adapter sees every token, weighted by a router"""

    name = "dense_moa"
    router_parameters = ("router_weight", "router_bias")

    def router_params(self, n: int, dials: Dials, d: int) -> int:
        return d * n + n

    def module(self, dials: Dials, site: Site) -> nn.Module:
        from astmoa.methods import moa

        experts = make_experts(dials.expert, self.experts_per_place(dials), dials, site)
        return as_published(moa.DenseMoA(experts, site.generator), site)


@register
class SoftMoA(Mixture):
    """every adapter sees its own slots, each a weighted mean of all tokens"""

    name = "soft_moa"
    dials = (Mixture.dials[0], "slots_per_expert", *Mixture.dials[1:])
    router_parameters = ("slot_embeds",)

    def check(self, dials: Dials) -> None:
        super().check(dials)
        slots = "soft_moa convolves over slots, which lie on no grid: use 1d"
        require(dials.convolution == "1d", "method.convolution", dials.convolution, slots)

    def router_params(self, n: int, dials: Dials, d: int) -> int:
        return d * n * dials.slots_per_expert

    def module(self, dials: Dials, site: Site) -> nn.Module:
        from astmoa.methods import moa

        experts = make_experts(dials.expert, self.experts_per_place(dials), dials, site)
        soft = moa.NormalizedTokensSoftMoA if "normalized_tokens" in site.faithful else moa.SoftMoA
        return as_published(soft(experts, dials.slots_per_expert, site.generator), site)

    def label(self, dials: Mapping[str, Any]) -> list[str]:
        name, experts = super().label(dials)
        return [name, f"{experts}/{dials.get('slots_per_expert', 1)}"]
