"""A study as a user runs it: the script, real Ray, real MLflow, real files; then all that reads its run folder."""

import json
import subprocess
import sys

import pytest

from astmoa.cli.main import main
from astmoa.provenance import program
from astmoa.records.journal import read_journal
from astmoa.records.load import load_sweep
from astmoa.study.finish import finish, show
from astmoa.tracking import default_uri
from tests.helpers import ROOT
from tests.helpers.machines import until
from tests.helpers.runs import trials_of, write_sweep, write_tones
from tests.helpers.studies import script, script_here, second_is_refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = write_tones(tmp_path_factory.mktemp("tones"))
    (folder / "train-low-0.wav").write_bytes(b"this is no sound")
    return folder


@pytest.fixture(scope="module")
def done(sounds, tmp_path_factory):
    """Six points, one seed, two epochs, on a csv data set with one bad clip and the built-in backbone."""
    out = tmp_path_factory.mktemp("runs") / "run"
    options = ["--data", "csv", "--data-root", sounds, "--seconds", 0.6, "--epochs", 2, "--seeds", 1, "--batch-size", 6]
    options += ["--skip-bad-clips", "--out", out]
    command = [sys.executable, str(ROOT / "sweeps" / "n_vs_p.py"), *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        until(lambda: (out / ".lock").exists(), "the run folder")  # seconds before its journal: Ray has not begun
        for again in (options, ["--resume", out]):
            second_is_refused("n_vs_p", *again, by=first.pid)
        stdout, stderr = first.communicate(timeout=300)
    return subprocess.CompletedProcess(command, first.returncode, stdout, stderr), out, options


def test_it_ends_with_the_table_and_says_where_everything_is(done):
    result, out, _ = done
    assert result.returncode == 0, result.stderr
    for pair in ("2/14", "4/6", "6/4", "8/3", "12/2", "24/1"):
        assert pair in result.stdout
    for path in ("frontier.png", "journal.jsonl", "best"):
        assert str(out / path) in result.stdout
        assert (out / path).exists()
    assert "mlflow ui" in result.stdout
    assert str(out.parent / "mlflow.db") in result.stdout
    assert "1 unreadable clip" in result.stderr
    assert (out / "table.md").read_text().count("\n| ") >= 7


def test_it_is_quiet(done):
    """One progress display and no library's chatter."""
    result, _, _ = done
    for noise in ("WARNING", "Warning", "INFO", "(TrialWorker", "alembic", "deprecated"):
        assert noise not in result.stderr + result.stdout
    assert len(result.stderr.splitlines()) < 40


def test_budgets_and_journal_agree(done):
    _, out, _ = done
    sweep = load_sweep(out)
    assert sweep.states["completed"] == 6
    budget = max(point.paper_params for point in sweep.points())
    for point in sweep.points():
        n = point.config["method"]["num_experts"]
        another_unit_of_bottleneck = 6 * n * (2 * 192 + 1)  # 6 layers, 192 wide
        assert budget - another_unit_of_bottleneck < point.paper_params <= budget
    assert list(sweep.header["data"]["bad_clips"]) == ["train-low-0.wav"]


def test_mlflow_has_the_sweep_and_its_trials(done):
    from mlflow import MlflowClient

    _, out, _ = done
    assert load_sweep(out).header["tracker"] == default_uri(out)  # where --resume and astmoa track go on
    client = MlflowClient(tracking_uri=default_uri(out))
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert len(children) == 6
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {a.path for a in client.list_artifacts(parents[0].info.run_id)} >= {
        "frontier.png",
        "journal.jsonl",
        "table.md",
    }
    trials = {trial.trial_id: trial for trial in load_sweep(out).trials}
    for run in children:
        trial = trials[run.data.tags["astmoa.trial_id"]]
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [(m.step, m.value) for m in history] == [(e["epoch"], e["val_accuracy"]) for e in trial.epochs]
        assert run.data.metrics["test_accuracy"] == trial.test_accuracy
        assert run.data.params["method.num_experts"] == str(trial.config["method"]["num_experts"])


def test_the_same_command_again_runs_nothing_twice(done, no_ray):
    _, out, options = done
    before = (out / "journal.jsonl").read_bytes()
    for command in (options, ["--resume", out]):
        again = script_here("n_vs_p", *command)
        assert again.returncode == 0, again.stderr
        assert "nothing left to run" in again.stderr
        assert (out / "journal.jsonl").read_bytes() == before
    other = script_here("n_vs_p", *options, "--lr", "0.1")
    assert other.returncode == 2
    assert other.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "optim.lr 0.005 there, 0.1 now" in other.stderr


def test_the_run_folder_is_read_by_the_command_line(done, sounds, tmp_path, capsys):
    _, out, _ = done
    main(["frontier", str(out), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["points"]) == 6
    main(["export", str(out), "--pick", "smallest", "--out", str(tmp_path / "bundle")])
    capsys.readouterr()
    clip = str(sounds / "test-high-0.wav")
    main(["predict", str(tmp_path / "bundle"), clip, "--json"])
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert {p["label"] for p in predictions} == {"low", "middle", "high"}
    assert sum(p["probability"] for p in predictions) == pytest.approx(1, abs=1e-5)
    other = f"sqlite:///{tmp_path / 'later.db'}"
    main(["track", str(out), "--tracking-uri", other])
    assert "mlflow ui" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data", "esc50"], ["data.root is not set", "--data-root"]),
        (["--data", "csv", "--data-root", "/no/such/folder"], ["/no/such/folder"]),
        (["--budget", "100"], ["no bottleneck fits", "budget is 100"]),
        (["--seeds", "0"], ["--seeds 0", "at least 1"]),
        (["--backbone", "/no/such/folder"], ["/no/such/folder", "does not exist"]),
        (["--folds", "1", "2"], ["has no folds", "seeds"]),
        (["--cross-validate"], ["has no folds", "seeds"]),
        (["--folds", "1", "1"], ["each once"]),
        (["--gpus-per-trial", "nan"], ["--gpus-per-trial nan"]),
        (["--seconds", "0.1"], ["shorter than one patch"]),
        (["--faithful", "everything"], ["faithful", "positions"]),
    ],
)
def test_wrong_input_is_one_line_before_anything_starts(args, words, tmp_path, no_ray):
    result = script_here("n_vs_p", *args, "--out", tmp_path / "run")
    assert result.returncode == 2
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ")
    for word in words:
        assert word in error
    assert not (tmp_path / "run").exists()


