"""A search as tables: the front and what is near it first, for hundreds of points are no table; then everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from astmoa.errors import printable
from astmoa.report.cells import (
    Column,
    Row,
    caption,
    device_seconds,
    failures,
    marks_text,
    percent,
    pipe_table,
    terminal_table,
)
from astmoa.report.words import markdown

Facts = dict[str, Any]
_MOST_NEAR = 12  # points near the front that a terminal shows
_MOST_FAILURES = 3


def rich_search(facts: Facts) -> RenderableType:
    """For a terminal: the front, the points near it that are closest to it, and counts of all others."""
    first, _ = _divided(facts)
    behind = sorted((point for point in first if not _on_front(point)), key=lambda point: _gap(point, first))
    hidden = {id(point) for point in behind[_MOST_NEAR:]} | {id(p) for p in behind if not p["marks"]}
    shown = [point for point in first if id(point) not in hidden]
    columns, rows = _cells(facts, shown, narrow=True)
    table = terminal_table(facts["study"], columns, rows, ["best" in p["marks"] for p in shown], caption(facts))
    what = "confirmed points, not on the front" if facts["search"]["confirmed"] else "points near the front"
    more = [f"{len(hidden)} more {what}: see table.md."] if hidden else []
    failed = [f"failed: {line}" for line in failures(facts)]
    if len(failed) > _MOST_FAILURES:
        failed[_MOST_FAILURES:] = [f"failed: {len(failed) - _MOST_FAILURES} more, see table.md"]
    told = [(line, "") for line in more + _lines(facts)] + [(line, "red") for line in failed]
    return Group(table, *(Text(printable(line), style) for line, style in told))


def markdown_search(facts: Facts) -> str:
    """Two tables: the front and what is near it (once confirmed: what was confirmed), then every other point."""
    first, others = _divided(facts)
    lines = [*pipe_table(*_cells(facts, first)), "", markdown(caption(facts)), ""]
    lines += [f"- {markdown(line)}" for line in _lines(facts)]
    if others:
        title = "Never confirmed" if facts["search"]["confirmed"] else "Dominated, stopped or failed"
        lines += ["", f"{title}:", "", *pipe_table(*_cells(facts, others, final=False))]
    if facts["failures"]:
        lines += ["", *(f"- failed: {markdown(line)}" for line in failures(facts))]
    return "\n".join(lines) + "\n"


def _divided(facts: Facts) -> tuple[list[Facts], list[Facts]]:
    """The points of the main table and the others, each from small to large."""
    points = sorted(
        facts["points"], key=lambda p: (p["num_trainable_params"], -(p["val_accuracy"] or {}).get("mean", 0))
    )
    if facts["search"]["confirmed"]:
        main = [point["confirmed"] for point in points]
    else:
        main = [bool(point["marks"]) for point in points]
    pairs = list(zip(points, main, strict=True))
    return [point for point, is_main in pairs if is_main], [point for point, is_main in pairs if not is_main]


def _on_front(point: Facts) -> bool:
    return "front" in point["marks"] or "3-D" in point["marks"]


def _gap(point: Facts, among: Sequence[Facts]) -> float:
    """How far below the front: the best mean accuracy of what is no larger, minus its own."""
    size = point["num_trainable_params"]
    return (
        max(p["val_accuracy"]["mean"] for p in among if p["num_trainable_params"] <= size)
        - (point["val_accuracy"]["mean"])
    )


def _cells(
    facts: Facts, points: Sequence[Facts], narrow: bool = False, final: bool = True
) -> tuple[list[Column], list[Row]]:
    """narrow: for 80 columns. final: the main table, which says more of confirmed points."""
    metric = {"accuracy": "acc"}.get(facts["metric"], facts["metric"])
    confirmed, timed = facts["search"]["confirmed"] and final, "step_time" in facts["search"]["objectives"]
    columns = [
        ("point", False),
        *([] if narrow else [("params", True)]),
        ("with head", True),
        (f"val {metric} %", True),
    ]
    columns += [(f"test {metric} %", True), ("on front %", True)] if confirmed else []
    columns += [("step ms", True)] if timed else []
    columns += [(facts["replicates"], True)]
    columns += [] if narrow else [(f"{device_seconds(facts)[0]}-s", True)]
    columns += [("", False)]
    rows = []
    for point in points:
        done, trials, seconds = point["num_completed"], point["num_trials"], point["device_seconds"]
        rows.append(
            [
                point["label"],
                *([] if narrow else [f"{point['paper_params']:,}"]),
                f"{point['num_trainable_params']:,}",
                percent(point["val_accuracy"], narrow),
                *([percent(point["test_accuracy"], narrow), _whole(point["front_probability"])] if confirmed else []),
                *([_milliseconds(point["step_seconds"])] if timed else []),
                str(done) if done == trials else f"{done} of {trials}",
                *([] if narrow else ["–" if seconds is None else f"{seconds['mean']:.1f}"]),
                _remark(point, narrow),
            ]
        )
    return columns, rows


def _remark(point: Facts, narrow: bool) -> str:
    """Its marks; without any, what became of it."""
    if point["marks"]:
        return marks_text(point["marks"], narrow)
    if point["outcome"] == "stopped" and point["stopped_at"]:
        return f"stopped after epoch {point['stopped_at']}"
    return point["outcome"] or point["standing"] or ""


def _lines(facts: Facts) -> list[str]:
    """What no row says: what came of all points, what it cost, why it ended, what to do next."""
    search = facts["search"]
    outcomes = ", ".join(f"{count} {name}" for name, count in search["outcomes"].items())
    lines = [f"{search['num_points']} points tried: {outcomes}."] if outcomes else []
    spent = search["device_seconds"]
    total = sum(spent.values())
    parts = [f"{name.replace('_', '-')} {100 * seconds / total:.0f} %" for name, seconds in spent.items() if seconds]
    went = f"; {total:,.0f} {device_seconds(facts)[0]}-seconds: {', '.join(parts)}" if parts else ""
    lines.append(f"{search['num_epochs']:,} epochs spent, hypervolume of the front {facts['hypervolume']:.3f}{went}.")
    if search["reason"]:
        lines.append(f"Ended: {search['reason']}.")
    if search["outdated"]:
        lines.append(
            "The search went on after its confirmation, so that the front is the search's again: confirm it anew with "
            "--resume and --confirm; replicates that are there are not run again."
        )
    elif search["num_confirming"] and not search["confirmed"]:
        lines.append(
            f"The confirmation is not finished: {search['num_confirming']} of {search['num_chosen']} chosen points "
            "have fresh replicates. Until all have, the front is the search's; go on with --resume."
        )
    if search["confirmed"]:
        others = search["num_points"] - search["num_confirmed"]
        lines.append(
            f"{search['num_confirmed']} points were confirmed by fresh replicates; the front is made of them alone "
            f"({others} never confirmed). On front: the probability of it, given how replicates differ."
        )
    elif any(point["marks"] for point in facts["points"]):
        lines.append(
            "One replicate of each, so that the front holds the lucky ones: --confirm seeds=5 trains it and what is "
            "near it again, and shows test scores."
        )
    if "step_time" in search["objectives"]:
        lines.append("3-D: no other point beats it in parameters, accuracy and step time together.")
    return lines


def _whole(probability: float | None) -> str:
    return "–" if probability is None else f"{100 * probability:.0f}"


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.1f}"
