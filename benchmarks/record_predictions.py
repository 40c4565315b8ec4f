"""Record what many replicates of a dozen configurations say of every clip, on real audio: the truth that ways to decide
are measured against.

    python benchmarks/record_predictions.py fsdd60 --root ../shared/data/fsdd
    python benchmarks/record_predictions.py esc50 --root ../shared/data/esc50

12 configurations x 12 seeds with the built-in backbone, each trial's predictions kept (`predictions.safetensors` in the
run folder). fsdd60 is the task of record_grid.py (which of ten digits one of six speakers says, 60 classes, 600 clips
to train on, 600 to validate), with all other 1,800 recordings held back as its test; esc50 is ESC-50 as it lies there,
fold 1 held back and fold 2 validated on. The same command goes on where it was interrupted.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import astmoa
from astmoa.errors import exit_in_one_line

POINTS = [
    ("linear", astmoa.MethodConfig("linear"), 8e-3),
    ("linear slow", astmoa.MethodConfig("linear"), 2e-3),
    ("single r1", astmoa.MethodConfig("bottleneck", bottleneck_dim=1), 8e-3),
    ("single r2", astmoa.MethodConfig("bottleneck", bottleneck_dim=2), 8e-3),
    ("single r8", astmoa.MethodConfig("bottleneck", bottleneck_dim=8), 8e-3),
    ("single r32", astmoa.MethodConfig("bottleneck", bottleneck_dim=32), 8e-3),
    ("single r8 both", astmoa.MethodConfig("bottleneck", bottleneck_dim=8, placement="both"), 8e-3),
    ("dense 2 r4", astmoa.MethodConfig("dense_moa", num_experts=2, bottleneck_dim=4), 8e-3),
    ("dense 8 r1", astmoa.MethodConfig("dense_moa", num_experts=8, bottleneck_dim=1), 8e-3),
    ("soft 2/4 r4", astmoa.MethodConfig("soft_moa", num_experts=2, slots_per_expert=4, bottleneck_dim=4), 8e-3),
    ("soft 8/1 r4", astmoa.MethodConfig("soft_moa", num_experts=8, slots_per_expert=1, bottleneck_dim=4), 8e-3),
    ("soft 8/4 r16", astmoa.MethodConfig("soft_moa", num_experts=8, slots_per_expert=4, bottleneck_dim=16), 8e-3),
]


@dataclass(frozen=True)
class Options:
    task: tyro.conf.Positional[Literal["fsdd60", "esc50"]]
    root: Path
    """Folder of the data set: for fsdd60 with recordings/DIGIT_SPEAKER_NUMBER.flac, for esc50 in its official
    layout."""
    out: Path | None = None
    """Run folder. Default: runs/predictions-TASK."""
    seeds: int = 12
    epochs: int = 12


def write_manifest(fsdd: Path, folder: Path) -> None:
    """As in record_grid.py, but all that trains nothing and validates nothing is test."""
    rows = []
    for path in sorted((fsdd / "recordings").glob("*_*_*.*")):
        digit, speaker, number = path.stem.split("_")
        place = int(number) // 5
        split = "val" if place in (1, 2) else "train" if place in (3, 4) else "test"
        rows.append((path.resolve(), f"{digit}_{speaker}", split))
    if not rows:
        raise astmoa.DataError(f"{fsdd}: no recordings/DIGIT_SPEAKER_NUMBER.flac there; give the data set's folder")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])


def main(options: Options) -> None:
    out = options.out or Path("runs") / f"predictions-{options.task}"
    common = {"out": out, "seeds": options.seeds, "epochs": options.epochs, "precision": "bf16"}
    if options.task == "fsdd60":
        task = out.parent / f"{out.name}-task"
        write_manifest(options.root, task)
        study = astmoa.StudyOptions(data="csv", data_root=str(task), seconds=0.25, **common)
    else:
        study = astmoa.StudyOptions(data="esc50", data_root=str(options.root), **common)
    points = [astmoa.Point(label, method, lr=lr) for label, method, lr in POINTS]
    run = astmoa.run_study("record_predictions", points, study)
    print(run.points_dataframe()[["label", "num_trainable_params", "val_accuracy", "test_accuracy"]].to_string())


if __name__ == "__main__":
    with exit_in_one_line("the same command goes on from here"):
        main(tyro.cli(Options, description=__doc__))
