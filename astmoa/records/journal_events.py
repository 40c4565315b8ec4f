"""A journal's events as readers have them: the fields of each type, as `events` checks them, with `type` and `time`."""

from __future__ import annotations

from typing import Literal, TypeGuard

from typing_extensions import TypedDict

from astmoa.records.events import (
    ConfirmFields,
    DecisionFields,
    EndFields,
    EpochFields,
    ProposalFields,
    RestartFields,
    RetryFields,
    StartFields,
    SweepEndFields,
    SweepFields,
)


class _Timed(TypedDict):
    time: float  # seconds since 1970


class SweepEvent(SweepFields, _Timed):
    type: Literal["sweep", "resume"]


class ProposalEvent(ProposalFields, _Timed):
    type: Literal["proposal"]


class StartEvent(StartFields, _Timed):
    type: Literal["start"]


class EpochEvent(EpochFields, _Timed):
    type: Literal["epoch"]


class DecisionEvent(DecisionFields, _Timed):
    type: Literal["decision"]


class RetryEvent(RetryFields, _Timed):
    type: Literal["retry"]


class EndEvent(EndFields, _Timed):
    type: Literal["end"]


class ConfirmEvent(ConfirmFields, _Timed):
    type: Literal["confirm"]


class SweepEndEvent(SweepEndFields, _Timed):
    type: Literal["sweep_end"]


class RestartEvent(RestartFields, _Timed):
    type: Literal["restart"]


TrialEvent = ProposalEvent | StartEvent | EpochEvent | DecisionEvent | RetryEvent | EndEvent
JournalEvent = TrialEvent | SweepEvent | ConfirmEvent | SweepEndEvent | RestartEvent
"""What a later version writes besides has another type than any of these: it is passed over by whoever asks for one."""


def is_of_trial(event: JournalEvent) -> TypeGuard[TrialEvent]:
    """Is it about one trial, and not about the sweep?"""
    return event.get("trial_id") is not None
