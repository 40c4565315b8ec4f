import contextlib
import errno
import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astmoa.errors import RunError
from astmoa.records.journal import FORMAT, NAME, read_journal, read_journal_from
from tests.helpers.journals import LeastJournal as Journal


def test_round_trip(tmp_path):
    journal = Journal(tmp_path / "deep" / "run")
    before = time.time()
    written = [journal.append("sweep", format=FORMAT, study="ü"), journal.append("end", trial_id="t", error=None)]
    journal.close()
    events = read_journal(tmp_path / "deep" / "run")
    assert events == written
    assert [event["type"] for event in events] == ["sweep", "end"]
    assert before <= events[0]["time"] <= events[1]["time"] <= time.time()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_any_value_reads_back_as_it_was_returned(tmp_path_factory, value):
    run_dir = tmp_path_factory.mktemp("run")
    journal = Journal(run_dir)
    returned = journal.append("x", value=value)
    journal.close()
    assert (run_dir / NAME).read_bytes().count(b"\n") == 1
    assert read_journal(run_dir) == [returned]


@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf")])
def test_absence_is_never_a_number(tmp_path, absent):
    journal = Journal(tmp_path)
    returned = journal.append("end", val_accuracy=absent, nested=[{"x": (absent, 1.0)}])
    assert returned["val_accuracy"] is None
    assert read_journal(tmp_path)[0]["val_accuracy"] is None
    assert read_journal(tmp_path)[0]["nested"] == [{"x": [None, 1.0]}]


def test_numbers_of_numpy_and_paths_are_taken(tmp_path):
    journal = Journal(tmp_path)
    journal.append("x", a=np.float32(0.5), b=np.int64(3), c=tmp_path)
    event = read_journal(tmp_path)[0]
    assert (event["a"], event["b"], event["c"]) == (0.5, 3, str(tmp_path))


def test_what_is_no_json_leaves_the_journal_whole(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(TypeError):
        journal.append("x", value=object())
    journal.append("y")
    assert [event["type"] for event in read_journal(tmp_path)] == ["y"]


def test_each_event_is_in_the_file_before_append_returns(tmp_path):
    journal = Journal(tmp_path)
    for number, type in enumerate(["sweep", "proposal", "start", "epoch", "epoch"], 1):
        journal.append(type)
        lines = subprocess.run(["cat", str(tmp_path / NAME)], capture_output=True, check=True).stdout.splitlines()
        assert len(lines) == number
        assert json.loads(lines[-1])["type"] == type


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """What a power cut would leave of tmp_path's journal, and a clock to turn."""

    class Disk:
        now = 0.0

        def sync(self, handle):
            if os.path.isfile(tmp_path / NAME):
                self.content = (tmp_path / NAME).read_bytes()

        @property
        def types(self):
            return [json.loads(line)["type"] for line in self.content.splitlines()]

    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.sync)
    monkeypatch.setattr(time, "monotonic", lambda: disk.now)
    return disk


@pytest.mark.parametrize("type", ["sweep", "resume", "proposal", "decision", "end", "sweep_end", "a_newer_versions"])
def test_a_power_cut_takes_nothing_that_cannot_be_told_again(tmp_path, disk, type):
    journal = Journal(tmp_path)
    for number in range(1, 4):
        journal.append(type)
        assert disk.types == [type] * number


def test_epochs_wait_at_most_a_second_for_the_disk(tmp_path, disk):
    journal = Journal(tmp_path)
    journal.append("proposal")
    journal.append("start")
    disk.now = 0.9
    journal.append("epoch")
    assert disk.types == ["proposal"]
    disk.now = 1.0
    journal.append("epoch")
    assert disk.types == ["proposal", "start", "epoch", "epoch"]
    disk.now = 1.9
    journal.append("epoch")
    assert len(disk.types) == 4
    journal.append("end")
    assert len(disk.types) == 6
    journal.append("epoch")
    assert len(disk.types) == 6
    journal.close()
    assert len(disk.types) == 7
    journal.close()


def test_a_line_cut_off_by_a_crash_is_left_out_and_then_dropped(tmp_path):
    journal = Journal(tmp_path)
    journal.append("kept")
    journal.close()
    with open(tmp_path / NAME, "ab") as file:
        file.write(b'{"type": "cut", "ti')
    assert [event["type"] for event in read_journal(tmp_path)] == ["kept"]
    journal = Journal(tmp_path)
    journal.append("next")
    journal.close()
    assert [event["type"] for event in read_journal(tmp_path)] == ["kept", "next"]


def test_a_journal_that_is_only_a_cut_off_line_is_empty(tmp_path):
    (tmp_path / NAME).write_bytes(b'{"type": "swe')
    assert read_journal(tmp_path) == []


