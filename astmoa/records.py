"""What a sweep did, read back from its journal: trials, and points (one configuration over its seeds and folds).

Only completed trials have accuracies here. A stopped trial's last value is a truncated one, and a failed trial has
none: both are None, so that neither can slip into a mean.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from astmoa.errors import RunError
from astmoa.journal import read_journal

Event = dict[str, Any]
State = Literal["running", "stopped", "completed", "failed"]
STATES: tuple[State, ...] = ("running", "stopped", "completed", "failed")


@dataclass(frozen=True)
class TrialRecord:
    """One trial. Times are seconds since 1970."""

    trial_id: str
    config: dict[str, Any]
    config_hash: str
    point: str
    label: str
    params: dict[str, int]
    state: State  # running: not ended, also after a crash
    proposed: float
    started: float | None
    device: str | None
    epochs: tuple[Event, ...]
    """One event per epoch, ascending. Where a resumed trial did an epoch again, its last account of it."""
    end: Event | None

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def fold(self) -> int:
        return self.config["data"]["fold"]

    @property
    def num_trainable_params(self) -> int:
        return self.params["num_trainable_params"]

    @property
    def val_accuracy(self) -> float | None:
        """Of the best epoch; None unless completed."""
        return self._result("val_accuracy") if self.state == "completed" else None

    @property
    def test_accuracy(self) -> float | None:
        """At the best epoch by validation; None unless completed."""
        return self._result("test_accuracy") if self.state == "completed" else None

    @property
    def device_seconds(self) -> float | None:
        return self._result("device_seconds")

    @property
    def error(self) -> str | None:
        return self._result("error")

    def _result(self, key: str) -> Any:
        return None if self.end is None else self.end.get(key)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (divisor n - 1) of n values; one value has no deviation (None)."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Of the values that are there; None without any."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class PointRecord:
    """All replicates (seeds and folds) of one configuration."""

    point: str
    label: str
    config: dict[str, Any]
    """The first replicate's; seed and data.fold differ between replicates."""
    params: dict[str, int]
    trials: tuple[TrialRecord, ...]

    @property
    def completed(self) -> tuple[TrialRecord, ...]:
        return tuple(trial for trial in self.trials if trial.state == "completed")

    @property
    def num_trainable_params(self) -> int:
        return self.params["num_trainable_params"]

    @property
    def paper_params(self) -> int:
        """The paper's figure: adapter + router + norm, without the head."""
        return sum(self.params.get(part, 0) for part in ("adapter", "router", "norm"))

    @property
    def val_accuracy(self) -> Spread | None:
        return Spread.of(trial.val_accuracy for trial in self.trials)

    @property
    def test_accuracy(self) -> Spread | None:
        return Spread.of(trial.test_accuracy for trial in self.trials)

    @property
    def device_seconds(self) -> Spread | None:
        """Per completed trial."""
        return Spread.of(trial.device_seconds for trial in self.completed)


@dataclass(frozen=True)
class SweepRecord:
    """A whole sweep: header event, trials in the study's order, and its sweep_end if it came to one."""

    header: Event
    trials: tuple[TrialRecord, ...]
    end: Event | None

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
    def states(self) -> dict[State, int]:
        """Number of trials by state, every state named."""
        counts = Counter(trial.state for trial in self.trials)
        return {state: counts[state] for state in STATES}

    def points(self) -> tuple[PointRecord, ...]:
        """Trials grouped by configuration, in the order they were first proposed."""
        groups: dict[str, list[TrialRecord]] = {}
        for trial in self.trials:
            groups.setdefault(trial.point, []).append(trial)
        return tuple(PointRecord(p, t[0].label, t[0].config, t[0].params, tuple(t)) for p, t in groups.items())


def load_sweep(run_dir: Path) -> SweepRecord:
    """The sweep that a run folder's journal tells of. Raises RunError where the journal is missing or damaged."""
    return sweep_record(read_journal(run_dir), str(run_dir))


def sweep_record(events: Sequence[Event], where: str = "journal") -> SweepRecord:
    """The sweep of these events, oldest first; `where` is their source, for errors. Unknown types are passed over."""
    header = sweep_header(events, where)
    # In the study's own order: which trial starts first is a race between workers.
    by_trial = sorted(events_by_trial(events, where).values(), key=lambda of_trial: of_trial[0].get("index", 0))
    trials = tuple(trial_record(of_trial) for of_trial in by_trial)
    # An extended sweep goes on after its end: only an end that nothing follows counts.
    last = events[-1]
    return SweepRecord(header, trials, last if last["type"] == "sweep_end" else None)


def sweep_header(events: Sequence[Event], where: str) -> Event:
    """The first event. Raises RunError if it is not a sweep's."""
    if events and events[0]["type"] == "sweep" and {"sweep_id", "study"} <= events[0].keys():
        return events[0]
    raise RunError(f"{where}: the journal begins with no sweep; give the folder that a sweep wrote (its --out)")


def events_by_trial(events: Sequence[Event], where: str) -> dict[str, list[Event]]:
    """Each trial's own events, trials in the order of proposal. Raises RunError for a trial never proposed."""
    groups: dict[str, list[Event]] = {}
    for event in events:
        trial_id = event.get("trial_id")
        if trial_id is None:
            continue
        if event["type"] != "proposal" and trial_id not in groups:
            raise RunError(f"{where}: {event['type']} of trial {trial_id}, never proposed; restore the journal")
        groups.setdefault(trial_id, []).append(event)
    return groups


def trial_record(events: Sequence[Event]) -> TrialRecord:
    """One trial from its own events, the proposal first.

    A resumed trial starts again: a new start revokes an earlier end, and an epoch done again replaces itself and all
    after it.
    """
    proposal = events[0]
    starts, end, epochs = [], None, {}
    for event in events[1:]:
        if event["type"] == "start":
            starts.append(event)
            end = None
        elif event["type"] == "epoch":
            epochs = {number: kept for number, kept in epochs.items() if number < event["epoch"]}
            epochs[event["epoch"]] = event
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
    )


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots: {"method": {"name": x}} becomes {"method.name": x}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _name(value: Any) -> str:
    return str(value.get("name", "?") if isinstance(value, dict) else value or "?")
