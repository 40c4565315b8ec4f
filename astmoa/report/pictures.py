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
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from astmoa.methods.method import known
from astmoa.records.journal_events import EpochEvent
from astmoa.records.sweep import SweepRecord
from astmoa.records.trials import PointRecord
from astmoa.report.axes import drawing, frame, size_axis, write_picture
from astmoa.report.labels import FRONT, MOST_NAMES, spread_labels
from astmoa.report.search_picture import search_picture
from astmoa.report.summary import marked_points, summary
from astmoa.report.words import LONGEST_TITLE, drawn

NAME = "frontier.png"
# Okabe and Ito's colours, told apart by colour-blind readers too. More points than these go from dark to light by size.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B")
# One marker fewer than colours: with both going round, 56 methods look different. Sizes in points, equal to the eye.
_MARKERS = {"o": 7, "s": 6.5, "D": 6, "^": 8, "v": 8, "P": 8.5, "*": 11}
Marked = tuple[PointRecord, tuple[str, ...]]
_LEGEND_COLUMNS = 7
_LONGEST_NAME, _LONGEST_KEY = 32, 24  # characters beside a point, and in a legend
Style = tuple[str, str]  # colour, marker


def frontier_picture(sweep: SweepRecord, path: Path) -> Path:
    """Write the picture as PNG, whole or not at all, and return its path. A sweep without results gives empty axes.

    Raises RunError where it cannot be drawn, OSError where it cannot be written.
    """
    with drawing(path):
        return search_picture(sweep, path) if sweep.is_search else _picture(sweep, path)


def _picture(sweep: SweepRecord, path: Path) -> Path:
    marked = sorted(marked_points(sweep), key=lambda item: item[0].num_trainable_params)
    styles, methods = _styles([point for point, _ in marked])
    legend_rows = -(-len(methods) // _LEGEND_COLUMNS)
    figure = Figure(figsize=(11, 4.8 + 0.22 * legend_rows), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1))
    for axes in (left, right):
        axes.set_ylabel(f"validation {sweep.metric} (%)")
    names = _frontier_panel(left, marked, styles)
    _curves_panel(right, marked, styles, named=not methods)
    if methods:
        handles = [
            Line2D([], [], ls="", color=c, marker=m, ms=_MARKERS[m], label=drawn(name, _LONGEST_KEY))
            for name, (c, m) in methods.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False, fontsize=8)
    figure.suptitle(_title(sweep), fontsize=11)
    canvas.draw()  # settles the layout, so that labels can be placed in pixels
    spread_labels(left, names, canvas, crowded=len(marked) > MOST_NAMES)
    return write_picture(canvas, path)


def _title(sweep: SweepRecord) -> str:
    facts = summary(sweep)
    replicates = max((point["num_trials"] for point in facts["points"]), default=0)
    noun = facts["replicates"] if replicates != 1 else facts["replicates"][:-1]
    bars = "" if all((p["val_accuracy"] or {}).get("low") is None for p in facts["points"]) else "; bars: 95 % interval"
    names = [drawn(name, LONGEST_TITLE) for name in (sweep.study, sweep.data_name, sweep.backbone_name)]
    return "{}: {} data, backbone {}, ".format(*names) + f"{replicates} {noun} per point{bars}"


def _styles(points: Sequence[PointRecord]) -> tuple[list[Style], dict[str, Style]]:
    """A style for each point, and the legend of methods: empty where all points are of one method, for then each point
    has a colour of its own."""
    names = _method_names(points)
    methods = sorted(set(names))
    if len(methods) > 1:
        looks = zip(itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False)
        legend = dict(zip(methods, looks, strict=False))
        return [legend[name] for name in names], legend
    colours: Sequence[str] = _COLOURS
    if len(points) > len(_COLOURS):
        colours = [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 0.92, len(points)))]
    return [(colour, "o") for colour, _ in zip(colours, points, strict=False)], {}


def _method_names(points: Sequence[PointRecord]) -> list[str]:
    """Each point's method; of mixtures also what their experts are, where that differs."""
    methods = [point.config["method"] for point in points]
    mixture = [(method := known(m["name"])) is not None and method.is_mixture for m in methods]
    experts = [m.get("expert", "bottleneck") if mixed else None for m, mixed in zip(methods, mixture, strict=True)]
    differ = len(set(experts) - {None}) > 1
    return [f"{m['name']} {e}" if differ and e else m["name"] for m, e in zip(methods, experts, strict=True)]


