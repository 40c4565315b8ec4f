import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from astmoa.errors import RunError
from astmoa.records.lock import NAME, hold
from tests.helpers.holders import HOLDER


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_has_it_is_told_and_gives_it_back_however_it_ends(tmp_path, holder):
    with pytest.raises(RunError) as refused, hold(tmp_path):
        pass
    since = time.strftime("%Y-%m-%d %H:%M")
    assert str(refused.value).startswith(f"{tmp_path}: process {holder.pid}, since {since[:10]}")
    assert str(refused.value).endswith("has it: wait for its end, or give another --out")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_another_host_is_named(tmp_path, holder, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(RunError, match=rf"process {holder.pid} on \S+, since"), hold(tmp_path):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("words", [b"", b"{", b"[]", b"null", b'{"host": 1, "pid": "x"}', b"[" * 4000, b"\xff" * 9999,
                                   b'{"host": "a", "pid": 1, "since": 1e400}'])  # fmt: skip
def test_a_lock_that_says_nothing_sensible_is_a_lock(tmp_path, holder, words):
    (tmp_path / NAME).write_bytes(words)
    with pytest.raises(RunError, match="another process has it"), hold(tmp_path):
        pass


def test_one_process_holds_it_several_times_over_and_lets_go_after_the_last(tmp_path):
    outer = hold(tmp_path)
    outer.__enter__()
    inner = hold(tmp_path / "x" / "..")
    inner.__enter__()
    outer.__exit__(None, None, None)
    code = "import sys; from astmoa.records.lock import hold\nwith hold(sys.argv[1]): pass"
    other = [sys.executable, "-c", code, str(tmp_path)]
    assert f"process {os.getpid()}, since" in subprocess.run(other, capture_output=True, text=True).stderr
    inner.__exit__(None, None, None)
    assert subprocess.run(other).returncode == 0


@pytest.mark.slow
def test_of_several_processes_one_has_it_at_a_time(tmp_path):
    """Folders that come and go with their lock: a lock on a file that was removed keeps nobody out."""
    place = tmp_path / "run"
    code = """if True:
        import os, sys
        from pathlib import Path
        from astmoa.errors import RunError
        from astmoa.records.lock import hold
        place, inside, had = Path(sys.argv[1]), Path(sys.argv[2]), 0
        while had < 100:
            try:
                with hold(place):
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                    os.unlink(inside)
                    had += 1
            except RunError:
                pass
    """
    command = [sys.executable, "-c", code, str(place), str(tmp_path / "inside")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]


def test_a_folder_that_got_nothing_is_gone_again(tmp_path):
    with hold(tmp_path / "deep" / "run"):
        assert (tmp_path / "deep" / "run").is_dir()
    assert not (tmp_path / "deep" / "run").exists()
    with hold(tmp_path / "run"):
        (tmp_path / "run" / "journal.jsonl").write_text("")
    assert (tmp_path / "run").is_dir()


def test_where_it_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for place, why in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "run", "Not a directory"),
        ("/proc/run", "cannot be written"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "a\0b", "null"),
    ):
        with pytest.raises(RunError, match=why), hold(place):
            pass


def test_a_lock_that_points_elsewhere_is_refused(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / NAME).symlink_to(precious)
    with pytest.raises(RunError, match="cannot be written"), hold(tmp_path / "run"):
        pass
    assert precious.read_text() == "mine"


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with hold(tmp_path):
        pass
    assert "no locks" in capsys.readouterr().err


def test_threads_of_one_process_share_it(tmp_path):
    done = []

    def work():
        for _ in range(50):
            with hold(tmp_path / "run"):
                done.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 200
