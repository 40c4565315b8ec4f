"""Record a dense grid of full learning curves on real audio: the table that ways to search are replayed over.

    python benchmarks/record_grid.py --fsdd ../shared/data/fsdd

327 candidates (linear probe, single adapter, Dense-MoA, Soft-MoA; experts, slots, bottleneck, placement, layers,
learning rate) x 12 epochs x 2 seeds with the built-in backbone. The task: which of ten digits one of six speakers says,
60 classes, in the first quarter of a second of the Free Spoken Digit Dataset's recordings; of each class recordings 0-4
test, 5-14 validate, 15-24 train: enough to tell a large adapter from the linear probe by ten times what seeds differ.
One learning rate is too low for so short a training, as some are in any search. The same command goes on where it was
interrupted. The curves go to benchmarks/grids/fsdd60.json.gz, which `astmoa replay` and benchmarks/search_quality.py
read.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields, replace
from pathlib import Path

import tyro

from astmoa.config import TrialConfig
from astmoa.config.proposals import Point
from astmoa.errors import DataError, RunError, exit_in_one_line
from astmoa.methods.shape import BackboneShape
from astmoa.records.load import load_sweep
from astmoa.records.sweep import SweepRecord
from astmoa.replay.curves import PER_EPOCH, Curve, Curves
from astmoa.search.space import Space
from astmoa.study.command import run_and_show
from astmoa.study.options import StudyOptions

LEARNING_RATES = [5e-4, 2e-3, 8e-3]
PLACED = {"placement": ["attention", "both"], "layers": ["all", "last_half"], "lr": LEARNING_RATES}
SPACE = Space(
    [
        {"name": "linear", "lr": LEARNING_RATES},
        {"name": "bottleneck", "bottleneck_dim": [1, 2, 4, 8, 16, 32], **PLACED},
        {"name": "dense_moa", "num_experts": [2, 4, 8], "bottleneck_dim": [1, 4, 16], **PLACED},
        {"name": "soft_moa", "num_experts": [2, 8], "slots_per_expert": [1, 4], "bottleneck_dim": [1, 4, 16], **PLACED},
    ]
)


@dataclass(frozen=True)
class Options:
    fsdd: Path
    """Folder of the Free Spoken Digit Dataset (manifest.csv and recordings/DIGIT_SPEAKER_NUMBER.flac)."""
    out: Path = Path("runs/grid")
    """Run folder of the recording sweep."""
    curves: Path = Path(__file__).parent / "grids" / "fsdd60.json.gz"
    """The file to write."""
    epochs: int = 12
    seeds: int = 2


def write_manifest(fsdd: Path, folder: Path) -> None:
    """manifest.csv of the task: 600 recordings to train on, 600 to validate, 300 to test."""
    rows = []
    for path in sorted((fsdd / "recordings").glob("*_*_*.*")):
        digit, speaker, number = path.stem.split("_")
        if int(number) < 25:
            split = ("test", "val", "val", "train", "train")[int(number) // 5]
            rows.append((path.resolve(), f"{digit}_{speaker}", split))
    if not rows:
        raise DataError(f"{fsdd}: no recordings/DIGIT_SPEAKER_NUMBER.flac there; give the data set's folder")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])


def points(options: StudyOptions, shape: BackboneShape) -> list[Point]:
    return [SPACE.point(candidate, shape) for candidate in SPACE.candidates(shape)]


def recorded_curves(sweep: SweepRecord) -> Curves:
    """Raises RunError if a candidate was not trained to its end."""
    completed = {trial.trial_id: trial for trial in sweep.trials if trial.state == "completed"}
    if not completed:
        raise RunError("no trial has completed: nothing to record")
    one, header = next(iter(completed.values())), sweep.header
    template = TrialConfig.from_dict(one.config)
    template = replace(template, data=replace(template.data, root=None))  # where it lay is nobody's business
    curves = Curves(
        about={
            "command": "python benchmarks/record_grid.py --fsdd FSDD",
            "task": "digit and speaker of FSDD, 60 classes, 600 clips to train, 600 to validate, 300 to test",
            **{key: header[key] for key in ("backbone", "versions", "machine")},
            "data": {key: header["data"][key] for key in ("fingerprint", "clips", "seconds", "metric")},
        },
        template=template,
        shape=BackboneShape(**{field.name: header["backbone"][field.name] for field in fields(BackboneShape)}),
        space=SPACE,
        num_val_clips={template.data.fold: one.end["num_val_clips"]},
        seeds=tuple(sorted({trial.seed for trial in completed.values()})),
        trials={
            trial.trial_id: Curve(
                trial.label,
                trial.params,
                **{key: [epoch[key] for epoch in trial.epochs] for key in PER_EPOCH},
                test_accuracy=trial.test_accuracy,
            )
            for trial in completed.values()
        },
    )
    for candidate in curves.candidates:
        for seed in curves.seeds:
            if curves.config(candidate, seed).hash() not in curves.trials:
                raise RunError(f"{SPACE.label(candidate)} with seed {seed} is missing: record it to its end first")
    return curves


def main(options: Options) -> None:
    task = options.out.parent / f"{options.out.name}-task"
    write_manifest(options.fsdd, task)
    study = StudyOptions(
        data="csv",
        data_root=str(task),
        seconds=0.25,
        out=options.out,
        epochs=options.epochs,
        seeds=options.seeds,
        precision="bf16",
    )
    run_and_show("record_grid", study, points)
    recorded_curves(load_sweep(options.out)).save(options.curves)
    print(f"Curves: {options.curves} ({options.curves.stat().st_size:,} bytes)")


if __name__ == "__main__":
    with exit_in_one_line("the same command goes on from here"):
        main(tyro.cli(Options, description=__doc__))
