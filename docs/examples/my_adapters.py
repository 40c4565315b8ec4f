import torch
from torch import nn

import astmoa


class Scaled(astmoa.Adapter):
    """A bottleneck adapter whose output is multiplied by a number that is trained"""

    scale = astmoa.Dial(1.0, choices=(0.1, 1.0, 10.0), about="where that number starts")

    def module(self, dials, site):
        return ScaledBottleneck(site.hidden_size, dials.bottleneck_dim, dials.scale, site.generator)

    def module_params(self, dials, d):
        return 2 * d * dials.bottleneck_dim + 1, 0


class ScaledBottleneck(nn.Module):
    def __init__(self, d, r, scale, generator):
        super().__init__()
        self.down = nn.Parameter(torch.randn(d, r, generator=generator) * d**-0.5)
        self.up = nn.Parameter(torch.zeros(r, d))  # the adapted model starts as the frozen one
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        return self.scale * (nn.functional.gelu(x @ self.down) @ self.up)