def test_wrong_input_is_one_line_of_a_process(tmp_path):
    result = script("n_vs_p", "--budget", "100", "--out", tmp_path / "run")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: no bottleneck fits")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def joined(tmp_path_factory, tiny_folder):
    """One fold and one seed with a tracker that is down, then all folds and two seeds. Results, and sweeps after each.

    Folds 2, 3 and 4: --cross-validate takes them all, whatever the default fold is.
    """
    folder, out = tmp_path_factory.mktemp("folds"), tmp_path_factory.mktemp("runs") / "run"
    write_tones(folder)
    rows = (folder / "manifest.csv").read_text().splitlines()[1:]
    lines = [f"{name},{label},{2 + i % 3}" for i, (name, label, _) in enumerate(row.split(",") for row in rows)]
    (folder / "manifest.csv").write_text("\n".join(["path,label,fold", *lines]) + "\n")
    options = ["--data", "csv", "--data-root", folder, "--seconds", 0.6, "--epochs", 1, "--batch-size", 6]
    options += ["--backbone", tiny_folder, "--num-points", 1, "--out", out, "--trials-at-once", 1]
    first = script_here("random_search", *options, "--folds", 2, "--seeds", 1, "--tracking-uri", "http://127.0.0.1:9")
    sweeps = [load_sweep(out)]
    second = script_here("random_search", *options, "--cross-validate", "--seeds", 2)
    return (first, second), [*sweeps, load_sweep(out)], out


def test_a_tracker_that_is_down_does_not_stop_the_sweep(joined):
    (result, _), (sweep, _), out = joined
    assert result.returncode == 0, result.stderr
    assert sweep.states["completed"] == 1
    assert f"astmoa track {out}" in result.stdout


def test_folds_and_seeds_join_a_finished_sweep(joined):
    results, sweeps, out = joined
    assert [result.returncode for result in results] == [0, 0], results
    counts = [sorted((trial.fold, trial.seed) for trial in sweep.trials) for sweep in sweeps]
    assert counts[0] == [(2, 0)]
    assert counts[1] == [(fold, seed) for fold in (2, 3, 4) for seed in (0, 1)]
    assert sweeps[1].states["completed"] == 6
    assert [event["type"] for event in read_journal(out)].count("start") == 6  # the first one is not run again
    point = json.loads((out / "table.json").read_text())["points"][0]
    assert point["val_accuracy"]["n"] == 3  # folds, the seeds of each averaged
    assert len(point["replicates"]) == 6
    assert point["val_accuracy"]["low"] <= point["val_accuracy"]["mean"] <= point["val_accuracy"]["high"]


