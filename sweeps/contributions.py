"""Do all experts contribute? Each one's share of the output tokens, by layer and by class (Fig. 2, right, and Fig. 3 of
arXiv 2402.00828).

Trains one Soft-MoA of 7 experts with one slot each, as the paper's figures show, beside the attention of every layer,
with a bottleneck of 1 as in its tables; then averages the combine weights over tokens and test clips. The paper finds
that all experts contribute, in every layer that it shows; the figures give no numbers to put beside ours.

Beside table, picture and bundle of any study the run folder gets contributions.png and contributions.json. --bundle
takes a mixture that is trained already, also a Dense-MoA (its gate probabilities).

One trial: half a minute with --quick on 2 CPU cores; then your own bundle, and the paper's backbone:

    python sweeps/contributions.py

    python sweeps/contributions.py --bundle runs/RUN/best

    python sweeps/contributions.py --data fluent_speech_commands --data-root FSC --backbone \
MIT/ast-finetuned-audioset-10-10-0.4593
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from astmoa import BackboneShape, ConfigError, MethodConfig, Point, StudyOptions, check_layer, look_at_experts, main

WITH_BUNDLE = {"bundle", "data_root", "layer", "out"}


@dataclass(frozen=True)
class Options(StudyOptions):
    seeds: int = 1
    """Replicates to train; the best one by validation accuracy is looked at."""
    num_experts: int = 7
    """Experts per layer, the paper's N."""
    slots_per_expert: int = 1
    """Slots that each expert processes, the paper's p."""
    layer: int | None = None
    """The layer that is shown class by class, counted from 0. Default: the last one that has experts."""
    bundle: Path | None = None
    """Train nothing: look at this exported bundle, on its own data (--data-root where they have moved).
    --out is then the folder of picture and numbers. Default: runs/contributions-DATA-TIME."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bundle is not None:
            given = [field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
            idle = ", ".join("--" + name.replace("_", "-") for name in given if name not in WITH_BUNDLE)
            if idle:
                raise ConfigError(f"--bundle trains nothing, so {idle} would do nothing: leave it out")


def points(options: Options, shape: BackboneShape) -> list[Point]:
    check_layer(options.layer, range(shape.num_layers))  # better before training than after
    method = MethodConfig("soft_moa", options.num_experts, options.slots_per_expert)
    return [Point(f"soft {method.num_experts}/{method.slots_per_expert}", method)]


def look(options: Options, bundle: Path, out: Path | None) -> None:
    look_at_experts(bundle, options.layer, options.data_root, out)


def without_training(options: Options) -> bool:
    if options.bundle is not None:
        look(options, options.bundle, options.out)
    return options.bundle is not None


if __name__ == "__main__":
    then, instead = lambda out, options: look(options, out / "best", out), without_training
    main("contributions", Options, points, __doc__, then=then, instead=instead)
