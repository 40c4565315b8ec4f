"""`ray up`, `ray submit`, `ray rsync-down`, `ray down` with cluster/on_prem.yaml, over real ssh.

A head and two workers, which are empty when it begins and install astmoa themselves (tests/helpers/hosts.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from astmoa.records.journal import read_journal
from astmoa.records.load import load_sweep
from astmoa.training.checkpoint import load_tensors
from tests.helpers import ROOT
from tests.helpers.holders import HOLDER
from tests.helpers.hosts import NEEDED, SHARED, Hosts, answers, program, words
from tests.helpers.machines import free_port, until
from tests.helpers.runs import write_tones

pytestmark = pytest.mark.slow

EPOCHS = 30
SECRET = "PLANTED5ec4e7"
VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "OPENAI_API_KEY", "MLFLOW_TRACKING_PASSWORD")
"""Secrets that every machine has in its environment, as cluster/README.md has it."""
SWEEP = ("--quick", "--epochs", str(EPOCHS), "--budget", "120000", "--batch-size", "6")


class Site:
    """Hosts, and the file that makes a cluster of them."""

    def __init__(self, hosts: Hosts):
        self.hosts, self.head = hosts, hosts[0]
        self.file = hosts.folder / "cluster.yaml"
        self.kept = hosts.folder / "shared/astmoa" if hosts.network else self.head.home / "kept"
        """The runs, seen from outside."""
        workers = [hosts[place].address for place in range(1, len(hosts))]
        changes = {
            "!SET_ME 192.168.1.10": self.head.address,
            "!SET_ME [192.168.1.11, 192.168.1.12]": json.dumps(workers),
            "min_workers: !SET_ME 2": f"min_workers: {len(workers)}",
            "max_workers: !SET_ME 2": f"max_workers: {len(workers)}",
            "!SET_ME ubuntu": hosts.user,
            "!SET_ME ~/.ssh/id_ed25519": str(hosts.folder / "key"),
            "!SET_ME bash": "bash",
        }
        self.port, self.storage = 5000, "/mnt/shared/astmoa"
        """MLflow's on the head; and where the runs are kept, as the head sees it."""
        if hosts.network is None:  # this computer, whose ports may be taken; and Ray knows none for ssh
            self.port, self.storage = free_port(), f"{hosts.home}/kept"
            changes["!SET_ME ~/.ssh/id_ed25519"] += f"\n  ssh_proxy_command: nc %h {self.head.port}"
            own = f"ASTMOA_TRACKER_PORT={self.port} RAY_TMPDIR={hosts.home}"
            changes["'ASTMOA_STORAGE=/mnt/shared/astmoa'"] = f"ASTMOA_STORAGE={self.storage} {own}"
            changes["http://127.0.0.1:5000"] = f"http://127.0.0.1:{self.port}"
        text = (ROOT / "cluster/on_prem.yaml").read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        assert "!SET_ME" not in text
        self.file.write_text(text)

    def ray(self, command: str, *arguments: str | Path, check: bool = True) -> str:
        return self.hosts.ray(command, self.file, *arguments, check=check)

    def exec(self, line: str) -> str:
        return self.ray("exec", line)

    @contextlib.contextmanager
    def tunnel(self) -> Iterator[str]:
        """To MLflow, as cluster/README.md has it."""
        with self.hosts.started("attach", self.file, "--port-forward", str(self.port)):
            until(lambda: answers("127.0.0.1", self.port), "a tunnel")
            yield f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def site():
    missing = [name for name in NEEDED if program(name) is None]
    if os.geteuid() or missing:
        pytest.skip(f"needs root, and {', '.join(missing) or 'all programs are there'}: no sshd, no user can be made")
    # Five gigabytes of packages each, where they cannot be shared (uv shares them, pip does not).
    hosts = Hosts(3 if shutil.disk_usage("/var/tmp").free > 16e9 else 1)
    try:
        if hosts.network is None and answers("127.0.0.1", 6379):
            pytest.skip("port 6379 is taken, by another Ray perhaps")
        yield Site(hosts)
    finally:
        hosts.close()


