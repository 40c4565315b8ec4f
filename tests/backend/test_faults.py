"""A sweep loses workers, machines, its network, device memory, and its head: every epoch is in the journal once, and is
what it would have been."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import random
import re
import signal
import sqlite3
import time
import types
from pathlib import Path

import pytest
import torch

from astmoa.backend.ray_callbacks import DriverCallback
from astmoa.engine.retries import MAX_STRIKES
from astmoa.records.journal import read_journal
from astmoa.records.load import load_sweep
from astmoa.records.storage import Store, bring_run
from astmoa.training.checkpoint import load_tensors
from tests.helpers import ROOT
from tests.helpers.machines import Cluster, Rig, born, start_sweep, stopped, until
from tests.helpers.sweeps import directly, proposals

pytestmark = pytest.mark.slow

EPOCHS = 20
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
        """Trials by the process id of the worker that is in the middle of them."""
        last = {told["pid"]: told for told in self.rig.told()}
        return {
            pid: told["trial"] for pid, told in last.items() if told["event"] != "close" and born(pid) == told["born"]
        }

    def wait_for_epochs(self, least=3, most=12):
        """Until some more epochs are in the journal, or all that there can be before the gate opens."""
        enough = min(len(self.events("epoch")) + self.random.randint(least, most), len(self.trials) * EPOCHS - 1)
        self.until(lambda: len(self.events("epoch")) >= enough, "epochs")
        time.sleep(self.random.uniform(0, 0.3))  # not always right after an epoch

    def openings(self, trial_id=None):
        """Each time that a worker began with a trial (this one)."""
        return [told for told in self.rig.told() if told["event"] == "open" and trial_id in (told["trial"], None)]

    def last(self, opened):
        """What was last told of a trial by the worker that had opened it then."""
        told = [told for told in self.rig.told() if (told["pid"], told["trial"]) == (opened["pid"], opened["trial"])]
        after = [other["time"] for other in told if other["event"] == "open" and other["time"] > opened["time"]]
        return [other for other in told if not after or other["time"] < after[0]][-1]

    def story(self, trial_id, *types):
        return [event for event in self.events(*types) if event["trial_id"] == trial_id]

    def end(self):
        self.rig.gate.touch()
        until(lambda: not self.driver.alive, "the sweep's end")
        assert "every trial ended" in self.driver.log.read_text()
        assert "Traceback" not in self.driver.log.read_text()  # what happened is in the journal, in one line

    # -- what happens to it

    def hit_worker(self, number, trial_id=None):
        """Send a signal to a worker that trains (this trial). Returns the retry that follows."""
        before = len(self.events("retry"))
        pid, trial_id = self.until(lambda: self._stopped_worker(trial_id), "a worker that trains")
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        self.until(lambda: len(self.events("retry")) > before, "the journal to tell of a retry")
        (retry,) = self.events("retry")[before:]
        assert retry["trial_id"] == trial_id
        return retry

    def lose_machines(self, number):
        """Of those that there are; at least one trains."""
        before = len(self.events("retry"))
        lost = self.until(lambda: self._stopped_machines(number), "machines that train")
        trials = {trial for pid, trial in self.training().items() if any(pid in machine.pids() for machine in lost)}
        self.cluster.lose(*lost)
        self.until(
            lambda: trials <= {retry["trial_id"] for retry in self.events("retry")[before:]},
            "the journal to tell of their trials",
        )

    def _stopped_worker(self, trial_id):
        """Stopped, and then looked at again: it might just have ended its trial."""
        alive = [pid for machine in self.cluster.machines for pid in machine.pids()]
        candidates = [pid for pid, own in self.training().items() if pid in alive and trial_id in (own, None)]
        if not candidates:
            return None
        pid = self.random.choice(candidates)
        os.kill(pid, signal.SIGSTOP)
        until(lambda: stopped(pid), "a worker to stop")
        if pid in self.training():
            return pid, self.training()[pid]
        os.kill(pid, signal.SIGCONT)
        return None

    def _stopped_machines(self, number):
        machines = self.random.sample(self.cluster.machines, number)
        for machine in machines:
            machine.stop()
        if any(pid in machine.pids() for pid in self.training() for machine in machines):
            return machines
        for machine in machines:
            machine.send(signal.SIGCONT)
        return None


def check(sweep, kept=None):
    """Completed trials are what they would have been, and nothing that the journal had was trained again."""
    kept = kept or sweep.run_dir
    for trial in load_sweep(sweep.run_dir).trials:
        if trial.state != "completed":
            continue
        epochs, end, tensors = undisturbed(trial.trial_id)
        told = sweep.story(trial.trial_id, "epoch")
        assert [event["epoch"] for event in told] == list(range(1, EPOCHS + 1))
        assert [{key: event[key] for key in epochs[0]} for event in told] == epochs
        assert {key: trial.end[key] for key in end} == end
        adapter, _ = load_tensors(kept / "trials" / trial.trial_id / "adapter.safetensors")
        assert all(torch.equal(adapter[name], tensors[name]) for name in tensors)
        # A second time an epoch would have taken another time.
        _, checkpoint = load_tensors(kept / "trials" / trial.trial_id / "checkpoint.safetensors")
        assert [event["seconds"] for event in told] == [record["seconds"] for record in checkpoint["records"]]


def check_resumed(sweep, *trial_ids):
    """Every worker went on where the one before it had been, at most one epoch after what the journal had heard of."""
    for trial_id in trial_ids or [trial.trial_id for trial in sweep.trials]:
        first, *later = sweep.openings(trial_id)
        retries = sweep.story(trial_id, "retry")
        assert (first["epochs"], first["steps"]) == (0, 0)
        assert len(later) <= len(retries)  # a machine may be lost before its worker has begun with the trial
        for opened in later:
            told = [retry["epoch"] for retry in retries if retry["time"] < opened["time"]][-1]
            assert opened["epochs"] - told in (0, 1)


def check_mirror(database, sweep):
    """MLflow has every epoch of every trial once."""
    with contextlib.closing(sqlite3.connect(database)) as mlflow:
        runs = dict(mlflow.execute("select value, run_uuid from tags where key = 'astmoa.trial_id'"))
        assert set(runs) == {trial.trial_id for trial in sweep.trials}
        assert len(mlflow.execute("select * from runs").fetchall()) == 1 + len(runs)
        for trial_id, run in runs.items():
            query = "select step, value from metrics where run_uuid = ? and key = 'val_accuracy' order by step"
            told = sweep.story(trial_id, "epoch")
            assert mlflow.execute(query, [run]).fetchall() == [(e["epoch"], e["val_accuracy"]) for e in told]


@pytest.fixture(scope="module")
def clusters():
    """Those that tests share, by what they are for."""
    shared = {}
    try:
        yield shared
    finally:
        for cluster in shared.values():
            cluster.close()


@pytest.fixture
def cluster(clusters):
    """Machines with one CPU and one GPU each. One CPU: sums depend on the number of threads."""
    if "cluster" not in clusters:
        clusters["cluster"] = Cluster()
    return clusters["cluster"]


@pytest.fixture(scope="module")
def other_cluster(clusters):
    """One machine with two CPUs and two GPUs: two trials at once, or four that have half a GPU each."""
    clusters["other"] = Cluster()
    clusters["other"].add(cpus=2, gpus=2)
    clusters["other"].have(1)
    return clusters["other"]


DEAD = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        (f"{DEAD}Worker unexpectedly exits with a connection error code 2. End of file.", "strike", "connection error"),
        ("Task was killed due to the node running low on memory.\nMemory: ...", "strike", "running low on memory"),
        (f"{DEAD}Worker exits unexpectedly. Worker exits with an exit code 1. The process receives a SIGTERM.", "loss",
         "SIGTERM"),
        ("The actor is dead because its worker process has died. Worker exit type: INTENDED_USER_EXIT Worker exit "
         "detail: Worker exits by an user request. exit_actor() is called.", "loss", "SIGTERM"),
        ("The actor died because its node has died. Node Id: 1234", "loss", "node has died"),
        ("The actor 12 is unavailable: RpcError: Socket closed", "loss", "RpcError"),
        ("The actor died because of an error raised in its creation task, ...\nRunError: no", "end", "RunError: no"),
        ("ValueError: no", "end", "ValueError: no"),
    ],
)  # fmt: skip
def test_what_ray_says_of_a_lost_worker(tmp_path, text, kind, told):
    calls = []
    driver = types.SimpleNamespace(
        lose=lambda trial_id, why, strike: calls.append(("strike" if strike else "loss", why)),
        fail=lambda trial_id, why: calls.append(("end", why)),
    )
    (tmp_path / "error.txt").write_text(f"Failure # 1 (occurred at ...)\nsomething older\nFailure # 2 (...)\n{text}\n")
    trial = types.SimpleNamespace(config={"trial_id": "t"}, error_file=str(tmp_path / "error.txt"))
    DriverCallback(driver).on_trial_error(1, [trial], trial)
    ((found, why),) = calls
    assert found == kind
    assert told in why


def check_told(retry, strike):
    """Where a dead worker's machine takes long to tell of it, Ray only knows that the worker does not answer."""
    expected = "its worker process has died" if strike else "its node has died"
    assert expected in retry["error"] or "is unavailable" in retry["error"]
    assert "\n" not in retry["error"]


