"""Adapters, n of them side by side: the experts of a mixture, and with n = 1 the single adapter.

Letters: b batch, m tokens, s tokens or slots, d width, n experts, r bottleneck, k what `down` gives (r, or 2 r).
Every kind is down: d -> k, something in between, up: r -> d, with biases. Weights are stacked along n and convolutions
grouped by expert, so that no Python loop runs over experts. `up` starts at zero and `down` does not: the adapted model
starts as the frozen one and still learns from the first step (with both at zero only the up bias would ever get a
gradient).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from astmoa.methods.expert_params import CONFORMER_KERNEL_SIZE
from astmoa.methods.shape import NUM_SPECIAL_TOKENS


class BottleneckExperts(nn.Module):
    """E(x) = up(gelu(down(x))) (Houlsby et al. 2019)."""

    _DOWN_FACTOR = 1  # k / r

    def __init__(self, hidden_size: int, num_experts: int, bottleneck_dim: int, generator: torch.Generator):
        super().__init__()
        d, n, r = hidden_size, num_experts, bottleneck_dim
        self.hidden_size, self.num_experts, self.bottleneck_dim = d, n, r
        self.down_weight = nn.Parameter(torch.empty(n, d, self._DOWN_FACTOR * r))
        self.down_bias = nn.Parameter(torch.zeros(n, self._DOWN_FACTOR * r))
        self.up_weight = nn.Parameter(torch.zeros(n, r, d))
        self.up_bias = nn.Parameter(torch.zeros(n, d))
        with torch.no_grad():
            self.down_weight.normal_(std=d**-0.5, generator=generator)

    def of_tokens(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, n, r]: what every expert makes of every token, before `up`."""
        weight, bias = self._down()
        projected = F.linear(self._prepare(x), weight.permute(0, 2, 1).flatten(0, 1), bias.flatten())
        return self._between(projected.unflatten(-1, (self.num_experts, -1)))

    def of_slots(self, slots: torch.Tensor) -> torch.Tensor:
        """slots: [b, n, p, d] -> [b, p, n, r]: what each expert makes of its own slots, before `up`."""
        weight, bias = self._down()
        return self._between(torch.einsum("bnpd,ndk->bpnk", self._prepare(slots), weight) + bias)

    def up(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden: [b, s, n, r] -> [b, n, s, d]"""
        return torch.einsum("bsnr,nrd->bnsd", hidden, self.up_weight) + self.up_bias[:, None]

    def _down(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [n, d, k] and bias [n, k] of the first projection."""
        return self.down_weight, self.down_bias

    def _prepare(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def _between(self, h: torch.Tensor) -> torch.Tensor:
        """h: [b, s, n, k] -> [b, s, n, r]"""
        return F.gelu(h)


class ConvpassExperts(BottleneckExperts):
    """E(x) = up(gelu(conv(gelu(down(x))))), the convolution (kernel 3, r -> r) along tokens or over the patches' grid.

    1d: over the sequence as it stands, CLS and distillation token first, as in the authors' code; a band's last patch
    has the next band's first for a neighbour. 2d: over the grid of `num_bands` x time patches, each special token by
    itself, as in Convpass (Jie and Deng 2022); it needs tokens, not slots. The kernel starts as the identity.

    On a Soft-MoA's slots the 1d convolution runs over one expert's p slots. Slots have no order (a permutation of the
    rows of Phi changes nothing else), so what it learns is which slot stands beside which; with p = 1 only the middle
    tap ever meets anything but padding, and the convolution is one more r x r projection. That is what the paper counts
    and describes.
    """

    def __init__(
        self,
        hidden_size: int,
        num_experts: int,
        bottleneck_dim: int,
        generator: torch.Generator,
        num_bands: int | None = None,
    ):
        super().__init__(hidden_size, num_experts, bottleneck_dim, generator)
        self.num_bands = num_bands  # None: 1d
        n, r = num_experts, bottleneck_dim
        if num_bands is None:
            kernel = torch.zeros(n, r, r, 3)
            kernel[..., 1] = torch.eye(r)
        else:
            kernel = torch.zeros(n, r, r, 3, 3)
            kernel[..., 1, 1] = torch.eye(r)
        self.conv_weight = nn.Parameter(kernel)
        self.conv_bias = nn.Parameter(torch.zeros(n, r))

    def _between(self, h: torch.Tensor) -> torch.Tensor:
        return F.gelu(self._convolve(F.gelu(h)))

    def _convolve(self, h: torch.Tensor) -> torch.Tensor:
        weight, bias = self.conv_weight.flatten(0, 1), self.conv_bias.flatten()
        channels = h.flatten(2).transpose(1, 2)  # [b, n * r, s]
        if self.num_bands is None:
            out = F.conv1d(channels, weight, bias, padding=1, groups=self.num_experts)
        else:
            special, patches = channels.split([NUM_SPECIAL_TOKENS, channels.shape[2] - NUM_SPECIAL_TOKENS], dim=2)
            grid = patches.unflatten(2, (self.num_bands, -1))  # [b, n * r, bands, times]
            patches = F.conv2d(grid, weight, bias, padding=1, groups=self.num_experts).flatten(2)
            special = F.conv1d(special, weight[:, :, 1, 1, None], bias, groups=self.num_experts)  # a grid of one patch
            out = torch.cat([special, patches], dim=2)
        return out.transpose(1, 2).unflatten(2, (self.num_experts, -1))


class DroppedConvolutionExperts(ConvpassExperts):
    """The published code's Convpass: it computes its convolution and throws the result away. Its parameters are counted
    and never trained."""

    def _between(self, h: torch.Tensor) -> torch.Tensor:
        return F.gelu(h)


class ConformerExperts(BottleneckExperts):
    """The convolution module of a Conformer as an adapter (arXiv 2312.03694).

    E(x) = up(silu(batchnorm(depthwise(glu(down(layernorm(x))))))), down: d -> 2 r, depth-wise convolution of width 31
    along the tokens (a mixture's slots: see ConvpassExperts). The LayerNorm's weight and bias are folded into `down`,
    so that it is computed once for all experts. The depth-wise bias is counted by the paper and of no effect in
    training: batch normalisation takes it out again.
    """

    _DOWN_FACTOR = 2
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, hidden_size: int, num_experts: int, bottleneck_dim: int, generator: torch.Generator):
        super().__init__(hidden_size, num_experts, bottleneck_dim, generator)
        d, n, r = hidden_size, num_experts, bottleneck_dim
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(n, d)), nn.Parameter(torch.zeros(n, d))
        self.conv_weight = nn.Parameter(torch.empty(n, r, CONFORMER_KERNEL_SIZE))
        self.conv_bias = nn.Parameter(torch.zeros(n, r))
        self.batch_norm_weight, self.batch_norm_bias = nn.Parameter(torch.ones(n, r)), nn.Parameter(torch.zeros(n, r))
        self.register_buffer("running_mean", torch.zeros(n, r))
        self.register_buffer("running_var", torch.ones(n, r))
        with torch.no_grad():
            self.conv_weight.normal_(std=CONFORMER_KERNEL_SIZE**-0.5, generator=generator)

    def _down(self) -> tuple[torch.Tensor, torch.Tensor]:
        bias = self.down_bias + torch.einsum("nd,ndk->nk", self.norm_bias, self.down_weight)
        return self.norm_weight[..., None] * self.down_weight, bias

    def _prepare(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (self.hidden_size,))

    def _between(self, h: torch.Tensor) -> torch.Tensor:
        channels = F.glu(h, dim=-1).flatten(2).transpose(1, 2)  # [b, n * r, s]
        weight, bias = self.conv_weight.flatten(0, 1)[:, None], self.conv_bias.flatten()
        channels = F.conv1d(channels, weight, bias, padding=CONFORMER_KERNEL_SIZE // 2, groups=channels.shape[1])
        one_value = channels.shape[0] * channels.shape[2] == 1  # one clip, one slot: it has no variance
        channels = F.batch_norm(
            channels,
            self.running_mean.flatten(),  # views: their statistics are updated in place
            self.running_var.flatten(),
            self.batch_norm_weight.flatten(),
            self.batch_norm_bias.flatten(),
            training=self.training and not one_value,
        )
        return F.silu(channels).transpose(1, 2).unflatten(2, (self.num_experts, -1))
