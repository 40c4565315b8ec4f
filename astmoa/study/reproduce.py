"""Train an exported trial again and say whether it comes out the same: what `astmoa reproduce` does."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from astmoa.audio.datasets import open_data
from astmoa.backbone.frozen import load_backbone
from astmoa.bundles.bundle import ADAPTER, check_backbone, open_adapter, read_adapter, read_bundle
from astmoa.bundles.facts import MOST_THREADS, Facts
from astmoa.config import TrialConfig, complete
from astmoa.errors import ConfigError, DataError, printable
from astmoa.pareto.spread import Interval, clip_interval
from astmoa.provenance import git_commit, machine, versions
from astmoa.study.train_one import check_out, train_one
from astmoa.training.checkpoint import load_tensors
from astmoa.training.inputs import open_inputs


def reproduce(
    bundle: Path,
    num_seeds: int = 0,
    out: Path | None = None,
    as_json: bool = False,
    data_root: str | None = None,
    backbone: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train the bundle's trial again, then `num_seeds` other seeds of it; print and return what came out.

    data_root, backbone: where they are now, if elsewhere than then. out: keeps the trials, and goes on with them.
    threads: of the CPU; their number decides the last bits of sums. Default: the bundle's, where it is known.

    Inside: the same value again, or one in the interval where 95 of 100 further runs fall (`expected_interval`); for
    other seeds, their mean. Raises DataError or BackboneError before anything is trained if these are not the bundle's
    own, ConfigError for fewer than 0 seeds or 1 thread.
    """
    if num_seeds < 0:
        raise ConfigError(f"--seeds {num_seeds} is not possible: give a whole number of at least 0")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"--threads {threads} is not possible: give a whole number from 1 to {MOST_THREADS}")
    config, _, facts = read_bundle(bundle)
    if data_root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=data_root))
    if backbone is not None:
        config = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, name=backbone))
    adapter = open_adapter(Path(bundle) / ADAPTER, "export it again")
    recorded = read_adapter(adapter, "export it again")
    if out is not None:
        check_out(out)
    _check_inputs(config, facts, bundle)
    torch.set_num_threads(threads or facts.get("cpu_threads") or torch.get_num_threads())
    with tempfile.TemporaryDirectory(prefix="astmoa-reproduce-") as scratch:
        folder = Path(scratch) if out is None else Path(out)
        seeds = [config.seed, *_other_seeds(config, facts, num_seeds)]
        ends = []
        for seed in seeds:
            if not as_json:
                print(f"seed {seed}, fold {config.data.fold}")
            ends.append(train_one(dataclasses.replace(complete(config), seed=seed), folder / f"seed-{seed}", as_json))
        again, again_facts = load_tensors(folder / f"seed-{config.seed}" / ADAPTER)
    values = [end["val_accuracy"] for end in ends]
    result = {
        "recorded": {"val_accuracy": facts["val_accuracy"], "point": facts.get("point")},
        "again": {
            "seed": config.seed,
            "val_accuracy": values[0],
            "same_value": values[0] == facts["val_accuracy"],
            "same_weights": _equal(recorded, again),
            **_verdict(values[:1], facts, ends[0]["num_val_clips"]),
        },
        "others": {"seeds": seeds[1:], "val_accuracies": values[1:]},
        "differs": _differences(facts, adapter.metadata, again_facts),
    }
    # The exported replicate is its point's best one and may itself lie outside: to be met again is enough.
    result["again"]["inside"] |= result["again"]["same_value"]
    if num_seeds:
        result["others"] |= _verdict(values[1:], facts, ends[0]["num_val_clips"])
    result["inside"] = result["again"]["inside"] and result["others"].get("inside", True)
    lines = [json.dumps(result)] if as_json else [printable(line) for line in _lines(result, facts)]
    print("\n".join(lines))
    return result


def expected_interval(facts: Facts, num_runs: int, num_val_clips: int) -> tuple[Interval | None, str]:
    """Where the mean validation accuracy of `num_runs` further runs falls in 95 of 100 cases, and what says so.

    From a point of n replicates with deviation s: mean +- t s sqrt(1 / n + 1 / num_runs), as a further run has its own
    noise. (The 95 % interval of the mean alone is left by a third of all good runs at n = 5, and by half at n = 10.)
    Replicates that are folds: the runs share their fold, and count as one. Without a spread, the recorded trial's
    interval over its validation clips; None where that is not known either.
    """
    point = facts.get("point") or {}
    n, std = point.get("num_replicates", 0), point.get("val_std")
    if n > 1 and std:
        new = 1 if point["replicates"] == "folds" else num_runs
        half = float(stats.t.ppf(0.975, n - 1)) * std * math.sqrt(1 / n + 1 / new)
        interval = max(0.0, point["val_accuracy"] - half), min(1.0, point["val_accuracy"] + half)
        return interval, f"from {n} {point['replicates']}"
    over_clips: Sequence[float] | None = facts.get("val_interval")
    if over_clips is None and facts["data"].get("metric", "accuracy") == "accuracy":
        over_clips = clip_interval(facts["val_accuracy"], num_val_clips)
    if over_clips is None:
        return None, "not known"
    low, high = over_clips
    return (low, high), "from the validation clips"


