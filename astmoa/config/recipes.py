"""How the papers train: what a trial gets where it is not told."""

from __future__ import annotations

import dataclasses

from astmoa.config.trial_config import TrialConfig

# The Soft-MoA paper's training settings where the data are its own: SpecAugment 24/80 where it uses it. GTZAN and
# OpenMIC are AAT's data; what is no paper's has a setting of ours.
RECIPES: dict[str, dict[str, int]] = {
    "builtin": {"epochs": 6, "batch_size": 16, "freq_mask": 0, "time_mask": 0},
    "esc50": {"epochs": 50, "batch_size": 32, "freq_mask": 24, "time_mask": 80},
    "urbansound8k": {"epochs": 30, "batch_size": 32, "freq_mask": 24, "time_mask": 80},
    "speech_commands_v1": {"epochs": 30, "batch_size": 128, "freq_mask": 0, "time_mask": 0},
    "speech_commands_v2": {"epochs": 75, "batch_size": 128, "freq_mask": 0, "time_mask": 0},
    "fluent_speech_commands": {"epochs": 75, "batch_size": 32, "freq_mask": 0, "time_mask": 0},
    "gtzan": {"epochs": 30, "batch_size": 2, "freq_mask": 0, "time_mask": 0},
    "gtzan_folds": {"epochs": 30, "batch_size": 2, "freq_mask": 0, "time_mask": 0},
    "openmic": {"epochs": 30, "batch_size": 12, "freq_mask": 0, "time_mask": 0},
    "folder": {"epochs": 20, "batch_size": 32, "freq_mask": 0, "time_mask": 0},
    "csv": {"epochs": 20, "batch_size": 32, "freq_mask": 0, "time_mask": 0},
}


def complete(config: TrialConfig) -> TrialConfig:
    """The same trial with every None of `method` and `optim` replaced by the recipe's value."""
    kind, data = config.method.kind, config.data.name
    recipe = {
        **RECIPES[data],
        "lr": kind.peak_lrs.get(data, kind.peak_lr),
        "weight_decay": kind.weight_decay,
        **kind.recipes.get(data, {}),
    }
    missing = {name: value for name, value in recipe.items() if getattr(config.optim, name) is None}
    optim = dataclasses.replace(config.optim, **missing)
    return dataclasses.replace(config, method=config.method.resolved(), optim=optim)
