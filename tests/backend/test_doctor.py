"""What the doctor says of machines that are fit, and of one for each thing that can be wrong with it."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from astmoa.backend import cluster as planning
from astmoa.backend import doctor, probe
from astmoa.backend.doctor import Machine
from astmoa.cli.doctor_command import Doctor
from astmoa.errors import RunError
from tests.helpers import ROOT
from tests.helpers.machines import Cluster

GIB = 1 << 30
FACTS = {
    "host": "m",
    "python": platform.python_version(),
    "ray": "2.60.0",
    "memory": 8 * GIB,
    "disk": 8 * GIB,
    "package": None,
    "error": None,
    "gpus": None,
    "storage": None,
}


def judged(bytes_to_share=0, **facts):
    import ray

    from astmoa.provenance import package_hash

    told = FACTS | {"ray": ray.__version__, "package": package_hash()} | facts
    return [str(finding) for finding in doctor._judge(Machine("id", "m (10.0.0.1)", 2, 8, GIB, told), bytes_to_share)]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"ray": "2.50.0"}, "Ray 2.50.0, here"),
        ({"package": "0" * 12}, "its astmoa is 000000000000, here"),
        ({"error": "ModuleNotFoundError: No module named 'astmoa'"}, "astmoa does not work there (ModuleNotFoundError"),
        ({"gpus": 1}, "Ray has 2 GPUs there, torch sees 1"),
        ({"memory": GIB // 2}, "0.5 GiB of memory are free, 1.0 GiB are needed"),
        ({"memory": 2 * GIB, "bytes_to_share": 2 * GIB}, "2.0 GiB of memory are free, 3.0 GiB are needed"),
        ({"disk": GIB // 4}, "0.2 GiB are free on its temporary disk"),
        ({"storage": "Permission denied"}, "cannot write to the storage (Permission denied)"),
        ({"storage": "unseen"}, "does not see the storage's folder that was made here; mount it there"),
        ({"python": "3.9.1"}, "Python 3.9.1, here 3."),
    ],
)
def test_each_thing_that_is_wrong_is_one_line_with_the_machine_and_the_fix(facts, words):
    (line,) = judged(**facts)
    assert line.startswith("m (10.0.0.1): ")
    assert words in line
    assert "; " in line
    assert "\n" not in line


def test_a_fit_machine_has_no_findings():
    assert judged(gpus=2) == []


def test_an_object_store_that_is_too_small_is_said_and_no_obstacle():
    machines = [Machine("id", "m", 0, 8, GIB, FACTS)]
    assert doctor.notes(machines, GIB // 2) == []
    (note,) = doctor.notes(machines, 3 * GIB)
    assert "3.0 GiB" in note
    assert "spill to disk" in note


ADDRESSES = {
    "lo": ["127.0.0.1", "::1"],
    "eth0": ["192.168.1.5", "fe80::1%eth0", "fd00::5", "100.64.0.1"],
    "wan0": ["11.1.2.3", "2a01::7%wan0"],
    "down0": ["11.9.9.9"],
}


@pytest.mark.parametrize("closed", [False, True])
def test_addresses_of_the_internets_where_no_firewall_is_known_are_one_note(closed, monkeypatch, tmp_path):
    family = {True: socket.AF_INET6, False: socket.AF_INET}
    told = {
        name: [SimpleNamespace(family=family[":" in address], address=address) for address in addresses]
        + [SimpleNamespace(family=socket.AF_PACKET, address="02:00:00:00:00:01")]
        for name, addresses in ADDRESSES.items()
    }
    monkeypatch.setattr("psutil.net_if_addrs", lambda: told)
    monkeypatch.setattr(
        "psutil.net_if_stats", lambda: {name: SimpleNamespace(isup=name != "down0") for name in ADDRESSES}
    )
    monkeypatch.setattr(probe, "CLOSED", tmp_path / "firewall")
    if closed:
        (tmp_path / "firewall").touch()
    public = probe._public_addresses()
    assert public == ([] if closed else ["11.1.2.3", "2a01::7%wan0"])
    machines = [Machine(name, name, 0, 8, GIB, FACTS | {"public": public}) for name in ("a", "b")]
    machines.append(Machine("c", "late", 0, 8, GIB, {}))
    notes = doctor.notes(machines)
    assert [note[:40] for note in notes] == ([] if closed else ["a (and 1 more): Ray listens on 11.1.2.3 "])


# -- sharing out what machines have


@pytest.mark.parametrize(
    ("machines", "options", "expected"),
    [
        ([{"CPU": 8}], (100, None, None), (1, 0, 8)),
        ([{"CPU": 8}], (100, 2, None), (4, 0, 2)),
        ([{"CPU": 8, "GPU": 1}], (100, None, None), (2, 0.25, 4)),
        ([{"CPU": 8, "GPU": 2}], (100, None, 0.4), (2, 0.4, 4)),  # two on each device, not five on both
        ([{"CPU": 8, "GPU": 2}], (100, None, 0.3), (1, 0.3, 6)),
        ([{"CPU": 8, "GPU": 3}], (100, None, 2), (8, 2, 1)),
        ([{}, {"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}], (100, None, 1), (4, 1, 2)),  # a head without cores
        ([{"CPU": 64, "GPU": 8}, {"CPU": 8, "GPU": 8}], (100, None, None), (0.25, 0.25, 64)),  # fits both
        ([{"CPU": 4}], (1, None, None), (4, 0, 1)),
    ],
)
def test_what_a_trial_holds_fits_every_machine_and_every_device(machines, options, expected, monkeypatch):
    monkeypatch.setattr(planning, "_machines", lambda: machines)
    planned = planning.plan_resources(*options)
    assert (planned.cpus, planned.gpus, planned.at_once) == expected


def test_a_trial_alone_gets_a_whole_device():
    shared = planning.Resources(cpus=2, gpus=0.25, at_once=4)
    assert shared.of(alone=False) == {"CPU": 2, "GPU": 0.25}
    assert shared.of(alone=True) == {"CPU": 2, "GPU": 1.0}
    assert not planning.Resources(cpus=2, gpus=2, at_once=4).shared_device


def test_without_a_core_for_trials_it_is_said(monkeypatch):
    monkeypatch.setattr(planning, "_machines", lambda: [{}])
    with pytest.raises(RunError, match="no machine here has a CPU core"):
        planning.plan_resources(1, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes": 0}, "--nodes 0 is not possible: give at least 1"),
        ({"wait": -5.0}, "--wait -5 is not possible: give a number of seconds"),
        ({"wait": float("nan")}, "--wait nan is not possible"),
        ({"gpus_per_trial": 1.5}, "--gpus-per-trial 1.5 is not possible: give a share from 0 to 1, or a whole number"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(options, words):
    with pytest.raises(RunError, match=re.escape(words)):
        Doctor(**options).run()


# -- real machines


def ask(environment, *arguments):
    command = [sys.executable, "-m", "astmoa.cli.main", "doctor", *map(str, arguments)]
    # Not in the checkout: Ray has workers look for modules where the driver was called.
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


@pytest.mark.slow
def test_a_machine_by_itself_is_looked_at_without_a_cluster(tmp_path):
    code, out, err = ask(
        os.environ | {"RAY_ADDRESS": "", "PYTHONPATH": str(ROOT)},
        "--storage",
        tmp_path / "new",
        "--backbone",
        "builtin",
    )
    assert (code, err) == (0, [])
    assert "fingerprint" in out[0]
    assert socket.gethostname() in out[1]
    assert out[-1] == "All is well."
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_every_machine_of_a_cluster_is_looked_at_and_what_is_wrong_is_said(tmp_path):
    storage, strange = tmp_path / "storage", tmp_path / "strange"
    storage.mkdir()
    (strange / "astmoa").mkdir(parents=True)
    (strange / "astmoa" / "__init__.py").write_text("raise ImportError('half an installation')")
    cluster = Cluster()
    try:
        environment = cluster.environment | {"RAY_ADDRESS": cluster.address}
        cluster.add(gpus=0)
        code, out, err = ask(environment, "--nodes", 2, "--storage", storage, "--json")
        assert (code, err) == (0, [])
        assert len(json.loads(out[-1])["machines"]) == 2
        cluster.add(gpus=1)  # which torch does not see
        cluster.add(gpus=0, within=["env", f"PYTHONPATH={strange}"])
        private = os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
        if private:  # a machine that sees another disk there
            cover = f'mount -t tmpfs none "{storage}" && exec "$@"'
            cluster.add(gpus=0, within=["unshare", "-m", "sh", "-c", cover, "sh"])
        nodes = 5 if private else 4
        code, out, err = ask(
            environment, "--nodes", nodes, "--storage", storage, "--gpus-per-trial", 3,
            "--tracking-uri", "http://127.0.0.1:9",
        )  # fmt: skip
        assert code == 2
        assert len([line for line in out if " CPUs, " in line]) == nodes
        expected = [
            "torch sees 0",
            "half an installation",
            "--gpus-per-trial 3: no machine",
            "tracking at http://127.0.0.1:9",
        ]
        expected += ["does not see the storage's folder"] if private else []
        for words in expected:
            assert [line for line in err if words in line], (words, err)
        assert len(err) == len(expected)
        assert list(storage.iterdir()) == []
        code, _, err = ask(environment, "--nodes", nodes + 1, "--wait", 1)
        assert code == 2
        assert err == [
            f"error: {nodes} of {nodes + 1} machines are up after 1 s; look at the logs of those that are missing"
        ]
    finally:
        cluster.close()
