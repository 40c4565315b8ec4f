"""A search as one picture: the front and what is near it, what the search gained as it went, and the front's names.

Confirmed points are strong, the search's own single replicates pale. Colours are Okabe and Ito's, and every kind has a
shape of its own, so that it is told apart without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from astmoa.records.hypervolumes import TraceRow
from astmoa.records.standing import front_probabilities
from astmoa.records.sweep import SweepRecord
from astmoa.records.trials import PointRecord
from astmoa.report.axes import frame, size_axis, write_picture
from astmoa.report.labels import FRONT, spread_labels
from astmoa.report.summary import marked_points
from astmoa.report.words import LONGEST_TITLE, drawn

_BLUE, _SKY, _ORANGE, _GREY = "#0072B2", "#56B4E9", "#D55E00", "#999999"
_MOST_NAMES = 14  # of the list beside the picture, which has 16 lines
_LONGEST_NAME = 42
Marked = tuple[PointRecord, tuple[str, ...]]


def search_picture(sweep: SweepRecord, path: Path) -> Path:
    """Write the picture as PNG, whole or not at all, and return its path. A search without results gives empty axes.

    Points of the front bear numbers, and a list beside them says what these are: the names of a search are long.
    """
    marked = sorted(marked_points(sweep), key=lambda item: item[0].num_trainable_params)
    figure = Figure(figsize=(12, 6.4), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1), height_ratios=(1, 1.25))
    left, gains, names = (figure.add_subplot(grid[place]) for place in ((slice(None), 0), (0, 1), (1, 1)))
    left.set_ylabel(f"validation {sweep.metric} (%)")
    numbers = _frontier_panel(left, sweep, marked)
    _gains_panel(gains, sweep.hypervolume_trace())
    _names_panel(names, sweep, [point for point, marks in marked if "front" in marks])
    figure.suptitle(_title(sweep), fontsize=11)
    handles, labels = left.get_legend_handles_labels()
    if handles:  # outside: many points leave no corner free
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    canvas.draw()  # settles the layout, so that numbers can be placed in pixels
    spread_labels(left, numbers, canvas, crowded=False)
    return write_picture(canvas, path)


def _title(sweep: SweepRecord) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in sweep.states.items() if count) or "no trials"
    confirmed = sum(point.confirmed for point in sweep.points())
    kind = f"{confirmed} points confirmed" if confirmed else "before confirmation"
    names = [drawn(name, LONGEST_TITLE) for name in (sweep.study, sweep.data_name, sweep.backbone_name)]
    return "{}: {} data, backbone {}; ".format(*names) + f"trials: {counts}; {kind}"


def _frontier_panel(axes: Axes, sweep: SweepRecord, marked: Sequence[Marked]) -> list[Annotation]:
    """All points by kind, the intervals of those on and near the front; returns the front's numbers, not yet placed."""
    axes.set_xlabel("trainable parameters (with head)")
    scored = [(point, marks) for point, marks in marked if point.val_accuracy is not None]
    if not scored:
        axes.text(0.5, 0.5, "no trial has completed", transform=axes.transAxes, ha="center", va="center")
        return []
    size_axis(axes, [point.num_trainable_params for point, _ in marked])
    final = sweep.confirmed
    front = [point for point, marks in scored if "front" in marks]
    near = [point for point, marks in scored if "near" in marks]
    behind = [point for point, marks in scored if not {"front", "near"} & set(marks) and point.confirmed >= final]
    single = [point for point, _ in scored if final and not point.confirmed]
    told = ", confirmed" if final else ""
    _dots(axes, single, "not confirmed: one replicate", marker="x", s=14, c=_GREY, alpha=0.5, lw=0.8, zorder=2)
    _dots(axes, behind, f"dominated{told}", marker="o", s=16, c=_GREY, alpha=0.75, lw=0, zorder=3)
    _dots(axes, near, f"near the front{told}", marker="s", s=26, c="white", edgecolors=_SKY, lw=1.3, zorder=4)
    _dots(axes, front, f"front{told}", marker="o", s=60, c=_BLUE, edgecolors="white", lw=0.7, zorder=6)
    _replicates(axes, [(front, _BLUE), (near, _SKY)])
    _bars(axes, near, ecolor=_SKY, alpha=0.35, elinewidth=0.8, zorder=2)
    _bars(axes, front, ecolor=_BLUE, alpha=0.75, elinewidth=1.4, capsize=3, zorder=3, label="95 % interval")
    fast = [point for point, marks in scored if "3-D" in marks and "front" not in marks]
    _dots(axes, fast, "front with step time", marker="^", s=70, c="none", edgecolors=_ORANGE, lw=1.3, zorder=5)
    for point, marks in scored:
        if "knee" in marks:
            place = point.num_trainable_params, 100 * point.known_accuracy.mean
            axes.plot(*place, "o", ms=14, mfc="none", mec=FRONT, mew=1.3, zorder=7, label="knee", ls="")
    edge: list[tuple[float, float]] = [(point.num_trainable_params, 100 * point.known_accuracy.mean) for point in front]
    edge.append((axes.get_xlim()[1], edge[-1][1]))  # the best accuracy holds for every larger budget
    axes.step(*zip(*edge, strict=True), where="post", color=FRONT, lw=1, zorder=2)
    _stopped(axes, [point for point, _ in marked if any(trial.state == "stopped" for trial in point.trials)])
    _limits(axes, [point for point, _ in scored])
    frame(axes)
    numbers = []
    for number, point in enumerate(front, 1):
        place = point.num_trainable_params, 100 * point.known_accuracy.mean
        text = axes.annotate(str(number), place, xytext=(0, 0), textcoords="offset points", fontsize=10, zorder=8)
        text.set(color=FRONT, path_effects=[withStroke(linewidth=2.5, foreground="white")])
        numbers.append(text)
    return numbers


