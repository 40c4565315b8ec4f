"""Bundles, configurations, adapters of a run, checkpoints and backbones, damaged: see damaged_files.py.

Bytes are damaged as on a full disk or a bad line, or what a JSON or YAML file says is distorted; a checkpoint and an
adapter are then written anew, with a checksum that is right.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from safetensors.torch import load_file, save_file

from astmoa.backbone.frozen import load_backbone
from astmoa.bundles.export import export
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig, complete, read_config
from astmoa.methods.params import check_size
from astmoa.study import reproduce
from astmoa.study.train_one import train_one
from astmoa.training.checkpoint import load_tensors, save_tensors
from astmoa.training.inputs import DeviceData, open_inputs
from astmoa.training.trial import CHECKPOINT, Trial
from tests.helpers import journals
from tests.helpers.damage import damage, distort
from tests.helpers.tiny import make_model

torch.set_num_threads(1)
reproduce.train_one = lambda *_: sys.exit(0)  # a bundle that comes so far was read
FILES = ("config.yaml", "labels.json", "bundle.json", "adapter.safetensors")
WEIGHTS, PICKLE, INDEX = "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"


@functools.cache
def whole() -> Path:
    """A folder with sounds, a tiny backbone, and a trial with its bundle."""
    place = Path(tempfile.mkdtemp(prefix="damaged-whole-"))
    atexit.register(shutil.rmtree, place)  # children end without
    os.environ["ASTMOA_CACHE"] = str(place / "cache")
    (place / "sounds").mkdir()
    noise, rows = np.random.default_rng(0), ["path,label,split"]
    for split in ("train", "val", "test"):
        for label, pitch in (("low", 300), ("middle", 1000), ("high", 3000)):
            tone = np.sin(2 * np.pi * pitch * np.arange(8_000) / 16_000) + 0.01 * noise.normal(size=8_000)
            soundfile.write(place / "sounds" / f"{split}-{label}.wav", 0.3 * tone, 16_000)
            rows.append(f"{split}-{label}.wav,{label},{split}")
    (place / "sounds" / "manifest.csv").write_text("\n".join(rows))
    make_model().save_pretrained(place / "backbone")
    with contextlib.redirect_stdout(None):
        train_one(trial_config(place), place / "trial", as_json=True)
    return place


def trial_config(place: Path) -> TrialConfig:
    return complete(
        TrialConfig(
            data=DataConfig("csv", str(place / "sounds"), seconds=0.5),
            backbone=BackboneConfig(str(place / "backbone")),
            method=MethodConfig("soft_moa", 4, 2, 2),
            optim=OptimConfig(epochs=2, batch_size=2),
        )
    )


def spoil(path: Path, rng: random.Random) -> None:
    """Damage a file's bytes, or distort what it says."""
    if rng.random() < 0.5:
        path.write_bytes(damage(path.read_bytes(), rng))
    elif path.suffix == ".json":
        path.write_text(json.dumps(distort(json.loads(path.read_text()), rng)))
    elif path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(distort(yaml.safe_load(path.read_text()), rng)))
    else:
        tensors, metadata = load_tensors(path)
        save_tensors(path, tensors_distorted(tensors, rng), distort(metadata, rng))


def tensors_distorted(tensors: dict[str, torch.Tensor], rng: random.Random) -> dict[str, torch.Tensor]:
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    name = rng.choice(sorted(changed))
    tensor = changed.pop(name)
    kinds: tuple[Callable[[torch.Tensor], torch.Tensor | None], ...] = (
        lambda t: None,
        lambda t: t.flatten()[:1].clone(),
        lambda t: t.half(),
        lambda t: t.to(torch.int32),
        lambda t: t.float() * float("nan"),
        lambda t: t.float() + float("inf"),
        lambda t: t.float() * 1e30,
        lambda t: t[None].clone(),
        lambda t: torch.zeros(0),
        lambda t: torch.zeros(10**6),
    )
    made = rng.choice(kinds)(tensor)
    return changed if made is None else changed | {name: made}


