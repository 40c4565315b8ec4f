"""One trial in this process, without Ray: what `astmoa train` does."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from astmoa.backbone.frozen import load_backbone
from astmoa.bundles.bundle import ADAPTER, check_replaceable, write_bundle
from astmoa.config import CompleteTrial
from astmoa.errors import ConfigError, RunError, printable
from astmoa.files.reading import first_line
from astmoa.methods.params import check_size
from astmoa.provenance import git_commit, machine, versions
from astmoa.records.lock import hold
from astmoa.records.predictions import NAME as PREDICTIONS
from astmoa.records.trials import end_interval
from astmoa.training.inputs import DeviceData, open_inputs
from astmoa.training.trial import Trial

BUNDLE = "bundle"
"""Name of the bundle in a trial's folder."""


def train_one(config: CompleteTrial, out: Path | None, as_json: bool = False, quiet: bool = False) -> dict:
    """Train and test `config`, print a line per epoch, and with `out` keep a checkpoint and the bundle there.

    quiet: print nothing; the epochs' records are then in what is returned, under "epochs".

    Raises RunError where `out` cannot be written or another process has it, ConfigError where the machine's memory is
    too small, before anything is trained as far as that is known then.
    """
    try:
        with hold(out) if out is not None else contextlib.nullcontext():
            return _train(config, out, as_json, quiet)
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"out of device memory ({first_line(error)[:200]}): lower --optim.batch-size, or train in bf16"
        ) from error


def _train(config: CompleteTrial, out: Path | None, as_json: bool, quiet: bool) -> dict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(config.backbone.name)
    check_size(config.method, backbone.shape)
    if out is not None:
        check_out(out)
    inputs = open_inputs(config.data, progress=not quiet)
    backbone.fit_positions(inputs.num_frames)
    params = check_size(config.method, backbone.shape, len(inputs.label_names)).to_dict()
    _check_memory(params["num_trainable_params"], device)
    backbone.model.to(device)
    start = time.perf_counter()
    with Trial(config, backbone, DeviceData(inputs, device), out) as trial:
        if inputs.bad_clips and not as_json and not quiet:
            print(f"{len(inputs.bad_clips)} unreadable clip{'s' * (len(inputs.bad_clips) > 1)} left out")
        if trial.note:
            print(printable(f"warning: {trial.note}"), file=sys.stderr)
        if not as_json and not quiet:
            print(
                f"{config.method.name}: {params['num_trainable_params']:,} trainable parameters, "
                f"{config.optim.epochs} epochs"
            )
        records = []
        for record in trial.epochs():
            records.append(record)
            if not quiet:
                print(json.dumps(record) if as_json else _line(record, trial, start), flush=True)
        end = {**trial.test(), "params": params}
        if not quiet:
            print(
                json.dumps(end)
                if as_json
                else f"best epoch {end['best_epoch']}: val {end['val_accuracy']:.4f}, test {end['test_accuracy']:.4f}"
            )
        if out is not None:
            trial.save_adapter(out / ADAPTER)
            assert trial.predictions is not None  # tested
            trial.predictions.save(out / PREDICTIONS)
            facts = {
                "study": "train",
                "pick": "one trial",
                "label": config.method.name,
                "data": {
                    "name": config.data.name,
                    "fingerprint": inputs.fingerprint,
                    "seconds": inputs.seconds,
                    "metric": inputs.metric,
                },
                "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
                "params": params,
                "val_accuracy": end["val_accuracy"],
                "test_accuracy": end["test_accuracy"],
                "val_interval": end_interval(end, "val", inputs.metric),
                "cpu_threads": end["cpu_threads"],
                "machine": machine(),
                "versions": versions(),
                "git_commit": git_commit(),
            }
            bundle = write_bundle(out / BUNDLE, config, out / ADAPTER, list(inputs.label_names), facts)
            if not as_json and not quiet:
                print(f"bundle: {bundle}")
    return {**end, "epochs": records} if quiet else end


def check_out(out: Path) -> None:
    """Make the folder and write into it, before anything is read or trained. Raises RunError where that is not possible
    or its bundle could not be replaced in the end."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"{out} cannot be written ({why}): make room or mend the path, or choose another --out"
        ) from None
    check_replaceable(out / BUNDLE)


def _check_memory(num_params: int, device: torch.device) -> None:
    """Raises ConfigError where not even the parameters, their gradients and the optimiser's two moments have room."""
    free = psutil.virtual_memory().available if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
    if 16 * num_params > free:
        raise ConfigError(
            f"{num_params:,} trainable parameters need more than {16 * num_params / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free: train fewer"
        )


def _line(record: dict, trial: Trial, start: float) -> str:
    epoch, num_epochs, metric = record["epoch"], trial.config.optim.epochs, trial.data.inputs.metric
    here = max(1, epoch - trial.resumed_epochs)  # epochs of an earlier call cost this one nothing
    left = (time.perf_counter() - start) / here * (num_epochs - max(epoch, trial.resumed_epochs))
    return (
        f"epoch {epoch:>3}/{num_epochs}  train loss {record['train_loss']:.4f}  "
        f"val loss {record['val_loss']:.4f}  "
        f"val {metric} {record['val_accuracy']:.4f}  {record['seconds']:.1f} s, about {left:.0f} s left"
    )
