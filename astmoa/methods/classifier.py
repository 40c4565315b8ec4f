"""The adapted model: a frozen backbone, what a method puts into it, and a linear head."""

from __future__ import annotations

import torch
from torch import nn
from transformers import ASTModel

from astmoa.errors import RunError
from astmoa.methods.graft import Graft
from astmoa.methods.method import Dials, ParamCount
from astmoa.methods.tensors import difference

_NOT_DECAYED = ("bias", "slot_embeds", "_token", "position_embeddings", "ia3_l.default")


class AdaptedClassifier(nn.Module):
    """Frozen backbone, grafted modules, linear head on the output tokens.

    pooling "mean": the mean over all of them, virtual ones included, after the final LayerNorm, which is trained
    (arXiv 2402.00828). pooling "cls": (CLS + distillation) / 2 through a LayerNorm of the head's own, the final one
    frozen (arXiv 2401.10544). Everything that is trained is in `trainable`, by a stable name, such as
    `layers.3.attention.slot_embeds`, `norm.weight`, `head.weight`. It is built in evaluation mode; `train` reaches the
    inserted modules only, never the frozen backbone.
    """

    def __init__(self, model: ASTModel, method: Dials, num_classes: int, seed: int, faithful: tuple[str, ...] = ()):
        super().__init__()
        method = method.resolved()
        self.model, self.pooling = model, method.pooling
        self._graft = graft = Graft(model)
        generator = torch.Generator().manual_seed(seed)
        hidden_size = model.config.hidden_size
        try:
            method.kind.insert(graft, method, faithful, generator, seed)
            if method.pooling == "cls":
                self.norm = nn.LayerNorm(hidden_size, eps=model.config.layer_norm_eps).to(graft.device)
                graft.train("norm", self.norm, "head")
            elif not method.kind.trains_final_norm:
                graft.train_copy("norm", model, "layernorm", "head")
            self.head = nn.utils.skip_init(nn.Linear, hidden_size, num_classes)  # no draw from the global generator
            with torch.no_grad():
                self.head.weight.normal_(std=0.02, generator=generator)
                self.head.bias.zero_()
            graft.train("head", self.head.to(graft.device), "head")
        except BaseException:  # out of memory half-way, say: the backbone is other trials' too
            self.remove()
            raise
        self.eval()

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        return self._graft.trainable

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that training changes, and what was drawn once: what a checkpoint and a bundle must hold."""
        return {**self._graft.trainable, **self._graft.buffers}

    @torch.no_grad()
    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Copy values in, by name. Raises RunError where a name, shape or type is another than in `tensors()`."""
        wrong = difference(tensors, self.tensors())
        if wrong:
            raise RunError(f"these tensors are not what this method trains ({wrong}): train it again")
        for name, ours in self.tensors().items():
            ours.copy_(tensors[name])

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """input_values: [b, frames, 128] -> logits [b, classes]"""
        tokens = self.model(input_values).last_hidden_state
        if self.pooling == "cls":
            return self.head(self.norm((tokens[:, 0] + tokens[:, 1]) / 2))
        return self.head(tokens.mean(dim=1))

    def train(self, mode: bool = True) -> AdaptedClassifier:
        self.training = mode
        for module in self._graft.inserted:
            module.train(mode)
        return self

    def param_count(self) -> ParamCount:
        """What was built, by group. A test holds it equal to `params.count_params`."""
        count = dict.fromkeys(("adapter", "router", "norm", "head"), 0)
        for name, parameter in self.trainable.items():
            count[self._graft.groups[name]] += parameter.numel()
        return ParamCount(**count)

    def decayed(self, name: str) -> bool:
        """Whether weight decay applies: not on biases, norms, slots, the backbone's own tokens, and factors."""
        return not ("norm" in name or name.endswith(_NOT_DECAYED)) and self.trainable[name].ndim > 1

    def remove(self) -> None:
        """Give the backbone back exactly as it was."""
        self._graft.remove()
