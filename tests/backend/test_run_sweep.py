"""Real Ray, a tiny backbone and tiny inputs: what the journal says, what a worker keeps, what is resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from astmoa.config import MethodConfig, TrialConfig
from astmoa.config.proposals import Point, replicate
from astmoa.errors import RunError
from astmoa.records.journal import read_journal
from astmoa.records.load import load_sweep
from astmoa.records.predictions import NAME as PREDICTIONS
from astmoa.records.predictions import Predictions
from astmoa.training.checkpoint import load_tensors
from tests.helpers import ROOT
from tests.helpers.machines import until
from tests.helpers.sweeps import EPOCHS, HEADER, TEMPLATE, directly, proposals, rig_of, run
from tests.helpers.tiny import make_inputs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One sweep: two points, two seeds, and one point that diverges. One worker at a time, so that it runs them all."""
    run_dir = tmp_path_factory.mktemp("run")
    diverging = replicate(
        [Point("boom", MethodConfig("soft_moa", 2, 1, 1))],
        dataclasses.replace(TEMPLATE, optim=dataclasses.replace(TEMPLATE.optim, lr=1e30)),
        (0,),
        (1,),
    )
    trials = proposals()
    trials = [trials[0], diverging[0], *trials[1:]]
    reason = run(run_dir, trials, trials_at_once=1)
    return run_dir, trials, reason


def test_every_trial_is_in_the_journal_once(finished):
    run_dir, trials, reason = finished
    assert reason == "every trial ended"
    events = read_journal(run_dir)
    assert events[0]["type"] == "sweep"
    assert events[-1]["type"] == "sweep_end"
    for kind, per_trial in (("proposal", 1), ("start", 1), ("end", 1)):
        ids = [event["trial_id"] for event in events if event["type"] == kind]
        assert sorted(ids) == sorted(p.trial_id for p in trials) * per_trial
    for trial in load_sweep(run_dir).trials:
        expected = 3 if trial.state == "completed" else 0
        assert [epoch["epoch"] for epoch in trial.epochs] == list(range(1, expected + 1))


def test_a_warm_workers_trials_are_bitwise_those_of_a_cold_process(finished):
    """Also those that ran right after the one that diverged."""
    run_dir, trials, _ = finished
    records = {trial.trial_id: trial for trial in load_sweep(run_dir).trials}
    for proposal in trials:
        if proposal.label == "boom":
            continue
        epochs, end, tensors = directly(proposal.config, trials_at_once=1)
        journal = records[proposal.trial_id]
        assert [{key: event[key] for key in epochs[0]} for event in journal.epochs] == epochs
        assert {key: journal.end[key] for key in end} == end
        kept, _ = load_tensors(run_dir / "trials" / proposal.trial_id / "adapter.safetensors")
        assert all(torch.equal(kept[name], tensors[name]) for name in tensors)
        said = Predictions.load(run_dir / "trials" / proposal.trial_id / PREDICTIONS, proposal.trial_id)
        inputs = make_inputs()
        right = said.val.logits.argmax(axis=1) == inputs.labels[said.val.clips]
        assert right.mean() == pytest.approx(journal.val_accuracy)


def test_a_diverging_trial_fails_alone_and_has_no_accuracy(finished):
    run_dir, _, _ = finished
    failed = [trial for trial in load_sweep(run_dir).trials if trial.state == "failed"]
    assert [trial.label for trial in failed] == ["boom"]
    assert "loss is" in failed[0].error
    assert failed[0].val_accuracy is None
    assert load_sweep(run_dir).states["completed"] == 4


def test_parameters_are_journalled_before_training(finished):
    run_dir, _, _ = finished
    for trial in load_sweep(run_dir).trials:
        parts = trial.params
        assert parts["num_trainable_params"] == parts["adapter"] + parts["router"] + parts["norm"] + parts["head"]


def test_a_run_folder_is_not_shared_by_other_trials(finished):
    run_dir, trials, _ = finished
    completed = [p for p in trials if p.label != "boom"]
    before = (run_dir / "journal.jsonl").read_bytes()
    with pytest.raises(RunError, match="another configuration"):  # the failed one is no longer asked for
        run(run_dir, completed)
    assert (run_dir / "journal.jsonl").read_bytes() == before


def test_what_workers_make_is_as_open_as_what_the_driver_makes(finished):
    """Ray's processes close to others what they make, and safetensors its files."""
    run_dir, trials, _ = finished
    mask = os.umask(0)
    os.umask(mask)
    folders = [run_dir / "trials", *(run_dir / "trials" / p.trial_id for p in trials if p.label != "boom")]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o777 & ~mask}
    files = [path for folder in folders for path in folder.glob("*.safetensors")]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}


