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

import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from astmoa.config import MethodConfig
from astmoa.errors import ConfigError, exit_in_one_line
from astmoa.report import whole_file
from astmoa.shape import BackboneShape
from astmoa.study import StudyOptions, parse, run_and_show
from astmoa.sweep.proposals import Point
from astmoa.text import printable

if TYPE_CHECKING:
    from astmoa.contributions import Contributions

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


def check_layer(layer: int | None, layers: range | list[int]) -> int:
    if layer is not None and layer not in layers:
        raise ConfigError(f"--layer {layer} has no experts: choose from {', '.join(map(str, layers))}")
    return layers[-1] if layer is None else layer


def analyse(bundle: Path, options: Options) -> None:
    from astmoa.contributions import bundle_inputs, mixtures, on_test_clips, open_bundle
    from astmoa.report.contributions import contributions_picture

    predictor = open_bundle(bundle)
    layer = check_layer(options.layer, sorted({layer for layer, _ in mixtures(predictor.classifier)}))
    inputs = bundle_inputs(predictor, options.data_root)
    trained_on = predictor.facts["data"].get("fingerprint", "unknown")
    if inputs.fingerprint != trained_on:  # not refused: nothing is scored here, and a mended clip is no other data
        line = f"warning: these clips have fingerprint {inputs.fingerprint}, the bundle was trained on {trained_on}: "
        print(printable(f"{line}some of the test clips may be others, or may have been trained on"), file=sys.stderr)
    found, label = on_test_clips(predictor, inputs), predictor.facts.get("label", predictor.config.method.name)
    folder = options.out or Path("runs") / f"contributions-{inputs.name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "contributions.json") as unfinished:
        facts = {"label": label, "data": inputs.name, "data_fingerprint": inputs.fingerprint}
        unfinished.write_text(json.dumps({**facts, **found.to_dict()}, indent=1, allow_nan=False) + "\n")
    print_table(found)
    for index, place in enumerate(found.places):
        picture = contributions_picture(
            found.per_layer[:, index],
            found.per_class[found.layers.index(layer), index],
            found.layers,
            found.labels,
            folder / ("contributions.png" if len(found.places) == 1 else f"contributions_{place}.png"),
            f"{label} on {inputs.name}, beside {place}; classes in layer {layer}",
        )
        print(printable(f"{'Picture:':<20} {picture}"))
    print(printable(f"{'Numbers:':<20} {folder / 'contributions.json'}"))


def print_table(found: Contributions) -> None:
    print(f"Shares of {found.per_layer.shape[-1]} experts in the output tokens, {found.num_clips:,} test clips")
    print(f"{'layer':>5}  {'place':<9}  {'smallest %':>10}  {'largest %':>9}  {'effective experts':>17}")
    for layer, rows, effective in zip(found.layers, found.per_layer, found.effective_experts, strict=True):
        for place, shares, number in zip(found.places, 100 * rows, effective, strict=True):
            print(f"{layer:>5}  {place:<9}  {shares.min():>10.1f}  {shares.max():>9.1f}  {number:>17.2f}")


def main() -> None:
    told = exit_in_one_line("the same command with the same --out goes on from here")
    with told, contextlib.ExitStack() as held:
        options = parse("contributions", Options, __doc__, held)
        if options.bundle is not None:
            analyse(options.bundle, options)
        else:
            out = run_and_show("contributions", options, points)
            analyse(out / "best", dataclasses.replace(options, out=out))


if __name__ == "__main__":
    main()
