"""When a trial is stopped early: one class per rule, which says everything about it, and the register of them."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from astmoa.engine.judging import EarlyStopping
from astmoa.errors import ConfigError, require
from astmoa.files.register import Register

if TYPE_CHECKING:
    from astmoa.search.early_stopping import Bracket, Rung

Spread = Literal["epsilon_net", "crowding"]
DEFAULT_MARGIN = 1.0
"""Standard errors of a difference by which a noisy objective must lead before it counts."""


@dataclass(frozen=True)
class Settings:
    """What a rule is made from. Raises ConfigError for an impossible value."""

    max_epochs: int
    grace_period: int
    """Epochs that every trial gets."""
    reduction_factor: int = 3
    """One in this many goes on from milestone to milestone."""
    margin: float = DEFAULT_MARGIN
    """Standard errors by which a trial must lead another to dominate it."""
    spread: Spread = "epsilon_net"
    """What decides inside a front."""

    def __post_init__(self) -> None:
        most = f"give 1 to {self.max_epochs}, the epochs"
        require(1 <= self.grace_period <= self.max_epochs, "grace_period", self.grace_period, most)
        factor = "give a whole number of at least 2"
        require(self.reduction_factor >= 2, "reduction_factor", self.reduction_factor, factor)
        require(0 <= self.margin < math.inf, "margin", self.margin, "give a number of at least 0")
        require(self.spread in get_args(Spread), "spread", self.spread, f"one of {', '.join(get_args(Spread))}")


class StoppingRule(abc.ABC):
    """One rule; the first line of its docstring is how help texts describe it."""

    name: ClassVar[str]
    code: str | None = None
    """Hash of the source, of a rule from outside."""

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (self.__doc__ or "").strip().split("\n")[0].rstrip(".")

    @abc.abstractmethod
    def make(self, settings: Settings) -> EarlyStopping:
        """A fresh one, for one search."""


Kind = TypeVar("Kind", bound=type[StoppingRule])


def register(kind: Kind) -> Kind:
    """Make a rule of the package known by its name."""
    STOPPING_RULES.add(kind.name, kind())
    return kind


class OwnRule(StoppingRule):
    """A class of the user's, with the method `report` of `EarlyStopping`."""

    def __init__(self, name: str, code: str, kind: Any):
        self._name, self.code, self._kind = name, code, kind

    def make(self, settings: Settings) -> EarlyStopping:
        try:
            return self._kind(settings.max_epochs)
        except Exception as error:
            why = " ".join(str(error).split())[:200]
            raise ConfigError(f"scheduler={self._name!r} cannot be made with max_epochs: {why}") from error


def _is_rule(value: object) -> bool:
    return isinstance(value, type) and callable(getattr(value, "report", None)) and value is not EarlyStopping


STOPPING_RULES: Register[StoppingRule] = Register(
    "stopping rule",
    "scheduler",
    "--scheduler",
    "class Mine, made with max_epochs, with a method report",
    _is_rule,
    lambda name, value, code: OwnRule(name, code, value),
)
"""Its entry points are the group `astmoa.stopping_rules`."""


@register
class ParetoAsha(StoppingRule):
    """asynchronous halving by dominance in all objectives, so that small models stay"""

    name = "pareto_asha"

    def make(self, settings: Settings) -> EarlyStopping:
        return self.brackets(settings)[0]

    def brackets(self, settings: Settings) -> list[Bracket]:
        """One for each epoch at which stopping may begin. As in Hyperband up to max_epochs itself: a bracket that
        starts there has no rung and stops nobody."""
        from astmoa.search.early_stopping import Bracket, steps

        factor, most = settings.reduction_factor, settings.max_epochs
        starts = steps(settings.grace_period, factor, most + 1)
        return [Bracket(steps(start, factor, most), lambda: self.rung(settings)) for start in starts]

    def rung(self, settings: Settings) -> Rung:
        """Where trials are compared at one milestone."""
        from astmoa.search.early_stopping import ParetoRung

        return ParetoRung(settings.reduction_factor, settings.margin, settings.spread)


@register
class Asha(ParetoAsha):
    """asynchronous halving by accuracy alone"""

    name = "asha"

    def rung(self, settings: Settings) -> Rung:
        from astmoa.search.early_stopping import AccuracyRung

        return AccuracyRung(settings.reduction_factor)


@register
class ParetoHyperband(ParetoAsha):
    """pareto_asha in brackets that begin to stop at different epochs"""

    name = "pareto_hyperband"

    def make(self, settings: Settings) -> EarlyStopping:
        from astmoa.search.early_stopping import Brackets

        return Brackets(self.brackets(settings), settings.reduction_factor)


@register
class Hyperband(Asha):
    """asha in brackets that begin to stop at different epochs"""

    name = "hyperband"

    def make(self, settings: Settings) -> EarlyStopping:
        from astmoa.search.early_stopping import Brackets

        return Brackets(self.brackets(settings), settings.reduction_factor)


@register
class NoStopping(StoppingRule):
    """every trial runs to its last epoch"""

    name = "none"

    def make(self, settings: Settings) -> EarlyStopping:
        from astmoa.search.early_stopping import AccuracyRung, Bracket

        return Bracket((), lambda: AccuracyRung(settings.reduction_factor))  # no milestone, so no rung is ever made


ABOUT_RULES = "\n".join(f"{name}: {STOPPING_RULES.find(name).about}." for name in STOPPING_RULES.names())


def default_grace_period(max_epochs: int) -> int:
    """A quarter of the epochs: the learning rate falls over all of them, so that what is early is a share of them. Who
    is ahead before says little about the end (benchmarks/search_quality.py)."""
    return math.ceil(max_epochs / 4)


def make_scheduler(
    name: str, max_epochs: int, grace_period: int | None = None, reduction_factor: int = 3, **settings: Any
) -> EarlyStopping:
    """A fresh rule by its name. grace_period: `default_grace_period` if None; the rest as in `Settings`.

    Raises ConfigError for an unknown name or an impossible value.
    """
    rule = STOPPING_RULES.find(name)
    grace_period = default_grace_period(max_epochs) if grace_period is None else grace_period
    return rule.make(Settings(max_epochs, grace_period, reduction_factor, **settings))
