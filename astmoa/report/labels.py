"""Names beside points, placed where they hide least."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.text import Annotation

FRONT = "#333333"  # the colour of a name whose point is on the front
MOST_NAMES = 20  # above it only the front's points are named, as far as there is room
_SIDES = np.array([(1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)])


def spread_labels(axes: Axes, names: Sequence[Annotation], canvas: FigureCanvasAgg, crowded: bool) -> None:
    """Put each name near its point where it hides least: tries eight sides at growing distances, in pixels.

    In a crowd of points, or when it is long, a name must find room close by: far off it would seem another point's. A
    name without room is left out: in a crowd any but the best point's, otherwise those of points that are not on the
    front.
    """
    # The best point's name chooses first, then the front's.
    names = sorted(names, key=lambda name: (name.get_fontweight() != "bold", name.get_color() != FRONT))
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
    for dots in axes.collections:
        if isinstance(dots, PathCollection):  # of scatter
            xy = dots.get_offset_transform().transform(dots.get_offsets())
            taken.append(np.hstack([xy - 5, xy + 5]))
    legend = axes.get_legend()
    if legend is not None:
        taken.append(np.array([legend.get_window_extent(renderer).extents]))
    for name, point in zip(names, points, strict=True):
        extent = name.get_window_extent(renderer)
        size = np.array([extent.width, extent.height])
        others = np.vstack(taken)
        tried: list[tuple[float, int, np.ndarray]] = []
        close = crowded or len(name.get_text()) > 8
        for distance in (9, 14) if close else (9, 14, 20, 28, 38):
            for side in _SIDES:
                corner = point + side * distance * 0.8 * pixels_per_point - size * (1 - side) / 2
                inside = frame.contains(*corner) and frame.contains(*(corner + size))
                common = np.minimum(others[:, 2:], corner + size) - np.maximum(others[:, :2], corner)
                hidden = np.prod(np.maximum(common, 0), axis=1).sum()
                tried.append((hidden + distance + (0 if inside else 1e6), len(tried), corner))
        cost, _, corner = min(tried)
        must_show = name.get_fontweight() == "bold" or not (crowded or (close and name.get_color() != FRONT))
        if not must_show and cost > 20:  # more than its distance: it would hide something
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
