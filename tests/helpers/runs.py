"""Run folders and sounds, made here."""

import csv
import re

import numpy as np
import soundfile
import torch

from astmoa.records.load import load_sweep
from astmoa.training.checkpoint import save_tensors
from tests.helpers import journals

DATA = {"name": "csv", "fingerprint": "f", "labels": ["a", "b"], "seconds": 1.0}


def write_tones(folder, per_split=(6, 3, 3)):
    """A csv data set of three pitches, in different lengths, rates and channel counts."""
    rng = np.random.default_rng(0)
    rows = []
    for split, count in zip(("train", "val", "test"), per_split, strict=True):
        for label, pitch in (("low", 300), ("middle", 1000), ("high", 3000)):
            for index in range(count):
                rate = (16_000, 22_050, 44_100)[index % 3]
                time = np.arange(int(rate * rng.uniform(0.3, 0.7))) / rate
                tone = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time) + 0.01 * rng.normal(
                    size=len(time)
                )
                name = f"{split}-{label}-{index}.wav"
                soundfile.write(folder / name, np.stack([tone] * (1 + index % 2), axis=1), rate)
                rows.append((name, label, split))
    with open(folder / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return folder


def write_drums(folder, number):
    """Noise that is called after a drum and a player, as docs/examples/my_sounds.py has it; so many clips of each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for drum in ("kick", "snare"):
        for player in ("anna", "berit", "cornelius"):
            for index in range(number):
                wave = 0.1 * rng.normal(size=8000)
                soundfile.write(folder / f"{drum}-{player}-{index}.wav", wave, 16_000)
    return folder


def write_sweep(run_dir, trials, events=journals.sweep_events):
    """A run folder whose adapters hold nothing but a head, and their trial's id."""
    header, *rest = events(trials)
    journals.write(run_dir, [header | {"data": DATA}, *rest])
    for trial in load_sweep(run_dir).trials:
        folder = run_dir / "trials" / trial.trial_id
        folder.mkdir(parents=True)
        head = {"head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2)}
        save_tensors(folder / "adapter.safetensors", head, {"trial_id": trial.trial_id})
    return run_dir


def trial_id(name, seed):
    """A name that can be part of a path."""
    return f"{name if re.fullmatch('[a-z0-9-]+', name) else name.encode().hex()}{seed}"


def trials_of(points, **changes):
    return [
        journals.Trial(trial_id(name, seed), journals.config(experts, seed=seed), size, accuracy, name=name, **changes)
        for experts, (name, (size, accuracies)) in enumerate(points.items(), 1)
        for seed, accuracy in enumerate(accuracies)
    ]
