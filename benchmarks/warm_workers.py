"""What warm workers are worth: trials per hour of our sweep against a plain Ray Tune function trainable.

    python benchmarks/warm_workers.py            20 short trials each way, twice, built-in data and backbone, 4 minutes
    python benchmarks/warm_workers.py --backbone MIT/ast-finetuned-audioset-10-10-0.4593

Both run the same configurations with the same trainer (`astmoa.training.Trial`), the same Ray, the same number at once,
and must give the same losses and accuracies (on a CPU: bit for bit, else the benchmark stops). The plain one is what
one writes from Ray Tune's tutorial: a function that loads backbone and features (from the feature store, already
computed) and reports every epoch. It is spared what ours does besides: no journal, no checkpoints; Ray's own loggers
are off for both. The two take turns.

Trials per hour count from the order to run them to the last trial's end, so our workers' one start is paid; starting
and stopping Ray itself is not in it. Beside it, in the JSON: from the first trial's start on, and everything with
Ray's start and end (wall).
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from _common import Goals, finish, pick_device, ratios, table
from ray import tune

from astmoa.backbone.frozen import Backbone, load_backbone
from astmoa.backend.cluster import plan_resources
from astmoa.backend.run_sweep import run_sweep
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig
from astmoa.config.proposals import Point, Proposal, replicate
from astmoa.records.journal import read_journal
from astmoa.study.header import sweep_header
from astmoa.study.options import StudyOptions
from astmoa.training.inputs import DeviceData, Inputs, open_inputs
from astmoa.training.trial import Trial

import ray  # isort: skip  (after astmoa.backend.run_sweep, which makes Ray quiet before it is imported)

GOALS: Goals = {"warm_over_cold": (">=", 3.0)}


@dataclass(frozen=True)
class Options:
    trials: int = 20
    """Trials each way, of five methods and as many seeds as it takes."""
    repeats: int = 2
    """How often the two take turns."""
    epochs: int = 2
    """Epochs of one trial."""
    train_clips: int = 32
    """Training clips: few, so that a trial's own training takes about a second of one CPU core."""
    val_clips: int = 16
    """Validation clips, and as many test clips."""
    backbone: str = "builtin"
    """builtin, a Hugging Face id, or a save_pretrained folder."""
    trials_at_once: int | None = None
    """Trials that run side by side. Default: one per CPU core, or as many as fit the GPUs."""
    gpus_per_trial: float | None = None
    """Share of a GPU that one trial holds. Default: 0.25 where there is a GPU, else 0."""
    json: bool = False
    """Print everything once more as one last line of JSON."""


@dataclass(frozen=True)
class Pass:
    """One way's trials: its times, and per trial everything that it reported that is not a time."""

    ordered_to_end: float
    first_start_to_end: float
    wall: float
    results: dict[str, list]


def shrink(inputs: Inputs, train: int, held_out: int) -> Inputs:
    """The same data with the first clips of every split only."""
    splits = {
        fold: dataclasses.replace(s, train=s.train[:train], val=s.val[:held_out], test=s.test[:held_out])
        for fold, s in inputs.splits.items()
    }
    return dataclasses.replace(inputs, splits=splits)