@pytest.fixture(scope="module")
def up(site):
    for host in site.hosts:
        with (host.home / ".bashrc").open("a") as file:
            file.writelines(f"\nexport {name}={SECRET}\n" for name in VARIABLES)
    site.ray("up", "--yes")
    return site


@pytest.fixture(scope="module")
def machines(up):
    """What doctor tells of each, when all have joined."""
    told = up.exec(f"astmoa doctor --nodes {len(up.hosts)} --wait 300 --json 2>/dev/null")
    (line,) = [line for line in told.splitlines() if line.startswith('{"machines"')]
    told = json.loads(line)
    assert told["findings"] == []
    return told["machines"]


@pytest.fixture(scope="module")
def sweep(up, machines, tmp_path_factory):
    """The words after `ray submit FILE`: a sweep of sounds, and of a method besides, that only the head has."""
    up.ray("rsync-up", f"{write_tones(tmp_path_factory.mktemp('tones'))}/", "~/sounds/")
    up.ray("rsync-up", f"{ROOT}/docs/examples/my_adapters.py", "~/my_adapters.py")
    data = ("--data", "csv", "--data-root", "sounds", "--seconds", "0.6")
    data += (f"--tracking-uri=http://ann:{SECRET}@127.0.0.1:{up.port}",)  # MLflow asks for none, and does not mind
    return ("sweeps/n_vs_p.py", "--", *SWEEP, *data, "--also", "my_adapters.py:Scaled,bottleneck_dim=2")


@pytest.fixture(scope="module")
def submitted(up, sweep):
    return up.ray("submit", *sweep)


def test_every_machine_has_installed_what_the_constraints_say(up, machines):
    assert len(machines) == len(up.hosts)
    pins = (ROOT / "cluster/constraints.txt").read_text()
    for machine in machines:
        assert f"\nray=={machine['facts']['ray']}\n" in pins
    for host in up.hosts:
        assert f"{host.home}/.astmoa/venv/" in host.run("find", f"{host.home}/.astmoa/venv/", "-name", "torch")


def test_a_submitted_sweep_runs_there_with_its_arguments(up, submitted):
    (run_dir,) = up.kept.glob("n_vs_p-*")
    sweep = load_sweep(run_dir)
    assert sweep.states["completed"] == 7
    assert [trial.label for trial in sweep.trials if trial.config["method"].get("code")] == ["Scaled r2"]
    assert sweep.header["options"]["budget"] == 120000
    assert {len(trial.epochs) for trial in sweep.trials} == {EPOCHS}
    assert "Tracking is behind" not in submitted
    assert "Traceback" not in submitted
    assert (run_dir / "frontier.png").is_file()


def test_the_tracker_on_the_head_has_it_and_is_reached_through_a_tunnel(up, submitted):
    from mlflow import MlflowClient

    with up.tunnel() as uri:
        client = MlflowClient(uri)
        (experiment,) = [e for e in client.search_experiments() if "n_vs_p" in e.name]
        runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 8
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_from_elsewhere_ssh_alone_answers(up, machines):
    network = up.hosts.network
    if network is None or not (program("nft") and program("sudo")):
        pytest.skip("needs network namespaces, nft and sudo")
    try:
        up.head.run(
            program("nft"),
            "add table inet t; add chain inet t c; add rule inet t c reject with tcp reset; delete table inet t",
        )
    except OSError as error:
        pytest.skip(f"nftables does not work in this kernel: {error}")

    def seen(place):
        """Ports that listen on more than loopback there, and those of them that answer here, which is no machine of
        the cluster."""
        listed = [line.split()[3].rpartition(":") for line in up.hosts[place].run("ss", "-tlnH").splitlines()]
        ports = {int(port) for address, _, port in listed if "127.0.0.1" not in address}
        open_to_us = [
            {port for port in ports if answers(address, port)}
            for address in (up.hosts[place].address, network.public(place))
        ]
        return ports, *open_to_us

    for place in range(len(up.hosts)):
        ports, *open_to_us = seen(place)
        assert len(ports - {22}) > 5  # Ray's
        assert open_to_us == [{22}, set()]  # sshd listens on the first address alone
    up.hosts[1].run("nc", "-z", up.head.address, "6379")
    assert [machine["facts"]["public"] for machine in machines] == [[]] * len(up.hosts)
    firewall = "bash ~/.astmoa/source/cluster/firewall.sh"
    try:
        up.exec(f"{firewall} open")
        _, *open_to_us = seen(0)
        assert all(6379 in answering for answering in open_to_us)
        assert f"Ray listens on {network.public(0)} too" in up.exec("astmoa doctor 2>/dev/null")
    finally:
        up.exec(f"{firewall} close")
    assert seen(0)[1] == {22}


