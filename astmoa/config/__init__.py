"""What one trial is: data, backbone, method, optimisation, seed. Frozen, strict, and with one hash.

A trial is written down before it starts: `complete` replaces every None of `method` and `optim` that stands for "the
recipe's" by the value used, so that its hash does not depend on a recipe that may change. What the data decide (clip
length, metric) and the backbone (`layers`) stays None.
"""

from astmoa.config.data_config import ABOUT_DATA, DATA_NAMES, DataConfig, DataName
from astmoa.config.method_config import ExpertName, MethodConfig, MethodName
from astmoa.config.recipes import complete
from astmoa.config.trial_config import FAITHFUL_SWITCHES, BackboneConfig, CompleteTrial, OptimConfig, TrialConfig
from astmoa.config.trial_file import code_named, load_config, read_config

__all__ = [
    "ABOUT_DATA",
    "DATA_NAMES",
    "FAITHFUL_SWITCHES",
    "BackboneConfig",
    "CompleteTrial",
    "DataConfig",
    "DataName",
    "ExpertName",
    "MethodConfig",
    "MethodName",
    "OptimConfig",
    "TrialConfig",
    "code_named",
    "complete",
    "load_config",
    "read_config",
]
