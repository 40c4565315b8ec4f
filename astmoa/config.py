"""What one trial is: data, backbone, method, optimisation, seed. Frozen, strict, and with one hash.

A trial is written down in full before it starts: `complete` replaces every "the recipe's" (None) by the value used, so
that the hash of a configuration never depends on a default that may change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from astmoa.errors import ConfigError

METHODS = ("linear", "bottleneck", "soft_moa", "dense_moa")
# Switches that reproduce the authors' published code where it departs from their paper; each is read in exactly one
# place.
FAITHFUL_SWITCHES = ("positions", "padding", "weight_decay")


def _require(ok: bool, key: str, value: object, allowed: str) -> None:
    if not ok:
        raise ConfigError(f"{key}={value!r} is not possible: {allowed}")


def _at_least_one(prefix: str, config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None:
            _require(type(value) is int and value >= 1, f"{prefix}.{name}", value, "give a whole number of at least 1")


def _positive(prefix: str, config: object, *names: str, zero: bool = False) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None:
            ok = isinstance(value, int | float) and math.isfinite(value) and (value > 0 or (zero and value == 0))
            _require(ok, f"{prefix}.{name}", value, f"give a number {'of at least' if zero else 'above'} 0")


@dataclass(frozen=True)
class DataConfig:
    """Which sounds, and which part of them is held out."""

    name: Literal["builtin", "esc50", "csv"] = "builtin"
    """builtin: intents made here from a seed.
    esc50: ESC-50's official layout.
    csv: a manifest.csv with the columns path,label and split (train, val, test) or fold.
    An optional column group (a speaker, a source) is kept on one side of every split."""
    root: str | None = None
    """Folder of the data set (for csv also the manifest itself). Not needed for builtin."""
    fold: int = 1
    """Test fold of a cross-validated set; the next one validates, the others train.
    Ignored where the data name their splits."""
    seconds: float | None = None
    """Clip length: longer clips are cut, shorter ones padded.
    Default: ESC-50 5 s; otherwise the longest clip, 10 s at most."""
    skip_bad_clips: bool = False
    """Leave unreadable clips out, list and count them, instead of stopping at the first look."""

    def __post_init__(self) -> None:
        _require(self.name in ("builtin", "esc50", "csv"), "data.name", self.name, "one of builtin, esc50, csv")
        _at_least_one("data", self, "fold")
        _positive("data", self, "seconds")
        longest = 600.0  # a picture of an hour is no input for this backbone, and gigabytes of padding for all others
        _require(self.seconds is None or self.seconds <= longest, "data.seconds", self.seconds, f"at most {longest:g}")


@dataclass(frozen=True)
class BackboneConfig:
    """Which frozen Audio Spectrogram Transformer."""

    name: str = "builtin"
    """builtin: small, shipped with the package.
    Otherwise a Hugging Face id, such as MIT/ast-finetuned-audioset-10-10-0.4593, or a save_pretrained folder."""

    def __post_init__(self) -> None:
        _require(bool(self.name), "backbone.name", self.name, "builtin, a Hugging Face id or a folder")


@dataclass(frozen=True)
class MethodConfig:
    """What is trained, and where it sits."""

    name: Literal["linear", "bottleneck", "soft_moa", "dense_moa"] = "soft_moa"
    """linear: the head alone.
    bottleneck: one adapter per place.
    soft_moa, dense_moa: a mixture of adapters per place."""
    num_experts: int = 1
    """Experts (adapters) per layer, the paper's N; `both` splits them evenly between the two places."""
    slots_per_expert: int = 1
    """Soft-MoA: slots that each expert processes, the paper's p."""
    bottleneck_dim: int = 1
    """Width of an expert's bottleneck, the paper's r."""
    placement: Literal["attention", "ffn", "both"] = "attention"
    """attention or ffn: one module per layer (the literature's Pfeiffer). both: two per layer (Houlsby)."""
    composition: Literal["parallel", "sequential"] = "parallel"
    """parallel: beside the sub-layer, fed by its LayerNorm. sequential: after it, on its output, with a skip."""
    layers: tuple[int, ...] | None = None
    """Layers that get modules, counted from 0. Default: all."""

    def __post_init__(self) -> None:
        _require(self.name in METHODS, "method.name", self.name, f"one of {', '.join(METHODS)}")
        _require(
            self.placement in ("attention", "ffn", "both"), "method.placement", self.placement, "attention, ffn or both"
        )
        _require(
            self.composition in ("parallel", "sequential"),
            "method.composition",
            self.composition,
            "parallel or sequential",
        )
        _at_least_one("method", self, "num_experts", "slots_per_expert", "bottleneck_dim")
        if self.name not in ("soft_moa", "dense_moa"):
            _require(self.num_experts == 1, "method.num_experts", self.num_experts, f"{self.name} has one expert")
        if self.name != "soft_moa":
            _require(
                self.slots_per_expert == 1, "method.slots_per_expert", self.slots_per_expert, "only soft_moa has slots"
            )
        if self.placement == "both" and self.name in ("soft_moa", "dense_moa"):
            _require(
                self.num_experts % 2 == 0,
                "method.num_experts",
                self.num_experts,
                "both places share them: give an even number",
            )
        if self.layers is not None:
            ok = len(self.layers) > 0 and all(type(i) is int and i >= 0 for i in self.layers)
            _require(ok, "method.layers", self.layers, "layer numbers counted from 0, at least one")
            _require(len(set(self.layers)) == len(self.layers), "method.layers", self.layers, "name each layer once")
            object.__setattr__(self, "layers", tuple(sorted(self.layers)))


