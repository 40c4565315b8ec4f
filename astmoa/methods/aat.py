"""AAT's adapters (arXiv 2401.10544): an MLP adapter beside the FFN, a spatial one after the attention, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from astmoa.methods.adapters import Placed, Site, make_experts
from astmoa.methods.expert_params import expert_params
from astmoa.methods.method import Dials, register

if TYPE_CHECKING:
    from torch import nn


class Aat(Placed):
    """y = x + MLP(LN x) + A(LN x) at the FFN, S(z) = z + A(z) after the attention; LayerNorms stay frozen."""

    paper = "arXiv 2401.10544"
    example: ClassVar = {"bottleneck_dim": 192}
    dials = ("bottleneck_dim", "layers")
    peak_lr = 1e-3
    weight_decay = 0.05
    pooling = "cls"
    trains_norm = False
    # Its mixup, added noise and steps of the learning rate are not reproduced.
    recipes: ClassVar = {
        "esc50": {"epochs": 25, "batch_size": 42, "freq_mask": 24, "time_mask": 96},
        "urbansound8k": {"epochs": 25, "batch_size": 48, "freq_mask": 0, "time_mask": 0},
        "speech_commands_v1": {"epochs": 30, "batch_size": 128, "freq_mask": 0, "time_mask": 0},
        "speech_commands_v2": {"epochs": 30, "batch_size": 128, "freq_mask": 0, "time_mask": 0},
    }
    peak_lrs: ClassVar = {
        "esc50": 1e-4,
        "urbansound8k": 1e-5,
        "speech_commands_v1": 5e-4,
        "speech_commands_v2": 5e-4,
        "gtzan": 1e-5,
        "gtzan_folds": 1e-5,
        "openmic": 1e-4,
    }
    at: ClassVar[tuple[str, ...]]
    """Sub-layers that get a module: attention, ffn or both."""

    def places(self, dials: Dials) -> tuple[str, ...]:
        return self.at

    def sites(self, dials: Dials, faithful: tuple[str, ...]) -> list[tuple[str, bool]]:
        return [(place, place == "attention") for place in self.at]

    def module(self, dials: Dials, site: Site) -> nn.Module:
        from astmoa.methods.moa import SingleAdapter

        return SingleAdapter(make_experts("bottleneck", 1, dials, site))

    def module_params(self, dials: Dials, d: int) -> tuple[int, int]:
        return expert_params("bottleneck", dials, d), 0


@register
class AatM(Aat):
    """AAT's MLP adapter"""

    name = "aat_m"
    at = ("ffn",)


@register
class AatS(Aat):
    """AAT's spatial adapter"""

    name = "aat_s"
    at = ("attention",)


@register
class AatMS(Aat):
    """AAT's MLP adapter and its spatial adapter"""

    name = "aat_ms"
    at = ("attention", "ffn")
