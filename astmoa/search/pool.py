"""The feasible candidates of a search that have not been proposed yet, and which of them is nearest to a wish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from astmoa.errors import ConfigError
from astmoa.methods.shape import BackboneShape
from astmoa.search.space import Candidate, Space, is_ordered


class Pool:
    """Raises ConfigError for an impossible space or budget, as `Space.feasible` does."""

    def __init__(self, space: Space, shape: BackboneShape, max_params: int | None):
        self._space, self._shape = space, shape
        feasible = space.feasible(shape, max_params)
        self.candidates: list[Candidate] = list(feasible.values())
        self._meanings = {meaning: row for row, meaning in enumerate(feasible)}
        self._levels: dict[str, dict[Any, int]] = {"name": {name: i for i, name in enumerate(space.names)}}
        branches = [space.branch(name) for name in space.names]
        for key in dict.fromkeys(key for branch in branches for key in branch):
            union = dict.fromkeys(choice for branch in branches for choice in branch.get(key, ()))
            self._levels[key] = {
                choice: i for i, choice in enumerate(sorted(union) if is_ordered(key, list(union)) else union)
            }
        self._ordered = np.array([is_ordered(key, list(level)) for key, level in self._levels.items()])
        self._codes = np.array([self.code(candidate) for candidate in self.candidates])
        self._rows = {tuple(code): row for row, code in enumerate(self._codes.tolist())}
        self.left = np.ones(len(self.candidates), dtype=bool)
        """[candidates] Which ones are left."""

    def __len__(self) -> int:
        """Candidates left."""
        return int(self.left.sum())

    def has(self, row: int) -> bool:
        return bool(self.left[row])

    def take(self, row: int) -> None:
        self.left[row] = False

    def code(self, candidate: Mapping[str, Any]) -> tuple[int, ...]:
        """Every dial's choice as a number, the method first; -1 for a dial that the method does not have.

        Raises ConfigError for what is no candidate of the space.
        """
        choices = self._space.branch(candidate["name"])
        if candidate.keys() != {"name", *choices} or any(candidate[key] not in choices[key] for key in choices):
            raise ConfigError(f"{dict(candidate)} is no candidate of this search space")
        return tuple(levels[candidate[key]] if key in candidate else -1 for key, levels in self._levels.items())

    def row(self, candidate: Mapping[str, Any]) -> int | None:
        """Which of the feasible candidates it is, or means the same as. None: infeasible."""
        row = self._rows.get(self.code(candidate))
        if row is None:
            try:
                row = self._meanings.get(self._space.meaning(candidate, self._shape))
            except ConfigError:
                return None
        return row

    def at_random(self, rng: np.random.Generator) -> int:
        """A method that has candidates left, then one of them: methods with few dials are not lost in the crowd."""
        left = np.flatnonzero(self.left)
        methods = self._codes[left, 0]
        return int(rng.choice(left[methods == rng.choice(np.unique(methods))]))

    def features(self) -> np.ndarray:
        """[candidates, columns] for a model: steps along ordered choices from 0 to 1 (0 where a method has no such
        dial), and for names a column per choice, at a distance of 0.7 from each other."""
        columns = []
        for codes, ordered in zip(self._codes.T, self._ordered, strict=True):
            if ordered:
                columns.append(np.maximum(codes, 0) / max(1, codes.max()))
            else:
                columns += [0.5 * (codes == choice) for choice in np.unique(codes)]
        return np.column_stack(columns)

    def nearest(self, candidate: Mapping[str, Any], rng: np.random.Generator) -> int:
        """Of those left: fewest dials changed, then fewest steps along ordered choices, then at random."""
        left = np.flatnonzero(self.left)
        codes, target = self._codes[left], np.array(self.code(candidate))
        changed = (codes != target).sum(1)
        both = (codes >= 0) & (target >= 0) & self._ordered
        steps = (np.abs(codes - target) * both).sum(1)
        closest = np.lexsort((steps, changed))[0]
        return int(rng.choice(left[(changed == changed[closest]) & (steps == steps[closest])]))
