"""The frontier of a sweep as one picture: accuracy against trainable parameters, and the learning curves beside it.

Drawn with matplotlib's objects alone: no pyplot, no global state, no display.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import offset_copy

from astmoa.records import PointRecord, SweepRecord
from astmoa.report import whole_file
from astmoa.report.tables import marked_points, summary

NAME = "frontier.png"
# Okabe and Ito's colours, told apart by colour-blind readers too. More points than these go from dark to light by size.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B")
_FRONT = "#333333"
_SIDES = np.array([(1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)])
_MOST_NAMES = 20  # above it only the front's points are named, as far as there is room
Marked = tuple[PointRecord, tuple[str, ...]]


def frontier_picture(sweep: SweepRecord, path: Path) -> Path:
    """Write the picture as PNG, whole or not at all, and return its path. A sweep without results gives empty axes."""
    figure = Figure(figsize=(11, 4.8), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1))
    marked = sorted(marked_points(sweep), key=lambda item: item[0].num_trainable_params)
    colours = _colours(len(marked))
    names = _frontier_panel(left, marked, colours)
    _curves_panel(right, marked, colours)
    figure.suptitle(_title(sweep), fontsize=11)
    canvas.draw()  # settles the layout, so that labels can be placed in pixels
    _spread_labels(left, names, canvas)
    path = Path(path)
    with whole_file(path) as unfinished:
        canvas.print_png(unfinished)
    return path


def _title(sweep: SweepRecord) -> str:
    facts = summary(sweep)
    replicates = max((point["num_trials"] for point in facts["points"]), default=0)
    noun = facts["replicates"] if replicates != 1 else facts["replicates"][:-1]
    return f"{sweep.study}: {sweep.data_name} data, backbone {sweep.backbone_name}, {replicates} {noun} per point"


def _colours(count: int) -> Sequence[str]:
    return (
        _COLOURS if count <= len(_COLOURS) else [to_hex(c) for c in colormaps["viridis"](np.linspace(0, 0.92, count))]
    )


def _frontier_panel(axes: Axes, marked: Sequence[Marked], colours: Sequence[str]) -> list[Annotation]:
    """Points with their spread, every replicate, the front's steps; returns the points' names, not yet placed."""
    axes.set(xlabel="trainable parameters (with head)", ylabel="validation accuracy (%)")
    scored = [(p, marks, c) for (p, marks), c in zip(marked, colours, strict=False) if p.val_accuracy is not None]
    if not scored:
        axes.text(0.5, 0.5, "no trial has completed", transform=axes.transAxes, ha="center", va="center")
        return []
    sizes = [point.num_trainable_params for point, _, _ in scored]
    _size_axis(axes, sizes)
    # Replicates stand a little to the left, where the bar of their spread does not hide them.
    beside = offset_copy(axes.transData, axes.figure, x=-7, units="points")
    names = []
    for point, marks, colour in scored:
        spread, size = point.val_accuracy, point.num_trainable_params
        each = [100 * trial.val_accuracy for trial in point.completed if trial.val_accuracy is not None]
        axes.plot([size] * len(each), each, "o", color=colour, alpha=0.45, ms=4, mew=0, zorder=3, transform=beside)
        axes.errorbar(
            size,
            100 * spread.mean,
            yerr=None if spread.std is None else 100 * spread.std,
            fmt="o",
            color=colour,
            ms=7,
            mec="white",
            mew=0.8,
            elinewidth=1.2,
            capsize=3,
            zorder=4,
        )
        if "knee" in marks:
            axes.plot(size, 100 * spread.mean, "o", ms=14, mfc="none", mec=_FRONT, mew=1.3, zorder=5, label="knee")
        if len(scored) > _MOST_NAMES and not marks:
            continue
        text = axes.annotate(
            point.label, (size, 100 * spread.mean), xytext=(0, 0), textcoords="offset points", fontsize=9, zorder=6
        )
        text.set_color(_FRONT if "front" in marks else "#777777")
        text.set_fontweight("bold" if "best" in marks else "normal")
        names.append(text)
    edge = [(p.num_trainable_params, 100 * p.val_accuracy.mean) for p, marks, _ in scored if "front" in marks]
    edge.append((axes.get_xlim()[1], edge[-1][1]))  # the best accuracy holds for every larger budget
    axes.step(*zip(*edge, strict=True), where="post", color=_FRONT, lw=1.2, zorder=1, label="front")
    low, high = axes.get_ylim()
    margin = 0.04 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    _frame(axes)
    return names


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Limits with air on both sides; logarithmic where sizes span more than a factor of 4."""
    low, high = min(sizes), max(sizes)
    if high > 4 * low > 0:
        axes.set_xscale("log")
        air = (high / low) ** 0.08
        axes.set_xlim(low / air, high * air)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        air = 0.08 * (high - low) or 0.05 * high or 1
        axes.set_xlim(low - air, high + air)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: object = None) -> str:
    """901,600 as '901.6 K', 1,500,000 as '1.5 M'."""
    for unit, name in ((1e6, " M"), (1e3, " K")):
        if abs(value) >= unit:
            return f"{value / unit:.5g}{name}"
    return f"{value:.5g}"


