"""sweeps/frontier.py as a user runs it: search, confirm, go on, extend; and what is refused before anything starts."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from astmoa.journal import NAME, read_journal
from astmoa.records import load_sweep
from astmoa.study import main
from astmoa.sweep.space import Space
from astmoa.tracking import default_uri
from tests.test_export import write_tones
from tests.test_study import ROOT, script

pytestmark = pytest.mark.slow
sys.path.append(str(ROOT / "sweeps"))
import frontier  # noqa: E402


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def options(sounds, tiny_folder):
    options = ["--data", "csv", "--data-root", sounds, "--seconds", 0.6, "--epochs", 2, "--batch-size", 6]
    return [*options, "--backbone", tiny_folder]


@pytest.fixture(scope="module")
def done(options, tmp_path_factory):
    """Four trials of two epochs, and two replicates."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = script("frontier", *options, "--max-trials", 4, "--confirm", "seeds=1,trials=2", "--out", out)
    assert result.returncode == 0, result.stderr
    return result, out


@pytest.fixture
def copy(done, tmp_path):
    shutil.copytree(done[1], tmp_path / "run")
    return tmp_path / "run"


def of(events, *types):
    return [event for event in events if event["type"] in types]


def refused(monkeypatch, capsys, *args, space=frontier.space):
    """The error of a command that must end before Ray starts."""

    def no_ray(*args):
        raise AssertionError("Ray was started")

    monkeypatch.setattr("astmoa.sweep.run.start_ray", no_ray)
    monkeypatch.setattr(sys, "argv", ["sweeps/frontier.py", *map(str, args)])
    with pytest.raises(SystemExit) as caught:
        main("frontier", frontier.Options, space, "")
    assert caught.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    return error


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
    again = script("frontier", "--resume", copy)
    assert again.returncode == 0, again.stderr
    assert "Ended: 4 trials proposed (--max-trials)." in again.stderr
    events = read_journal(copy)
    assert events[: len(before)] == before
    assert [event["type"] for event in events[len(before) :]] == ["resume", "confirm", "sweep_end"]

    more = script("frontier", "--resume", copy, "--max-trials", 6)
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