@pytest.mark.parametrize(
    "line", ["{", "", "3", "[]", '"sweep"', '{"time": 1}', '{"type": "x"}', '{"type": 1, "time": 1}']
)
def test_damage_names_file_line_and_fix(tmp_path, line):
    (tmp_path / NAME).write_text(f'{{"type": "sweep", "time": 1}}\n{line}\n{{"type": "x", "time": 2}}\n')
    with pytest.raises(RunError, match=rf"{NAME}:2: damaged line .*restore the file or remove this line") as caught:
        read_journal(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_number_that_json_does_not_have_is_damage(tmp_path):
    (tmp_path / NAME).write_text('{"type": "end", "time": 1, "val_accuracy": NaN}\n')
    with pytest.raises(RunError, match="damaged"):
        read_journal(tmp_path)


def test_no_journal(tmp_path):
    with pytest.raises(RunError, match=r"no journal.jsonl there; give the folder"):
        read_journal(tmp_path / "nowhere")


@pytest.mark.parametrize("newer", [FORMAT + 1, "2"])
def test_newer_format_is_refused(tmp_path, newer):
    (tmp_path / NAME).write_text(json.dumps({"type": "sweep", "time": 1, "format": newer}) + "\n")
    with pytest.raises(RunError, match="written by a newer astmoa"):
        read_journal(tmp_path)


def test_following_a_growing_journal(tmp_path):
    journal = Journal(tmp_path)
    journal.append("a")
    events, offset = read_journal_from(tmp_path, 0)
    assert [event["type"] for event in events] == ["a"]
    assert read_journal_from(tmp_path, offset) == ([], offset)
    journal.append("b")
    with open(tmp_path / NAME, "ab") as file:
        file.write(b'{"type": "c", ')  # seen while it is being written
        file.flush()
        events, offset = read_journal_from(tmp_path, offset)
        assert [event["type"] for event in events] == ["b"]
        file.write(b'"time": 1}\n')
    assert [event["type"] for event in read_journal_from(tmp_path, offset)[0]] == ["c"]


def test_two_sweeps_cannot_write_one_journal(tmp_path):
    journal = Journal(tmp_path)
    journal.append("a")
    with open(tmp_path / NAME, "ab") as file:
        file.write(b"unfinished")
    with pytest.raises(RunError, match="another sweep is writing it"):
        Journal(tmp_path)
    assert (tmp_path / NAME).read_bytes().endswith(b"unfinished")  # nothing of the other's was touched
    journal.close()
    Journal(tmp_path).close()


FULL = """
import resource, sys
from pathlib import Path
from astmoa.errors import RunError
from tests.helpers.journals import LeastJournal
journal = LeastJournal(Path(sys.argv[1]))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
for number in range(100):
    try:
        journal.append("epoch", number=number, text=100 * "x")
    except RunError as error:
        print(number, error)
        break
try:
    journal.append("end", number=number, text=1000 * "x")
except RunError as error:
    print(number, error)
if sys.argv[2] == "make room":
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.append("end", number=number)
    journal.close()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit on files' sizes stands for a full disk")
@pytest.mark.parametrize("then", ["make room", "stop"])
def test_no_room(tmp_path, then):
    """A write that the system takes in part and then refuses: one line says so, the file stays whole, and goes on."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), then], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    number = int(said[0].split()[0])
    assert 5 < number < 30
    path = tmp_path / NAME
    message = f"{number} {path}: cannot be written (File too large): make room, then go on with --resume {tmp_path}"
    assert said == [message, message]
    assert path.read_bytes().endswith(b"}\n")
    with contextlib.closing(Journal(tmp_path)) as journal:
        journal.append("resume")
    events = [(event["type"], event.get("number")) for event in read_journal(tmp_path)]
    expected = [("epoch", n) for n in range(number)] + [("end", number)] * (then == "make room") + [("resume", None)]
    assert events == expected


@pytest.mark.parametrize("truncates", [True, False])
def test_a_disk_that_fails_to_sync(tmp_path, monkeypatch, truncates):
    """The line is taken back; where that fails, too, at the latest before the next one."""
    journal = Journal(tmp_path)
    journal.append("kept")

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        if not truncates:
            broken.setattr(journal, "_take_back", fail)
        for _ in range(2):
            with pytest.raises(RunError, match=r"cannot be written \(Input/output error\): make room, then go on with"):
                journal.append("lost")
        if truncates:
            assert [event["type"] for event in read_journal(tmp_path)] == ["kept"]
    journal.append("next")
    assert [event["type"] for event in read_journal(tmp_path)] == ["kept", "next"]


def test_closing_says_what_did_not_reach_the_disk(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append("epoch")

    def fail(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="cannot be written"):
        journal.close()
    with contextlib.closing(open(tmp_path / NAME, "ab")) as file:  # closed all the same: its lock is gone
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("type", ["epoch", "end"])
def test_survives_sigkill(tmp_path, type):
    """Whatever `append` has returned for is there after kill -9, and the journal goes on."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.helpers.journals import LeastJournal\n"
        "journal = LeastJournal(Path(sys.argv[1]))\nnumber = 0\n"
        "while True:\n    journal.append(sys.argv[2], number=number)\n    print(number, flush=True)\n    number += 1\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), type], stdout=subprocess.PIPE, text=True
    ) as process:
        said = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    journal = Journal(tmp_path)  # the dead process's lock is gone
    journal.append("x", number=-1)
    journal.close()
    numbers = [event["number"] for event in read_journal(tmp_path)]
    assert numbers[-1] == -1
    assert numbers[: len(said)] == said
    assert numbers[:-1] == list(range(len(numbers) - 1))
