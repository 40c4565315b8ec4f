"""One trial in this process, without Ray: what `astmoa train` does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

from astmoa.backbone import load_backbone
from astmoa.config import TrialConfig
from astmoa.export import ADAPTER, write_bundle
from astmoa.petl.params import count_params
from astmoa.provenance import git_commit, machine, versions
from astmoa.records import end_interval
from astmoa.training.inputs import DeviceData, open_inputs
from astmoa.training.trial import Trial


def train_one(config: TrialConfig, out: Path | None, as_json: bool = False) -> dict:
    """Train and test `config`, print a line per epoch, and with `out` keep a checkpoint and the bundle there."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(config.backbone.name)
    inputs = open_inputs(config.data)
    backbone.fit_positions(inputs.num_frames)
    params = count_params(config.method, backbone.shape, len(inputs.label_names)).to_dict()
    backbone.model.to(device)
    start = time.perf_counter()
    with Trial(config, backbone, DeviceData(inputs, device), out) as trial:
        if inputs.bad_clips and not as_json:
            print(f"{len(inputs.bad_clips)} unreadable clip{'s' * (len(inputs.bad_clips) > 1)} left out")
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
            bundle = write_bundle(out / "bundle", config, out / ADAPTER, list(inputs.label_names), facts)
            if not as_json:
                print(f"bundle: {bundle}")
    return end


def _line(record: dict, trial: Trial, start: float) -> str:
    epoch, num_epochs, metric = record["epoch"], trial.config.optim.epochs, trial.data.inputs.metric
    here = max(1, epoch - trial.resumed_epochs)  # epochs of an earlier call cost this one nothing
    left = (time.perf_counter() - start) / here * (num_epochs - max(epoch, trial.resumed_epochs))
    return (
        f"epoch {epoch:>3}/{num_epochs}  train loss {record['train_loss']:.4f}  "
        f"val loss {record['val_loss']:.4f}  "
        f"val {metric} {record['val_accuracy']:.4f}  {record['seconds']:.1f} s, about {left:.0f} s left"
    )
