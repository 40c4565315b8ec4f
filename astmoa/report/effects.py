"""What one change does: differences between two configurations, seed by seed and fold by fold.

Replicates with the same seed and fold share data, order and initialisation; their difference is free of what these
have in common, and so is known better than the two accuracies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from astmoa.errors import RunError
from astmoa.pareto.spread import Spread
from astmoa.records.sweep import SweepRecord
from astmoa.records.trials import PointRecord
from astmoa.report import whole_file
from astmoa.report.cells import pipe_table

NAME = "effects.md"


@dataclasses.dataclass(frozen=True)
class Effect:
    """A change of one point against another: differences of accuracy as fractions, one per common seed and fold."""

    base: str
    changed: str
    val: Spread | None
    test: Spread | None


def effects(sweep: SweepRecord, pairs: Sequence[tuple[str, str]]) -> list[Effect]:
    """The effect of each (label of the base, label of the changed point). Raises RunError for a label that is not
    there."""
    points = {point.label: point for point in sweep.points()}
    found = []
    for base, changed in pairs:
        if base not in points or changed not in points:
            raise RunError(f"{sweep.study} has no points {base!r} and {changed!r} to compare")
        val, test = (_differences(points[base], points[changed], which) for which in ("val", "test"))
        found.append(Effect(base, changed, val, test))
    return found


def write_effects(found: Sequence[Effect], folder: Path) -> Path:
    """A markdown table of the effects in percentage points, whole or not at all. Returns its path."""
    path = Path(folder) / NAME
    with whole_file(path) as unfinished:
        unfinished.write_text(effects_table(found), encoding="utf-8")
    return path


def effects_table(found: Sequence[Effect]) -> str:
    columns = [("change", False), ("against", False), ("val acc", True), ("test acc", True), ("of", True)]
    rows = [[e.changed, e.base, _points(e.val), _points(e.test), str(0 if e.test is None else e.test.n)] for e in found]
    note = (
        "Differences in percentage points between replicates of the same seed and fold, as a mean over seeds (over "
        "folds, where there are several); in brackets its 95 % interval, Student's t."
    )
    return "\n".join([*pipe_table(columns, rows), "", note]) + "\n"


def _differences(base: PointRecord, changed: PointRecord, which: str) -> Spread | None:
    before = {(t.seed, t.fold): getattr(t, f"{which}_accuracy") for t in base.completed}
    after = {(t.seed, t.fold): getattr(t, f"{which}_accuracy") for t in changed.completed}
    common = sorted(before.keys() & after.keys())
    return Spread.over_folds((fold, after[seed, fold] - before[seed, fold]) for seed, fold in common)


def _points(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    mean = f"{100 * spread.mean:+.1f}"
    if spread.low is None or spread.high is None:
        return mean
    return f"{mean} [{100 * spread.low:+.1f}, {100 * spread.high:+.1f}]"