def test_ctrl_c_says_how_to_go_on_and_that_works(options, tmp_path):
    """Interrupted, then with its time spent, then with half a line in its journal: to the end."""
    out = tmp_path / "run"
    command = [sys.executable, str(ROOT / "sweeps" / "frontier.py"), *map(str, options), "--epochs", "30"]
    command += ["--max-trials", "3", "--scheduler", "none", "--trials-at-once", "2", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not ((out / NAME).exists() and (out / NAME).read_text().count('"type": "epoch"') > 8):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("Go on with: ")
    assert last.endswith(f"frontier.py --resume {out}")
    events = read_journal(out)
    assert events[-1]["reason"] == "interrupted"
    assert not of(events, "end")

    # Trials that an earlier run left are not waited for when no time is left for them.
    spent = script("frontier", "--resume", out, "--max-device-hours", 1e-5)
    assert spent.returncode == 0, spent.stderr
    reason = "1e-05 device-hours spent (--max-device-hours)"
    assert f"Ended: {reason}." in spent.stderr
    assert read_journal(out)[-1]["reason"] == reason
    assert not of(read_journal(out)[len(events) :], "start", "epoch", "end")

    with open(out / NAME, "a") as file:
        file.write('{"type": "epoch", "trial_id": "12')
    again = subprocess.run(
        [*shlex.split(last.removeprefix("Go on with: ")), "--max-device-hours", "10"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert again.returncode == 0, again.stderr
    assert 'was cut off by a crash and is dropped: {"type": "epoch", "trial_id": "12' in again.stderr
    after = read_journal(out)
    assert after[: len(events)] == events
    epochs = [(e["trial_id"], e["epoch"]) for e in of(after, "epoch")]
    assert len(epochs) == len(set(epochs)) == 3 * 30
    assert load_sweep(out).states["completed"] == 3


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
        (["--epochs", "3"], ["cannot go on with --epochs 2 there, 3 now"]),
        (["--lr", "0.1"], ["--lr None there, 0.1 now"]),
        (["--sampler", "random"], ["--sampler ehvi there, random now"]),
        (["--max-params", "5000"], ["--max-params None there, 5000 now"]),
        (["--max-trials", "0"], ["--max-trials 0", "at least 1"]),
    ],
)
def test_another_search_does_not_go_on_in_its_folder(copy, changes, words, monkeypatch, capsys):
    before = (copy / NAME).read_bytes()
    error = refused(monkeypatch, capsys, "--resume", copy, *changes)
    for word in words:
        assert word in error
    assert (copy / NAME).read_bytes() == before


def test_another_space_is_refused_with_what_changed(copy, monkeypatch, capsys):
    branches = frontier.SPACE.to_json()
    branches[1]["placement"] = ["ffn"]
    before = (copy / NAME).read_bytes()
    monkeypatch.setattr("astmoa.study.open_inputs", lambda *args, **options: pytest.fail("all sounds were read first"))
    error = refused(monkeypatch, capsys, "--resume", copy, space=lambda options, shape: Space(branches[:3]))
    assert "written with another search: soft_moa is gone; bottleneck.placement was" in error
    assert error.endswith("['attention', 'ffn', 'both'], is ['ffn']; choose another --out")
    assert (copy / NAME).read_bytes() == before


def test_other_sounds_are_refused_by_their_fingerprint(copy, sounds, tmp_path, monkeypatch, capsys):
    shutil.copytree(sounds, tmp_path / "sounds")
    shutil.copy(tmp_path / "sounds" / "train-low-0.wav", tmp_path / "sounds" / "train-high-0.wav")
    error = refused(monkeypatch, capsys, "--resume", copy, "--data-root", tmp_path / "sounds")
    assert "written with another data: fingerprint" in error
    assert " there, " in error


def test_folders_that_are_no_search_of_this_file_are_refused(copy, tmp_path, monkeypatch, capsys):
    assert f"no {NAME} there" in refused(monkeypatch, capsys, "--resume", tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweeps/random_search.py", "--resume", str(copy)])
    from astmoa.study_options import StudyOptions

    with pytest.raises(SystemExit):
        main("random_search", StudyOptions, lambda options, shape: [], "")
    assert "a run of frontier, and this is random_search" in capsys.readouterr().err


def test_a_newer_journal_is_left_to_a_newer_version(copy, monkeypatch, capsys):
    first, rest = (copy / NAME).read_text().split("\n", 1)
    (copy / NAME).write_text(json.dumps(json.loads(first) | {"format": 99}) + "\n" + rest)
    before = (copy / NAME).read_bytes()
    error = refused(monkeypatch, capsys, "--resume", copy)
    assert "written by a newer astmoa (format 99" in error
    assert "upgrade" in error
    assert (copy / NAME).read_bytes() == before


def test_a_damaged_line_is_shown_and_the_file_kept(copy, monkeypatch, capsys):
    lines = (copy / NAME).read_bytes().splitlines(keepends=True)
    lines[3] = b'{"type": "epo\n'
    (copy / NAME).write_bytes(b"".join(lines))
    error = refused(monkeypatch, capsys, "--resume", copy)
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
        (["--seeds", "2"], ["--seeds 2", "--confirm seeds=N"]),
        (["--max-trials", "0"], ["--max-trials 0", "at least 1"]),
        (["--lr", "0.1"], ["--lr 0.1", "leave --lr out"]),
    ],
)
def test_wrong_input_is_one_line_before_anything_starts(args, words, options, tmp_path, monkeypatch, capsys):
    space = frontier.SPACE.to_json()[1:]  # the linear probe has no parameters but its head
    error = refused(
        monkeypatch, capsys, *options, *args, "--out", tmp_path / "run", space=lambda options, shape: Space(space)
    )
    for word in words:
        assert word in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("branches", [[], [{"name": ["soft_moa"], "num_experts": []}]])
def test_an_empty_space_is_said(branches, options, tmp_path, monkeypatch, capsys):
    args = [*options, "--out", tmp_path / "run"]
    error = refused(monkeypatch, capsys, *args, space=lambda options, shape: Space(branches))
    assert "the search space is empty" in error
    assert not (tmp_path / "run").exists()


def test_help_names_resume_and_the_bounds():
    result = script("frontier", "--help", COLUMNS="200")
    assert result.returncode == 0
    for word in ("--resume", "--max-trials", "--max-hours", "--confirm", "--sampler", "--scheduler"):
        assert word in result.stdout
