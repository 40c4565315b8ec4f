"""What earlier runs of a sweep left in its journal, taken back into a ledger event by event.

The order is the journal's: the scheduler's rungs, the sampler's history and the counts come out as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astmoa.config import TrialConfig, complete
from astmoa.config.proposals import Proposal
from astmoa.engine.judging import Judge
from astmoa.engine.ledger import DrivenTrial, Event, Ledger
from astmoa.engine.proposers import Proposer
from astmoa.errors import RunError


@dataclass(frozen=True)
class Recovered:
    """What is left to do of it."""

    seconds: float
    """Seconds on the wall that earlier runs searched."""
    unfinished: list[DrivenTrial]
    """To be resumed, in the order of their proposal; failed ones that may be tried again are among them."""
    decided: dict[str, int]
    """Trials to be stopped, with their milestone: a crash came between the epoch and what follows from it."""
    written: set[str]
    """Trials whose decision is in the journal."""


def recover(ledger: Ledger, proposer: Proposer, judge: Judge, events: Sequence[Event]) -> Recovered:
    """Writes nothing. Raises RunError where the journal holds what this study would not propose."""
    lasting = {e["trial_id"]: n for n, e in enumerate(events) if e["type"] in ("start", "end")}
    stopped: dict[str, int] = {}
    for number, event in enumerate(events):
        kind, trial_id = event["type"], event.get("trial_id")
        if kind == "proposal":
            _propose(ledger, proposer, event)
            continue
        if trial_id is None:
            continue
        trial = ledger.trials.get(trial_id)
        if trial is None:
            raise RunError(f"{kind} of trial {trial_id}, never proposed: restore the journal")
        if kind == "epoch" and event["epoch"] > trial.epoch:
            ledger.learn(trial, event)
            ledger.spend(trial, trial.device_seconds + event["seconds"] * ledger.share)
            milestone = judge.verdict(trial)
            if milestone is not None:
                stopped[trial.trial_id] = milestone
        elif kind == "decision":
            stopped[trial.trial_id] = event.get("milestone") or event["epoch"]
        elif kind == "retry":
            trial.strikes, trial.losses, trial.alone = event["strikes"], event["losses"], event["alone"]
        elif kind == "end" and event["state"] == "failed" and event.get("retry", True):
            # For a reason that may be gone now (a loss that became infinite is none): open again, and told as failed.
            if not trial.confirms:
                trial.state = "failed"
                proposer.ended(trial)
                trial.state = "proposed"
            trial.strikes, trial.losses, trial.alone = 0, 0, False
        elif kind == "end" and lasting[trial.trial_id] == number:
            ledger.settle(trial, event)
            if not trial.confirms:
                proposer.ended(trial)
    open_trials = [trial for trial in ledger.trials.values() if trial.open]
    for trial in open_trials:
        trial.state = "cut" if trial.confirms else "proposed"
    return Recovered(
        seconds=_seconds_searched(events),
        unfinished=[t for t in open_trials if not t.confirms and t.trial_id not in stopped],
        decided={t.trial_id: stopped[t.trial_id] for t in open_trials if t.trial_id in stopped},
        written={event["trial_id"] for event in events if event["type"] == "decision"},
    )


def _propose(ledger: Ledger, proposer: Proposer, event: Event) -> None:
    if event.get("phase") == "confirm":
        config = complete(TrialConfig.from_dict(event["config"]))
        proposal = Proposal(event["label"], config, event.get("paper") or {}, "confirm")
    else:
        proposal = proposer.restore(event)
    ledger.propose(proposal, event["params"])


def _seconds_searched(events: Sequence[Event]) -> float:
    """From each run's first event to its last, or to where its confirmation began."""
    total, began, at = 0.0, None, None
    for event in events:
        if event["type"] in ("sweep", "resume"):
            total += at - began if began is not None else 0.0
            began = event["time"]
        at = event["time"]
        if event["type"] == "confirm" and began is not None:
            total, began = total + at - began, None
    return total + (at - began if began is not None else 0.0)
