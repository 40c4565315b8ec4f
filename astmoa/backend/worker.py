"""A warm worker: one process that runs trial after trial.

It unpacks the backbone and puts the features on the device once; between trials only the graft changes. Ray keeps the
process (`reuse_actors`), and nothing of one trial is left for the next: a trial owns its modules, its optimiser and its
random streams, and takes its modules out again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from astmoa.backbone.frozen import PackedBackbone
from astmoa.backend.result import Result
from astmoa.config import TrialConfig, complete
from astmoa.config.own_code import receive, sources
from astmoa.errors import AstmoaError, Interrupted, NonFiniteLossError, RunError
from astmoa.provenance import package_hash, redact
from astmoa.records.journal import NAME as JOURNAL
from astmoa.records.predictions import NAME as PREDICTIONS
from astmoa.records.storage import Store
from astmoa.training.inputs import DeviceData, Inputs
from astmoa.training.trial import CHECKPOINT, Trial

ADAPTER = "adapter.safetensors"
PATIENCE = 120.0
"""Seconds that a store may be out of reach before a trial fails for it."""


def _umask() -> int:
    mask = os.umask(0o077)  # there is no other way to ask for it
    os.umask(mask)
    return mask


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
    package: str
    """Hash of the driver's package: a worker of another version would train something else."""
    store: Store | None = None
    """Storage of trials, if not a `run_dir` that all machines see."""
    own_code: Mapping[str, Mapping[str, str]] = field(default_factory=sources)
    """Sources of methods from outside: no other machine needs their files."""
    umask: int = field(default_factory=_umask)
    """The driver's: Ray's processes close to others what they write; the run folder is as open as its owner wants."""