def _frontier_panel(axes: Axes, marked: Sequence[Marked], styles: Sequence[Style]) -> list[Annotation]:
    """Points with their intervals, every replicate, the front's steps; returns the points' names, not yet placed."""
    axes.set_xlabel("trainable parameters (with head)")
    scored = [(p, marks, s) for (p, marks), s in zip(marked, styles, strict=True) if p.val_accuracy is not None]
    if not scored:
        axes.text(0.5, 0.5, "no trial has completed", transform=axes.transAxes, ha="center", va="center")
        return []
    sizes = [point.num_trainable_params for point, _, _ in scored]
    crowded = len(scored) > MOST_NAMES
    size_axis(axes, sizes)
    # Replicates stand a little to the left, where the bar of their interval does not hide them.
    figure = axes.figure
    assert isinstance(figure, Figure)
    beside = offset_copy(axes.transData, figure, x=-7, units="points")
    names, everything = [], []
    for point, marks, (colour, marker) in scored:
        spread, size = point.known_accuracy, point.num_trainable_params
        mean = 100 * spread.mean
        each = [100 * trial.val_accuracy for trial in point.completed if trial.val_accuracy is not None]
        everything += each
        if len(each) > 1:  # a single one is the mean
            axes.plot(
                [size] * len(each),
                each,
                "o",
                color=colour,
                alpha=0.45,
                ms=3 if crowded else 4,
                mew=0,
                zorder=3,
                transform=beside,
            )
        axes.plot(size, mean, marker, color=colour, ms=_MARKERS[marker], mec="white", mew=0.6, zorder=4)
        if spread.low is not None and spread.high is not None:
            bar = [[max(mean - 100 * spread.low, 0)], [max(100 * spread.high - mean, 0)]]
            cap, alpha = (0, 0.35) if crowded else (3, 0.5)
            axes.errorbar(size, mean, bar, fmt="none", ecolor=colour, elinewidth=1, capsize=cap, alpha=alpha, zorder=2)
        if "knee" in marks:
            axes.plot(size, mean, "o", ms=14, mfc="none", mec=FRONT, mew=1.3, zorder=5, label="knee")
        if crowded and not marks:
            continue
        name = drawn(point.label, _LONGEST_NAME)
        text = axes.annotate(name, (size, mean), xytext=(0, 0), textcoords="offset points", fontsize=9, zorder=6)
        text.set_color(FRONT if "front" in marks else "#777777")
        text.set_fontweight("bold" if "best" in marks else "normal")
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])  # bars may run behind it
        text.set_in_layout(False)  # it finds its place once the panels have theirs
        names.append(text)
    edge: list[tuple[float, float]] = [
        (p.num_trainable_params, 100 * p.known_accuracy.mean) for p, marks, _ in scored if "front" in marks
    ]
    edge.append((axes.get_xlim()[1], edge[-1][1]))  # the best accuracy holds for every larger budget
    axes.step(*zip(*edge, strict=True), where="post", color=FRONT, lw=1.2, zorder=1, label="front")
    # Limits are the replicates': the interval of two of them would leave the points a line in the middle.
    low, high = min(everything), max(everything)
    margin = max(0.12 * (high - low), 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    frame(axes)
    return names


def _curves_panel(axes: Axes, marked: Sequence[Marked], styles: Sequence[Style], named: bool) -> None:
    """Validation score by epoch: each trial faint, the mean of completed trials strong, colours as on the left.

    named: with a legend of points; without it colours are those of methods.
    """
    axes.set_xlabel("epoch")
    crowded = len(marked) > MOST_NAMES
    for (point, marks), (colour, _) in zip(marked, styles, strict=True):
        if not crowded or marks:
            for trial in point.trials:
                axes.plot(*_curve(trial.epochs), color=colour, lw=0.7, alpha=0.3)
        if len(point.completed) > 0:
            curves = [dict(zip(*_curve(trial.epochs), strict=True)) for trial in point.completed]
            common = sorted(set.intersection(*(set(curve) for curve in curves)))
            mean = [float(np.mean([curve[epoch] for curve in curves])) for epoch in common]
            dot = "o" if len(common) == 1 else None  # a line of one epoch would not be seen
            name = drawn(point.label, _LONGEST_KEY)
            axes.plot(common, mean, color=colour, lw=2 if "front" in marks else 1.1, label=name, marker=dot)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # Colours are the left panel's. Many names would cover the curves: then only the front's are given.
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    if len(lines) > len(_COLOURS):
        lines = [line for line in lines if line.get_linewidth() == 2]
    if named and 0 < len(lines) <= 12:
        axes.legend(handles=lines, loc="lower right", frameon=False, fontsize=8, ncols=2 if len(lines) > 4 else 1)
    frame(axes)


def _curve(epochs: Sequence[EpochEvent]) -> tuple[list[int], list[float]]:
    known = [(e["epoch"], 100 * e["val_accuracy"]) for e in epochs if e.get("val_accuracy") is not None]
    return [epoch for epoch, _ in known], [accuracy for _, accuracy in known]
