"""Small sweeps on Ray."""

from __future__ import annotations

import dataclasses
import os

import torch

from astmoa.config import MethodConfig, OptimConfig, TrialConfig
from astmoa.config.proposals import Point, replicate
from astmoa.training.inputs import DeviceData
from astmoa.training.trial import Trial
from tests.helpers.machines import Rig, rigged
from tests.helpers.tiny import make_inputs, make_model

TEMPLATE = TrialConfig(optim=OptimConfig(epochs=3, batch_size=8, lr=1e-2, freq_mask=0, time_mask=0))


POINTS = [Point("2/2", MethodConfig("soft_moa", 2, 2, 2)), Point("4/1", MethodConfig("soft_moa", 4, 1, 2))]


HEADER = {
    "format": 1,
    "sweep_id": "test",
    "study": "tiny",
    "data": {"name": "tiny", "fingerprint": "f"},
    "backbone": {"name": "tiny"},
}


def backbone():
    from astmoa.backbone.frozen import Backbone

    return Backbone(make_model(), "tiny")


def proposals(points=POINTS, seeds=(0, 1), **optim):
    template = dataclasses.replace(TEMPLATE, optim=dataclasses.replace(TEMPLATE.optim, **optim))
    return replicate(points, template, seeds, (1,))


def run(run_dir, trials, header=HEADER, inputs=None, **options):
    from astmoa.backend.run_sweep import run_sweep

    return run_sweep(run_dir, header, trials, inputs or make_inputs(), backbone(), **options)


def directly(config, trials_at_once):
    """The same trial without Ray, on a cold backbone, with as many threads as a worker has: sums depend on them."""
    torch.set_num_threads(max(1, os.cpu_count() // trials_at_once))
    with Trial(config, backbone(), DeviceData(make_inputs(), torch.device("cpu"))) as trial:
        records = [{k: v for k, v in record.items() if "seconds" not in k} for record in trial.epochs()]
        end = {k: v for k, v in trial.test().items() if "seconds" not in k}
        return records, end, {name: p.detach().clone() for name, p in trial.classifier.trainable.items()}


EPOCHS = 20


def rig_of(run_dir):
    """Every trial waits before its last epoch for the gate: as long as that is shut, a test cannot come too late."""
    return Rig(run_dir.parent, gated=[p.trial_id for p in proposals(epochs=EPOCHS)])


def gated(run_dir):
    return run(run_dir, proposals(epochs=EPOCHS), inputs=rigged(make_inputs(), rig_of(run_dir)), trials_at_once=2)
