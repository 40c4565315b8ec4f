"""Layers that see virtual tokens: prompts in the sequence, prefixes in the attention.

Letters: b batch, m tokens, d width, v virtual tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from astmoa.methods.graft import Graft

if TYPE_CHECKING:
    from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTAttention

_STD = 0.02


class PromptedLayer(nn.Module):
    """A frozen layer whose input has v prompts after its first `keep` tokens, where they take the place of the next
    `replace` ones: 0 for the first prompts, v where they follow an earlier layer's."""

    def __init__(self, layer: nn.Module, prompts: nn.Parameter, keep: int, replace: int):
        super().__init__()
        self.layer, self.prompts, self.keep, self.replace = layer, prompts, keep, replace

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """x: [b, m, d] -> [b, m + v - replace, d]"""
        prompts = self.prompts.to(x.dtype).expand(len(x), -1, -1)
        x = torch.cat([x[:, : self.keep], prompts, x[:, self.keep + self.replace :]], dim=1)
        return self.layer(x, *args, **kwargs)


class PrefixedAttention(nn.Module):
    """A frozen attention with v trained keys and v trained values before those of the tokens."""

    def __init__(self, attention: ASTAttention, keys: nn.Parameter, values: nn.Parameter):
        super().__init__()
        self.attention, self.keys, self.values = attention, keys, values

    def forward(self, x: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        """x: [b, m, d] -> [b, m, d]"""
        frozen = self.attention
        keys, values = frozen.k_proj(x), frozen.v_proj(x)
        keys = torch.cat([self.keys.to(keys.dtype).expand(len(x), -1, -1), keys], dim=1)
        values = torch.cat([self.values.to(values.dtype).expand(len(x), -1, -1), values], dim=1)
        q, k, v = (t.unflatten(-1, (-1, frozen.head_dim)).transpose(1, 2) for t in (frozen.q_proj(x), keys, values))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=frozen.scaling)  # [b, heads, m, d / heads]
        return frozen.o_proj(mixed.transpose(1, 2).flatten(2)), None


def draw(graft: Graft, name: str, num_tokens: int, generator: torch.Generator) -> nn.Parameter:
    """[v, d] virtual tokens, trained under this name."""
    values = torch.empty(num_tokens, graft.model.config.hidden_size).normal_(std=_STD, generator=generator)
    parameter = nn.Parameter(values.to(graft.device))
    graft.train_parameter(name, parameter)
    return parameter
