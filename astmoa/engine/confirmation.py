"""The second phase of a search: other seeds and other folds of what it found, run to their end."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from astmoa.config.proposals import MOST_SEEDS, Proposal
from astmoa.engine.ledger import DrivenTrial, Ledger, Sink
from astmoa.errors import ConfigError
from astmoa.pareto import confidence, frontier
from astmoa.pareto.spread import clip_interval

Confirm = Callable[[Ledger], Sequence[Proposal]]


class Replicates:
    """confirm: names them, once the search is over and all of it has ended; None where nothing is to be confirmed."""

    def __init__(self, journal: Sink, confirm: Confirm | None):
        self._journal, self._confirm = journal, confirm
        self._waiting: deque[Proposal] | None = None

    def __len__(self) -> int:
        """Those that are still to be started."""
        return len(self._waiting or ())

    def next(self, ledger: Ledger) -> Proposal | None:
        if self._confirm is None:
            return None
        if self._waiting is None:
            wanted = list(self._confirm(ledger))
            points = list(dict.fromkeys(proposal.config.point() for proposal in wanted))
            self._journal.append("confirm", points=points, num_trials=len(wanted))
            states = {trial_id: trial.state for trial_id, trial in ledger.trials.items()}
            self._waiting = deque(p for p in wanted if states.get(p.trial_id, "cut") == "cut")
        return self._waiting.popleft() if self._waiting else None


@dataclass(frozen=True)
class Confirmation:
    """Which replicates confirm a search."""

    seeds: int
    folds: tuple[int, ...] | None = None
    """Test folds of the replicates; None is every fold of the data."""
    trials: int | None = None

    @classmethod
    def parse(cls, text: str) -> Confirmation:
        """From `seeds=5` or `seeds=5,trials=60` or `seeds=3,folds=1`. Raises ConfigError in one line."""
        try:
            values = dict(part.split("=") for part in text.split(","))
            numbers = {key: int(value) for key, value in values.items()}
            ok = numbers.keys() <= {"seeds", "folds", "trials"} and numbers.get("seeds", 0) > 0
            if not ok or numbers.get("trials", 1) < 1 or numbers["seeds"] > MOST_SEEDS:
                raise ValueError
        except ValueError:
            example = "give seeds=5, or seeds=5,trials=60 (60 at most), or seeds=5,folds=1 (fold 1 alone)"
            raise ConfigError(f"--confirm {text} is not possible: {example}") from None
        folds = (numbers["folds"],) if "folds" in numbers else None
        return cls(numbers["seeds"], folds, numbers.get("trials"))

    def of(self, num_val_clips: Mapping[int, int], has_folds: bool, objectives: Sequence[str]) -> Confirm:
        """Names the replicates of a finished search, front and near-front.

        All points over the same folds, or one would be above another because its folds are easier.
        First one seed of all, fold by fold, for a front is made of what was confirmed; then further seeds in the order
        of how much each narrows the front's uncertainty.
        """
        folds = tuple(num_val_clips) if self.folds is None or not has_folds else self.folds

        def confirm(ledger: Ledger) -> list[Proposal]:
            chosen, errors = _front_and_near(ledger, num_val_clips, objectives)
            if not chosen:
                return []
            # Fewer trials than all folds of all points: fewer folds.
            used = folds if self.trials is None else folds[: max(1, self.trials // len(chosen))]
            own = replicates(chosen, range(1, self.seeds + 1), used)
            first = [of_trial[index] for index in range(len(used)) for of_trial in own]
            seeds = [[of_trial[at : at + len(used)] for at in range(0, len(of_trial), len(used))] for of_trial in own]
            sizes, accuracy = [trial.size for trial in chosen], [trial.accuracy for trial in chosen]
            draws = 2000 if len(chosen) <= 30 else 500
            done = [1] * len(chosen)
            order = confidence.replication_order(sizes, accuracy, errors, done, self.seeds, draws=draws)
            left = [iter(of_trial[1:]) for of_trial in seeds]
            further = [next(left[index]) for index in order]
            if self.trials is None:
                return [*first, *itertools.chain(*further)]
            room = max(0, self.trials - len(first)) // len(used)  # whole seeds only
            return [*first[: self.trials], *itertools.chain(*further[:room])]

        return confirm


def _front_and_near(
    ledger: Ledger, num_val_clips: Mapping[int, int], objectives: Sequence[str]
) -> tuple[list[DrivenTrial], list[float]]:
    """The completed trials of a search that are on its front, or whose interval overlaps it, the front's first; and
    the standard errors of their accuracies. For mAP these are rough: it is no share of correct clips."""
    found = ledger.searched("completed")
    clips = [num_val_clips[trial.proposal.config.data.fold] for trial in found]
    points = [(trial.size, trial.accuracy) for trial in found]
    intervals = [clip_interval(trial.accuracy, n) for trial, n in zip(found, clips, strict=True)]
    if not found:
        return [], []
    near = confidence.near_front(*zip(*points, strict=True), *zip(*intervals, strict=True))
    chosen = dict.fromkeys(frontier.front(points).tolist())
    if "step_time" in objectives:
        costs = [(trial.size, -trial.accuracy, trial.step_seconds) for trial in found]
        chosen |= dict.fromkeys(i for i, own in enumerate(costs) if not any(_beats(other, own) for other in costs))
    chosen |= dict.fromkeys(near.nonzero()[0].tolist())
    errors = [confidence.accuracy_error(found[i].accuracy, clips[i]) for i in chosen]
    return [found[i] for i in chosen], errors


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(ours <= theirs for ours, theirs in zip(a, b, strict=True))


def replicates(trials: Sequence[DrivenTrial], seeds: Iterable[int], folds: Iterable[int]) -> list[list[Proposal]]:
    """Per trial of a search its replicates: every other seed in every fold, never the seed that it was found with.

    The search's own run was picked for its accuracy, so it is lucky on average; fresh runs are not.
    """
    folds = list(folds)
    found = []
    for trial in trials:
        config, own = trial.proposal.config, []
        for seed in seeds:
            for fold in folds:
                data = dataclasses.replace(config.data, fold=fold)
                replicate = dataclasses.replace(config, data=data, seed=seed)
                own.append(Proposal(trial.proposal.label, replicate, phase="confirm"))
        found.append(own)
    return found