class TrialWorker(tune.Trainable):
    """Ray's view of a trial: `step` is one epoch, its result {"news": Result}."""

    # Ray declares it without what `tune.with_parameters` adds.
    def setup(self, config: dict[str, Any], setup: WorkerSetup) -> None:  # type: ignore[override]
        os.umask(setup.umask)
        _check_machine(setup)
        receive(setup.own_code)
        torch.set_num_threads(setup.cpu_threads)
        self._setup = setup
        device = torch.device(setup.device)
        self._backbone = setup.backbone.unpack(device)
        self._data = DeviceData(setup.inputs, device)
        self._trial: Trial | None = None
        self._epochs: Iterator[dict[str, Any]] = iter(())
        self._scratch = Path(tempfile.mkdtemp(prefix="astmoa-")) if setup.store else None
        self._in_step = self._noticed = False
        self._before = signal.signal(signal.SIGTERM, self._on_notice)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._finish()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self._in_step, done_now = True, False
        try:
            if self._noticed:  # while the trial before this one was ending
                raise Interrupted
            if self._trial is None:
                self._trial = self._open_trial()
                if self._noticed:  # while it was being opened
                    self._trial.interrupt()
                self._epochs = self._trial.epochs()
                self._earlier = self._trial.spent  # before it was resumed
            record = next(self._epochs)
            done_now = record["epoch"] > self._trial.resumed_epochs
            if self._trial.note and record["epoch"] == 1:
                record = {**record, "note": self._trial.note}
            self._keep(CHECKPOINT)  # before the journal knows of the epoch
            if record["epoch"] < self._trial.config.optim.epochs:
                return {"news": Result(record, None, self._device_seconds(), done_now), "done": False}
            end = {"state": "completed", **self._trial.test(), "error": None}
            self._trial.save_adapter(self._folder / ADAPTER)
            assert self._trial.predictions is not None  # tested
            self._trial.predictions.save(self._folder / PREDICTIONS)
            for file in (ADAPTER, PREDICTIONS):
                self._keep(file)
        except Interrupted:
            with contextlib.suppress(RunError):  # then it goes on from its last whole epoch
                self._keep(CHECKPOINT, patience=30.0)
            self.cleanup()
            ray.actor.exit_actor()
        except torch.OutOfMemoryError as error:
            record, end = None, _out_of_memory(error)
        except AstmoaError as error:
            # The trial failed, the worker did not: report it as a result and stay warm.
            again = not isinstance(error, NonFiniteLossError)  # it would diverge again
            record, end = None, {"state": "failed", "error": redact(str(error).splitlines()[0]), "retry": again}
        finally:
            self._in_step = False
        news = Result(record, end, self._device_seconds(), done_now)
        self._finish()
        return {"news": news, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial writes its own checkpoint after every epoch, into the run folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: see save_checkpoint."""

    def cleanup(self) -> None:
        self._finish()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _begin(self, config: dict[str, Any]) -> None:
        self._started, self._earlier = time.perf_counter(), 0.0
        self._trial_config = TrialConfig.from_dict(config["trial"])
        self._name = f"trials/{config['trial_id']}"
        self._folder = (self._scratch or Path(self._setup.run_dir)) / self._name
        self._share = 1.0 if config["alone"] else self._setup.device_share
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def _open_trial(self) -> Trial:
        if self._setup.store is not None:
            self._setup.store.get(f"{self._name}/{CHECKPOINT}", self._folder / CHECKPOINT, PATIENCE)
        return Trial(complete(self._trial_config), self._backbone, self._data, self._folder)

    def _keep(self, file: str, patience: float = PATIENCE) -> None:
        """Put a file of the trial where any other machine can go on from it."""
        if self._setup.store is not None and (self._folder / file).is_file():
            self._setup.store.put(self._folder / file, f"{self._name}/{file}", patience)

    def _on_notice(self, number: int, frame: Any) -> None:
        """SIGTERM: the machine is about to be taken away, or Ray to be stopped. Save what is trained, then leave."""
        if self._in_step and not self._noticed:  # whoever insists gets what he wants
            self._noticed = True
            if self._trial is not None:
                self._trial.interrupt()
        elif callable(self._before):
            self._before(number, frame)
        else:
            os._exit(128 + number)

    def _device_seconds(self) -> float:
        return (self._earlier + time.perf_counter() - self._started) * self._share

    def _finish(self) -> None:
        if self._trial is not None:
            self._trial.close()
        self._trial, self._epochs = None, iter(())
        if self._scratch is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # a fractional GPU is shared: give the others what this trial no longer needs


def _check_machine(setup: WorkerSetup) -> None:
    """A machine that joined after the sweep had looked at all of them. Raises RunError."""
    here = socket.gethostname()
    if package_hash() != setup.package:
        raise RunError(
            f"machine {here}: its astmoa is {package_hash()}, the driver's {setup.package}: install the same (ray up)"
        )
    if setup.device == "cuda" and not torch.cuda.is_available():
        raise RunError(f"machine {here}: Ray has GPUs there, torch sees none: look at nvidia-smi and the driver there")
    if setup.store is not None:
        try:
            setup.store.check()
        except RunError as error:
            raise RunError(f"machine {here}: {error}") from None
    elif not (Path(setup.run_dir) / JOURNAL).is_file():
        raise RunError(
            f"machine {here} does not see {setup.run_dir}: give --storage a folder that all machines share, or s3://..."
        )


def _out_of_memory(error: torch.OutOfMemoryError) -> dict[str, Any]:
    """The end of a trial that its device is too small for, with the memory that it would have needed at least."""
    text, peak = str(error), torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    asked = re.search(r"Tried to allocate ([\d.]+) (GiB|MiB|KiB)", text)
    more = float(asked[1]) * {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}[asked[2]] if asked else 0
    needed = f"it needs more than {(peak + more) / 2**30:.2f} GiB" if peak + more else text.splitlines()[0][:200]
    told = f"out of device memory: {needed}; lower --batch-size, or train in bf16"
    return {"state": "failed", "error": told, "retry": True, "out_of_memory": True}
