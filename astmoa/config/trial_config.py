"""One trial: everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from astmoa.config.checks import MOST, at_least_one, positive
from astmoa.config.data_config import DataConfig
from astmoa.config.later import identity
from astmoa.config.method_config import MethodConfig
from astmoa.config.strict import build
from astmoa.errors import require
from astmoa.files.register import nothing_is_loaded

# Switches that reproduce the authors' published code where it departs from their paper; each is read in exactly one
# place. docs/faithful.md says what each does and what it costs.
FAITHFUL_SWITCHES = (
    "positions",
    "padding",
    "weight_decay",
    "initialisation",
    "added_twice",
    "dropped_convolution",
    "single_at_ffn",
    "replaced_distillation",
    "last_epoch",
    "validate_on_test",
    "normalized_tokens",
)
_LARGEST_SEED = 2**64 - 1
# An option of the published code, not its behaviour as it stands: switched on by its name only.
_NOT_IN_ALL = ("normalized_tokens",)


@dataclass(frozen=True)
class BackboneConfig:
    """Which frozen Audio Spectrogram Transformer."""

    name: str = "builtin"
    """builtin: small, shipped with the package.
    Otherwise a Hugging Face id, such as MIT/ast-finetuned-audioset-10-10-0.4593, or a save_pretrained folder."""

    def __post_init__(self) -> None:
        require(bool(self.name), "backbone.name", self.name, "builtin, a Hugging Face id or a folder")


@dataclass(frozen=True)
class OptimConfig:
    """How it is trained: AdamW, cosine per step to 0. None means: as in the data set's recipe."""

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    """Peak learning rate. Recipe: 5e-3 for adapters, mixtures, LoRA and BitFit; 1e-2 for prompts and prefix; 5e-5 for
    full and partial; 1e-3 for the linear probe; AAT's own per data set."""
    weight_decay: float | None = None
    """Weight decay of all but biases, LayerNorms and slots. Recipe: 0.1, AAT 0.05."""
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    freq_mask: int | None = None
    """SpecAugment: widest frequency mask in mel bands; 0 is off."""
    time_mask: int | None = None
    """SpecAugment: longest time mask in frames; 0 is off."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on a GPU that has it, fp32 elsewhere."""

    def __post_init__(self) -> None:
        at_least_one("optim", self, "epochs", "batch_size")
        positive("optim", self, "lr", "eps")
        positive("optim", self, "weight_decay", "freq_mask", "time_mask", zero=True)
        for key in ("freq_mask", "time_mask"):
            value = getattr(self, key)
            ok = value is None or (type(value) is int and value <= MOST)
            require(ok, f"optim.{key}", value, f"give a whole number of at most {MOST:,}")
        for key in ("lr", "weight_decay", "eps"):  # 1 and 1.0 are one trial: they must have one hash
            if getattr(self, key) is not None:
                object.__setattr__(self, key, float(getattr(self, key)))
        object.__setattr__(self, "betas", tuple(map(float, self.betas)))
        ok = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        require(ok, "optim.betas", self.betas, "two numbers from 0 up to, not including, 1")
        require(self.precision in ("auto", "fp32", "bf16"), "optim.precision", self.precision, "auto, fp32 or bf16")


@dataclass(frozen=True)
class TrialConfig:
    """One trial: everything that decides its result."""

    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 0
    faithful: tuple[str, ...] = ()
    """Do as the authors' published code where it departs from the paper, by the names in docs/faithful.md, or all."""

    def __post_init__(self) -> None:
        require(type(self.seed) is int and self.seed >= 0, "seed", self.seed, "give a whole number of at least 0")
        require(self.seed <= _LARGEST_SEED, "seed", self.seed, f"at most {_LARGEST_SEED}")
        switches = {s for s in self.faithful if s != "all"}
        if "all" in self.faithful:
            switches |= set(FAITHFUL_SWITCHES) - set(_NOT_IN_ALL)
        unknown = [s for s in sorted(switches) if s not in FAITHFUL_SWITCHES]
        require(not unknown, "faithful", self.faithful, f"choose from {', '.join(FAITHFUL_SWITCHES)}, or all")
        object.__setattr__(self, "faithful", tuple(sorted(switches)))

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries and lists, ready for JSON or YAML; without later fields at their defaults."""
        return json.loads(json.dumps(identity(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialConfig:
        """The inverse of `to_dict`. Raises ConfigError on an unknown key, a wrong type or an impossible value."""
        with nothing_is_loaded():
            return build(cls, values, "")

    def hash(self) -> str:
        """Twelve hexadecimal digits that name this trial, once it is complete. Where the data lie (`data.root`) is not
        part of what it is; a backbone in a folder is named by its path, as given.

        A field that came later counts only where it is not at its default (see `later`), so that trials of before keep
        their names.
        """
        values = identity(self)
        del values["data"]["root"]
        return _digest(values)

    def point(self) -> str:
        """The hash without seed and fold: replicates of one configuration share it."""
        values = identity(self)
        del values["data"]["root"], values["data"]["fold"], values["seed"]
        return _digest(values)


if TYPE_CHECKING:

    @dataclass(frozen=True)
    class CompleteOptim(OptimConfig):
        """How a trial is trained, with nothing left to a recipe."""

        epochs: int = 0
        batch_size: int = 0
        lr: float = 0.0
        weight_decay: float = 0.0
        freq_mask: int = 0
        time_mask: int = 0

    @dataclass(frozen=True)
    class CompleteTrial(TrialConfig):
        """A trial with nothing left to a recipe: what `complete` returns. The same class as the program runs."""

        optim: CompleteOptim = field(default_factory=CompleteOptim)
else:
    CompleteOptim, CompleteTrial = OptimConfig, TrialConfig


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
