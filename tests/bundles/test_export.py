"""A trial on real files, exported, reloaded, and predicting what it predicted in training."""

import json
import shutil

import pytest
import torch
import yaml

from astmoa.audio.datasets import open_data
from astmoa.backbone.frozen import load_backbone
from astmoa.bundles.export import Predictor, export, export_all
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig, complete
from astmoa.errors import AstmoaError, BackboneError, ClipError, ConfigError, RunError
from astmoa.records.load import load_sweep
from astmoa.study.train_one import train_one
from astmoa.training.checkpoint import load_tensors
from astmoa.training.inputs import DeviceData, open_inputs
from astmoa.training.trial import Trial
from tests.helpers import journals
from tests.helpers.runs import trial_id, trials_of, write_sweep, write_tones


def last_record(capsys):
    """What a trial printed last, without how long it took."""
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    record.pop("test_seconds")
    return record


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"))


METHODS = {
    "linear": MethodConfig("linear"),
    "bottleneck": MethodConfig("bottleneck", bottleneck_dim=2),
    "dense_moa": MethodConfig("dense_moa", 4, 1, 2),
    "soft_moa": MethodConfig("soft_moa", 4, 2, 2),
    "bf16": MethodConfig("soft_moa", 4, 2, 2),
    "conformer": MethodConfig("soft_moa", 2, 2, 2, expert="conformer"),
    "vera": MethodConfig("vera", bottleneck_dim=2),
    "partial": MethodConfig("partial"),
    "prompt_deep": MethodConfig("prompt_deep", num_virtual_tokens=2),
    "aat_ms": MethodConfig("aat_ms", bottleneck_dim=2),
}


@pytest.fixture(params=METHODS)
def config(request, tones, tiny_folder):
    precision = "bf16" if request.param == "bf16" else "fp32"
    return complete(
        TrialConfig(
            data=DataConfig("csv", str(tones), seconds=0.6),
            backbone=BackboneConfig(tiny_folder),
            method=METHODS[request.param],
            optim=OptimConfig(epochs=2, batch_size=6, lr=1e-2, precision=precision),
        )
    )


@pytest.mark.slow
def test_a_bundle_predicts_what_the_trial_predicted(config, tones, tmp_path):
    train_one(config, tmp_path, as_json=True)
    inputs = open_inputs(config.data, progress=False)
    with Trial(config, load_backbone(config.backbone.name), DeviceData(inputs, torch.device("cpu")), tmp_path) as trial:
        list(trial.epochs())
        trial.test()
        data = open_data(config.data)
        predictor = Predictor(tmp_path / "bundle")
        for index in range(0, len(data.clips), 7):
            expected = trial.logits(torch.tensor([index]))[0]
            assert torch.equal(predictor.logits(data.clips[index].path), expected)
    top = predictor.predict(data.clips[0].path, top=3)
    assert sum(p.probability for p in top) == pytest.approx(1, abs=1e-5)
    assert top[0].label == inputs.label_names[predictor.logits(data.clips[0].path).argmax()]
    assert [p.probability for p in top] == sorted((p.probability for p in top), reverse=True)


@pytest.mark.slow
def test_the_bundle_trains_again_to_the_same_result(config, tmp_path, monkeypatch, capsys):
    from astmoa.cli.main import main

    train_one(config, tmp_path / "first", as_json=True)
    first = last_record(capsys)
    main(["train", "--config", str(tmp_path / "first/bundle/config.yaml"), "--json"])
    again = last_record(capsys)
    assert again == first


def test_a_bundle_is_used_from_any_folder(tones, tiny_folder, tmp_path, monkeypatch, capsys):
    """Trained with relative paths, as a sweep usually is; predicted and trained again from inside the bundle."""
    from astmoa.cli.main import main

    monkeypatch.chdir(tones.parent)
    command = ["train", "--data.name", "csv", "--data.root", tones.name, "--data.seconds", "0.6", "--optim.epochs", "1"]
    shutil.copytree(tiny_folder, tones.parent / "weights", dirs_exist_ok=True)
    main([*command, "--backbone.name", "weights", "--out", str(tmp_path), "--json"])
    first = last_record(capsys)
    monkeypatch.chdir(tmp_path / "bundle")
    main(["predict", ".", str(tones / "test-low-0.wav"), "--json"])
    assert json.loads(capsys.readouterr().out)["predictions"]
    main(["train", "--config", "config.yaml", "--json"])
    assert last_record(capsys) == first


