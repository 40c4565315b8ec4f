"""The command line: what it prints, and one line for every wrong input."""

import io
import json
import shutil
from pathlib import Path

import pytest
import soundfile
import torch

from astmoa.cli.main import main
from astmoa.records import own_runs
from tests.helpers import journals
from tests.helpers.runs import trials_of, write_sweep, write_tones
from tests.helpers.trackers import runs


def test_params_prints_the_papers_figure(capsys):
    args = "params soft_moa --num-experts 14 --slots-per-expert 1 --bottleneck-dim 1 --hidden-size 768 --num-layers 12"
    main([*args.split(), "--json"])
    values = json.loads(capsys.readouterr().out)
    assert values["num_trainable_params"] == 534_696 == values["adapter"] + values["router"] + values["norm"]


def test_params_solves_a_budget(capsys):
    main(["params", "soft_moa", "--num-experts", "2", "--slots-per-expert", "14", "--budget", "903456", "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "bottleneck_dim": 16,
        "adapter": 608_640,
        "router": 258_048,
        "norm": 18_432,
        "head": 0,
        "paper": 885_120,
        "num_trainable_params": 885_120,
    }


def test_frontier_prints_table_and_json(tmp_path, capsys):
    run_dir = journals.write(tmp_path / "run", journals.sweep_events(journals.every_state()))
    main(["frontier", str(run_dir)])
    assert "frontier.png" in capsys.readouterr().out
    assert (run_dir / "frontier.png").stat().st_size > 1000
    main(["frontier", str(run_dir), "--json"])
    assert json.loads(capsys.readouterr().out)["points"]


def test_a_terminal_that_lacks_signs_shows_their_numbers(tmp_path, monkeypatch):
    trial = journals.Trial("t", journals.config(), name="\u72d7")
    run_dir = journals.write(tmp_path / "run", journals.sweep_events([trial]))
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        main(["frontier", str(run_dir)])
        stdout.flush()
        assert rb"\u72d7 " in stdout.buffer.getvalue()
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("", ["Is a directory", "give a file"]),
        (".", ["Is a directory"]),
        ("no/such/folder/f.png", ["No such file or directory"]),
        ("table.json/f.png", ["Not a directory"]),
        ("x" * 300 + ".png", ["File name too long"]),
        ("f.jpg", ["ends in .png"]),
        ("f.xyz", ["ends in .png"]),
    ],
)
def test_a_place_for_the_picture_is_looked_at_before_anything(tmp_path, monkeypatch, capsys, picture, words):
    run_dir = journals.write(tmp_path / "run", journals.sweep_events(journals.every_state()))
    monkeypatch.chdir(tmp_path)
    Path("table.json").touch()
    with pytest.raises(SystemExit) as caught:
        main(["frontier", str(run_dir), "--picture", picture])
    printed = capsys.readouterr()
    _assert_one_line(caught.value.code, printed.err.strip(), ["--picture", *words])
    assert printed.out == ""
    assert [path.name for path in run_dir.iterdir()] == ["journal.jsonl"]


def test_a_picture_that_cannot_be_drawn_keeps_no_table_back(tmp_path, monkeypatch, capsys):
    run_dir = journals.write(tmp_path / "run", journals.sweep_events(journals.every_state()))
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda *_, **__: 1 / 0)
    with pytest.raises(SystemExit) as caught:
        main(["frontier", str(run_dir)])
    printed = capsys.readouterr()
    _assert_one_line(caught.value.code, printed.err.strip(), ["frontier.png", "ZeroDivisionError", "tables"])
    assert "65.0 [1,100]" in printed.out
    monkeypatch.undo()
    main(["frontier", str(run_dir), "--picture", str(tmp_path / "a.PNG")])
    assert sorted(path.name for path in run_dir.iterdir()) == ["journal.jsonl", "table.json", "table.md"]
    assert (tmp_path / "a.PNG").stat().st_size > 1000


