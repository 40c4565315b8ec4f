"""A sweep's points as one table: in the terminal (rich), as markdown for a log book, and as JSON.

All three show the same `summary`. What differs between points has a column, what all share stands in the caption.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from astmoa import frontier
from astmoa.records import PointRecord, Spread, SweepRecord, TrialRecord, flatten
from astmoa.report import whole_file

MARKDOWN_NAME = "table.md"
JSON_NAME = "table.json"

# Columns of their own, or not part of a point.
_SHOWN_ELSEWHERE = {"method.bottleneck_dim", "seed", "data.fold", "data.root", "data.skip_bad_clips"}
_IN_LABEL = {"method.num_experts", "method.slots_per_expert"}
_CAPTION_KEYS = (
    "method.name",
    "method.placement",
    "method.composition",
    "method.layers",
    "optim.epochs",
    "optim.lr",
    "faithful",
)


def summary(sweep: SweepRecord) -> dict[str, Any]:
    """Everything that the tables show, ready for JSON. Accuracies are fractions; what is not known is null."""
    points, data = sweep.points(), sweep.header.get("data")
    varying = _varying(points)
    return {
        "sweep_id": sweep.sweep_id,
        "study": sweep.study,
        "data": sweep.data_name,
        "backbone": sweep.backbone_name,
        "states": sweep.states,
        "hypervolume": frontier.standard_hypervolume(_scores(points)),
        "bad_clips": len(data.get("bad_clips") or ()) if isinstance(data, dict) else 0,
        "shared": _shared(points, varying),
        "replicates": _replicates(points),
        "device": _device(sweep.trials),
        "varying": varying,
        "points": [_row(point, marks, varying) for point, marks in marked_points(sweep)],
        "failures": [
            {"trial_id": t.trial_id, "label": t.label, "seed": t.seed, "fold": t.fold, "error": t.error}
            for t in sweep.trials
            if t.state == "failed"
        ],
    }


def marked_points(sweep: SweepRecord) -> list[tuple[PointRecord, tuple[str, ...]]]:
    """Every point with its marks among `front`, `knee` and `best`. A point without a completed trial has none."""
    points = sweep.points()
    marks: list[list[str]] = [[] for _ in points]
    scored = [i for i, point in enumerate(points) if point.val_accuracy is not None]
    values = _scores(points)
    if scored:
        for i in frontier.front(values):
            marks[scored[i]].append("front")
        if (found := frontier.knee(values)) is not None:
            marks[scored[found]].append("knee")
        marks[scored[frontier.pick(values, "best")]].append("best")
    return [(point, tuple(mark)) for point, mark in zip(points, marks, strict=True)]


def rich_table(sweep: SweepRecord) -> RenderableType:
    """The table for a terminal, its caption below it, then the failed trials."""
    facts = summary(sweep)
    table = Table(
        title=Text(facts["study"]),
        caption=Text(_caption(facts)),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    columns, rows = _cells({**facts, "varying": [], "points": [{**p, "varying": {}} for p in facts["points"]]})
    if not _named_n_p(point["label"] for point in facts["points"]):  # the label gives the bottleneck too
        columns, rows = columns[:1] + columns[2:], [row[:1] + row[2:] for row in rows]
    for name, is_number in columns:  # what varies is in the label; for 80 columns, numbers' headers break, cells never
        header = Text(name.replace(" ", "\n") if is_number else name)
        table.add_column(header, justify="right" if is_number else "left", no_wrap=is_number)
    for row, point in zip(rows, facts["points"], strict=True):
        table.add_row(*map(Text, row), style="bold" if "best" in point["marks"] else None)
    return Group(table, *(Text(f"failed: {line}", style="red") for line in _failures(facts)))


def markdown_table(sweep: SweepRecord) -> str:
    """The table as a plain pipe table, its caption below it, then the failed trials."""
    facts = summary(sweep)
    columns, rows = _cells(facts)
    lines = [
        _pipe(name for name, _ in columns),
        _pipe("---:" if is_number else "---" for _, is_number in columns),
        *(_pipe(row) for row in rows),
        "",
        _caption(facts),
        *([""] if facts["failures"] else []),
        *(f"- failed: {line}" for line in _failures(facts)),
    ]
    return "\n".join(lines) + "\n"


def write_tables(sweep: SweepRecord, folder: Path) -> tuple[Path, Path]:
    """Write `table.md` and `table.json` into a folder, each whole or not at all."""
    paths = Path(folder) / MARKDOWN_NAME, Path(folder) / JSON_NAME
    texts = markdown_table(sweep), json.dumps(summary(sweep), indent=1, allow_nan=False) + "\n"
    for path, text in zip(paths, texts, strict=True):
        with whole_file(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return paths


def _scores(points: Sequence[PointRecord]) -> list[tuple[int, float]]:
    return [(p.num_trainable_params, p.val_accuracy.mean) for p in points if p.val_accuracy is not None]


def _row(point: PointRecord, marks: Sequence[str], varying: Sequence[str]) -> dict[str, Any]:
    config = flatten(point.config)
    return {
        "point": point.point,
        "label": point.label,
        "varying": {key: config.get(key) for key in varying},
        "bottleneck_dim": config.get("method.bottleneck_dim"),
        "paper_params": point.paper_params,
        "params": point.params,
        "num_trainable_params": point.num_trainable_params,
        "val_accuracy": _spread(point.val_accuracy),
        "test_accuracy": _spread(point.test_accuracy),
        "device_seconds": _spread(point.device_seconds),
        "num_completed": len(point.completed),
        "num_trials": len(point.trials),
        "marks": list(marks),
        "config": point.config,
    }


def _cells(facts: dict[str, Any]) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """(column name, is it a number) and the rows' cells as text."""
    columns = [("N/p" if _named_n_p(point["label"] for point in facts["points"]) else "point", False)]
    columns += [(_short(key), False) for key in facts["varying"]]
    columns += [("bottleneck", True), ("params", True), ("with head", True), ("val acc %", True), ("test acc %", True)]
    columns += [(facts["replicates"], True), (f"{facts['device']}-s", True), ("", False)]
    rows = []
    for point in facts["points"]:
        done, trials, seconds = point["num_completed"], point["num_trials"], point["device_seconds"]
        rows.append(
            [
                point["label"],
                *(_text(value) for value in point["varying"].values()),
                _text(point["bottleneck_dim"]),
                f"{point['paper_params']:,}",
                f"{point['num_trainable_params']:,}",
                _percent(point["val_accuracy"]),
                _percent(point["test_accuracy"]),
                str(done) if done == trials else f"{done} of {trials}",
                "–" if seconds is None else f"{seconds['mean']:.1f}",
                ", ".join(point["marks"]),
            ]
        )
    return columns, rows


