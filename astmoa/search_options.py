"""What a search can be told, and the parts it is made of: proposals, stopping, budget, confirmation."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from astmoa import frontier
from astmoa.config import complete
from astmoa.errors import ConfigError
from astmoa.shape import BackboneShape
from astmoa.study_options import MOST_SEEDS, StudyOptions

if TYPE_CHECKING:
    from astmoa.sweep.driver import Driver
    from astmoa.sweep.halving import EarlyStopping
    from astmoa.sweep.ledger import DrivenTrial
    from astmoa.sweep.proposals import Proposal
    from astmoa.sweep.sampler import MakeSampler
    from astmoa.sweep.space import Space
    from astmoa.training.inputs import Inputs

_DEFAULT_TRIALS, _QUICK_TRIALS = 40, 12


@dataclass(frozen=True)
class SearchOptions(StudyOptions):
    """What all searches share. Each candidate runs once, with seed 0; --confirm replicates what is worth it."""

    least_quick_epochs: ClassVar[int] = 4
    """Fewer have no milestone."""
    refused: ClassVar[dict[str, str]] = {
        "--seeds": "a search runs each candidate once; use --confirm seeds=N",
        "--cross-validate": "a search tries each candidate in one fold; --confirm takes them all",
    }

    seeds: Annotated[int, tyro.conf.Suppress] = 1
    """Stays 1: replicates are for --confirm."""
    folds: tuple[int, ...] = (1,)
    """The test fold that the search keeps to (the next one validates); --confirm takes the others."""
    cross_validate: Annotated[bool, tyro.conf.Suppress] = False
    """Not for a search: --confirm takes all folds."""
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
    sampler: str | None = None
    """ehvi: a Gaussian process of accuracy alone, for sizes are known. tpe (multi-objective), nsga2, gp (Optuna's, 1 to
    3 s per proposal), random. Default: ehvi; with --step-time tpe."""
    num_startup: int | None = None
    """So many results come from candidates at random, before the sampler's model is asked. Default: 8 for ehvi, 16
    for others (--quick: 4)."""
    scheduler: str = "pareto_asha"
    """What stops hopeless trials early. pareto_asha: by dominance. asha: by accuracy alone, which kills small models.
    pareto_hyperband, hyperband: the same in brackets of several grace periods. none: every trial runs to its end."""
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
    """Another seed draws other candidates."""
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

    def budget(self) -> Any:
        """The bounds of the search. Raises ConfigError for one that is not possible."""
        from astmoa.sweep.budget import Budget

        keys = [field.name for field in dataclasses.fields(Budget)]
        budget = Budget(**{key: getattr(self, key) for key in keys})
        bounds = (budget.max_trials, budget.max_hours, budget.max_device_hours, budget.patience)
        few = _QUICK_TRIALS if self.quick else _DEFAULT_TRIALS
        return budget if any(bounds) else dataclasses.replace(budget, max_trials=few)

    def confirmation(self) -> Confirmation | None:
        return None if self.confirm is None else Confirmation.parse(self.confirm)

    def described(self, space: Space, sampler: object = None, early_stopping: object = None) -> dict[str, Any]:
        """The journal's `search`: what must be the same when a search is gone on with.

        sampler, early_stopping: the user's own, in place of the options'.
        """
        from astmoa.sweep.encoding import name_of

        objectives = ["params", "accuracy", "step_time"] if self.step_time else ["params", "accuracy"]
        keys = ("scheduler", "tell_stopped", "reduction_factor", "search_seed", "max_params")
        told = {key: getattr(self, key) for key in keys}
        told |= {"sampler": self._sampler, "num_startup": self._num_startup}
        told |= {"sampler": name_of(sampler)} if sampler is not None else {}
        told |= {"scheduler": name_of(early_stopping)} if early_stopping is not None else {}
        return {"space": space.to_json(), **told, **self._halving(), "objectives": objectives}

    @property
    def _sampler(self) -> str:
        from astmoa.sweep.encoding import default_sampler

        return self.sampler or default_sampler(self.step_time)

    @property
    def _num_startup(self) -> int:
        from astmoa.sweep.encoding import default_num_startup

        if self.num_startup is not None:
            return self.num_startup
        return 4 if self.quick else default_num_startup(self._sampler)

    def _halving(self) -> dict[str, Any]:
        """With the defaults' values: another version's may differ, and a journal's decisions must come out again."""
        from astmoa.sweep.halving import DEFAULT_MARGIN, default_grace_period

        epochs = complete(self.template()).optim.epochs
        grace = default_grace_period(epochs) if self.grace_period is None else self.grace_period
        return {"grace_period": grace, "margin": DEFAULT_MARGIN if self.margin is None else self.margin}

    def parts(
        self, space: Space, shape: BackboneShape, sampler: MakeSampler | None = None, rule: EarlyStopping | None = None
    ) -> dict[str, Any]:
        """What `run_sweep` needs for this search. sampler, rule: the user's own, in place of the options'.

        Raises ConfigError for an unknown name or an impossible space.
        """
        from astmoa.sweep.halving import make_scheduler
        from astmoa.sweep.sampler import OptunaSampler
        from astmoa.sweep.search import Search

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


