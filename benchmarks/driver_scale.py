"""What driving a sweep costs: no-op trials through the real searcher, scheduler, journal and tracker.

    python benchmarks/driver_scale.py                              1,000 trials x 20 epochs, four ways: 10 minutes
    python benchmarks/driver_scale.py --trials 100 --epochs 5      a look

The ways, one after another, each with fresh workers that answer at once with a made-up epoch:

    ray          the same Ray Tune, actors reused; a list of trials, first come first served, nothing kept
    journal      our driver: the sampler asked and told, the journal on disk, a line on stderr every 15 seconds
    tracker      the same with --scheduler, and MLflow mirrored into SQLite from a process of its own
    pareto_asha  as tracker, with Pareto-ASHA: fewer epochs, more trials a second

Results per second count from the first epoch to the last trial's end, without the start of Ray and of the workers.
MLflow takes longer for a trial than a no-op trial takes (seven commits to its database), so the tracker lags behind and
the end waits for it: with the tracker they are also counted until everything is mirrored.

Seconds per trial are means over the trials that ended before the 10th, 30th and 100th percent of all (100th, 300th and
1,000th), over as many each time. Growth is without what the sampler took: an Optuna study reads all its trials for
every proposal, so that part grows. On a busy machine compare CPU seconds: they are those of the driver's thread, ours
by part, Ray's what is left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from _common import Goals, finish, table
from ray import tune

from astmoa.backend.cluster import Resources
from astmoa.backend.display import Display
from astmoa.backend.result import Result
from astmoa.backend.tune import tune_trials
from astmoa.config import OptimConfig, TrialConfig, complete
from astmoa.config.proposals import Proposal
from astmoa.engine.budgets import Budget
from astmoa.engine.driver import Driver
from astmoa.methods.params import count_params
from astmoa.methods.shape import BackboneShape
from astmoa.records.journal import FORMAT, Journal, read_journal
from astmoa.search.sampler import OptunaSampler
from astmoa.search.searcher import Search
from astmoa.search.space import Space
from astmoa.search.stopping_rules import make_scheduler
from astmoa.tracking import LiveMirror

import ray  # isort: skip  (after astmoa.backend, which makes Ray quiet before it is imported)

GOALS: Goals = {
    "journal_results_per_second": (">=", 300.0),
    "tracker_results_per_second": (">=", 100.0),
    "tracker_results_per_second_until_mirrored": (">=", 100.0),
    "journal_growth": ("<=", 1.3),
    "tracker_growth": ("<=", 1.3),
}
SHAPE = BackboneShape(192, 12, 768, num_tokens=206)
NUM_CLASSES, NUM_VAL_CLIPS = 50, 400
PLACED = {
    "bottleneck_dim": [1, 2, 4, 8, 16, 32],
    "placement": ["attention", "ffn", "both"],
    "layers": ["last_half", "every_second", "all"],
    "lr": [1e-3, 2e-3, 5e-3, 1e-2, 2e-2],
}
EXPERTS = [2, 4, 6, 8, 12, 16, 24]
SPACE = Space(
    [
        {"name": "bottleneck", **PLACED},
        {"name": "dense_moa", "num_experts": EXPERTS, **PLACED},
        {"name": "soft_moa", "num_experts": EXPERTS, "slots_per_expert": [1, 2, 4, 8], **PLACED},
    ]
)
OURS = ("driver", "sampler", "scheduler", "journal", "display")


@dataclass(frozen=True)
class Options:
    trials: int = 1000
    """Trials each way."""
    epochs: int = 20
    """Epochs of one trial that is not stopped."""
    at_once: int = 4
    """Workers."""
    machines: int = 1
    """Ray's nodes, all on this machine, each with its part of the workers as made-up GPUs."""
    sampler: str = "ehvi"
    """nsga2, tpe, gp, random."""
    scheduler: str = "none"
    """Of the ways journal and tracker. Default: none, so that all epochs come."""
    ways: tuple[str, ...] = ("ray", "journal", "tracker", "pareto_asha")
    """What to run."""
    profile: Path | None = None
    """Write cProfile's statistics of each way into this folder. They slow it down."""
    json: bool = False
    """Print everything once more as one last line of JSON."""


