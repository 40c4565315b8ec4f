"""What a search chooses from: methods, each with choices for its own dials, and the candidates that are possible.

A branch is one method with its dials' choices, so that a dial exists only where it means something (slots only in
Soft-MoA). A candidate is one choice of everything in one branch: a plain dict that JSON keeps as it is.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from astmoa.config import MethodConfig
from astmoa.config.proposals import Point
from astmoa.errors import ConfigError
from astmoa.files.register import is_outside, nothing_is_loaded
from astmoa.methods.method import Dial, Method, find_method, known, names
from astmoa.methods.params import count_params
from astmoa.methods.shape import BackboneShape

Candidate = dict[str, Any]

ORDERED = ("num_experts", "slots_per_expert", "bottleneck_dim", "num_virtual_tokens", "lr")
"""Dials whose choices are numbers, given from small to large; all others are names."""
LAYERS: dict[str, Callable[[int], Sequence[int]]] = {
    "all": lambda number: range(number),
    "first_half": lambda number: range(number // 2),
    "last_half": lambda number: range(number // 2, number),
    "every_second": lambda number: range(1, number, 2),
}
"""Names for a candidate's `layers`: which ones a backbone of so many layers grafts."""
# One order of keys, whichever a study writes them in: what a sampler draws first must not depend on that.
_KEYS = (*(field.name for field in dataclasses.fields(MethodConfig)), "lr")


