"""The record of a whole sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from astmoa.errors import RunError
from astmoa.records.hypervolumes import TraceRow, device_seconds, hypervolume_trace
from astmoa.records.journal_events import EndEvent, SweepEndEvent, SweepEvent
from astmoa.records.trials import OPEN, STATES, PointRecord, State, TrialRecord


@dataclass(frozen=True)
class SweepRecord:
    """A whole sweep: header event, trials in the study's order, and its sweep_end if it came to one."""

    header: SweepEvent
    trials: tuple[TrialRecord, ...]
    end: SweepEndEvent | None
    chosen: tuple[str, ...] = ()
    """Points that the last confirmation set out to confirm."""
    outdated: bool = False
    """Has the search found something after its last confirmation was set out? Then that says nothing of the front."""

    @property
    def sweep_id(self) -> str:
        return str(self.header["sweep_id"])

    @property
    def study(self) -> str:
        return str(self.header["study"])

    @property
    def data_name(self) -> str:
        return _name(self.header.get("data"))

    @property
    def backbone_name(self) -> str:
        return _name(self.header.get("backbone"))

    @property
    def metric(self) -> str:
        """What the scores are: accuracy, or mAP (mean average precision)."""
        return metric_of(self.header)

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the logits. Raises RunError where the journal does not name them."""
        data = self.header.get("data")
        labels = data.get("labels") if isinstance(data, dict) else None
        if not labels:
            raise RunError(f"sweep {self.sweep_id}: its journal does not name the classes: restore the journal")
        return labels

    @property
    def is_search(self) -> bool:
        """Were its points searched for, not enumerated?"""
        return self.header.get("search") is not None

    @property
    def confirmed(self) -> bool:
        """See `is_confirmed`."""
        return not self.outdated and is_confirmed(self.trials, self.chosen)

    @property
    def num_confirming(self) -> int:
        """Chosen points that have a fresh replicate so far."""
        fresh = {t.point for t in self.trials if t.phase == "confirm" and t.state == "completed"}
        return len(fresh.intersection(self.chosen) if self.chosen else fresh)

    @property
    def objectives(self) -> tuple[str, ...]:
        """params and accuracy; in a search that was told so, also step_time."""
        return tuple((self.header.get("search") or {}).get("objectives") or ("params", "accuracy"))

    @property
    def reason(self) -> str | None:
        """Why the sweep ended; None while it runs, or after a crash."""
        return None if self.end is None else self.end.get("reason")

    @property
    def num_epochs(self) -> int:
        """Epochs spent, by trials of every state."""
        return sum(len(trial.epochs) for trial in self.trials)

    @property
    def states(self) -> dict[State, int]:
        """Number of trials by state, every state named."""
        counts = Counter(trial.state for trial in self.trials)
        return {state: counts[state] for state in STATES}

    def points(self) -> tuple[PointRecord, ...]:
        """Trials grouped by configuration, in the order they were first proposed; without replicates that confirm as
        long as the search is not confirmed."""
        groups: dict[str, list[TrialRecord]] = {}
        for trial in judged(self.trials, self.confirmed):
            groups.setdefault(trial.point, []).append(trial)
        return tuple(PointRecord(p, t[0].label, t[0].config, t[0].params, tuple(t)) for p, t in groups.items())

    def contenders(self) -> tuple[PointRecord, ...]:
        """The points that a front is made of: those with an accuracy; once a search has confirmed any, the confirmed
        ones."""
        points = [point for point in self.points() if point.val_accuracy is not None]
        confirmed = tuple(point for point in points if point.confirmed)
        return confirmed or tuple(points)

    def hypervolume_trace(self) -> list[TraceRow]:
        """How the hypervolume grew with every completed trial; of a search, without its confirm phase."""
        return hypervolume_trace([trial for trial in self.trials if trial.phase != "confirm"])

    def device_seconds(self) -> dict[str, float]:
        """Where the device's time went; see `records.progress`."""
        return device_seconds(self.trials)


def outdates(end: EndEvent, trial: TrialRecord) -> bool:
    """Does this end of a trial, after a confirmation was set out, make it outdated?"""
    return end["state"] == "completed" and trial.phase != "confirm"


def is_confirmed(trials: Iterable[TrialRecord], chosen: Iterable[str]) -> bool:
    """Has every chosen point (see `SweepRecord.chosen`) a fresh replicate? Before that the front is the search's: made
    of the few that have one it would be a front of those few."""
    ended = [(trial.point, trial.state) for trial in trials if trial.phase == "confirm" and trial.state not in OPEN]
    return any(state == "completed" for _, state in ended) and {point for point, _ in ended}.issuperset(chosen)


def judged(trials: Iterable[TrialRecord], confirmed: bool) -> list[TrialRecord]:
    """The trials that points are made of: without replicates that confirm, as long as the sweep is not confirmed."""
    return [t for t in trials if confirmed or t.phase != "confirm" or t.state != "completed"]


def metric_of(header: SweepEvent) -> str:
    """The metric that a sweep's first event names; accuracy where it names none."""
    data = header.get("data")
    return str(data.get("metric") or "accuracy") if isinstance(data, dict) else "accuracy"


def _name(value: Any) -> str:
    return str(value.get("name", "?") if isinstance(value, dict) else value or "?")