def test_track_says_where_and_what_came_back(tmp_path, uri, monkeypatch, capsys):
    """By default in the tracker that the run had."""
    monkeypatch.setenv("ASTMOA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    events = journals.sweep_events(journals.every_state(), tracker=uri)
    run_dir = journals.write(tmp_path / "runs" / "run", events)
    own_runs.note("abc123", tracking_uri=uri)
    main(["track", str(run_dir)])
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == f"Tracked: 6 runs, in {uri}, astmoa/n_vs_p"
    assert printed.out.splitlines()[1].startswith("MLflow UI: ")
    assert printed.err == ""
    client, parent, _ = runs(uri)
    client.delete_run(parent.info.run_id)
    main(["track", str(run_dir), "--tracking-uri", uri])
    assert "Tracked: 6 runs, 1 of them out of the bin, in" in capsys.readouterr().out
    own_runs.note("abc123", tracking_uri="http://127.0.0.1:9")  # no longer what the journal says
    shutil.copy(uri.removeprefix("sqlite:///"), tmp_path / "runs" / "mlflow.db")
    main(["track", str(run_dir)])
    printed = capsys.readouterr()
    assert f"was {uri}: this user has not given it on this machine; its runs go to sqlite:///" in printed.err
    assert f"in sqlite:///{tmp_path}/runs/mlflow.db" in printed.out


def test_export_prints_the_folders(tmp_path, capsys):
    run_dir = write_sweep(tmp_path / "run", trials_of({"1/2": (1_000, (0.5,)), "2/1": (2_000, (0.6,))}))
    main(["export", str(run_dir), "--pick", "budget=1000", "--out", str(tmp_path / "one")])
    assert capsys.readouterr().out.split() == [str(tmp_path / "one")]
    main(["export", str(run_dir), "--pick", "all", "--out", str(tmp_path / "all")])
    assert capsys.readouterr().out.split() == [str(tmp_path / "all" / name) for name in ("1-2", "2-1")]
    with pytest.raises(SystemExit) as caught:
        main(["export", str(run_dir), "--pick", "largest", "--out", str(tmp_path / "none")])
    _assert_one_line(caught.value.code, capsys.readouterr().err.strip(), ["--pick largest", "budget=N", "all"])


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"))


def _add_bad_clip(tones, tmp_path):
    folder = write_tones(tmp_path)
    (folder / "train-low-0.wav").write_bytes(b"this is no sound")
    return folder


def _without_label_column(tones, tmp_path):
    (tmp_path / "manifest.csv").write_text("path,split\na.wav,train\n")
    return tmp_path


def _class_missing_from_train(tones, tmp_path):
    text = (write_tones(tmp_path) / "manifest.csv").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("train-high")]
    (tmp_path / "manifest.csv").write_text("\n".join(kept))
    return tmp_path


def _silent_clip(tones, tmp_path):
    folder = write_tones(tmp_path)
    soundfile.write(folder / "val-low-1.wav", torch.zeros(16_000).numpy(), 16_000)
    return folder


