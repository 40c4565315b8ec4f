"""What is put into a frozen `ASTModel`, and taken out again without a trace.

A graft only ever replaces: a sub-layer by one that wraps it, a LayerNorm or a bias that is trained by a copy. So no
tensor of the backbone is ever written to, and `remove` restores the very objects.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from transformers import ASTModel


class Graft:
    """The replacements in one backbone, and everything that is trained there.

    trainable: parameters by a name that does not depend on how the graft is done, such as
    `layers.3.attention.slot_embeds`. buffers: what training changes besides (running statistics) or what was drawn once
    and stays (VeRA's projections). groups: each parameter's group: adapter, router, norm or head.
    """

    def __init__(self, model: ASTModel):
        self.model = model
        self.device = model.layernorm.weight.device
        self.trainable: dict[str, nn.Parameter] = {}
        self.buffers: dict[str, torch.Tensor] = {}
        self.groups: dict[str, str] = {}
        self.inserted: list[nn.Module] = []
        self._replaced: list[tuple[nn.Module, str, nn.Module | nn.Parameter]] = []

    def replace(self, owner: nn.Module, name: str, new: nn.Module | nn.Parameter) -> None:
        """Put `new` where `owner.name` was, until `remove`."""
        self.note(owner, name, getattr(owner, name))
        setattr(owner, name, new)

    def note(self, owner: nn.Module, name: str, original: nn.Module | nn.Parameter) -> None:
        """`owner.name` is another object by now; `remove` puts `original` back."""
        self._replaced.append((owner, name, original))

    def train(self, prefix: str, module: nn.Module, group: str = "adapter", router: tuple[str, ...] = ()) -> None:
        """List a module of ours: its parameters are trained, those named in `router` as the router's."""
        self.inserted.append(module)
        for name, parameter in module.named_parameters(prefix):
            self.train_parameter(name, parameter, "router" if name.removeprefix(f"{prefix}.") in router else group)
        self.buffers |= dict(module.named_buffers(prefix))

    def train_parameter(self, name: str, parameter: nn.Parameter, group: str = "adapter") -> None:
        self.trainable[name], self.groups[name] = parameter, group

    def train_copy(self, prefix: str, owner: nn.Module, name: str, group: str) -> nn.Module:
        """Replace a module of the backbone by a copy that is trained."""
        trained = copy.deepcopy(getattr(owner, name)).requires_grad_(True)
        self.replace(owner, name, trained)
        for key, parameter in trained.named_parameters(prefix):
            self.train_parameter(key, parameter, group)
        return trained

    def train_parameter_copy(self, name: str, owner: nn.Module, key: str) -> None:
        """Replace one parameter of the backbone by a copy that is trained."""
        trained = nn.Parameter(getattr(owner, key).detach().clone())
        self.replace(owner, key, trained)
        self.train_parameter(name, trained)

    def remove(self) -> None:
        """Give the backbone back exactly as it was."""
        while self._replaced:
            owner, name, original = self._replaced.pop()
            setattr(owner, name, original)
