"""A warm worker: one process that runs trial after trial.

It unpacks the backbone and puts the features on the device once; between trials only the graft changes. Ray keeps the
process (`reuse_actors`), and nothing of one trial is left for the next: a trial owns its modules, its optimiser and its
random streams, and takes its modules out again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from astmoa.backbone import PackedBackbone
from astmoa.config import TrialConfig
from astmoa.errors import AstmoaError, NonFiniteLossError
from astmoa.training.inputs import DeviceData, Inputs
from astmoa.training.trial import Trial

ADAPTER = "adapter.safetensors"


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker of a sweep starts from; it travels through Ray's object store once per node."""

    inputs: Inputs
    backbone: PackedBackbone
    run_dir: str
    device: str
    """cuda or cpu: what the trial was given, not what the machine has."""
    cpu_threads: int
    device_share: float
    """GPUs, or CPUs where there is no GPU, that one trial holds: the factor from seconds to device-seconds."""


@dataclass(frozen=True)
class News:
    """One result: an epoch's record, with the last one its end, or the end alone of a trial that failed. An object,
    because Ray flattens dictionaries."""

    record: dict[str, Any] | None
    end: dict[str, Any] | None
    device_seconds: float
    """That the trial has held its share of the device so far, earlier runs included."""


class TrialWorker(tune.Trainable):
    """Ray's view of a trial: `step` is one epoch, its result {"news": News}."""

    def setup(self, config: dict[str, Any], setup: WorkerSetup) -> None:
        torch.set_num_threads(setup.cpu_threads)
        self._setup = setup
        device = torch.device(setup.device)
        self._backbone = setup.backbone.unpack(device)
        self._data = DeviceData(setup.inputs, device)
        self._trial: Trial | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._finish()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            if self._trial is None:
                self._trial = Trial(self._trial_config, self._backbone, self._data, self._folder)
                self._epochs = self._trial.epochs()
                self._earlier = sum(record["seconds"] for record in self._trial.records)  # before it was resumed
            record = next(self._epochs)
            if record["epoch"] < self._trial.config.optim.epochs:
                return {"news": News(record, None, self._device_seconds()), "done": False}
            end = {"state": "completed", **self._trial.test(), "error": None}
            self._trial.save_adapter(self._folder / ADAPTER)
        except (AstmoaError, torch.OutOfMemoryError) as error:
            # The trial failed, the worker did not: report it as a result and stay warm.
            again = not isinstance(error, NonFiniteLossError)  # it would diverge again
            record, end = None, {"state": "failed", "error": str(error).splitlines()[0], "retry": again}
        news = News(record, end, self._device_seconds())
        self._finish()
        return {"news": news, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial writes its own checkpoint after every epoch, into the run folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: see save_checkpoint."""

    def cleanup(self) -> None:
        self._finish()

    def _begin(self, config: dict[str, Any]) -> None:
        self._started, self._earlier = time.perf_counter(), 0.0
        self._trial_config = TrialConfig.from_dict(config["trial"])
        self._folder = Path(self._setup.run_dir) / "trials" / config["trial_id"]

    def _device_seconds(self) -> float:
        return (self._earlier + time.perf_counter() - self._started) * self._setup.device_share

    def _finish(self) -> None:
        if self._trial is not None:
            self._trial.close()
        self._trial = self._epochs = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # a fractional GPU is shared: give the others what this trial no longer needs
