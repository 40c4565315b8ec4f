"""From a journal's events to records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from astmoa.errors import RunError
from astmoa.records.journal import read_journal
from astmoa.records.journal_events import (
    EndEvent,
    EpochEvent,
    JournalEvent,
    StartEvent,
    SweepEvent,
    TrialEvent,
    is_of_trial,
)
from astmoa.records.lock import is_held
from astmoa.records.sweep import SweepRecord, metric_of, outdates
from astmoa.records.trials import TrialRecord


def load_sweep(run_dir: Path) -> SweepRecord:
    """The sweep that a run folder's journal tells of. Raises RunError where the journal is missing or damaged."""
    events = read_journal(run_dir)
    return sweep_record(events, str(run_dir), held=is_held(run_dir))


def sweep_record(events: Sequence[JournalEvent], where: str = "journal", held: bool = True) -> SweepRecord:
    """The sweep of these events, oldest first; `where` is their source, for errors. Unknown types are passed over.

    held: may a process still be at work on it? Where not, as after a crash, and where it has ended, no trial runs.
    """
    header = sweep_header(events, where)
    # In the study's own order: which trial starts first is a race between workers.
    by_trial = sorted(events_by_trial(events, where).values(), key=_index)
    trials = tuple(trial_record(of_trial, metric_of(header)) for of_trial in by_trial)
    # An extended sweep goes on after its end: only an end that nothing follows counts.
    last = events[-1]
    chosen: Sequence[str] = ()
    begin = len(events)
    for number, event in enumerate(events):
        if event["type"] == "confirm":
            chosen, begin = event["points"], number
    if last["type"] == "sweep_end" or not held:
        trials = tuple(replace(trial, state="paused") if trial.state == "running" else trial for trial in trials)
    known = {trial.trial_id: trial for trial in trials}
    outdated = any(outdates(event, known[event["trial_id"]]) for event in events[begin:] if event["type"] == "end")
    return SweepRecord(header, trials, last if last["type"] == "sweep_end" else None, tuple(chosen), outdated)


def sweep_header(events: Sequence[JournalEvent], where: str) -> SweepEvent:
    """The first event. Raises RunError if it is not a sweep's."""
    first = events[0] if events else None
    if first is not None and first["type"] == "sweep" and {"sweep_id", "study"} <= first.keys():
        return first
    raise RunError(f"{where}: the journal begins with no sweep; give the folder that a sweep wrote (its --out)")


def events_by_trial(events: Sequence[JournalEvent], where: str) -> dict[str, list[TrialEvent]]:
    """Each trial's own events, trials in the order of proposal. Raises RunError for a trial never proposed."""
    groups: dict[str, list[TrialEvent]] = {}
    for event in events:
        if not is_of_trial(event):
            continue
        trial_id = event["trial_id"]
        if event["type"] != "proposal" and trial_id not in groups:
            raise RunError(f"{where}: {event['type']} of trial {trial_id}, never proposed; restore the journal")
        groups.setdefault(trial_id, []).append(event)
    return groups


def trial_record(events: Sequence[TrialEvent], metric: str = "accuracy") -> TrialRecord:
    """One trial from its own events, the proposal first; `metric` is what its scores are (see `metric_of`).

    A resumed trial starts again: a new start revokes an earlier end, and an epoch done again replaces itself and all
    after it.
    """
    proposal = events[0]
    assert proposal["type"] == "proposal"
    starts: list[StartEvent] = []
    end: EndEvent | None = None
    epochs: dict[int, EpochEvent] = {}
    stopped_at: int | None = None
    for event in events[1:]:
        if event["type"] == "start":
            starts.append(event)
            end = stopped_at = None
        elif event["type"] == "epoch":
            epochs = {number: kept for number, kept in epochs.items() if number < event["epoch"]}
            epochs[event["epoch"]] = event
        elif event["type"] == "decision" and event.get("action") == "stop":
            stopped_at = event["epoch"]
        elif event["type"] == "end":
            end = event
    return TrialRecord(
        trial_id=proposal["trial_id"],
        config=proposal["config"],
        config_hash=proposal["config_hash"],
        point=proposal["point"],
        label=proposal["label"],
        params=proposal["params"],
        state="running" if end is None else end["state"],
        proposed=proposal["time"],
        started=starts[0]["time"] if starts else None,
        device=starts[-1].get("device") if starts else None,
        epochs=tuple(epochs.values()),
        end=end,
        metric=metric,
        paper=proposal.get("paper") or {},
        phase=proposal.get("phase"),
        stopped_at=stopped_at,
        last_started=starts[-1]["time"] if starts else None,
    )


def _index(of_trial: Sequence[TrialEvent]) -> int:
    proposal = of_trial[0]
    return proposal.get("index", 0) if proposal["type"] == "proposal" else 0


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots: {"method": {"name": x}} becomes {"method.name": x}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
