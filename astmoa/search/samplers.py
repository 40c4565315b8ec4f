"""How a search draws candidates: one class per sampler, which says everything about it, and the register of them."""

from __future__ import annotations

import abc
import types
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from astmoa.errors import ConfigError
from astmoa.files.register import Register

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Sampler(abc.ABC):
    """One way to draw; the first line of its docstring is how help texts describe it."""

    name: ClassVar[str]
    num_startup: ClassVar[int] = 16
    """Results drawn at random before its model is asked: densities and a population need more than a Gaussian process
    does."""
    max_draws: ClassVar[int] = 3
    """Draws in one ask until the nearest candidate that is left is taken: what repeats itself, and slowly, gets few."""
    most_objectives: ClassVar[int] = 3
    models: ClassVar[bool] = True
    """False: every candidate is drawn at random."""
    from_the_pool: ClassVar[bool] = False
    """Ours: it ranks the candidates that are left by itself, and Optuna is not asked."""
    counts_pruned: ClassVar[bool] = False
    """Does its model learn from trials that were pruned?"""
    keeps_generations: ClassVar[bool] = False
    """Does a trial have to be asked for by it, to become a parent of later ones?"""
    single_thread: ClassVar[bool] = False
    """Is it slower on many threads, which wait for each other on a busy machine?"""
    code: str | None = None
    """Hash of the source, of a sampler from outside."""

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (self.__doc__ or "").strip().split("\n")[0].rstrip(".")

    @abc.abstractmethod
    def make(self, seed: int, num_startup: int) -> BaseSampler:
        """A fresh one of Optuna's that models from the first result on. num_startup: NSGA-II's population."""


Kind = TypeVar("Kind", bound=type[Sampler])


def register(kind: Kind) -> Kind:
    """Make a sampler of the package known by its name."""
    SAMPLERS.add(kind.name, kind())
    return kind


class OwnSampler(Sampler):
    """A sampler of the user's: a function from a seed to one of Optuna's, or the class of one."""

    def __init__(self, name: str, code: str | None, function: Any):
        self._name, self.code, self._function = name, code, function

    def make(self, seed: int, num_startup: int) -> BaseSampler:
        from optuna.samplers import BaseSampler

        made = self._function(seed=seed) if isinstance(self._function, type) else self._function(seed)
        if not isinstance(made, BaseSampler):
            raise ConfigError(f"sampler {self._name} makes a {type(made).__name__}: give one of optuna.samplers")
        return made


def _is_sampler(value: object) -> bool:
    if isinstance(value, types.FunctionType):
        return True
    return isinstance(value, type) and any(kind.__module__.startswith("optuna.samplers") for kind in value.__mro__)


SAMPLERS: Register[Sampler] = Register(
    "sampler",
    "sampler",
    "--sampler",
    "def mine(seed), which returns one of optuna.samplers",
    _is_sampler,
    lambda name, value, code: OwnSampler(name, code, value),
)
"""Its entry points are the group `astmoa.samplers`."""


@register
class Nsga2(Sampler):
    """NSGA-II: crosses and mutates the best of the last generation, by non-dominated front and crowding"""

    name = "nsga2"
    max_draws = 5
    keeps_generations = True

    def make(self, seed: int, num_startup: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(population_size=num_startup, seed=seed)


@register
class Tpe(Sampler):
    """multi-objective tree-structured Parzen estimator: where good trials are dense and others are not"""

    name = "tpe"
    counts_pruned = True

    def make(self, seed: int, num_startup: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(n_startup_trials=1, multivariate=True, constant_liar=True, seed=seed)


@register
class Gp(Sampler):
    """Optuna's Gaussian processes of both objectives: expected growth of the hypervolume; seconds per proposal"""

    name = "gp"
    max_draws = 2
    single_thread = True

    def make(self, seed: int, num_startup: int) -> BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)


@register
class Ehvi(Sampler):
    """a Gaussian process of accuracy alone, sizes being known: expected growth of the hypervolume"""

    name = "ehvi"
    num_startup = 8
    most_objectives = 2
    from_the_pool = True

    def make(self, seed: int, num_startup: int) -> BaseSampler:
        """Optuna's part in it is to keep the trials: the pool is ranked by `astmoa.search.ehvi`."""
        return SAMPLERS.find("random").make(seed, num_startup)


@register
class Random(Sampler):
    """a method at random, then one of its candidates: the baseline"""

    name = "random"
    models = False

    def make(self, seed: int, num_startup: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed)


ABOUT_SAMPLERS = "\n".join(f"{name}: {SAMPLERS.find(name).about}." for name in SAMPLERS.names())


def default_sampler(step_time: bool = False) -> str:
    """What found most in benchmarks/search_quality.py; with step time as third objective the best that takes three."""
    return "tpe" if step_time else "ehvi"


def name_of(own: object) -> str:
    """What a sampler or a stopping rule that is given as an object is called in journals: its module and class."""
    kind = own if hasattr(own, "__qualname__") else type(own)
    return f"{kind.__module__}:{kind.__qualname__}"
