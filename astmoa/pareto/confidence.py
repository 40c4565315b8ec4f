"""What replicates say about a frontier: who is on it, who might be, and whom to train once more.

Points are given as in frontier.py: few trainable parameters (known exactly) and high accuracy (known through noise).
An accuracy's replicates are its folds, the seeds of each averaged first; where there is one fold, its seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from astmoa.pareto import frontier

Replicates = Mapping[int, Sequence[float | None]]  # one point's: fold -> accuracies of its seeds; None is refused


def front_probability(
    params: ArrayLike,
    replicates: Sequence[Replicates],
    draws: int = 2000,
    seed: int = 0,
    standard_error: Sequence[float | None] | None = None,
) -> np.ndarray:
    """[points] probability that each point is on the front of the true means: a bootstrap over replicates.

    Each draw moves every mean by its replicates' deviations x_k - mean times random weights g_k, and asks who is on
    the front then; the probability is the share of draws. The choices, and why:

    - Weights are normal (the multiplier bootstrap), and each draw is divided by sqrt(chi2 / (n - 1)), the doubt in a
      spread taken from n replicates: a mean is drawn from the Student's t whose 95 % interval the tables show. Drawing
      replicates with replacement claims more than they know: of two, half of all draws would be the mean itself.
    - Folds are drawn jointly: points that share a fold share its weight, and what is hard about the fold cancels
      between them. For two points on the same folds the probability that one is above the other is one minus the
      one-sided p value of the paired t-test. Compare points over the same folds: a fold that only one of them has is
      not accounted for.
    - Seeds of one fold are drawn for each point alone (another configuration's seed 0 has little in common with it),
      and are not drawn again below several folds: the folds' means hold their noise already.
    - A point without a spread (one replicate, or equal ones) is drawn from a normal distribution with its
      `standard_error`, say over its validation clips; where that is None, with the other points' spread, pooled.

    How far it can be trusted, by simulation with Gaussian noise: ten points scattered about a rising curve by somewhat
    more than one run's noise. Of what five seeds say with 60 and 81 %, 68 and 86 % come true; from ten replicates on
    said and true differ by less than five in a hundred. Two seeds are too careful (said 60 and 79 %, true 85 and
    94 %), and say little: of ten points one gets more than 90 %, where three could. Two folds are too bold about what
    they rule out (said 1 %, true 9 %), as drawing with replacement is for seeds, too (said 1 %, true 7 %). Where true
    differences are smaller than the noise, all figures are too low, even if the noise were known: it hides points of a
    crowded front. And points that were chosen by these same replicates look better than they are, which no bootstrap
    sees: give it fresh ones.

    Raises ValueError for lengths that differ, a point without replicates, what is not finite, and a single replicate
    whose error nothing tells.
    """
    sizes = np.asarray(params, dtype=np.float64)
    if len(sizes) != len(replicates) or (standard_error is not None and len(standard_error) != len(sizes)):
        raise ValueError("params, replicates and standard_error differ in length: give one of each per point")
    if not np.isfinite(sizes).all():
        raise ValueError("a size is not finite: give the number of trainable parameters")
    if len(sizes) == 0:
        return np.zeros(0)
    drawn = _draw_means(replicates, draws, np.random.default_rng(seed), standard_error)
    return _on_front(sizes, drawn).mean(1)


def accuracy_error(accuracy: float, num_clips: int) -> float:
    """Standard error of an accuracy over `num_clips` clips: the binomial's with two more right and two more wrong, so
    that none or all right are not taken for certain (Agresti and Coull 1998)."""
    p = (accuracy * num_clips + 2) / (num_clips + 4)
    return float(np.sqrt(p * (1 - p) / num_clips))


def near_front(params: ArrayLike, accuracy: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """[points] bool: not on the front, but not below it for sure either.

    A point is near the front when the upper end of its interval reaches the lower end of every front point that
    dominates it. low, high: [points] the accuracies' intervals; NaN or None where there is none: the accuracy itself.
    """
    points = np.column_stack([params, accuracy]).astype(np.float64).reshape(-1, 2)
    edge = frontier.front(points)  # raises for what is not finite
    accuracy = points[:, 1]
    low, high = (np.where(np.isnan(end), accuracy, end) for end in (np.asarray(e, float) for e in (low, high)))
    # [points, front]: a front point is never dominated by another, so that its row is False.
    dominated = (points[:, None, 0] >= points[edge, 0]) & (points[:, None, 1] <= points[edge, 1])
    dominated[edge] = False
    reached = high[:, None] >= low[edge]
    return dominated.any(1) & (reached | ~dominated).all(1)


def replication_order(
    params: ArrayLike,
    mean: ArrayLike,
    standard_error: ArrayLike,
    done: ArrayLike,
    wanted: int | ArrayLike,
    draws: int = 2000,
    seed: int = 0,
) -> list[int]:
    """Which point is trained once more, again and again, until each has `wanted` replicates: indices of points.

    Accuracies are drawn from normal distributions, and in each draw the front is found. A point's worth is how closely
    the memberships, its own and all others', follow its own error (the sum of their squared covariances), times the
    share of that error's variance which one more replicate takes away, 1 / (n + 1). That is, to first order, by how
    much the replicate is expected to lower the sum of p (1 - p) over all points (law of total variance); the most
    worthy point goes first, its standard error shrinks as if it were done, and all is asked again.

    standard_error: [points] of the means. done: [points] replicates behind each mean; a mean with 0 of them (they
    count from now on) is taken as one. wanted: one number, or one per point. Of equal worth, the point with fewer
    replicates goes first. Raises ValueError for what is not finite.
    """
    sizes, mean, error = (np.asarray(values, dtype=np.float64) for values in (params, mean, standard_error))
    if not (np.isfinite(mean).all() and np.isfinite(error).all()):
        raise ValueError("a mean or a standard error is not finite: leave points without an accuracy out")
    done = np.array(done, dtype=np.int64)
    left = np.maximum(np.broadcast_to(np.asarray(wanted, dtype=np.int64), done.shape) - done, 0)
    noise = np.random.default_rng(seed).standard_normal((len(sizes), draws))  # the same all along: only errors shrink
    order: list[int] = []
    error = error.copy()
    for _ in range(int(left.sum())):
        behind = np.maximum(done, 1)
        on_front = _on_front(sizes, mean[:, None] + error[:, None] * noise)
        covariance = noise @ (on_front - on_front.mean(1, keepdims=True)).T / draws  # [point, whose membership]
        worth = (covariance**2).sum(1) * (error > 0) / (behind + 1)
        open_points = np.flatnonzero(left > 0)
        best = int(open_points[np.lexsort((done[open_points], -worth[open_points]))[0]])
        order.append(best)
        error[best] *= np.sqrt(behind[best] / (behind[best] + 1))
        done[best] += 1
        left[best] -= 1
    return order


def _draw_means(
    replicates: Sequence[Replicates],
    draws: int,
    rng: np.random.Generator,
    standard_error: Sequence[float | None] | None,
) -> np.ndarray:
    """[points, draws]"""
    folds = sorted({fold for of_point in replicates for fold in of_point})
    fold_weights = dict(zip(folds, rng.standard_normal((len(folds), draws)), strict=True))
    fold_doubts = np.cumsum(rng.standard_normal((len(folds), draws)) ** 2, axis=0)  # row k: chi-squared, k + 1 degrees
    values = [_replicates(of_point, index) for index, of_point in enumerate(replicates)]
    pooled = _pooled_deviation(values)
    drawn = np.empty((len(values), draws))
    for index, (of_point, x) in enumerate(zip(replicates, values, strict=True)):
        n, deviations = len(x), x - x.mean()
        if not np.any(deviations):
            error = None if standard_error is None else standard_error[index]
            if error is None or np.isnan(error):
                if pooled is None and n == 1:
                    raise ValueError(f"point {index} has one replicate and no standard error: nothing tells its error")
                error = 0.0 if pooled is None else pooled / np.sqrt(n)
            if not np.isfinite(error) or error < 0:
                raise ValueError(f"point {index} has a standard error of {error}: give a number of at least 0, or None")
            drawn[index] = x.mean() + error * rng.standard_normal(draws)
            continue
        if len(of_point) > 1:
            weights, doubt = np.stack([fold_weights[fold] for fold in of_point]), fold_doubts[n - 2]
        else:
            weights, doubt = rng.standard_normal((n, draws)), rng.chisquare(n - 1, draws)
        # The weighted deviations over sqrt(n (n - 1)) have the variance s^2 / n; the doubt's n - 1 cancels one factor.
        drawn[index] = x.mean() + deviations @ weights / np.sqrt(n * doubt)
    return drawn


def _replicates(of_point: Replicates, index: int) -> np.ndarray:
    """[n]: the folds' means, or one fold's seeds."""
    seeds = [np.asarray(values, dtype=np.float64) for values in of_point.values()]
    if not seeds or not all(len(values) for values in seeds):
        raise ValueError(f"point {index} has a fold without an accuracy, or none: leave it out")
    values = seeds[0] if len(seeds) == 1 else np.array([fold.mean() for fold in seeds])
    if not np.isfinite(values).all():
        raise ValueError(f"point {index} has an accuracy that is not finite: leave the trial out")
    return values


def _pooled_deviation(values: Sequence[np.ndarray]) -> float | None:
    """The standard deviation of one replicate over all points that have several; None where no two differ."""
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in values)
    degrees = sum(len(x) - 1 for x in values)
    return (squares / degrees) ** 0.5 if squares > 0 else None


def _on_front(params: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """accuracy: [points, draws] -> [points, draws] bool: frontier.front of every draw at once."""
    member = np.zeros(accuracy.shape, dtype=bool)
    best = np.full(accuracy.shape[1], -np.inf)  # of all that is smaller
    for size in np.unique(params):
        same = np.flatnonzero(params == size)
        top = accuracy[same].max(0)
        member[same] = (accuracy[same] == top) & (top > best)
        best = np.maximum(best, top)
    return member
