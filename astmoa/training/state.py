"""What a trial goes on from, as a checkpoint's tensors and back: trained tensors, moments, an unfinished epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from astmoa.errors import RunError
from astmoa.petl.classifier import AdaptedClassifier
from astmoa.training.checkpoint import prefixed, with_prefix

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_OTHER = {"config_hash": "another configuration", "data": "other data", "backbone": "another backbone"}


@dataclass
class PartialEpoch:
    """How far an epoch has come.

    augment: the augmentation's generator, in the state that the next step needs. total: [] loss summed over the clips
    so far, on the generator's device. steps: training steps done. train_seconds, val_seconds: time spent; a validation
    that was interrupted begins anew, and what it took counts.
    """

    augment: torch.Generator
    total: torch.Tensor
    steps: int = 0
    train_seconds: float = 0.0
    val_seconds: float = 0.0

    @contextlib.contextmanager
    def counting(self, field: str) -> Iterator[None]:
        """Add the time that the block takes, however it ends, to `train_seconds` or `val_seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.total.item()  # steps that still wait on the device belong in
            setattr(self, field, getattr(self, field) + time.perf_counter() - start)

    def tensors(self) -> dict[str, torch.Tensor]:
        return prefixed("unfinished", {"total": self.total, "augment": self.augment.get_state()})

    def facts(self) -> dict[str, Any]:
        return {"steps": self.steps, "train_seconds": self.train_seconds, "val_seconds": self.val_seconds}

    @classmethod
    def restored(
        cls, tensors: dict[str, torch.Tensor], facts: dict[str, Any], augment: torch.Generator
    ) -> PartialEpoch:
        """The inverse of `tensors` and `facts`. `augment`: the epoch's generator as it is at the first step."""
        ours = with_prefix("unfinished", tensors)
        # A CPU's generator and a GPU's have states of different sizes and unrelated streams. A trial that moves between
        # them is not repeated bit by bit anyway: it takes the new stream from its beginning.
        if ours["augment"].shape == augment.get_state().shape:
            augment.set_state(ours["augment"])
        return cls(augment, ours["total"].to(augment.device), **facts)


def pack(
    classifier: AdaptedClassifier, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What is trained, now and at its best, and the optimiser's moments, each by its kind and its name."""
    # A parameter that never had a gradient (a convolution that is dropped) has no moments.
    moments = {name: optimizer.state.get(parameter) for name, parameter in classifier.trainable.items()}
    state = {name: moment for name, moment in moments.items() if moment}
    tensors = prefixed("current", classifier.tensors()) | prefixed("best", best)
    for moment in _MOMENTS:
        tensors |= prefixed(moment, {name: state[name][moment] for name in state})
    return tensors


def unpack(
    tensors: dict[str, torch.Tensor], classifier: AdaptedClassifier, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """The inverse of `pack`: fill the classifier and the optimiser, and return the best epoch's tensors."""
    classifier.load(with_prefix("current", tensors))
    moments = {moment: with_prefix(moment, tensors) for moment in _MOMENTS}
    for name, parameter in classifier.trainable.items():
        if name in moments["step"]:
            optimizer.state[parameter] = {moment: moments[moment][name].to(parameter.device) for moment in _MOMENTS}
    device = classifier.head.weight.device
    return {name: tensor.to(device) for name, tensor in with_prefix("best", tensors).items()}


def check_owner(path: Path, metadata: dict[str, Any], identity: dict[str, str]) -> None:
    """Raise RunError if the checkpoint belongs to another configuration, to other data or to another backbone."""
    for key, ours in identity.items():
        if metadata.get(key) != ours:
            raise RunError(f"{path}: belongs to {_OTHER[key]} ({metadata.get(key)}); choose another --out")
