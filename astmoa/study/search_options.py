"""What a search can be told, and the parts it is made of: proposals, stopping, budget, confirmation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NotRequired, TypedDict

import tyro

from astmoa.config import complete
from astmoa.errors import ConfigError
from astmoa.methods.shape import BackboneShape
from astmoa.search.samplers import ABOUT_SAMPLERS, SAMPLERS, default_sampler, name_of
from astmoa.search.stopping_rules import (
    ABOUT_RULES,
    DEFAULT_MARGIN,
    STOPPING_RULES,
    default_grace_period,
    make_scheduler,
)
from astmoa.study.options import StudyOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astmoa.config.proposals import Proposal
    from astmoa.engine.budgets import Budget
    from astmoa.engine.confirmation import Confirm, Confirmation
    from astmoa.engine.judging import EarlyStopping
    from astmoa.engine.proposers import Proposer
    from astmoa.search.sampler import MakeSampler
    from astmoa.search.space import Space

_DEFAULT_TRIALS, _QUICK_TRIALS = 40, 12
_YOURS = "Or yours, as FILE.py:NAME (docs/extending.md)."
_SAMPLER_HELP = f"{ABOUT_SAMPLERS}\n{_YOURS} Default: ehvi; with --step-time tpe."
_SCHEDULER_HELP = f"What stops hopeless trials early.\n{ABOUT_RULES}\n{_YOURS}"


class Parts(TypedDict):
    """Those of `run_sweep`'s arguments that say what runs, and for how long."""

    proposer: Proposer | Sequence[Proposal]
    budget: Budget
    scheduler: NotRequired[EarlyStopping]
    confirm: NotRequired[Confirm]