@dataclass(frozen=True)
class Confirmation:
    """Which replicates confirm a search."""

    seeds: int
    folds: tuple[int, ...] | None = None
    """None: every fold of the data."""
    trials: int | None = None

    @classmethod
    def parse(cls, text: str) -> Confirmation:
        """From `seeds=5` or `seeds=5,trials=60` or `seeds=3,folds=1`. Raises ConfigError in one line."""
        try:
            values = dict(part.split("=") for part in text.split(","))
            numbers = {key: int(value) for key, value in values.items()}
            ok = numbers.keys() <= {"seeds", "folds", "trials"} and numbers.get("seeds", 0) > 0
            if not ok or numbers.get("trials", 1) < 1 or numbers["seeds"] > MOST_SEEDS:
                raise ValueError
        except ValueError:
            example = "give seeds=5, or seeds=5,trials=60 (60 at most), or seeds=5,folds=1 (fold 1 alone)"
            raise ConfigError(f"--confirm {text} is not possible: {example}") from None
        folds = (numbers["folds"],) if "folds" in numbers else None
        return cls(numbers["seeds"], folds, numbers.get("trials"))

    def of(self, inputs: Inputs) -> Callable[[Driver], Sequence[Proposal]]:
        """The replicates of a finished search, front and near-front; all points over the same folds, or one would be
        above another because its folds are easier. First one seed of all, fold by fold, for a front is made of what
        was confirmed; then further seeds in the order of how much each narrows the front's uncertainty."""
        folds = tuple(inputs.splits) if self.folds is None or not inputs.has_folds else self.folds

        def confirm(driver: Driver) -> list[Proposal]:
            from astmoa import confidence
            from astmoa.sweep.search import replicates

            chosen, errors = _front_and_near(driver, inputs)
            if not chosen:
                return []
            # Fewer trials than all folds of all points: fewer folds.
            used = folds if self.trials is None else folds[: max(1, self.trials // len(chosen))]
            own = replicates(chosen, range(1, self.seeds + 1), used)
            first = [of_trial[index] for index in range(len(used)) for of_trial in own]
            seeds = [[of_trial[at : at + len(used)] for at in range(0, len(of_trial), len(used))] for of_trial in own]
            sizes, accuracy = [trial.size for trial in chosen], [trial.final for trial in chosen]
            draws = 2000 if len(chosen) <= 30 else 500
            done = [1] * len(chosen)
            order = confidence.replication_order(sizes, accuracy, errors, done, self.seeds, draws=draws)
            left = [iter(of_trial[1:]) for of_trial in seeds]
            further = [next(left[index]) for index in order]
            if self.trials is None:
                return [*first, *itertools.chain(*further)]
            room = max(0, self.trials - len(first)) // len(used)  # whole seeds only
            return [*first[: self.trials], *itertools.chain(*further[:room])]

        return confirm


def _front_and_near(driver: Driver, inputs: Inputs) -> tuple[list[DrivenTrial], list[float]]:
    """The completed trials of a search that are on its front, or whose interval overlaps it, the front's first; and
    the standard errors of their accuracies. For mAP these are rough: it is no share of correct clips."""
    from astmoa import confidence
    from astmoa.records import clip_interval

    found = driver.searched("completed")
    clips = [len(inputs.splits[trial.proposal.config.data.fold].val) for trial in found]
    points = [(trial.size, trial.final) for trial in found]
    intervals = [clip_interval(trial.final, n) for trial, n in zip(found, clips, strict=True)]
    if not found:
        return [], []
    near = confidence.near_front(*zip(*points, strict=True), *zip(*intervals, strict=True))
    chosen = dict.fromkeys(frontier.front(points).tolist())
    if "step_time" in driver.objectives:
        costs = [(trial.size, -trial.final, trial.step_seconds) for trial in found]
        chosen |= dict.fromkeys(i for i, own in enumerate(costs) if not any(_beats(other, own) for other in costs))
    chosen |= dict.fromkeys(near.nonzero()[0].tolist())
    errors = [confidence.accuracy_error(found[i].final, clips[i]) for i in chosen]
    return [found[i] for i in chosen], errors


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(ours <= theirs for ours, theirs in zip(a, b, strict=True))
