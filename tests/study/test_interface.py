"""`import astmoa` as a program and a notebook use it."""

import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import astmoa
from astmoa.errors import ClipError
from astmoa.records.journal import NAME, read_journal
from tests.helpers import ROOT
from tests.helpers.machines import until
from tests.helpers.pages import DOCS, blocks
from tests.helpers.runs import write_tones


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("sounds"), per_split=(2, 1, 1))


@pytest.fixture(scope="module")
def trained(sounds, tiny_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    config = astmoa.TrialConfig(
        astmoa.DataConfig("csv", str(sounds), seconds=0.6),
        astmoa.BackboneConfig(tiny_folder),
        astmoa.MethodConfig("bottleneck", bottleneck_dim=2),
        astmoa.OptimConfig(epochs=2, batch_size=6),
    )
    return astmoa.train(config, out), out


@pytest.mark.slow
def test_every_name_is_there_and_none_brings_torch_or_ray_before_it_is_used():
    code = (
        "import sys, time; start = time.process_time(); import astmoa; taken = time.process_time() - start\n"
        "heavy = {'torch', 'transformers', 'ray', 'optuna', 'mlflow', 'numpy', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert len(astmoa.__version__.split('.')) == 3\n"
        "for name in ('Space', 'Point', 'MethodConfig', 'count_params', 'run_study', 'load_run', 'StudyOptions'):\n"
        "    getattr(astmoa, name)\n"
        "assert not heavy - {'numpy'} & set(sys.modules), heavy & set(sys.modules)\n"
        "for name in dir(astmoa):\n"
        "    assert getattr(astmoa, name) is not None\n"
        "import astmoa.bundles.export, astmoa.study.interface\n"
        "assert astmoa.export is astmoa.study.interface.export\n"
        "print(taken)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'nothing': it has Adapter, "):
        _ = astmoa.nothing


def test_training_prints_nothing_and_tells_of_every_epoch(trained, capfd):
    told, out = trained
    assert [record["epoch"] for record in told["epochs"]] == [1, 2]
    assert told["val_accuracy"] == max(record["val_accuracy"] for record in told["epochs"])
    assert (out / "bundle" / "bundle.json").is_file()
    again = astmoa.train(astmoa.load_bundle(out / "bundle").config)
    assert capfd.readouterr().out == ""
    assert again["val_accuracy"] == told["val_accuracy"]


def test_a_model_predicts_files_and_waveforms_alike(trained, sounds):
    model = astmoa.load_bundle(trained[1] / "bundle")
    assert sorted(model.labels) == ["high", "low", "middle"]
    files = sorted(sounds.glob("t*.wav"))
    several = model.predict(files, top=2)
    assert [len(predictions) for predictions in several] == [2] * len(files)
    for file, expected in zip(files, several, strict=True):
        assert model.predict(file, top=2) == model.predict(str(file), top=2) == expected
        waveform, rate = soundfile.read(file, always_2d=True, dtype="float32")
        assert model.predict(waveform.T, rate, top=2) == expected
        assert model.predict(torch.from_numpy(waveform.T.copy()), rate, top=2) == expected
        assert model.predict(np.concatenate([waveform.T[0], np.ones(rate)]), rate, top=2) is not None
    assert model.predict(waveform.mean(axis=1), rate, top=2) == expected


@pytest.mark.parametrize(
    ("waveform", "rate", "words"),
    [
        (np.ones(100), None, "a waveform has no rate of its own: give predict\\(waveform, sampling_rate\\)"),
        (np.ones((1, 2, 3)), 16_000, r"a waveform is \[samples\] or \[channels, samples\], not \[1, 2, 3\]"),
        (np.ones(0), 16_000, r"not \[0\]"),
        (np.zeros(1000), 16_000, "waveform: all samples are zero"),
        (np.full(1000, np.nan), 16_000, "waveform: samples are NaN"),
        (np.ones(1000), 3, "a sample rate of 3 Hz is not sound"),
        (np.ones(1000), "x", "a waveform has no rate of its own"),
        (np.ones(1000), np.nan, "a waveform has no rate of its own"),
        (np.ones((1000, 2)), 16_000, r"a waveform of 1,000 channels: give \[channels, samples\], transpose it"),
        (["a.wav", 3], None, "is no file, no list of files and no waveform"),
        (object(), 16_000, "is no file, no list of files and no waveform"),
    ],
)
def test_what_is_no_waveform_is_one_line(trained, waveform, rate, words):
    with pytest.raises((astmoa.ConfigError, ClipError), match=words):
        astmoa.load_bundle(trained[1] / "bundle").predict(waveform, rate)


def test_a_space_is_searched_by_search_options():
    with pytest.raises(astmoa.ConfigError, match=r"give astmoa\.SearchOptions"):
        astmoa.run_study("mine", astmoa.Space([{"name": "linear"}]), astmoa.StudyOptions())


@pytest.mark.parametrize(
    ("study", "points", "options", "words"),
    [
        ("../up", [], None, "a study cannot be called '../up': give letters"),
        (7, [], None, "a study cannot be called 7"),
        ("mine", ["linear"], None, "give a list of astmoa.Point"),
        ("mine", astmoa.MethodConfig("linear"), None, "give a list of astmoa.Point"),
        ("mine", [], {"epochs": 3}, "give astmoa.StudyOptions"),
    ],
)
def test_what_is_no_study_is_one_line(study, points, options, words):
    with pytest.raises(astmoa.ConfigError) as error:
        astmoa.run_study(study, points, options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: astmoa.load_run(3),
        lambda: astmoa.load_run(""),
        lambda: astmoa.load_bundle(None),
        lambda: astmoa.export(3),
        lambda: astmoa.export("runs/none", out=3),
        lambda: astmoa.train({"seed": 1}),
        lambda: astmoa.train(astmoa.TrialConfig(), out=3),
        lambda: astmoa.run_study(
            "mine", [astmoa.Point("linear", astmoa.MethodConfig("linear"))], astmoa.StudyOptions(data=5, out="never")
        ),
    ],
)
def test_what_is_no_path_and_no_configuration_is_one_line(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(astmoa.ConfigError) as error:
        call()
    assert "\n" not in str(error.value)


def test_points_are_not_searched():
    for own in ({"sampler": lambda seed: None}, {"early_stopping": object()}):
        with pytest.raises(astmoa.ConfigError, match="points are not searched"):
            astmoa.run_study("mine", [astmoa.Point("linear", astmoa.MethodConfig("linear"))], **own)


def test_what_is_no_run_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "none", str(tmp_path)):
        with pytest.raises(astmoa.RunError) as error:
            astmoa.load_run(folder)
        assert "\n" not in str(error.value)


