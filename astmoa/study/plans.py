"""What a study runs, a list of points or a search: asked once, here."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from astmoa.config import TrialConfig
from astmoa.config.proposals import Point, replicate
from astmoa.errors import ConfigError
from astmoa.methods.shape import BackboneShape
from astmoa.search.space import Space
from astmoa.study.options import StudyOptions
from astmoa.study.search_options import Parts, SearchOptions

if TYPE_CHECKING:
    from astmoa.engine.judging import EarlyStopping
    from astmoa.search.sampler import MakeSampler
    from astmoa.training.inputs import Inputs

Own = tuple["MakeSampler | None", "EarlyStopping | None"]
"""A search's sampler and stopping rule as objects, in place of those that its options name."""


class Plan(abc.ABC):
    """A study's trials, before and after its data are known."""

    search: dict[str, Any] | None = None
    """What a search's journal says of it; None for a list."""
    told: str
    """Number of points or candidates, for people."""
    folds: tuple[int, ...]
    """Test folds to be split, and whether all others are, too."""
    all_folds: bool | Literal["if any"]
    header: dict[str, Any]
    """Fields of the journal's first event; whole once `parts` was asked for."""

    @abc.abstractmethod
    def replicates(self, inputs: Inputs) -> str:
        """Seeds and folds, for people."""

    @abc.abstractmethod
    def parts(self, inputs: Inputs, template: TrialConfig) -> Parts:
        """What runs on these inputs."""


class Listed(Plan):
    """Points under all seeds and folds."""

    def __init__(self, study: str, points: Sequence[Point], options: StudyOptions):
        if not points:
            raise ConfigError(f"{study} has no points with these options: name fewer restrictions")
        self._points, self._seeds, self._max_failures = points, options.seed_range(), options.max_failures
        self.told = f"{len(points)} points"
        self.folds, self.all_folds = tuple(dict.fromkeys(options.folds)), options.cross_validate
        self.header = {}

    def replicates(self, inputs: Inputs) -> str:
        return f"{len(self._seeds)} seeds x {len(inputs.splits)} folds of "

    def parts(self, inputs: Inputs, template: TrialConfig) -> Parts:
        from astmoa.engine.budgets import Budget

        proposals = replicate(self._points, template, self._seeds, tuple(inputs.splits))
        self.header = {"num_trials": len(proposals)}
        return {"proposer": proposals, "budget": Budget(max_failures=self._max_failures)}


class Searched(Plan):
    """Candidates of a space, each once; what is worth it again, where that is asked for."""

    def __init__(self, study: str, space: Space, options: StudyOptions, shape: BackboneShape, own: Own):
        if not isinstance(options, SearchOptions):
            raise ConfigError(f"{study} plans a Space, which is searched: make its options a SearchOptions")
        described = options.described(space, *own)
        self.search, self._objectives = described, described["objectives"]
        # Wrong names are better found before all sounds are read.
        self._parts, self._confirmation = options.parts(space, shape, *own), options.confirmation()
        self.told = f"{len(space.candidates(shape, options.max_params)):,} candidates"
        self.folds, self.all_folds = options.folds, False
        if self._confirmation is not None:
            self.folds = (*self.folds, *(self._confirmation.folds or ()))
            self.all_folds = "if any" if self._confirmation.folds is None else False
        self.folds = tuple(dict.fromkeys(self.folds))
        self.header = {"search": self.search}

    def replicates(self, inputs: Inputs) -> str:
        return ""

    def parts(self, inputs: Inputs, template: TrialConfig) -> Parts:
        parts = self._parts
        if self._confirmation is not None:
            parts["confirm"] = self._confirmation.of(inputs.num_val_clips, inputs.has_folds, self._objectives)
        return parts


def listed_or_searched(
    study: str, planned: Sequence[Point] | Space, options: StudyOptions, shape: BackboneShape, own: Own
) -> Plan:
    """Raises ConfigError for no points, an impossible space, and names that there are not."""
    if isinstance(planned, Space):
        return Searched(study, planned, options, shape, own)
    return Listed(study, planned, options)
