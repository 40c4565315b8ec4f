"""What tables and pictures show of a search besides what they show of any sweep.

The test accuracy of a search is shown only for what was confirmed: looked at before, it would choose.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from astmoa.records.hypervolumes import TraceRow
from astmoa.records.standing import front_probabilities, standing
from astmoa.records.sweep import SweepRecord

_OUTCOMES = ("front", "near-front", "dominated", "stopped", "failed", "paused", "running")


def search_facts(sweep: SweepRecord, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The `search` of a summary, ready for JSON: how it was searched, what came of its points, what it cost.

    rows: the summary's points, in the order of `sweep.points()`. They are completed with `confirmed`, `standing`
    (front, near-front, dominated; null without a result), `front_probability` (null unless confirmed), `step_seconds`
    and `outcome` (of points without a result: stopped, failed, paused or running), and lose test accuracies that are
    not to be shown.
    """
    search = sweep.header["search"]
    assert search is not None
    stands, probabilities = standing(sweep), front_probabilities(sweep)
    for row, point in zip(rows, sweep.points(), strict=True):
        stopped = [trial.stopped_at for trial in point.trials if trial.state == "stopped" and trial.stopped_at]
        row |= {
            "confirmed": point.confirmed,
            "standing": stands.get(point.point),
            "front_probability": probabilities.get(point.point),
            "step_seconds": point.step_seconds,
            "outcome": None if point.completed else _outcome({trial.state for trial in point.trials}),
            "stopped_at": max(stopped, default=None),
            "num_trials": len(point.counted),
        }
        if not point.confirmed:
            row["test_accuracy"] = None
        for replicate, trial in zip(row["replicates"], point.trials, strict=True):
            replicate["phase"] = trial.phase
            if trial.phase != "confirm":
                replicate["test"] = None
    outcomes = Counter(row["outcome"] or row["standing"] for row in rows)
    return {
        **search,
        "objectives": list(sweep.objectives),
        "confirmed": sweep.confirmed,
        "outdated": sweep.outdated,
        "num_chosen": len(sweep.chosen),
        "num_confirming": sweep.num_confirming,
        "num_points": len(rows),
        "num_confirmed": sum(row["confirmed"] for row in rows),
        "outcomes": {name: outcomes[name] for name in _OUTCOMES if outcomes[name]},
        "num_epochs": sweep.num_epochs,
        "device_seconds": sweep.device_seconds(),
        "reason": sweep.reason,
        "trace": [row._asdict() for row in _news(sweep.hypervolume_trace())],
    }


def _news(trace: list[TraceRow]) -> list[TraceRow]:
    """The rows that gained something, and the last."""
    gained = [row for before, row in zip([None, *trace], trace, strict=False)
              if before is None or row.hypervolume > before.hypervolume]  # fmt: skip
    return gained if not trace or gained[-1] is trace[-1] else [*gained, trace[-1]]


def _outcome(states: set[str]) -> str:
    """Of a point that has no completed trial."""
    return next(state for state in ("running", "paused", "stopped", "failed") if state in states)
