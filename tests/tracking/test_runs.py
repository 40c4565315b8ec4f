"""A sweep's runs are found again whatever was done to them, and none is there twice."""

import json
import shutil
import threading

import pytest

from astmoa.tracking import Mirror, server, sync
from tests.helpers.journals import BEGIN, Trial, config, every_state, sweep_events, trial_events, write
from tests.helpers.trackers import content, mlflow_client, runs

pytestmark = pytest.mark.slow  # MLflow takes seconds to import


@pytest.fixture
def run_dir(tmp_path):
    return write(tmp_path / "runs" / "first", sweep_events(every_state()))


def ids(uri, study="n_vs_p"):
    """Of the runs that are not in the bin, by trial; the parent's under no name."""
    _, parent, children = runs(uri, study)
    return {"": parent.info.run_id} | {name: run.info.run_id for name, run in children.items()}


def gone_for_good(uri, *run_ids):
    """As `mlflow gc` does it."""
    store = server.connect(uri)._client._tracking_client.store
    for run_id in run_ids:
        store.delete_run(run_id)
        store._hard_delete_run(run_id)


@pytest.mark.parametrize("which", [("", "t1"), ("", "t0", "t1", "t2", "t3", "t4")], ids=["two", "all"])
def test_what_was_deleted_comes_out_of_the_bin(run_dir, uri, which):
    sync(run_dir, uri)
    before, named = content(uri), ids(uri)
    for name in which:
        server.connect(uri).delete_run(named[name])
    assert sync(run_dir, uri).num_restored == len(which)
    assert ids(uri) == named
    assert content(uri) == before
    assert sync(run_dir, uri).num_restored == 0


@pytest.mark.parametrize("which", [("", "t1"), ("", "t0", "t1", "t2", "t3", "t4")], ids=["two", "all"])
def test_what_is_gone_for_good_is_made_again_and_the_rest_is_not(run_dir, uri, which):
    sync(run_dir, uri)
    before, named = content(uri), ids(uri)
    gone_for_good(uri, *(named[name] for name in which))
    sync(run_dir, uri)
    assert content(uri) == before  # under the new parent, too
    assert {name for name, run_id in ids(uri).items() if run_id != named[name]} == set(which)


def test_a_renamed_experiment_keeps_its_sweeps(run_dir, uri, tmp_path):
    first, before = sync(run_dir, uri), content(uri)
    client = server.connect(uri)
    client.rename_experiment(first.experiment_id, "mine")
    again = sync(run_dir, uri)
    assert (again.experiment, again.experiment_id) == ("mine", first.experiment_id)
    assert content(uri) == before
    other = sync(write(tmp_path / "runs" / "other", sweep_events(every_state()[:1], sweep_id="other")), uri)
    assert other.experiment == "astmoa/n_vs_p"  # another sweep of the study goes where its name says
    client.delete_experiment(first.experiment_id)
    assert sync(run_dir, uri).experiment == "mine"
    assert content(uri) > before


def test_a_deleted_experiment_comes_back_with_its_runs(run_dir, uri):
    first = sync(run_dir, uri)
    before, named = content(uri), ids(uri)
    server.connect(uri).delete_experiment(first.experiment_id)
    assert sync(run_dir, uri).experiment_id == first.experiment_id
    assert ids(uri) == named
    assert content(uri) == before


def test_what_is_there_twice_becomes_one(run_dir, uri):
    """Earlier versions made every trial again under a new parent."""
    sync(run_dir, uri)
    before = content(uri)
    client, parent, children = runs(uri)
    doubles = {}
    for name, run in {"": parent, **children}.items():
        tags = run.data.tags | {"astmoa.mirrored": "0"} | ({"mlflow.parentRunId": doubles[""]} if name else {})
        doubles[name] = client.create_run(run.info.experiment_id, run.info.start_time, tags).info.run_id
    sync(run_dir, uri)
    kept = ids(uri)
    first = {"": parent.info.run_id} | {name: run.info.run_id for name, run in children.items()}
    assert kept == {name: min(first[name], doubles[name]) for name in first}
    gone_for_good(uri, *({*first.values(), *doubles.values()} - {*kept.values()}))
    assert set(content(uri)) == set(before)


def test_tags_that_somebody_wrote_over_stop_nothing(run_dir, uri):
    sync(run_dir, uri)
    before = content(uri)
    client, parent, children = runs(uri)
    for value in ("many", "-1", ""):
        client.set_tag(children["t0"].info.run_id, "astmoa.mirrored", value)
        client.set_tag(parent.info.run_id, "astmoa.artifacts", f"[{value}")
        sync(run_dir, uri)
        assert content(uri) == before
    client.delete_tag(children["t1"].info.run_id, "astmoa.trial_id")  # nobody knows what that is any more
    sync(run_dir, uri)
    assert len(server.connect(uri).search_runs([parent.info.experiment_id])) == 7


@pytest.mark.parametrize("moment", [1, 3])
def test_a_copy_that_is_mirrored_in_the_middle_of_it_makes_nothing_twice(run_dir, uri, monkeypatch, tmp_path, moment):
    """Another machine mirrors the same sweep from its copy of the folder, between our looking and our making."""
    other = shutil.copytree(run_dir, tmp_path / "copy")
    original, made = mlflow_client().create_run, []

    def create_run(self, *arguments, **options):
        made.append(1)
        if len(made) == moment:
            sync(other, uri)
        return original(self, *arguments, **options)

    monkeypatch.setattr(mlflow_client(), "create_run", create_run)
    sync(run_dir, uri)
    assert len(made) > moment
    assert set(ids(uri)) == {"", "t0", "t1", "t2", "t3", "t4"}
    named = ids(uri)
    for folder in (run_dir, other):
        sync(folder, uri)
    assert ids(uri) == named
    statuses = {name: run.info.status for name, run in runs(uri)[2].items()}
    assert statuses == {"t0": "FINISHED", "t1": "FINISHED", "t2": "FAILED", "t3": "KILLED", "t4": "KILLED"}


def test_copies_mirrored_at_the_same_time_make_nothing_twice(run_dir, uri, tmp_path):
    folders = [run_dir, *(shutil.copytree(run_dir, tmp_path / f"copy{i}") for i in range(3))]
    failed, begin = [], threading.Barrier(len(folders))

    def mirror(folder):
        begin.wait()
        try:
            sync(folder, uri)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=mirror, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(error)[:400] for error in failed] == []
    assert set(ids(uri)) == {"", "t0", "t1", "t2", "t3", "t4"}
    sync(run_dir, uri)
    assert json.loads(runs(uri)[1].data.tags["astmoa.artifacts"]).keys() == {"journal.jsonl"}


def test_a_run_that_is_deleted_while_it_is_mirrored_comes_back(run_dir, uri):
    mirror = Mirror(run_dir, uri)
    mirror.sync()
    named, client = ids(uri), server.connect(uri)
    for name in ("t4", ""):
        client.delete_run(named[name])
        write(run_dir, trial_events(Trial("t4", config(4, 1)), BEGIN + 500)[1:])
        mirror.sync()
        assert ids(uri) == named
    gone_for_good(uri, named["t4"], named[""])
    write(run_dir, trial_events(Trial("t4", config(4, 1)), BEGIN + 600)[1:])
    mirror.sync()
    assert set(ids(uri)) == set(named)
    assert runs(uri)[2]["t4"].info.status == "FINISHED"
