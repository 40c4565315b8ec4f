import collections
import dataclasses
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from astmoa import tracking
from astmoa.errors import RunError, TrackingError
from astmoa.pareto.spread import clip_interval
from astmoa.records.journal import NAME, Journal
from astmoa.records.load import load_sweep
from astmoa.records.standing import standing
from astmoa.tracking import LiveMirror, Mirror, default_uri, redact, rows, server, sync, ui_command
from astmoa.tracking import follower as follower_module
from astmoa.tracking import sorted_events as progress_module
from astmoa.tracking.artifacts import ARTIFACTS
from astmoa.tracking.follower import Follower
from tests.helpers.journals import (
    BEGIN,
    Trial,
    config,
    confirming,
    every_state,
    header,
    search_events,
    searched,
    sweep_events,
    trial_events,
    write,
)
from tests.helpers.trackers import content, free_port, get, mlflow_client, runs, started

pytestmark = pytest.mark.slow  # MLflow takes seconds to import

STATUS = {"t0": "FINISHED", "t1": "FINISHED", "t2": "FAILED", "t3": "KILLED", "t4": "KILLED"}


@pytest.fixture
def run_dir(tmp_path):
    folder = write(tmp_path / "runs" / "first", sweep_events(every_state()))
    (folder / "table.md").write_text("| N/p |\n")
    (folder / "table.json").write_text("{}")
    (folder / "frontier.png").write_bytes(b"\x89PNG picture")
    return folder


def test_runs_of_a_sweep(run_dir, uri):
    mirrored = sync(run_dir, uri)
    client, parent, children = runs(uri)
    assert mirrored.parent_run_id == parent.info.run_id
    assert (mirrored.experiment, mirrored.num_trials) == ("astmoa/n_vs_p", 5)
    assert {name: run.info.status for name, run in children.items()} == STATUS  # t5 never started: no run

    done = children["t1"]
    assert done.info.run_name == "1/1 seed 1 fold 1"
    assert (done.info.start_time, done.info.end_time) == ((BEGIN + 21) * 1000, (BEGIN + 25) * 1000)
    params = done.data.params
    assert (params["method.name"], params["method.num_experts"], params["optim.epochs"]) == ("soft_moa", "1", "3")
    assert (params["seed"], params["data.fold"], params["optim.betas"]) == ("1", "1", "[0.9, 0.98]")
    assert (params["num_trainable_params"], params["params.adapter"], params["params.head"]) == ("10000", "9400", "500")
    history = client.get_metric_history(done.info.run_id, "val_accuracy")
    assert [(row.step, row.timestamp) for row in history] == [(e, (BEGIN + 21 + e) * 1000) for e in (1, 2, 3)]
    assert [row.value for row in history] == pytest.approx([0.7 / 3, 1.4 / 3, 0.7])
    assert set(done.data.metrics) == {
        *("train_loss", "val_loss", "val_accuracy", "lr", "seconds"),
        *("best_val_accuracy", "best_epoch", "test_accuracy", "test_loss", "device_seconds"),
        *("val_low", "val_high", "test_low", "test_high"),
    }
    assert done.data.metrics["best_val_accuracy"] == 0.7
    assert done.data.metrics["test_accuracy"] == pytest.approx(0.65)
    assert (done.data.metrics["val_low"], done.data.metrics["val_high"]) == clip_interval(0.7, 200)
    assert (done.data.metrics["test_low"], done.data.metrics["test_high"]) == clip_interval(0.65, 200)
    assert done.data.tags["astmoa.point"] == children["t0"].data.tags["astmoa.point"] == config().point()
    for key, value in {
        "astmoa.state": "completed",
        "astmoa.label": "1/1",
        "astmoa.device": "cpu",
        "astmoa.git_commit": "c0ffee",
        "mlflow.source.git.commit": "c0ffee",
        "astmoa.data.fingerprint": "da7a",
        "astmoa.backbone.fingerprint": "bb01",
        "astmoa.versions.torch": "2.11.0",
    }.items():
        assert done.data.tags[key] == value