def test_what_does_not_fit_is_refused_in_one_line(tones, tiny_folder, tmp_path):
    config = complete(
        TrialConfig(
            data=DataConfig("csv", str(tones), seconds=0.6),
            backbone=BackboneConfig(tiny_folder),
            optim=OptimConfig(epochs=1, batch_size=6),
        )
    )
    train_one(config, tmp_path, as_json=True)

    def broken(name, change):
        copy = tmp_path / name
        shutil.copytree(tmp_path / "bundle", copy)
        change(copy)
        return copy

    def other_backbone(folder):
        facts = json.loads((folder / "bundle.json").read_text())
        facts["backbone"]["fingerprint"] = "0" * 12
        (folder / "bundle.json").write_text(json.dumps(facts))

    def other_method(folder):
        values = yaml.safe_load((folder / "config.yaml").read_text())
        values["method"]["layers"] = [0]
        (folder / "config.yaml").write_text(yaml.safe_dump(values))

    def truncated(folder):
        (folder / "adapter.safetensors").write_bytes((folder / "adapter.safetensors").read_bytes()[:100])

    for name, change, words, error in (
        ("a", lambda folder: (folder / "labels.json").unlink(), "labels.json is missing", RunError),
        ("b", other_backbone, "fingerprint", BackboneError),
        ("c", other_method, "holds other tensors than this version trains", RunError),
        ("d", truncated, "adapter.safetensors is damaged .*: export it again", RunError),
        ("e", lambda folder: (folder / "bundle.json").write_text("{"), "damaged", RunError),
    ):
        with pytest.raises(error, match=words) as caught:
            Predictor(broken(name, change))
        assert "\n" not in str(caught.value)
    with pytest.raises(ClipError, match=r"nothing.wav"):
        Predictor(tmp_path / "bundle").predict(tmp_path / "nothing.wav")


POINTS = {
    "small": (1_000, (0.5, 0.6)),
    "knee": (3_000, (0.85, 0.8)),
    "large": (100_000, (0.9, 0.88)),
    "bad": (50_000, (0.1, 0.2)),
}


def exported(bundle):
    return load_tensors(bundle / "adapter.safetensors")[1]["trial_id"]


def facts_of(bundle):
    return json.loads((bundle / "bundle.json").read_text())


def test_export_picks_from_the_front_and_takes_the_best_seed(tmp_path):
    """best, knee and smallest of a journal whose front is known."""
    run_dir = write_sweep(tmp_path / "run", trials_of(POINTS))
    for pick, expected in (("best", "large0"), ("knee", "knee0"), ("smallest", "small1")):
        bundle = export(run_dir, pick, tmp_path / pick)
        assert exported(bundle) == expected
        assert TrialConfig.from_dict(yaml.safe_load((bundle / "config.yaml").read_text()))
    export(run_dir, "best", tmp_path / "knee")  # a bundle is replaced
    assert exported(tmp_path / "knee") == "large0"
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunError, match="is no exported bundle"):
        export(run_dir, "best", tmp_path / "mine")
    shutil.rmtree(run_dir / "trials" / "large0")
    with pytest.raises(RunError, match=r"large0.*is gone"):
        export(run_dir, "best", tmp_path / "again")


