"""How the trainable parameters move: AdamW, and the learning rate of every step."""

from __future__ import annotations

import math

import torch

from astmoa.config import CompleteTrial
from astmoa.methods.classifier import AdaptedClassifier


def cosine_lr(step: int, num_steps: int, peak: float) -> float:
    """Learning rate of step `step` (from 0): cosine from `peak` to 0, no warm-up."""
    return peak * 0.5 * (1 + math.cos(math.pi * step / num_steps))


def make_optimizer(classifier: AdaptedClassifier, config: CompleteTrial) -> torch.optim.Optimizer:
    """AdamW; biases, LayerNorms and slots do not decay, unless the published code is followed ("weight_decay")."""
    optim, decay_all = config.optim, "weight_decay" in config.faithful
    params: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}  # by whether they decay
    for name, parameter in classifier.trainable.items():
        params[decay_all or classifier.decayed(name)].append(parameter)
    decays = ((True, optim.weight_decay), (False, 0.0))
    groups = [{"params": params[key], "weight_decay": decay} for key, decay in decays if params[key]]
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)
