"""What a curve that was cut off would have come to."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

NEAREST = 5
"""Completed curves that a prediction is made of."""


def predicted_end(curve: Sequence[float], completed: Sequence[Sequence[float]]) -> float:
    """What a curve's last value would have been, had it not been cut off: what it has, and what the completed curves
    that were nearest to it so far (NEAREST of them, by Euclidean distance) gained on average from there to their end.

    In the first epochs the mean gain of all is worse than the mean of all ends: what starts low rises most
    (benchmarks/search_quality.py prints the errors of all three).
    """

    def distance(other: Sequence[float]) -> float:
        return sum((theirs - ours) ** 2 for theirs, ours in zip(other, curve, strict=False))

    long_enough = [other for other in completed if len(other) >= len(curve)]
    near = heapq.nsmallest(NEAREST, long_enough, key=distance)
    gain = sum(other[-1] - other[len(curve) - 1] for other in near) / len(near) if near else 0.0
    return min(1.0, curve[-1] + gain)
