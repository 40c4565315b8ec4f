"""Code from outside that a trial's configuration names: what travels with a sweep, and what a run folder remembers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astmoa.audio.layout import LAYOUTS
from astmoa.errors import ConfigError
from astmoa.files.register import Register
from astmoa.methods.method import METHODS

REGISTERS: dict[str, Register] = {"methods": METHODS, "layouts": LAYOUTS}


def sources() -> dict[str, dict[str, str]]:
    """The source of every method and layout that came from outside, by kind and name."""
    return {kind: register.sources() for kind, register in REGISTERS.items()}


def receive(them: Mapping[str, Any]) -> None:
    """Load what `sources` gave elsewhere; a journal's header is such a mapping, too. This runs its author's code.

    Raises ConfigError for what is no such part.
    """
    for kind, register in REGISTERS.items():
        own = them.get(kind) or {}
        if not isinstance(own, Mapping):
            raise ConfigError(f"{kind} of that run are no sources by name: restore its journal")
        register.receive_all(own)
