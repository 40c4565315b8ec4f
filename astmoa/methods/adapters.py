"""Adapters beside or after the sub-layers of a layer: where they sit, how they are counted, the three kinds there are.

d width, r bottleneck.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from astmoa.errors import require
from astmoa.methods.expert_params import expert_params
from astmoa.methods.method import Dials, Method, ParamCount, register
from astmoa.methods.shape import BackboneShape, num_bands

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Site:
    """What a module that is made may need to know of the backbone around it."""

    hidden_size: int
    """Width of the tokens, d."""
    num_bands: int
    """Patches along the frequency axis: the tokens' grid has so many rows."""
    generator: torch.Generator
    """Generator that all random values come from."""
    faithful: tuple[str, ...] = ()
    """Switches that reproduce the published code."""


class Placed(Method):
    """A module at one or both sub-layers of every layer; makes and counts one module, and the rest is here."""

    trains_norm: ClassVar[bool] = True
    """Is the LayerNorm that feeds a module trained with it?"""
    router_parameters: ClassVar[tuple[str, ...]] = ()
    """Parameters of a module that share tokens out between experts."""

    @abc.abstractmethod
    def module(self, dials: Dials, site: Site) -> nn.Module:
        """One freshly initialised module, from tokens [b, m, d] to what is added to them."""

    @abc.abstractmethod
    def module_params(self, dials: Dials, d: int) -> tuple[int, int]:
        """Parameters of one module of width d: of its adapters, and of what shares tokens out between them."""

    def places(self, dials: Dials) -> tuple[str, ...]:
        """The sub-layers of one layer that get a module."""
        return ("attention", "ffn") if dials.placement == "both" else (dials.placement,)

    def sites(self, dials: Dials, faithful: tuple[str, ...]) -> list[tuple[str, bool]]:
        """(place, is it sequential) of every module in one layer."""
        return [(place, dials.composition == "sequential") for place in self.places(dials)]

    def added_twice(self, dials: Dials, faithful: tuple[str, ...]) -> bool:
        """Is what stands beside the attention added after the MLP once more?"""
        return False

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        modules = len(self.layers(dials, shape.num_layers)) * len(self.places(dials))
        adapter, router = self.module_params(dials, shape.hidden_size)
        norm = 2 * shape.hidden_size if self.trains_norm else 0
        return ParamCount(modules * adapter, modules * router, modules * norm)

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        from astmoa.methods.sublayers import insert

        config = graft.model.config
        site = Site(config.hidden_size, num_bands(config), generator, faithful)
        insert(
            graft,
            layers=self.layers(dials, config.num_hidden_layers),
            sites=self.sites(dials, faithful),
            make=lambda: self.module(dials, site),
            router_parameters=self.router_parameters,
            with_norm=self.trains_norm,
            added_twice=self.added_twice(dials, faithful),
        )


class Adapter(Placed):
    """One adapter at each place; what it is, its class says (`module` and `module_params`)."""

    dials: ClassVar[tuple[str, ...]] = ("bottleneck_dim", "placement", "composition", "layers")


class SingleExpert(Adapter):
    """One adapter at each place, of a kind that mixtures have as experts, too."""

    example: ClassVar = {"bottleneck_dim": 24}

    def sites(self, dials: Dials, faithful: tuple[str, ...]) -> list[tuple[str, bool]]:
        if "single_at_ffn" in faithful and dials.placement == "attention":
            return [("ffn", dials.composition == "sequential")]
        return super().sites(dials, faithful)

    def module(self, dials: Dials, site: Site) -> nn.Module:
        from astmoa.methods.moa import SingleAdapter

        return as_published(SingleAdapter(make_experts(self.expert_kind(dials), 1, dials, site)), site)

    def module_params(self, dials: Dials, d: int) -> tuple[int, int]:
        return expert_params(self.expert_kind(dials), dials, d), 0


@register
class Bottleneck(SingleExpert):
    """one bottleneck adapter per place: down, GELU, up"""

    name = "bottleneck"
    paper = "Houlsby et al. 2019 (arXiv 1902.00751)"


@register
class Convpass(SingleExpert):
    """one adapter per place with a convolution over the tokens in its bottleneck"""

    name = "convpass"
    paper = "Jie and Deng 2022 (arXiv 2207.07039)"
    dials = (*Adapter.dials, "convolution")

    def expert_kind(self, dials: Dials) -> str:
        return "convpass"


@register
class Conformer(SingleExpert):
    """one adapter per place that is a Conformer's convolution module"""

    name = "conformer"
    paper = "arXiv 2312.03694"

    def expert_kind(self, dials: Dials) -> str:
        return "conformer"


def check_convolution(kind: str, dials: Dials) -> None:
    """Raises ConfigError for a choice of convolution where there is none."""
    require(
        dials.convolution == "1d" or kind == "convpass",
        "method.convolution",
        dials.convolution,
        f"{kind} has no convolution to choose",
    )


def make_experts(kind: str, num_experts: int, dials: Dials, site: Site) -> Any:
    """Adapters of one kind, stacked."""
    from astmoa.methods.experts import BottleneckExperts, ConformerExperts, ConvpassExperts, DroppedConvolutionExperts

    sizes = site.hidden_size, num_experts, dials.bottleneck_dim, site.generator
    if kind == "conformer":
        return ConformerExperts(*sizes)
    if kind == "convpass":
        convpass = DroppedConvolutionExperts if "dropped_convolution" in site.faithful else ConvpassExperts
        return convpass(*sizes, num_bands=site.num_bands if dials.convolution == "2d" else None)
    return BottleneckExperts(*sizes)


def as_published(module: nn.Module, site: Site) -> nn.Module:
    """With "initialisation": every linear projection, `up` too, drawn anew as the library does for layers that a
    checkpoint does not have, so that the adapted model does not start as the frozen one."""
    if "initialisation" in site.faithful:
        from torch import nn

        for name, parameter in module.named_parameters():
            if name.endswith(("down_weight", "up_weight", "router_weight")):
                nn.init.trunc_normal_(parameter, std=0.02, generator=site.generator)
    return module
