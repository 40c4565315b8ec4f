"""Asynchronous successive halving, by accuracy or by dominance; stopping_rules has the rules made of it.

The resource that a trial spends is always epochs. A milestone is an epoch at which trials are compared: the first one
is `grace_period`, before which nothing is ever stopped, and each next one is `reduction_factor` times later, as long as
it lies before `max_epochs`, where a trial is complete. A rung is what was recorded at one milestone: the first report
of every trial that came to exactly this epoch. Each newcomer is compared with all records of its rung, itself
included, at once, without waiting for others; about 1 of `reduction_factor` goes on. A decision is never taken back.

Objectives come as costs: all minimised, params first and accuracy (negated) second, each on the scale on which it is to
be compared (params as log10). Adding a constant to an objective or changing its unit changes no decision.

Asynchronous successive halving: Li et al. 2020 (arXiv 1810.05934). With several objectives, by front and inside a
front by an epsilon-net: Schmucker et al. 2021 (arXiv 2106.12639). Ours departs from both: who is on the first front
always goes on, and dominance needs a lead beyond the noise of the evaluation.

Nothing here knows Ray or a clock, so that a live sweep, a resumed one and a replay decide alike: the same reports in
the same order always get the same answers, also when some or all of them come twice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

_ACCURACY = 1  # which cost is the negated accuracy


def steps(start: int, factor: int, end: int) -> list[int]:
    """start, start * factor, start * factor^2, ... below `end`."""
    steps = []
    while start < end:
        steps.append(start)
        start *= factor
    return steps


class Rung(Protocol):
    def goes_on(self, trial_id: str, costs: np.ndarray, errors: np.ndarray) -> bool:
        """Record a trial that is not here yet, and compare it with all that are."""
        ...


class Bracket:
    """One ladder of rungs, and which trials were stopped on it."""

    def __init__(self, milestones: Iterable[int], make_rung: Callable[[], Rung]):
        self._rungs = {milestone: make_rung() for milestone in milestones}
        self._judged: set[tuple[str, int]] = set()
        self._stopped: dict[str, int] = {}

    def report(self, trial_id: str, epoch: int, costs: Sequence[float], errors: Sequence[float]) -> int | None:
        row, error_row = _checked(trial_id, epoch, costs, errors)
        if trial_id in self._stopped:  # told again: on its way there it went on, there and later it is stopped
            return self._stopped[trial_id] if epoch >= self._stopped[trial_id] else None
        if epoch not in self._rungs or (trial_id, epoch) in self._judged:
            return None
        goes_on = self._rungs[epoch].goes_on(trial_id, row, error_row)
        self._judged.add((trial_id, epoch))
        if not goes_on:
            self._stopped[trial_id] = epoch
        return None if goes_on else epoch


class Brackets:
    """Hyperband's brackets, side by side: bracket s begins to stop at grace_period * reduction_factor^s.

    Each bracket compares its own trials only. Trials are dealt in the order of their first report, in Hyperband's
    proportions: with S the last bracket, n_s = ceil((S + 1) / (S - s + 1) * reduction_factor^(S - s)) of each round
    (Li et al. 2018, arXiv 1603.06560, Algorithm 1). Always the bracket goes next that is farthest behind its share, so
    that also a short sweep has trials in all.
    """

    def __init__(self, brackets: Sequence[Bracket], reduction_factor: int):
        last = len(brackets) - 1
        self._brackets = brackets
        self._shares = [-(-(last + 1) * reduction_factor**left // (left + 1)) for left in range(last, -1, -1)]
        self._dealt = [0] * len(brackets)
        self._bracket_of: dict[str, int] = {}

    def report(self, trial_id: str, epoch: int, costs: Sequence[float], errors: Sequence[float]) -> int | None:
        _checked(trial_id, epoch, costs, errors)  # what is refused is not dealt either
        if trial_id not in self._bracket_of:
            s = min(range(len(self._brackets)), key=lambda s: (self._dealt[s] + 1) / self._shares[s])
            self._dealt[s] += 1
            self._bracket_of[trial_id] = s
        return self._brackets[self._bracket_of[trial_id]].report(trial_id, epoch, costs, errors)


class AccuracyRung:
    """Goes on: an accuracy of at least the (1 - 1/reduction_factor) quantile of the rung.

    For a member of the rung that is the same as fewer than ceil(n / reduction_factor) better ones: the linearly
    interpolated quantile lies at index (n - 1) / reduction_factor from the top, and where it falls between two members,
    the upper one passes and the lower one does not. Counting has no rounding.
    """

    def __init__(self, reduction_factor: int):
        self._reduction_factor = reduction_factor
        self._sorted: list[float] = []

    def goes_on(self, trial_id: str, costs: np.ndarray, errors: np.ndarray) -> bool:
        insort(self._sorted, float(costs[_ACCURACY]))
        better = bisect_left(self._sorted, float(costs[_ACCURACY]))
        return better < _quota(len(self._sorted), self._reduction_factor)


class ParetoRung:
    """Goes on: on the first front, or among the first ceil(n / reduction_factor) by front and then by spread.

    Fronts: 0 is dominated by nobody, k + 1 by nobody but fronts 0 to k. Kept up to date record by record instead of
    being peeled anew at every decision.
    """

    def __init__(self, reduction_factor: int, margin: float, spread: str):
        self._reduction_factor, self._margin = reduction_factor, margin
        self._spread = _epsilon_net if spread == "epsilon_net" else _crowding
        self._ids: list[str] = []
        self._costs = self._errors = np.empty((0, 0))  # [records, objectives]
        self.fronts = np.empty(0, dtype=np.int64)  # [records], in the order of arrival

    def goes_on(self, trial_id: str, costs: np.ndarray, errors: np.ndarray) -> bool:
        self._insert(trial_id, costs, errors)
        front = self.fronts[-1]
        if front == 0:
            return True
        peers = np.flatnonzero(self.fronts == front)
        seats = _quota(len(self._ids), self._reduction_factor) - int(np.sum(self.fronts < front))
        if seats <= 0 or seats >= len(peers):
            return seats > 0
        # An order of their own, so that ties inside the spread do not depend on who came first.
        peers = np.array(sorted(peers, key=lambda i: (*self._costs[i], self._ids[i])))
        low, high = self._costs.min(axis=0), self._costs.max(axis=0)
        scaled = (self._costs[peers] - low) / np.where(high > low, high - low, 1)
        newcomer = int(np.flatnonzero(peers == len(self._ids) - 1)[0])
        return newcomer in islice(self._spread(scaled), seats)

    def _insert(self, trial_id: str, costs: np.ndarray, errors: np.ndarray) -> None:
        new, width = len(self._ids), len(costs)
        self._costs = np.vstack([self._costs.reshape(new, width), costs])
        self._errors = np.vstack([self._errors.reshape(new, width), errors])
        self._ids.append(trial_id)
        ahead = self.fronts[self._dominate(np.arange(new), np.array([new]))[:, 0]]
        front = int(ahead.max(initial=-1)) + 1
        self.fronts = np.append(self.fronts, front)
        # A record's front is the length of the longest chain of records that dominate one another down to it. One
        # newcomer lengthens a chain by 1 at most: it pushes whom it dominates out of its own front, those push on in
        # the next, and so on until nobody is pushed.
        pushing = np.array([new])
        while len(pushing):
            peers = np.flatnonzero(self.fronts == front)  # the pushing ones included
            pushed = peers[self._dominate(pushing, peers).any(axis=0)]
            if len(pushing) + len(pushed) == len(peers):  # a whole front makes way: so does all that is behind it
                self.fronts[self.fronts > front] += 1
                self.fronts[pushed] += 1
                break
            front += 1
            self.fronts[pushed] = front
            pushing = pushed

    def _dominate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[len(a), len(b)]: does record a dominate record b?

        Yes if a leads b in every objective by at least `margin` standard errors of their difference, and by more in
        some. Exact objectives need no lead: there it says no worse, and with margin 0 (or all errors 0) it is plain
        dominance. So of two of equal params the more accurate one dominates only beyond the noise, and a smaller model
        does not dominate one whose accuracy is the same within the noise.

        A lead is never negative, and some lead is above 0, so this implies plain dominance, which has no cycles:
        every set of records has some that none of them dominates, and peeling ends. It is transitive too, as
        hypot(a, b) + hypot(b, c) >= hypot(a, c).
        """
        lead = self._costs[b][None] - self._costs[a][:, None]
        needed = self._margin * np.hypot(self._errors[b][None], self._errors[a][:, None])
        return np.all(lead >= needed, axis=-1) & np.any(lead > needed, axis=-1)


