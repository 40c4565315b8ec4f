"""The Python interface: what `import astmoa` offers for a notebook or a program of one's own.

Nothing here reads a command line, ends the process or prints anything but progress; what a user got wrong is raised as
an AstmoaError whose text is one line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astmoa.config import TrialConfig, complete
from astmoa.config.proposals import Point
from astmoa.errors import ConfigError, shown
from astmoa.files.reading import as_path
from astmoa.search.space import Space
from astmoa.study.options import StudyOptions
from astmoa.study.search_options import SearchOptions

if TYPE_CHECKING:
    import pandas as pd

    from astmoa.engine.judging import EarlyStopping
    from astmoa.records.sweep import SweepRecord
    from astmoa.records.trials import PointRecord
    from astmoa.search.sampler import MakeSampler


def run_study(
    study: str,
    points: Sequence[Point] | Space,
    options: StudyOptions | None = None,
    paper: str | None = None,
    *,
    sampler: MakeSampler | None = None,
    early_stopping: EarlyStopping | None = None,
) -> Run:
    """Run a study's points, or search its space, and return the run.

    options: a Space wants SearchOptions. The same `out` again goes on where that run was interrupted. paper: where the
    points' `paper` figures come from. sampler: of a search, a function from a seed to one of Optuna's samplers, fresh
    every time. early_stopping: of a search, a fresh object with the method `report` of `astmoa.EarlyStopping`. Raises
    KeyboardInterrupt after Ctrl-C, when all that was trained is saved, and RunError where no trial completed or another
    process has the run folder.
    """
    from astmoa.study.run_study import check_any_completed, run

    if not isinstance(study, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", study):
        raise ConfigError(f"a study cannot be called {shown(study)}: give letters, digits, _, - and dots")
    planned: list[Point] | Space
    if isinstance(points, Space):
        planned = points
    elif isinstance(points, Sequence) and all(isinstance(point, Point) for point in points):
        planned = list(points)
    else:
        raise ConfigError(f"points={shown(points)} are none: give a list of astmoa.Point(label, method), or a Space")
    is_search = isinstance(planned, Space)
    options = options or (SearchOptions() if is_search else StudyOptions())
    if not isinstance(options, StudyOptions):
        raise ConfigError(f"options={shown(options)} are none: give astmoa.StudyOptions(...), or SearchOptions")
    if is_search and not isinstance(options, SearchOptions):
        raise ConfigError("a Space is searched: give astmoa.SearchOptions(...), or a list of points")
    if not is_search and (sampler, early_stopping) != (None, None):
        raise ConfigError("points are not searched: leave sampler and early_stopping out, or give a Space")
    ended = run(
        study, options, lambda options, shape: planned, paper, [f"astmoa.run_study({study!r})"], sampler, early_stopping
    )
    if ended.interrupted:
        raise KeyboardInterrupt(f"interrupted; run_study with out={str(ended.out)!r} goes on from here")
    check_any_completed(ended.out)
    return load_run(ended.out)


def load_run(run_dir: Path | str) -> Run:
    """The run in a folder, or at an address such as s3://bucket/astmoa/RUN, which is brought to runs/RUN first.

    Raises RunError where there is none, or its journal is damaged.
    """
    from astmoa.records.load import load_sweep
    from astmoa.records.storage import bring_run, folder_of, is_address

    if is_address(str(run_dir)):
        bring_run(str(run_dir))
        run_dir = folder_of(str(run_dir))
    folder = as_path("run_dir", run_dir)
    return Run(folder, load_sweep(folder))


@dataclass(frozen=True)
class Run:
    """What a study left, read once: load it anew to see a running one's progress."""

    path: Path
    """The run folder."""
    record: SweepRecord
    """Everything that its journal says."""

    def __repr__(self) -> str:
        states = ", ".join(f"{number} {state}" for state, number in self.record.states.items() if number)
        return f"Run({str(self.path)!r}: {self.record.study} on {self.record.data_name}, trials: {states or 'none'})"

    def trials_dataframe(self) -> pd.DataFrame:
        """A row for each trial: what it is, how it ended, its scores (NaN unless completed), its configuration."""
        import pandas as pd

        from astmoa.records.load import flatten

        rows = []
        for trial in self.record.trials:
            low, high = trial.val_interval or (None, None)
            rows.append(
                {
                    "trial_id": trial.trial_id,
                    "label": trial.label,
                    "point": trial.point,
                    "state": trial.state,
                    "seed": trial.seed,
                    "fold": trial.fold,
                    "phase": trial.phase,
                    **trial.params,
                    "num_epochs": len(trial.epochs),
                    "best_epoch": trial.best_epoch,
                    "val_accuracy": trial.val_accuracy,
                    "val_low": low,
                    "val_high": high,
                    "test_accuracy": trial.test_accuracy,
                    "device_seconds": trial.device_seconds,
                    "error": trial.error,
                    **{f"config.{key}": value for key, value in flatten(trial.config).items()},
                }
            )
        return pd.DataFrame(rows)

    def points_dataframe(self) -> pd.DataFrame:
        """A row for each configuration: its size, mean scores over its replicates with 95 % intervals, its marks."""
        import pandas as pd

        from astmoa.report.summary import marked_points

        rows = []
        for point, marks in marked_points(self.record):
            row = {"label": point.label, "point": point.point, "method": point.config["method"]["name"]}
            row |= {"paper_params": point.paper_params, "num_trainable_params": point.num_trainable_params}
            for key in ("val", "test"):
                spread = getattr(point, f"{key}_accuracy")
                row |= {
                    f"{key}_accuracy": spread and spread.mean,
                    f"{key}_low": spread and spread.low,
                    f"{key}_high": spread and spread.high,
                    f"{key}_std": spread and spread.std,
                }
            row |= {"num_replicates": len(point.completed), "front": "front" in marks, "marks": " ".join(marks)}
            rows.append(row)
        return pd.DataFrame(rows)

    def curves_dataframe(self) -> pd.DataFrame:
        """A row for each epoch of each trial."""
        import pandas as pd

        return pd.DataFrame(
            {"trial_id": trial.trial_id, "label": trial.label, "seed": trial.seed, "fold": trial.fold}
            | {key: value for key, value in epoch.items() if key not in ("type", "time", "trial_id")}
            for trial in self.record.trials
            for epoch in trial.epochs
        )

    def front(self) -> list[PointRecord]:
        """The configurations that no other one beats in both size and validation accuracy, smallest first."""
        from astmoa.report.summary import marked_points

        on_it = [point for point, marks in marked_points(self.record) if "front" in marks]
        return sorted(on_it, key=lambda point: point.num_trainable_params)

    def plot(self, path: Path | str | None = None) -> Picture:
        """The frontier as a PNG file, which a notebook shows. path: default frontier.png in the run folder."""
        from astmoa.report.pictures import frontier_picture

        return Picture(frontier_picture(self.record, as_path("path", path or self.path / "frontier.png")))


@dataclass(frozen=True)
class Picture:
    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


def export(run: Run | Path | str, pick: str = "best", out: Path | str = "best") -> Path:
    """Write a point of a run's frontier to the folder `out` and return that; pick: best, knee, smallest or budget=N.

    Raises ConfigError for another pick, RunError when no trial has completed or its weights are gone.
    """
    from astmoa.bundles.export import export as write

    return write(run.path if isinstance(run, Run) else as_path("run", run), pick, as_path("out", out))


def train(config: TrialConfig, out: Path | str | None = None) -> dict[str, Any]:
    """Train and test one trial; what it leaves out is the recipe's. out: keeps a checkpoint and the bundle.

    Returns val_accuracy, test_accuracy, best_epoch, params and, under "epochs", a record of each. Raises an AstmoaError
    for data, backbone or settings that are not possible.
    """
    from astmoa.study.train_one import train_one

    if not isinstance(config, TrialConfig):
        raise ConfigError(f"config={shown(config)} is none: give an astmoa.TrialConfig")
    return train_one(complete(config), None if out is None else as_path("out", out), quiet=True)
