"""Sweeps over mixtures of adapters in a frozen Audio Spectrogram Transformer, on Ray Tune and MLflow.

The names below are the Python interface. Each is imported when it is first used: `import astmoa` brings neither torch
nor Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "astmoa.errors": ("AstmoaError", "BackboneError", "ConfigError", "DataError", "RunError"),
    "astmoa.methods.shape": ("BackboneShape",),
    "astmoa.config": ("BackboneConfig", "DataConfig", "MethodConfig", "OptimConfig", "TrialConfig"),
    "astmoa.methods.method": ("Dial", "Method", "ParamCount", "find_method"),
    "astmoa.audio.layout": ("Layout",),
    "astmoa.audio.own_sounds": ("Sound",),
    "astmoa.methods.adapters": ("Adapter", "Placed", "Site"),
    "astmoa.methods.params": ("count_params", "solve_bottleneck"),
    "astmoa.config.proposals": ("Point",),
    "astmoa.engine.judging": ("EarlyStopping",),
    "astmoa.search.random_methods": ("random_methods",),
    "astmoa.search.space": ("Space",),
    "astmoa.study.options": ("StudyOptions",),
    "astmoa.study.search_options": ("SearchOptions",),
    "astmoa.study.interface": ("Run", "export", "load_run", "run_study", "train"),
    "astmoa.study.method_check": ("check_method",),
    "astmoa.study.command": ("main",),
    "astmoa.study.finish": ("report_effects",),
    "astmoa.study.look_at_experts": ("check_layer", "look_at_experts"),
    "astmoa.bundles.model": ("Model", "load_bundle"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(["__version__", *_WHERE])

if TYPE_CHECKING:
    from astmoa.bundles.model import Model, load_bundle
    from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig
    from astmoa.config.proposals import Point
    from astmoa.engine.judging import EarlyStopping
    from astmoa.errors import AstmoaError, BackboneError, ConfigError, DataError, RunError
    from astmoa.methods.adapters import Adapter, Placed, Site
    from astmoa.methods.method import Dial, Method, ParamCount, find_method
    from astmoa.methods.params import count_params, solve_bottleneck
    from astmoa.methods.shape import BackboneShape
    from astmoa.search.random_methods import random_methods
    from astmoa.search.space import Space
    from astmoa.study.command import main
    from astmoa.study.finish import report_effects
    from astmoa.study.interface import Run, export, load_run, run_study, train
    from astmoa.study.look_at_experts import check_layer, look_at_experts
    from astmoa.study.method_check import check_method
    from astmoa.study.options import StudyOptions
    from astmoa.study.search_options import SearchOptions

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
