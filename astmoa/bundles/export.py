"""A point of a sweep's frontier as a bundle, and the bundle as a model that predicts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from astmoa.audio.decode import load_clip, num_samples
from astmoa.audio.fbank import NUM_MEL_BINS, fbank, num_frames, padding
from astmoa.audio.standard_output import kept_clean
from astmoa.backbone.frozen import Backbone, load_backbone
from astmoa.bundles.bundle import ADAPTER, check_backbone, open_adapter, read_adapter, read_bundle, write_bundle
from astmoa.config import TrialConfig
from astmoa.config.own_code import receive
from astmoa.errors import ConfigError, RunError, printable
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.params import check_size
from astmoa.methods.tensors import difference
from astmoa.pareto import frontier
from astmoa.records import own_runs
from astmoa.records.load import load_sweep
from astmoa.records.standing import front_probabilities
from astmoa.records.storage import fetch
from astmoa.records.sweep import SweepRecord
from astmoa.records.trials import PointRecord, TrialRecord
from astmoa.training.checkpoint import Saved

_ANOTHER, _AGAIN = "pick another point, or run the sweep anew into another --out", "export it again"
_WORDS: tuple[frontier.Pick, ...] = ("best", "knee", "smallest")
PICKS = "best, knee, smallest, budget=N (such as budget=300000) or all"


def export(run_dir: Path, pick: str, out: Path, storage: str | None = None) -> Path:
    """Write the picked point of a sweep's frontier to `out` and return it; `pick` as in `pick_point`.

    Of the point's replicates the one with the highest validation accuracy is taken. Test accuracy plays no part.
    storage: the address where the run is kept, for weights that are not in `run_dir`. Default: the one that this user
    gave when he started the run on this machine; one that the journal alone names is not followed. Raises ConfigError
    for another pick, RunError when no trial has completed or its weights are gone.
    """
    sweep = load_sweep(run_dir)
    return _export([(pick_point(sweep, pick), Path(out))], sweep, run_dir, pick, storage)[0]


def export_all(run_dir: Path, out: Path, storage: str | None = None) -> list[Path]:
    """Write every point of the front to a folder of its own in `out`, named by its label; smallest first.

    Raises RunError as `export`, before anything is written.
    """
    sweep = load_sweep(run_dir)
    names: list[str] = []
    points = _front(sweep)
    for point in points:
        slug = re.sub(r"[^a-z0-9._]+", "-", point.label.lower())[:100].strip("-.") or "point"
        tries = (slug if number == 1 else f"{slug}-{number}" for number in range(1, len(points) + 1))
        names.append(next(name for name in tries if name not in names))
    named = [(point, Path(out) / name) for point, name in zip(points, names, strict=True)]
    return _export(named, sweep, run_dir, "all", storage)


def trust_run(run_dir: Path) -> None:
    """Load the methods from outside that a run brings along: this runs the code of whoever started it."""
    receive(load_sweep(run_dir).header)


def pick_point(sweep: SweepRecord, pick: str) -> PointRecord:
    """The point that `pick` names, among the front's; of a confirmed search, among those that were confirmed.

    best: highest mean validation accuracy. knee: where more parameters stop paying. smallest: the front's cheapest.
    budget=N: the most accurate with at most N trainable parameters as the papers count them, without the head.
    """
    points = _front(sweep)
    if pick.startswith("budget="):
        return _most_accurate_within(points, pick.removeprefix("budget="))
    word = next((word for word in _WORDS if word == pick), None)
    if word is None:
        raise ConfigError(f"--pick {pick} is not possible: choose {PICKS}")
    return points[frontier.pick(_scores(points), word)]


def _front(sweep: SweepRecord) -> list[PointRecord]:
    """Smallest first, never empty."""
    points = sweep.contenders()
    if not points:
        raise RunError(f"sweep {sweep.sweep_id} has no completed trial yet: go on with it by --resume, then export")
    return [points[index] for index in frontier.front(_scores(points))]


def _scores(points: Sequence[PointRecord]) -> list[tuple[int, float]]:
    return [(point.num_trainable_params, point.known_accuracy.mean) for point in points]


def _most_accurate_within(points: Sequence[PointRecord], text: str) -> PointRecord:
    if not text.isdecimal() or len(text) > 20:
        text = printable(text, 40)
        raise ConfigError(f"--pick budget={text} is not possible: give a whole number of parameters: {PICKS}")
    fitting = [point for point in points if point.paper_params <= int(text)]
    if not fitting:
        smallest = min(points, key=lambda point: point.paper_params)
        raise RunError(
            f"no point of the front has at most {int(text):,} trainable parameters (without the head): the smallest, "
            f"{smallest.label}, has {smallest.paper_params:,}; raise the budget"
        )
    return max(fitting, key=lambda point: point.known_accuracy.mean)


def _export(
    points: Sequence[tuple[PointRecord, Path]], sweep: SweepRecord, run_dir: Path, pick: str, storage: str | None
) -> list[Path]:
    trials, labels, named = [best_replicate(point) for point, _ in points], sweep.labels, sweep.header.get("storage")
    if storage is None and own_runs.follows(sweep.header, "storage", named):
        storage = named
    adapters = [fetch(Path(run_dir), f"trials/{trial.trial_id}/{ADAPTER}", storage) for trial in trials]
    for adapter in adapters:
        if not adapter.is_file():
            there = f"; its journal says that it was kept at {named}: add --storage {named} if you trust that address"
            raise RunError(f"{adapter} is gone{there if named and not storage else f': {_ANOTHER}'}")
        head = read_adapter(open_adapter(adapter, _ANOTHER), _ANOTHER).get("head.bias")
        if head is None or list(head.shape) != [len(labels)]:
            raise RunError(f"{adapter} has not one output for each of {len(labels)} classes: {_ANOTHER}")
    probabilities = front_probabilities(sweep)
    bundles = []
    for (point, out), trial, adapter in zip(points, trials, adapters, strict=True):
        facts = {"pick": pick, **_facts(sweep, point, trial, probabilities.get(point.point))}
        config = TrialConfig.from_dict(trial.config)
        bundles.append(write_bundle(out, config, adapter, labels, facts))
    return bundles


def _facts(
    sweep: SweepRecord, point: PointRecord, trial: TrialRecord, front_probability: float | None
) -> dict[str, Any]:
    """What a bundle records. val_accuracy and val_interval (over its clips) are the trial's, `point` is its point's."""
    spread = point.known_accuracy
    hidden = sweep.is_search and not point.confirmed  # the test says something about chosen points only
    return {
        "sweep": sweep.sweep_id,
        "study": sweep.study,
        "label": trial.label,
        "data": sweep.header["data"],
        "backbone": sweep.header["backbone"],
        "params": trial.params,
        "val_accuracy": trial.val_accuracy,
        "val_interval": trial.val_interval,
        "test_accuracy": None if hidden else trial.test_accuracy,
        "point": {
            "point": point.point,
            "val_accuracy": spread.mean,
            "val_interval": None if spread.low is None else [spread.low, spread.high],
            "val_std": spread.std,
            "num_replicates": spread.n,
            "replicates": "folds" if len(point.completed_folds) > 1 else "seeds",
            "seeds": sorted({trial.seed for trial in point.trials}),
            "front_probability": front_probability,
        },
        "device": trial.device,
        "cpu_threads": None if trial.end is None else trial.end.get("cpu_threads"),
        **{key: sweep.header.get(key) for key in ("machine", "versions", "git_commit")},
    }


def best_replicate(point: PointRecord) -> TrialRecord:
    def accuracy(trial: TrialRecord) -> float:
        assert trial.val_accuracy is not None
        return trial.val_accuracy

    return max(point.completed, key=accuracy)


def check_top(top: int) -> None:
    """Raises ConfigError for fewer than one label per clip."""
    if top < 1:
        raise ConfigError(f"--top {top} is not possible: give a whole number of at least 1")


@dataclass(frozen=True)
class Prediction:
    label: str
    probability: float


class Predictor:
    """An exported bundle, loaded. Raises RunError if a file is missing, BackboneError if the backbone is another
    one."""

    def __init__(self, bundle: Path, device: torch.device | str = "cpu"):
        self.bundle = bundle = Path(bundle)
        self.config, self.labels, self.facts = read_bundle(bundle)
        self.seconds, self.metric = self.facts["data"]["seconds"], self.facts["data"].get("metric", "accuracy")
        adapter = open_adapter(bundle / ADAPTER, _AGAIN)
        self.bf16 = bool(adapter.metadata.get("bf16"))
        backbone = load_backbone(self.config.backbone.name)
        check_backbone(backbone, self.facts, bundle)
        self._check_amount(adapter, backbone)
        backbone.model.to(device)
        self.device = torch.device(device)
        self.num_frames = num_frames(num_samples(self.seconds))
        backbone.fit_positions(self.num_frames, self.config.faithful)
        self.classifier = AdaptedClassifier(
            backbone.model, self.config.method, len(self.labels), seed=0, faithful=self.config.faithful
        )
        wrong = difference(adapter.tensors, self.classifier.tensors())
        if wrong:
            raise RunError(f"{bundle / ADAPTER} holds other tensors than this version trains ({wrong}): train it again")
        self.classifier.load(read_adapter(adapter, _AGAIN))

    def _check_amount(self, adapter: Saved, backbone: Backbone) -> None:
        """config.yaml alone can ask for more than any memory holds."""
        asked = check_size(self.config.method, backbone.shape, len(self.labels)).num_trainable_params
        held = sum(tensor.numel() for tensor in adapter.tensors.values())
        if asked > held:
            raise RunError(
                f"{adapter.path} holds other tensors than this version trains ({held:,} parameters, not {asked:,}): "
                "train it again"
            )

    def features(self, clip: Path | str) -> torch.Tensor:
        """[1, frames, 128], rounded to half precision as the feature store's, so that logits are those of training."""
        with kept_clean():
            return self.features_of(load_clip(clip, self.seconds))

    def features_of(self, sound: torch.Tensor) -> torch.Tensor:
        """The same of [samples] at 16 kHz."""
        frames = fbank(sound)[: self.num_frames]
        features = torch.full((1, self.num_frames, NUM_MEL_BINS), padding(self.config.faithful))
        features[0, : len(frames)] = frames
        return features.half().float()

    @torch.inference_mode()
    def logits(self, clip: Path | str) -> torch.Tensor:
        """[classes] float32"""
        return self.logits_of(self.features(clip))

    @torch.inference_mode()
    def logits_of(self, features: torch.Tensor) -> torch.Tensor:
        """[1, frames, 128] -> [classes] float32"""
        features = features.to(self.device)  # outside of autocast: the front end stays exact
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):  # as it was trained
            return self.classifier(features)[0].float().cpu()

    def predict(self, clip: Path | str, top: int = 5) -> list[Prediction]:
        """The `top` labels with their probabilities, most probable first; in multi-label data each has its own."""
        check_top(top)
        return self.predictions(self.logits(clip), top, clip)

    def predictions(self, logits: torch.Tensor, top: int, clip: object) -> list[Prediction]:
        """[classes] -> labels with their probabilities, of the clip that is so named."""
        if not logits.isfinite().all():
            raise RunError(
                f"{self.bundle} makes no finite numbers of {clip}: its weights are of no use; export it again"
            )
        several = self.metric == "mAP"
        probabilities, indices = (logits.sigmoid() if several else logits.softmax(0)).sort(descending=True)
        top = min(top, len(self.labels))
        pairs = zip(indices[:top].tolist(), probabilities[:top].tolist(), strict=True)
        return [Prediction(self.labels[index], probability) for index, probability in pairs]