class NoOp(tune.Trainable):
    """Every step at once one epoch with an accuracy on a made-up learning curve, larger models higher."""

    def setup(self, config: dict[str, Any], workers: Path, at_once: int) -> None:
        """workers: a folder in which each worker leaves its name; they begin when all are there."""
        (workers / str(os.getpid())).touch()
        self._workers, self._at_once = workers, at_once
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._epoch, self._epochs = 0, new_config["trial"]["optim"]["epochs"]
        method, self._noise = new_config["trial"]["method"], random.Random(new_config["trial_id"])
        size = method["bottleneck_dim"] * (method["num_experts"] or 1)
        self._top = 0.5 + 0.06 * math.log2(1 + size) * self._noise.uniform(0.8, 1)
        return True

    def step(self) -> dict[str, Any]:
        while self._workers and len(list(self._workers.iterdir())) < self._at_once:
            time.sleep(0.02)
        self._workers = None
        self._epoch += 1
        accuracy = min(1.0, self._top * (1 - math.exp(-self._epoch / 4)) + self._noise.uniform(0, 0.01))
        losses = {"train_loss": 1 - accuracy, "val_loss": 1.1 - accuracy, "val_accuracy": accuracy, "lr": 1e-3}
        record = {"epoch": self._epoch, **losses, "seconds": 1e-3, "val_seconds": 3e-4, "step_seconds": 1e-4}
        end = None
        if self._epoch == self._epochs:
            scores = {"best_epoch": self._epoch, "val_accuracy": accuracy, "test_accuracy": accuracy}
            end = {"state": "completed", **scores, "test_loss": 1.1 - accuracy, "test_seconds": 3e-4, "error": None}
        return {"news": Result(record, end, 1e-3 * self._epoch), "done": end is not None}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing, as our worker."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, as our worker."""


class PlainList:
    """What a driver is to Ray, but for the driving."""

    def __init__(self, proposals: list[Proposal], meter: Meter):
        self._left, self._meter, self.finished = proposals[::-1], meter, False

    def next(self) -> Proposal | None:
        if self._left:
            return self._left.pop()
        self.finished = True
        return None

    def runs_alone(self, trial_id: str) -> bool:
        return False

    def start(self, trial_id: str) -> None:
        """Nothing is kept."""

    def report(
        self, trial_id: str, record: dict | None, end: dict | None, device_seconds: float = 0.0, done_now: bool = False
    ) -> bool:
        self._meter.epoch()
        if end is not None:
            self._meter.end()
        return end is None

    def fail(self, trial_id: str, error: str) -> None:
        raise RuntimeError(error)

    def lose(self, trial_id: str, error: str, strike: bool) -> None:
        raise RuntimeError(error)


class Meter:
    """Seconds and CPU seconds of the driver's thread, by part, each without the parts that it calls."""

    def __init__(self):
        self.num_epochs = 0
        self.first: tuple | None = None
        self.marks: list[tuple[float, float, Counter, Counter]] = []
        """After each trial's end: both clocks, and both kinds of seconds by part."""
        self._wall: Counter[str] = Counter()
        self._cpu: Counter[str] = Counter()
        self._inside: list[list[float]] = []

    def wrap(self, owner: object, *names: str, part: str) -> None:
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name), part))

    def epoch(self) -> None:
        self.num_epochs += 1
        self.first = self.first or self._now()

    def end(self) -> None:
        self.marks.append(self._now())

    def _now(self) -> tuple[float, float, Counter, Counter]:
        return time.perf_counter(), time.thread_time(), self._wall.copy(), self._cpu.copy()

    def _timed(self, call: Any, part: str) -> Any:
        def timed(*arguments: Any, **named: Any) -> Any:
            self._inside.append([0.0, 0.0])
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
                inner_wall, inner_cpu = self._inside.pop()
                self._wall[part] += wall - inner_wall
                self._cpu[part] += cpu - inner_cpu
                if self._inside:
                    self._inside[-1][0] += wall
                    self._inside[-1][1] += cpu

        return timed


def header(options: Options, scheduler: str) -> dict[str, Any]:
    search = {"space": SPACE.to_json(), "sampler": options.sampler, "scheduler": scheduler}
    data = {"name": "made up", "fingerprint": "made up", "metric": "accuracy"}
    names = {"study": "driver_scale", "command": "python benchmarks/driver_scale.py", "sweep_id": scheduler}
    return {"format": FORMAT, **names, "options": {}, "data": data, "backbone": {"name": "none"}, "search": search}


