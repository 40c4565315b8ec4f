"""Ray Tune's searcher, scheduler and callback: each hands its calls over to the driver.

Of a result Ray tells the scheduler first, then the searcher, then the callback. So the scheduler is where a result is
taken in, and the driver's answer is Ray's decision. A trial's last result never comes to `on_trial_result`: Ray stops a
trial that says it is done by itself, and tells `on_trial_complete`.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import ActorUnschedulableError, OutOfMemoryError, RayActorError, RuntimeEnvSetupError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from astmoa.engine.driver import Driver
from astmoa.provenance import redact


class _Stateless:
    """Ray pickles its parts into snapshots of its own; there is nothing to keep, the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class DriverSearcher(_Stateless, Searcher):
    """Hands Ray what the driver wants to run next."""

    def __init__(self, driver: Driver):
        super().__init__()
        self._driver = driver

    # Ray declares it without the word for the end.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        proposal = self._driver.next()
        if proposal is None:  # None: ask again when a trial has ended
            return Searcher.FINISHED if self._driver.finished else None
        alone = self._driver.runs_alone(proposal.trial_id)
        return {"trial_id": proposal.trial_id, "trial": proposal.config.to_dict(), "alone": alone}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing: the driver was told by the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class DriverScheduler(_Stateless, FIFOScheduler):
    """Takes every result in, and stops what the driver stops."""

    def __init__(self, driver: Driver):
        super().__init__()
        self._driver = driver
        self._live: list[Any] = []

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._live.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """As Ray's own, which looks through all trials that ever were, after every result: through live ones only."""
        self._live = [trial for trial in self._live if not trial.is_finished()]
        return next((trial for trial in self._live if trial.status == trial.PENDING), None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return TrialScheduler.CONTINUE if self._report(trial, result) else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if result["news"].end is not None:  # otherwise it was stopped, and its result taken in above
            self._report(trial, result)

    def _report(self, trial: Any, result: dict[str, Any]) -> bool:
        news = result["news"]
        return self._driver.report(trial.config["trial_id"], news.record, news.end, news.device_seconds, news.done_now)


class DriverCallback(_Stateless, tune.Callback):
    """Tells of trials that start or whose worker died."""

    def __init__(self, driver: Driver):
        self._driver = driver

    def setup(self, *_: Any, **info: Any) -> None:
        _count_as_lost_workers()

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._driver.start(trial.config["trial_id"])

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The worker died or never came up (then Ray did not call on_trial_start), or something unexpected raised."""
        trial_id, (lost, strike, why) = trial.config["trial_id"], _cause(trial)
        if lost:
            self._driver.lose(trial_id, why, strike)
        else:
            self._driver.fail(trial_id, why)


def _count_as_lost_workers() -> None:
    """Make Ray Tune take every way in which Ray ends a worker for an error of its trial.

    Some exceptions are none of its RayActorErrors. It would raise them, and with them would end the sweep: so it does
    where Ray kills a worker because its machine's memory runs out.
    """
    lost = (RayActorError, OutOfMemoryError, ActorUnschedulableError, RuntimeEnvSetupError)
    for name in ("ray.air.execution._internal.actor_manager", "ray.tune.execution.tune_controller"):
        with contextlib.suppress(ImportError):  # another Ray: it may have mended this
            module: Any = importlib.import_module(name)
            module.RayActorError = lost  # both only ask isinstance


def _cause(trial: Any) -> tuple[bool, bool, str]:
    """Is the worker lost, is that a strike (see `Retries`), and why, in one line.

    From the text that Ray has just written: `trial.get_error` knows it only once Ray has copied its files.
    """
    text = Path(trial.error_file).read_text() if trial.error_file and Path(trial.error_file).is_file() else ""
    text = redact(text)  # of whatever raised it
    lines = [line.strip() for line in text.rpartition("Failure #")[2].splitlines() if line.strip()]
    # Ray kills a worker where a machine's memory runs out: the trial may be too large for it.
    strikes = [line for line in lines if "its worker process has died" in line or "running low on memory" in line]
    lost = strikes or [line for line in lines if "its node has died" in line or "is unavailable" in line]
    if "error raised in its creation task" in text or not lost:
        return False, False, (lines or ["the worker died"])[-1][:500]
    if "exit_actor() is called" in lost[-1]:
        return True, False, "its worker was told to end (SIGTERM) and has saved what it trained"
    if "The process receives a SIGTERM" in lost[-1]:  # between two epochs, or before the first: nothing was lost
        return True, False, "its worker was told to end (SIGTERM)"
    return True, bool(strikes), lost[-1].partition(" Some common causes")[0][:500]
