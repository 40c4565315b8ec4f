"""What MLflow is told, from journal events: parameters, tags, metric rows (key, value, seconds since 1970, step)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from astmoa.errors import printable
from astmoa.provenance import redact
from astmoa.records.journal_events import EndEvent, SweepEvent, TrialEvent
from astmoa.records.load import flatten
from astmoa.records.trials import TrialRecord, end_interval

_LONGEST = 1000
Row = tuple[str, float, float, int]
_EpochMetric = Literal["train_loss", "val_loss", "val_accuracy", "lr", "seconds", "val_seconds", "step_seconds"]
_EPOCH_METRICS: tuple[_EpochMetric, ...] = get_args(_EpochMetric)
_EndMetric = Literal["val_accuracy", "test_accuracy", "test_loss", "best_epoch", "test_seconds", "device_seconds"]
_END_METRICS: dict[_EndMetric, str] = {  # an epoch's val_accuracy keeps its name; the best one gets its own
    "val_accuracy": "best_val_accuracy",
    "test_accuracy": "test_accuracy",
    "test_loss": "test_loss",
    "best_epoch": "best_epoch",
    "test_seconds": "test_seconds",
    "device_seconds": "device_seconds",
}


def trial_params(trial: TrialRecord) -> dict[str, str]:
    """The flat configuration, num_trainable_params, and its subtotals as params.adapter, params.router, ..."""
    sizes = {key if key == "num_trainable_params" else f"params.{key}": value for key, value in trial.params.items()}
    return {key: text(value) for key, value in (flatten(trial.config) | sizes).items()}


def trial_tags(trial: TrialRecord, state: str, events: Sequence[TrialEvent]) -> dict[str, str]:
    """What a trial has come to. The error of an attempt that was repeated is taken back by an empty text."""
    tags = {"astmoa.state": state, "astmoa.device": trial.device}
    if any(event.get("error") for event in events):
        tags["astmoa.error"] = trial.error or ""
    return {key: text(value) for key, value in tags.items() if value is not None}


def trial_metrics(event: TrialEvent, metric: str = "accuracy") -> Iterator[Row]:
    """An event's numbers; what is absent is no row. An epoch that a resumed trial repeats is told again: so it was.

    metric: what the sweep's scores are, and are called: with mAP, val_accuracy is told as val_mAP.
    """
    if event["type"] == "epoch":
        results = {called(key, metric): event.get(key) for key in _EPOCH_METRICS}
        yield from metric_rows(results, event["time"], event["epoch"])
    elif event["type"] == "end":
        results = {called(name, metric): event.get(key) for key, name in _END_METRICS.items()}
        if event["state"] == "completed":
            results |= _bounds(event, metric)
        yield from metric_rows(results, event["time"], event.get("best_epoch") or 0)


def sweep_params(header: SweepEvent) -> dict[str, str]:
    """What was asked for; of a search also its space, sampler, scheduler and objectives, as search.space, ..."""
    known = {key: header[key] for key in ("study", "num_trials", "options", "search") if header.get(key) is not None}
    return {key: text(value) for key, value in flatten(known).items()}


def sweep_tags(hypervolume: float | None, end_reason: str | None) -> dict[str, str]:
    """How a sweep stands, in what the UI's table of runs shows. An end that was not the last is taken back."""
    tags = {"astmoa.hypervolume": hypervolume, "astmoa.end_reason": end_reason}
    return {key: text(value) for key, value in tags.items() if value is not None}


def provenance(header: SweepEvent) -> dict[str, str]:
    """Where results come from: commit, command, versions, data and backbone with their fingerprints."""
    tags: dict[str, Any] = {f"astmoa.{key}": header.get(key) for key in ("git_commit", "command")}
    for part in ("data", "backbone", "versions"):
        value = header.get(part)
        # One level deep and plain values only: a list of bad clips is no tag.
        known = value if isinstance(value, dict) else {"name": value}
        tags |= {f"astmoa.{part}.{key}": item for key, item in known.items() if not isinstance(item, dict | list)}
    tags |= {"mlflow.source.git.commit": header.get("git_commit"), "mlflow.source.name": header.get("command")}
    return {key: text(value) for key, value in tags.items() if value is not None}


def text(value: Any) -> str:
    """As MLflow takes it: of bounded length, without passwords, and without what a database or a page stumbles over:
    control characters, halves of characters."""
    words = redact(value if isinstance(value, str) else json.dumps(value))[:_LONGEST]
    return "\n".join(printable(line) for line in words.split("\n"))[:_LONGEST]


def milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _bounds(end: EndEvent, metric: str) -> dict[str, float]:
    """val_low, val_high, test_low, test_high: this trial's 95 % intervals over its clips, where they are known."""
    intervals = {split: end_interval(end, split, metric) for split in ("val", "test")}
    return {
        f"{split}_{side}": bound
        for split, interval in intervals.items()
        for side, bound in zip(("low", "high"), interval or (), strict=False)
    }


def called(key: str, metric: str) -> str:
    """A row's name where scores are of another metric: val_accuracy as val_mAP."""
    return key.replace("accuracy", metric)


def metric_rows(values: Mapping[str, float | None], time: float, step: int) -> Iterator[Row]:
    """Rows of the values that are there."""
    yield from ((key, float(value), time, step) for key, value in values.items() if value is not None)
