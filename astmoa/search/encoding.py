"""What Optuna is given: candidates as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from astmoa.search.space import Candidate, Space, is_ordered


class Encoding:
    """Names become categorical parameters; ordered choices their index, which makes log-spaced ones linear. A dial is
    one parameter for all methods that have the same choices for it, otherwise one for each.

    Every trial has all parameters, those of other methods at their first choice. NSGA-II crosses only what all trials
    have, a Gaussian process models only that, and TPE splits conditional parameters into groups that it draws
    independently of each other, which finds frontiers more slowly.
    """

    def __init__(self, space: Space):
        self._branches = {name: space.branch(name) for name in space.names}
        self._parameters: dict[str, tuple[str, tuple]] = {}
        """Parameter: its dial and choices. A single choice needs no parameter."""
        self._of: dict[str, dict[str, str]] = {name: {} for name in space.names}
        """Method: its dials' parameters."""
        if len(space.names) > 1:
            self._parameters["name"] = ("name", space.names)
        for name, branch in self._branches.items():
            for key, choices in branch.items():
                if len(choices) > 1:
                    others = [other[key] for other in self._branches.values() if key in other]
                    parameter = key if all(other == choices for other in others) else f"{name}.{key}"
                    self._parameters[parameter] = (key, choices)
                    self._of[name][key] = parameter

        self._distributions = {
            parameter: IntDistribution(0, len(choices) - 1)
            if is_ordered(key, choices)
            else CategoricalDistribution(choices)
            for parameter, (key, choices) in sorted(self._parameters.items())
        }

    def adopted(self, sampler: BaseSampler) -> BaseSampler:
        """The same sampler, which then draws all parameters together."""
        # A fresh sampler would look through all trials for the parameters that they have in common: that grows with
        # their number, and here it is always all.
        vars(sampler)["infer_relative_search_space"] = lambda study, trial: dict(self._distributions)
        return sampler

    def draw(self, trial: Trial) -> Candidate:
        """Have a trial suggest all parameters, and read a candidate off them."""
        drawn = {parameter: self._suggest(trial, parameter) for parameter in self._parameters}
        name = drawn.get("name", next(iter(self._branches)))
        own = self._of[name]
        branch = self._branches[name].items()
        return {"name": name} | {key: drawn[own[key]] if key in own else choices[0] for key, choices in branch}

    def encode(self, candidate: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters from which `draw` reads this candidate."""
        keys = {parameter: key for key, parameter in self._of[candidate["name"]].items()} | {"name": "name"}
        values: dict[str, Any] = {}
        for parameter, (key, choices) in self._parameters.items():
            choice = candidate[keys[parameter]] if parameter in keys else choices[0]
            values[parameter] = choices.index(choice) if is_ordered(key, choices) else choice
        return values

    def _suggest(self, trial: Trial, parameter: str) -> Any:
        key, choices = self._parameters[parameter]
        if is_ordered(key, choices):
            return choices[trial.suggest_int(parameter, 0, len(choices) - 1)]
        return trial.suggest_categorical(parameter, choices)