def _quota(num_records: int, reduction_factor: int) -> int:
    return -(-num_records // reduction_factor)


def _epsilon_net(points: np.ndarray) -> Iterator[int]:
    """Rows in order: the best one in each objective, then always the one farthest from all before it."""
    columns = np.ascontiguousarray(points.T)
    distance = np.full(len(points), np.inf)
    best = list(dict.fromkeys(columns.argmin(axis=1).tolist()))
    for place in range(len(points)):
        row = best[place] if place < len(best) else int(distance.argmax())
        yield row
        np.minimum(distance, np.square(columns - columns[:, row, None]).sum(axis=0), out=distance)
        distance[row] = -1  # behind its twins, which are at distance 0 and still to come


def _crowding(points: np.ndarray) -> Iterator[int]:
    """Rows in order of NSGA-II's crowding distance: the ends of each objective, then the loneliest.

    An objective in which all are equal has no ends.
    """
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        if column[order[0]] < column[order[-1]]:
            distance[order[1:-1]] += column[order[2:]] - column[order[:-2]]
            distance[order[[0, -1]]] = np.inf
    return iter(np.argsort(-distance, kind="stable").tolist())


def _checked(trial_id: str, epoch: int, costs: Sequence[float], errors: Sequence[float]) -> tuple[np.ndarray, ...]:
    """Both as float64 [objectives]. Raises ValueError for what no rung may hold."""
    row, error_row = np.asarray(costs, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    where = f"trial {trial_id}, epoch {epoch}"
    if row.ndim != 1 or len(row) <= _ACCURACY or row.shape != error_row.shape:
        raise ValueError(f"{where}: costs {costs} with errors {errors}: give one of each for params, accuracy, ...")
    if not np.all(np.isfinite(row)):
        raise ValueError(f"{where}: costs {costs} are not finite: let the trial fail before it is compared")
    if not np.all(np.isfinite(error_row) & (error_row >= 0)):
        raise ValueError(f"{where}: errors {errors} are no standard errors: give finite numbers of at least 0")
    return row, error_row
