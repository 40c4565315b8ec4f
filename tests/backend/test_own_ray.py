"""A Ray of one's own: a folder that nobody else enters, patience on a busy machine, and nothing left of a failed start.

Ray itself is not started here. What it really writes and listens on: tests/test_secrets.py.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import ray

from astmoa.backend import agent, cluster, own_ray, ray_folder
from astmoa.errors import RunError
from tests.helpers.machines import until


@pytest.fixture
def base(monkeypatch, tmp_path):
    """Where folders are made. Nothing of the developer's is set."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(own_ray, "base_folder", lambda: tmp_path)
    monkeypatch.setattr(own_ray, "PAUSES", (0, 0, 0))
    yield tmp_path
    own_ray.stop()
    assert list(tmp_path.glob("astmoa-*/r")) == []


def mode(path):
    return oct(path.stat().st_mode & 0o777)


# -- the folder


def test_nobody_else_may_enter_the_folder_or_read_the_token(tmp_path):
    umask = os.umask(0)
    try:
        folder = ray_folder.Folder(tmp_path)
        token = folder.token()
    finally:
        os.umask(umask)
    assert (mode(folder.path), mode(token)) == ("0o700", "0o600")
    assert len(token.read_text()) == 64
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_sweeps_folder_is_removed_by_the_next_one_and_a_running_ones_is_not(tmp_path):
    running = ray_folder.Folder(tmp_path)
    code = (
        "import sys; from pathlib import Path; from astmoa.backend.ray_folder import Folder; Folder(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    (tmp_path / "astmoa-of-a-test").mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    ray_folder.remove_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {running.path.name, "astmoa-of-a-test"}
    running.remove()


def test_of_a_ray_that_broke_the_logs_alone_are_kept(tmp_path):
    folder = ray_folder.Folder(tmp_path)
    session = folder.ray / "session_2026-01-01_00-00-00_000000_1"
    (session / "logs").mkdir(parents=True)
    (session / "spilled").touch()
    (session / "logs" / "raylet.out").write_text("Check failed")
    (folder.ray / "session_latest").symlink_to(session)
    folder.token()
    logs = folder.keep_logs()
    assert (logs / "raylet.out").read_text() == "Check failed"
    assert list(folder.path.iterdir()) == [logs]
    ray_folder.remove_stale(tmp_path)
    assert logs.exists()


def test_sockets_in_the_folder_have_paths_that_linux_takes(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    most = 107 - len("/astmoa-12345678/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
    assert most >= len("/home/somebody/scratch")
    long = tmp_path / ("x" * 40)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    assert ray_folder.base_folder() == Path("/tmp")
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    assert ray_folder.base_folder() == Path("/var/tmp")
    monkeypatch.setenv("TMPDIR", "/var/nowhere")
    assert ray_folder.base_folder() == Path("/tmp")
    monkeypatch.setenv("RAY_TMPDIR", "/" + (most - 1) * "x")
    assert ray_folder.base_folder() == Path("/" + (most - 1) * "x")
    monkeypatch.setenv("RAY_TMPDIR", "/" + most * "x")
    with pytest.raises(RunError, match=rf"RAY_TMPDIR=/x+ is too long .* give one of {most} bytes at most"):
        ray_folder.base_folder()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        RunError, match=r"/file/x cannot be written \(Not a directory\): make room there, or set RAY_TM"
    ):
        ray_folder.make_folder(tmp_path / "file" / "x")


# -- the start


class Start:
    """In place of `ray.init`. It fails as often as it is told to, and notes in which surroundings it was called."""

    def __init__(self, monkeypatch, *errors: BaseException, leave: bool = False):
        self.errors, self.leave, self.calls, self.left = list(errors), leave, [], []
        monkeypatch.setattr(ray, "init", self)

    def __call__(self, **options):
        umask = os.umask(0)
        os.umask(umask)
        folder = Path(options["_temp_dir"])
        logs = folder / "session_2026-01-01_00-00-00_000000_1" / "logs"
        logs.mkdir(parents=True)
        self.calls.append((options, umask, dict(os.environ), ray._private.node.Node.__name__ == "Light"))
        if self.leave:
            with open(logs / "raylet.out", "w") as out:  # one that is named with the folder, one that writes there
                self.left += [
                    subprocess.Popen(["sh", "-c", "sleep 60; :", "raylet", f"--session_dir={folder}"]),
                    subprocess.Popen(["sleep", "60"], stdout=out),
                ]
        if self.errors:
            raise self.errors.pop(0)


def test_it_is_started_privately_and_small_and_all_is_as_before_afterwards(base, monkeypatch):
    start = Start(monkeypatch)
    before, node = dict(os.environ), ray._private.node.Node
    umask = os.umask(0o022)
    try:
        own_ray.start(10**9)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)
    ((options, umask, environment, _),) = start.calls
    assert umask == 0o077
    assert (options["address"], options["object_store_memory"]) == ("local", 10**9)
    token = Path(environment["RAY_AUTH_TOKEN_PATH"])
    assert (token.parent, mode(token)) == (own_ray.folder(), "0o600")
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert (dict(os.environ), ray._private.node.Node) == (before, node)
    folder = own_ray.folder()
    assert (folder.parent, mode(folder)) == (base, "0o700")
    own_ray.stop()
    assert not folder.exists()


def test_the_users_own_token_and_settings_win(base, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "7")
    start = Start(monkeypatch)
    own_ray.start(10**9)
    environment = start.calls[0][2]
    assert "RAY_AUTH_TOKEN_PATH" not in environment
    assert environment["RAY_worker_register_timeout_seconds"] == "7"


BUSY = Exception("The current node timed out\nduring startup.")
"""As Ray raises it."""


def test_on_a_busy_machine_it_is_tried_again_and_that_is_said(base, monkeypatch, capsys):
    start = Start(monkeypatch, BUSY, RuntimeError("Failed to start GCS."), ConnectionError("refused"), leave=True)
    own_ray.start(10**9)
    assert len(start.calls) == 4
    assert [light for *_, light in start.calls] == [True, True, True, False]  # in the end as Ray does it by itself
    told = capsys.readouterr().err.splitlines()
    assert [line.startswith("Ray did not start (") for line in told] == [True] * 3
    assert told[0].startswith("Ray did not start (The current node timed out during startup.; load ")
    assert told[2].endswith(" CPUs): waiting 0 s, then try 4 of 4")
    assert [process.poll() is not None for process in start.left] == [True] * 6 + [False] * 2
    own_ray._end_processes(own_ray.folder(), 0)
    assert list(base.iterdir()) == [own_ray.folder()]


@pytest.mark.slow
def test_in_the_end_it_is_one_line_that_names_the_logs_and_nothing_is_left(base, monkeypatch):
    start = Start(monkeypatch, *[BUSY] * 4, leave=True)
    with pytest.raises(RunError) as raised:
        own_ray.start(10**9)
    line, _, logs = str(raised.value).partition("; its logs are in ")
    assert line.startswith("Ray did not start in 4 tries (The current node timed out during startup.; load ")
    assert "\n" not in line
    assert (Path(logs) / "raylet.out").is_file()
    assert len(start.left) == 8
    assert all(process.poll() is not None for process in start.left)
    assert own_ray.folder() is None
    assert own_ray.stop() is None


def test_what_another_try_would_not_mend_is_said_at_once(base, monkeypatch):
    start = Start(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), leave=True)
    with pytest.raises(RunError, match=r"Ray cannot be started in .*: make room there, or set RAY_TMPDIR"):
        own_ray.start(10**9)
    assert len(start.calls) == 1
    assert all(process.poll() is not None for process in start.left)
    assert list(base.iterdir()) == []


