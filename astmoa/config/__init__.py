"""What one trial is: data, backbone, method, optimisation, seed. Frozen, strict, and with one hash.

A trial is written down before it starts: `complete` replaces every None of `method` and `optim` that stands for "the
recipe's" by the value used, so that its hash does not depend on a recipe that may change. What the data decide (clip
length, metric) and the backbone (`layers`) stays None.
"""

from astmoa.config.data_config import DATA_NAMES, DataConfig, DataName
from astmoa.config.method_config import ExpertName, MethodConfig, MethodName
from astmoa.config.recipes import RECIPES, complete
from astmoa.config.trial_config import FAITHFUL_SWITCHES, BackboneConfig, OptimConfig, TrialConfig
from astmoa.config.trial_file import load_config, method_named, read_config

__all__ = [
    "DATA_NAMES",
    "FAITHFUL_SWITCHES",
    "RECIPES",
    "BackboneConfig",
    "DataConfig",
    "DataName",
    "ExpertName",
    "MethodConfig",
    "MethodName",
    "OptimConfig",
    "TrialConfig",
    "complete",
    "load_config",
    "method_named",
    "read_config",
]