def test_a_crash_after_the_last_trial_is_closed_by_the_same_command(finished, tmp_path):
    run_dir, trials, _ = finished
    shutil.copytree(run_dir, tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    kept = [line for line in journal.read_text().splitlines() if "sweep_end" not in line]
    boom = next(p.trial_id for p in trials if p.label == "boom")
    journal.write_text("\n".join(line for line in kept if boom not in line) + "\n")
    completed = [p for p in trials if p.label != "boom"]
    for _ in range(2):
        assert "nothing left" in run(tmp_path / "run", completed)
    assert journal.read_text().count("sweep_end") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"study": "other"}, "another study: tiny there, other now"),
        ({"data": {"name": "tiny", "fingerprint": "g"}}, "another data: fingerprint f there, g now"),
        ({"backbone": {"name": "big"}}, "another backbone: name tiny there, big now"),
        ({"search": {"space": []}}, "another search: one lists its points, the other searches"),
    ],
)
def test_a_run_folder_of_something_else_is_refused(finished, change, words):
    run_dir, trials, _ = finished
    with pytest.raises(RunError, match=words):
        run(run_dir, trials, header={**HEADER, **change})


def test_other_settings_are_refused_with_the_difference(finished):
    run_dir, _, _ = finished
    with pytest.raises(RunError, match=r"optim.epochs 3 there, 5 now"):
        run(run_dir, proposals(epochs=5))


def test_more_gpus_than_there_are_is_said_at_once(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    start = time.monotonic()
    with pytest.raises(RunError, match=r"--gpus-per-trial 1: no machine here has that many GPUs \(most: 0\)"):
        run(tmp_path, proposals(), gpus_per_trial=1)
    assert time.monotonic() - start < 60


def test_where_ray_tune_breaks_another_one_goes_on(finished, tmp_path, monkeypatch, capsys):
    """In the middle of a trial, then after the last one."""
    from ray import tune

    from astmoa.backend.ray_callbacks import DriverScheduler

    take_in, fit, results = DriverScheduler.on_trial_result, tune.Tuner.fit, []

    def break_once(self, tune_controller, trial, result):
        decision = take_in(self, tune_controller, trial, result)
        results.append(trial.config["trial_id"])
        if len(results) == 2:
            raise KeyError("an actor that nobody knows")
        return decision

    def break_at_the_end(self):
        fit(self)
        raise RuntimeError("nobody to take leave of")

    monkeypatch.setattr(DriverScheduler, "on_trial_result", break_once)
    monkeypatch.setattr(tune.Tuner, "fit", break_at_the_end)
    run_dir, _, _ = finished
    assert run(tmp_path / "run", proposals(seeds=(0,)), trials_at_once=1) == "every trial ended"
    events = read_journal(tmp_path / "run")
    (restart,) = [event for event in events if event["type"] == "restart"]
    assert "an actor that nobody knows" in restart["error"]
    assert "in break_once" in restart["traceback"]
    told = capsys.readouterr().err.splitlines()
    remove_logs(told)
    assert [line.partition("own: ")[2] for line in told if "an error of its own" in line] == [
        "KeyError: 'an actor that nobody knows'",
        "nobody to take leave of",
    ]
    undisturbed = {trial.trial_id: trial for trial in load_sweep(run_dir).trials}
    trials = load_sweep(tmp_path / "run").trials
    assert len(trials) == 2
    for trial in trials:
        keys = ("epoch", "train_loss", "val_loss", "val_accuracy")
        assert [[e[k] for k in keys] for e in trial.epochs] == [
            [e[k] for k in keys] for e in undisturbed[trial.trial_id].epochs
        ]


def remove_logs(told):
    """Ray's own are kept where it broke; once, here."""
    (line,) = [line for line in told if line.startswith("What Ray itself wrote is in ")]
    logs = Path(line.partition(" is in ")[2])
    assert (logs / "raylet.out").is_file()
    assert list(logs.parent.iterdir()) == [logs]
    shutil.rmtree(logs.parent)


def test_what_breaks_ray_tune_before_any_epoch_is_raised(tmp_path, monkeypatch, capsys):
    from astmoa.backend.ray_callbacks import DriverCallback

    def broken(self, iteration, trials, trial, **info):
        raise KeyError("an actor that nobody knows")

    monkeypatch.setattr(DriverCallback, "on_trial_start", broken)
    with pytest.raises(Exception, match="an actor that nobody knows"):
        run(tmp_path / "run", proposals(seeds=(0,)), trials_at_once=1)
    remove_logs(capsys.readouterr().err.splitlines())
    assert not [event for event in read_journal(tmp_path / "run") if event["type"] == "restart"]


DRIVER = """
import signal, sys
from pathlib import Path
from tests.helpers.sweeps import gated
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it is ignored, as in a background job
    print(gated(Path(sys.argv[1])), flush=True)
"""


def in_the_middle(run_dir):
    """A driver of `gated` in a process and a session of its own, of which two trials wait at the gate."""
    options = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(run_dir)], start_new_session=True, **pipes, **options)
    last = f'"epoch": {EPOCHS - 1},'
    until(lambda: driver.poll() is not None or text_of(run_dir).count(last) == 2, "two trials at the gate")
    assert driver.poll() is None, driver.communicate()
    time.sleep(1)  # the worker, told to train the last epoch, comes to the gate
    return driver


