"""What a bundle says of itself: the facts of bundle.json and the labels, with the bounds in which they make sense."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from astmoa.errors import shown
from astmoa.files.typed import STRICT, checked

LONGEST_LABEL = 200
MOST_THREADS = 1024
_Score = Annotated[float, Field(ge=-1e-9, le=1 + 1e-9)]  # a mean average precision is a sum, with its rounding
_Interval = Annotated[list[_Score], Field(min_length=2, max_length=2)]
_Word = Annotated[str, Field(min_length=1, max_length=200)]


@with_config(STRICT)
class _Data(TypedDict):
    fingerprint: _Word
    seconds: Annotated[float, Field(gt=0, le=600)]
    metric: NotRequired[Literal["accuracy", "mAP"]]


@with_config(STRICT)
class _Backbone(TypedDict):
    fingerprint: _Word


@with_config(STRICT)
class _Point(TypedDict, total=False):
    """The configuration that the trial is a replicate of. val_std: of its replicates, None where there is one."""

    val_accuracy: _Score
    val_interval: _Interval | None
    val_std: Annotated[float, Field(ge=0)] | None
    num_replicates: Annotated[int, Field(ge=1, le=1_000_000)]
    replicates: Literal["seeds", "folds"]
    seeds: list[Annotated[int, Field(ge=0, lt=2**64)]]


@with_config(STRICT)
class Facts(TypedDict):
    """bundle.json as far as it is read again. What a bundle does not know is None or left out."""

    data: _Data
    backbone: _Backbone
    val_accuracy: _Score
    val_interval: NotRequired[_Interval | None]
    point: NotRequired[_Point | None]
    cpu_threads: NotRequired[Annotated[int, Field(ge=1, le=MOST_THREADS)] | None]
    machine: NotRequired[str | None]
    device: NotRequired[str | None]
    git_commit: NotRequired[str | None]
    versions: NotRequired[dict[str, str] | None]


_FACTS = TypeAdapter(Facts)
_SEVERAL = ("val_accuracy", "val_interval", "replicates")


def check_facts(values: Any) -> Facts:
    """The facts, in their types and bounds. Raises ValueError in one line with the place of the first thing wrong."""
    facts: Facts = checked(_FACTS, values)
    point = facts.get("point") or {}
    if point.get("num_replicates", 1) > 1:
        for key in _SEVERAL:
            if point.get(key) is None:
                raise ValueError(f"it does not say point.{key}")
    return facts


def check_labels(values: Any) -> list[str]:
    """The class names, distinct ones. Raises ValueError in one line with the first that is none."""
    if not isinstance(values, list) or not values:
        raise ValueError("it is no list of class names")
    for label in values:
        if not isinstance(label, str) or not label or len(label) > LONGEST_LABEL:
            raise ValueError(f"{shown(label)} is no class name of 1 to {LONGEST_LABEL} characters")
    if len(set(values)) < len(values):
        twice = next(label for label, times in Counter(values).items() if times > 1)
        raise ValueError(f"the class {shown(twice)} is there twice")
    return values