def test_what_did_not_happen_is_no_number(run_dir, uri):
    sync(run_dir, uri)
    _, _, children = runs(uri)
    failed = children["t2"].data
    assert not {"best_val_accuracy", "test_accuracy", "best_epoch", "val_low"} & set(failed.metrics)
    assert failed.tags["astmoa.error"] == "loss is not finite\nin epoch 4"
    assert not {"test_accuracy", "val_low", "test_low"} & set(children["t3"].data.metrics)
    assert "astmoa.error" not in children["t0"].data.tags


def test_another_metric_is_called_by_its_name(tmp_path, uri):
    events = sweep_events([Trial("t0", config(), accuracy=0.6)], data={"name": "openmic", "metric": "mAP"})
    next(event for event in events if event["type"] == "end")["val_interval"] = [0.55, 0.64]
    sync(write(tmp_path / "run", events), uri)
    client, parent, children = runs(uri)
    metrics = children["t0"].data.metrics
    assert not [key for key in (*metrics, *parent.data.metrics) if "accuracy" in key]
    assert len(client.get_metric_history(children["t0"].info.run_id, "val_mAP")) == 3
    assert (metrics["best_val_mAP"], metrics["test_mAP"]) == (0.6, pytest.approx(0.55))
    assert (metrics["val_low"], metrics["val_high"]) == (0.55, 0.64)
    assert "test_low" not in metrics  # not written, and not to be had from counts
    assert parent.data.metrics["best_val_mAP"] == 0.6


def test_parent(run_dir, uri, tmp_path):
    sync(run_dir, uri)
    client, parent, _ = runs(uri)
    assert parent.info.status == "KILLED"  # it ended, but t4 did not
    assert parent.data.params == {"study": "n_vs_p", "num_trials": "4", "options.seeds": "2"}
    metrics = parent.data.metrics
    assert (metrics["trials_completed"], metrics["trials_failed"], metrics["trials_stopped"]) == (2, 1, 1)
    assert metrics["best_val_accuracy"] == 0.7
    assert metrics["hypervolume"] == pytest.approx(
        4 * 0.7
    )  # from 10^4 to 10^8 parameters; the stopped 0.9 does not count
    assert [row.value for row in client.get_metric_history(parent.info.run_id, "trials_completed")] == [1, 2, 2, 2]
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == [
        *("frontier.png", "journal.jsonl", "table.json", "table.md")
    ]
    copy = client.download_artifacts(parent.info.run_id, "frontier.png", str(tmp_path))
    assert Path(copy).read_bytes() == b"\x89PNG picture"
    assert parent.data.tags["mlflow.note.content"] == "| N/p |\n"


def test_nothing_lands_in_the_working_directory(run_dir, uri, tmp_path):
    sync(run_dir, uri)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "runs"]
    assert sorted(path.name for path in (tmp_path / "db").iterdir()) == ["mlartifacts", "mlflow.db"]


def test_no_password_is_stored(run_dir, uri, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "hush-hush")
    assert "ann:hush@" in (run_dir / NAME).read_text()  # the command line of the journal has one
    sync(run_dir, uri)
    stored = [path for path in (tmp_path / "db").rglob("*") if path.is_file()]
    assert len(stored) == 5
    assert not any(b"hush" in path.read_bytes() for path in stored)
    assert "http://***@example.org:5000" in runs(uri)[1].data.tags["astmoa.command"]


def test_again_changes_nothing(run_dir, uri):
    sync(run_dir, uri)
    before = content(uri)
    assert max(before.values()) == 1
    assert sync(run_dir, uri).parent_run_id == runs(uri)[1].info.run_id
    assert content(uri) == before


def test_again_sends_nothing(run_dir, uri, monkeypatch):
    first = sync(run_dir, uri)
    for name in (
        "create_run",
        "log_batch",
        "log_artifact",
        "set_tag",
        "set_terminated",
        "update_run",
        "create_experiment",
    ):
        monkeypatch.setattr(mlflow_client(), name, lambda *args, **kwargs: pytest.fail("something was sent"))
    assert sync(run_dir, uri).parent_run_id == first.parent_run_id


def test_rows_sent_twice_are_kept_once(run_dir, uri):
    """After a crash between rows and tag: what MLflow's store does with an identical row."""
    sync(run_dir, uri)
    before = content(uri)
    client, parent, children = runs(uri)
    for run in [parent, *children.values()]:
        client.set_tag(run.info.run_id, "astmoa.mirrored", "0")
    sync(run_dir, uri)
    assert content(uri) == before


