"""What to try: a proposal is a labelled trial configuration. A searcher is anything that yields proposals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from astmoa.config.method_config import MethodConfig
from astmoa.config.recipes import complete
from astmoa.config.trial_config import CompleteTrial, TrialConfig

MOST_SEEDS = 1000
"""Largest number of seeds of one configuration."""


@dataclass(frozen=True)
class Point:
    """One configuration of a study: what differs from the study's template."""

    label: str
    """Its name in tables and pictures."""
    method: MethodConfig
    faithful: tuple[str, ...] = ()
    """Switches of the published code, on top of the template's."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """The paper's accuracy in percent, by data set."""
    lr: float | None = None
    """Its own peak learning rate. None: the template's."""


@dataclass(frozen=True)
class Proposal:
    """One trial to run. `label` and `paper` are the same for all replicates of a point."""

    label: str
    config: CompleteTrial
    paper: Mapping[str, float] = field(default_factory=dict)
    phase: Literal["search", "confirm"] | None = None
    """Part of a search that it belongs to; None in studies that list their points."""
    ask: Mapping[str, Any] = field(default_factory=dict)
    """What a sampler needs to put a proposal of an earlier run back into its history."""

    @property
    def trial_id(self) -> str:
        return self.config.hash()


def replicate(
    points: Iterable[Point], template: TrialConfig, seeds: Iterable[int], folds: Iterable[int]
) -> list[Proposal]:
    """Every point of an enumerated study under every seed and fold.

    Replicates come in the outer loops: an interrupted sweep has all its points once before it has any twice. Points
    that are the same trial (on a backbone of two layers "the last half" is "every second") run once, under the first
    label.
    """
    points = list(points)
    proposals: dict[str, Proposal] = {}
    for seed in seeds:
        for fold in folds:
            for point in points:
                data = dataclasses.replace(template.data, fold=fold)
                faithful = (*template.faithful, *point.faithful)
                optim = template.optim if point.lr is None else dataclasses.replace(template.optim, lr=point.lr)
                config = dataclasses.replace(
                    template, data=data, method=point.method, optim=optim, seed=seed, faithful=faithful
                )
                proposal = Proposal(point.label, complete(config), point.paper)
                proposals.setdefault(proposal.trial_id, proposal)
    return list(proposals.values())
