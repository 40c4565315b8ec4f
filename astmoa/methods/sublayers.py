"""Modules beside or after the sub-layers of a layer: adapters, mixtures of them, and AAT's.

Wrapped are `layer.attention` and `layer.mlp`: their input is the LayerNorm output that a parallel module needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from astmoa.methods.graft import Graft

# Where a place's sub-layer and the LayerNorm that feeds it live in a layer of ASTModel (transformers 5.9 and later).
_SUBLAYER = {"attention": "attention", "ffn": "mlp"}
_NORM = {"attention": "layernorm_before", "ffn": "layernorm_after"}


class Adapted(nn.Module):
    """A frozen sub-layer with its module: f(x) + E(x) in parallel, f(x) + E(f(x)) in sequence."""

    def __init__(self, sublayer: nn.Module, module: nn.Module, sequential: bool):
        super().__init__()
        self.sublayer, self.module, self.sequential = sublayer, module, sequential

    def forward(self, x: torch.Tensor, *args, **kwargs):
        output = self.sublayer(x, *args, **kwargs)
        y, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        y = y + self.module(y if self.sequential else x)
        return y if rest is None else (y, *rest)


class Remembered(nn.Module):
    """A module whose last output is kept for `AddedAgain`."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = self.module(x)
        return self.last


class AddedAgain(nn.Module):
    """The published code's second addition: a mixture beside the attention is added after the FFN once more."""

    def __init__(self, sublayer: nn.Module, remembered: Remembered):
        super().__init__()
        self.sublayer = sublayer
        self._remembered = [remembered]  # in a list: it is registered elsewhere, and must not be a child twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sublayer(x) + self._remembered[0].last


def insert(
    graft: Graft,
    *,
    layers: Iterable[int],
    sites: Sequence[tuple[str, bool]],
    make: Callable[[], nn.Module],
    router_parameters: tuple[str, ...] = (),
    with_norm: bool = True,
    added_twice: bool = False,
) -> None:
    """Put modules, fresh from `make`, at the sites of every layer.

    sites: (place, is it sequential). with_norm: the LayerNorm that feeds a module is trained, too.
    """
    for index in layers:
        layer = graft.model.layers[index]
        for place, sequential in sites:
            name = f"layers.{index}.{place}"
            module = make().to(graft.device)
            inserted = module
            if added_twice:
                inserted = Remembered(module)
                graft.replace(layer, "mlp", AddedAgain(layer.get_submodule("mlp"), inserted))
            graft.replace(layer, _SUBLAYER[place], Adapted(getattr(layer, _SUBLAYER[place]), inserted, sequential))
            graft.train(name, module, router=router_parameters)
            if with_norm:
                graft.train_copy(f"{name}.norm", layer, _NORM[place], "norm")