def make_search(options: Options, meter: Meter) -> Search:
    sampler = OptunaSampler(SPACE, SHAPE, options.sampler, tell_stopped="predicted")
    meter.wrap(sampler, "ask", "tell_completed", "tell_stopped", part="sampler")
    return Search(sampler, SPACE, SHAPE, complete(TrialConfig(optim=OptimConfig(epochs=options.epochs))))


def drive(options: Options, driver: Any) -> None:
    """With a Ray of our own: one that other programs on this machine use would run its trials on the same workers."""
    at_once = min(options.at_once, options.trials)
    with started(options), tempfile.TemporaryDirectory(prefix="astmoa-bench-") as workers:
        trainable = tune.with_parameters(NoOp, workers=Path(workers), at_once=at_once)
        gpus = 1 if options.machines > 1 else 0
        tune_trials(trainable, Resources(cpus=1, gpus=gpus, at_once=at_once), driver)


@contextlib.contextmanager
def started(options: Options) -> Iterator[None]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    memory = 2 * 10**8
    if options.machines == 1:
        own = {"num_cpus": options.at_once, "include_dashboard": False, "object_store_memory": memory}
        ray.init(address="local", **own, **quiet)
        try:
            yield
        finally:
            ray.shutdown()
        return
    from ray.cluster_utils import Cluster

    # Its address is left where every program on this machine looks for a Ray to join.
    os.environ["RAY_TMPDIR"] = folder = tempfile.mkdtemp(prefix="astmoa-")
    # Hundreds of processes start on a few cores: not all at the same time, and none is given up because it is slow.
    os.environ |= {
        "RAY_worker_maximum_startup_concurrency": "2",
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_worker_register_timeout_seconds": "1800",
        "RAY_memory_monitor_refresh_ms": "0",
    }
    share = math.ceil(options.at_once / options.machines)
    each = {"num_cpus": share, "num_gpus": share, "object_store_memory": memory}
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **each})
    try:
        for _ in range(options.machines - 1):
            cluster.add_node(**each)
        ray.init(address=cluster.address, **quiet)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def ray_pass(options: Options) -> tuple[Meter, dict[str, Any]]:
    meter = Meter()
    random_search = make_search(dataclasses.replace(options, sampler="random"), meter)
    proposals = [random_search.next() for _ in range(options.trials)]
    with profiled(options, "ray"):
        drive(options, PlainList(proposals, meter))
    return meter, {}


def our_pass(options: Options, way: str) -> tuple[Meter, dict[str, Any]]:
    meter, name = Meter(), "pareto_asha" if way == "pareto_asha" else options.scheduler
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="astmoa-bench-")))
        run_dir, database = folder / "run", folder / "mlflow.db"
        journal = stack.enter_context(contextlib.closing(Journal(run_dir)))
        scheduler = make_scheduler(name, options.epochs)
        driver = Driver(
            journal,
            make_search(options, meter),
            lambda p: count_params(p.config.method, SHAPE, NUM_CLASSES).to_dict(),
            scheduler=scheduler,
            budget=Budget(max_trials=options.trials),
            num_val_clips={1: NUM_VAL_CLIPS},
        )
        meter.wrap(journal, "append", part="journal")
        meter.wrap(scheduler, "report", part="scheduler")
        meter.wrap(driver, "next", "start", "report", "fail", part="driver")
        journal.append("sweep", **header(options, name))
        mirror = LiveMirror(run_dir, f"sqlite:///{database}") if way != "journal" else None
        display = stack.enter_context(Display(driver, None))

        def changed(what: str, trial: Any) -> None:
            display.changed(what, trial)
            if what == "epoch":
                meter.epoch()
            if what == "end":
                meter.end()

        meter.wrap(display, "changed", part="display")
        driver.watch(changed)
        with profiled(options, way):
            drive(options, driver)
        driver.close()
        found: dict[str, Any] = {}
        if mirror is not None:
            behind = len(read_journal(run_dir)) - mirrored_events(database)
            start = time.perf_counter()
            error = mirror.close()
            found = {"behind_events": behind, "close_seconds": time.perf_counter() - start}
            found["results_per_second_until_mirrored"] = meter.num_epochs / (time.perf_counter() - meter.first[0])
            missing = len(read_journal(run_dir)) - mirrored_events(database)
            if error or missing:
                raise SystemExit(f"error: the tracker misses {missing} events: {error}")
        return meter, found