def bundle(folder: Path, rng: random.Random) -> Any:
    """Predicted with, or checked to be trained again."""
    shutil.copytree(whole() / "trial" / "bundle", folder / "bundle")
    for name in rng.sample(FILES, rng.choice((1, 1, 2))):
        spoil(folder / "bundle" / name, rng)
    if rng.random() < 0.3:
        return ["reproduce", str(folder / "bundle")]
    return ["predict", str(folder / "bundle"), str(whole() / "sounds" / "test-low.wav")]


def config(folder: Path, rng: random.Random) -> Any:
    """Read as `astmoa train --config` does; training it would take as long as it says."""
    shutil.copy(whole() / "trial" / "bundle" / "config.yaml", folder)
    spoil(folder / "config.yaml", rng)
    shape = load_backbone(str(whole() / "backbone")).shape
    return lambda: check_size(complete(read_config(folder / "config.yaml")).method, shape)


def adapter(folder: Path, rng: random.Random) -> Any:
    """Exported from a run."""
    header, *rest = journals.sweep_events([journals.Trial("a0", journals.config(1), 1_000, 0.5, name="a")])
    data = {"name": "csv", "fingerprint": "f", "labels": ["low", "middle", "high"], "seconds": 0.5}
    journals.write(folder / "run", [header | {"data": data}, *rest])
    trial = folder / "run" / "trials" / "a0"
    trial.mkdir(parents=True)
    shutil.copy(whole() / "trial" / "adapter.safetensors", trial)
    spoil(trial / "adapter.safetensors", rng)
    return lambda: export(folder / "run", "best", folder / "out")


def checkpoint(folder: Path, rng: random.Random) -> Any:
    """Gone on from, or begun anew."""
    shutil.copy(whole() / "trial" / CHECKPOINT, folder)
    spoil(folder / CHECKPOINT, rng)
    inputs, backbone = trial_parts()
    return functools.partial(open_trial, folder, inputs, backbone)


@functools.cache
def trial_parts() -> tuple[Any, Any]:
    settings = trial_config(whole())
    return open_inputs(settings.data, progress=False), load_backbone(settings.backbone.name)


def open_trial(folder: Path, inputs: Any, backbone: Any) -> None:
    with Trial(trial_config(whole()), backbone, DeviceData(inputs, torch.device("cpu")), folder) as trial:
        assert (trial.note is None) == (trial.resumed_epochs > 0), trial.note
        trial.test() if trial.records else next(trial.epochs())


def backbone(folder: Path, rng: random.Random) -> Any:
    """Loaded, and one clip goes through it."""
    shutil.copytree(whole() / "backbone", folder / "backbone")
    path = folder / "backbone" / rng.choice(("config.json", WEIGHTS, PICKLE, INDEX))
    state = load_file(folder / "backbone" / WEIGHTS)
    if path.name in (PICKLE, INDEX):
        (folder / "backbone" / WEIGHTS).unlink()
    if path.name == PICKLE:
        torch.save(state, path)
    if path.name == INDEX:
        save_file(state, path.with_name("model-1.safetensors"))
        path.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(state, "model-1.safetensors")}))
    if path.suffix == ".json":
        spoil(path, rng)
    elif path.name == WEIGHTS and rng.random() < 0.3:
        save_file(tensors_distorted(state, rng), path)
    else:
        path.write_bytes(damage(path.read_bytes(), rng))
    return functools.partial(load_and_use, folder / "backbone")


def load_and_use(folder: Path) -> None:
    loaded = load_backbone(str(folder))
    loaded.fit_positions(98)
    loaded.model(torch.zeros(1, 98, 128))


KINDS = {
    "bundle": bundle,
    "config": config,
    "adapter": adapter,
    "checkpoint": checkpoint,
    "backbone": backbone,
}
