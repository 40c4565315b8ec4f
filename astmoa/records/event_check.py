"""Is a journal's line an event, and if not, why? By the fields in `events`."""

from __future__ import annotations

import functools
import re
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from astmoa.records.events import TYPES, Id, OtherFields, Time

_DEEPEST = 16


def problem(event: Any) -> str | None:
    """Why this is no event, in a few words; None where it is one."""
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        return "it has no type"
    if not _shallow(event, _DEEPEST):
        return "it is nested too deep"
    if event["type"] == "end" and event.get("state") == "completed" and event.get("val_accuracy") is None:
        return "val_accuracy: a completed trial has one"
    try:
        _TIME.validate_python(event.get("time"), strict=True)
        if "trial_id" in event:  # also where none belongs: events are sorted by it
            _ID.validate_python(event["trial_id"])
        adapter = _adapter(TYPES.get(event["type"], OtherFields))
        try:
            adapter.validate_python(event)
        except ValidationError as error:
            if not any(one["type"] == "string_unicode" for one in error.errors(include_url=False)):
                raise
            adapter.validate_python(_decoded(event))
    except ValidationError as error:
        return first_problem(error)
    return None


_TIME: TypeAdapter[Any] = TypeAdapter(Time)
_ID: TypeAdapter[Any] = TypeAdapter(Id | None, config=ConfigDict(strict=True))


@functools.cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def first_problem(error: ValidationError) -> str:
    """Which field, and what is wrong with it."""
    told = error.errors(include_url=False, include_input=False, include_context=False)[0]
    names = [str(part) for part in told["loc"] if not _CHOICE.search(str(part))]
    # Of a choice of types pydantic tells what each would have wanted: no one of them says what is wrong.
    chosen = len(names) < len(told["loc"])
    words = "a value of a kind, or a length, that does not belong there" if chosen else told["msg"]
    return f"{'.'.join(names) or 'time'}: {words[0].lower()}{words[1:]}"


_CHOICE = re.compile(r"[\[(]|^(_[A-Z]\w+|bool|int|float|str|none|constrained-\w+)$")


def _decoded(value: Any) -> Any:
    """Names of files that are no UTF-8 come as halves of characters, which pydantic takes for no text."""
    if isinstance(value, dict):
        return {_decoded(key): _decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _shallow(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value)
    return True