def learned(run_dir):
    """What is told of every epoch of every trial, but for times."""
    keys = ("trial_id", "epoch", "train_loss", "val_loss", "val_accuracy", "lr")
    events = [event for event in read_journal(run_dir) if event["type"] == "epoch"]
    return sorted(tuple(event[key] for key in keys) for event in events)


def test_a_sweep_ends_as_if_nothing_had_happened_where_a_host_loses_power_and_another_its_network(up, submitted, sweep):
    if len(up.hosts) < 3:
        pytest.skip("one host only: no network namespaces here, or no disk for more")
    run_dir = up.kept / "disturbed"
    epochs = lambda: learned(run_dir) if (run_dir / "journal.jsonl").is_file() else []  # noqa: E731
    with up.hosts.started("submit", up.file, *sweep, "--out", run_dir.name) as (running, told):
        # Six at once, two of them on each host.
        until(lambda: len({trial_id for trial_id, *_ in epochs()}) > 4 or running.poll() is not None, "five trials")
        shown = [line for host in up.hosts for line in host.processes() if SECRET in line]
        assert shown
        assert [line for line in shown if "n_vs_p.py" not in line] == [], "more than what was typed"
        up.hosts[1].power_off()
        try:
            up.hosts.network.set(2, "down")
            time.sleep(20)
            up.hosts.network.set(2, "up")
            assert running.wait(300) == 0, words(told)
        finally:
            up.hosts.power_on(1, empty=False)
    assert "Traceback" not in told.read_text()
    assert [event for event in read_journal(run_dir) if event["type"] == "retry"]
    (undisturbed,) = up.kept.glob("n_vs_p-*")
    assert epochs() == learned(undisturbed)
    adapters = [path.relative_to(undisturbed) for path in undisturbed.glob("trials/*/adapter.safetensors")]
    assert len(adapters) == 7
    for adapter in adapters:
        (before, _), (after, _) = load_tensors(undisturbed / adapter), load_tensors(run_dir / adapter)
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_results_come_back_with_one_command(up, submitted, tmp_path):
    up.ray("rsync-down", f"{up.storage}/", f"{tmp_path}/")
    (run_dir,) = tmp_path.glob("n_vs_p-*")
    assert read_journal(run_dir)[-1]["type"] == "sweep_end"
    assert (run_dir / "best" / "adapter.safetensors").is_file()


