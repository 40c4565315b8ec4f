"""Journals as a sweep would write them, for the tests of everything that reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from astmoa.config import DataConfig, MethodConfig, OptimConfig, TrialConfig, complete
from astmoa.records.journal import Journal

BEGIN = 1_700_000_000.0


# The fewest fields of an event.
LEAST: dict[str, dict[str, Any]] = {
    "proposal": {
        "trial_id": "t",
        "config": {"method": {"name": "linear"}, "data": {"fold": 1}, "optim": {"epochs": 1}, "seed": 0},
        "config_hash": "t",
        "point": "p",
        "label": "linear",
        "params": {"num_trainable_params": 1},
    },
    "start": {"trial_id": "t"},
    "epoch": {"trial_id": "t", "epoch": 1, "val_accuracy": 0.5, "seconds": 1.0},
    "decision": {"trial_id": "t", "epoch": 1, "action": "stop"},
    "retry": {"trial_id": "t", "strikes": 0, "losses": 0, "alone": False},
    "end": {"trial_id": "t", "state": "failed"},
    "confirm": {"points": []},
    "sweep_end": {"reason": "every trial ended"},
}


class LeastJournal(Journal):
    """For tests of the journal that do not care what is in it."""

    def append(self, type: str, **fields: Any) -> dict[str, Any]:
        return super().append(type, **LEAST.get(type, {}) | fields)


@dataclass(frozen=True)
class Trial:
    """What shall happen to a trial. state: completed, stopped, failed, running (cut off), proposed (never started)."""

    trial_id: str
    config: TrialConfig
    size: int = 10_000
    accuracy: float = 0.8
    state: str = "completed"
    epochs: int = 3
    clips: int | None = 200
    """Validation clips, and as many test clips; None: the end does not say, as in old journals."""
    paper: dict[str, float] | None = None
    phase: str | None = None
    """search or confirm: then its events are a search's (seconds by what they went into, no accuracy where stopped)."""
    name: str | None = None
    step_seconds: float = 0.01

    @property
    def label(self) -> str:
        return self.name or f"{self.config.method.num_experts}/{self.config.method.slots_per_expert}"


def config(
    experts: int = 1,
    slots: int = 1,
    seed: int = 0,
    fold: int = 1,
    epochs: int = 3,
    faithful: tuple[str, ...] = (),
    **method: Any,
) -> TrialConfig:
    given = {"num_experts": experts, "slots_per_expert": slots, "bottleneck_dim": 2} | method
    method = MethodConfig(name="linear") if method.get("name") == "linear" else MethodConfig(**given)
    data, optim = DataConfig(fold=fold), OptimConfig(epochs=epochs)
    return complete(TrialConfig(data=data, method=method, optim=optim, seed=seed, faithful=faithful))


def header(**changes: Any) -> dict[str, Any]:
    return {
        "type": "sweep",
        "time": BEGIN,
        "format": 1,
        "sweep_id": "abc123",
        "study": "n_vs_p",
        "command": "python sweeps/n_vs_p.py --tracking-uri http://ann:hush@example.org:5000",
        "options": {"seeds": 2},
        "num_trials": 4,
        "data": {"name": "builtin", "fingerprint": "da7a", "bad_clips": {"3": "truncated"}},
        "backbone": {"name": "tiny", "fingerprint": "bb01"},
        "versions": {"torch": "2.11.0"},
        "git_commit": "c0ffee",
    } | changes