def _curves_panel(axes: Axes, marked: Sequence[Marked], colours: Sequence[str]) -> None:
    """Validation accuracy by epoch: each trial faint, the mean of completed trials strong, colours as on the left."""
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    for (point, marks), colour in zip(marked, colours, strict=False):
        for trial in point.trials:
            axes.plot(*_curve(trial.epochs), color=colour, lw=0.7, alpha=0.3)
        if len(point.completed) > 0:
            curves = [dict(zip(*_curve(trial.epochs), strict=True)) for trial in point.completed]
            common = sorted(set.intersection(*(set(curve) for curve in curves)))
            mean = [float(np.mean([curve[epoch] for curve in curves])) for epoch in common]
            axes.plot(common, mean, color=colour, lw=2 if "front" in marks else 1.3, label=point.label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # Colours are the left panel's. Many names would cover the curves: then only the front's are given.
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    if len(lines) > len(_COLOURS):
        lines = [line for line in lines if line.get_lw() == 2]
    if 0 < len(lines) <= 12:
        axes.legend(handles=lines, loc="lower right", frameon=False, fontsize=8, ncols=2 if len(lines) > 4 else 1)
    _frame(axes)


def _curve(epochs: Sequence[dict]) -> tuple[list[int], list[float]]:
    known = [(e["epoch"], 100 * e["val_accuracy"]) for e in epochs if e.get("val_accuracy") is not None]
    return [epoch for epoch, _ in known], [accuracy for _, accuracy in known]


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e8e8", lw=0.6)
    axes.set_axisbelow(True)


def _spread_labels(axes: Axes, names: Sequence[Annotation], canvas: FigureCanvasAgg) -> None:
    """Put each name near its point where it hides least: tries eight sides at growing distances, in pixels.

    Among many points, or when it is long, a name must find room close by: far off it would seem another point's. A name
    without room is left out, if its point is not on the front.
    """
    crowded = len(names) > _MOST_NAMES
    # The best point's name chooses first, then the front's.
    names = sorted(names, key=lambda name: (name.get_fontweight() != "bold", name.get_color() != _FRONT))
    renderer = canvas.get_renderer()
    pixels_per_point = axes.figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    points = np.array([axes.transData.transform(name.xy) for name in names]).reshape(-1, 2)
    # Boxes to keep off, rows of (left, bottom, right, top): points, all lines, the legend, and names already placed.
    taken = [np.hstack([points - 10, points + 10])]
    for line in axes.lines:
        xy = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
        xy = _along(xy, line.get_drawstyle() == "steps-post")
        taken.append(np.hstack([xy - 3, xy + 3]))
    if axes.get_legend() is not None:
        taken.append(np.array([axes.get_legend().get_window_extent(renderer).extents]))
    for name, point in zip(names, points, strict=True):
        extent = name.get_window_extent(renderer)
        size = np.array([extent.width, extent.height])
        others = np.vstack(taken)
        tried = []
        close = crowded or len(name.get_text()) > 8
        for distance in (9, 14) if close else (9, 14, 20, 28, 38):
            for side in _SIDES:
                corner = point + side * distance * 0.8 * pixels_per_point - size * (1 - side) / 2
                inside = frame.contains(*corner) and frame.contains(*(corner + size))
                common = np.minimum(others[:, 2:], corner + size) - np.maximum(others[:, :2], corner)
                hidden = np.prod(np.maximum(common, 0), axis=1).sum()
                tried.append((hidden + distance + (0 if inside else 1e6), len(tried), corner))
        cost, _, corner = min(tried)
        if (
            crowded or (close and name.get_color() != _FRONT)
        ) and cost > 20:  # more than its distance: it would hide something
            name.set_visible(False)
            continue
        name.set_position((corner - point) / pixels_per_point)
        taken.append(np.hstack([corner - 5, corner + size + 5])[None])


def _along(xy: np.ndarray, steps: bool) -> np.ndarray:
    """Pixels every few along a line, so that a label can keep off it."""
    if len(xy) < 2:
        return xy
    if steps:
        corners = np.column_stack([xy[1:, 0], xy[:-1, 1]])
        xy = np.vstack([np.stack([xy[:-1], corners], axis=1).reshape(-1, 2), xy[-1:]])
    return np.vstack([np.linspace(a, b, max(2, int(np.hypot(*(b - a)) // 6))) for a, b in itertools.pairwise(xy)])
