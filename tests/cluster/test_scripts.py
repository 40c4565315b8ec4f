"""The scripts that `ray up` calls, as far as they need no cluster: wrong settings, and AWS's notice."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.hosts import answers
from tests.helpers.machines import free_port

CLUSTER = ROOT / "cluster"


def stand_in(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def setup(home: Path, *settings: str, path: str | None = None) -> subprocess.CompletedProcess:
    environment = {"HOME": str(home), "PATH": path or os.environ["PATH"]}
    command = ["bash", str(CLUSTER / "setup.sh"), *settings]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_word_that_is_no_setting_is_refused_before_anything_is_installed(tmp_path):
    done = setup(tmp_path, "ASTMOA_STORAGE=/x", "ASTMOA_STORAGE")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ASTMOA_STORAGE is no setting: give NAME=VALUE" in done.stderr
    assert list((tmp_path / ".astmoa").iterdir()) == []
    assert not (tmp_path / ".bashrc").exists()


@pytest.mark.parametrize(
    ("uv", "python", "words"),
    [
        (None, "exit 1", "install python3 and python3-venv"),
        ('[ "$1" != venv ]', "exit 0", "no Python >=3.11,<3.14 here"),
        ('[ "$1" = venv ] || { echo "no such package: torch" >&2; exit 1; }', "exit 1", "astmoa cannot be installed"),
    ],
)
def test_what_keeps_a_machine_from_being_set_up_is_one_line_with_the_machine_and_the_fix(uv, python, words, tmp_path):
    stand_in(tmp_path / "bin", "python3", python)
    stand_in(tmp_path / "bin", "sudo", "exit 1")
    if uv is not None:
        stand_in(tmp_path / "bin", "uv", uv)
    done = setup(tmp_path, "A=1", path=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup.sh on ")
    assert words in line
    assert not (tmp_path / ".astmoa" / "installed").exists()  # or the next time would take it for done


def firewall(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess:
    environment = {"HOME": str(home), "PATH": f"{home / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"} | settings
    command = ["bash", str(CLUSTER / "firewall.sh"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def cluster_home(tmp_path):
    """A head's, whose `id` says that it is nobody special's, and whose sudo goes on as the file `sudo` says."""
    (tmp_path / ".astmoa").mkdir()
    provider = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2", "fd00::2", "localhost"]}
    (tmp_path / "config.yaml").write_text(json.dumps({"provider": provider}))
    stand_in(tmp_path / "bin", "id", "echo 1000")
    return tmp_path


def test_who_may_come_in_is_what_the_cluster_file_says_and_the_networks_that_are_set(cluster_home):
    stand_in(
        cluster_home / "bin", "sudo", f'[ "$2" != nft ] || cat >{cluster_home}/rules; [ "$2" != tee ] || cat >/dev/null'
    )
    assert firewall(cluster_home, "list", str(cluster_home / "config.yaml")).returncode == 0
    done = firewall(cluster_home, "close", ASTMOA_NETWORK="10.1.0.0/16,10.2.0.0/16")
    assert (done.returncode, done.stderr) == (0, "")
    rules = (cluster_home / "rules").read_text()
    let_in = re.findall(r"(ip6? saddr \S+) accept", rules)
    wanted = ["10.0.0.1", "10.0.0.2", "10.1.0.0/16", "10.2.0.0/16"]
    assert {f"ip saddr {address}" for address in wanted} | {"ip6 saddr fd00::2"} <= set(let_in)
    assert set(let_in) <= {f"ip saddr {a}" for a in (*wanted, "127.0.0.1")} | {
        f"ip6 saddr {a}" for a in ("::1", "fd00::2")
    }
    # What `ray start` is told to listen on is what is closed.
    (closed,) = set(re.findall(r"tcp dport \{ (.*?) \}", rules))
    low, high = map(int, re.search(r"(\d+)-(\d+)", closed).groups())
    ports = [int(port) for port in re.findall(r"=(\d+)", firewall(cluster_home, "ports").stdout)]
    assert len(ports) == 8
    assert all(low <= port <= high for port in ports)


@pytest.mark.parametrize(
    ("sudo", "words"),
    [
        ("exit 1", "sudo asks for a password"),
        ("case $2 in nft | apt-get) exit 1 ;; esac", "nft is not there"),
        (
            'case $* in *nft*--file*) echo "Error: a bad rule" >&2; exit 1 ;; esac',
            "nft refuses the rules (Error: a bad",
        ),
    ],
)
def test_what_keeps_ports_open_is_one_line_and_no_obstacle(sudo, words, cluster_home):
    stand_in(cluster_home / "bin", "sudo", sudo)
    (cluster_home / ".astmoa/machines").write_text("10.0.0.1\n")
    done = firewall(cluster_home, "close")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"firewall.sh on {socket.gethostname()}: {words}")
    assert f"sudo env HOME={cluster_home} bash " in line
    assert firewall(cluster_home, "close", ASTMOA_FIREWALL="no").stderr == ""


def test_without_a_list_of_machines_nothing_is_closed(cluster_home):
    done = firewall(cluster_home, "close")
    assert done.returncode == 0
    assert "machines is not there" in done.stderr


class Metadata(http.server.BaseHTTPRequestHandler):
    """AWS's, as a machine sees it: a token first; then nothing, and from `notice` on the notice."""

    notice = threading.Event()

    def do_PUT(self):
        self.answer(200 if "ttl" in str(self.headers).lower() else 400, b"a-token")

    def do_GET(self):
        allowed = self.headers.get("X-aws-ec2-metadata-token") == "a-token"
        if not allowed or not self.path.endswith("/latest/meta-data/spot/instance-action"):
            self.answer(401, b"")
        elif self.notice.is_set():
            self.answer(200, b'{"action": "terminate"}')
        else:
            self.answer(404, b"")

    def answer(self, code, body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Nothing."""


@pytest.fixture
def metadata():
    Metadata.notice.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.slow
def test_a_spot_notice_drains_the_machine_and_has_its_trials_save_what_they_have(metadata, tmp_path):
    calls, tools = tmp_path / "calls", tmp_path / "bin"
    for name in ("ray", "pkill"):
        stand_in(tools, name, f'echo "{name} $*" >>{calls}')
    stand_in(tools, "pgrep", f"[ ! -e {tmp_path / 'gone'} ]")
    stand_in(tools, "python", "echo a-node-id")
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "ASTMOA_METADATA": metadata,
        "ASTMOA_METADATA_EVERY": "0.1",
        "RAY_HEAD_IP": "10.0.0.1",
    }
    subprocess.run(["bash", str(CLUSTER / "spot_notice.sh")], env=environment, check=True, timeout=10)
    watcher = int((tmp_path / ".astmoa" / "spot.pid").read_text())
    time.sleep(1)
    assert not calls.exists()
    assert Path(f"/proc/{watcher}").exists()
    Metadata.notice.set()
    until(lambda: calls.exists() and calls.read_text().count("\n") == 2)
    drain, notice = calls.read_text().splitlines()
    assert drain.startswith("ray drain-node --address=10.0.0.1:6379 --node-id=a-node-id ")
    assert "DRAIN_NODE_REASON_PREEMPTION" in drain
    assert notice == "pkill -TERM -f ^ray::(ResourceTrainable|TrialWorker)"
    until(lambda: not running(watcher))


@pytest.mark.slow
def test_the_watch_for_a_notice_ends_with_ray_and_a_second_one_replaces_the_first(metadata, tmp_path):
    tools = tmp_path / "bin"
    stand_in(tools, "pgrep", f"[ ! -e {tmp_path / 'gone'} ]")
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "ASTMOA_METADATA": metadata,
        "ASTMOA_METADATA_EVERY": "0.1",
    }
    watchers = []
    for _ in range(2):
        subprocess.run(["bash", str(CLUSTER / "spot_notice.sh")], env=environment, check=True, timeout=10)
        watchers.append(int((tmp_path / ".astmoa" / "spot.pid").read_text()))
        time.sleep(0.5)
    until(lambda: not running(watchers[0]))
    assert running(watchers[1])
    (tmp_path / "gone").touch()
    until(lambda: not running(watchers[1]))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_the_tracker_takes_new_settings_leaves_others_alone_and_ends_with_ray(tmp_path):
    ray, port = socket.create_server(("127.0.0.1", 0)), free_port()
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ASTMOA_RAY_PORT": str(ray.getsockname()[1]),
        "ASTMOA_TRACKER_PORT": str(port),
    }

    def start(**settings):
        command = ["bash", str(CLUSTER / "tracker.sh")]
        done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, timeout=200)
        return done.returncode, done.stderr

    try:
        assert start() == (0, "")
        first = int((tmp_path / ".astmoa/tracker/pid").read_text())
        assert start(ASTMOA_TRACKER_STORE=f"sqlite:///{tmp_path}/other.db") == (0, "")
        assert not running(first)
        assert (tmp_path / ".astmoa/tracker/mlflow.db").is_file()
        assert (tmp_path / "other.db").is_file()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
            assert answer.read() == b"OK"
        strange = urllib.request.Request(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", method="POST")
        strange.add_header("Host", "elsewhere.example.org")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(strange, timeout=20)
    finally:
        ray.close()
    until(lambda: not running(int((tmp_path / ".astmoa/tracker/pid").read_text())))
    until(lambda: not answers("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):
        code, told = start()
    assert code == 1
    assert f"port {port} of {socket.gethostname()} is somebody else's" in told


def folder_script(tmp_path: Path, **settings: str) -> tuple[subprocess.CompletedProcess, Path]:
    """folder.sh, and what is everybody's in place of /tmp/ray."""
    shared = tmp_path / "everybodys"
    script = tmp_path / "folder.sh"
    script.write_text((CLUSTER / "folder.sh").read_text().replace("shared=/tmp/ray ", f"shared={shared} "))
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, timeout=10), shared


def test_rays_folder_is_its_owners_alone_and_its_logs_are_found_where_ray_looks_for_them(tmp_path):
    folder = tmp_path / "new" / "folder"
    for mode in (0o700, 0o777):
        done, shared = folder_script(tmp_path, RAY_TMPDIR=str(folder))
        assert (done.returncode, done.stderr) == (0, "")
        assert oct(folder.stat().st_mode & 0o777) == "0o700"
        folder.chmod(mode)
    assert (shared / "session_latest").readlink() == folder / "ray/session_latest"
    assert oct(shared.stat().st_mode & 0o777) == "0o777"


def test_a_folder_that_is_somebody_elses_is_not_taken_for_rays(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    others = tmp_path / "others"
    others.mkdir()
    cases = [({}, "RAY_TMPDIR is not set"), ({"RAY_TMPDIR": str(link)}, f"{link} is somebody else's")]
    if not os.geteuid():
        os.chown(others, 65534, 65534)
        cases.append(({"RAY_TMPDIR": str(others)}, f"{others} is somebody else's: give setup.sh another one"))
    for settings, words in cases:
        done, _ = folder_script(tmp_path, **settings)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"folder.sh on {socket.gethostname()}: {words}")