@dataclass(frozen=True)
class Space:
    """Branches such as `{"name": "dense_moa", "num_experts": [2, 4], "bottleneck_dim": [1, 4], "lr": [2e-3, 8e-3]}`.

    Keys are the method's own dials (fields of MethodConfig), `pooling`, and `lr` (peak learning rate); `layers` by the
    names in LAYERS. A dial that is left out keeps its default. Raises ConfigError for a branch that cannot be meant so.
    """

    branches: Sequence[Mapping[str, Any]]
    _codes: Mapping[str, str | None] = field(init=False, repr=False, compare=False)
    """Hashes of the methods' sources, None where a method is the package's own."""

    def __post_init__(self) -> None:
        if not self.branches:
            raise ConfigError(
                "the search space is empty: it has no branches; give at least one method with its choices"
            )
        branches = tuple(_checked(branch) for branch in self.branches)
        names = [branch["name"] for branch in branches]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"the search space has two branches of {name}: give all its choices in one")
        object.__setattr__(self, "branches", branches)
        # As they are now: the file of one from outside may be edited while a sweep runs.
        object.__setattr__(self, "_codes", {name: find_method(name).code for name in names})

    def _kind(self, name: str) -> Method:
        return find_method(name, self._codes.get(name))

    def branch(self, name: str) -> dict[str, tuple]:
        """The choices of a method's dials. Raises ConfigError for a method that is not in the space."""
        for branch in self.branches:
            if branch["name"] == name:
                return {key: choices for key, choices in branch.items() if key != "name"}
        raise ConfigError(f"the search space has no {name}: its methods are {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(branch["name"] for branch in self.branches)

    @property
    def num_combinations(self) -> int:
        """Candidates, possible or not."""
        return sum(math.prod(len(choices) for choices in self.branch(name).values()) for name in self.names)

    def method(self, candidate: Mapping[str, Any], shape: BackboneShape) -> MethodConfig:
        """Raises ConfigError for an impossible method, such as `both` with an odd number of experts."""
        kind = self._kind(candidate["name"])
        own = kind.own
        fields = {key: value for key, value in candidate.items() if key != "lr" and key not in own}
        fields["own"] = {key: value for key, value in candidate.items() if key in own}
        layers = fields.pop("layers", None)
        if layers is not None:
            chosen = tuple(LAYERS[layers](shape.num_layers))
            usual = kind.default_layers(shape.num_layers)
            if layers != "all" or chosen != usual:  # partial's default is a half
                fields["layers"] = chosen
        return MethodConfig(**fields, code=kind.code)

    def meaning(self, candidate: Mapping[str, Any], shape: BackboneShape) -> Hashable:
        """Equal for candidates that train the same thing on this backbone. Raises ConfigError as `method` does."""
        method = self.method(candidate, shape).resolved()
        layers = method.kind.layers(method, shape.num_layers)
        return dataclasses.replace(method, layers=None), layers, candidate.get("lr")

    def size(self, candidate: Mapping[str, Any], shape: BackboneShape) -> int:
        """Trainable parameters as the papers count, without head. Raises ConfigError as `method` does."""
        return count_params(self.method(candidate, shape), shape).paper

    def candidates(self, shape: BackboneShape, max_params: int | None = None) -> list[Candidate]:
        """All different possible candidates of at most `max_params` parameters, in a fixed order."""
        return list(self.feasible(shape, max_params).values())

    def feasible(self, shape: BackboneShape, max_params: int | None = None) -> dict[Hashable, Candidate]:
        """The same by what they mean; of several that mean the same the first.

        Raises ConfigError where a choice makes every method impossible that it is in, and for a budget below the
        smallest model.
        """
        found: dict[Hashable, Candidate] = {}
        smallest: tuple[int, Candidate] | None = None
        impossible = ""
        for branch in self.branches:
            unused = {(key, choice): "" for key, choices in branch.items() if key != "name" for choice in choices}
            for candidate in _combinations(branch):
                try:
                    meaning, size = self.meaning(candidate, shape), self.size(candidate, shape)
                except ConfigError as error:
                    impossible = str(error)
                    for item in candidate.items():
                        if item in unused:
                            unused[item] = str(error)
                    continue
                for item in candidate.items():
                    unused.pop(item, None)
                if smallest is None or size < smallest[0]:
                    smallest = size, candidate
                if max_params is None or size <= max_params:
                    found.setdefault(meaning, candidate)
            for (key, choice), why in unused.items():
                raise ConfigError(f"search space: no {branch['name']} with {key}={choice!r} is possible: {why}")
        if smallest is None:
            raise ConfigError(
                f"search space: none of {', '.join(self.names)} is possible in this backbone: {impossible}"
            )
        if not found:
            size, candidate = smallest
            raise ConfigError(
                f"max_params={max_params:,} is below the smallest model of the search space, {self.label(candidate)} "
                f"with {size:,} parameters; raise the budget or add smaller choices"
            )
        return found

    def label(self, candidate: Mapping[str, Any]) -> str:
        """Such as `soft 8/4 r16 both last half lr 0.008`; different for every candidate."""
        parts = self._kind(candidate["name"]).label(candidate)
        for key, value in candidate.items():
            if key in ("name", "num_experts", "slots_per_expert") or (key, value) == ("layers", "all"):
                continue
            form = {"bottleneck_dim": "r{}", "num_virtual_tokens": "{} tokens", "lr": "lr {:.10g}"}.get(key, "{}")
            parts.append(form.format(value).replace("_", " "))
        return " ".join(parts)

    def point(self, candidate: Mapping[str, Any], shape: BackboneShape) -> Point:
        """Raises ConfigError as `method` does."""
        return Point(self.label(candidate), self.method(candidate, shape), lr=candidate.get("lr"))

    def to_json(self) -> list[dict[str, Any]]:
        return [{"name": branch["name"], **_lists(self.branch(branch["name"]))} for branch in self.branches]

    @classmethod
    def from_json(cls, branches: Sequence[Mapping[str, Any]]) -> Space:
        """Raises ConfigError for what `to_json` did not write, and for a method from outside that is not loaded yet."""
        with nothing_is_loaded():
            return cls(branches)

    def and_method(self, method: MethodConfig, given: Sequence[str]) -> Space:
        """With a branch more: the dials `given` as they are there; of all others every choice of the method's own, and
        of those that methods share the choices that the space has for them already."""
        kind = method.kind
        branch: dict[str, Any] = {"name": method.name}
        values = {**vars(method), **method.own}
        for key in (*kind.dials, "lr"):
            there = next((other[key] for other in self.branches if key in other), None)
            choices = there if key == "layers" or key not in given else (values[key],)
            if choices is not None:
                branch[key] = choices
        for key, dial in kind.own.items():
            branch[key] = (values[key],) if key in given or not dial.choices else dial.choices
        return Space((*self.branches, branch))


def _lists(choices: Mapping[str, Sequence]) -> dict[str, list]:
    return {key: list(values) for key, values in choices.items()}


def _combinations(branch: Mapping[str, Any]) -> Iterator[Candidate]:
    dials = {key: choices for key, choices in branch.items() if key != "name"}
    for values in itertools.product(*dials.values()):
        yield {"name": branch["name"], **dict(zip(dials, values, strict=True))}


def _checked(branch: Mapping[str, Any]) -> dict[str, Any]:
    """The branch with its keys in one order, the name as a string and the choices as tuples."""
    name = branch.get("name") if isinstance(branch, Mapping) else None
    if isinstance(name, Sequence) and not isinstance(name, str) and len(name) == 1:
        name = name[0]
    if not isinstance(name, str) or (known(name) is None and not is_outside(name)):
        raise ConfigError(f"search space: a branch's name is {name!r}; give one of {', '.join(names())}")
    method = find_method(name)
    keys = (*_KEYS, *method.own)
    dials = {*method.dials, *method.own, "pooling", "lr"}
    for key, choices in branch.items():
        if key != "name":
            if key not in dials:
                its = ", ".join(k for k in keys if k in dials)
                raise ConfigError(f"search space: {name} has no {key}; its dials are {its}")
            _check_choices(f"{name}.{key}", key, choices, method.own.get(key))
    chosen = {key: tuple(branch[key]) for key in keys if key in branch and key != "name"}
    return {"name": name} | {k: method.own[k].all_checked(k, v) if k in method.own else v for k, v in chosen.items()}


def is_ordered(key: str, choices: Sequence[Any]) -> bool:
    """Are the choices numbers, of which some are nearer to each other than others?"""
    return key in ORDERED or (key not in _KEYS and all(type(choice) in (int, float) for choice in choices))


def _check_choices(where: str, key: str, choices: Any, own: Dial | None) -> None:
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        raise ConfigError(f"search space: {where}={choices!r} is no list; give a list of choices")
    if not choices:
        raise ConfigError(f"the search space is empty: no choices for {where}")
    if own is not None:
        own.all_checked(where, choices)
    elif key in ORDERED:
        for choice in choices:
            if type(choice) not in (int, float) or not math.isfinite(choice) or choice <= 0:
                raise ConfigError(f"search space: {where}={choice!r} is not possible: give numbers above 0")
    else:
        known = f": one of {', '.join(LAYERS)}" if key == "layers" else ": give names"
        for choice in choices:
            if not isinstance(choice, str) or (key == "layers" and choice not in LAYERS):
                raise ConfigError(f"search space: {where}={choice!r} is not possible{known}")
    twice = [choice for i, choice in enumerate(choices) if choice in choices[:i]]
    if twice:
        raise ConfigError(f"search space: {where} has {twice[0]!r} twice; name each choice once")
    if is_ordered(key, choices) and list(choices) != sorted(choices):
        raise ConfigError(f"search space: {where}={list(choices)} is out of order; give numbers from small to large")