def test_lost_workers_and_machines(cluster, tmp_path):
    database = tmp_path / "mlflow.db"
    cluster.have(2)
    sweep = Sweep(cluster, tmp_path, gpus_per_trial=1, tracker=f"sqlite:///{database}")
    sweep.wait_for_epochs()
    killed = sweep.hit_worker(signal.SIGKILL)
    cluster.add()
    sweep.wait_for_epochs()
    sweep.lose_machines(1)
    cluster.have(2)
    sweep.wait_for_epochs()
    sweep.lose_machines(2)  # all but the head
    cluster.add()
    sweep.end()
    assert +collections.Counter(load_sweep(sweep.run_dir).states) == {"completed": len(TRIALS)}
    check(sweep)
    check_resumed(sweep)
    check_mirror(database, sweep)
    check_told(killed, strike=True)
    assert killed["strikes"] == ("worker process has died" in killed["error"])
    _, *lost = sweep.events("retry")
    assert len(lost) >= 2
    for retry in lost:
        check_told(retry, strike=False)
        assert retry["strikes"] == (killed["strikes"] if retry["trial_id"] == killed["trial_id"] else 0)  # none more


def test_a_lost_head(clusters, cluster, other_cluster, tmp_path):
    """Trials are kept behind an address. A worker gets a notice, one is killed, then everything is; another cluster
    goes on with what was kept."""
    kept = tmp_path / "storage" / "run"
    store, slow = Store(f"file://{kept}"), TRIALS[0].trial_id
    cluster.have(2)
    sweep = Sweep(cluster, tmp_path / "here", seed=1, gpus_per_trial=1, store=store, rig={"slow": [slow]})
    sweep.wait_for_epochs()
    titles = [Path(f"/proc/{pid}/cmdline").read_text() for pid in sweep.training()]
    pattern = re.search(r"pkill -TERM -f '(.+?)'", (ROOT / "cluster/spot_notice.sh").read_text())[1]
    assert titles
    assert [title for title in titles if not re.search(pattern, title)] == []
    for number in range(1, 6):
        notice = sweep.hit_worker(signal.SIGTERM, slow)
        assert "SIGTERM" in notice["error"]
        assert (notice["strikes"], notice["losses"]) == (0, number)
        (opened,) = sweep.until(lambda n=number: sweep.openings(slow)[n:], "the trial to go on")
        assert opened["epochs"] - notice["epoch"] in (0, 1)
        if opened["steps"]:  # otherwise it came between two epochs
            break
    assert 0 < opened["steps"] <= STEPS
    sweep.rig.hurry.touch()
    sweep.wait_for_epochs()
    check_told(sweep.hit_worker(signal.SIGKILL), strike=True)
    journal = kept / "journal.jsonl"
    sweep.until(lambda: journal.is_file() and b'"end"' in journal.read_bytes(), "the end of a trial, in the storage")
    sweep.wait_for_epochs()
    sweep.driver.kill()
    clusters.pop("cluster").close()
    assert not (sweep.run_dir / "trials").exists()

    run_dir = bring_run(store.address, tmp_path / "there")
    ended = {event["trial_id"] for event in read_journal(run_dir) if event["type"] == "end"}
    second = Sweep(other_cluster, tmp_path / "there", run_dir=run_dir, gpus_per_trial=1, store=store)
    second.end()
    assert +collections.Counter(load_sweep(run_dir).states) == {"completed": len(TRIALS)}
    check(second, kept)
    assert ended
    assert not ended & {told["trial"] for told in second.rig.told()}