def test_esc50_in_its_official_layout(shared_data, tiny_folder, tmp_path):
    """Real clips, two folds: the data path of the command in the README. Half a second of some is silence."""
    options = ["--data", "esc50", "--data-root", shared_data / "esc50", "--seconds", 0.5, "--epochs", 1, "--seeds", 1]
    options += ["--backbone", tiny_folder, "--num-points", 1, "--folds", 2, 5, "--skip-bad-clips"]
    options += ["--trials-at-once", 1]
    result = script_here("random_search", *options, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    sweep = load_sweep(tmp_path / "run")
    assert {trial.fold for trial in sweep.trials} == {2, 5}
    for sizes in sweep.header["data"]["splits"].values():
        assert sum(sizes.values()) + len(sweep.header["data"]["bad_clips"]) == 1000
        assert all(190 <= sizes[split] <= 200 for split in ("val", "test"))


def test_urbansound8k_never_chooses_on_its_test_fold(shared_data, tiny_folder, tmp_path):
    """Folds 1, 2 and 10 are there: fold 1 tests, fold 2 is held out, the published code's way is a switch."""
    options = ["--data", "urbansound8k", "--data-root", shared_data / "urbansound8k", "--seconds", 0.5, "--epochs", 1]
    options += ["--backbone", tiny_folder, "--seeds", 1, "--num-points", 1, "--skip-bad-clips"]
    held = {}
    for faithful in ((), ("--faithful", "validate_on_test")):
        out = tmp_path / f"run{len(faithful)}"
        result = script_here("random_search", *options, *faithful, "--out", out)
        assert result.returncode == 0, result.stderr
        (trial,) = load_sweep(out).trials
        held[len(faithful)] = trial
    ours, published = held[0], held[2]
    assert 190 <= ours.end["num_val_clips"] <= 200
    assert published.end["num_val_clips"] == published.end["num_test_clips"]
    assert published.val_accuracy == published.test_accuracy


def test_a_sweep_whose_trials_all_fail_says_why(sounds, tiny_folder, tmp_path):
    options = ["--data", "csv", "--data-root", sounds, "--seconds", 0.6, "--epochs", 1, "--batch-size", 6, "--lr", 1e30]
    options += ["--backbone", tiny_folder, "--skip-bad-clips", "--seeds", 1, "--num-points", 2, "--trials-at-once", 1]
    result = script_here("random_search", *options, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "error: no trial completed; the first failed with:" in result.stderr.splitlines()[-1]
    assert "lower optim.lr" in result.stderr.splitlines()[-1]
    assert load_sweep(tmp_path / "run").states["failed"] == 2


@pytest.mark.parametrize("broken", ["astmoa.report.pictures.frontier_picture", "astmoa.report.tables.write_tables"])
def test_nothing_in_a_report_holds_back_the_bundle(tmp_path, monkeypatch, capsys, broken):
    def fail(*_):
        raise ZeroDivisionError("deep inside\nof a \x1bfont")

    out = write_sweep(tmp_path / "run", trials_of({"a": (1_000, (0.5,)), "b": (2_000, (0.6,))}))
    monkeypatch.setattr(broken, fail)
    finish(out)
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: deep inside\\nof a \\x1bfont" in line
    assert line.endswith(f"make it again with: {program('astmoa')} frontier {out}")
    left = {"frontier.png"} if "picture" in broken else {"table.md", "table.json"}
    written = {"journal.jsonl", "trials", "best", "frontier.png", "table.md", "table.json"}
    assert {path.name for path in out.iterdir()} == written - left
    monkeypatch.undo()
    main(["frontier", str(out)])
    assert {path.name for path in out.iterdir()} == written


def test_a_table_that_cannot_be_shown_holds_back_no_place(tmp_path, monkeypatch, capsys):
    out = write_sweep(tmp_path / "run", trials_of({"a": (1_000, (0.5,))}))
    monkeypatch.setattr("astmoa.report.tables.summary", lambda *_: 1 / 0)
    show(out, default_uri(out), None)
    printed = capsys.readouterr()
    assert "No table (ZeroDivisionError" in printed.err
    assert str(out / "frontier.png") in printed.out