def test_nothing_from_the_environment_is_written_down(up, submitted):
    """The cluster's token least of all."""
    tokens = [host.home / ".astmoa/auth_token" for host in up.hosts]
    (token,) = {path.read_text().strip() for path in tokens}
    assert len(token) == 64
    assert {path.stat().st_mode & 0o077 for path in tokens} == {0}
    places = [*up.kept.rglob("*"), *(up.head.home / ".astmoa/tracker").rglob("*")]
    files = [path for path in places if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if token.encode() in path.read_bytes()] == []
    assert token not in submitted
    # `ray submit` itself repeats what was typed.
    assert [line for line in submitted.splitlines() if SECRET in line and "n_vs_p.py" not in line] == []
    homes = [path for host in up.hosts for path in host.home.rglob("*") if "venv" not in path.parts]
    files += [path for path in homes if path.is_file() and path.name != ".bashrc"]
    for folder in folders(up):
        files += [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        assert any(path.name == "raylet.out" for path in files)
    assert [path for path in files if SECRET.encode() in _read(path)] == []


def _read(path):
    """Ray's processes are still at work: one of their files may be gone by now."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def folders(up):
    """Of Ray, on each host, seen from outside."""
    if up.hosts.network is None:
        return [up.hosts.home]
    return [up.hosts.folder / f"host{place}" / f"tmp/astmoa-{up.hosts.user}" for place in range(len(up.hosts))]


def test_nobody_else_on_a_machine_gets_at_rays_files(up, submitted):
    for folder in folders(up):
        assert oct(folder.stat().st_mode & 0o777) == "0o700"
        files = [path for path in folder.glob("ray/session_2*/*/*") if not path.is_dir()]
        assert len(files) > 10
        assert [path for path in files if path.stat().st_mode & 0o077] == []
    if up.hosts.network is not None:
        shared = [
            path.name for place in range(len(up.hosts)) for path in (up.hosts.folder / f"host{place}/tmp/ray").iterdir()
        ]
        assert shared == ["session_latest"] * len(up.hosts)
    config = up.head.home / "ray_bootstrap_config.yaml"
    assert oct(config.stat().st_mode & 0o777) == "0o600"


def test_the_autoscalers_log_is_where_ray_looks_for_it(up, submitted):
    with up.hosts.started("monitor", up.file) as (running, told):
        until(
            lambda: "session_latest/logs/monitor.log <==" in told.read_text() or running.poll() is not None, "its log"
        )
        assert running.poll() is None, words(told)


def test_who_has_no_token_may_not_use_the_cluster(up):
    strange = f"RAY_AUTH_TOKEN={'0' * 64} ray status"
    told = up.exec(f"{strange} >/dev/null 2>&1; echo stranger $?; ray status >/dev/null; echo owner $?")
    assert re.search(r"^stranger [1-9]", told, re.MULTILINE)
    assert re.search(r"^owner 0", told, re.MULTILINE)


def test_what_is_wrong_with_a_submission_is_one_line(up):
    told = up.ray("submit", "sweeps/n_vs_p.py", "--", "--gpus-per-trial", "4", check=False)
    assert up.hosts.code == 1
    assert "error: --gpus-per-trial 4: no machine here has that many GPUs (most: 0)" in told
    assert "Traceback" not in told


def test_down_leaves_nothing_running(up, submitted):
    """The last test here."""
    processes = lambda: [line for host in up.hosts for line in host.processes()]  # noqa: E731
    assert any("raylet/raylet" in line for line in processes())
    assert any("gcs_server" in line for line in processes())
    assert any("mlflow" in line for line in processes())
    up.ray("down", "--yes")
    until(lambda: not processes(), "the end of all processes", 150)


def test_one_host_at_a_time_has_a_run_folder_that_all_share(site):
    """As over NFS. Where there is one host, it is two of its processes."""
    hosts = list(site.hosts)
    place = SHARED / "held" if site.hosts.network else site.kept / "held"
    if subprocess.run([*hosts[0].enter, "test", "-x", sys.executable], check=False).returncode:
        pytest.skip(f"hosts have a {Path(sys.executable).parts[1]} of their own: this checkout is not to be seen there")
    first, second = ([*host.enter, sys.executable, "-c", HOLDER, place] for host in (hosts[0], hosts[-1]))
    with subprocess.Popen(first, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "has it\n"
            refused = subprocess.run(second, capture_output=True, text=True)
            name = " on host0" if site.hosts.network else ""
            assert re.search(rf"{place}: process \d+{name}, since \S+ \S+, has it", refused.stderr), refused.stderr
        finally:
            holder.kill()
