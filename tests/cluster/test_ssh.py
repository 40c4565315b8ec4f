"""`ray up`, `ray submit`, `ray rsync-down`, `ray down` with cluster/on_prem.yaml, over a real sshd on loopback.

The machine is a user made for it, with an empty home: nothing of the developer's environment is there, and it installs
astmoa itself.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from astmoa.journal import read_journal
from astmoa.records import load_sweep
from tests.cluster import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("sshd", "ssh", "ssh-keygen", "rsync", "nc", "useradd", "userdel")
# Where to get packages from, and whom to trust: what an administrator sets for the whole machine.
ADMINISTRATORS = re.compile(r"^(PIP_|SSL_|REQUESTS_CA|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)")


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Head:
    """A machine, as far as ssh can tell: a user with an empty home, and the file that makes a cluster of it."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, folder / "home"
        self.user = f"moa{uuid.uuid4().hex[:8]}"
        self.port, self.tracker = free_port(), free_port()
        self.file = folder / "cluster.yaml"
        self.laptop = folder / "laptop"
        self.laptop.mkdir()

    def prepare(self) -> None:
        run = lambda *command: subprocess.run(command, check=True, capture_output=True)  # noqa: E731
        run(program("useradd"), "--create-home", "--home-dir", self.home, "--shell", "/bin/bash", self.user)
        run(program("usermod"), "--password", "*", self.user)  # no password; but not locked, as ssh would have it
        for key in ("key", "host"):
            run(program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key)
        pip = Path(os.environ.get("PIP_CONFIG_FILE", Path.home() / ".config/pip/pip.conf"))
        if pip.is_file():
            (self.home / ".config/pip").mkdir(parents=True)
            shutil.copyfile(pip, self.home / ".config/pip/pip.conf")
            run("chown", "-R", self.user, self.home / ".config")
        settings = " ".join(f'{k}="{v}"' for k, v in os.environ.items() if ADMINISTRATORS.match(k) and v)
        config = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder / 'host'}",
            f"AuthorizedKeysFile {self.folder / 'key.pub'}",
            *("UsePAM no", "StrictModes no", "PasswordAuthentication no", "PidFile none"),
            *([f"SetEnv {settings}"] if settings else []),
        ]
        (self.folder / "sshd_config").write_text("\n".join(config) + "\n")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.sshd = subprocess.Popen(
            [program("sshd"), "-D", "-f", self.folder / "sshd_config", "-E", self.folder / "sshd.log"]
        )
        changes = {
            "!SET_ME 192.168.1.10": "127.0.0.1",
            "!SET_ME [192.168.1.11, 192.168.1.12]": "[]",
            "min_workers: !SET_ME 2": "min_workers: 0",
            "max_workers: !SET_ME 2": "max_workers: 0",
            "!SET_ME ubuntu": self.user,
            # Ray knows no port for ssh.
            "!SET_ME ~/.ssh/id_ed25519": f"{self.folder / 'key'}\n  ssh_proxy_command: nc %h {self.port}",
            "!SET_ME bash": "bash",
            "ASTMOA_STORAGE=/mnt/shared/astmoa": f"ASTMOA_STORAGE={self.home}/kept ASTMOA_TRACKER_PORT={self.tracker} "
            f"RAY_TMPDIR={self.home}",
            "http://127.0.0.1:5000": f"http://127.0.0.1:{self.tracker}",
        }
        text = (ROOT / "cluster/on_prem.yaml").read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        assert "!SET_ME" not in text
        self.file.write_text(text)

    def ray(self, command: str, *arguments: str, check: bool = True, timeout: int = 400) -> str:
        """The user's `ray`, in the checkout, with nothing but a home and a path in its environment."""
        environment = {
            "HOME": str(self.laptop),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin",
            "LANG": "C.UTF-8",
        }
        done = subprocess.run(
            ["ray", command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
        )
        self.code, output = done.returncode, done.stdout + done.stderr
        assert not check or done.returncode == 0, output[-4000:]
        return output

    def processes(self) -> list[str]:
        listed = subprocess.run(["pgrep", "-a", "-u", self.user], capture_output=True, text=True).stdout
        return [line for line in listed.splitlines() if "sshd" not in line]

    def remove(self) -> None:
        subprocess.run(["pkill", "-KILL", "-u", self.user])
        self.sshd.kill()
        self.sshd.wait()
        for _ in range(20):
            if subprocess.run([program("userdel"), "--remove", self.user], capture_output=True).returncode == 0:
                break
            time.sleep(0.5)


@pytest.fixture(scope="module")
def head():
    missing = [name for name in NEEDED if program(name) is None]
    if os.geteuid() or missing:
        pytest.skip(f"needs root, and {', '.join(missing) or 'all programs are there'}: no sshd, no user can be made")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 6379)) == 0:
            pytest.skip("port 6379 is taken, by another Ray perhaps")
    folder = Path(f"/tmp/moa-{uuid.uuid4().hex[:6]}")  # Ray's sockets lie below it: their names may not be long
    folder.mkdir()
    folder.chmod(0o755)
    head = Head(folder)
    try:
        head.prepare()
        yield head
    finally:
        head.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def up(head):
    head.ray("up", "--yes", str(head.file))
    return head


