"""Run proposals as Ray Tune trials on warm workers and write the journal.

Ray decides where and when a trial runs; what happened is in our journal, written by the driver alone. Ray's own
loggers, restore and checkpoints are not used: its restore runs trials twice under new ids, the journal does not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before ray is imported: one display (ours), no per-trial CSV, JSON and TensorBoard files (half of the driver's time),
# no usage reports, and Ray's coming behaviour for machines without a GPU instead of a warning about it.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune
from ray.tune.search import Searcher

from astmoa.backbone import Backbone
from astmoa.config import TrialConfig
from astmoa.errors import RunError
from astmoa.journal import NAME as JOURNAL
from astmoa.journal import Journal, read_journal
from astmoa.petl.params import count_params
from astmoa.sweep.display import Display
from astmoa.sweep.proposals import Proposal
from astmoa.sweep.worker import TrialWorker, WorkerSetup
from astmoa.training.inputs import Inputs

# Settings that may differ when a run folder is continued; everything else in the header must be equal.
_HEADER_IDENTITY = ("study", "data", "backbone")


@dataclass(frozen=True)
class Resources:
    """What one trial holds, and how many run at once (None: as many as fit)."""

    cpus: float
    gpus: float
    at_once: int | None


def plan_resources(trials_at_once: int | None, gpus_per_trial: float | None) -> Resources:
    """Share out what Ray sees. Ray must be up. Raises RunError when a GPU is asked for and no node has one."""
    total = ray.cluster_resources()
    num_cpus, num_gpus = max(1, int(total.get("CPU", 1))), total.get("GPU", 0)
    largest = max((node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    gpus = gpus_per_trial if gpus_per_trial is not None else (0.25 if num_gpus else 0)
    if gpus > largest:
        raise RunError(
            f"--gpus-per-trial {gpus:g}: no machine here has that many GPUs (most: {largest:g}); "
            "lower it, or use 0 to run on CPUs"
        )
    if trials_at_once is None:
        trials_at_once = int(num_gpus / gpus) if gpus else num_cpus
    cpus = num_cpus / trials_at_once
    return Resources(cpus=int(cpus) if cpus >= 1 else cpus, gpus=gpus, at_once=trials_at_once)


def start_ray(bytes_to_share: int) -> None:
    """Join the cluster that this machine belongs to (RAY_ADDRESS, or `ray start`), or start a local one for this
    process."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    _check_ray_address()
    # Not address="auto": it also finds the private Ray of another program on this machine, and dies with it.
    own = {"include_dashboard": False, "object_store_memory": max(200_000_000, int(1.3 * bytes_to_share))}
    with contextlib.suppress(ValueError):  # Ray's answer to a size for the store of a cluster that is there already
        ray.init(**own, **quiet)
        return
    ray.init(**quiet)