def _caption(facts: dict[str, Any]) -> str:
    """One line: what all points share, what the columns mean, how many trials came to which end."""
    states = ", ".join(f"{count} {state}" for state, count in facts["states"].items() if count) or "no trials"
    parts = [f"{facts['study']}: data {facts['data']}", f"backbone {facts['backbone']}"]
    parts += [f"{_short(key)} {_text(value)}" for key, value in facts["shared"].items()]
    parts += [f"trials: {states}"]
    if facts["bad_clips"]:
        parts += [f"{facts['bad_clips']} unreadable clips left out"]
    parts += [
        f"mean ± sample standard deviation over {facts['replicates']}",
        "params: adapter + router + norm, as in the paper; seconds: device-seconds of one trial",
    ]
    return "; ".join(parts) + "."


def _failures(facts: dict[str, Any]) -> list[str]:
    lines = []
    for fail in facts["failures"]:
        why = " ".join((fail["error"] or "no reason known").split())
        lines.append(f"{fail['trial_id']} ({fail['label']}, seed {fail['seed']}, fold {fail['fold']}): {why}")
    return lines


def _varying(points: Sequence[PointRecord]) -> list[str]:
    """Keys of the configuration that differ between points and are not in another column."""
    configs = [flatten(point.config) for point in points]
    hidden = _SHOWN_ELSEWHERE | (_IN_LABEL if _named_n_p(point.label for point in points) else set())
    keys = dict.fromkeys(key for config in configs for key in config if key not in hidden)
    return [key for key in keys if len({json.dumps(config.get(key)) for config in configs}) > 1]


def _shared(points: Sequence[PointRecord], varying: Sequence[str]) -> dict[str, Any]:
    config = flatten(points[0].config) if points else {}
    return {key: config[key] for key in _CAPTION_KEYS if config.get(key) not in (None, []) and key not in varying}


def _replicates(points: Sequence[PointRecord]) -> str:
    """What replicates differ in: seeds, folds, or both (then they are called runs)."""
    seeds = any(len({trial.seed for trial in point.trials}) > 1 for point in points)
    folds = any(len({trial.fold for trial in point.trials}) > 1 for point in points)
    return ("runs" if seeds else "folds") if folds else "seeds"


def _device(trials: Sequence[TrialRecord]) -> str:
    kinds = {trial.device.split(":")[0].lower() for trial in trials if trial.device}
    names = {"cuda": "GPU", "gpu": "GPU", "cpu": "CPU"}
    return names.get(kinds.pop(), "device") if len(kinds) == 1 else "device"


def _named_n_p(labels: Iterable[str]) -> bool:
    return all(re.fullmatch(r"\d+/\d+", label) for label in labels)


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    return None if spread is None else dataclasses.asdict(spread)


def _percent(spread: dict[str, Any] | None) -> str:
    """'87.2 ± 1.1', without a deviation for one value, '–' for none."""
    if spread is None:
        return "–"
    return f"{100 * spread['mean']:.1f}" + ("" if spread["std"] is None else f" ± {100 * spread['std']:.1f}")


def _short(key: str) -> str:
    return "method" if key == "method.name" else key.split(".", 1)[-1]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _pipe(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
