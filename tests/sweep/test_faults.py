"""A sweep loses workers, machines, its network, device memory, and its head: every epoch is in the journal once, and is
what it would have been."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import random
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from astmoa.journal import read_journal
from astmoa.records import load_sweep
from astmoa.storage import Store, bring_run
from astmoa.sweep.retries import MAX_STRIKES
from astmoa.training.checkpoint import load_tensors
from tests.sweep.machines import ROOT, Cluster, Rig, start_sweep, until
from tests.sweep.test_run import directly, proposals

pytestmark = pytest.mark.slow

EPOCHS = 40
STEPS = 5
"""Of an epoch."""
TRIALS = proposals(seeds=(0, 1, 2), epochs=EPOCHS, batch_size=4, freq_mask=16, time_mask=8)


@functools.cache
def undisturbed(trial_id):
    """Without Ray: records, end, tensors. On one thread, as on a machine with one CPU."""
    (proposal,) = (trial for trial in TRIALS if trial.trial_id == trial_id)
    return directly(proposal.config, trials_at_once=os.cpu_count())


class Sweep:
    """One that runs on a cluster, and is disturbed at moments that are drawn."""

    def __init__(self, cluster, folder, trials=TRIALS, seed=0, run_dir=None, rig=(), **options):
        self.cluster, self.trials, self.random = cluster, trials, random.Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.run_dir = run_dir or folder / "run"
        self.rig = Rig(folder, gated=(trials[-1].trial_id,), **dict(rig))
        options |= {"run_dir": self.run_dir, "trials": trials, "rig": self.rig}
        self.driver = start_sweep(cluster, folder, **options)

    # -- what it does

    def events(self, *types):
        events = read_journal(self.run_dir) if (self.run_dir / "journal.jsonl").exists() else []
        return [event for event in events if event["type"] in types]

    def until(self, condition, what):
        def holds():
            found = condition()
            assert found or self.driver.alive, self.driver.log.read_text()
            return found

        return until(holds, what)

    def training(self):
        """Process ids of workers that are in the middle of a trial, with the trial and the epoch."""
        last = {told["pid"]: told for told in self.rig.told()}
        return {pid: told["trial"] for pid, told in last.items() if told["event"] != "close"}

    def wait_for_epochs(self, least=3, most=30):
        """Until some more epochs are in the journal, or all that there can be before the gate opens."""
        enough = min(len(self.events("epoch")) + self.random.randint(least, most), len(self.trials) * EPOCHS - 1)
        self.until(lambda: len(self.events("epoch")) >= enough, "epochs")

    def end(self):
        self.rig.gate.touch()
        until(lambda: not self.driver.alive, "the sweep's end")
        assert "every trial ended" in self.driver.log.read_text()
        assert "Traceback" not in self.driver.log.read_text()  # what happened is in the journal, in one line

    # -- what happens to it

    def hit_worker(self, number):
        """Send a signal to a worker that trains. Returns the trial, and the retry that follows."""
        before = len(self.events("retry"))
        pid, trial_id = self.until(self._stopped_worker, "a worker that trains")
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        self.until(lambda: len(self.events("retry")) > before, "the journal to tell of a retry")
        (retry,) = self.events("retry")[before:]
        assert retry["trial_id"] == trial_id
        return retry

    def lose_machines(self, number):
        """Machines that train, if there are any. Returns the retries that follow."""
        before = len(self.events("retry"))
        lost = self.until(lambda: self._stopped_machines(number), "machines that train")
        trials = {trial for pid, trial in self.training().items() if any(pid in machine.pids() for machine in lost)}
        self.cluster.lose(*lost)
        self.until(lambda: len(self.events("retry")) >= before + len(trials), "the journal to tell of retries")
        retries = self.events("retry")[before:]
        assert {retry["trial_id"] for retry in retries} == trials
        return retries

    def _stopped_worker(self):
        """Stopped, and then looked at again: it might just have ended its trial."""
        alive = [pid for machine in self.cluster.machines for pid in machine.pids()]
        candidates = [pid for pid in self.training() if pid in alive]
        if not candidates:
            return None
        pid = self.random.choice(candidates)
        os.kill(pid, signal.SIGSTOP)
        if pid in self.training():
            return pid, self.training()[pid]
        os.kill(pid, signal.SIGCONT)
        return None

    def _stopped_machines(self, number):
        machines = self.random.sample(self.cluster.machines, number)
        for machine in machines:
            machine.send(signal.SIGSTOP)
        if any(pid in machine.pids() for pid in self.training() for machine in machines):
            return machines
        for machine in machines:
            machine.send(signal.SIGCONT)
        return None


def check(sweep, kept=None):
    """Every trial is what it would have been, and nothing that the journal had was trained again."""
    kept = kept or sweep.run_dir
    ended = load_sweep(sweep.run_dir)
    assert +collections.Counter(ended.states) == {"completed": len(sweep.trials)}
    for trial in ended.trials:
        epochs, end, tensors = undisturbed(trial.trial_id)
        told = [event for event in sweep.events("epoch") if event["trial_id"] == trial.trial_id]
        assert [event["epoch"] for event in told] == list(range(1, EPOCHS + 1))
        assert [{key: event[key] for key in epochs[0]} for event in told] == epochs
        assert {key: trial.end[key] for key in end} == end
        adapter, _ = load_tensors(kept / "trials" / trial.trial_id / "adapter.safetensors")
        assert all(torch.equal(adapter[name], tensors[name]) for name in tensors)
        # A second time an epoch would have taken another time.
        _, checkpoint = load_tensors(kept / "trials" / trial.trial_id / "checkpoint.safetensors")
        assert [event["seconds"] for event in told] == [record["seconds"] for record in checkpoint["records"]]


def check_resumed(sweep):
    """Every worker went on where the one before it had been, at most one epoch after what the journal had heard of."""
    for trial in sweep.trials:
        first, *later = [t for t in sweep.rig.told() if t["event"] == "open" and t["trial"] == trial.trial_id]
        retries = [event for event in sweep.events("retry") if event["trial_id"] == trial.trial_id]
        assert (first["epochs"], first["steps"]) == (0, 0)
        # A machine may be lost before its worker has begun with the trial.
        assert len(later) <= len(retries)
        for opened in later:
            assert any(opened["epochs"] - retry["epoch"] in (0, 1) for retry in retries)


def check_mirror(uri, sweep):
    """MLflow has every epoch of every trial once."""
    from astmoa.tracking import server

    client = server.connect(uri)
    experiment = client.get_experiment_by_name("astmoa/tiny")
    runs = {run.data.tags.get("astmoa.trial_id"): run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {None, *(trial.trial_id for trial in sweep.trials)}
    for trial in sweep.trials:
        run = runs[trial.trial_id]
        assert run.info.status == "FINISHED"
        rows = client.get_metric_history(run.info.run_id, "val_accuracy")
        told = [event for event in sweep.events("epoch") if event["trial_id"] == trial.trial_id]
        assert [(row.step, row.value) for row in rows] == [(event["epoch"], event["val_accuracy"]) for event in told]


@pytest.fixture(scope="module")
def clusters():
    """The cluster that tests share, as long as none has lost its head: a list of one."""
    shared = []
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [cluster.close() for cluster in shared])
        yield shared


@pytest.fixture
def cluster(clusters):
    """A head, and two machines with one CPU and one GPU each. One CPU: sums depend on the number of threads."""
    if not clusters:
        clusters.append(Cluster())
    clusters[0].have(2)
    return clusters[0]


def test_lost_workers_and_machines(cluster, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sweep = Sweep(cluster, tmp_path, gpus_per_trial=1, tracker=uri)
    sweep.wait_for_epochs()
    killed = sweep.hit_worker(signal.SIGKILL)
    assert "worker process has died" in killed["error"]
    cluster.add()  # a third one, before the first is lost
    sweep.wait_for_epochs()
    lost = sweep.lose_machines(1)
    cluster.have(2)
    sweep.wait_for_epochs()
    lost += sweep.lose_machines(2)  # all
    cluster.add()
    sweep.end()
    check(sweep)
    check_resumed(sweep)
    check_mirror(uri, sweep)
    assert killed["strikes"] == 1
    assert lost
    for retry in lost:
        print(retry)
        assert retry["strikes"] == (retry["trial_id"] == killed["trial_id"])  # none is added
        assert "node has died" in retry["error"]
    assert max(retry["losses"] for retry in lost) <= 3
