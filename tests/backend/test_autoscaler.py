"""Machines that are not there yet: how many there may be, and that they come for a sweep and go after it."""

from __future__ import annotations

import collections
import subprocess
import sys
import time

import pytest

from astmoa.backend import autoscaler
from astmoa.records.load import load_sweep
from tests.helpers import ROOT
from tests.helpers.elastic import ElasticCluster
from tests.helpers.machines import Rig, start_sweep, until
from tests.helpers.sweeps import proposals

HEAD, GPU = {"CPU": 0}, {"CPU": 4, "GPU": 1}


def write(tmp_path, types, head="head", **others):
    import yaml

    path = tmp_path / "bootstrap.yaml"
    path.write_text(yaml.safe_dump({"available_node_types": types, "head_node_type": head, **others}))
    return path


def test_as_many_machines_are_expected_as_their_type_and_the_cluster_may_have(tmp_path):
    types = {"head": {"resources": HEAD, "max_workers": 0}, "gpu": {"resources": GPU, "max_workers": 3}}
    assert autoscaler._read(write(tmp_path, types)).most == [HEAD, GPU, GPU, GPU]
    assert autoscaler._read(write(tmp_path, types, max_workers=2)).most == [HEAD, GPU, GPU]
    assert autoscaler._read(write(tmp_path, types, max_workers=2)).least == 1


def test_of_ones_own_machines_the_number_is_known_and_no_more(tmp_path):
    types = {"node": {"resources": {}, "min_workers": 2, "max_workers": 2}}
    known = autoscaler._read(write(tmp_path, types, head="node", max_workers=2))
    assert (known.least, known.most) == (3, [{}])


@pytest.mark.parametrize("text", ["", "- 1", "available_node_types: {}", "{", "available_node_types: 3"])
def test_what_is_no_such_file_is_no_autoscaler(text, tmp_path):
    path = tmp_path / "bootstrap.yaml"
    path.write_text(text)
    assert autoscaler._read(path) is None
    assert autoscaler._read(tmp_path / "missing") is None


@pytest.fixture
def told(monkeypatch):
    """What a sweep is told that waits for two of three machines; they come as `nodes` has it."""
    monkeypatch.setattr(autoscaler, "autoscaler", lambda: autoscaler.Autoscaler([], 3, since=time.time()))
    monkeypatch.setattr(autoscaler.time, "sleep", lambda seconds: None)
    lines = []

    def wait(*nodes):
        counts = iter(nodes)
        last = nodes[-1]
        monkeypatch.setattr(autoscaler.ray, "nodes", lambda: [{"Alive": True}] * next(counts, last))
        autoscaler.wait_for_all(lines.append)
        return lines

    return wait


def test_a_sweep_waits_for_machines_that_are_to_be_up(told):
    assert told(1, 2, 3) == [
        "1 of 3 machines are up that the cluster file asks for; waiting 300 s at most for the others"
    ]


def test_a_sweep_goes_on_without_machines_that_do_not_come(told, monkeypatch):
    monkeypatch.setattr(autoscaler, "PATIENCE", 0.1)
    lines = told(2)
    assert lines[1].startswith("2 of 3 machines are up that the cluster file asks for; going on with these.")


def test_nobody_waits_for_what_did_not_come_in_time_or_went(told, monkeypatch):
    monkeypatch.setattr(autoscaler, "autoscaler", lambda: autoscaler.Autoscaler([], 3, since=time.time() - 301))
    (line,) = told(2)
    assert "going on with these" in line


def test_nobody_waits_where_all_are_up_or_nothing_is_known(told, monkeypatch):
    assert told(3) == []
    monkeypatch.setattr(autoscaler, "autoscaler", lambda: None)
    assert told(1) == []


@pytest.mark.slow
def test_machines_come_for_a_sweep_and_go_after_it(tmp_path):
    """The head runs no trials, and nothing else is up when the sweep begins: as `ray up cluster/gpu.yaml` leaves it."""
    trials = proposals(seeds=(0, 1), epochs=3)
    cluster = ElasticCluster(most=2, idle_minutes=0.1)
    try:
        looked = subprocess.run(
            [sys.executable, "-m", "astmoa.cli.main", "doctor"],
            cwd=ROOT, env={**cluster.environment, "RAY_ADDRESS": cluster.address}, capture_output=True, text=True,
        )  # fmt: skip
        assert looked.returncode == 0, looked.stderr
        sweep = start_sweep(
            cluster, tmp_path, run_dir=tmp_path / "run", trials=trials, rig=Rig(tmp_path), gpus_per_trial=0.5
        )
        until(lambda: not sweep.alive, "the sweep's end")
        assert "every trial ended" in sweep.log.read_text()
        assert +collections.Counter(load_sweep(tmp_path / "run").states) == {"completed": len(trials)}
        machines = sorted(cluster.folder.glob("*.session"))
        assert len(machines) == 2  # for four trials at once
        command = ["pgrep", "-s", ",".join(machine.read_text() for machine in machines)]
        until(lambda: not subprocess.run(command, capture_output=True).stdout, "idle machines to be given back", 60)
    finally:
        cluster.close()