def trial_events(trial: Trial, begin: float) -> list[dict[str, Any]]:
    """All events of one trial, a second apart. Epoch e's accuracy rises to `accuracy`, the test is 0.05 below."""
    params = {"adapter": trial.size - 600, "router": 0, "norm": 100, "head": 500, "num_trainable_params": trial.size}
    common = {"trial_id": trial.trial_id}
    proposal = {"config": trial.config.to_dict(), "config_hash": trial.config.hash(), "point": trial.config.point()}
    events: list[dict[str, Any]] = [
        {"type": "proposal", "time": begin, **common, **proposal, "label": trial.label, "params": params}
    ]
    if trial.paper is not None:
        events[0]["paper"] = trial.paper
    if trial.phase is not None:
        events[0]["phase"] = trial.phase
    if trial.state == "proposed":
        return events
    events.append({"type": "start", "time": begin + 1, **common, "device": "cpu"})
    for epoch in range(1, trial.epochs + 1):
        accuracy = trial.accuracy * epoch / trial.epochs
        record = {"train_loss": 1 / epoch, "val_loss": 2 / epoch, "val_accuracy": accuracy, "lr": 0.005, "seconds": 1.0}
        if trial.phase is not None:
            record |= {"val_seconds": 0.25, "step_seconds": trial.step_seconds}
        events.append({"type": "epoch", "time": begin + 1 + epoch, **common, "epoch": epoch, **record})
    end = {"type": "end", "time": begin + 2 + trial.epochs, **common, "state": trial.state, "device_seconds": 4.0}
    if trial.phase is not None:
        end["device_seconds"] = trial.epochs + 1.0  # all that has gone since its start: a share of 1
    nothing = dict.fromkeys(("best_epoch", "val_accuracy", "test_accuracy", "test_loss", "error"))
    if trial.state == "completed":
        results = {"best_epoch": trial.epochs, "val_accuracy": trial.accuracy, "test_accuracy": trial.accuracy - 0.05}
        clips = {} if trial.clips is None else {"num_val_clips": trial.clips, "num_test_clips": trial.clips}
        seconds = {} if trial.phase is None else {"test_seconds": 0.5}
        events.append({**end, **nothing, **results, "test_loss": 0.5, **clips, **seconds})
    elif trial.state == "stopped":
        stop = {
            "type": "decision",
            "time": begin + 1.5 + trial.epochs,
            **common,
            "epoch": trial.epochs,
            "action": "stop",
        }
        if trial.phase is None:  # a journal before searches: with the truncated accuracy
            events += [stop, {**end, **nothing, "best_epoch": trial.epochs, "val_accuracy": trial.accuracy}]
        else:
            events += [{**stop, "milestone": trial.epochs}, {**end, **nothing}]
    elif trial.state == "failed":
        events.append({**end, **nothing, "error": "loss is not finite\nin epoch 4"})
    return events


def sweep_events(trials: Sequence[Trial], ended: bool = True, **changes: Any) -> list[dict[str, Any]]:
    """A whole journal: one trial after the other, ten seconds each."""
    events = [header(**changes)]
    for number, trial in enumerate(trials):
        events += trial_events(trial, BEGIN + 10 * (number + 1))
    if ended:
        events.append(
            {"type": "sweep_end", "time": events[-1]["time"] + 1, "reason": "every trial ended", "seconds": 99.0}
        )
    return events


def search_events(trials: Sequence[Trial], ended: bool = True, **search: Any) -> list[dict[str, Any]]:
    """A search's journal: as `sweep_events`, with the fields that say how it searched and what it asked."""
    how: dict[str, Any] = {
        "space": [{"name": ["soft_moa"], "num_experts": [1, 2, 4]}],
        "sampler": "nsga2",
        "scheduler": "pareto_asha",
        "tell_stopped": "failed",
        "grace_period": 1,
        "reduction_factor": 3,
        "margin": 0.5,
        "search_seed": 0,
        "max_params": None,
        "objectives": ["params", "accuracy"],
    }
    trials = [trial if trial.phase else replace(trial, phase="search") for trial in trials]
    events = sweep_events(trials, ended, study="frontier", num_trials=len(trials), search=how | search)
    asked = 0
    for event in events:
        if event["type"] == "proposal" and event["phase"] == "search":
            method = event["config"]["method"]
            candidate = {key: method[key] for key in ("name", "num_experts", "slots_per_expert", "bottleneck_dim")}
            event["ask"] = {"number": asked, "candidate": candidate, "passed_over": []}
            asked += 1
    return events


