"""What tables and pictures show of a sweep, as plain values ready for JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from astmoa.methods.method import known
from astmoa.pareto import frontier
from astmoa.pareto.spread import Spread
from astmoa.records.load import flatten
from astmoa.records.standing import standing, step_time_front
from astmoa.records.sweep import SweepRecord
from astmoa.records.trials import PointRecord, TrialRecord
from astmoa.report.paper import paper_figure, paper_note
from astmoa.report.search_facts import search_facts

# Columns of their own, or not part of a point.
_SHOWN_ELSEWHERE = {"method.bottleneck_dim", "seed", "data.fold", "data.root", "data.skip_bad_clips"}
_IN_LABEL = {"method.num_experts", "method.slots_per_expert"}
_CAPTION_KEYS = (
    "method.name",
    "method.expert",
    "method.placement",
    "method.composition",
    "method.layers",
    "optim.epochs",
    "optim.lr",
    "faithful",
)


def summary(sweep: SweepRecord) -> dict[str, Any]:
    """Everything that the tables show. Scores are fractions, a paper's figures percent; what is not known is null.

    Of a search (see `report.search`) test accuracies are null but for what was confirmed.
    """
    points, data = sweep.points(), sweep.header.get("data")
    varying, contenders = _varying(points), sweep.contenders()
    rows = [_row(point, marks, varying, sweep.data_name) for point, marks in marked_points(sweep)]
    return {
        "sweep_id": sweep.sweep_id,
        "study": sweep.study,
        "data": sweep.data_name,
        "backbone": sweep.backbone_name,
        "metric": sweep.metric,
        "states": sweep.states,
        "hypervolume": frontier.standard_hypervolume(_scores(contenders)),
        "bad_clips": len(data.get("bad_clips") or ()) if isinstance(data, dict) else 0,
        "shared": _shared(points, varying),
        "replicates": _replicates(points),
        "interval": _interval(contenders, "confirm with more seeds" if sweep.is_search else "raise --seeds"),
        "paper": paper_note(sweep),
        "device": _device(sweep.trials),
        "varying": varying,
        "points": rows,
        "search": search_facts(sweep, rows) if sweep.is_search else None,
        "failures": [
            {"trial_id": t.trial_id, "label": t.label, "seed": t.seed, "fold": t.fold, "error": t.error}
            for t in sweep.trials
            if t.state == "failed"
        ],
    }


def marked_points(sweep: SweepRecord) -> list[tuple[PointRecord, tuple[str, ...]]]:
    """Every point with its marks among `front`, `knee` and `best`; in a search also `near` for points near the front,
    and `3-D` for what no other point beats in parameters, accuracy and step time, where that was an objective.

    A point that is no contender (see `SweepRecord.contenders`) has none.
    """
    contenders = sweep.contenders()
    values = _scores(contenders)
    marks: dict[str, list[str]] = {point.point: [] for point in sweep.points()}
    if values:
        for i in frontier.front(values):
            marks[contenders[i].point].append("front")
        if (found := frontier.knee(values)) is not None:
            marks[contenders[found].point].append("knee")
        marks[contenders[frontier.pick(values, "best")].point].append("best")
    if sweep.is_search:
        stands = standing(sweep)
        for point in contenders:
            if stands[point.point] == "near-front":
                marks[point.point].append("near")
        for name in step_time_front(sweep):
            marks[name].append("3-D")
    return [(point, tuple(marks[point.point])) for point in sweep.points()]


def named_n_p(labels: Iterable[str]) -> bool:
    """Are all labels N/p (experts and slots per expert), such as 12/2?"""
    return all(re.fullmatch(r"\d+/\d+", label) for label in labels)


def _scores(points: Sequence[PointRecord]) -> list[tuple[int, float]]:
    return [(point.num_trainable_params, point.known_accuracy.mean) for point in points]


def _row(point: PointRecord, marks: Sequence[str], varying: Sequence[str], data_name: str) -> dict[str, Any]:
    config = flatten(point.config)
    return {
        "point": point.point,
        "label": point.label,
        "varying": {key: config.get(key) for key in varying},
        "bottleneck_dim": config.get("method.bottleneck_dim") if _turns(point, "bottleneck_dim") else None,
        "paper_params": point.paper_params,
        "params": point.params,
        "num_trainable_params": point.num_trainable_params,
        "val_accuracy": _spread(point.val_accuracy),
        "test_accuracy": _spread(point.test_accuracy),
        "paper_percent": paper_figure(point, data_name),
        "device_seconds": _spread(point.device_seconds),
        "num_completed": len(point.completed),
        "num_trials": len(point.trials),
        "marks": list(marks),
        "replicates": [_replicate(trial) for trial in point.trials],
        "config": point.config,
    }


def _replicate(trial: TrialRecord) -> dict[str, Any]:
    return {
        "seed": trial.seed,
        "fold": trial.fold,
        "val": trial.val_accuracy,
        "test": trial.test_accuracy,
        "best_epoch": trial.best_epoch,
        "device_seconds": trial.device_seconds,
        "state": trial.state,
    }


def _interval(points: Sequence[PointRecord], more_seeds: str) -> str:
    """What the intervals of this sweep are, as the caption says it; empty without a result."""
    scored = [point for point in points if point.val_accuracy is not None]
    several = [point for point in scored if point.known_accuracy.n > 1]
    over_folds = [point for point in several if len(point.completed_folds) > 1]
    over_seeds = [point for point in several if len(point.completed_folds) == 1]
    kinds = []
    if over_folds:
        seeds = {len(trials) for point in over_folds for trials in point.completed_folds.values()}
        each = f" (each the mean of {_from_to(seeds)} seeds)" if max(seeds) > 1 else ""
        kinds.append(f"Student's t over {_from_to(point.known_accuracy.n for point in over_folds)} folds{each}")
    if over_seeds:
        counts = _from_to(point.known_accuracy.n for point in over_seeds)
        kinds.append(f"over {counts} seeds where there is one fold" if kinds else f"Student's t over {counts} seeds")
    spreads = [spread for p in scored for spread in (p.val_accuracy, p.test_accuracy) if spread is not None]
    single = [spread for spread in spreads if spread.n == 1 and spread.low is not None]
    if single:
        edge = ", exact where all or none are right" if any(spread.mean in (0, 1) for spread in single) else ""
        kinds.append(f"bootstrap over clips{edge}" + (" where there is one run" if several else ""))
    if not kinds:
        return "one replicate: no interval" if scored else ""
    more = [
        text
        for text, of in (("name more --folds", over_folds), (more_seeds, over_seeds))
        if any(point.known_accuracy.n == 2 for point in of)
    ]
    few = f"; two replicates hardly bound anything: {', '.join(more)}" if more else ""
    # Scores are rounded to single precision: what is as close as this is equal.
    equal = any(spread.std is not None and spread.std < 1e-6 for spread in spreads)
    no_width = "; no width where replicates happen to be equal" if equal else ""
    return f"95 % interval: {', '.join(kinds)}{few}{no_width}"


def _from_to(counts: Iterable[int]) -> str:
    """'5', or '2 to 5' where they differ."""
    counts = sorted(counts)
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _varying(points: Sequence[PointRecord]) -> list[str]:
    """Keys of the configuration that differ between points and are not in another column."""
    configs = [flatten(point.config) for point in points]
    hidden = _SHOWN_ELSEWHERE | (_IN_LABEL if named_n_p(point.label for point in points) else set())
    keys = dict.fromkeys(key for config in configs for key in config if key not in hidden)
    return [key for key in keys if len({json.dumps(config.get(key)) for config in configs}) > 1]


def _shared(points: Sequence[PointRecord], varying: Sequence[str]) -> dict[str, Any]:
    config = flatten(points[0].config) if points else {}
    shared = {key: config[key] for key in _CAPTION_KEYS if config.get(key) not in (None, []) and key not in varying}
    # What no method of the sweep can be told says nothing: LoRA has no composition.
    return {
        key: value
        for key, value in shared.items()
        if not key.startswith("method.") or any(_turns(point, key.removeprefix("method.")) for point in points)
    }


def _turns(point: PointRecord, dial: str) -> bool:
    """Can this point's method be told `dial` (a field of MethodConfig)?"""
    method = known(point.config["method"]["name"])
    return dial == "name" or method is None or dial in method.dials


def _replicates(points: Sequence[PointRecord]) -> str:
    """What replicates differ in: seeds, folds, or both (then they are called runs)."""
    seeds = any(len({trial.seed for trial in point.trials}) > 1 for point in points)
    folds = any(len({trial.fold for trial in point.trials}) > 1 for point in points)
    return ("runs" if seeds else "folds") if folds else "seeds"


def _device(trials: Sequence[TrialRecord]) -> str:
    kinds = {trial.device.split(":")[0].lower() for trial in trials if trial.device}
    names = {"cuda": "GPU", "gpu": "GPU", "cpu": "CPU"}
    return names.get(kinds.pop(), "device") if len(kinds) == 1 else "device"


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    return None if spread is None else dataclasses.asdict(spread)
