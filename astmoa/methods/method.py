"""What a method is, and the register of those that there are: the one place that knows them by name.

A method is one class that says everything about itself: its name, its dials, what it inserts, its count in closed form,
how it is trained where nobody says otherwise, its paper. Command lines, search spaces, counts, tables and the tests
that hold for all of them ask here. No tensor is needed to ask, so torch is imported by what inserts, and not before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from astmoa.errors import ConfigError, shown
from astmoa.shape import BackboneShape

if TYPE_CHECKING:
    import torch

    from astmoa.methods.graft import Graft

Dials = Any
"""A `MethodConfig`: the values of all dials, those that a method does not have at their defaults."""


MOST_OF_A_KIND = 10_000
"""Experts, slots, virtual tokens, and a bottleneck's width: far more than helps, and what memory may still hold."""


@dataclass(frozen=True)
class ParamCount:
    """Trainable parameters by group; they sum to `num_trainable_params`."""

    adapter: int
    """Inserted modules; for methods that insert none, what they train of the backbone."""
    router: int = 0
    """What shares tokens out between experts."""
    norm: int = 0
    """LayerNorms that feed the modules."""
    head: int = 0
    """Linear classifier and final LayerNorm; 0 where no classes are given."""

    @property
    def paper(self) -> int:
        """The figure that the papers print: without head and final LayerNorm."""
        return self.adapter + self.router + self.norm

    @property
    def num_trainable_params(self) -> int:
        return self.paper + self.head

    def to_dict(self) -> dict[str, int]:
        return {
            **dataclasses.asdict(self),
            "paper": self.paper,
            "num_trainable_params": self.num_trainable_params,
        }


class Method:
    """One way to adapt a frozen backbone; its docstring's first line is how help texts and tables describe it."""

    name: ClassVar[str]
    """As it is written in configurations, journals and command lines."""
    paper: ClassVar[str] = ""
    """Where it comes from."""
    dials: ClassVar[tuple[str, ...]] = ()
    """Fields of MethodConfig that it can be told, besides `pooling`."""
    peak_lr: ClassVar[float] = 5e-3
    """Learning rate where none is given."""
    weight_decay: ClassVar[float] = 0.1
    """Where none is given."""
    peak_lrs: ClassVar[Mapping[str, float]] = {}
    """The same by data set, where its paper has several."""
    recipes: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    """Epochs, batch and masks by data set, where its paper has others than the data's own."""
    pooling: ClassVar[str] = "mean"
    """What the head reads where nothing else is said."""
    num_virtual_tokens: ClassVar[int | None] = None
    """Where none are given."""
    is_mixture: ClassVar[bool] = False
    """Does it mix experts, shared out between its places?"""
    trains_final_norm: ClassVar[bool] = False
    """Does it insert a trained final LayerNorm itself? Then the head gets none besides."""
    solves_bottleneck: ClassVar[bool] = True
    """May a budget decide its bottleneck, if it has one?"""

    def check(self, dials: Dials) -> None:
        """Raises ConfigError for values that do not go together; each by itself has been looked at."""

    def expert_kind(self, dials: Dials) -> str:
        """What one inserted adapter is: bottleneck, convpass or conformer."""
        return "bottleneck"

    def layers(self, dials: Dials, num_layers: int) -> tuple[int, ...]:
        """Layers that get modules. Raises ConfigError for a layer that the backbone does not have."""
        layers = self.default_layers(num_layers) if dials.layers is None else dials.layers
        if max(layers) >= num_layers:
            raise ConfigError(
                f"method.layers={list(layers)} is not possible: this backbone has layers 0 to {num_layers - 1}"
            )
        return tuple(layers)

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return tuple(range(num_layers))

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        """What it trains in a backbone of this shape, without the head, in closed form.

        Raises ConfigError where the backbone cannot have it.
        """
        raise NotImplementedError

    def insert(
        self, graft: Graft, dials: Dials, faithful: tuple[str, ...], generator: torch.Generator, seed: int
    ) -> None:
        """Put it into the graft's backbone. Random values come from the generator, seeded with `seed`."""
        raise NotImplementedError

    def label(self, dials: Mapping[str, Any]) -> list[str]:
        """How a point's name begins: short, with the dials that are not spelled out after it."""
        return [self.name]

    @property
    def about(self) -> str:
        """Its description, one phrase."""
        return (type(self).__doc__ or "").strip().split("\n")[0].rstrip(".")


Kind = TypeVar("Kind", bound=type[Method])
_known: dict[str, Method] = {}


def register(kind: Kind) -> Kind:
    """Make a method known by its name. Raises ConfigError where another one has it."""
    if kind.name in _known:
        raise ConfigError(f"two methods are called {kind.name}: give one of them another name")
    _known[kind.name] = kind()
    return kind


def find(name: object) -> Method:
    """The method of this name. Raises ConfigError with those that are known."""
    if not isinstance(name, str) or name not in _known:
        raise ConfigError(f"method.name={shown(name)} is not possible: one of {', '.join(_known)}")
    return _known[name]


def known(name: object) -> Method | None:
    """The method of this name, if there is one: a run of another version may have had others."""
    return _known.get(name) if isinstance(name, str) else None


def names() -> tuple[str, ...]:
    """Of all methods, in the order in which they are described."""
    return tuple(_known)
