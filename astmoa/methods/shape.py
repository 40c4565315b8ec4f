"""What counting parameters needs to know of a backbone, before anything is loaded or built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NUM_SPECIAL_TOKENS = 2
"""CLS and distillation token, which stand before the patches; these come band after band, time fastest."""


def num_bands(config: Any) -> int:
    """Patches along the frequency axis of a backbone with this ASTConfig."""
    return (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1


@dataclass(frozen=True)
class BackboneShape:
    """Sizes of an Audio Spectrogram Transformer; the defaults are those of the papers' (AST-base, 10.24 s of audio)."""

    hidden_size: int = 768
    num_layers: int = 12
    intermediate_size: int = 3072
    patch_size: int = 16
    num_tokens: int = 1214
    """Tokens of one clip, CLS and distillation token included: rows of the position table."""
    qkv_bias: bool = True
    """Whether query, key and value have biases."""

    @property
    def num_params(self) -> int:
        """Of the whole backbone: patches, two tokens, positions, layers, final LayerNorm."""
        d = self.hidden_size
        embeddings = self.patch_size**2 * d + d + 2 * d + self.num_tokens * d
        return embeddings + self.num_layers * self.layer_params + 2 * d

    @property
    def layer_params(self) -> int:
        """Of one layer: four projections, two linear layers of the MLP, two LayerNorms."""
        d, i = self.hidden_size, self.intermediate_size
        return 4 * d * d + 2 * d * i + 2 * d + self.layer_biases

    @property
    def layer_biases(self) -> int:
        """Biases of one layer's linear layers and LayerNorms."""
        return (4 if self.qkv_bias else 1) * self.hidden_size + self.intermediate_size + 3 * self.hidden_size