NOTEBOOK = (
    "import astmoa\nfrom pathlib import Path\n"
    "points = [astmoa.Point('linear', astmoa.MethodConfig('linear')),\n"
    "          astmoa.Point('single', astmoa.MethodConfig('bottleneck', bottleneck_dim=2))]\n"
    "common = dict(data='csv', data_root={sounds!r}, backbone={backbone!r},\n"
    "              seconds=0.6, epochs=2, batch_size=6, seeds=1)",
    "run = astmoa.run_study('mine', points, astmoa.StudyOptions(out=Path('first'), **common))\nrun",
    "{extending}\n"
    "space = astmoa.Space([{{'name': 'linear', 'lr': [1e-4, 1e-3, 1e-2]}}])\n"
    "found = search(space, 4, out=Path('second'), **{{k: v for k, v in common.items() if k != 'epochs'}})\nfound",
    "trials, points, curves = run.trials_dataframe(), run.points_dataframe(), run.curves_dataframe()\n"
    "assert (len(trials), len(points), len(curves)) == (2, 2, 4)\n"
    "assert set(trials['state']) == {{'completed'}}\n"
    "assert set(trials['config.method.name']) == {{'linear', 'bottleneck'}}\n"
    "assert points['val_accuracy'].between(0, 1).all() and points['front'].any()\n"
    "assert curves.groupby('trial_id')['epoch'].max().eq(2).all()\n"
    "assert len(found.trials_dataframe()) == 3 and astmoa.load_run('second').record == found.record\n"
    "told = found.record.header['search']\n"
    "assert (told['sampler'], told['scheduler']) == ('my_search:tpe_soon', 'my_search:BelowTheMedian'), told\n"
    "trials",
    "run.plot()",
    "bundle = astmoa.export(run, pick='smallest', out='smallest')\n"
    "astmoa.load_bundle(bundle).predict([next(Path({sounds!r}).glob('*.wav'))])",
)


@pytest.mark.slow
def test_a_notebook_runs_two_sweeps_one_after_the_other(sounds, tiny_folder, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    told = {"sounds": str(sounds), "backbone": tiny_folder, "extending": blocks("extending.md")[-1]}
    shutil.copy(DOCS / "examples" / "my_search.py", tmp_path)
    cells = [nbformat.v4.new_code_cell(cell.format(**told)) for cell in NOTEBOOK]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    shown = [{kind for output in cell.outputs for kind in output.get("data", ())} for cell in cells]
    text = ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]
    assert "2/2 trials" in text[1]
    assert re.search(
        r"3/40 trials \(0 running, [12] stopped, [12] completed\)|3/40 trials \(0 running, 3 comp", text[2]
    )
    assert "text/html" in shown[3]
    assert "image/png" in shown[4]
    assert "Prediction(label=" in cells[5].outputs[0]["data"]["text/plain"]
    assert [cell.outputs for cell in cells if any(o["output_type"] == "error" for o in cell.outputs)] == []


PROGRAM = """
import sys
from pathlib import Path
import astmoa
if __name__ == "__main__":
    sounds, backbone, out, epochs = sys.argv[1:]
    points = [astmoa.Point("linear", astmoa.MethodConfig("linear"))]
    options = astmoa.StudyOptions(data="csv", data_root=sounds, backbone=backbone, seconds=0.6, batch_size=6,
                                  epochs=int(epochs), seeds=1, out=Path(out))
    try:
        print(astmoa.run_study("mine", points, options))
    except KeyboardInterrupt as interrupt:
        print("caught:", interrupt)
"""


@pytest.mark.slow
def test_ctrl_c_is_raised_when_all_is_saved(sounds, tiny_folder, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    out = tmp_path / "run"
    command = [sys.executable, str(tmp_path / "program.py"), str(sounds), tiny_folder, str(out), "150"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        epochs = lambda: (out / NAME).is_file() and (out / NAME).read_text().count('"epoch"') > 5  # noqa: E731
        until(lambda: epochs() or process.poll() is not None, "some epochs")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert f"caught: interrupted; run_study with out='{out}' goes on from here" in stdout
    done = [event["epoch"] for event in read_journal(out) if event["type"] == "epoch"]
    assert 0 < len(done) < 150
    again = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert "trials: 1 completed" in again.stdout, again.stderr
    epochs = [event["epoch"] for event in read_journal(out) if event["type"] == "epoch"]
    assert epochs == list(range(1, 151))