@dataclass(frozen=True)
class SearchOptions(StudyOptions):
    """What all searches share. Each candidate runs once, with seed 0; --confirm replicates what is worth it."""

    least_quick_epochs: ClassVar[int] = 4
    """Fewest epochs that --quick leaves: fewer have no milestone."""
    refused: ClassVar[dict[str, str]] = {
        "--seeds": "a search runs each candidate once; use --confirm seeds=N",
        "--cross-validate": "a search tries each candidate in one fold; --confirm takes them all",
    }

    seeds: Annotated[int, tyro.conf.Suppress] = 1
    """Number of seeds, which stays 1: replicates are for --confirm."""
    folds: tuple[int, ...] = (1,)
    """The test fold that the search keeps to (the next one validates); --confirm takes the others."""
    cross_validate: Annotated[bool, tyro.conf.Suppress] = False
    """Whether every fold tests once, which is not for a search: --confirm takes all folds."""
    lr: float | None = None
    """Peak learning rate of all candidates, for a space that has none of its own."""
    max_trials: int | None = None
    """Candidates to try. Default: 40 (--quick: 12) where no other bound is given."""
    max_hours: float | None = None
    """Hours on the wall, over all runs of one sweep; the trainings of --confirm come on top. Trials that run then are
    cut off after their epoch; --resume RUN --max-hours MORE goes on with them."""
    max_device_hours: float | None = None
    """Hours that trials hold a GPU (a CPU core where there is none), summed; for the rest as --max-hours."""
    patience: int | None = None
    """Stop when the hypervolume has not grown over this many completed trials."""
    min_growth: float = 0.001
    """What counts as growth for --patience: a fraction of the hypervolume, the area under the front in accuracy x
    decades of parameters below 100 M."""
    max_params: int | None = None
    """Try only what trains at most this many parameters, without the head."""
    sampler: Annotated[str | None, tyro.conf.arg(help=_SAMPLER_HELP)] = None
    num_startup: int | None = None
    """Number of results that come from candidates at random, before the sampler's model is asked. Default: 8 for ehvi,
    16 for others (--quick: 4)."""
    scheduler: Annotated[str, tyro.conf.arg(help=_SCHEDULER_HELP)] = "pareto_asha"
    grace_period: int | None = None
    """Epochs that every trial gets. Default: a quarter of them."""
    reduction_factor: int = 3
    """One in this many goes on from milestone to milestone (grace_period x 1, 3, 9, ...)."""
    margin: float | None = None
    """Standard errors of the difference by which a trial must lead another to dominate it. Default: 1."""
    tell_stopped: str = "predicted"
    """What the sampler hears of a stopped trial. predicted: its accuracy plus what similar ones gained from there.
    failed, pruned, infeasible: no accuracy. truncated: its accuracy as if it were final (for comparison)."""
    step_time: bool = False
    """A third objective: the measured time of one training step."""
    search_seed: int = 0
    """Seed of the search: another one draws other candidates."""
    confirm: str | None = None
    """After the search train front and near-front again: seeds=5 with seeds 1 to 5 in every fold of the data. That is
    points x seeds x folds trainings, on top of the search's bounds. seeds=5,folds=1 keeps to fold 1; seeds=5,trials=60
    runs at most 60: all points in as many folds as that allows, then the seeds that narrow the front's uncertainty
    most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds != 1:
            raise ConfigError(f"--seeds {self.seeds}: a search runs each candidate once; use --confirm seeds=N")
        if len(self.folds) > 1:
            raise ConfigError(f"--folds {list(self.folds)}: a search tries each candidate in one fold; name one")
        if self.cross_validate:
            raise ConfigError("--cross-validate: a search tries each candidate in one fold; --confirm takes them all")
        if self.search_seed < 0:
            raise ConfigError(f"--search-seed {self.search_seed} is not possible: give a whole number of at least 0")
        self.budget()
        self.confirmation()

    def budget(self) -> Budget:
        """The bounds of the search. Raises ConfigError for one that is not possible."""
        from astmoa.engine.budgets import Budget

        keys = [field.name for field in dataclasses.fields(Budget)]
        budget = Budget(**{key: getattr(self, key) for key in keys})
        bounds = (budget.max_trials, budget.max_hours, budget.max_device_hours, budget.patience)
        few = _QUICK_TRIALS if self.quick else _DEFAULT_TRIALS
        return budget if any(bounds) else dataclasses.replace(budget, max_trials=few)

    def confirmation(self) -> Confirmation | None:
        """Which replicates confirm it. Raises ConfigError for a wish that is not possible."""
        if self.confirm is None:
            return None
        from astmoa.engine.confirmation import Confirmation

        return Confirmation.parse(self.confirm)

    def described(self, space: Space, sampler: object = None, early_stopping: object = None) -> dict[str, Any]:
        """The journal's `search`: what must be the same when a search is gone on with.

        sampler, early_stopping: the user's own, in place of the options'.
        """
        objectives = ["params", "accuracy", "step_time"] if self.step_time else ["params", "accuracy"]
        keys = ("scheduler", "tell_stopped", "reduction_factor", "search_seed", "max_params")
        told = {key: getattr(self, key) for key in keys}
        told |= {"sampler": self._sampler, "num_startup": self._num_startup}
        for key, own, register in (("sampler", sampler, SAMPLERS), ("scheduler", early_stopping, STOPPING_RULES)):
            if own is not None:
                told[key] = name_of(own)
            elif register.find(told[key]).code is not None:  # another source of the same name is another search
                told[f"{key}_code"] = register.find(told[key]).code
        return {"space": space.to_json(), **told, **self._halving(), "objectives": objectives}

    @property
    def _sampler(self) -> str:
        return self.sampler or default_sampler(self.step_time)

    @property
    def _num_startup(self) -> int:
        if self.num_startup is not None:
            return self.num_startup
        return 4 if self.quick else SAMPLERS.find(self._sampler).num_startup

    def _halving(self) -> dict[str, Any]:
        """With the defaults' values: another version's may differ, and a journal's decisions must come out again."""
        epochs = complete(self.template()).optim.epochs
        grace = default_grace_period(epochs) if self.grace_period is None else self.grace_period
        return {"grace_period": grace, "margin": DEFAULT_MARGIN if self.margin is None else self.margin}

    def parts(
        self, space: Space, shape: BackboneShape, sampler: MakeSampler | None = None, rule: EarlyStopping | None = None
    ) -> Parts:
        """What `run_sweep` needs for this search. sampler, rule: the user's own, in place of the options'.

        Raises ConfigError for an unknown name or an impossible space.
        """
        from astmoa.search.sampler import OptunaSampler
        from astmoa.search.searcher import Search

        template = self.template()
        epochs = complete(template).optim.epochs
        if self.lr is not None and any("lr" in space.branch(name) for name in space.names):
            raise ConfigError(f"--lr {self.lr:g}: this search chooses learning rates by itself; leave --lr out")
        asked = OptunaSampler(
            space,
            shape,
            sampler or self._sampler,
            self.search_seed,
            max_params=self.max_params,
            objectives=self.described(space)["objectives"],
            tell_stopped=self.tell_stopped,
            num_startup=self._num_startup,
        )
        return {
            "proposer": Search(asked, space, shape, template),
            "scheduler": rule
            or make_scheduler(self.scheduler, epochs, reduction_factor=self.reduction_factor, **self._halving()),
            "budget": self.budget(),
        }
