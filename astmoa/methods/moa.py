"""One adapter, or a mixture: Soft-MoA and Dense-MoA (arXiv 2402.00828).

Letters: b batch, m tokens, d width, n experts, p slots per expert, r bottleneck. The experts E_i are those of
`experts`: bottleneck, Convpass or Conformer adapters, stacked along n.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from astmoa.methods.experts import BottleneckExperts


class SingleAdapter(nn.Module):
    """E(x), every token through the one adapter."""

    def __init__(self, experts: BottleneckExperts):
        super().__init__()
        self.experts = experts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, d]"""
        return F.linear(self.experts.of_tokens(x)[:, :, 0], self.experts.up_weight[0].T, self.experts.up_bias[0])


class SoftMoA(nn.Module):
    """Soft mixture of adapters: every expert processes p slots, each a weighted mean of all tokens (Eq. 3 and 4).

    `slot_embeds` (the paper's Phi) gives the logits X Phi. Dispatch weights are their softmax over the tokens: what a
    slot is made of sums to one. Combine weights are their softmax over all slots: what a token takes back sums to one.
    """

    def __init__(self, experts: BottleneckExperts, slots_per_expert: int, generator: torch.Generator):
        super().__init__()
        self.experts = experts
        d = experts.hidden_size
        self.slot_embeds = nn.Parameter(torch.empty(d, experts.num_experts, slots_per_expert))
        with torch.no_grad():
            # Logits of unit variance on layer-normed tokens, so that slots differ from each other from the start.
            self.slot_embeds.normal_(std=d**-0.5, generator=generator)

    def routing(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: [b, m, d] -> dispatch weights (sum to 1 over m) and combine weights (sum to 1 over n, p), each [b, m, n *
        p]."""
        logits = x @ self.slot_embeds.flatten(1)
        return logits.softmax(dim=1), logits.softmax(dim=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, d]"""
        dispatch_weights, combine_weights = self.routing(x)
        slots = (dispatch_weights.transpose(1, 2) @ x).unflatten(1, self.slot_embeds.shape[1:])  # [b, n, p, d], Eq. 3
        outputs = self.experts.up(self.experts.of_slots(slots))  # adapter floor(i / p) processes slot i
        return combine_weights @ outputs.flatten(1, 2)  # Eq. 4


class NormalizedTokensSoftMoA(SoftMoA):
    """The published code's --normalize: tokens themselves become unit vectors, so that slots mix those. (The original
    Soft MoE normalises for the logits only.)"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.normalize(x, dim=-1))


class DenseMoA(nn.Module):
    """Dense mixture of adapters: every expert sees every token, weighted by a router (Eq. 1 and 2).

    y = sum_i g_i E_i(x), g = softmax(x W + c). Computed fused: the gates are scalars per token, so the sum equals one
    up projection of the experts' hidden units, each scaled by its expert's gate, plus the gated up biases,
    [g (x) h ; g] [W_up ; b_up]. No [b, m, d, n] tensor is ever made; the cost is about that of a single adapter.
    """

    def __init__(self, experts: BottleneckExperts, generator: torch.Generator):
        super().__init__()
        self.experts = experts
        self.router_weight = nn.Parameter(torch.empty(experts.hidden_size, experts.num_experts))
        self.router_bias = nn.Parameter(torch.zeros(experts.num_experts))
        with torch.no_grad():
            self.router_weight.normal_(std=experts.hidden_size**-0.5, generator=generator)

    def routing(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> gate_probs [b, m, n], which sum to 1 over n (Eq. 2)"""
        return F.linear(x, self.router_weight.T, self.router_bias).softmax(dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, d]"""
        gate_probs = self.routing(x)
        gated = self.experts.of_tokens(x) * gate_probs[..., None]  # [b, m, n, r]
        up = torch.cat([self.experts.up_weight.flatten(0, 1), self.experts.up_bias])  # [n * r + n, d]
        return torch.cat([gated.flatten(2), gate_probs], dim=-1) @ up  # Eq. 1