@pytest.fixture(scope="module")
def submitted(up):
    command = ["submit", str(up.file), "sweeps/n_vs_p.py", "--", "--quick", "--epochs", "1", "--budget", "120000"]
    return up.ray(*command)


def test_the_machine_has_installed_what_the_constraints_say(up):
    assert pwd.getpwnam(up.user).pw_dir == str(up.home)
    told = up.ray("exec", str(up.file), "astmoa doctor --json --storage $ASTMOA_STORAGE 2>/dev/null")
    (line,) = [line for line in told.splitlines() if line.startswith('{"machines"')]
    told = json.loads(line)
    assert told["findings"] == []
    (machine,) = told["machines"]
    pins = (ROOT / "cluster/constraints.txt").read_text()
    assert f"\nray=={machine['facts']['ray']}\n" in pins
    found = up.ray("exec", str(up.file), "python -c 'import torch; print(torch.__file__)'")
    assert f"{up.home}/.astmoa/venv/" in found


def test_a_submitted_sweep_runs_there_with_its_arguments(up, submitted):
    (run_dir,) = (up.home / "kept").glob("n_vs_p-*")
    sweep = load_sweep(run_dir)
    assert sweep.states["completed"] == 6
    assert sweep.header["options"]["budget"] == 120000
    assert {len(trial.epochs) for trial in sweep.trials} == {1}
    assert str(up.home) in submitted
    assert "Tracking is behind" not in submitted
    assert "Traceback" not in submitted
    assert (run_dir / "frontier.png").is_file()


def test_the_tracker_on_the_head_has_it(up, submitted):
    from mlflow import MlflowClient

    client = MlflowClient(f"http://127.0.0.1:{up.tracker}")
    (experiment,) = [e for e in client.search_experiments() if "n_vs_p" in e.name]
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_results_come_back_with_one_command(up, submitted, tmp_path):
    up.ray("rsync-down", str(up.file), f"{up.home}/kept/", f"{tmp_path}/")
    (run_dir,) = tmp_path.glob("n_vs_p-*")
    assert read_journal(run_dir)[-1]["type"] == "sweep_end"
    assert (run_dir / "best" / "adapter.safetensors").is_file()


def test_nothing_from_the_environment_is_written_down(up, submitted):
    """The cluster's token least of all."""
    token = (up.home / ".astmoa/auth_token").read_text().strip()
    assert len(token) == 64
    assert (up.home / ".astmoa/auth_token").stat().st_mode & 0o077 == 0
    places = [*(up.home / "kept").rglob("*"), *(up.home / ".astmoa/tracker").rglob("*")]
    files = [path for path in places if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if token.encode() in path.read_bytes()] == []
    assert token not in submitted


def test_who_has_no_token_may_not_use_the_cluster(up):
    strange = f"RAY_AUTH_TOKEN={'0' * 64} ray status"
    told = up.ray(
        "exec", str(up.file), f"{strange} >/dev/null 2>&1; echo stranger $?; ray status >/dev/null; echo owner $?"
    )
    assert re.search(r"^stranger [1-9]", told, re.MULTILINE)
    assert re.search(r"^owner 0", told, re.MULTILINE)


def test_what_is_wrong_with_a_submission_is_one_line(up):
    told = up.ray("submit", str(up.file), "sweeps/n_vs_p.py", "--", "--gpus-per-trial", "4", check=False)
    assert up.code == 1
    assert "error: --gpus-per-trial 4: no machine here has that many GPUs (most: 0)" in told
    assert "Traceback" not in told


def test_down_leaves_nothing_running(up, submitted):
    """The last test here."""
    assert any("gcs_server" in line for line in up.processes())
    assert any("mlflow" in line for line in up.processes())
    up.ray("down", "--yes", str(up.file))
    deadline = time.monotonic() + 60
    while up.processes():
        assert time.monotonic() < deadline, up.processes()
        time.sleep(1)
