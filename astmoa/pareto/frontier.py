"""The frontier of a study: few trainable parameters, high accuracy. Points are rows (num_trainable_params, accuracy).

Parameters are minimised and accuracy is maximised, everywhere in this module. Values are compared as they are; who
wants areas in decades of parameters takes `log_params` first. A point without a finite value has no place on a front:
every function raises ValueError for it, so the caller leaves trials without an accuracy out by name, never by accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Pick = Literal["best", "knee", "smallest"]
# Where sweeps' areas are measured from: 100 M parameters (a whole AST; log10) and accuracy 0.
REFERENCE = (8.0, 0.0)


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Is `a` at least as small and as accurate as `b`, and better in one of the two? Equal points: no."""
    (a_params, a_accuracy), (b_params, b_accuracy) = _checked([a, b])
    no_worse = a_params <= b_params and a_accuracy >= b_accuracy
    return bool(no_worse and (a_params < b_params or a_accuracy > b_accuracy))


def front(points: ArrayLike) -> np.ndarray:
    """Indices (int64) of the points that no other point dominates, smallest first. Of equal points all stay.

    Sorted by size, a point stays if it is the most accurate of its size and beats everything smaller: O(n log n).
    """
    params, accuracy = _checked(points).T
    kept: list[int] = []
    best = -np.inf
    for i in np.lexsort((-accuracy, params)):
        twin = bool(kept) and params[i] == params[kept[-1]] and accuracy[i] == accuracy[kept[-1]]
        if accuracy[i] > best or twin:
            kept.append(int(i))
            best = accuracy[i]
    return np.array(kept, dtype=np.int64)


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """Area between the front and `reference`, the largest size and the lowest accuracy that count.

    0 where no point is better than the reference in both. The unit is the product of both axes' units; only areas at
    the same reference can be compared.
    """
    points = _checked(points)
    ((most_params, least_accuracy),) = _checked([reference])
    inside = points[(points[:, 0] < most_params) & (points[:, 1] > least_accuracy)]
    edge = inside[front(inside)]
    widths = np.append(edge[1:, 0], most_params) - edge[:, 0]  # each point rules until the next one takes over
    return float(np.sum(widths * (edge[:, 1] - least_accuracy)))


def standard_hypervolume(points: ArrayLike) -> float:
    """Hypervolume in decades of parameters x accuracy from REFERENCE: the same for all sweeps, so that they compare."""
    return hypervolume(log_params(points), REFERENCE)


def knee(points: ArrayLike) -> int | None:
    """Index of the front's knee: the point farthest above the chord from the front's smallest to its largest point.

    Measured on log10(params) x accuracy. Which point that is does not depend on the axes' units: stretching an axis
    stretches all distances from a line alike. A front of one or two points, or one that never rises above its chord,
    has no knee: None.
    """
    edge = front(points)
    if len(edge) < 3:
        return None
    x, y = log_params(_checked(points)[edge]).T
    above = (x[-1] - x[0]) * (y - y[0]) - (y[-1] - y[0]) * (x - x[0])
    # Rounding lifts points of a straight front by a last digit or two, which is no knee.
    floor = 1e-9 * (x[-1] - x[0]) * (y[-1] - y[0])
    top = int(np.argmax(above))
    return int(edge[top]) if above[top] > floor else None


def pick(points: ArrayLike, which: Pick) -> int:
    """Index of one point of the front: its most accurate (`best`), its smallest, or its knee; without a knee, the best.

    Raises ValueError without points or for another word.
    """
    edge = front(points)
    if len(edge) == 0:
        raise ValueError("no points to pick from: no trial has completed")
    if which == "smallest":
        return int(edge[0])
    if which not in ("best", "knee"):
        raise ValueError(f"pick={which!r} is not possible: one of best, knee, smallest")
    accuracy = _checked(points)[edge, 1]
    best = int(edge[np.argmax(accuracy)])  # of equal points the first
    found = knee(points) if which == "knee" else None
    return best if found is None else found


def log_params(points: ArrayLike) -> np.ndarray:
    """The same points with log10(params). Raises ValueError for a size of 0 or less."""
    points = _checked(points).copy()
    if np.any(points[:, 0] <= 0):
        raise ValueError("log10 of the number of parameters needs sizes above 0")
    points[:, 0] = np.log10(points[:, 0])
    return points


def _checked(points: ArrayLike) -> np.ndarray:
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"points of shape {array.shape}: give rows of (num_trainable_params, accuracy)")
    if not np.all(np.isfinite(array)):
        raise ValueError("a point is not finite: leave trials without an accuracy out")
    return array
