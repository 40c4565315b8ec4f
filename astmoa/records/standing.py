"""Where each configuration stands to the front: on it, near it (its interval reaches it), or behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from astmoa.pareto import confidence, frontier
from astmoa.records.sweep import SweepRecord
from astmoa.records.trials import PointRecord

Standing = Literal["front", "near-front", "dominated"]


@dataclass(frozen=True)
class Score:
    """A point's place in the plane: size, mean validation accuracy, and that mean's bounds."""

    num_params: int
    accuracy: float
    low: float
    high: float
    confirmed: bool

    @classmethod
    def of(cls, point: PointRecord) -> Score | None:
        """None without an accuracy. Bounds that are not known are the mean."""
        spread = point.val_accuracy
        if spread is None:
            return None
        low, high = (spread.mean if bound is None else bound for bound in (spread.low, spread.high))
        return cls(point.num_trainable_params, spread.mean, low, high, point.confirmed)


def standing(sweep: SweepRecord) -> dict[str, Standing]:
    """Of every point with a completed trial, by `PointRecord.point`; see `places`."""
    scores = {point.point: Score.of(point) for point in sweep.points()}
    return places({point: score for point, score in scores.items() if score is not None})


def places(scores: Mapping[str, Score]) -> dict[str, Standing]:
    """The standing of each score, by its key: by size and mean accuracy, whatever else was an objective.

    Once any is confirmed, confirmed ones alone make the front. Each other one is near it where its interval reaches
    it, else dominated: one replicate that was lucky is not put before fresh ones.
    """
    final = any(score.confirmed for score in scores.values())
    ranked = {key: score for key, score in scores.items() if score.confirmed or not final}
    if not ranked:
        return {}
    is_front, is_near = _front_and_near(list(ranked.values()))
    found: dict[str, Standing] = {
        key: "front" if is_front[i] else "near-front" if is_near[i] else "dominated" for i, key in enumerate(ranked)
    }
    edge = [score for key, score in ranked.items() if found[key] == "front"]
    for key, score in scores.items():
        if key not in found:
            is_front, is_near = _front_and_near([*edge, score])
            found[key] = "near-front" if is_front[-1] or is_near[-1] else "dominated"
    return found


def front_probabilities(sweep: SweepRecord) -> dict[str, float]:
    """By point, of confirmed points: how probable it is, after what their replicates say, that it is on their front.
    Empty before a search has confirmed any. See `confidence.front_probability`."""
    points = [point for point in sweep.contenders() if point.confirmed]
    if not points:
        return {}
    replicates = [
        {fold: [trial.val_accuracy for trial in trials] for fold, trials in point.completed_folds.items()}
        for point in points
    ]
    errors = [_clip_error(point) for point in points]
    if None in errors and not any(point.known_accuracy.std for point in points):
        return {}  # nothing tells how far a single replicate can be trusted
    sizes = [point.num_trainable_params for point in points]
    probabilities = confidence.front_probability(sizes, replicates, standard_error=errors)
    return {point.point: float(value) for point, value in zip(points, probabilities, strict=True)}


def step_time_front(sweep: SweepRecord) -> set[str]:
    """The points that none of the others beats in all three: parameters, mean validation accuracy, time of a step.

    Among the contenders whose step time is known; empty where step time is no objective of the sweep.
    """
    if "step_time" not in sweep.objectives:
        return set()
    timed = [(point, point.step_seconds) for point in sweep.contenders()]
    timed = [(point, seconds) for point, seconds in timed if seconds is not None]
    costs = np.array([(p.num_trainable_params, -p.known_accuracy.mean, seconds) for p, seconds in timed]).reshape(-1, 3)
    return {
        point.point
        for (point, _), cost in zip(timed, costs, strict=True)
        if not np.any(np.all(costs <= cost, axis=1) & np.any(costs < cost, axis=1))
    }


def _front_and_near(scores: list[Score]) -> tuple[np.ndarray, np.ndarray]:
    params, accuracy, low, high = np.array([(s.num_params, s.accuracy, s.low, s.high) for s in scores]).T
    is_front = np.zeros(len(scores), dtype=bool)
    is_front[frontier.front(np.column_stack([params, accuracy]))] = True
    return is_front, confidence.near_front(params, accuracy, low, high)


def _clip_error(point: PointRecord) -> float | None:
    """What one replicate of a point would err by for its validation clips alone: a 95 % interval is four of it wide."""
    interval = point.completed[0].val_interval
    return None if interval is None else (interval[1] - interval[0]) / 4
