"""Run a driver's proposals as Ray Tune trials on warm workers.

Ray decides where and when a trial runs; what happened is in our journal, written by the driver alone. Ray's own
loggers, restore and checkpoints are not used: its restore runs trials twice under new ids, the journal does not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator

import ray
from ray import tune

from astmoa.backend import own_ray
from astmoa.backend.cluster import Resources, stop_ray
from astmoa.backend.ray_callbacks import DriverCallback, DriverScheduler, DriverSearcher
from astmoa.backend.worker import TrialWorker, WorkerSetup
from astmoa.engine.driver import Driver
from astmoa.errors import RunError
from astmoa.provenance import redact

MAX_BREAKS = 10
_FORWARDED = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def run_trials(setup: WorkerSetup, resources: Resources, driver: Driver, renew: Callable[[], None]) -> bool:
    """Run trials until the driver has no more; True if the user interrupted them.

    renew: joins or starts Ray. Ray Tune has errors of its own that end it, where machines go in a way that it does not
    expect. Then another one goes on with the open trials, from their checkpoints. Raises what ended it where it
    brought no epoch, and after `MAX_BREAKS` times.
    """
    for _ in range(MAX_BREAKS):
        epochs = driver.ledger.num_epochs
        try:
            return tune_trials(tune.with_parameters(TrialWorker, setup=setup), resources, driver)
        except Exception as error:
            folder = own_ray.folder()
            if not driver.finished and folder is not None and own_ray.is_disk_full(error):
                raise RunError(
                    f"no space left in {folder.parent}, where Ray works: make room there, or set RAY_TMPDIR; "
                    "then go on with --resume"
                ) from error
            if not driver.finished and driver.ledger.num_epochs == epochs:
                _leave()
                raise
            line = redact((str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[-1])
            trace = redact("".join(traceback.format_exception(error)))[-4000:]
        print(f"Ray Tune ended with an error of its own: {line}", file=sys.stderr)
        if driver.finished:  # nothing is left to run; or the driver failed, and says so
            return False
        driver.begin_again(line, trace)
        _leave()
        renew()
    return tune_trials(tune.with_parameters(TrialWorker, setup=setup), resources, driver)


def _leave() -> None:
    """Ray, with the workers, and the places on machines, that it still has."""
    logs = stop_ray(keep_logs=True)
    if logs is not None:
        print(f"What Ray itself wrote is in {logs}", file=sys.stderr)


def tune_trials(trainable: type, resources: Resources, driver: Driver) -> bool:
    """The same with one Ray Tune, and any workers. Raises whatever ends it."""
    _forward_nothing()
    trainable = tune.with_resources(
        trainable, lambda config: tune.PlacementGroupFactory([resources.of(config["alone"])])
    )
    # For Ray's own snapshots: nobody reads them.
    with tempfile.TemporaryDirectory(prefix="astmoa-ray-", dir=own_ray.folder()) as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=DriverSearcher(driver),
                scheduler=DriverScheduler(driver),
                num_samples=-1,  # until the searcher says that it has finished
                max_concurrent_trials=resources.at_once,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.config["trial_id"],
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[DriverCallback(driver)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        try:
            with _ended_in_order():
                tuner.fit()
        except KeyboardInterrupt:
            return True
    return not driver.finished


def _forward_nothing() -> None:
    """Ray Tune hands AWS's keys on to workers as a part of what they ask of Ray, which writes that into its logs.

    They have them without that: here they inherit them, and the machines of a cluster have their own. With nothing to
    ask for, trials also get the workers that Ray starts beforehand.
    """
    with contextlib.suppress(ImportError):
        from ray.tune.execution import class_cache

        if hasattr(class_cache, "ENV_VARS_TO_PROPAGATE"):
            class_cache.ENV_VARS_TO_PROPAGATE = set()
            class_cache.DEFAULT_ENV_VARS = {}
            return
    if any(name in os.environ for name in _FORWARDED):
        told = f"this Ray ({ray.__version__}) may write {' and '.join(_FORWARDED)} into its logs"
        print(f"{told}: have AWS's keys in ~/.aws/credentials instead", file=sys.stderr)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM, as Slurm, Kubernetes and `kill` send it, does what Ctrl-C does; Ray's handler would abort."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # None: a handler that is not Python's.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():  # Ray Tune leaves its own
            signal.signal(number, handler)
