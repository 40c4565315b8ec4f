"""What tables are made of: cells as text, what stands below them, and the frame in a terminal or in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from astmoa.errors import printable
from astmoa.report.words import markdown

Column = tuple[str, bool]  # its name, and whether it holds numbers
Row = list[str]
_LONGEST = 200  # characters of a cell


def terminal_table(
    title: str, columns: Sequence[Column], rows: Sequence[Row], bold: Sequence[bool], below: str
) -> Table:
    """For 80 columns, numbers' headers break, cells never. Whatever a file says comes out as its own characters."""
    columns = [(printable(name, _LONGEST), is_number) for name, is_number in columns]
    rows = [[printable(text, _LONGEST) for text in row] for row in rows]
    widths = [
        max(map(len, [*name.split(), *cells]), default=0) for (name, _), *cells in zip(columns, *rows, strict=True)
    ]
    table = Table(
        title=Text(printable(title, _LONGEST)),
        caption=Text(printable(below)),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1 if sum(widths) + 2 * (len(widths) - 1) <= 80 else 0, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    for name, is_number in columns:
        header = Text(name.replace(" ", "\n") if is_number else name)
        table.add_column(header, justify="right" if is_number else "left", no_wrap=is_number)
    for row, is_bold in zip(rows, bold, strict=True):
        table.add_row(*map(Text, row), style="bold" if is_bold else None)
    return table


def pipe_table(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Lines of markdown."""
    rule = ["---:" if is_number else "---" for _, is_number in columns]
    return [pipe(name for name, _ in columns), pipe(rule), *map(pipe, rows)]


def caption(facts: dict[str, Any]) -> str:
    """What all points share, what the columns mean, how many trials came to which end: in one line, with a journal's
    words as they are."""
    states = ", ".join(f"{count} {state}" for state, count in facts["states"].items() if count) or "no trials"
    parts = [f"{facts['study']}: data {facts['data']}", f"backbone {facts['backbone']}"]
    parts += [f"{short_key(key)} {value_text(value)}" for key, value in facts["shared"].items()]
    parts += [f"trials: {states}"]
    if facts["bad_clips"]:
        parts += [f"{facts['bad_clips']} unreadable clip{'s' * (facts['bad_clips'] > 1)} left out"]
    if facts["interval"]:
        parts += [f"mean and {facts['interval']}"]
    if facts["paper"]:
        parts += [facts["paper"]]
    unit, held = device_seconds(facts)
    parts += [
        "params: adapter + router + norm, as in the paper",
        f"{unit}-s: wall time of one trial x the {held} that it holds",
    ]
    return "; ".join(parts) + "."


def device_seconds(facts: dict[str, Any]) -> tuple[str, str]:
    """What device-seconds are called, as in core-seconds, and what they are seconds of. They tell what was held, not
    how busy it was."""
    units = {"CPU": ("core", "CPU cores"), "GPU": ("GPU", "GPUs (or shares of one)")}
    return units.get(facts["device"], ("device", "GPUs, or CPU cores where there is none,"))


def failures(facts: dict[str, Any]) -> list[str]:
    lines = []
    for fail in facts["failures"]:
        why = " ".join((fail["error"] or "no reason known").split())
        lines.append(f"{fail['trial_id']} ({fail['label']}, seed {fail['seed']}, fold {fail['fold']}): {why}")
    return lines


def percent(spread: dict[str, Any] | None, narrow: bool) -> str:
    """'87.2 [83.1, 91.3]', narrow '87.2 [83,91]'; the mean alone where no interval is known, '–' for no value."""
    if spread is None:
        return "–"
    low, high = spread["low"], spread["high"]
    mean = f"{100 * spread['mean']:.1f}"
    if low is None or high is None:
        return mean
    return mean + (f" [{100 * low:.0f},{100 * high:.0f}]" if narrow else f" [{100 * low:.1f}, {100 * high:.1f}]")


def marks_text(marks: Sequence[str], narrow: bool) -> str:
    """Narrow: without `front` where the knee or the best, which always lie on it, say so already."""
    said = narrow and not {"knee", "best"}.isdisjoint(marks)
    return ", ".join(mark for mark in marks if not (said and mark == "front"))


def short_key(key: str) -> str:
    return "method" if key == "method.name" else key.split(".", 1)[-1]


def value_text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def pipe(cells: Iterable[str]) -> str:
    return "| " + " | ".join(markdown(text, _LONGEST) for text in cells) + " |"
