"""How far a mean can be trusted: 95 % intervals over replicates, and over the clips of one replicate."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy import stats

Interval = tuple[float, float]
UNBOUNDED: Interval = (-math.inf, math.inf)
SCORE: Interval = (0.0, 1.0)
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (divisor n - 1) and 95 % interval of n replicates.

    Of two and more: Student's t, which takes them as independent; seeds of one fold are not (see `over_folds`). It
    stays a little too narrow: folds share training clips, and seeds of one split share all clips, so that it does not
    know what other test clips would give. Replicates that happen to be equal give an interval without width. One
    replicate has no deviation (None); its interval is the one over its clips, where that is known.
    """

    mean: float
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(
        cls, values: Iterable[float | None], within: Interval = UNBOUNDED, over_clips: Interval | None = None
    ) -> Spread | None:
        """Of the values that are there; None without any.

        within: the interval is cut to what is possible. over_clips: the interval if there is one value only.
        """
        known = [value for value in values if value is not None]
        if not known:
            return None
        mean, n = statistics.fmean(known), len(known)
        if n == 1:
            return cls(mean, None, 1) if over_clips is None else cls(mean, None, 1, *_cut(over_clips, within))
        std = statistics.stdev(known)
        half = _student(n - 1) * std / math.sqrt(n)
        return cls(mean, std, n, *_cut((mean - half, mean + half), within))

    @classmethod
    def over_folds(
        cls,
        by_fold: Iterable[tuple[int, float | None]],
        within: Interval = UNBOUNDED,
        over_clips: Interval | None = None,
    ) -> Spread | None:
        """As `of`, from (fold, value) of each trial: over the folds' means; where there is one fold, over its values.

        Seeds of one fold share what is easy or hard in it. Counted as replicates of their own they would claim to know
        more than they do: of 5 folds with 2 seeds each, where folds differ three times as much as seeds, a "95 %"
        interval would hold the truth in 83 of 100 cases.
        """
        folds: dict[int, list[float]] = {}
        for fold, value in by_fold:
            if value is not None:
                folds.setdefault(fold, []).append(value)
        if len(folds) == 1:
            (seeds,) = folds.values()
            return cls.of(seeds, within, over_clips)
        return cls.of(map(statistics.fmean, folds.values()), within)


@functools.lru_cache(maxsize=4096)  # quantiles take a millisecond, and a table of hundreds of points asks several times
def clip_interval(accuracy: float | None, num_clips: int | None) -> Interval | None:
    """95 % bootstrap interval over the clips of one test: k correct of c clips. None where either is not known.

    Clips drawn with replacement are correct k/c of the time, so that the bootstrap's distribution is exactly
    Binomial(c, k/c) / c and takes no random numbers. Where all clips are right, or all wrong, it would have no width:
    there the other bound is the exact one of Clopper and Pearson (1934), a quantile of a Beta distribution.

    Clips count as independent. Where several are of one speaker or one recording, the interval is a little too narrow.
    """
    if accuracy is None or not num_clips:
        return None
    correct = round(accuracy * num_clips)
    if correct == num_clips:
        return float(stats.beta.ppf(_TAILS[0], num_clips, 1)), 1.0
    if correct == 0:
        return 0.0, float(stats.beta.ppf(_TAILS[1], 1, num_clips))
    low, high = stats.binom.ppf(_TAILS, num_clips, correct / num_clips) / num_clips
    return float(low), float(high)


@functools.lru_cache(maxsize=1024)
def _student(degrees: int) -> float:
    return float(stats.t.ppf(_TAILS[1], degrees))


def _cut(interval: Interval, within: Interval) -> Interval:
    return max(interval[0], within[0]), min(interval[1], within[1])