def _assert_one_line(code, error, words):
    assert code == 2
    assert error.startswith("error: ")
    assert "\n" not in error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("make", "args", "words"),
    [
        (None, "--data.name csv --data.root /no/such/folder", ["/no/such/folder", "data.root"]),
        (None, "--data.name esc50 --data.root /no/such/folder", ["/no/such/folder", "ESC-50"]),
        (None, "--data.name csv", ["data.root is not set"]),
        (_without_label_column, "", ["no column label"]),
        (_add_bad_clip, "", ["1 of 36 clips", "train-low-0.wav", "--skip-bad-clips"]),
        (_silent_clip, "", ["val-low-1.wav", "zero"]),
        (_class_missing_from_train, "", ["high", "train"]),
        (lambda tones, _: tones, "--data.seconds 0.01", ["data.seconds=0.01"]),
        (lambda tones, _: tones, "--data.seconds 0.1", ["shorter than one patch", "--seconds"]),
        (lambda tones, _: tones, "--method.num-experts 0", ["method.num_experts=0", "at least 1"]),
        (lambda tones, _: tones, "--method.slots-per-expert -1", ["method.slots_per_expert=-1"]),
        (lambda tones, _: tones, "--method.bottleneck-dim 0", ["method.bottleneck_dim=0"]),
        (lambda tones, _: tones, "--method.layers 7", ["method.layers=[7]", "0 to 2"]),
        (lambda tones, _: tones, "--backbone.name /no/such/backbone", ["/no/such/backbone", "does not exist"]),
        (lambda tones, _: tones, "--config /no/such/config.yaml", ["/no/such/config.yaml does not exist"]),
        (lambda tones, _: tones, "--optim.epochs 0", ["optim.epochs=0", "at least 1"]),
        (lambda tones, _: tones, f"--optim.epochs {10**400}", ["optim.epochs=1000", "at most"]),
        (lambda tones, _: tones, f"--optim.lr {10**400}", ["optim.lr=", "above 0"]),
        (lambda tones, _: tones, "--method.num-experts 1000000", ["method.num_experts=1000000", "at most 10,000"]),
        (
            lambda tones, _: tones,
            "--method.num-experts 10000 --method.slots-per-expert 10000",
            ["trainable parameters: at most 1,000,000,000"],
        ),
        (lambda tones, _: tones, "--out /dev/null", ["/dev/null is a file"]),
        (lambda tones, _: tones, "--config /", ["/ is no YAML file of a trial (it is no file)"]),
    ],
)
def test_wrong_input_to_train_is_one_line(make, args, words, tones, tiny_folder, tmp_path, capsys):
    command = ["train", "--backbone.name", tiny_folder, "--optim.epochs", "1"]
    if make is not None:
        command += ["--data.name", "csv", "--data.root", str(make(tones, tmp_path))]
    with pytest.raises(SystemExit) as caught:
        main([*command, *args.split()])
    _assert_one_line(caught.value.code, capsys.readouterr().err.strip(), words)


def test_a_bad_clip_can_be_left_out(tones, tiny_folder, tmp_path, capsys):
    folder = _add_bad_clip(tones, tmp_path)
    command = ["train", "--backbone.name", tiny_folder, "--optim.epochs", "1", "--data.skip-bad-clips"]
    main([*command, "--data.name", "csv", "--data.root", str(folder)])
    assert "1 unreadable clip left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("frontier /no/such/run", ["/no/such/run", "--out"]),
        ("export /no/such/run --out /tmp/x", ["/no/such/run"]),
        ("reproduce /no/such/bundle", ["/no/such/bundle", "astmoa export"]),
        ("reproduce /no/such/bundle --seeds -1", ["--seeds -1", "at least 0"]),
        ("track /no/such/run", ["/no/such/run"]),
        ("predict /no/such/bundle a.wav", ["/no/such/bundle", "astmoa export"]),
        ("predict /no/such/bundle a.wav --top 0", ["--top 0", "at least 1"]),
        ("predict /no/such/bundle a.wav --top -3", ["--top -3", "at least 1"]),
        ("predict /no/such/bundle a.wav /usr", ["/usr is a folder", "/usr/*.wav"]),
        ("reproduce /no/such/bundle --threads 1000000", ["--threads 1000000", "from 1 to 1024"]),
        ("params soft_moa --num-experts 0", ["method.num_experts=0"]),
        ("params soft_moa --num-experts 1000000", ["method.num_experts=1000000", "at most 10,000"]),
        (f"params soft_moa --hidden-size {10**4000}", ["hidden_size=", "at most 1,000,000,000"]),
        ("params soft_moa --num-experts 24 --budget 1000", ["no bottleneck fits", "budget is 1,000"]),
        ("params soft_moa --hidden-size 0", ["hidden_size=0"]),
        ("params bottleneck --num-experts 3", ["method.num_experts=3"]),
    ],
)
def test_wrong_input_to_the_others_is_one_line(args, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(args.split())
    _assert_one_line(caught.value.code, capsys.readouterr().err.strip(), words)


@pytest.mark.parametrize(
    "args", [[], *[[c] for c in ("train", "params", "frontier", "export", "reproduce", "predict", "track")]]
)
def test_help_teaches(args, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*args, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code in (None, 0)
    assert "usage" in out
    assert len(out.splitlines()) > 5