def mirrored_events(database: Path) -> int:
    """Of the journal, by the parent run's own count after its last whole pass."""
    query = "select value from tags where key = 'astmoa.mirrored' order by cast(value as integer) desc limit 1"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:  # not even begun
        return 0
    return int(row[0]) if row else 0


@contextlib.contextmanager
def profiled(options: Options, way: str) -> Iterator[None]:
    if options.profile is None:
        yield
        return
    import cProfile

    options.profile.mkdir(parents=True, exist_ok=True)
    with cProfile.Profile() as profile:
        yield
    profile.dump_stats(options.profile / f"{way}.prof")


def report(way: str, meter: Meter, options: Options) -> dict[str, Any]:
    """Rates, seconds per trial in three windows, growth from the first window to the last, CPU seconds by part."""
    marks = [meter.first, *meter.marks]
    num_trials = len(meter.marks)
    counts = [max(2, round(share * num_trials)) for share in (0.1, 0.3, 1.0)]
    width = max(1, round(0.8 * counts[0]))
    windows = [(marks[count - width], marks[count]) for count in counts]

    def per_trial(clock: int, parts: tuple[str, ...] = ()) -> list[float]:
        """Of each window; without `parts`."""
        return [
            (b[clock] - a[clock] - sum(b[clock + 2][part] - a[clock + 2][part] for part in parts)) / width
            for a, b in windows
        ]

    first, last = marks[0], marks[-1]
    cpu = {part: last[3][part] - first[3][part] for part in OURS}
    cpu["ray"] = last[1] - first[1] - sum(cpu.values())
    wall, own, on_cpu = per_trial(0), per_trial(0, ("sampler",)), per_trial(1, ("sampler",))
    sampler = [all_ - without for all_, without in zip(per_trial(1), on_cpu, strict=True)]
    print(f"\n{way}: {num_trials} trials, {meter.num_epochs} results")
    table(
        ["after trials", *map(str, counts)],
        [
            ["ms per trial", *(1e3 * s for s in wall)],
            ["without sampler", *(1e3 * s for s in own)],
            ["CPU ms without sampler", *(1e3 * s for s in on_cpu)],
            ["CPU ms of the sampler", *(1e3 * s for s in sampler)],
        ],
    )
    share = "  ".join(f"{part} {100 * s / sum(cpu.values()):.1f} %" for part, s in cpu.items() if s)
    print(f"{last[1] - first[1]:.1f} CPU seconds of the driver's thread: {share}")
    return {
        f"{way}_results_per_second": meter.num_epochs / (last[0] - first[0]),
        f"{way}_results_per_cpu_second": meter.num_epochs / (last[1] - first[1]),
        f"{way}_trials_per_second": num_trials / (last[0] - first[0]),
        f"{way}_num_results": meter.num_epochs,
        f"{way}_seconds_per_trial": dict(zip(counts, wall, strict=True)),
        f"{way}_sampler_cpu_seconds_per_trial": dict(zip(counts, sampler, strict=True)),
        f"{way}_growth": own[2] / own[0],
        f"{way}_growth_with_sampler": wall[2] / wall[0],
        f"{way}_cpu_growth": on_cpu[2] / on_cpu[0],
        f"{way}_cpu_seconds": cpu,
    }


def measure(options: Options) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for way in options.ways:
        meter, found = ray_pass(options) if way == "ray" else our_pass(options, way)
        result |= report(way, meter, options) | {f"{way}_{key}": value for key, value in found.items()}
        print(f"{result[f'{way}_results_per_second']:.0f} results a second", flush=True)
        for key, value in found.items():
            print(f"{key}: {value:.1f}")
    settings = {key: value for key, value in dataclasses.asdict(options).items() if key not in ("json", "profile")}
    return {**result, "settings": settings}


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    result = measure(options)
    goals = {key: goal for key, goal in GOALS.items() if key in result}
    finish(result, goals, torch.device("cpu"), options.json)


if __name__ == "__main__":
    main()