def interrupted_and_resumed():
    """A crash in t1, a resume under another sweep id, a failed trial tried again."""
    t0, t1, t2 = (Trial(f"t{i}", config(i + 1), size=10_000 * (i + 1), accuracy=0.5 + 0.1 * i) for i in range(3))
    return [
        header(),
        *trial_events(dataclasses.replace(t0, state="failed"), BEGIN + 10),
        *trial_events(dataclasses.replace(t1, state="running", epochs=2), BEGIN + 20),
        {"type": "sweep_end", "time": BEGIN + 30, "reason": "interrupted", "seconds": 30.0},
        header(type="resume", sweep_id="another", time=BEGIN + 100),
        *trial_events(t0, BEGIN + 110)[1:],
        *trial_events(t1, BEGIN + 120)[1:],
        *trial_events(t2, BEGIN + 130),
        {"type": "sweep_end", "time": BEGIN + 140, "reason": "every trial ended", "seconds": 40.0},
    ]


def search_with_replicates(count=9):
    """A search whose front is trained again with two other seeds."""
    found = searched(count)
    best = [trial for trial in found if trial.state == "completed"][:3]
    return [dataclasses.replace(trial, epochs=min(3, trial.epochs)) for trial in found + confirming(best, seeds=2)]


@pytest.mark.parametrize(
    "events",
    [sweep_events(every_state()), interrupted_and_resumed(), search_events(search_with_replicates())],
    ids=["states", "resumed", "search"],
)
def test_in_pieces_equals_at_once(tmp_path, uri, events, empty_database):
    """After any part of the journal, by the same mirror or by a new one: the same runs and rows in the end."""
    once = tmp_path / "once.db"
    shutil.copy(empty_database, once)
    sync(write(tmp_path / "all", events), f"sqlite:///{once}")
    expected = content(f"sqlite:///{once}")
    run_dir = tmp_path / "pieces"
    mirror = Mirror(run_dir, uri)
    size = max(3, len(events) // 12)
    for begin in range(0, len(events), size):
        write(run_dir, events[begin : begin + size])
        mirror.sync(artifacts=())
        if begin % 2:
            sync(run_dir, uri)
    sync(run_dir, uri)
    assert content(uri) == expected


def test_a_resumed_sweep_runs_again_and_ends_well(tmp_path, uri):
    events = interrupted_and_resumed()
    resume = next(i for i, event in enumerate(events) if event["type"] == "resume")
    run_dir = write(tmp_path / "run", events[:resume])
    sync(run_dir, uri)
    _, parent, children = runs(uri)
    assert (parent.info.status, children["t0"].info.status, children["t1"].info.status) == (
        "KILLED",
        "FAILED",
        "KILLED",
    )
    paused = {key: children["t1"].data.tags[key] for key in ("astmoa.state", "astmoa.frontier")}
    assert paused == dict.fromkeys(paused, "paused")
    write(run_dir, events[resume : resume + 2])
    sync(run_dir, uri)
    _, parent, children = runs(uri)
    assert {children["t1"].data.tags[key] for key in paused} == {"running"}
    assert (parent.info.status, children["t0"].info.status, children["t1"].info.status) == ("RUNNING",) * 3
    write(run_dir, events[resume + 2 :])
    sync(run_dir, uri)
    _, parent, children = runs(uri)
    assert {parent.info.status, *(run.info.status for run in children.values())} == {"FINISHED"}
    assert children["t0"].data.tags["astmoa.error"] == ""  # the first attempt's error is taken back


def test_a_pass_costs_one_batch_per_trial_with_news(tmp_path, uri, monkeypatch):
    trials = [Trial(f"t{i}", config(i + 1)) for i in range(3)]
    unfinished = [dataclasses.replace(trial, state="running") for trial in trials]
    run_dir = write(tmp_path / "run", sweep_events(unfinished, ended=False))
    mirror = Mirror(run_dir, uri)
    mirror.sync()
    sent = collections.Counter()
    for name in ("log_batch", "search_runs", "get_experiment_by_name", "create_run"):
        original = getattr(mlflow_client(), name)

        def counted(self, *args, original=original, name=name, **kwargs):
            sent[name] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(mlflow_client(), name, counted)
    mirror.sync(artifacts=())
    assert sent == {}
    write(run_dir, [trial_events(trials[1], BEGIN + 500)[-1]])
    mirror.sync(artifacts=())
    assert sent == {"log_batch": 2}  # the trial's, and the sweep's standing


def test_a_pass_does_not_look_at_the_past(tmp_path, uri, monkeypatch):
    """However many trials there were before: the same records, requests, rows and found runs. Counted, not timed."""
    trials = [Trial(f"t{i}", config(i + 1), size=10_000 + i, accuracy=0.9 if i == 0 else 0.3) for i in range(25)]
    work = collections.Counter()

    def count(owner, name, size=lambda args, result: 1):
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            result = original(*args, **kwargs)
            work[name] += size(args, result)
            return result

        monkeypatch.setattr(owner, name, counted)

    client = mlflow_client()
    for name in ("create_run", "log_batch", "set_terminated", "update_run", "set_tag", "get_experiment_by_name"):
        count(client, name)
    count(client, "search_runs", lambda args, found: len(found))
    count(progress_module, "trial_record")
    count(rows, "trial_metrics")
    run_dir = write(tmp_path / "run", sweep_events([], ended=False))
    mirror, passes = Mirror(run_dir, uri), []
    for number, trial in enumerate(trials):
        write(run_dir, trial_events(trial, BEGIN + 10 * number))
        mirror.sync(artifacts=())
        passes.append(dict(work))
        work.clear()
    assert passes[5:] == [passes[5]] * 20
    assert passes[5] == {  # the one run found is its own: another mirror might have made the same
        **{"create_run": 1, "search_runs": 1, "log_batch": 2, "set_terminated": 1, "trial_record": 1},
        "trial_metrics": 6,
    }


def test_the_front_is_found_by_its_tag(tmp_path, uri):
    run_dir = write(tmp_path / "run", search_events(search_with_replicates(20)))
    mirrored = sync(run_dir, uri)
    sweep, client = load_sweep(run_dir), server.connect(uri)
    expected, found = standing(sweep), {}
    for place in ("front", "near-front", "dominated", "stopped", "failed"):
        query = f"tags.\"astmoa.frontier\" = '{place}'"
        for run in client.search_runs([mirrored.experiment_id], query):
            found[run.data.tags["astmoa.trial_id"]] = place, run.data.tags["astmoa.phase"]
    assert found == {
        trial.trial_id: (expected[trial.point] if trial.state == "completed" else trial.state, trial.phase)
        for trial in sweep.trials
    }
    assert {"front", "dominated", "stopped"} <= {place for place, _ in found.values()}


def test_only_changed_standings_are_sent(tmp_path, uri, monkeypatch):
    """t0 and t1 are on the front; t2 pushes t1 off it; t3 changes nobody's place."""
    scores = {"t0": (10_000, 0.3), "t1": (20_000, 0.5), "t2": (15_000, 0.9), "t3": (90_000, 0.1)}
    trials = [Trial(n, config(i + 1), size, accuracy) for i, (n, (size, accuracy)) in enumerate(scores.items())]
    running = [dataclasses.replace(trial, state="running") for trial in trials]
    run_dir = write(tmp_path / "run", sweep_events(running, ended=False))
    mirror = Mirror(run_dir, uri)
    mirror.sync()
    sent = []
    original = mlflow_client().log_batch

    def log_batch(self, run_id, metrics=(), params=(), tags=(), **options):
        standings = [tag.value for tag in tags if tag.key == "astmoa.frontier"]
        sent.append((self.get_run(run_id).data.tags.get("astmoa.trial_id"), *standings))
        return original(self, run_id, metrics, params, tags, **options)

    monkeypatch.setattr(mlflow_client(), "log_batch", log_batch)
    for trial, expected in zip(
        trials,
        [
            [("t0", "front"), (None,)],
            [("t1", "front"), (None,)],
            [("t1", "dominated"), ("t2", "front"), (None,)],
            [("t3", "dominated"), (None,)],
        ],
        strict=True,
    ):
        write(run_dir, trial_events(trial, BEGIN + 500)[-1:])
        mirror.sync(artifacts=())
        assert sent == expected
        sent.clear()
    states = {name: run.data.tags["astmoa.frontier"] for name, run in runs(uri)[2].items()}
    assert states == {"t0": "front", "t1": "dominated", "t2": "front", "t3": "dominated"}


def test_a_search_says_how_it_went_and_why_it_ended(tmp_path, uri):
    """A budget cuts trials short: that is an end as planned, of the sweep; the trials have none."""
    cut = Trial("cut", config(9, 9), state="running", phase="search")
    events = search_events([*search_with_replicates(20), cut])
    events[-1]["reason"] = "8 device-hours are spent"
    run_dir = write(tmp_path / "run", events)
    sync(run_dir, uri)
    client, parent, children = runs(uri, "frontier")
    assert (parent.info.status, children["cut"].info.status) == ("FINISHED", "KILLED")
    assert parent.data.tags["astmoa.end_reason"] == "8 device-hours are spent"
    assert parent.data.params["search.sampler"] == "nsga2"
    trace = load_sweep(run_dir).hypervolume_trace()
    history = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [(row.step, row.timestamp, row.value) for row in history] == [
        (row.num_completed, round(1000 * row.time), row.hypervolume) for row in trace
    ]
    assert float(parent.data.tags["astmoa.hypervolume"]) == trace[-1].hypervolume
    assert parent.data.metrics["epochs_spent"] == load_sweep(run_dir).num_epochs - cut.epochs  # at the last end
    ends = len([event for event in events if event["type"] == "end"])
    assert len(client.get_metric_history(parent.info.run_id, "trials_stopped")) == ends


def test_an_end_that_was_not_the_last_is_taken_back(tmp_path, uri):
    events = interrupted_and_resumed()
    resume = next(i for i, event in enumerate(events) if event["type"] == "resume")
    reasons = []
    for begin, end in ((0, resume), (resume, resume + 1), (resume + 1, len(events))):
        run_dir = write(tmp_path / "run", events[begin:end])
        sync(run_dir, uri)
        reasons.append(runs(uri)[1].data.tags["astmoa.end_reason"])
    assert reasons == ["interrupted", "", "every trial ended"]


def test_long_trials_and_wide_configurations_fit_mlflows_limits(tmp_path, uri, monkeypatch):
    batches = []
    original = mlflow_client().log_batch

    def log_batch(self, run_id, metrics=(), params=(), tags=(), **options):
        batches.append((len(metrics), len(params), [tag.key for tag in tags]))
        return original(self, run_id, metrics, params, tags, **options)

    monkeypatch.setattr(mlflow_client(), "log_batch", log_batch)
    events = sweep_events([Trial("t0", config(), epochs=330)])
    events[1]["config"]["extra"] = {f"key{i}": "x" * 9000 for i in range(150)}
    sync(write(tmp_path / "run", events), uri)
    client, _, children = runs(uri)
    run = children["t0"]
    assert len(client.get_metric_history(run.info.run_id, "lr")) == 330
    assert len([key for key in run.data.params if key.startswith("extra.")]) == 150
    *earlier, last, _ = batches  # and the sweep's own
    assert all(metrics + params <= 1000 and params <= 100 for metrics, params, _ in [*earlier, last])
    assert not any(tags for _, _, tags in earlier)  # what vouches for all rows comes with the last ones
    assert last[2][-1] == "astmoa.mirrored"


def test_two_sweeps_of_a_study_share_an_experiment_and_nothing_else(tmp_path, uri):
    first = sync(write(tmp_path / "a", sweep_events(every_state())), uri)
    second = sync(write(tmp_path / "b", sweep_events(every_state()[:1], sweep_id="other")), uri)
    assert first.experiment_id == second.experiment_id
    assert first.parent_run_id != second.parent_run_id
    found = server.connect(uri).search_runs([first.experiment_id])
    assert len(found) == 1 + 5 + 1 + 1


def test_a_deleted_experiment_comes_back(run_dir, uri):
    first = sync(run_dir, uri)
    server.connect(uri).delete_experiment(first.experiment_id)
    assert sync(run_dir, uri).experiment_id == first.experiment_id


def test_a_sweep_that_failed_altogether(tmp_path, uri):
    sync(write(tmp_path / "run", sweep_events([Trial("t0", config(), state="failed")])), uri)
    assert runs(uri)[1].info.status == "FAILED"


def test_a_folder_without_a_sweep(tmp_path, uri):
    with pytest.raises(RunError, match=r"no journal.jsonl there"):
        sync(tmp_path, uri)
    write(tmp_path / "run", [])
    with pytest.raises(RunError, match="begins with no sweep"):
        sync(tmp_path / "run", uri)


def test_server_down(run_dir):
    address = f"http://ann:hush@127.0.0.1:{free_port()}"
    begin = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        sync(run_dir, address)
    assert time.monotonic() - begin < 15
    message = str(caught.value)
    assert "connection refused" in message
    assert f"astmoa track {run_dir} --tracking-uri" in message
    assert "hush" not in message
    assert "\n" not in message


def test_server_that_never_answers(run_dir):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(TrackingError, match="no answer in time"):
            sync(run_dir, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - begin < 17


def test_a_place_that_cannot_be_written(run_dir, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(TrackingError, match="astmoa track"):
        sync(run_dir, f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def test_the_users_own_patience_wins(run_dir, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    sync(run_dir, uri)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


def test_live_mirror_follows_a_sweep(tmp_path, uri):
    events = sweep_events(every_state()[:2])
    run_dir = tmp_path / "run"
    with LiveMirror(run_dir, uri, interval=0.1, warn=pytest.fail) as live:  # before there is a journal
        time.sleep(0.3)
        journal = Journal(run_dir)
        time.sleep(0.3)  # an empty journal
        for event in events[:4]:
            journal.append(**event)
        deadline = time.monotonic() + 60
        while not (found := _children_or_none(uri)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found["t0"].info.status == "RUNNING"
        for event in events[4:]:
            journal.append(**event)
        journal.close()
        (run_dir / "table.md").write_text("written at the end")
    assert live.error is None
    assert live.close() is None  # again does no harm
    client, parent, children = runs(uri)
    assert {parent.info.status, *(run.info.status for run in children.values())} == {"FINISHED"}
    assert "table.md" in [file.path for file in client.list_artifacts(parent.info.run_id)]


def test_live_mirror_of_a_sweep_that_never_began(tmp_path, uri):
    live = LiveMirror(tmp_path / "run", uri, interval=0.05, warn=pytest.fail)
    time.sleep(0.2)
    assert live.close() is None
    assert not (tmp_path / "run").exists()


def _children_or_none(uri):
    try:
        return runs(uri)[2]
    except (AttributeError, ValueError, AssertionError):  # no experiment, or no parent yet
        return None


class Flaky:
    """A mirror whose tracker fails the first few times."""

    def __init__(self, failures, error):
        self.failures, self.error, self.calls = failures, error, []

    def __call__(self, mirror, artifacts=ARTIFACTS):
        self.calls.append((time.monotonic(), artifacts))
        if len(self.calls) <= self.failures:
            raise self.error


@pytest.mark.parametrize(
    "error", [TrackingError("the tracker is down"), KeyError("a fault of ours"), RunError("damaged")]
)
def test_a_follower_never_raises_and_loses_patience_slowly(run_dir, uri, monkeypatch, error):
    flaky, warnings = Flaky(3, error), []
    monkeypatch.setattr(Mirror, "sync", lambda self, artifacts=ARTIFACTS: flaky(self, artifacts))
    follower = Follower(run_dir, uri, interval=0.05, warn=warnings.append)
    time.sleep(1.2)
    assert follower.close() is None
    assert len(warnings) == 1  # three failures, one line
    assert str(error.args[0]) in warnings[0]
    waits = [after - before for (before, _), (after, _) in zip(flaky.calls, flaky.calls[1:], strict=False)]
    assert waits[0] >= 0.1
    assert waits[1] >= 0.2
    assert waits[2] >= 0.4
    assert [artifacts for _, artifacts in flaky.calls] == [()] * (len(flaky.calls) - 1) + [ARTIFACTS]


def test_table_and_picture_arrive_while_the_sweep_runs(run_dir, uri, monkeypatch):
    """Once a minute, which is shorter here; the journal goes at the end."""
    sent = []
    monkeypatch.setattr(Mirror, "sync", lambda self, artifacts: sent.append(artifacts))
    monkeypatch.setattr(follower_module, "_REPORT_EVERY", 0.4)
    follower = Follower(run_dir, uri, interval=0.05, warn=pytest.fail)
    time.sleep(1.5)
    follower.close()
    *live, last = sent
    assert last == ARTIFACTS
    report = [names for names in live if names]
    assert set(report) == {("table.md", "table.json", "frontier.png")}
    assert 2 <= len(report) <= 4


def test_live_mirror_of_a_dead_server(run_dir):
    warnings = []
    address = f"http://ann:hush@127.0.0.1:{free_port()}"
    live = LiveMirror(run_dir, address, interval=0.1, warn=warnings.append)
    assert "hush" not in Path(f"/proc/{live._process.pid}/cmdline").read_text()
    wait_for(lambda: warnings)
    message = live.close()
    assert "connection refused" in message
    assert f"astmoa track {run_dir} --tracking-uri http://***@127.0.0.1" in message.replace("'", "")
    assert len(warnings) == 1


def test_a_live_mirror_that_somebody_ended_says_so(run_dir, uri):
    warnings = []
    live = LiveMirror(run_dir, uri, warn=warnings.append)
    live._process.kill()
    wait_for(lambda: warnings)
    assert live.close() == warnings[0]
    assert "exit code -9" in warnings[0]
    assert f"astmoa track {run_dir}" in warnings[0]
    assert "\n" not in warnings[0]


DRIVER = """
import signal, sys, time
from astmoa.tracking import LiveMirror
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it is ignored, as in a shell's background job
live = LiveMirror(sys.argv[1], sys.argv[2], interval=0.1)
try:
    print(live._process.pid, flush=True)
    for _ in range(3000):  # short ones: a signal that comes right before a sleep is answered only after it
        time.sleep(0.1)
except KeyboardInterrupt:
    print(live.close(), flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_driver_leaves_no_mirror_behind(run_dir, uri, how):
    """SIGKILL: the mirror ends as well. Ctrl-C, which a terminal sends to the whole group: the last pass is made."""
    command = [sys.executable, "-c", DRIVER, str(run_dir), uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        mirror = int(driver.stdout.readline())
        if how == signal.SIGKILL:
            wait_for(lambda: _children_or_none(uri))
        os.killpg(driver.pid, how)
        rest = driver.stdout.read()
    wait_for(lambda: not Path(f"/proc/{mirror}").exists())
    if how == signal.SIGINT:
        assert (rest, driver.returncode) == ("None\n", 0)
        assert {name: run.info.status for name, run in runs(uri)[2].items()} == STATUS


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_mirror_recovers_with_the_server(run_dir, uri, monkeypatch):
    mirror = Mirror(run_dir, uri)
    mirror.sync()
    expected = content(uri)
    monkeypatch.setattr(mlflow_client(), "get_experiment_by_name", _raise_connection_error)
    with pytest.raises(TrackingError):
        Mirror(run_dir, uri).sync()
    monkeypatch.undo()
    original = mlflow_client().log_batch
    monkeypatch.setattr(mlflow_client(), "log_batch", _raise_connection_error)
    write(run_dir, trial_events(Trial("t9", config(9)), BEGIN + 900))
    with pytest.raises(TrackingError):
        mirror.sync()
    monkeypatch.setattr(mlflow_client(), "log_batch", original)
    mirror.sync()
    once = content(uri)
    assert max(once.values()) == 1
    assert len([row for row in once if row[0] == "run"]) == len([row for row in expected if row[0] == "run"]) + 1


def _raise_connection_error(*args, **kwargs):
    raise ConnectionError("Connection refused")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://ann:p@ss@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://u:p@db/mlflow?password=hush&x=1", "postgresql://***@db/mlflow?password=***&x=1"),
        ("--tracking-uri https://token@host and user@host.org", "--tracking-uri https://***@host and user@host.org"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_redact(text, clean):
    assert redact(text) == clean


def test_text_is_bounded():
    assert rows.text("x" * 5000) == "x" * 1000
    assert (rows.text(None), rows.text([1, 2]), rows.text(0.1)) == ("null", "[1, 2]", "0.1")


def test_text_is_what_a_database_and_a_page_can_take():
    assert rows.text("two\nlines \x1b[31m\x00 \udcff \u202e") == "two\nlines \\x1b[31m\\x00 \\udcff \\u202e"


def test_words_of_a_journal_arrive_whatever_they_are(tmp_path, uri):
    """Names that are no UTF-8, control characters, what is far too long."""
    events = sweep_events([Trial("t0", config()), Trial("t1", config(2), state="failed")], study="s\udcff\x1b")
    for event in events:
        if event["type"] == "proposal":
            event["label"] = "<b>\udcff\x00" + "x" * 480
        if event.get("error"):
            event["error"] = "\udcff\x1b[31m" * 500
    run_dir = write(tmp_path / "run", events)
    (run_dir / "table.md").write_bytes(b"no UTF-8: \xff | http://ann:hush@host")
    assert sync(run_dir, uri).experiment == r"astmoa/s\udcff\x1b"
    client, parent, children = runs(uri, r"s\udcff\x1b")
    assert children["t0"].info.run_name.startswith(r"<b>\udcff\x00xxx")
    assert children["t1"].data.tags["astmoa.error"].startswith(r"\udcff\x1b[31m\udcff")
    copy = client.download_artifacts(parent.info.run_id, "table.md", str(tmp_path))
    assert Path(copy).read_bytes() == b"no UTF-8: \xff | http://***@host"


def test_ui_command_quotes_paths(tmp_path):
    words = shlex.split(ui_command(f"sqlite:///{tmp_path / 'my runs' / 'mlflow.db'}"))
    assert words[1:4] == ["ui", "--backend-store-uri", f"sqlite:///{tmp_path}/my runs/mlflow.db"]
    assert words[-2:] == ["--port", "5000"]
    assert shutil.which(words[0]) or os.access(words[0], os.X_OK)
    assert shlex.split(ui_command("http://ann:hush@host:5000"))[-1] == "http://***@host:5000"


def test_default_uri(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_uri(tmp_path / "runs" / "one") == default_uri("runs/two") == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_mlflow_is_imported_when_needed_and_is_quiet(run_dir, uri):
    code = (
        "import sys\nimport astmoa.tracking as tracking\nfrom astmoa.errors import TrackingError\n"
        "assert 'mlflow' not in sys.modules\n"
        "tracking.sync(sys.argv[1], sys.argv[2])\n"
        "try:\n    tracking.sync(sys.argv[1], sys.argv[3])\nexcept TrackingError:\n    print('down')\n"
    )
    fresh = f"{uri}.fresh"  # making the tables is what alembic talks about
    command = [sys.executable, "-c", code, str(run_dir), fresh, f"http://127.0.0.1:{free_port()}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "down\n", "")


def test_the_ui_shows_the_runs_and_takes_more_over_http(run_dir, uri, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mirrored = sync(run_dir, uri)
    port = free_port()
    command = shlex.split(ui_command(uri))
    assert command[-1] == "5000"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with started([*command[:-1], str(port)], elsewhere, port):
        site = f"http://127.0.0.1:{port}"
        assert b"<html" in get(site)
        query = {"experiment_ids": [mirrored.experiment_id]}
        found = json.loads(get(f"{site}/api/2.0/mlflow/runs/search", query))["runs"]
        assert len(found) == 6
        picture = f"{site}/get-artifact?path=frontier.png&run_uuid={mirrored.parent_run_id}"
        assert get(picture) == b"\x89PNG picture"

        # The same sweep over HTTP finds its own runs; another one adds its own, artifacts included.
        before = content(uri)
        sync(run_dir, site)
        assert content(uri) == before
        other = write(tmp_path / "runs" / "other", sweep_events(every_state(), sweep_id="other", study="remote"))
        (other / "frontier.png").write_bytes(b"another")
        remote = sync(other, site)
        assert get(f"{site}/get-artifact?path=frontier.png&run_uuid={remote.parent_run_id}") == b"another"
        assert {name: run.info.status for name, run in runs(uri, "remote")[2].items()} == STATUS
    assert [path.name for path in elsewhere.iterdir()] == ["server.log"]


def test_public_names():
    functions = {"check", "default_uri", "redact", "sync", "ui_command"}
    assert set(tracking.__all__) == {"LiveMirror", "Mirror", "Mirrored"} | functions