def _dots(axes: Axes, points: Sequence[PointRecord], label: str, **look: Any) -> None:
    if points:
        sizes, means = zip(*((p.num_trainable_params, 100 * p.known_accuracy.mean) for p in points), strict=True)
        axes.scatter(sizes, means, label=label, **look)


def _replicates(axes: Axes, groups: Sequence[tuple[Sequence[PointRecord], str]]) -> None:
    """A little to the left of their mean, where its interval does not hide them. A single one is the mean."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    beside = offset_copy(axes.transData, figure, x=-7, units="points")
    for points, colour in groups:
        dots = [
            (point.num_trainable_params, 100 * trial.val_accuracy)
            for point in points
            for trial in point.completed
            if len(point.completed) > 1 and trial.val_accuracy is not None
        ]
        if dots:
            label = "replicates" if colour == _BLUE else None
            sizes, scores = zip(*dots, strict=True)
            axes.scatter(sizes, scores, s=9, c=colour, alpha=0.45, lw=0, zorder=3, transform=beside, label=label)


def _bars(axes: Axes, points: Sequence[PointRecord], **look: Any) -> None:
    known = [
        (point.num_trainable_params, spread.mean, spread.low, spread.high)
        for point, spread in ((point, point.known_accuracy) for point in points)
        if spread.low is not None and spread.high is not None
    ]
    if known:
        reach = [[100 * (mean - low) for _, mean, low, _ in known], [100 * (high - mean) for _, mean, _, high in known]]
        axes.errorbar([size for size, *_ in known], [100 * mean for _, mean, *_ in known], reach, fmt="none", **look)


def _stopped(axes: Axes, points: Sequence[PointRecord]) -> None:
    """Ticks on the lower edge: where trials were stopped, and nothing about how good they would have been."""
    if points:
        sizes = [point.num_trainable_params for point in points]
        edge = axes.get_xaxis_transform()
        axes.scatter(sizes, [0.012] * len(sizes), transform=edge, marker="|", s=50, c=_GREY, lw=0.8, alpha=0.6,
                     label="stopped early (its size only)")  # fmt: skip


def _limits(axes: Axes, points: Sequence[PointRecord]) -> None:
    """The means', and above them the intervals': those of the worst points would leave the front a line on top."""
    spreads = [point.known_accuracy for point in points]
    means = [100 * spread.mean for spread in spreads]
    tops = [100 * spread.high for spread in spreads if spread.high is not None]
    low, high = min(means), max(means)
    margin = max(0.08 * (high - low), 1.0)
    axes.set_ylim(low - margin, min(max([high, *tops]), high + 2 * margin) + 0.4 * margin)


def _gains_panel(axes: Axes, trace: Sequence[TraceRow]) -> None:
    """Hypervolume against the epochs that all trials of the search had spent."""
    axes.set(xlabel="epochs spent, of all trials of the search", ylabel="hypervolume")
    if trace:
        epochs, areas = [row.epochs_spent for row in trace], [row.hypervolume for row in trace]
        axes.step(epochs, areas, where="post", color=_BLUE, lw=1.6)
        axes.set_xlim(0, max(epochs) * 1.03)
        # From the first trials on it is nearly all there: the rest of the axis is for what was gained after.
        low, high = areas[min(2, len(areas) - 1)], areas[-1]
        if high > low:
            axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    frame(axes)


def _names_panel(axes: Axes, sweep: SweepRecord, front: Sequence[PointRecord]) -> None:
    """The numbers' names, accuracies and, once confirmed, the probability of being on the front."""
    axes.set_axis_off()
    probabilities = front_probabilities(sweep)
    score = "%" if sweep.metric == "accuracy" else f"{sweep.metric} %"
    rows: list[tuple[str, ...]] = [("", "front", f"val {score}", "on front %")]
    for number, point in enumerate(front[:_MOST_NAMES], 1):
        probable = probabilities.get(point.point)
        said = "" if probable is None else f"{100 * probable:.0f}"
        rows.append((str(number), drawn(point.label, _LONGEST_NAME), f"{100 * point.known_accuracy.mean:.1f}", said))
    if not probabilities:
        rows = [row[:3] for row in rows]
    if len(front) > _MOST_NAMES:
        rows.append(("", f"and {len(front) - _MOST_NAMES} more: see table.md"))
    places = ((0.04, "right"), (0.07, "left"), (0.82, "right"), (1.0, "right"))
    for line, row in enumerate(rows):
        for text, (x, side) in zip(row, places, strict=False):
            axes.text(x, 1 - line / 16, text, transform=axes.transAxes, ha=side, va="top", fontsize=8,
                      color="#777777" if line == 0 else FRONT)  # fmt: skip
