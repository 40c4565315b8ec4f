"""Either it works, or it is refused by an error of ours in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def refused(kind: type[Exception], call: Callable[..., Any], *arguments: Any) -> str | None:
    """What such an error says, checked to be one line; None where the call returns."""
    try:
        call(*arguments)
    except kind as error:
        message = str(error)
    else:
        return None
    assert message
    assert "\n" not in message
    return message
