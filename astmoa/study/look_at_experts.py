"""The experts of a trained Soft-MoA: how much each contributes to the output tokens (Sec. 4 of arXiv 2402.00828)."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from astmoa.errors import ConfigError, printable
from astmoa.files.whole import whole_file

if TYPE_CHECKING:
    from astmoa.bundles.contributions import Contributions


def check_layer(layer: int | None, layers: range | list[int]) -> int:
    """The layer that is shown class by class. Raises ConfigError for one without experts."""
    if layer is not None and layer not in layers:
        raise ConfigError(f"--layer {layer} has no experts: choose from {', '.join(map(str, layers))}")
    return layers[-1] if layer is None else layer


def look_at_experts(
    bundle: Path | str, layer: int | None = None, data_root: str | None = None, out: Path | None = None
) -> Path:
    """What every expert of a Soft-MoA contributes to the output tokens of test clips, printed; returns the folder.

    layer: the one that is shown class by class; default: the last one that has experts. data_root: where the data are
    now. out: for picture and numbers; default runs/contributions-DATA-TIME. Raises ConfigError for a layer or a bundle
    without experts.
    """
    from astmoa.bundles.contributions import bundle_inputs, mixtures, on_test_clips, open_bundle
    from astmoa.report.contribution_picture import contributions_picture

    predictor = open_bundle(Path(bundle))
    layer = check_layer(layer, sorted({layer for layer, _ in mixtures(predictor.classifier)}))
    inputs = bundle_inputs(predictor, data_root)
    trained_on = predictor.facts["data"].get("fingerprint", "unknown")
    if inputs.fingerprint != trained_on:  # not refused: nothing is scored here, and a mended clip is no other data
        line = f"warning: these clips have fingerprint {inputs.fingerprint}, the bundle was trained on {trained_on}: "
        print(printable(f"{line}some of the test clips may be others, or may have been trained on"), file=sys.stderr)
    found, label = on_test_clips(predictor, inputs), predictor.facts.get("label", predictor.config.method.name)
    folder = out or Path("runs") / f"contributions-{inputs.name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "contributions.json") as unfinished:
        facts = {"label": label, "data": inputs.name, "data_fingerprint": inputs.fingerprint}
        unfinished.write_text(json.dumps({**facts, **found.to_dict()}, indent=1, allow_nan=False) + "\n")
    _print_table(found)
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
    return folder


def _print_table(found: Contributions) -> None:
    print(f"Shares of {found.per_layer.shape[-1]} experts in the output tokens, {found.num_clips:,} test clips")
    print(f"{'layer':>5}  {'place':<9}  {'smallest %':>10}  {'largest %':>9}  {'effective experts':>17}")
    for layer, rows, effective in zip(found.layers, found.per_layer, found.effective_experts, strict=True):
        for place, shares, number in zip(found.places, 100 * rows, effective, strict=True):
            print(f"{layer:>5}  {place:<9}  {shares.min():>10.1f}  {shares.max():>9.1f}  {number:>17.2f}")