def make_proposals(options: Options) -> list[Proposal]:
    methods = [
        Point("linear", MethodConfig("linear")),
        Point("single 8", MethodConfig("bottleneck", bottleneck_dim=8)),
        Point("soft 4/2", MethodConfig("soft_moa", 4, 2)),
        Point("soft 8/1", MethodConfig("soft_moa", 8, 1)),
        Point("dense 8", MethodConfig("dense_moa", 8)),
    ]
    template = TrialConfig(
        data=DataConfig("builtin"), backbone=BackboneConfig(options.backbone), optim=OptimConfig(epochs=options.epochs)
    )
    seeds = range(-(-options.trials // len(methods)))
    return replicate(methods, template, seeds, [template.data.fold])[: options.trials]


def start_private_ray() -> None:
    """A Ray of our own: one that other programs on this machine use would share its cores out to them as well."""
    ray.init(
        address="local",
        include_dashboard=False,
        object_store_memory=10**9,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def warm_pass(options: Options, proposals: list[Proposal], inputs: Inputs, backbone: Backbone) -> Pass:
    with tempfile.TemporaryDirectory(prefix="astmoa-bench-") as folder:
        header = sweep_header("warm_workers", ["x"], StudyOptions(), inputs, proposals[0].config, backbone)
        start = time.time()
        start_private_ray()
        run_sweep(Path(folder), header, proposals, inputs, backbone, options.trials_at_once, options.gpus_per_trial)
        wall = time.time() - start
        events = read_journal(Path(folder))
    results: dict[str, list] = {p.trial_id: [] for p in proposals}
    for event in events:
        if event["type"] == "epoch":
            results[event["trial_id"]].append([event["train_loss"], event["val_loss"], event["val_accuracy"]])
        if event["type"] == "end":
            results[event["trial_id"]].append([event["test_loss"], event["test_accuracy"]])
    ordered = events[0]["time"]
    first = min(event["time"] for event in events if event["type"] == "start")
    last = max(event["time"] for event in events if event["type"] == "end")
    return Pass(last - ordered, last - first, wall, results)


def plain_trainable(config: dict[str, Any]) -> None:
    """The obvious function trainable: every trial loads what it needs."""
    torch.set_num_threads(config["cpu_threads"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trial_config = TrialConfig.from_dict(config["trial"])
    backbone = load_backbone(trial_config.backbone.name)
    backbone.model.to(device)
    inputs = shrink(open_inputs(trial_config.data, progress=False), config["train_clips"], config["val_clips"])
    with Trial(trial_config, backbone, DeviceData(inputs, device)) as trial:
        for record in trial.epochs():
            end = trial.test() if record["epoch"] == trial_config.optim.epochs else None
            tune.report({"record": record, "end": end})


class Recorder(tune.Callback):
    """What the plain trials report, and when the first began and the last ended."""

    def __init__(self):
        self.results: dict[str, list] = {}
        self.first_start = self.last_end = 0.0

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.first_start = self.first_start or time.time()

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        record, end = result["record"], result["end"]
        seen = self.results.setdefault(TrialConfig.from_dict(trial.config["trial"]).hash(), [])
        seen.append([record["train_loss"], record["val_loss"], record["val_accuracy"]])
        if end is not None:
            seen.append([end["test_loss"], end["test_accuracy"]])
            self.last_end = time.time()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks into its own snapshots


def cold_pass(options: Options, proposals: list[Proposal]) -> Pass:
    start = time.time()
    start_private_ray()
    try:
        resources = plan_resources(len(proposals), options.trials_at_once, options.gpus_per_trial)
        space = {
            "trial": tune.grid_search([p.config.to_dict() for p in proposals]),
            "cpu_threads": max(1, int(resources.cpus)),
            "train_clips": options.train_clips,
            "val_clips": options.val_clips,
        }
        recorder = Recorder()
        with tempfile.TemporaryDirectory(prefix="astmoa-bench-") as folder:
            ordered = time.time()
            tuner = tune.Tuner(
                tune.with_resources(plain_trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
                param_space=space,
                tune_config=tune.TuneConfig(max_concurrent_trials=resources.at_once),
                run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0, callbacks=[recorder]),
            )
            errors = tuner.fit().errors
        if errors:
            raise SystemExit(f"error: a plain trial failed: {errors[0]}")
    finally:
        ray.shutdown()
    end = recorder.last_end
    return Pass(end - ordered, end - recorder.first_start, time.time() - start, recorder.results)


def measure(options: Options) -> tuple[dict[str, Any], torch.device]:
    device = pick_device("auto")
    if Path(options.backbone).is_dir():  # Ray's workers run in another folder
        options = dataclasses.replace(options, backbone=str(Path(options.backbone).resolve()))
    proposals = make_proposals(options)
    backbone = load_backbone(options.backbone)
    inputs = shrink(open_inputs(proposals[0].config.data), options.train_clips, options.val_clips)
    passes: dict[str, list[Pass]] = {"warm": [], "cold": []}
    for _ in range(options.repeats):  # ours, plain, ours, plain: a slow minute of the machine hits both
        passes["warm"].append(warm_pass(options, proposals, inputs, backbone))
        passes["cold"].append(cold_pass(options, proposals))
    reference = passes["warm"][0].results
    same = all(one.results == reference for way in passes.values() for one in way)
    if device.type == "cpu" and not same:
        raise SystemExit("error: warm and plain trials gave different results; their speed is not comparable")
    result: dict[str, Any] = {}
    for key in ("ordered_to_end", "first_start_to_end", "wall"):
        seconds = {name: [getattr(one, key) for one in way] for name, way in passes.items()}
        suffix = "" if key == "ordered_to_end" else f"_{key}"
        found = ratios(seconds, "warm")  # more seconds cold is more trials per hour warm
        result[f"warm_over_cold{suffix}"] = found["cold_over_warm"]
        result[f"warm_over_cold{suffix}_median"] = found["cold_over_warm_median"]
    clips = f"{options.epochs} epochs of {options.train_clips} clips"
    print(f"{len(proposals)} trials of {clips}, {options.repeats} times each way")
    rows = []
    for name, way in passes.items():
        seconds = [one.ordered_to_end for one in way]
        per_hour = 3600 * len(proposals) / min(seconds)
        result[f"{name}_trials_per_hour"] = per_hour
        rows.append([name, min(seconds), statistics.median(seconds), min(one.wall for one in way), per_hour])
    table(["workers", "min s", "median s", "min wall s", "trials per hour"], rows)
    print(f"same losses and accuracies in all trials: {'yes' if same else 'no'}")
    settings = {key: value for key, value in dataclasses.asdict(options).items() if key != "json"}
    return {**result, "same_results": same, "settings": settings}, device


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    result, device = measure(options)
    finish(result, GOALS, device, options.json)


if __name__ == "__main__":
    main()
