"""A trained trial as a folder that reloads, predicts and trains again.

config.yaml            the trial, complete: `astmoa train --config config.yaml` trains it again
adapter.safetensors    every trained tensor of the best epoch, by the names of AdaptedClassifier.tensors
labels.json            class names in the order of the logits
bundle.json            what it was trained on and with, and what it reached
README.md              the commands

A folder may be anybody's: what is in it is read as data, with bounds, and whatever is wrong with it is one line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from astmoa.backbone.frozen import Backbone
from astmoa.bundles.facts import Facts, check_facts, check_labels
from astmoa.config import TrialConfig, code_named, load_config
from astmoa.config.own_code import REGISTERS, sources
from astmoa.errors import BackboneError, ConfigError, RunError, printable
from astmoa.files.reading import read_bytes, read_json
from astmoa.files.register import LARGEST, digest
from astmoa.methods.tensors import not_finite
from astmoa.report.words import markdown
from astmoa.training.checkpoint import DamagedError, Saved, open_tensors

ADAPTER = "adapter.safetensors"
OWN_CODE = {"methods": ("method", "method.py"), "layouts": ("data", "layout.py")}
"""By kind, what names it in config.yaml, and the file with its source: run for whoever trusts the bundle's author."""
_MOST_BYTES = 4 << 20
_STALE_SECONDS = 3600  # no bundle takes as long to write


