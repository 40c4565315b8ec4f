"""A sweep's points as one table: in the terminal (rich), as markdown for a log book, and as JSON.

All three show the same `summary`. What differs between points has a column, what all share stands in the caption.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from astmoa.errors import printable
from astmoa.records.sweep import SweepRecord
from astmoa.report import whole_file
from astmoa.report.cells import (
    Column,
    Row,
    caption,
    device_seconds,
    failures,
    marks_text,
    percent,
    pipe_table,
    short_key,
    terminal_table,
    value_text,
)
from astmoa.report.search_tables import markdown_search, rich_search
from astmoa.report.summary import named_n_p, summary
from astmoa.report.words import markdown

MARKDOWN_NAME = "table.md"
JSON_NAME = "table.json"
_MOST_VARYING = 4  # columns for keys that vary; with more of them the label alone says what a point is


def rich_table(sweep: SweepRecord) -> RenderableType:
    """The table for a terminal, its caption below it, then the failed trials."""
    facts = summary(sweep)
    if facts["search"]:
        return rich_search(facts)
    columns, rows = _cells(facts, narrow=True)
    n_p = columns[0][0] == "N/p"
    if not n_p:  # the label gives the bottleneck too
        columns, rows = columns[:1] + columns[2:], [row[:1] + row[2:] for row in rows]
    below = caption(facts) + (" r: bottleneck; knee" if n_p else " Knee") + " and best lie on the front."
    bold = ["best" in point["marks"] for point in facts["points"]]
    table = terminal_table(facts["study"], columns, rows, bold, below)
    return Group(table, *(Text(printable(f"failed: {line}"), style="red") for line in failures(facts)))


def markdown_table(sweep: SweepRecord) -> str:
    """The table as a plain pipe table, its caption below it, then the failed trials."""
    return _markdown(summary(sweep))


def _markdown(facts: dict[str, Any]) -> str:
    if facts["search"]:
        return markdown_search(facts)
    columns, rows = _cells(facts)
    lines = [
        *pipe_table(columns, rows),
        "",
        markdown(caption(facts)),
        *([""] if facts["failures"] else []),
        *(f"- failed: {markdown(line)}" for line in failures(facts)),
    ]
    return "\n".join(lines) + "\n"


def write_tables(sweep: SweepRecord, folder: Path) -> tuple[Path, Path]:
    """Write `table.md` and `table.json` into a folder, each whole or not at all."""
    paths = Path(folder) / MARKDOWN_NAME, Path(folder) / JSON_NAME
    facts = summary(sweep)
    texts = _markdown(facts), json.dumps(facts, indent=1, allow_nan=False) + "\n"
    for path, text in zip(paths, texts, strict=True):
        with whole_file(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return paths


def _cells(facts: dict[str, Any], narrow: bool = False) -> tuple[list[Column], list[Row]]:
    """(column name, is it a number) and the rows' cells as text. Narrow: for 80 columns, and no column for what varies,
    which the label tells."""
    points, metric = facts["points"], {"accuracy": "acc"}.get(facts["metric"], facts["metric"])
    varying = [] if narrow or len(facts["varying"]) > _MOST_VARYING else facts["varying"]
    has_paper = any(point["paper_percent"] is not None for point in points)
    columns = [("N/p" if named_n_p(point["label"] for point in points) else "point", False)]
    columns += [(short_key(key), False) for key in varying]
    columns += [("r" if narrow else "bottleneck", True), ("params", True), ("with head", True)]
    columns += [(f"val {metric} %", True), (f"test {metric} %", True)]
    columns += [("paper %", True)] if has_paper else []
    columns += [(facts["replicates"], True), (f"{device_seconds(facts)[0]}-s", True), ("", False)]
    rows = []
    for point in points:
        done, trials, seconds = point["num_completed"], point["num_trials"], point["device_seconds"]
        figure = point["paper_percent"]
        rows.append(
            [
                point["label"],
                *(value_text(point["varying"][key]) for key in varying),
                value_text(point["bottleneck_dim"]),
                f"{point['paper_params']:,}",
                f"{point['num_trainable_params']:,}",
                percent(point["val_accuracy"], narrow),
                percent(point["test_accuracy"], narrow),
                *(["–" if figure is None else f"{figure:.2f}"] if has_paper else []),
                str(done) if done == trials else f"{done} of {trials}",
                "–" if seconds is None else f"{seconds['mean']:.1f}",
                marks_text(point["marks"], narrow),
            ]
        )
    return columns, rows
