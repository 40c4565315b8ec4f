"""How two configurations differ, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def difference(old: object, new: object, key: str = "") -> str:
    """`key old there, new now` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [
            difference(old.get(k), new.get(k), f"{key}.{k}" if key else k)
            for k in sorted({*old, *new})
            if old.get(k) != new.get(k)
        ]
        return ", ".join(parts)
    return f"{key + ' ' if key else ''}{old} there, {new} now"


def branches_difference(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> str:
    """In one line what a search space has otherwise than the `old` one; empty where nothing.

    Both as journals keep them: a branch per method, with its `name` and each dial's choices. Readable also where one of
    hundreds of choices differs.
    """
    before, now = ({str(branch.get("name")): branch for branch in space} for space in (old, new))
    parts = [f"{name} is gone" for name in before if name not in now]
    parts += [f"{name} is new" for name in now if name not in before]
    for name in (name for name in now if name in before):
        for key in dict.fromkeys((*now[name], *before[name])):
            if before[name].get(key) != now[name].get(key):
                was, is_now = before[name].get(key, "left out"), now[name].get(key, "left out")
                parts.append(f"{name}.{key} was {was}, is {is_now}")
    if not parts and list(before) != list(now):
        parts.append(f"the methods' order was {', '.join(before)}, is {', '.join(now)}")
    return "; ".join(parts)