def write_bundle(out: Path, config: TrialConfig, adapter: Path, labels: list[str], facts: dict[str, Any]) -> Path:
    """Write the folder whole or not at all; an older bundle at the same place is replaced, anything else refused.

    Raises RunError with the folder's name where it cannot be written (the disk is full, say).
    """
    out = Path(out)
    check_replaceable(out)
    try:
        check_labels(labels)
    except ValueError as error:
        raise RunError(f"{out}: these labels cannot be exported ({error})") from None
    files = {
        "config.yaml": yaml.safe_dump(_anywhere(config).to_dict(), sort_keys=False),
        "labels.json": json.dumps(list(labels), indent=1) + "\n",
        "bundle.json": json.dumps(facts, indent=1) + "\n",
        "README.md": _readme(config, facts),
    }
    for kind, (section, file) in OWN_CODE.items():
        part = getattr(config, section)
        if part.code is not None and part.name in sources()[kind]:
            files[file] = sources()[kind][part.name]
    place = _real(out)  # a link stays one
    temporary = _beside(place, "tmp")
    try:
        temporary.mkdir(parents=True)
        with open(adapter, "rb") as source, open(temporary / ADAPTER, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8")
        _swap(temporary, place)
        _remove_stale(place)
    except OSError as error:
        raise RunError(
            f"{out} cannot be written ({error.strerror or error}): make room or mend the path, then export again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def check_replaceable(out: Path) -> None:
    """Raises RunError where something else than a bundle stands in `out`'s place."""
    if Path(out).exists() and not (Path(out) / "bundle.json").is_file():
        raise RunError(f"{out} exists and is no exported bundle; choose another --out")


def _swap(temporary: Path, out: Path) -> None:
    """Put the new folder in the place of the old one. A kill in between leaves the old one to `_restore`."""
    moved = []
    for last in (False, False, True):
        _restore(out)
        check_replaceable(out)
        if out.exists():
            moved.append(_beside(out, "old"))
            out.rename(moved[-1])
        try:
            temporary.rename(out)
            break
        except OSError:  # somebody else put one there meanwhile, or a reader the old one back
            _restore(out)
            if last:
                raise
    for old in moved:
        shutil.rmtree(old, ignore_errors=True)


def _beside(out: Path, kind: str) -> Path:
    # Not the process id: in a container it is always the same, and what a killed process left would be in the way.
    return out.with_name(f".{out.name}.{secrets.token_hex(8)}.{kind}")


def _real(out: Path) -> Path:
    return Path(os.path.realpath(out))  # unlike `resolve` it takes links that run in a circle


def _left(out: Path, kind: str) -> list[Path]:
    """What killed writers of `out` left behind, oldest first."""
    left = out.parent.glob(f".{glob.escape(out.name)}.*.{kind}")
    return sorted(left, key=lambda path: path.stat().st_mtime)


def _restore(out: Path) -> None:
    """Give a bundle its name back that a writer, killed before its new one came to that name, had moved away."""
    with contextlib.suppress(OSError):  # of two that do so, one is faster
        old = [] if out.exists() else [path for path in _left(out, "old") if (path / "bundle.json").is_file()]
        if old:
            old[-1].rename(out)


def _remove_stale(out: Path) -> None:
    with contextlib.suppress(OSError):  # another process removed it first, say: the bundle itself is written
        now = (out / "README.md").stat().st_mtime  # by the clock of whoever keeps the folder
        for path in _left(out, "tmp") + _left(out, "old"):
            if now - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _anywhere(config: TrialConfig) -> TrialConfig:
    """The same trial with absolute paths: a bundle is used from other folders than the sweep was started in."""
    data, backbone = config.data, config.backbone
    if data.root is not None:
        data = dataclasses.replace(data, root=str(Path(data.root).resolve()))
    if Path(backbone.name).is_dir() and backbone.name != "builtin":
        backbone = dataclasses.replace(backbone, name=str(Path(backbone.name).resolve()))
    return dataclasses.replace(config, data=data, backbone=backbone)


def read_bundle(bundle: Path) -> tuple[TrialConfig, list[str], Facts]:
    """The trial, its labels, and the facts of bundle.json. Raises RunError if a file is missing or damaged."""
    bundle = Path(bundle)
    _restore(_real(bundle))
    for name in ("config.yaml", "labels.json", "bundle.json", ADAPTER):
        if not os.path.exists(bundle / name):
            raise RunError(f"{bundle / name} is missing: give a folder that `astmoa export` wrote")
    path = bundle / "config.yaml"
    try:
        config = load_config(path)
        path = bundle / "labels.json"
        labels = check_labels(read_json(path, _MOST_BYTES))
        path = bundle / "bundle.json"
        facts = check_facts(read_json(path, _MOST_BYTES))
        if config.data.seconds not in (None, facts["data"]["seconds"]):
            raise ValueError(f"data.seconds is {facts['data']['seconds']:g}, in config.yaml {config.data.seconds:g}")
    except (ValueError, OSError, ConfigError) as error:
        raise RunError(f"{path} is damaged ({error}): export it again") from None
    return config, labels, facts


def trust(bundle: Path) -> None:
    """Load the method and the layout of data that a bundle brings along, if it does: this runs its author's code.

    Raises RunError where its files cannot be read, ConfigError where that is none.
    """
    for kind, (section, file) in OWN_CODE.items():
        source = Path(bundle) / file
        if not source.exists():
            continue
        try:
            name, code = code_named(Path(bundle) / "config.yaml", section)
            text = read_bytes(source, LARGEST).decode()
        except (ValueError, OSError) as error:
            raise RunError(f"{source} cannot be used ({error}): export it again") from None
        if digest(text) != code:
            raise RunError(f"{source} is not the source that this bundle was trained with: export it again")
        REGISTERS[kind].receive(name, text)


def open_adapter(path: Path, mend: str) -> Saved:
    """The trained tensors in a file, of which only names and shapes are read. Raises RunError, which ends in `mend`."""
    try:
        saved = open_tensors(path)
    except DamagedError as error:
        raise RunError(f"{error}: {mend}") from None
    if not isinstance(saved.metadata, dict) or type(saved.metadata.get("bf16", False)) is not bool:
        raise RunError(f"{path} is damaged (it does not say how it was trained): {mend}")
    return saved


def read_adapter(saved: Saved, mend: str) -> dict[str, torch.Tensor]:
    """Their values, as they were written. Raises RunError where they are not, or not finite; it ends in `mend`."""
    try:
        saved.verify()
    except DamagedError as error:
        raise RunError(f"{error}: {mend}") from None
    wrong = not_finite(saved.tensors)
    if wrong:
        raise RunError(f"{saved.path} is damaged ({wrong}): {mend}")
    return saved.tensors


def check_backbone(backbone: Backbone, facts: Facts, bundle: Path) -> None:
    """Raises BackboneError if it is not the one that the bundle was trained on."""
    wanted = printable(facts["backbone"]["fingerprint"])
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
    label, pick, study = (markdown(facts[key]) for key in ("label", "pick", "study"))
    return f"""# {label} ({config.method.name}), {pick} of {study}

{scores} (seed {config.seed}, fold {config.data.fold});
{facts["params"]["num_trainable_params"]:,} trained parameters in the frozen backbone {markdown(config.backbone.name)}.
{several}
    astmoa predict . clip.wav           # labels with probabilities
    astmoa train --config config.yaml   # train it again
    astmoa reproduce .                  # train it again and compare
"""
