"""Mixtures of adapters: Soft-MoA and Dense-MoA (arXiv 2402.00828).

Letters: b batch, m tokens, d width, n experts, p slots per expert, r bottleneck. Experts are bottleneck adapters
E_i(x) = up_i(gelu(down_i(x))) with biases, kept stacked along n so that no Python loop runs over them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class _Experts(nn.Module):
    """The stacked weights of n bottleneck adapters. `up` starts at zero (the adapted model starts as the frozen
    one)."""

    router_parameters: tuple[str, ...] = ()

    def __init__(self, hidden_size: int, num_experts: int, bottleneck_dim: int, generator: torch.Generator):
        super().__init__()
        self.down_weight = nn.Parameter(torch.empty(num_experts, hidden_size, bottleneck_dim))
        self.down_bias = nn.Parameter(torch.zeros(num_experts, bottleneck_dim))
        self.up_weight = nn.Parameter(torch.zeros(num_experts, bottleneck_dim, hidden_size))
        self.up_bias = nn.Parameter(torch.zeros(num_experts, hidden_size))
        with torch.no_grad():
            self.down_weight.normal_(std=hidden_size**-0.5, generator=generator)


class SoftMoA(_Experts):
    """Soft mixture of adapters: every expert processes p slots, each a weighted mean of all tokens (Eq. 3 and 4).

    `slot_embeds` (the paper's Phi) gives the logits X Phi. Dispatch weights are their softmax over the tokens: what a
    slot is made of sums to one. Combine weights are their softmax over all slots: what a token takes back sums to one.
    """

    router_parameters = ("slot_embeds",)

    def __init__(
        self, hidden_size: int, num_experts: int, slots_per_expert: int, bottleneck_dim: int, generator: torch.Generator
    ):
        super().__init__(hidden_size, num_experts, bottleneck_dim, generator)
        self.slot_embeds = nn.Parameter(torch.empty(hidden_size, num_experts, slots_per_expert))
        with torch.no_grad():
            # Logits of unit variance on layer-normed tokens, so that slots differ from each other from the start.
            self.slot_embeds.normal_(std=hidden_size**-0.5, generator=generator)

    def routing(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: [b, m, d] -> dispatch weights (sum to 1 over m) and combine weights (sum to 1 over n, p), each [b, m, n *
        p]."""
        logits = x @ self.slot_embeds.flatten(1)
        return logits.softmax(dim=1), logits.softmax(dim=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, d]"""
        num_experts, slots_per_expert = self.slot_embeds.shape[1:]
        dispatch_weights, combine_weights = self.routing(x)
        slots = (dispatch_weights.transpose(1, 2) @ x).unflatten(
            1, (num_experts, slots_per_expert)
        )  # [b, n, p, d], Eq. 3
        hidden = F.gelu(torch.einsum("bnpd,ndr->bnpr", slots, self.down_weight) + self.down_bias[:, None])
        outputs = torch.einsum("bnpr,nrd->bnpd", hidden, self.up_weight) + self.up_bias[:, None]
        return combine_weights @ outputs.flatten(1, 2)  # Eq. 4


class DenseMoA(_Experts):
    """Dense mixture of adapters: every expert sees every token, weighted by a router (Eq. 1 and 2).

    y = sum_i g_i E_i(x), g = softmax(x W + c). Computed fused: the gates are scalars per token, so the sum equals one
    adapter of width n r whose hidden units are scaled by their expert's gate, plus the gated up biases,
    [g (x) h ; g] [W_up ; b_up]. No [b, m, d, n] tensor is ever made; the cost is about that of a single adapter.
    """

    router_parameters = ("router_weight", "router_bias")

    def __init__(self, hidden_size: int, num_experts: int, bottleneck_dim: int, generator: torch.Generator):
        super().__init__(hidden_size, num_experts, bottleneck_dim, generator)
        self.router_weight = nn.Parameter(torch.empty(hidden_size, num_experts))
        self.router_bias = nn.Parameter(torch.zeros(num_experts))
        with torch.no_grad():
            self.router_weight.normal_(std=hidden_size**-0.5, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, d]"""
        num_experts, _, bottleneck_dim = self.down_weight.shape
        # One matrix product reads x once for the experts' down projections and the router together.
        weight = torch.cat([self.down_weight.permute(1, 0, 2).flatten(1), self.router_weight], dim=1)  # [d, n * r + n]
        bias = torch.cat([self.down_bias.flatten(), self.router_bias])
        projected = F.linear(x, weight.T, bias)
        hidden, gate_logits = projected.split([num_experts * bottleneck_dim, num_experts], dim=-1)
        gate_probs = gate_logits.softmax(dim=-1)  # [b, m, n], Eq. 2
        gated = F.gelu(hidden).unflatten(-1, (num_experts, bottleneck_dim)) * gate_probs[..., None]
        up = torch.cat([self.up_weight.flatten(0, 1), self.up_bias])  # [n * r + n, d]
        return torch.cat([gated.flatten(2), gate_probs], dim=-1) @ up  # Eq. 1