def _verdict(values: Sequence[float], facts: Facts, num_val_clips: int) -> dict[str, Any]:
    mean = statistics.fmean(values)
    interval, source = expected_interval(facts, len(values), num_val_clips)
    inside = interval is not None and interval[0] <= mean <= interval[1]
    return {"mean": mean, "expected": interval, "source": source, "inside": inside}


def _check_inputs(config: TrialConfig, facts: Facts, bundle: Path) -> None:
    """One line if data or backbone are not the recorded ones; the backbone first, it is read faster."""
    check_backbone(load_backbone(config.backbone.name), facts, bundle)
    wanted, found = printable(facts["data"]["fingerprint"]), open_inputs(config.data).fingerprint
    if found != wanted:
        where = config.data.root or open_data(config.data).name
        raise DataError(
            f"{where}: the data have fingerprint {found}, {bundle} was trained on {wanted}: give it the same files, "
            "labels and splits (--data-root)"
        )


def _other_seeds(config: TrialConfig, facts: Facts, number: int) -> list[int]:
    """The first seeds that no replicate of the point had."""
    used = {config.seed, *(facts.get("point") or {}).get("seeds", ())}
    return list(itertools.islice((seed for seed in itertools.count() if seed not in used), number))


def _equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _differences(facts: Facts, recorded: dict[str, Any], again: dict[str, Any]) -> dict[str, list[Any]]:
    """What is not as it was, {name: [then, now]}: why weights may differ. What the bundle does not say is left out."""
    keys = ("machine", "device", "git_commit", "cpu_threads")
    then = {**(facts.get("versions") or {}), **{key: facts.get(key) for key in keys}}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    now = {**versions(), **dict(zip(keys, (machine(), device, git_commit(), torch.get_num_threads()), strict=True))}
    precisions = [("fp32", "bf16")[bool(metadata.get("bf16"))] for metadata in (recorded, again)]
    found = {key: [value, now.get(key)] for key, value in then.items() if value is not None and value != now.get(key)}
    return found if precisions[0] == precisions[1] else {**found, "precision": precisions}


def _lines(result: dict[str, Any], facts: Facts) -> list[str]:
    metric = facts["data"].get("metric", "accuracy")
    again, others, point = result["again"], result["others"], facts.get("point")
    lines = [f"recorded: val {metric} {facts['val_accuracy']:.4f}"]
    if point is not None and point.get("num_replicates", 1) > 1:
        interval = point["val_interval"]
        assert interval is not None  # of several replicates a bundle without it was refused
        low, high = interval
        lines[0] += (
            f"; its point {point['val_accuracy']:.4f} [{low:.4f}, {high:.4f}] over {point['num_replicates']} "
            f"{point['replicates']}"
        )
    weights = "the same weights, bit by bit" if again["same_weights"] else "other weights"
    lines.append(f"again:    val {metric} {again['val_accuracy']:.4f}, {weights}; {_expected(again)}")
    if others["seeds"]:
        each = ", ".join(f"{value:.4f}" for value in others["val_accuracies"])
        seeds = ", ".join(map(str, others["seeds"]))
        lines.append(f"others:   val {metric} {others['mean']:.4f} (seeds {seeds}: {each}); {_expected(others)}")
    if not again["same_weights"]:
        changes = (f"{key} {then} then, {now} now" for key, (then, now) in result["differs"].items())
        lines.append(f"differs:  {'; '.join(changes) or 'nothing that the bundle tells of (--threads, perhaps)'}")
    lines.append("reproduced" if result["inside"] else "NOT reproduced: outside")
    return lines


def _expected(verdict: dict[str, Any]) -> str:
    if verdict["expected"] is None:
        return "no interval is known"
    low, high = verdict["expected"]
    where = "inside" if low <= verdict["mean"] <= high else "outside"
    return f"{where} [{low:.4f}, {high:.4f}], where 95 of 100 further runs fall ({verdict['source']})"