def searched(count: int, seed: int = 0) -> list[Trial]:
    """`count` different random methods of a search: more than half of them stopped early, one in 20 failed."""
    rng = np.random.default_rng(seed)
    trials: dict[str, Trial] = {}
    while len(trials) < count:
        name = str(rng.choice(["linear", "bottleneck", "dense_moa", "soft_moa"], p=[0.01, 0.25, 0.34, 0.4]))
        experts = int(rng.choice([2, 4, 8, 14])) if name.endswith("moa") else 1
        slots = int(rng.choice([1, 2, 4])) if name == "soft_moa" else 1
        width, place = int(2 ** rng.integers(0, 6)), str(rng.choice(["attention", "ffn", "both"]))
        label = f"{name.removesuffix('_moa')} {experts}/{slots} r{width} {place} lr 0.008"
        adapter = 0 if name == "linear" else experts * width * 2304 * (2 if place == "both" else 1)
        gain = 0.45 * (1 - math.exp(-math.log10(1 + adapter / 2000))) * (1.2 if name == "soft_moa" else 1.0)
        accuracy = min(0.99, 0.42 + gain - 0.25 * rng.random() ** 4 + 0.02 * rng.normal())
        draw, method = rng.random(), {"bottleneck_dim": width, "placement": place, "name": name}
        trial = config(experts, slots, epochs=12, **method)
        state = "failed" if draw < 0.05 else "stopped" if draw < 0.62 and accuracy < 0.45 + gain else "completed"
        trials.setdefault(
            trial.point(),
            Trial(
                f"s{len(trials)}",
                trial,
                size=adapter + 12_000,
                accuracy=round(accuracy, 3),
                state=state,
                epochs=int(rng.choice([1, 3])) if state == "stopped" else 12,
                phase="search",
                name=label,
                step_seconds=0.01 * (1 + 0.1 * experts),
            ),
        )
    return list(trials.values())


def confirming(trials: Sequence[Trial], seeds: int = 3, seed: int = 0, luck: float = 0.02) -> list[Trial]:
    """Other seeds of these completed trials. They are `luck` below what the search saw, give or take 0.02."""
    rng = np.random.default_rng(seed)
    return [
        replace(
            trial,
            trial_id=f"{trial.trial_id}-{again}",
            config=replace(trial.config, seed=again),
            accuracy=round(min(1.0, trial.accuracy - luck + 0.02 * float(rng.normal())), 3),
            phase="confirm",
        )
        for again in range(1, seeds + 1)
        for trial in trials
    ]


def write(run_dir: Path, events: Sequence[dict[str, Any]]) -> Path:
    """Append events through the real Journal."""
    journal = Journal(run_dir)
    for event in events:
        journal.append(**event)
    journal.close()
    return run_dir


def every_state() -> list[Trial]:
    """Three points: one of two seeds, one with a failed and a stopped seed, one unfinished; one trial never began."""
    return [
        Trial("t0", config(1, 1, seed=0), size=10_000, accuracy=0.6),
        Trial("t1", config(1, 1, seed=1), size=10_000, accuracy=0.7),
        Trial("t2", config(2, 1, seed=0), size=20_000, state="failed", epochs=2),
        Trial("t3", config(2, 1, seed=1), size=20_000, state="stopped", accuracy=0.9, epochs=1),
        Trial("t4", config(4, 1, seed=0), size=40_000, state="running", epochs=2),
        Trial("t5", config(4, 1, seed=1), size=40_000, state="proposed"),
    ]


def many_points(count: int, seeds: int = 2, ratio: float = 1.5) -> list[Trial]:
    """`count` points, each `ratio` times the size of the one before, with rising, flattening accuracy."""
    base = Trial("", config())
    return [
        replace(
            base,
            trial_id=f"t{point}-{seed}",
            config=config(point + 1, 1, seed=seed),
            size=round(5_000 * ratio**point),
            accuracy=0.9 * (1 - math.exp(-(point + 1) / 3)) + 0.01 * seed,
        )
        for point in range(count)
        for seed in range(seeds)
    ]
