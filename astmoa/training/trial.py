"""One trial from its configuration to its tested best epoch.

Randomness is a function of (seed, purpose, epoch) and of nothing else: no global generator is used, so a trial does
not depend on what its worker did before. Resuming needs no generator's state but the augmentation's, and that only in
the middle of an epoch.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from astmoa.audio.augment import spec_augment
from astmoa.audio.fbank import padding
from astmoa.backbone.frozen import Backbone
from astmoa.config import CompleteTrial, complete
from astmoa.errors import ConfigError, DataError, Interrupted, NonFiniteLossError, RunError
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.params import check_size
from astmoa.records.predictions import Predictions, side_of
from astmoa.training.checkpoint import DamagedError, save_tensors, set_aside
from astmoa.training.inputs import DeviceData
from astmoa.training.optimizer import cosine_lr, make_optimizer
from astmoa.training.scoring import bootstrap_interval, loss_per_clip, score
from astmoa.training.state import PartialEpoch, pack, read_state, unpack
from astmoa.training.streams import generator, stream_seed

Record = dict[str, Any]
CHECKPOINT = "checkpoint.safetensors"


class Trial:
    """Trains one configuration. Use it as a context manager: on leaving, the backbone is as it was.

    with Trial(config, backbone, data, checkpoint_dir) as trial:
        for record in trial.epochs(): ...     # resumes after the last checkpointed epoch, or step of one
        end = trial.test()

    Raises ConfigError if the data hold no such fold, DataError if they cannot be scored, RunError if the checkpoint
    belongs to another configuration, NonFiniteLossError when training diverges, Interrupted soon after `interrupt`.
    """

    def __init__(self, config: CompleteTrial, backbone: Backbone, data: DeviceData, checkpoint_dir: Path | None = None):
        self.config = config = complete(config)
        self.data, self.device = data, data.device
        if config.data.fold not in data.inputs.splits:
            raise ConfigError(
                f"data.fold={config.data.fold} is not possible: folds {sorted(data.inputs.splits)} are loaded"
            )
        splits = data.inputs.splits[config.data.fold]
        if "validate_on_test" in config.faithful and splits.held_out:  # the published code where data have no val split
            train = np.sort(np.concatenate([splits.train, splits.val]))
            splits = dataclasses.replace(splits, train=train, val=splits.test)
        self._train, self._val, self._test = (torch.from_numpy(i) for i in (splits.train, splits.val, splits.test))
        self._padding = padding(config.faithful)
        backbone.fit_positions(data.inputs.num_frames, config.faithful)
        self._check_scorable()
        self.bf16 = _use_bf16(config.optim.precision, self.device)
        # What a checkpoint belongs to. The configuration alone does not say which sounds and weights lie behind a path.
        self._identity = {
            "config_hash": config.hash(),
            "data": data.inputs.fingerprint,
            "backbone": backbone.fingerprint,
        }
        self.steps_per_epoch = math.ceil(len(self._train) / config.optim.batch_size)
        self.records: list[Record] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_epoch = 0
        self.resumed_epochs = 0
        self.predictions: Predictions | None = None
        """What was said of validation and test clips, once it was tested."""
        self.note: str | None = None
        """What its user should know: that its checkpoint was damaged and it begins anew."""
        self._unfinished: PartialEpoch | None = None
        self._interrupted = False
        self._checkpoint = checkpoint_dir / CHECKPOINT if checkpoint_dir else None
        seed, num_classes = stream_seed(config.seed, "init"), len(data.inputs.label_names)
        check_size(config.method, backbone.shape, num_classes)
        self.classifier = AdaptedClassifier(backbone.model, config.method, num_classes, seed, config.faithful)
        try:
            self.optimizer = make_optimizer(self.classifier, config)
            if self._checkpoint and self._checkpoint.exists():
                try:
                    self._resume(self._checkpoint)
                except DamagedError as error:
                    self.note = f"{error}: {set_aside(self._checkpoint)}, and the trial begins anew"
        except BaseException:  # out of memory, say: the backbone is the next trial's too
            self.classifier.remove()
            raise

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the modules out of the backbone and let go of what was trained."""
        self.classifier.remove()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def spent(self) -> float:
        """Seconds in what is saved: whole epochs, and the one that a resumed trial is in the middle of."""
        part = self._unfinished
        unfinished = part.train_seconds + part.val_seconds if part is not None else 0.0
        return sum(record["seconds"] for record in self.records) + unfinished

    def interrupt(self) -> None:
        """Ask the trial to stop, from a signal handler say. After the training step or the batch of clips that it is
        at, `epochs` saves a checkpoint to go on from, if there is anything new, and raises Interrupted; `test` raises
        it too. The same configuration with the same folder then goes on, to the same result bit by bit on a CPU."""
        self._interrupted = True  # and nothing else: the handler may run between any two bytecodes

    def epochs(self) -> Iterator[Record]:
        """One record per epoch: epoch, train_loss, val_loss, val_accuracy, lr, seconds, of which val_seconds for the
        validation, and step_seconds, one training step's mean. Records of a resumed trial come first."""
        yield from list(self.records)
        for epoch in range(len(self.records) + 1, self.config.optim.epochs + 1):
            self._stop_if_interrupted()
            record = self._run_epoch(epoch)
            self.records.append(record)
            if self._is_best(record):
                self.best_epoch = epoch
                self.best = {name: tensor.detach().clone() for name, tensor in self.classifier.tensors().items()}
            self._save()
            yield record

    @torch.inference_mode()
    def test(self) -> Record:
        """Restore the best epoch (by validation accuracy, then loss) and test it: the fields of an `end` event."""
        if not self.records:
            raise RunError("the trial has no epoch yet: run epochs() before test()")
        start = time.perf_counter()
        self.classifier.load(self.best)
        best = self.records[self.best_epoch - 1]
        clips = {"val": self._val, "test": self._test}
        logits = {side: self.logits(own) for side, own in clips.items()}
        labels = {side: self.data.labels[own.to(self.device)] for side, own in clips.items()}
        one_label = labels["test"].ndim == 1
        self.predictions = Predictions(
            self.config.hash(),
            self.data.inputs.fingerprint,
            *(side_of(own.numpy(), logits[side].cpu().numpy(), one_label) for side, own in clips.items()),
        )
        intervals = {}
        if self.data.inputs.metric != "accuracy":  # an accuracy's follows from the number of clips
            intervals = {f"{side}_interval": bootstrap_interval(logits[side], labels[side]) for side in clips}
        return {
            "best_epoch": self.best_epoch,
            "val_accuracy": best["val_accuracy"],
            "val_loss": best["val_loss"],
            "test_accuracy": score(logits["test"], labels["test"]),
            "test_loss": loss_per_clip(logits["test"], labels["test"]).mean().item(),
            "num_val_clips": len(self._val),
            "num_test_clips": len(self._test),
            **intervals,
            "precision": "bf16" if self.bf16 else "fp32",
            "cpu_threads": torch.get_num_threads() if self.device.type == "cpu" else None,  # sums depend on it
            "test_seconds": time.perf_counter() - start,
        }

    @torch.inference_mode()
    def evaluate(self, clips: torch.Tensor) -> tuple[float, float]:
        """Mean loss and accuracy (multi-label data: mAP) over `clips` (indices)."""
        logits, labels = self.logits(clips), self.data.labels[clips.to(self.device)]
        return loss_per_clip(logits, labels).mean().item(), score(logits, labels)

    @torch.inference_mode()
    def logits(self, clips: torch.Tensor) -> torch.Tensor:
        """clips: [c] indices -> [c, classes] float32"""
        self.classifier.eval()
        logits = []
        for batch in clips.split(2 * self.config.optim.batch_size):
            self._stop_if_interrupted()
            logits.append(self._forward(self.data.batch(batch, self._padding)[0]))
        return torch.cat(logits)

    def _run_epoch(self, epoch: int) -> Record:
        part = self._unfinished or PartialEpoch(self._augment(epoch), torch.zeros((), device=self.device))
        self._unfinished = None
        try:
            with part.counting("train_seconds"):
                self._train_steps(epoch, part)
            train_loss = part.total.item() / len(self._train)
            self._check_finite("training", train_loss, epoch)
            with part.counting("val_seconds"):
                val_loss, val_accuracy = self.evaluate(self._val)
        except Interrupted:
            self._save(part)
            raise
        self._check_finite("validation", val_loss, epoch)
        return {
            "epoch": epoch,
            "train_loss": train_loss,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "lr": self._lr(epoch, self.steps_per_epoch - 1),
            "seconds": part.train_seconds + part.val_seconds,
            "val_seconds": part.val_seconds,
            "step_seconds": part.train_seconds / self.steps_per_epoch,
        }

    def _train_steps(self, epoch: int, part: PartialEpoch) -> None:
        """The steps that the epoch still lacks."""
        optim = self.config.optim
        order = self._train[torch.randperm(len(self._train), generator=generator(self.config.seed, "order", epoch))]
        self.classifier.train()
        for clips in order.split(optim.batch_size)[part.steps :]:
            for group in self.optimizer.param_groups:
                group["lr"] = self._lr(epoch, part.steps)
            features, labels = self.data.batch(clips, self._padding)
            features = spec_augment(features, optim.freq_mask, optim.time_mask, part.augment)
            losses = loss_per_clip(self._forward(features), labels)
            losses.mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            part.total += losses.detach().sum()  # stays on the device: no wait per step
            part.steps += 1
            self._stop_if_interrupted()

    def _augment(self, epoch: int) -> torch.Generator:
        return generator(self.config.seed, "augment", epoch, self.device)

    def _lr(self, epoch: int, index: int) -> float:
        """Learning rate of step `index` (from 0) of an epoch (from 1)."""
        optim, steps = self.config.optim, self.steps_per_epoch
        return cosine_lr((epoch - 1) * steps + index, optim.epochs * steps, optim.lr)

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            raise Interrupted(f"interrupted after {len(self.records)} of {self.config.optim.epochs} epochs")

    def _forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.classifier(features).float()

    def _check_scorable(self) -> None:
        for side, clips in (("validation", self._val), ("test", self._test)):
            labels = self.data.labels[clips.to(self.device)]
            if labels.ndim == 2 and math.isnan(score(torch.zeros_like(labels), labels)):
                raise DataError(
                    f"{self.data.inputs.name}: no class has a positive and a negative {side} clip: mAP is not defined; "
                    "label more clips, or divide them otherwise"
                )

    def _check_finite(self, which: str, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            last = f"last good record {self.records[-1]}" if self.records else "no epoch was good"
            raise NonFiniteLossError(
                f"{which} loss is {loss} in epoch {epoch}; {last}; lower optim.lr ({self.config.optim.lr})"
            )

    def _is_best(self, record: Record) -> bool:
        best = self.records[self.best_epoch - 1] if self.best_epoch else None
        if best is None or "last_epoch" in self.config.faithful:  # published: the "best" weights follow the last ones
            return True
        return (record["val_accuracy"], -record["val_loss"]) > (best["val_accuracy"], -best["val_loss"])

    def save_adapter(self, path: Path) -> None:
        """Write what is trained, as it is now, for `export` and `predict`."""
        save_tensors(path, self.classifier.tensors(), {**self._identity, "bf16": self.bf16})

    def _save(self, part: PartialEpoch | None = None) -> None:
        """Write the checkpoint; `part`: the epoch after the last record, where it is not finished."""
        if self._checkpoint is None:
            return
        tensors = pack(self.classifier, self.optimizer, self.best)
        metadata = {**self._identity, "bf16": self.bf16, "records": self.records, "best_epoch": self.best_epoch}
        if part is not None:
            tensors |= part.tensors()
            metadata["unfinished"] = part.facts()
        save_tensors(self._checkpoint, tensors, metadata)

    def _resume(self, checkpoint: Path) -> None:
        """Raises DamagedError before anything of the trial is changed."""
        length = self.config.optim.epochs, self.steps_per_epoch
        saved, facts = read_state(checkpoint, self.classifier, self._identity, *length)
        if "unfinished" in facts:
            augment = self._augment(len(facts["records"]) + 1)
            self._unfinished = PartialEpoch.restored(saved, facts["unfinished"], augment)
        self.bf16 = facts["bf16"]  # a trial keeps its precision when it moves between a GPU and a CPU
        self.best = unpack(saved.tensors, self.classifier, self.optimizer)
        self.records, self.best_epoch = [dict(record) for record in facts["records"]], facts["best_epoch"]
        self.resumed_epochs = len(self.records)


def _use_bf16(precision: str, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16"
