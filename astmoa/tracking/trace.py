"""A sweep's own metric rows: how it stands after each trial's end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from astmoa.records.hypervolumes import Staircase
from astmoa.records.journal_events import EndEvent, JournalEvent
from astmoa.tracking.rows import Row, called, metric_rows


class Trace:
    """Takes a sweep's events in one by one, at a price that hardly grows with how many came before.

    Trials by their end, epochs spent and the best validation accuracy have the number of ends as their step; the
    hypervolume has the number of completed trials, with a row for each. Replicates that confirm what a search found
    count as trials and epochs only: the area is what the search has gained.
    """

    def __init__(self, metric: str):
        self._metric = metric
        self._sizes: dict[str, int] = {}  # of trials that search: the others have no say in the area
        self._scored: dict[str, tuple[int, float]] = {}
        self._stairs = Staircase()
        self._ends: dict[str, str] = {}
        self._states: Counter[str] = Counter()
        self._epochs = self._num_ends = 0

    @property
    def hypervolume(self) -> float | None:
        """None before a trial has completed."""
        return self._stairs.hypervolume if self._scored else None

    def add(self, event: JournalEvent) -> Iterator[Row]:
        """The rows that this event brings."""
        if event["type"] == "proposal" and event.get("phase") != "confirm":
            self._sizes[event["trial_id"]] = event["params"]["num_trainable_params"]
        elif event["type"] == "epoch":
            self._epochs += 1
        elif event["type"] == "end":
            yield from self._end(event)

    def _end(self, event: EndEvent) -> Iterator[Row]:
        trial_id, state = event["trial_id"], event["state"]
        self._num_ends += 1
        if trial_id in self._ends:  # it failed before, say, and was tried again
            self._states[self._ends[trial_id]] -= 1
        self._ends[trial_id] = state
        self._states[state] += 1
        counted = self._score(event)
        values: dict[str, float] = {f"trials_{name}": self._states[name] for name in ("completed", "stopped", "failed")}
        values["epochs_spent"] = self._epochs
        if self._scored:
            values[called("best_val_accuracy", self._metric)] = max(accuracy for _, accuracy in self._scored.values())
        yield from metric_rows(values, event["time"], self._num_ends)
        if counted:
            yield from metric_rows({"hypervolume": self.hypervolume}, event["time"], self._states["completed"])

    def _score(self, event: EndEvent) -> bool:
        """Does this end count in the area?"""
        trial_id, accuracy = event["trial_id"], event.get("val_accuracy")
        if self._scored.pop(trial_id, None) is not None:  # a trial that completes again: take the first time back
            self._stairs = Staircase()
            for score in self._scored.values():
                self._stairs.add(*score)
        if event["state"] != "completed" or accuracy is None or trial_id not in self._sizes:
            return False
        self._scored[trial_id] = (self._sizes[trial_id], accuracy)
        self._stairs.add(*self._scored[trial_id])
        return True
