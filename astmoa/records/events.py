"""What a journal's events must be like: types and bounds of every field that anybody reads.

A journal may come from anywhere, half copied or made up. So each line is checked here, once, before anything is done
with it; names that become parts of paths and queries can be nothing else. Fields that are not named here are kept as
they are, and nobody reads them. Absence is null or no field, never a number. The events as readers have them, with type
and time, are in `journal_events`.
"""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic cannot read the standard library's before Python 3.12
)

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

_MOST = 2**53
_LAST_YEAR = 253_402_300_000.0  # datetime ends with 9999
_LONGEST_VALUE = 10_000

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
"""Name that can be part of a path, of an address and of a tracker's query: no slash, no quote, no dot in front."""
Words = Annotated[str, StringConstraints(max_length=_LONGEST_VALUE)]
Label = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=0, le=_MOST)]
Number = Annotated[int, Field(ge=1, le=_MOST)]
Value = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Score = Annotated[float, Field(ge=0, le=1)]
Bounds = Annotated[list[Score], Field(min_length=2, max_length=2)]
Time = Annotated[float, Field(ge=0, le=_LAST_YEAR)]
Scalar = bool | Annotated[int, Field(ge=-_MOST, le=_MOST)] | Value | Words | None
Leaf = Scalar | list[Scalar]
_open = with_config(ConfigDict(extra="allow", strict=True))


def _has(*path: str, of: type) -> AfterValidator:
    """The value at a path of keys is there, and of this type."""

    def check(value: Any) -> Any:
        inner = value
        for key in path:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if type(inner) is not of:
            raise PydanticCustomError("lacks", "{key} is missing or wrong", {"key": ".".join(path)})
        return value

    return AfterValidator(check)


def _trains_something(params: dict[str, int]) -> dict[str, int]:
    if params["num_trainable_params"] < 1:  # its logarithm is asked for
        raise PydanticCustomError("lacks", "num_trainable_params is not above 0")
    return params


Config = Annotated[
    dict[Label, Leaf | dict[Label, Leaf | dict[Label, Leaf]]],
    _has("method", "name", of=str),
    _has("data", "fold", of=int),
    _has("optim", "epochs", of=int),
    _has("seed", of=int),
]
Params = Annotated[dict[Label, Count], _has("num_trainable_params", of=int), AfterValidator(_trains_something)]


@_open
class _Data(TypedDict):
    name: Label
    fingerprint: NotRequired[Label]
    clips: NotRequired[Count]
    splits: NotRequired[dict[Label, dict[Label, Count]]]
    labels: NotRequired[list[Label]]
    seconds: NotRequired[Annotated[float, Field(gt=0, le=600)]]
    metric: NotRequired[Literal["accuracy", "mAP"] | None]
    bad_clips: NotRequired[dict[Words, Words] | None]


Sources = dict[Label, Annotated[str, StringConstraints(max_length=1 << 20)]]
"""Sources of code from outside, by name."""


def _names_data(setting: dict[str, Any]) -> dict[str, Any]:
    data = setting.get("data") or []
    if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
        raise PydanticCustomError("lacks", "data is no list of names")
    return setting


@_open
class _Search(TypedDict):
    space: NotRequired[list[dict[Label, Leaf]]]
    objectives: NotRequired[list[Literal["params", "accuracy", "step_time"]]]


@_open
class _Paper(TypedDict):
    source: NotRequired[Words | None]
    setting: NotRequired[Annotated[dict[Label, Leaf | dict[Label, Leaf]], AfterValidator(_names_data)] | None]
    changed: NotRequired[list[Words] | None]


@_open
class SweepFields(TypedDict):
    # Also a `resume`, which needs no id.
    format: NotRequired[int]
    sweep_id: NotRequired[Id]
    study: NotRequired[Label]
    command: NotRequired[Annotated[str, StringConstraints(max_length=200_000)]]
    options: NotRequired[dict[Label, Leaf]]
    data: NotRequired[_Data | Label | None]
    backbone: NotRequired[dict[Label, Leaf] | Label | None]
    search: NotRequired[_Search | None]
    paper: NotRequired[_Paper | None]
    num_trials: NotRequired[Count]
    storage: NotRequired[Words | None]
    tracker: NotRequired[Words | None]
    machine: NotRequired[Words | None]
    versions: NotRequired[dict[Label, Label]]
    package: NotRequired[Label | None]
    git_commit: NotRequired[Label | None]
    methods: NotRequired[Sources | None]
    layouts: NotRequired[Sources | None]


@_open
class _Ask(TypedDict):
    number: Count
    candidate: dict[Label, Leaf]
    passed_over: list[dict[Label, Leaf]]


@_open
class ProposalFields(TypedDict):
    trial_id: Id
    index: NotRequired[Count]
    config: Config
    config_hash: Id
    point: Id
    label: Label
    params: Params
    paper: NotRequired[dict[Label, Value] | None]
    phase: NotRequired[Literal["search", "confirm"] | None]
    ask: NotRequired[_Ask]


@_open
class StartFields(TypedDict):
    trial_id: Id
    device: NotRequired[Label | None]


@_open
class EpochFields(TypedDict):
    trial_id: Id
    epoch: Annotated[int, Field(ge=1, le=10**6)]
    train_loss: NotRequired[Value | None]
    val_loss: NotRequired[Value | None]
    val_accuracy: Score
    lr: NotRequired[Value | None]
    seconds: Amount
    val_seconds: NotRequired[Amount | None]
    step_seconds: NotRequired[Amount | None]


@_open
class DecisionFields(TypedDict):
    trial_id: Id
    epoch: Number
    action: Label
    milestone: NotRequired[Number]


@_open
class RetryFields(TypedDict):
    trial_id: Id
    epoch: NotRequired[Count]
    error: NotRequired[Words | None]
    strikes: Count
    losses: Count
    alone: bool


@_open
class EndFields(TypedDict):
    trial_id: Id
    state: Literal["completed", "stopped", "failed"]
    best_epoch: NotRequired[Annotated[int, Field(ge=1, le=10**6)] | None]
    val_accuracy: NotRequired[Score | None]
    test_accuracy: NotRequired[Score | None]
    val_loss: NotRequired[Value | None]
    test_loss: NotRequired[Value | None]
    val_interval: NotRequired[Bounds | None]
    test_interval: NotRequired[Bounds | None]
    num_val_clips: NotRequired[Count | None]
    num_test_clips: NotRequired[Count | None]
    test_seconds: NotRequired[Amount | None]
    device_seconds: NotRequired[Amount | None]
    cpu_threads: NotRequired[Annotated[int, Field(ge=1, le=4096)] | None]
    error: NotRequired[Words | None]
    retry: NotRequired[bool]


@_open
class ConfirmFields(TypedDict):
    points: list[Id]
    num_trials: NotRequired[Count]


@_open
class SweepEndFields(TypedDict):
    reason: Words | None
    seconds: NotRequired[Amount | None]


@_open
class RestartFields(TypedDict):
    error: NotRequired[Words | None]
    traceback: NotRequired[Words | None]


@_open
class OtherFields(TypedDict):
    # A later version's, passed over.
    type: Id
    trial_id: NotRequired[Id]


TYPES: dict[str, type] = {
    "sweep": SweepFields,
    "resume": SweepFields,
    "proposal": ProposalFields,
    "start": StartFields,
    "epoch": EpochFields,
    "decision": DecisionFields,
    "retry": RetryFields,
    "end": EndFields,
    "confirm": ConfirmFields,
    "sweep_end": SweepEndFields,
    "restart": RestartFields,
}