def test_an_interrupted_start_leaves_nothing(base, monkeypatch):
    start = Start(monkeypatch, KeyboardInterrupt(), leave=True)
    with pytest.raises(KeyboardInterrupt):
        own_ray.start(10**9)
    assert all(process.poll() is not None for process in start.left)
    assert list(base.iterdir()) == []


def test_processes_of_others_are_not_ended(base, tmp_path):
    """Who looks into the logs from another terminal, say."""
    with open(tmp_path / "open", "w") as out:
        reader = subprocess.Popen(
            [
                "sleep",
                "60",
            ],
            stdout=out,
            start_new_session=True,
        )
    try:
        own_ray._end_processes(tmp_path, 0)
        assert reader.poll() is None
    finally:
        reader.kill()
        reader.wait()


def test_another_rays_ways_are_left_to_it(monkeypatch):
    monkeypatch.delattr(ray._private.services, "_build_python_executable_command_memory_profileable")
    with own_ray._light(), own_ray.replaced(ray._private.services, "no_such_thing", 1):
        assert not hasattr(ray._private.services, "no_such_thing")


def test_in_place_of_rays_agent_one_says_at_once_that_nothing_listens_and_ends_with_its_node(tmp_path):
    words = ["/ray/dashboard/agent.py", "--node-id=abc", f"--session-dir={tmp_path}", "--minimal"]
    command = f"{sys.executable} -IS {agent.__file__} {' '.join(words)}"
    node = subprocess.Popen(["sh", "-c", f"{command} & echo $!; exec sleep 60"], stdout=subprocess.PIPE, text=True)
    try:
        stand_in = psutil.Process(int(node.stdout.readline()))
        until(lambda: len(list(tmp_path.glob("*_abc"))) == 3, "the agent's files", 10)
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "metrics_agent_port_abc": "-1",
        "metrics_export_port_abc": "-1",
        "dashboard_agent_listen_port_abc": "-1",
    }
    until(lambda: not stand_in.is_running() or stand_in.status() == psutil.STATUS_ZOMBIE, "the agent's end", 10)


# -- what others leave open


def test_a_token_that_ray_left_open_is_closed(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    cluster._close_token()
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("x")
    for open_to in (0o644, 0o600):
        token.chmod(open_to)
        cluster._close_token()
        assert mode(token) == "0o600"


def test_ray_hears_of_the_command_line_without_its_secrets(monkeypatch):
    words = ["python", "sweep.py", "--tracking-uri", "http://ann:hush@host", "--data-root=my sounds"]
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self: words)
    with cluster._command_without_secrets():
        told = ray._private.utils.get_entrypoint_name()
    assert told == 'python sweep.py --tracking-uri http://***@host "--data-root=my sounds"'
