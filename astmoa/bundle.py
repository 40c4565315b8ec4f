"""A trained trial as a folder that reloads, predicts and trains again.

config.yaml            the trial, complete: `astmoa train --config config.yaml` trains it again
adapter.safetensors    every trained tensor of the best epoch, by the names of AdaptedClassifier.tensors
labels.json            class names in the order of the logits
bundle.json            what it was trained on and with, and what it reached
README.md              the commands
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from astmoa.backbone import Backbone
from astmoa.config import TrialConfig
from astmoa.errors import BackboneError, RunError

ADAPTER = "adapter.safetensors"


def write_bundle(out: Path, config: TrialConfig, adapter: Path, labels: list[str], facts: dict[str, Any]) -> Path:
    """Write the folder whole or not at all; an older bundle at the same place is replaced, anything else refused."""
    out = Path(out)
    if out.exists() and not (out / "bundle.json").is_file():
        raise RunError(f"{out} exists and is no exported bundle; choose another --out")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        shutil.copyfile(adapter, temporary / ADAPTER)
        (temporary / "config.yaml").write_text(yaml.safe_dump(_anywhere(config).to_dict(), sort_keys=False))
        (temporary / "labels.json").write_text(json.dumps(list(labels), indent=1) + "\n")
        (temporary / "bundle.json").write_text(json.dumps(facts, indent=1) + "\n")
        (temporary / "README.md").write_text(_readme(config, facts))
        old = out.with_name(f".{out.name}.{os.getpid()}.old")
        if out.exists():
            out.rename(old)
        temporary.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _anywhere(config: TrialConfig) -> TrialConfig:
    """The same trial with absolute paths: a bundle is used from other folders than the sweep was started in."""
    data, backbone = config.data, config.backbone
    if data.root is not None:
        data = dataclasses.replace(data, root=str(Path(data.root).resolve()))
    if Path(backbone.name).is_dir() and backbone.name != "builtin":
        backbone = dataclasses.replace(backbone, name=str(Path(backbone.name).resolve()))
    return dataclasses.replace(config, data=data, backbone=backbone)


def read_bundle(bundle: Path) -> tuple[TrialConfig, list[str], dict[str, Any]]:
    """The trial, its labels, and the facts of bundle.json. Raises RunError if a file is missing or damaged."""
    bundle = Path(bundle)
    try:
        config = TrialConfig.from_dict(yaml.safe_load((bundle / "config.yaml").read_text()))
        labels: list[str] = json.loads((bundle / "labels.json").read_text())
        facts: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())
        for part, key in (("backbone", "fingerprint"), ("data", "fingerprint"), ("data", "seconds")):
            if key not in facts[part]:
                raise ValueError(f"bundle.json does not say {part}.{key}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{error.filename} is missing: give a folder that `astmoa export` wrote") from None
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise RunError(f"{bundle} is damaged ({str(error).splitlines()[0]}): export it again") from None
    return config, labels, facts


def check_backbone(backbone: Backbone, facts: dict[str, Any], bundle: Path) -> None:
    """Raises BackboneError if it is not the one that the bundle was trained on."""
    wanted = facts["backbone"]["fingerprint"]
    if backbone.fingerprint != wanted:
        raise BackboneError(
            f"backbone {backbone.name!r} has fingerprint {backbone.fingerprint}, {bundle} was trained on {wanted}: "
            "give it the same weights"
        )


def _readme(config: TrialConfig, facts: dict[str, Any]) -> str:
    metric, point = facts["data"].get("metric", "accuracy"), facts.get("point")
    scores = f"Validation {metric} {facts['val_accuracy']:.4f}"
    if facts["test_accuracy"] is not None:
        scores += f", test {metric} {facts['test_accuracy']:.4f}"
    several = ""
    if point is not None and point["num_replicates"] > 1:
        several = (
            f"Its configuration: {point['val_accuracy']:.4f} [{point['val_interval'][0]:.4f}, "
            f"{point['val_interval'][1]:.4f}] over {point['num_replicates']} {point['replicates']}"
        )
        if point["front_probability"] is not None:
            several += f", on the front with probability {point['front_probability']:.2f}"
        several += ".\n"
    return f"""# {facts["label"]} ({config.method.name}), {facts["pick"]} of {facts["study"]}

{scores} (seed {config.seed}, fold {config.data.fold});
{facts["params"]["num_trainable_params"]:,} trained parameters in the frozen backbone {config.backbone.name}.
{several}
    astmoa predict . clip.wav           # labels with probabilities
    astmoa train --config config.yaml   # train it again
    astmoa reproduce .                  # train it again and compare
"""