@pytest.fixture(scope="module")
def misbehaved(other_cluster, tmp_path_factory):
    """Trials of all kinds, with half a GPU each."""
    kinds = ["warned", "deadly", "large", "too_large"]
    names = {kind: [trial.trial_id] for kind, trial in zip(kinds, TRIALS, strict=False)}
    sweep = Sweep(other_cluster, tmp_path_factory.mktemp("misbehaved"), gpus_per_trial=0.5, trials_at_once=3, rig=names)
    sweep.end()
    return sweep


def test_a_trial_that_kills_its_worker_three_times_has_failed(misbehaved):
    """Once it looks as if Ray had killed the worker because the machine ran out of memory."""
    (trial_id,) = misbehaved.rig.deadly
    (end,), retries = misbehaved.story(trial_id, "end"), misbehaved.story(trial_id, "retry")
    assert (end["state"], end["retry"]) == ("failed", True)
    assert end["error"].startswith(f"its worker died {MAX_STRIKES} times; the last time: ")
    assert "running low on memory" in retries[0]["error"]
    for retry in retries[1:]:
        check_told(retry, strike=True)
    strikes = [retry for retry in retries if "unavailable" not in retry["error"]]
    assert [retry["strikes"] for retry in strikes] == [1, 2]
    assert [retry["losses"] for retry in retries] == list(range(1, len(retries) + 1))
    check_resumed(misbehaved, trial_id)


