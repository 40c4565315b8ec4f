"""Sweeps over mixtures of adapters in a frozen Audio Spectrogram Transformer, on Ray Tune and MLflow.

The names below are the Python interface. Each is imported when it is first used: `import astmoa` brings neither torch
nor Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "astmoa.errors": ("AstmoaError", "BackboneError", "ConfigError", "DataError", "RunError"),
    "astmoa.shape": ("BackboneShape",),
    "astmoa.config": ("BackboneConfig", "DataConfig", "MethodConfig", "OptimConfig", "TrialConfig"),
    "astmoa.methods.method": ("Dial", "Method", "ParamCount"),
    "astmoa.methods.adapters": ("Adapter", "Placed", "Site"),
    "astmoa.methods.params": ("count_params", "solve_bottleneck"),
    "astmoa.sweep.halving": ("EarlyStopping",),
    "astmoa.sweep.proposals": ("Point",),
    "astmoa.sweep.space": ("Space",),
    "astmoa.study_options": ("StudyOptions",),
    "astmoa.search_options": ("SearchOptions",),
    "astmoa.interface": ("Model", "Run", "export", "load_bundle", "load_run", "run_study", "train"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(["__version__", *_WHERE])

if TYPE_CHECKING:
    from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig
    from astmoa.errors import AstmoaError, BackboneError, ConfigError, DataError, RunError
    from astmoa.interface import Model, Run, export, load_bundle, load_run, run_study, train
    from astmoa.methods.adapters import Adapter, Placed, Site
    from astmoa.methods.method import Dial, Method, ParamCount
    from astmoa.methods.params import count_params, solve_bottleneck
    from astmoa.search_options import SearchOptions
    from astmoa.shape import BackboneShape
    from astmoa.study_options import StudyOptions
    from astmoa.sweep.halving import EarlyStopping
    from astmoa.sweep.proposals import Point
    from astmoa.sweep.space import Space

    __version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("astmoa")
    if name not in _WHERE:
        raise AttributeError(f"module 'astmoa' has no attribute {name!r}: it has {', '.join(__all__)}")
    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