def test_a_budget_counts_as_the_papers_count(tmp_path):
    """Without the head: 500 parameters of each journal's trial."""
    run_dir = write_sweep(tmp_path / "run", trials_of(POINTS))
    for budget, expected in (
        (500, "small1"),
        (2_499, "small1"),
        (2_500, "knee0"),
        (99_499, "knee0"),
        (10**9, "large0"),
    ):
        assert exported(export(run_dir, f"budget={budget}", tmp_path / "out")) == expected
    with pytest.raises(RunError, match=r"at most 499 .*without the head.* small, has 500; raise the budget") as caught:
        export(run_dir, "budget=499", tmp_path / "none")
    assert "\n" not in str(caught.value)
    for wrong in ("budget=", "budget=" + "9" * 5000, "budget=-1", "budget=0.3M", "budget=²", "largest"):
        with pytest.raises(ConfigError, match=r"is not possible.*budget=N"):
            export(run_dir, wrong, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_all_exports_the_front_under_names_of_its_own(tmp_path):
    names = ("12/2", "12-2", "Lots: of (it)", "behind", "../..")
    points = {name: (1_000 * (i + 1), (0.5 + i / 10,)) for i, name in enumerate(names)}
    points["behind"] = (4_000, (0.1,))
    run_dir = write_sweep(tmp_path / "run", trials_of(points))
    bundles = export_all(run_dir, tmp_path / "out")
    assert [bundle.name for bundle in bundles] == ["12-2", "12-2-2", "lots-of-it", "point"]
    assert {bundle.parent for bundle in bundles} == {tmp_path / "out"}
    assert [exported(bundle) for bundle in bundles] == [trial_id(name, 0) for name in names if name != "behind"]
    assert export_all(run_dir, tmp_path / "out") == bundles  # replaced
    shutil.rmtree(run_dir / "trials" / trial_id("12-2", 0))
    with pytest.raises(RunError, match="is gone"):
        export_all(run_dir, tmp_path / "other")
    assert not (tmp_path / "other").exists()  # nothing half


def test_a_bundle_records_how_sure_its_point_is(tmp_path):
    run_dir = write_sweep(tmp_path / "run", trials_of(POINTS))
    point = load_sweep(run_dir).points()[1]
    facts = facts_of(export(run_dir, "knee", tmp_path / "knee"))
    assert facts["val_accuracy"] == 0.85
    assert facts["val_interval"] == list(point.completed[0].val_interval)
    assert facts["point"] == {
        "point": point.point,
        "val_accuracy": pytest.approx(0.825),
        "val_interval": [point.val_accuracy.low, point.val_accuracy.high],
        "val_std": pytest.approx(0.05 / 2**0.5),
        "num_replicates": 2,
        "replicates": "seeds",
        "seeds": [0, 1],
        "front_probability": None,
    }
    assert facts["versions"] == {"torch": "2.11.0"}
    assert "0.8250 [" in (tmp_path / "knee" / "README.md").read_text()
    single = write_sweep(tmp_path / "single", trials_of({"only": (1_000, (0.5,))}))
    facts = facts_of(export(single, "best", tmp_path / "only"))
    assert facts["point"]["num_replicates"] == 1
    assert facts["point"]["val_interval"] == facts["val_interval"]


def test_of_a_confirmed_search_only_confirmed_points_are_exported(tmp_path):
    """The luckiest of the search was not confirmed; before that, no test accuracy is shown."""
    found = trials_of({"small": (1_000, (0.7,)), "large": (9_000, (0.9,)), "lucky": (9_500, (0.99,))}, phase="search")
    before = write_sweep(tmp_path / "before", found, journals.search_events)
    bundle = export(before, "best", tmp_path / "best")
    assert exported(bundle) == "lucky0"
    assert facts_of(bundle)["test_accuracy"] is None
    assert "test accuracy" not in (bundle / "README.md").read_text()

    again = journals.confirming(found[:2], seeds=3)
    after = write_sweep(tmp_path / "after", [*found, *again], journals.search_events)
    facts = facts_of(export(after, "best", tmp_path / "best"))
    assert exported(tmp_path / "best") in {trial.trial_id for trial in again if trial.name == "large"}
    assert facts["test_accuracy"] is not None
    assert facts["point"]["num_replicates"] == 3
    assert facts["point"]["seeds"] == [0, 1, 2, 3]  # the search's own, too: a further seed is none of these
    assert 0 < facts["point"]["front_probability"] <= 1
    assert "on the front with probability" in (tmp_path / "best" / "README.md").read_text()
    assert [bundle.name for bundle in export_all(after, tmp_path / "all")] == ["small", "large"]


def test_a_sweep_without_a_result_has_nothing_to_export(tmp_path):
    journals.write(tmp_path / "run", journals.sweep_events([journals.Trial("a", journals.config(), state="failed")]))
    with pytest.raises(AstmoaError, match="no completed trial"):
        export(tmp_path / "run", "best", tmp_path / "out")
