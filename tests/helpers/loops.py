"""The adapters and mixtures written out: one expert, one token, one slot at a time, after the papers' equations."""

import math

import torch
import torch.nn.functional as F


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def bottleneck(experts, i, x):
    """E_i of a sequence x: [s, d] -> [s, d]"""
    return gelu(x @ experts.down_weight[i] + experts.down_bias[i]) @ experts.up_weight[i] + experts.up_bias[i]


def convpass(experts, i, x):
    h = gelu(x @ experts.down_weight[i] + experts.down_bias[i])  # [s, r]
    weight, bias = experts.conv_weight[i], experts.conv_bias[i]
    mixed = []
    if experts.num_bands is None:
        for t in range(len(h)):
            taps = [weight[:, :, k] @ h[t + k - 1] for k in range(3) if 0 <= t + k - 1 < len(h)]
            mixed.append(sum(taps) + bias)
    else:
        bands, times = experts.num_bands, (len(h) - 2) // experts.num_bands
        mixed += [weight[:, :, 1, 1] @ h[0] + bias, weight[:, :, 1, 1] @ h[1] + bias]  # CLS, distillation
        for band in range(bands):
            for time in range(times):
                total = bias
                for i_ in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        if 0 <= band + i_ < bands and 0 <= time + j < times:
                            total = total + weight[:, :, i_ + 1, j + 1] @ h[2 + (band + i_) * times + time + j]
                mixed.append(total)
    return gelu(torch.stack(mixed)) @ experts.up_weight[i] + experts.up_bias[i]


def conformer_before_batch_norm(experts, i, x):
    """x: [s, d] -> [s, r]"""
    mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    normed = (x - mean) / torch.sqrt(var + 1e-5) * experts.norm_weight[i] + experts.norm_bias[i]
    projected = normed @ experts.down_weight[i] + experts.down_bias[i]
    r = projected.shape[1] // 2
    h = projected[:, :r] * torch.sigmoid(projected[:, r:])
    rows = []
    for t in range(len(h)):
        taps = [experts.conv_weight[i, :, k] * h[t + k - 15] for k in range(31) if 0 <= t + k - 15 < len(h)]
        rows.append(sum(taps) + experts.conv_bias[i])
    return torch.stack(rows)


def conformer(experts, i, x):
    """With the running statistics, as in evaluation."""
    h = conformer_before_batch_norm(experts, i, x)
    h = (h - experts.running_mean[i]) / torch.sqrt(experts.running_var[i] + 1e-5)
    h = h * experts.batch_norm_weight[i] + experts.batch_norm_bias[i]
    return h * torch.sigmoid(h) @ experts.up_weight[i] + experts.up_bias[i]


def single(module, x, expert):
    return torch.stack([expert(module.experts, 0, tokens) for tokens in x])


def soft_moa(module, x, expert):
    """Eq. 3 and 4, slot by slot and clip by clip."""
    d, n, p = module.slot_embeds.shape
    phi = module.slot_embeds.reshape(d, n * p)
    outputs = []
    for tokens in x:  # L x d
        logits = tokens @ phi  # L x (N p)
        dispatch = torch.stack([torch.exp(logits[:, s]) / torch.exp(logits[:, s]).sum() for s in range(n * p)], dim=1)
        combine = torch.stack([torch.exp(row) / torch.exp(row).sum() for row in logits])
        slots = [sum(dispatch[t, s] * tokens[t] for t in range(len(tokens))) for s in range(n * p)]
        processed = []
        for i in range(n):  # adapter floor(slot / p) processes a slot
            processed += list(expert(module.experts, i, torch.stack(slots[i * p : (i + 1) * p])))
        outputs.append(
            torch.stack([sum(combine[t, s] * processed[s] for s in range(n * p)) for t in range(len(tokens))])
        )
    return torch.stack(outputs)


def dense_moa(module, x, expert):
    """Eq. 1 and 2: every expert's output for every token, weighted by the gate."""
    gates = F.softmax(x @ module.router_weight + module.router_bias, dim=-1)
    n = module.experts.num_experts
    outputs = [torch.stack([expert(module.experts, i, tokens) for tokens in x]) for i in range(n)]
    return sum(gates[..., i : i + 1] * outputs[i] for i in range(n))
