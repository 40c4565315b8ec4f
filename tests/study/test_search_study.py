"""sweeps/frontier.py as a user runs it: search, confirm, go on, extend; and what is refused before anything starts."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from astmoa.records.journal import NAME, read_journal
from astmoa.records.load import load_sweep
from astmoa.search.space import Space
from astmoa.study.command import main
from astmoa.tracking import default_uri
from tests.helpers import ROOT
from tests.helpers.runs import write_tones
from tests.helpers.studies import script_here, second_is_refused

pytestmark = pytest.mark.slow
sys.path.append(str(ROOT / "sweeps"))
import frontier  # noqa: E402


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def data(sounds, tiny_folder):
    return ["--data", "csv", "--data-root", sounds, "--seconds", 0.6, "--batch-size", 6, "--backbone", tiny_folder]


@pytest.fixture(scope="module")
def options(data):
    return [*data, "--epochs", 2]


EPOCHS = 24
# The script, with training steps that take a tenth of a second longer.
SLOWLY = """
import runpy, signal, sys
from pathlib import Path
from astmoa.training import inputs
from tests.helpers.machines import Rig, rigged

class All:
    def __contains__(self, trial_id):
        return True

open_inputs, rig = inputs.open_inputs, Rig(Path(sys.argv[1]), slow=All())
inputs.open_inputs = lambda *args, **options: rigged(open_inputs(*args, **options), rig)
sys.argv = sys.argv[2:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it is ignored, as in a shell's background job
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def interrupted(data, tmp_path_factory):
    """Ctrl-C in the middle of the first trials, after a second process tried to go on with them. The first one's last
    line on stderr, and the run folder."""
    folder = tmp_path_factory.mktemp("runs")
    out = folder / "run"
    command = [sys.executable, "-c", SLOWLY, str(folder), str(ROOT / "sweeps" / "frontier.py"), *map(str, data)]
    command += ["--epochs", str(EPOCHS), "--max-trials", "4", "--confirm", "seeds=1,trials=2", "--trials-at-once", "2"]
    process = subprocess.Popen(
        [*command, "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not ((out / NAME).exists() and (out / NAME).read_text().count('"type": "epoch"') > 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second_is_refused("frontier", "--resume", out, by=process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    return errors.strip().splitlines()[-1], out


@pytest.fixture(scope="module")
def spent(interrupted):
    """Gone on with, but no time is left."""
    _, out = interrupted
    before = read_journal(out)
    return script_here("frontier", "--resume", out, "--max-device-hours", 1e-5), before, read_journal(out)


@pytest.fixture(scope="module")
def done(interrupted, spent):
    """Gone on with to the end by the line that Ctrl-C left: four trials, and two replicates."""
    again, out = interrupted
    with open(out / NAME, "a") as file:
        file.write('{"type": "epoch", "trial_id": "12')
    command = [*shlex.split(again.removeprefix("Go on with: ")), "--max-device-hours", "10"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result, out


@pytest.fixture
def copy(done, tmp_path):
    shutil.copytree(done[1], tmp_path / "run")
    return tmp_path / "run"


def of(events, *types):
    return [event for event in events if event["type"] in types]


@pytest.fixture
def refused(no_ray, monkeypatch, capsys):
    """The error of a command that must end before Ray starts."""

    def refused(*args, space=frontier.space):
        monkeypatch.setattr(sys, "argv", ["sweeps/frontier.py", *map(str, args)])
        with pytest.raises(SystemExit) as caught:
            main("frontier", frontier.Options, space, "")
        assert caught.value.code == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        return error

    return refused


def test_a_search_ends_with_its_reason_and_its_replicates(done):
    result, out = done
    events = read_journal(out)
    assert "Ended: 4 trials proposed (--max-trials)." in result.stderr
    assert events[-1]["reason"] == "4 trials proposed (--max-trials)"
    assert [event["phase"] for event in of(events, "proposal")] == ["search"] * 4 + ["confirm"] * 2
    search, confirm = of(events, "proposal")[:4], of(events, "proposal")[4:]
    assert {e["config"]["seed"] for e in search} == {0}
    assert {e["config"]["seed"] for e in confirm} == {1}
    assert {e["point"] for e in confirm} <= {e["point"] for e in search}
    assert [e["ask"]["number"] for e in search] == [0, 1, 2, 3]
    assert {trial.state for trial in load_sweep(out).trials} <= {"completed", "stopped"}


def test_the_journal_says_what_was_searched_and_how(done):
    header = read_journal(done[1])[0]
    assert Space.from_json(header["search"]["space"]) == frontier.SPACE
    assert header["search"]["objectives"] == ["params", "accuracy"]
    assert header["options"]["max_trials"] == 4
    assert header["options"]["confirm"] == "seeds=1,trials=2"
    assert "num_trials" not in header


def test_it_is_quiet_and_says_where_everything_is(done):
    result, out = done
    for noise in ("WARNING", "Warning", "INFO", "(TrialWorker", "alembic", "ExperimentalWarning", "[I "):
        assert noise not in result.stderr + result.stdout
    for path in ("frontier.png", "journal.jsonl", "best"):
        assert str(out / path) in result.stdout
        assert (out / path).exists()


def test_gone_on_with_nothing_is_lost_or_run_twice_and_extended_it_goes_further(copy):
    from mlflow import MlflowClient

    before = read_journal(copy)
    own = ["--tracking-uri", default_uri(copy)]  # or it goes on in the tracker of the run that it is a copy of
    again = script_here("frontier", "--resume", copy, *own)
    assert again.returncode == 0, again.stderr
    assert "Ended: 4 trials proposed (--max-trials)." in again.stderr
    events = read_journal(copy)
    assert events[: len(before)] == before
    assert [event["type"] for event in events[len(before) :]] == ["resume", "confirm", "sweep_end"]

    more = script_here("frontier", "--resume", copy, "--max-trials", 6, "--trials-at-once", 1, *own)
    assert more.returncode == 0, more.stderr
    assert "Ended: 6 trials proposed (--max-trials)." in more.stderr
    after = read_journal(copy)
    assert after[: len(events)] == events
    fresh = after[len(events) :]
    assert [e["ask"]["number"] for e in of(fresh, "proposal") if e["phase"] == "search"] == [4, 5]
    ids = [e["trial_id"] for e in of(after, "proposal")]
    assert len(ids) == len(set(ids))
    assert {e["trial_id"] for e in of(fresh, "start", "epoch", "end")} == {e["trial_id"] for e in of(fresh, "proposal")}
    assert after[-1]["reason"] == "6 trials proposed (--max-trials)"
    client = MlflowClient(tracking_uri=default_uri(copy))
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(run.data.tags["astmoa.trial_id"] for run in children) == sorted(ids)
    assert len(runs) == len(children) + 1


def test_ctrl_c_says_how_to_go_on(interrupted, spent):
    last, out = interrupted
    assert last.startswith("Go on with: ")
    assert last.endswith(f"frontier.py --resume {out}")
    events = spent[1]
    assert events[-1]["reason"] == "interrupted"
    assert {event["state"] for event in of(events, "end")} <= {"stopped"}  # by the search


def test_trials_of_an_earlier_run_are_not_waited_for_when_no_time_is_left(spent):
    result, before, after = spent
    assert result.returncode == 0, result.stderr
    reason = "1e-05 device-hours spent (--max-device-hours)"
    assert f"Ended: {reason}." in result.stderr
    assert after[-1]["reason"] == reason
    assert after[: len(before)] == before
    assert not of(after[len(before) :], "start", "epoch", "end")


def test_an_interrupted_search_goes_on_to_its_end(spent, done):
    """With half a line in its journal."""
    result, out = done
    assert 'was cut off by a crash and is dropped: {"type": "epoch", "trial_id": "12' in result.stderr
    events = read_journal(out)
    assert events[: len(spent[2])] == spent[2]
    epochs = [(e["trial_id"], e["epoch"]) for e in of(events, "epoch")]
    assert len(epochs) == len(set(epochs))
    trials = load_sweep(out).trials
    assert len(trials) == 4 + 2
    for trial in trials:
        assert [epoch["epoch"] for epoch in trial.epochs] == list(range(1, len(trial.epochs) + 1))
        assert (len(trial.epochs) == EPOCHS) == (trial.state == "completed")
    assert {trial.trial_id for trial in trials} >= {event["trial_id"] for event in of(spent[1], "start")}


def test_when_every_trial_fails_it_stops_and_shows_the_first_error(options, tmp_path, capsys, monkeypatch):
    def diverging(options, shape):
        return Space([{"name": ["bottleneck"], "bottleneck_dim": [1, 2, 4, 8], "lr": [1e30, 1e31]}])

    args = [*options, "--max-failures", 3, "--trials-at-once", 1, "--out", tmp_path / "run"]
    monkeypatch.setattr(sys, "argv", ["sweeps/frontier.py", *map(str, args)])
    with pytest.raises(SystemExit) as caught:
        main("frontier", frontier.Options, diverging, "")
    assert caught.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stopped after 3 failed trials in a row (--max-failures); the first error: training loss is" in error
    events = read_journal(tmp_path / "run")
    assert [e["state"] for e in of(events, "end")] == ["failed"] * 3
    assert events[-1]["reason"] == "3 trials in a row failed (--max-failures)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--epochs", "3"], [f"cannot go on with --epochs {EPOCHS} there, 3 now"]),
        (["--margin", "2"], ["--margin", "there, 2.0 now"]),
        (["--sampler", "random"], ["--sampler ehvi there, random now"]),
        (["--max-params", "5000"], ["--max-params None there, 5000 now"]),
        (["--max-trials", "0"], ["--max-trials 0", "at least 1"]),
    ],
)
def test_another_search_does_not_go_on_in_its_folder(copy, changes, words, refused):
    before = (copy / NAME).read_bytes()
    error = refused("--resume", copy, *changes)
    for word in words:
        assert word in error
    assert (copy / NAME).read_bytes() == before


