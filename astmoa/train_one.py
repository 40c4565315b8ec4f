"""One trial in this process, without Ray: what `astmoa train` does."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from astmoa.backbone import load_backbone
from astmoa.bundle import ADAPTER, check_replaceable, write_bundle
from astmoa.config import TrialConfig
from astmoa.errors import RunError
from astmoa.lock import hold
from astmoa.petl.params import check_size
from astmoa.provenance import git_commit, machine, versions
from astmoa.records import end_interval
from astmoa.text import printable
from astmoa.training.inputs import DeviceData, open_inputs
from astmoa.training.trial import Trial

BUNDLE = "bundle"
"""In a trial's folder."""


def train_one(config: TrialConfig, out: Path | None, as_json: bool = False) -> dict:
    """Train and test `config`, print a line per epoch, and with `out` keep a checkpoint and the bundle there.

    Raises RunError where another process has `out`.
    """
    with hold(out) if out is not None else contextlib.nullcontext():
        return _train_one(config, out, as_json)


def _train_one(config: TrialConfig, out: Path | None, as_json: bool) -> dict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(config.backbone.name)
    check_size(config.method, backbone.shape)
    if out is not None:
        check_out(out)
    inputs = open_inputs(config.data)
    backbone.fit_positions(inputs.num_frames)
    params = check_size(config.method, backbone.shape, len(inputs.label_names)).to_dict()
    backbone.model.to(device)
    start = time.perf_counter()
    with Trial(config, backbone, DeviceData(inputs, device), out) as trial:
        if inputs.bad_clips and not as_json:
            print(f"{len(inputs.bad_clips)} unreadable clip{'s' * (len(inputs.bad_clips) > 1)} left out")
        if trial.note:
            print(printable(f"warning: {trial.note}"), file=sys.stderr)
        if not as_json:
            print(
                f"{config.method.name}: {params['num_trainable_params']:,} trainable parameters, "
                f"{config.optim.epochs} epochs"
            )
        for record in trial.epochs():
            print(json.dumps(record) if as_json else _line(record, trial, start), flush=True)
        end = {**trial.test(), "params": params}
        print(
            json.dumps(end)
            if as_json
            else f"best epoch {end['best_epoch']}: val {end['val_accuracy']:.4f}, test {end['test_accuracy']:.4f}"
        )
        if out is not None:
            trial.save_adapter(out / ADAPTER)
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
            if not as_json:
                print(f"bundle: {bundle}")
    return end


def check_out(out: Path) -> None:
    """Write into the folder, before anything is read or trained. Raises RunError where that is not possible or its
    bundle could not be replaced in the end."""
    try:
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"{out} cannot be written ({why}): make room or mend the path, or choose another --out"
        ) from None
    check_replaceable(out / BUNDLE)


def _line(record: dict, trial: Trial, start: float) -> str:
    epoch, num_epochs, metric = record["epoch"], trial.config.optim.epochs, trial.data.inputs.metric
    here = max(1, epoch - trial.resumed_epochs)  # epochs of an earlier call cost this one nothing
    left = (time.perf_counter() - start) / here * (num_epochs - max(epoch, trial.resumed_epochs))
    return (
        f"epoch {epoch:>3}/{num_epochs}  train loss {record['train_loss']:.4f}  "
        f"val loss {record['val_loss']:.4f}  "
        f"val {metric} {record['val_accuracy']:.4f}  {record['seconds']:.1f} s, about {left:.0f} s left"
    )
