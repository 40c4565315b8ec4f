"""What a trial goes on from, as a checkpoint's tensors and back: trained tensors, moments, an unfinished epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

import torch
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from astmoa.errors import RunError, shown
from astmoa.files.reading import first_line
from astmoa.files.typed import STRICT, checked
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.tensors import difference, not_finite
from astmoa.training.checkpoint import DamagedError, Saved, open_tensors, prefixed, with_prefix

_Seconds = Annotated[float, Field(ge=0)]


@with_config(STRICT)
class EpochRecord(TypedDict):
    """One epoch, as `Trial.epochs` gives it. Older checkpoints do not know how it spent its seconds."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: _Seconds
    val_seconds: NotRequired[_Seconds]
    step_seconds: NotRequired[_Seconds]


@with_config(STRICT)
class _Unfinished(TypedDict):
    steps: Annotated[int, Field(ge=0)]
    train_seconds: _Seconds
    val_seconds: _Seconds


@with_config(STRICT)
class Facts(TypedDict):
    """What a checkpoint says beside its tensors, and beside what it belongs to (see `check_owner`)."""

    bf16: bool
    records: list[EpochRecord]
    best_epoch: Annotated[int, Field(ge=0)]
    unfinished: NotRequired[_Unfinished]


_FACTS = TypeAdapter(Facts)
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_AUGMENT = "unfinished/augment"
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
    def restored(cls, saved: Saved, facts: _Unfinished, augment: torch.Generator) -> PartialEpoch:
        """The inverse of `tensors` and `facts`. `augment`: the epoch's generator as it is at the first step.

        Raises DamagedError where the generator takes no such state.
        """
        ours = with_prefix("unfinished", saved.tensors)
        # A CPU's generator and a GPU's have states of different sizes and unrelated streams. A trial that moves between
        # them is not repeated bit by bit anyway: it takes the new stream from its beginning.
        if ours["augment"].shape == augment.get_state().shape:
            try:
                augment.set_state(ours["augment"])
            except RuntimeError as error:
                raise DamagedError(f"{saved.path} is damaged ({first_line(error)})") from error
        total = ours["total"].to(augment.device)
        return cls(augment, total, facts["steps"], facts["train_seconds"], facts["val_seconds"])


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


def read_state(
    path: Path, classifier: AdaptedClassifier, identity: dict[str, str], num_epochs: int, steps_per_epoch: int
) -> tuple[Saved, Facts]:
    """A trial's checkpoint, all of which is what `pack` gives for this classifier; nothing is filled yet.

    Raises DamagedError where it is not, RunError where it cannot be read or belongs to something else.
    """
    saved = open_tensors(path, num_epochs)
    saved.verify()
    try:
        facts = _read_facts(saved.metadata, num_epochs, steps_per_epoch)
        check_owner(path, saved.metadata, identity)
        wrong = difference(saved.tensors, _wanted(saved.tensors, facts, classifier)) or _impossible(saved.tensors)
        if wrong:
            raise ValueError(wrong)
    except ValueError as error:
        raise DamagedError(f"{path} is damaged ({error})") from None
    return saved, facts


def _read_facts(metadata: Any, num_epochs: int, steps_per_epoch: int) -> Facts:
    facts: Facts = checked(_FACTS, metadata)
    records, steps = facts["records"], facts.get("unfinished", {"steps": 0})["steps"]
    if [record["epoch"] for record in records] != list(range(1, len(records) + 1)) or len(records) > num_epochs:
        raise ValueError(f"its epochs are not the first ones of {num_epochs}")
    if not bool(records) <= facts["best_epoch"] <= len(records):
        raise ValueError(f"best_epoch {facts['best_epoch']} is none of its epochs")
    if steps > steps_per_epoch or ("unfinished" in facts and len(records) == num_epochs):
        raise ValueError("its unfinished epoch is longer than an epoch")
    return facts


def _wanted(tensors: dict[str, torch.Tensor], facts: Facts, classifier: AdaptedClassifier) -> dict[str, torch.Tensor]:
    """By name, a tensor of the shape and type that each one of the checkpoint must have."""
    ours = classifier.tensors()
    wanted = prefixed("current", ours) | (prefixed("best", ours) if facts["best_epoch"] else {})
    for name in with_prefix("step", tensors).keys() & classifier.trainable.keys():
        values = dict.fromkeys(_MOMENTS, classifier.trainable[name]) | {"step": torch.zeros(())}
        wanted |= {f"{moment}/{name}": value for moment, value in values.items()}
    if "unfinished" in facts:  # the state of a GPU's generator has another size than that of a CPU's
        state = tensors.get(_AUGMENT, torch.zeros(0)).flatten().to(torch.uint8)
        wanted |= {"unfinished/total": torch.zeros(()), _AUGMENT: state}
    return wanted


def _impossible(tensors: dict[str, torch.Tensor]) -> str | None:
    # A mean of squares may be infinite, where a gradient was large: its parameter stays as it is from then on.
    for name, values in with_prefix("exp_avg_sq", tensors).items():
        if not (values >= 0).all():
            return f"exp_avg_sq/{name} holds values that are no means of squares"
    return not_finite({k: v for k, v in tensors.items() if k != _AUGMENT and not k.startswith("exp_avg_sq/")})


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
            raise RunError(f"{path}: belongs to {_OTHER[key]} ({shown(metadata.get(key))}); choose another --out")
