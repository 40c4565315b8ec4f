"""A sweep's journal, kept sorted while it grows: taking new events in costs what is new, not all that has been.

1,000 trials of 20 epochs are 22,000 events and more: sorted anew on every pass they would hold everything up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from astmoa.records.journal_events import JournalEvent, SweepEvent, TrialEvent, is_of_trial
from astmoa.records.load import events_by_trial, trial_record
from astmoa.records.standing import Score, Standing, places
from astmoa.records.sweep import is_confirmed, judged, metric_of, outdates
from astmoa.records.trials import PointRecord, TrialRecord
from astmoa.tracking import rows
from astmoa.tracking.trace import Trace


class Progress:
    """What a sweep's journal tells so far. header: its first event; where: its source, for errors."""

    def __init__(self, header: SweepEvent, where: str):
        self.header, self._where = header, where
        self.last: JournalEvent = header
        self.num_events = 0
        self.events: dict[str, list[TrialEvent]] = {}
        """Each trial's own events, trials in the order of proposal."""
        self.trials: dict[str, TrialRecord] = {}
        self.standings: dict[str, str] = {}
        """Of each trial, as `standing` has it but for what is paused."""
        self.end_reason: str | None = None
        """Why the sweep ended; empty where it goes on again, None where it never ended."""
        self.trace = Trace(metric_of(header))
        self._rows: list[tuple[int, rows.Row]] = []
        self._points: dict[str, dict[str, None]] = {}  # trial ids by point
        self._scores: dict[str, Score] = {}
        self._places: dict[str, Standing] = {}
        self._chosen: list[str] | None = None  # points to be confirmed, once they are named
        self._confirming: dict[str, None] = {}  # trials that do
        self._confirmed = self._outdated = False

    def add(self, news: Sequence[JournalEvent]) -> set[str]:
        """Take events in. Returns the trials with something new: events, or another standing.

        Raises RunError for a trial that was never proposed; then nothing is taken in.
        """
        groups = events_by_trial([event for event in news if event.get("trial_id") not in self.events], self._where)
        for event in news:
            if is_of_trial(event) and event["trial_id"] in self.events:
                groups.setdefault(event["trial_id"], []).append(event)
        for trial_id, own in groups.items():
            self.events.setdefault(trial_id, []).extend(own)
            self.trials[trial_id] = trial_record(self.events[trial_id], metric_of(self.header))
            self._points.setdefault(self.trials[trial_id].point, {})[trial_id] = None
            if self.trials[trial_id].phase == "confirm":
                self._confirming[trial_id] = None
        for event in news:
            self.num_events += 1
            self.last = event
            if event["type"] == "confirm":
                self._chosen, self._outdated = event["points"], False
            elif self._chosen is not None and event["type"] == "end":
                self._outdated |= outdates(event, self.trials[event["trial_id"]])
            if event["type"] == "sweep_end":
                self.end_reason = str(event["reason"])
            elif self.end_reason:
                self.end_reason = ""
            self._rows += ((self.num_events, row) for row in self.trace.add(event))
        return groups.keys() | self._stand(groups)

    @property
    def started(self) -> list[str]:
        """Trials with more than a proposal."""
        return [trial_id for trial_id, own in self.events.items() if len(own) > 1]

    @property
    def ended(self) -> bool:
        return self.last["type"] == "sweep_end"

    def state(self, trial_id: str) -> str:
        """A trial's state as records have it: one that runs is paused once the sweep has ended."""
        state = self.trials[trial_id].state
        return "paused" if state == "running" and self.ended else state

    def standing(self, trial_id: str) -> str:
        """Front, near-front or dominated where it has completed, else its state."""
        standing = self.standings[trial_id]
        return self.state(trial_id) if standing == "running" else standing

    @property
    def running(self) -> list[str]:
        """Trials that have started and not ended."""
        return [trial_id for trial_id in self.started if self.trials[trial_id].state == "running"]

    def rows_after(self, num_events: int) -> list[rows.Row]:
        """The sweep's own metric rows of all but the first `num_events` events."""
        begin = bisect_right(self._rows, num_events, key=lambda numbered: numbered[0])
        return [row for _, row in self._rows[begin:]]

    def _stand(self, news: Iterable[str]) -> set[str]:
        """Bring the standings up to date; returns the trials whose standing changed."""
        moved = {self.trials[trial_id].point for trial_id in news if len(self.events[trial_id]) > 1}
        confirming = [self.trials[trial_id] for trial_id in self._confirming]
        confirmed = not self._outdated and is_confirmed(confirming, self._chosen or ())
        if confirmed != self._confirmed:  # what counts for a point that has replicates is another now
            self._confirmed = confirmed
            moved |= {trial.point for trial in confirming}
        before = dict(self._scores)
        for point in moved:
            trials = tuple(judged((self.trials[trial_id] for trial_id in self._points[point]), confirmed))
            self._scores.pop(point, None)
            if trials:
                first = trials[0]
                score = Score.of(PointRecord(point, first.label, first.config, first.params, trials))
                if score is not None:
                    self._scores[point] = score
        if self._scores != before:
            self._places = places(self._scores)
            moved |= self._scores.keys()
        changed = set()
        for point in moved:
            for trial_id in self._points[point]:
                state = self.trials[trial_id].state
                now = self._places.get(point, state) if state == "completed" else state
                if self.standings.get(trial_id) != now:
                    self.standings[trial_id] = now
                    changed.add(trial_id)
        return changed