def text_of(run_dir):
    journal = run_dir / "journal.jsonl"
    return journal.read_text() if journal.exists() else ""


def lose_worker(driver, run_dir):
    """Its trial goes on from its checkpoint in another worker."""
    workers = workers_of(driver.pid)
    assert len(workers) == 2
    # Ray hands its jemalloc to workers when asked to; nothing would fail if an upgrade stopped that.
    assert all("jemalloc" in Path(f"/proc/{worker}/maps").read_text() for worker in workers)
    os.kill(workers[0], signal.SIGTERM)
    until(lambda: '"retry"' in text_of(run_dir), "the journal to tell of a retry")
    (retry,) = [event for event in read_journal(run_dir) if event["type"] == "retry"]
    assert (retry["strikes"], retry["losses"]) == (0, 1)
    assert "SIGTERM" in retry["error"]
    assert "\n" not in retry["error"]

    def opened():
        told = [told for told in rig_of(run_dir).told() if told["event"] == "open"]
        return [(t["pid"] == workers[0], t["epochs"]) for t in told if t["trial"] == retry["trial_id"]]

    until(lambda: len(opened()) == 2, "the trial to go on")
    assert opened() == [(True, 0), (False, EPOCHS - 1)]
    return retry["trial_id"]


def assert_whole(run_dir, *trial_ids):
    """Every epoch is in the journal once, and these trials equal undisturbed ones."""
    sweep = load_sweep(run_dir)
    assert sweep.states["completed"] == 4
    events = [(e["trial_id"], e["epoch"]) for e in read_journal(run_dir) if e["type"] == "epoch"]
    assert len(events) == len(set(events)) == 4 * EPOCHS
    for trial in sweep.trials:
        if trial.trial_id in trial_ids:
            epochs, end, _ = directly(TrialConfig.from_dict(trial.config), trials_at_once=2)
            assert [{key: event[key] for key in epochs[0]} for event in trial.epochs] == epochs
            assert {key: trial.end[key] for key in end} == end


def test_a_lost_worker_another_sweep_and_an_interruption_cost_no_epoch(tmp_path):
    """SIGTERM, which a worker gets before its spot machine goes, and a driver from Slurm. kill -9 of workers:
    test_faults.py; of drivers: test_resume.py; Ctrl-C: test_search_study.py."""
    run_dir = tmp_path / "run"
    driver = in_the_middle(run_dir)
    workers = workers_of(driver.pid)
    # The one that ends first must not take the other's workers with it: each has a Ray of its own.
    assert run(tmp_path / "short", proposals(seeds=(0,), epochs=1), trials_at_once=1) == "every trial ended"
    assert workers_of(driver.pid) == workers
    assert '"retry"' not in text_of(run_dir)
    lost = lose_worker(driver, run_dir)
    driver.send_signal(signal.SIGTERM)
    rig_of(run_dir).gate.touch()
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 0, errors
    assert json.loads(text_of(run_dir).splitlines()[-1])["reason"] == "interrupted"
    # What happened is in the journal, in one line.
    assert "Traceback" not in errors
    assert "SIGTERM received" not in errors
    assert run(run_dir, proposals(epochs=EPOCHS), trials_at_once=2) == "every trial ended"
    assert_whole(run_dir, lost, load_sweep(run_dir).trials[0].trial_id)


def workers_of(driver):
    """Process ids of a driver's trial workers, in order: they are in its session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # "pid (name) state parent group session": a name may hold spaces and brackets
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
            if session == driver and b"ResourceTrainable" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return sorted(found)


def test_a_dead_ray_address_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(RunError, match=r"no Ray answers at RAY_ADDRESS=127.0.0.1:9"):
        run(tmp_path / "run", proposals())
    assert not (tmp_path / "run").exists()
