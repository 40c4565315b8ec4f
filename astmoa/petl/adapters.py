"""The bottleneck adapter (Houlsby et al. 2019), the expert of the mixtures and the baseline beside them.

Letters: b batch, m tokens, d width, r bottleneck.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class BottleneckAdapter(nn.Module):
    """E(x) = up(gelu(down(x))), down: d -> r, up: r -> d, both with biases.

    `up` starts at zero and `down` does not: the adapted model starts as the frozen one, and still learns from the
    first step (with both at zero only the up bias would ever get a gradient).
    """

    router_parameters: tuple[str, ...] = ()

    def __init__(self, hidden_size: int, bottleneck_dim: int, generator: torch.Generator):
        super().__init__()
        self.down = nn.Linear(hidden_size, bottleneck_dim)
        self.up = nn.Linear(bottleneck_dim, hidden_size)
        with torch.no_grad():
            self.down.weight.normal_(std=hidden_size**-0.5, generator=generator)
            for zero in (self.down.bias, self.up.weight, self.up.bias):
                zero.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, d]"""
        return self.up(F.gelu(self.down(x)))
