"""Insert trainable modules into a frozen `ASTModel`, and take them out again without a trace.

Wrapped are `layer.attention` and `layer.mlp`: their input is the LayerNorm output that a parallel module needs. A
LayerNorm that is trained is replaced by a copy, so no tensor of the backbone is ever written to and `Graft.remove`
restores the very objects.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from transformers import ASTModel

from astmoa.config import MethodConfig
from astmoa.petl.adapters import BottleneckAdapter
from astmoa.petl.moa import DenseMoA, SoftMoA
from astmoa.petl.params import ParamCount, experts_per_place, grafted_layers, places

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


class AdaptedClassifier(nn.Module):
    """Frozen backbone, grafted modules, linear head on the mean over all output tokens.

    Everything that is trained is listed in `trainable`, by a name that does not depend on how the graft is done:
    `layers.3.attention.slot_embeds`, `layers.3.attention.norm.weight`, `norm.weight` (the final LayerNorm),
    `head.weight`.
    """

    def __init__(self, model: ASTModel, method: MethodConfig, num_classes: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.model = model
        self.trainable: dict[str, nn.Parameter] = {}
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        self._router: set[str] = set()
        try:
            for index in grafted_layers(method, model.config.num_hidden_layers) if places(method) else ():
                for place in places(method):
                    self._graft(index, place, method, generator)
            self._list("norm", self._replace_by_copy(model, "layernorm"))
            self.head = nn.Linear(model.config.hidden_size, num_classes)
            with torch.no_grad():
                self.head.weight.normal_(std=0.02, generator=generator)
                self.head.bias.zero_()
            self.head.to(model.layernorm.weight.device)
            self._list("head", self.head)
        except BaseException:  # out of memory half-way, say: the backbone is other trials' too
            self.remove()
            raise

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """input_values: [b, frames, 128] -> logits [b, classes]"""
        tokens = self.model(input_values).last_hidden_state
        return self.head(tokens.mean(dim=1))

    def param_count(self) -> ParamCount:
        """What was built, by group. A test holds it equal to `params.count_params`."""
        count = dict.fromkeys(("adapter", "router", "norm", "head"), 0)
        for name, parameter in self.trainable.items():
            count[self._group(name)] += parameter.numel()
        return ParamCount(**count)

    def decayed(self, name: str) -> bool:
        """Whether weight decay applies: not on biases, LayerNorms and slots."""
        return not (name.endswith("bias") or ".norm." in f".{name}" or name.endswith("slot_embeds"))

    def remove(self) -> None:
        """Give the backbone back exactly as it was."""
        while self._replaced:
            owner, name, original = self._replaced.pop()
            setattr(owner, name, original)

    def _graft(self, index: int, place: str, method: MethodConfig, generator: torch.Generator) -> None:
        layer, name = self.model.layers[index], f"layers.{index}.{place}"
        module = make_module(method, self.model.config.hidden_size, generator).to(self.model.layernorm.weight.device)
        sublayer = getattr(layer, _SUBLAYER[place])
        self._replace(layer, _SUBLAYER[place], Adapted(sublayer, module, method.composition == "sequential"))
        self._list(name, module)
        self._router |= {f"{name}.{key}" for key in module.router_parameters}
        self._list(f"{name}.norm", self._replace_by_copy(layer, _NORM[place]))

    def _group(self, name: str) -> str:
        if name.startswith(("head.", "norm.")):
            return "head"
        if ".norm." in name:
            return "norm"
        return "router" if name in self._router else "adapter"

    def _list(self, prefix: str, module: nn.Module) -> None:
        self.trainable |= {f"{prefix}.{key}": parameter for key, parameter in module.named_parameters()}

    def _replace(self, owner: nn.Module, name: str, new: nn.Module) -> None:
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def _replace_by_copy(self, owner: nn.Module, name: str) -> nn.Module:
        trained = copy.deepcopy(getattr(owner, name)).requires_grad_(True)
        self._replace(owner, name, trained)
        return trained


def make_module(method: MethodConfig, hidden_size: int, generator: torch.Generator) -> nn.Module:
    """One freshly initialised module for one place."""
    n, p, r = experts_per_place(method), method.slots_per_expert, method.bottleneck_dim
    if method.name == "soft_moa":
        return SoftMoA(hidden_size, n, p, r, generator)
    if method.name == "dense_moa":
        return DenseMoA(hidden_size, n, r, generator)
    return BottleneckAdapter(hidden_size, r, generator)
