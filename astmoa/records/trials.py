"""The records: one trial, and all replicates of one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from astmoa.pareto.spread import SCORE, Interval, Spread, clip_interval
from astmoa.records.journal_events import EndEvent, EpochEvent

State = Literal["running", "paused", "stopped", "completed", "failed"]
STATES: tuple[State, ...] = ("running", "paused", "stopped", "completed", "failed")
OPEN = {"running", "paused"}
Phase = Literal["search", "confirm"]


@dataclass(frozen=True)
class TrialRecord:
    """One trial. Times are seconds since 1970."""

    trial_id: str
    config: dict[str, Any]
    config_hash: str
    point: str
    label: str
    params: dict[str, int]
    state: State
    """running: not ended. paused: not ended, in a sweep that has; --resume goes on with it."""
    proposed: float
    started: float | None
    device: str | None
    epochs: tuple[EpochEvent, ...]
    """One event per epoch, ascending. Where a resumed trial did an epoch again, its last account of it."""
    end: EndEvent | None
    metric: str = "accuracy"
    """What val_accuracy and test_accuracy are: accuracy, or mAP."""
    paper: dict[str, float] = field(default_factory=dict)
    """A paper's accuracy of this configuration in percent, by name of the data; empty where none is known."""
    phase: Phase | None = None
    """search: proposed by a search. confirm: another seed or fold of what a search found. None: an enumerated study."""
    stopped_at: int | None = None
    """The epoch after which the scheduler stopped it."""
    last_started: float | None = None
    """Differs from `started` where the trial was resumed."""

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
        return None if self._completion is None else self._completion.get("val_accuracy")

    @property
    def test_accuracy(self) -> float | None:
        """At the best epoch by validation; None unless completed."""
        return None if self._completion is None else self._completion.get("test_accuracy")

    @property
    def val_interval(self) -> Interval | None:
        """95 % interval of val_accuracy over the validation clips; None unless completed, or where it is not known."""
        return self._interval("val")

    @property
    def test_interval(self) -> Interval | None:
        """As val_interval, of test_accuracy over the test clips."""
        return self._interval("test")

    @property
    def best_epoch(self) -> int | None:
        """By validation; None unless completed."""
        return None if self._completion is None else self._completion.get("best_epoch")

    @property
    def device_seconds(self) -> float | None:
        return None if self.end is None else self.end.get("device_seconds")

    @property
    def error(self) -> str | None:
        return None if self.end is None else self.end.get("error")

    @property
    def epoch_seconds(self) -> float:
        """Of all its epochs, training and validation."""
        return sum(epoch["seconds"] for epoch in self.epochs)

    @property
    def val_seconds(self) -> float | None:
        """The part of `epoch_seconds` spent on validation; None where it is not known: in older journals."""
        known = [part for epoch in self.epochs if (part := epoch.get("val_seconds")) is not None]
        return sum(known) if len(known) == len(self.epochs) else None

    @property
    def test_seconds(self) -> float | None:
        """None unless completed, and in older journals."""
        return None if self._completion is None else self._completion.get("test_seconds")

    @property
    def device_share(self) -> float | None:
        """Devices that the trial held, such as 0.25 of a GPU: its device-seconds over the time from its start to its
        end. What it did before it was resumed is in both. None where it has not ended."""
        if self.end is None or self.device_seconds is None or self.last_started is None:
            return None
        earlier = sum(epoch["seconds"] for epoch in self.epochs if epoch["time"] < self.last_started)
        wall = self.end["time"] - self.last_started + earlier
        return self.device_seconds / wall if wall > 0 else None

    @property
    def _completion(self) -> EndEvent | None:
        return self.end if self.state == "completed" else None

    def _interval(self, split: Literal["val", "test"]) -> Interval | None:
        return None if self._completion is None else end_interval(self._completion, split, self.metric)


@dataclass(frozen=True)
class PointRecord:
    """All replicates (seeds and folds) of one configuration.

    Its spreads are over folds, each the mean of its completed seeds; where one fold is complete, over that one's seeds.
    What a search found and then confirmed is judged by the confirming trials alone: the search's own trial was looked
    at because it came out high, and so is too high on average (the winner's curse); fresh replicates are not.
    """

    point: str
    label: str
    config: dict[str, Any]
    """The first replicate's; seed and data.fold differ between replicates."""
    params: dict[str, int]
    trials: tuple[TrialRecord, ...]

    @property
    def completed(self) -> tuple[TrialRecord, ...]:
        """The replicates that count: the completed trials; of a confirmed point those of the confirm phase."""
        return tuple(trial for trial in self.counted if trial.state == "completed")

    @property
    def confirmed(self) -> bool:
        """Has a trial of the confirm phase completed?"""
        return any(trial.phase == "confirm" and trial.state == "completed" for trial in self.trials)

    @property
    def counted(self) -> tuple[TrialRecord, ...]:
        """Trials of any state, in a confirmed point those of the confirm phase."""
        if not self.confirmed:
            return self.trials
        return tuple(trial for trial in self.trials if trial.phase == "confirm")

    @property
    def completed_folds(self) -> dict[int, tuple[TrialRecord, ...]]:
        """The completed trials (seeds) of every test fold that has any."""
        folds = dict.fromkeys(trial.fold for trial in self.completed)
        return {fold: tuple(trial for trial in self.completed if trial.fold == fold) for fold in folds}

    @property
    def num_trainable_params(self) -> int:
        return self.params["num_trainable_params"]

    @property
    def paper_params(self) -> int:
        """The paper's figure: adapter + router + norm, without the head."""
        return sum(self.params.get(part, 0) for part in ("adapter", "router", "norm"))

    @property
    def paper(self) -> dict[str, float]:
        """A paper's accuracy of this configuration in percent, by name of the data; empty where none is known."""
        return next((trial.paper for trial in self.trials if trial.paper), {})

    @property
    def val_accuracy(self) -> Spread | None:
        known = [trial for trial in self.completed if trial.val_accuracy is not None]
        over_clips = known[0].val_interval if len(known) == 1 else None
        return Spread.over_folds(((trial.fold, trial.val_accuracy) for trial in known), SCORE, over_clips)

    @property
    def known_accuracy(self) -> Spread:
        """`val_accuracy` of a point that has one, as every contender has (see `SweepRecord.contenders`)."""
        spread = self.val_accuracy
        assert spread is not None
        return spread

    @property
    def test_accuracy(self) -> Spread | None:
        known = [trial for trial in self.completed if trial.test_accuracy is not None]
        over_clips = known[0].test_interval if len(known) == 1 else None
        return Spread.over_folds(((trial.fold, trial.test_accuracy) for trial in known), SCORE, over_clips)

    @property
    def device_seconds(self) -> Spread | None:
        """Of one completed trial."""
        return Spread.over_folds((trial.fold, trial.device_seconds) for trial in self.completed)

    @property
    def step_seconds(self) -> float | None:
        """Seconds of one training step, of the fastest epoch: other programs only ever slow a step down. None where it
        is not known, as in older journals."""
        known = [epoch.get("step_seconds") for trial in self.completed for epoch in trial.epochs]
        return min((seconds for seconds in known if seconds is not None), default=None)


def end_interval(end: Mapping[str, Any], split: Literal["val", "test"], metric: str) -> Interval | None:
    """95 % interval of a trial's score over the clips of a split, from its last event; None where it is not known."""
    written = end.get(f"{split}_interval")
    if written is not None:
        return written[0], written[1]
    if metric != "accuracy":  # only counts of correct clips are binomial
        return None
    return clip_interval(end.get(f"{split}_accuracy"), end.get(f"num_{split}_clips"))
