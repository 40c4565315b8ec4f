"""Record a dense grid of full learning curves on real audio: the table that search policies are replayed over.

    python benchmarks/record_grid.py --fsdd ../shared/data/fsdd

326 configurations (linear probe, single adapter, Dense-MoA, Soft-MoA; experts, slots, bottleneck, placement, layers,
learning rate) x 12 epochs x 2 seeds with the built-in backbone. The task: which of ten digits one of six speakers says,
60 classes, in the first 0.4 s of the Free Spoken Digit Dataset's recordings; of each class recordings 0-4 test, 5-9
validate, 10-14 train. About three CPU-hours; the same command goes on where it was interrupted.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from astmoa.config import MethodConfig
from astmoa.errors import DataError, exit_in_one_line
from astmoa.shape import BackboneShape
from astmoa.study import StudyOptions, run_study
from astmoa.sweep.proposals import Point

PLACES, LEARNING_RATES = ["attention", "ffn", "both"], [2e-3, 8e-3]
SPACES = [
    {"name": ["linear"]},
    {"name": ["bottleneck"], "bottleneck_dim": [1, 2, 4, 8, 16, 32], "placement": PLACES},
    {"name": ["dense_moa"], "num_experts": [2, 4, 8], "bottleneck_dim": [1, 4, 16], "placement": PLACES},
    {
        "name": ["soft_moa"],
        "num_experts": [2, 8],
        "slots_per_expert": [1, 4],
        "bottleneck_dim": [1, 4, 16],
        "placement": PLACES,
    },
]


@dataclass(frozen=True)
class Options:
    fsdd: Path
    """Folder of the Free Spoken Digit Dataset (manifest.csv and recordings/DIGIT_SPEAKER_NUMBER.flac)."""
    out: Path = Path("runs/grid")
    """Run folder of the recording sweep."""
    epochs: int = 12
    seeds: int = 2


def write_manifest(fsdd: Path, folder: Path) -> None:
    """manifest.csv of the task: 300 recordings to train on, 300 to validate, 300 to test."""
    rows = []
    for path in sorted((fsdd / "recordings").glob("*_*_*.*")):
        digit, speaker, number = path.stem.split("_")
        if int(number) < 15:
            split = ("test", "val", "train")[int(number) // 5]
            rows.append((path.resolve(), f"{digit}_{speaker}", split))
    if not rows:
        raise DataError(f"{fsdd}: no recordings/DIGIT_SPEAKER_NUMBER.flac there; give the data set's folder")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])


def points(options: StudyOptions, shape: BackboneShape) -> list[Point]:
    return [Point(label(method, lr), method, lr=lr) for method in methods(shape.num_layers) for lr in LEARNING_RATES]


def methods(num_layers: int) -> Iterator[MethodConfig]:
    """Every combination in all layers, and those that insert anything also in the last half alone."""
    for space in SPACES:
        for values in itertools.product(*space.values()):
            choice = dict(zip(space, values, strict=True))
            yield MethodConfig(**choice)
            if choice["name"] != "linear":
                yield MethodConfig(**choice, layers=tuple(range(num_layers // 2, num_layers)))


def label(method: MethodConfig, lr: float) -> str:
    size = {"soft_moa": f" {method.num_experts}/{method.slots_per_expert}", "dense_moa": f" {method.num_experts}"}
    place = "" if method.name == "linear" else f" r{method.bottleneck_dim} {method.placement}"
    half = " last half" if method.layers else ""
    return f"{method.name.removesuffix('_moa')}{size.get(method.name, '')}{place}{half} lr {lr:g}"


def main(options: Options) -> None:
    task = options.out.parent / f"{options.out.name}-task"
    write_manifest(options.fsdd, task)
    study = StudyOptions(
        data="csv",
        data_root=str(task),
        seconds=0.4,
        out=options.out,
        epochs=options.epochs,
        seeds=options.seeds,
        precision="bf16",
    )
    run_study("record_grid", study, points)


if __name__ == "__main__":
    with exit_in_one_line("the same command goes on from here"):
        main(tyro.cli(Options, description=__doc__))
