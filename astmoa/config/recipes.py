"""How the papers train: what a trial gets where it is not told."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from astmoa.config.trial_config import CompleteTrial, TrialConfig


def complete(config: TrialConfig) -> CompleteTrial:
    """The same trial with every None of `method` and `optim` replaced by the recipe's value."""
    kind, data = config.method.kind, config.data.name
    unsaid = {field.name for field in dataclasses.fields(config.optim) if getattr(config.optim, field.name) is None}
    own = {"lr": kind.peak_lrs.get(data, kind.peak_lr), "weight_decay": kind.weight_decay, **kind.recipes.get(data, {})}
    # A complete trial needs no layout, which may be somebody else's.
    recipe = own if unsaid <= own.keys() else {**config.data.layout.recipe, **own}
    said: dict[str, Any] = {name: recipe[name] for name in unsaid}
    optim = dataclasses.replace(config.optim, **said)
    return cast(CompleteTrial, dataclasses.replace(config, method=config.method.resolved(), optim=optim))