def test_the_other_trials_do_not_care(misbehaved):
    assert +collections.Counter(load_sweep(misbehaved.run_dir).states) == {"completed": 4, "failed": 2}
    check(misbehaved)


def test_a_notice_that_comes_while_a_trial_is_opened_is_heeded_at_once(misbehaved):
    (trial_id,) = misbehaved.rig.warned
    (retry,) = misbehaved.story(trial_id, "retry")
    assert "SIGTERM" in retry["error"]
    assert (retry["strikes"], retry["losses"], retry["epoch"]) == (0, 1, 0)
    assert [opened["epochs"] for opened in misbehaved.openings(trial_id)] == [0, 0]


def test_a_trial_too_large_for_a_part_of_a_device_gets_a_whole_one(misbehaved):
    (trial_id,) = misbehaved.rig.large
    retry, end = misbehaved.story(trial_id, "retry", "end")
    assert end["state"] == "completed"
    assert (retry["strikes"], retry["losses"], retry["alone"]) == (0, 0, True)
    first, second = misbehaved.openings(trial_id)
    assert (first["share"], second["share"]) == (0.5, 1)
    assert second["epochs"] == 1
    # When nothing else runs: it waits for nobody, and nobody for it.
    begin, end = second["time"], misbehaved.last(second)["time"]
    assert not [t for t in misbehaved.rig.told() if t["trial"] != trial_id and begin <= t["time"] <= end]


def test_a_trial_too_large_for_a_whole_device_has_failed(misbehaved):
    (trial_id,) = misbehaved.rig.too_large
    retry, end = misbehaved.story(trial_id, "retry", "end")
    assert retry["alone"]
    assert end["state"] == "failed"
    assert end["error"].startswith("out of device memory: it needs more than 2.00 GiB; ")
    assert [opened["share"] for opened in misbehaved.openings(trial_id)] == [0.5, 1]


def test_no_device_is_given_away_twice(misbehaved):
    """At no time do trials hold more than one device's worth of a device."""
    changes, together = [], set()
    for opened in misbehaved.openings():
        (device,) = opened["gpus"]
        changes += [
            (opened["time"], opened["share"], device),
            (misbehaved.last(opened)["time"], -opened["share"], device),
        ]
    held = collections.Counter()
    for _, share, device in sorted(changes):
        held[device] += share
        together.add(held[device])
        assert held[device] <= 1
    assert together == {0, 0.5, 1}