def _check_ray_address() -> None:
    """Ray itself waits for minutes for a cluster that is not there."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError:
            raise RunError(f"no Ray answers at RAY_ADDRESS={address}: start it, or unset the variable") from None


def run_sweep(
    run_dir: Path,
    header: dict[str, Any],
    proposals: Sequence[Proposal],
    inputs: Inputs,
    backbone: Backbone,
    trials_at_once: int | None = None,
    gpus_per_trial: float | None = None,
) -> str:
    """Run what `run_dir`'s journal does not already hold as completed. Returns why the sweep ended.

    header: the fields of the `sweep` event. Raises RunError if `run_dir` was written by another study, data set,
    backbone or set of trials. An interrupted call is continued by the same call.
    """
    begun, finished, known_epochs = _check_run_dir(run_dir, header, proposals)
    todo = [p for p in proposals if p.trial_id not in finished]
    if not todo:
        return "nothing left to run: every trial of this sweep is in the journal"
    start = time.time()
    packed = backbone.pack()
    shared = inputs.features.nbytes + sum(array.nbytes for array in packed.state.values())
    start_ray(shared)
    try:
        resources = plan_resources(trials_at_once, gpus_per_trial)
        setup = WorkerSetup(
            inputs=inputs,
            backbone=packed,
            run_dir=str(run_dir.resolve()),
            cpu_threads=max(1, int(resources.cpus)),
            device_share=resources.gpus or resources.cpus,
        )
        journal = Journal(run_dir)
        journal.append("resume" if begun else "sweep", **header)
        with contextlib.closing(journal), Display(len(proposals), sum(map(_epochs, proposals))) as display:
            display.done_epochs = sum(_epochs(p) for p in proposals if p.trial_id in finished)
            display.states["completed"] = len(finished)
            device = "gpu" if resources.gpus else "cpu"
            callback = _JournalCallback(journal, todo, known_epochs, backbone, len(inputs.label_names), device, display)
            reason = "interrupted" if _tune(todo, setup, resources, callback) else "every trial ended"
            journal.append("sweep_end", reason=reason, seconds=time.time() - start)
        return reason
    finally:
        ray.shutdown()


def _epochs(proposal: Proposal) -> int:
    return proposal.config.optim.epochs


def _tune(todo: Sequence[Proposal], setup: WorkerSetup, resources: Resources, callback: _JournalCallback) -> bool:
    """Run the trials; True if the user interrupted them."""
    with tempfile.TemporaryDirectory(prefix="astmoa-ray-") as scratch:  # Ray's own snapshots: nobody reads them
        return _fit(todo, setup, resources, callback, scratch)


def _fit(
    todo: Sequence[Proposal], setup: WorkerSetup, resources: Resources, callback: _JournalCallback, scratch: str
) -> bool:
    trainable = tune.with_parameters(TrialWorker, setup=setup)
    trainable = tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus})
    at_once = min(resources.at_once or len(todo), len(todo))
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_ProposalSearcher(todo),
            num_samples=len(todo),
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.config["trial_id"],
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            callbacks=[callback],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    except KeyboardInterrupt:
        return True
    return callback.open_trials > 0


class _ProposalSearcher(Searcher):
    """Hands Ray the proposals in their order."""

    def __init__(self, proposals: Iterable[Proposal]):
        super().__init__()
        self._configs = [{"trial_id": p.trial_id, "trial": p.config.to_dict()} for p in proposals]
        self._next = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._next == len(self._configs):
            return Searcher.FINISHED
        self._next += 1
        return self._configs[self._next - 1]

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing to learn: the order is fixed."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class _JournalCallback(tune.Callback):
    """Turns what Ray reports into journal events, and tells the display."""

    def __init__(
        self,
        journal: Journal,
        proposals: Iterable[Proposal],
        known_epochs: dict[str, int],
        backbone: Backbone,
        num_classes: int,
        device: str,
        display: Display,
    ):
        self._journal, self._display, self._known_epochs = journal, display, known_epochs
        self._proposals = {p.trial_id: p for p in proposals}
        self._shape, self._num_classes, self._device = backbone.shape, num_classes, device
        self._open: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles callbacks into its own snapshots; there is nothing to keep, the journal is the state."""
        return {}

    @property
    def open_trials(self) -> int:
        return len(self._proposals)

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        trial_id = trial.config["trial_id"]
        if trial_id not in self._open:  # Ray calls this again when it restarts a trial
            self._open.add(trial_id)
            proposal = self._proposals[trial_id]
            shape = self._shape
            params = count_params(proposal.config.method, shape.hidden_size, shape.num_layers, self._num_classes)
            if trial_id not in self._known_epochs:
                self._journal.append(
                    "proposal",
                    trial_id=trial_id,
                    config=proposal.config.to_dict(),
                    config_hash=trial_id,
                    point=proposal.config.point(),
                    label=proposal.label,
                    params=params.to_dict(),
                )
        self._journal.append("start", trial_id=trial_id, device=self._device)
        self._display.started(trial_id)

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        trial_id = trial.config["trial_id"]
        record, end = result["record"], result["end"]
        if record is not None and record["epoch"] > self._known_epochs.get(trial_id, 0):
            self._known_epochs[trial_id] = record["epoch"]
            self._journal.append("epoch", trial_id=trial_id, **record)
        if record is not None:
            self._display.epoch(self._proposals[trial_id].label, record["val_accuracy"])
        if end is not None:
            self._end(trial_id, end)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The worker died, or something raised that no trial is expected to raise."""
        lines = str(trial.get_error() or "the worker died").strip().splitlines()
        self._end(trial.config["trial_id"], {"state": "failed", "error": lines[-1][:500]})

    def _end(self, trial_id: str, end: dict[str, Any]) -> None:
        proposal = self._proposals.pop(trial_id)
        self._journal.append("end", trial_id=trial_id, **end)
        self._display.ended(trial_id, end["state"], _epochs(proposal) - self._known_epochs.get(trial_id, 0))


def _check_run_dir(
    run_dir: Path, header: dict[str, Any], proposals: Sequence[Proposal]
) -> tuple[bool, set[str], dict[str, int]]:
    """What an earlier run left: was there one, ids of completed trials, and the last epoch recorded of each."""
    events = read_journal(run_dir) if (run_dir / JOURNAL).exists() else []
    if not events:
        return False, set(), {}
    for key in _HEADER_IDENTITY:
        if events[0].get(key) != header[key]:
            raise RunError(
                f"{run_dir}: written with another {key}: {_difference(events[0].get(key), header[key])}; "
                "choose another --out"
            )
    ours = {p.trial_id: p.config for p in proposals}
    known: dict[str, int] = {}
    finished: set[str] = set()
    for event in events:
        if event["type"] == "proposal":
            known[event["trial_id"]] = 0
            if event["trial_id"] not in ours:
                theirs = TrialConfig.from_dict(event["config"]).to_dict()
                nearest = min((_difference(theirs, c.to_dict()) for c in ours.values()), key=len)
                raise RunError(f"{run_dir}: written by another configuration: {nearest}; choose another --out")
        elif event["type"] == "epoch":
            known[event["trial_id"]] = event["epoch"]
        elif event["type"] == "end" and event["state"] == "completed":
            finished.add(event["trial_id"])
    return True, finished, known


def _difference(old: Any, new: Any, key: str = "") -> str:
    """`key old -> new` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [
            _difference(old.get(k), new.get(k), f"{key}.{k}" if key else k)
            for k in sorted({*old, *new})
            if old.get(k) != new.get(k)
        ]
        return ", ".join(parts)
    return f"{key + ' ' if key else ''}{old} there, {new} now"