def test_another_space_is_refused_with_what_changed(copy, refused, monkeypatch):
    branches = frontier.SPACE.to_json()
    branches[1]["placement"] = ["ffn"]
    before = (copy / NAME).read_bytes()
    monkeypatch.setattr(
        "astmoa.training.inputs.open_inputs", lambda *args, **options: pytest.fail("all sounds were read first")
    )
    error = refused("--resume", copy, space=lambda options, shape: Space(branches[:3]))
    assert "written with another search: soft_moa is gone; bottleneck.placement was" in error
    assert error.endswith("['attention', 'ffn', 'both'], is ['ffn']; choose another --out")
    assert (copy / NAME).read_bytes() == before


def test_other_sounds_are_refused_by_their_fingerprint(copy, sounds, tmp_path, refused):
    shutil.copytree(sounds, tmp_path / "sounds")
    shutil.copy(tmp_path / "sounds" / "train-low-0.wav", tmp_path / "sounds" / "train-high-0.wav")
    error = refused("--resume", copy, "--data-root", tmp_path / "sounds")
    assert "written with another data: fingerprint" in error
    assert " there, " in error


def test_folders_that_are_no_search_of_this_file_are_refused(copy, tmp_path, refused, monkeypatch, capsys):
    assert f"no {NAME} there" in refused("--resume", tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweeps/random_search.py", "--resume", str(copy)])
    from astmoa.study.options import StudyOptions

    with pytest.raises(SystemExit):
        main("random_search", StudyOptions, lambda options, shape: [], "")
    assert "a run of frontier, and this is random_search" in capsys.readouterr().err


def test_a_newer_journal_is_left_to_a_newer_version(copy, refused):
    first, rest = (copy / NAME).read_text().split("\n", 1)
    (copy / NAME).write_text(json.dumps(json.loads(first) | {"format": 99}) + "\n" + rest)
    before = (copy / NAME).read_bytes()
    error = refused("--resume", copy)
    assert "written by a newer astmoa (format 99" in error
    assert "upgrade" in error
    assert (copy / NAME).read_bytes() == before


def test_a_damaged_line_is_shown_and_the_file_kept(copy, refused):
    lines = (copy / NAME).read_bytes().splitlines(keepends=True)
    lines[3] = b'{"type": "epo\n'
    (copy / NAME).write_bytes(b"".join(lines))
    error = refused("--resume", copy)
    assert f"{NAME}:4: damaged line" in error
    assert '{"type": "epo' in error
    assert (copy / NAME).read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--max-params", "10"], ["max_params=10 is below the smallest model", "raise the budget"]),
        (["--sampler", "cmaes"], ["cmaes", "nsga2, tpe"]),
        (["--scheduler", "median"], ["median", "pareto_asha, asha"]),
        (["--tell-stopped", "loudly"], ["loudly", "predicted"]),
        (["--confirm", "everything"], ["--confirm everything", "seeds=5"]),
        (["--confirm", "seeds=2,folds=3"], ["has no folds"]),
        (["--seeds", "2"], ["--seeds is not for frontier", "--confirm seeds=N"]),
        (["--max-trials", "0"], ["--max-trials 0", "at least 1"]),
        (["--lr", "0.1"], ["--lr is not for frontier", "leave it out"]),
    ],
)
def test_wrong_input_is_one_line_before_anything_starts(args, words, options, tmp_path, refused):
    space = frontier.SPACE.to_json()[1:]  # the linear probe has no parameters but its head
    error = refused(*options, *args, "--out", tmp_path / "run", space=lambda options, shape: Space(space))
    for word in words:
        assert word in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("branches", [[], [{"name": ["soft_moa"], "num_experts": []}]])
def test_an_empty_space_is_said(branches, options, tmp_path, refused):
    args = [*options, "--out", tmp_path / "run"]
    error = refused(*args, space=lambda options, shape: Space(branches))
    assert "the search space is empty" in error
    assert not (tmp_path / "run").exists()


def test_help_names_resume_and_the_bounds(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = script_here("frontier", "--help")
    assert result.returncode == 0
    for word in ("--resume", "--max-trials", "--max-hours", "--confirm", "--sampler", "--scheduler"):
        assert word in result.stdout