@dataclass(frozen=True)
class OptimConfig:
    """How it is trained: AdamW, cosine per step to 0. None means: as in the data set's recipe."""

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    """Peak learning rate. Recipe: 5e-3 for adapters and mixtures, 1e-3 for the linear probe."""
    weight_decay: float = 0.1
    """Not applied to biases, LayerNorms and slots."""
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    freq_mask: int | None = None
    """SpecAugment: widest frequency mask in mel bands; 0 is off."""
    time_mask: int | None = None
    """SpecAugment: longest time mask in frames; 0 is off."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on a GPU that has it, fp32 elsewhere."""

    def __post_init__(self) -> None:
        _at_least_one("optim", self, "epochs", "batch_size")
        _positive("optim", self, "lr", "eps")
        _positive("optim", self, "weight_decay", "freq_mask", "time_mask", zero=True)
        ok = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _require(ok, "optim.betas", self.betas, "two numbers from 0 up to, not including, 1")
        _require(self.precision in ("auto", "fp32", "bf16"), "optim.precision", self.precision, "auto, fp32 or bf16")


@dataclass(frozen=True)
class TrialConfig:
    """One trial: everything that decides its result."""

    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 0
    faithful: tuple[str, ...] = ()
    """Do as the authors' published code where it departs from the paper: positions, padding, weight_decay, or all."""

    def __post_init__(self) -> None:
        _require(type(self.seed) is int and self.seed >= 0, "seed", self.seed, "give a whole number of at least 0")
        switches = FAITHFUL_SWITCHES if "all" in self.faithful else tuple(sorted(set(self.faithful)))
        unknown = [s for s in switches if s not in FAITHFUL_SWITCHES]
        _require(not unknown, "faithful", self.faithful, f"choose from {', '.join(FAITHFUL_SWITCHES)}, or all")
        object.__setattr__(self, "faithful", tuple(sorted(switches)))

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries and lists, ready for JSON or YAML."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialConfig:
        """The inverse of `to_dict`. Raises ConfigError on an unknown key, a wrong type or an impossible value."""
        return _build(cls, values, "")

    def hash(self) -> str:
        """Twelve hexadecimal digits that name this trial. Where the data lie (`data.root`) is not part of what it
        is."""
        values = self.to_dict()
        values["data"].pop("root")
        return _digest(values)

    def point(self) -> str:
        """The hash without seed and fold: replicates of one configuration share it."""
        values = self.to_dict()
        values["data"].pop("root")
        values["data"].pop("fold")
        values.pop("seed")
        return _digest(values)


# The papers' training settings where the data are theirs (paper: 50 epochs of 32 for ESC-50, SpecAugment 24/80).
RECIPES: dict[str, dict[str, Any]] = {
    "builtin": {"epochs": 6, "batch_size": 16, "freq_mask": 0, "time_mask": 0},
    "esc50": {"epochs": 50, "batch_size": 32, "freq_mask": 24, "time_mask": 80},
    "csv": {"epochs": 20, "batch_size": 32, "freq_mask": 0, "time_mask": 0},
}


def complete(config: TrialConfig) -> TrialConfig:
    """The same trial with every None of `optim` replaced by its recipe's value."""
    recipe = {**RECIPES[config.data.name], "lr": 1e-3 if config.method.name == "linear" else 5e-3}
    missing = {name: value for name, value in recipe.items() if getattr(config.optim, name) is None}
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, **missing))


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _build(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix or 'configuration'}={values!r} is not possible: give a mapping of keys to values")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(f"unknown key {prefix}{key}: known are {', '.join(prefix + name for name in hints)}")
    return cls(**{key: _value(hints[key], value, prefix + key) for key, value in values.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, key + ".")
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        origin = typing.get_origin(option)
        if origin is tuple and isinstance(value, list | tuple):
            item = typing.get_args(option)[0]
            return tuple(_value(item, element, f"{key}[{index}]") for index, element in enumerate(value))
        if origin is Literal and value in typing.get_args(option):
            return value
        if option is float and type(value) in (int, float):
            return float(value)
        if origin is None and type(value) is option:
            return value
    wanted = ", ".join(
        "one of " + ", ".join(map(str, typing.get_args(o)))
        if typing.get_origin(o) is Literal
        else getattr(o, "__name__", str(o))
        for o in options
    )
    hint = "" if not isinstance(value, str) or not _is_number(value) else f", without quotes and as {float(value)!r}"
    raise ConfigError(f"{key}={value!r} is not possible: give {wanted}{hint}")


def _is_number(text: str) -> bool:
    """Also what YAML takes for text, such as 5e-3."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
