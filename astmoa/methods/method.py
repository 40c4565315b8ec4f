"""What a method is, and the register of those that there are: the one place that knows them by name.

A method is one class that says everything about itself: its name, its dials, what it inserts, its count in closed form,
how it is trained where nobody says otherwise, its paper. Command lines, search spaces, counts, tables and the tests
that hold for all of them ask here. No tensor is needed to ask, so torch is imported by what inserts, and not before.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from astmoa.errors import ConfigError, require
from astmoa.files.register import Register
from astmoa.methods.shape import BackboneShape

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
    """Parameters that share tokens out between experts."""
    norm: int = 0
    """Parameters of the LayerNorms that feed the modules."""
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


DialValue = bool | int | float | str


class OwnDials(dict[str, DialValue]):
    """Values of a method's own dials by name; not to be changed, so that a configuration can be a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


@dataclass(frozen=True)
class Dial:
    """A setting of one method alone, beside those that methods share: an attribute of its class, such as
    `scale = Dial(1.0, choices=(0.1, 1.0, 10.0))`.

    Its values have the type of its default; a whole number also stands for a float.
    """

    default: DialValue
    choices: tuple[DialValue, ...] = ()
    """The values that it may have, numbers from small to large. None given: any."""
    about: str = ""
    """What it does, one phrase."""

    def checked(self, key: str, value: object) -> DialValue:
        """The value, of the default's type. Raises ConfigError where it is none of this dial's."""
        kind = type(self.default)
        if kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        require(type(value) is kind, key, value, f"give {_KINDS[kind]}")
        assert isinstance(value, DialValue)
        require(not isinstance(value, float) or math.isfinite(value), key, value, "give a finite number")
        require(not self.choices or value in self.choices, key, value, f"one of {', '.join(map(str, self.choices))}")
        return value

    def all_checked(self, key: str, values: Sequence[object]) -> tuple[DialValue, ...]:
        return tuple(self.checked(key, value) for value in values)


_TAKEN = ("kind", "resolved")  # of MethodConfig, where dials are read
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class Method(abc.ABC):
    """One way to adapt a frozen backbone; its docstring's first line is how help texts and tables describe it."""

    name: ClassVar[str]
    """Name, as it is written in configurations, journals and command lines."""
    paper: ClassVar[str] = ""
    """Paper that it comes from."""
    example: ClassVar[Mapping[str, Any]] = {}
    """Dials with which tables of all methods count it."""
    dials: ClassVar[tuple[str, ...]] = ()
    """Fields of MethodConfig that it can be told, besides `pooling`."""
    own: ClassVar[Mapping[str, Dial]] = {}
    """Dials of its own: its attributes that are a `Dial`."""
    code: str | None = None
    """Hash of the source of a method from outside, which is part of what its trials are."""
    peak_lr: ClassVar[float] = 5e-3
    """Peak learning rate where none is given."""
    weight_decay: ClassVar[float] = 0.1
    """Weight decay where none is given."""
    peak_lrs: ClassVar[Mapping[str, float]] = {}
    """The same by data set, where its paper has several."""
    recipes: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    """Epochs, batch and masks by data set, where its paper has others than the data's own."""
    pooling: ClassVar[Literal["mean", "cls"]] = "mean"
    """What the head reads where nothing else is said."""
    num_virtual_tokens: ClassVar[int | None] = None
    """Number of virtual tokens where none is given."""
    is_mixture: ClassVar[bool] = False
    """Does it mix experts, shared out between its places?"""
    trains_final_norm: ClassVar[bool] = False
    """Does it insert a trained final LayerNorm itself? Then the head gets none besides."""
    solves_bottleneck: ClassVar[bool] = True
    """May a budget decide its bottleneck, if it has one?"""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.own = {**cls.own, **{name: value for name, value in vars(cls).items() if isinstance(value, Dial)}}
        for name in cls.own:
            if name in SHARED_DIALS:
                raise ConfigError(f"{cls.__name__}: {name} is a dial that methods share: list it in `dials` instead")
            if hasattr(Method, name) or name in _TAKEN:
                raise ConfigError(f"{cls.__name__}: a dial cannot be called {name}, which means something else here")

    def own_values(self, given: Mapping[str, object]) -> OwnDials:
        """All its own dials, those that are not given at their defaults. Raises ConfigError for others' and for wrong
        values."""
        for key in given:
            there = f"its own dials are {', '.join(self.own)}" if self.own else "it has no dials of its own"
            require(key in self.own, f"method.own.{key}", given[key], f"{self.name} has no {key}; {there}")
        return OwnDials(
            {key: dial.checked(f"method.own.{key}", given.get(key, dial.default)) for key, dial in self.own.items()}
        )

    def check(self, dials: Dials) -> None:  # noqa: B027 (most have nothing to refuse)
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

    @abc.abstractmethod
    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        """What it trains in a backbone of this shape, without the head, in closed form.

        Raises ConfigError where the backbone cannot have it.
        """

    @abc.abstractmethod
    def insert(
        self, graft: Graft, dials: Dials, faithful: tuple[str, ...], generator: torch.Generator, seed: int
    ) -> None:
        """Put it into the graft's backbone. Random values come from the generator, seeded with `seed`."""

    def label(self, dials: Mapping[str, Any]) -> list[str]:
        """How a point's name begins: short, with the dials that are not spelled out after it."""
        return [self.name]

    @property
    def about(self) -> str:
        """Its description, one phrase."""
        return (type(self).__doc__ or "").strip().split("\n")[0].rstrip(".")


SHARED_DIALS = ("name", "num_experts", "slots_per_expert", "bottleneck_dim", "placement", "composition", "layers",
                "expert", "convolution", "num_virtual_tokens", "pooling", "own", "code", "lr")  # fmt: skip
"""Fields of MethodConfig, and what else a search varies."""

Kind = TypeVar("Kind", bound=type[Method])


def register(kind: Kind) -> Kind:
    """Make a method of the package known by its name. Raises ConfigError where another one has it."""
    METHODS.add(kind.name, kind())
    return kind


def _is_method(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Method)


def _adopted(name: str, kind: Any, code: str) -> Method:
    kind.name, kind.code = name, code
    return kind()


METHODS: Register[Method] = Register(
    "method", "method.name", "--method.name", "class Mine(astmoa.Adapter)", _is_method, _adopted
)
"""Its entry points are the group `astmoa.methods`."""
known, names, find_method = METHODS.known, METHODS.names, METHODS.find
