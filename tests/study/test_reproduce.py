"""`astmoa reproduce`: a bundle trained again, and whether that is where it should be."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from astmoa.cli.main import main
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig, complete
from astmoa.errors import AstmoaError, BackboneError, DataError
from astmoa.study.reproduce import expected_interval, reproduce
from astmoa.study.train_one import train_one
from tests.helpers.runs import write_tones
from tests.helpers.tiny import make_model


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def trained(sounds, tiny_folder, tmp_path_factory):
    """A bundle as `astmoa train --out` writes it, which knows of no other replicate."""
    config = TrialConfig(
        data=DataConfig("csv", str(sounds), seconds=0.6),
        backbone=BackboneConfig(tiny_folder),
        method=MethodConfig("soft_moa", 4, 2, 2),
        optim=OptimConfig(epochs=2, batch_size=6, lr=1e-2),
    )
    train_one(complete(config), out := tmp_path_factory.mktemp("trained"), as_json=True)
    return out / "bundle"


@pytest.fixture
def bundle(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "bundle")


def edit(bundle, **changes):
    facts = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(facts | changes))
    return facts


def point(mean, std, n=3, replicates="seeds", seeds=(0, 1, 3)):
    half = 0.01  # what the table shows; the verdict takes deviation and number
    return {
        "val_accuracy": mean,
        "val_interval": [mean - half, mean + half],
        "val_std": std,
        "num_replicates": n,
        "replicates": replicates,
        "seeds": list(seeds),
        "front_probability": None,
    }


def run(capsys, *args):
    """Exit code and last line."""
    capsys.readouterr()
    code = 0
    try:
        main(["reproduce", *map(str, args)])
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    return code, (captured.out if code < 2 else captured.err).strip().splitlines()


def test_the_same_trial_comes_out_to_the_bit(bundle, capsys):
    code, lines = run(capsys, bundle)
    assert code == 0
    recorded, again, verdict = lines[-3:]
    value = f"val accuracy {json.loads((bundle / 'bundle.json').read_text())['val_accuracy']:.4f}"
    assert value in recorded
    assert value in again
    assert "the same weights, bit by bit; inside [" in again
    assert "from the validation clips" in again
    assert verdict == "reproduced"


def test_json_ends_with_the_result(bundle, capsys):
    facts = edit(bundle, versions={"torch": "1.0", "numpy": np.__version__})
    code, lines = run(capsys, bundle, "--json")
    result = json.loads(lines[-1])
    assert code == 0
    assert result["inside"] is True
    assert result["again"]["same_weights"] is True
    assert result["again"]["val_accuracy"] == facts["val_accuracy"]
    assert list(result["differs"]) == ["torch"]
    assert [json.loads(line).get("epoch") for line in lines[:2]] == [1, 2]


def test_other_weights_are_seen_and_explained(bundle, sounds, tiny_folder, capsys):
    """Here the seed was changed behind its back: another trial is trained than the weights are of."""
    text = (bundle / "config.yaml").read_text()
    (bundle / "config.yaml").write_text(text.replace("seed: 0", "seed: 7"))
    edit(bundle, machine="4 x abacus", versions={"torch": "1.0"})
    code, lines = run(capsys, bundle)
    assert code in (0, 1)
    assert "other weights" in lines[-3]
    assert "torch 1.0 then, " in lines[-2]
    assert "machine 4 x abacus then, " in lines[-2]


def test_threads_are_the_bundles_unless_told(bundle, capsys):
    before = torch.get_num_threads()
    try:
        edit(bundle, cpu_threads=3)
        assert "cpu_threads" not in json.loads(run(capsys, bundle, "--json")[1][-1])["differs"]
        assert torch.get_num_threads() == 3
        result = json.loads(run(capsys, bundle, "--json", "--threads", 1)[1][-1])
        assert result["differs"]["cpu_threads"] == [3, 1]
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_outside_of_the_replicates_spread_ends_with_1(bundle, capsys):
    """The bundle says that its point is elsewhere, and known to a hair."""
    edit(bundle, val_accuracy=0.05, point=point(0.05, 1e-3))
    code, lines = run(capsys, bundle)
    assert code == 1
    assert lines[-1] == "NOT reproduced: outside"
    assert "over 3 seeds" in next(line for line in lines if line.startswith("recorded"))


def test_other_seeds_are_none_of_the_point_and_their_mean_is_judged(bundle, capsys, tmp_path):
    recorded = json.loads((bundle / "bundle.json").read_text())["val_accuracy"]
    edit(bundle, point=point(0.5, 10.0))
    code, lines = run(capsys, bundle, "--seeds", 2, "--json", "--out", tmp_path / "kept")
    result = json.loads(lines[-1])
    others = result["others"]
    assert others["seeds"] == [2, 4]
    assert others["mean"] == pytest.approx(np.mean(others["val_accuracies"]))
    assert (code, result["inside"], others["inside"]) == (0, True, True)
    assert others["expected"] == [0.0, 1.0]  # cut to what is possible
    # The same command again only reads what it kept; now with a point that the seeds miss, and the trial itself not.
    edit(bundle, point=point(0.01, 1e-4))
    code, lines = run(capsys, bundle, "--seeds", 2, "--out", tmp_path / "kept")
    assert code == 1
    again, of_others = (next(line for line in lines if line.startswith(word)) for word in ("again", "others"))
    assert f"{recorded:.4f}" in again
    assert "outside [" in again
    assert "seeds 2, 4" in of_others
    assert "outside [" in of_others
    # The trial itself is its point's luckiest: to meet it again is enough.
    code, lines = run(capsys, bundle, "--out", tmp_path / "kept")
    assert (code, lines[-1]) == (0, "reproduced")


def test_data_and_backbone_are_checked_before_anything_is_trained(bundle, sounds, tmp_path, monkeypatch):
    monkeypatch.setattr("astmoa.study.reproduce.train_one", lambda *args: pytest.fail("trained"))
    other = shutil.copytree(sounds, tmp_path / "other")
    manifest = other / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("val-low-0.wav,low,val", "val-low-0.wav,low,test"))
    model = make_model()
    model.layernorm.bias.data += 1
    model.save_pretrained(tmp_path / "weights")
    for changes, error, words in (
        ({"data_root": str(other)}, DataError, ["other", "fingerprint", "--data-root"]),
        ({"backbone": str(tmp_path / "weights")}, BackboneError, ["weights", "fingerprint", "same weights"]),
        ({"num_seeds": -1}, AstmoaError, ["--seeds -1"]),
        ({"threads": 0}, AstmoaError, ["--threads 0"]),
    ):
        with pytest.raises(error) as caught:
            reproduce(bundle, **changes)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)


def test_data_and_backbone_may_have_moved(bundle, sounds, tiny_folder, tmp_path, capsys):
    moved = shutil.copytree(sounds, tmp_path / "moved")
    shutil.copytree(tiny_folder, tmp_path / "weights")
    text = (bundle / "config.yaml").read_text()
    (bundle / "config.yaml").write_text(text.replace(str(sounds), "/gone/sounds").replace(tiny_folder, "/gone/weights"))
    assert run(capsys, bundle)[0] == 2
    code, lines = run(capsys, bundle, "--data-root", moved, "--backbone", tmp_path / "weights")
    assert code == 0
    assert "the same weights, bit by bit" in lines[-2]


@pytest.mark.parametrize(("n", "runs"), [(2, 1), (5, 1), (5, 3), (10, 10)])
def test_95_of_100_further_runs_are_inside(n, runs):
    rng = np.random.default_rng(n * 100 + runs)
    inside = 0
    for _ in range(2000):
        seen = rng.normal(0.5, 0.001, n)
        facts = {"point": point(seen.mean(), seen.std(ddof=1), n), "data": {}}
        (low, high), source = expected_interval(facts, runs, 100)
        inside += low <= rng.normal(0.5, 0.001, runs).mean() <= high
    assert source == f"from {n} seeds"
    assert inside / 2000 == pytest.approx(0.95, abs=0.02)


def test_runs_of_one_fold_share_it():
    facts = {"point": point(0.5, 0.01, 5, "folds"), "data": {}}
    assert expected_interval(facts, 1, 100) == expected_interval(facts, 9, 100)
    facts["point"]["replicates"] = "seeds"
    (low, high), (narrow_low, narrow_high) = (expected_interval(facts, runs, 100)[0] for runs in (1, 9))
    assert low < narrow_low < narrow_high < high


def test_without_a_spread_the_clips_say_it():
    facts = {"val_accuracy": 0.5, "data": {"metric": "accuracy"}}
    (low, high), source = expected_interval(facts, 1, 100)
    assert (low, high) == pytest.approx((0.40, 0.60))  # binomial: 50 of 100 give or take 10
    assert source == "from the validation clips"
    written = facts | {"val_interval": [0.45, 0.55], "point": point(0.5, None, 1)}
    assert expected_interval(written, 1, 100)[0] == (0.45, 0.55)
    equal = written | {"point": point(0.5, 0.0, 2)}  # equal by chance: no width is no knowledge
    assert expected_interval(equal, 1, 100)[0] == (0.45, 0.55)
    assert expected_interval(facts | {"data": {"metric": "mAP"}}, 1, 100) == (None, "not known")


@pytest.mark.slow
def test_a_built_in_trial_is_reproduced(tmp_path, capsys):
    """The data and the backbone that come with the package, from the command line to the verdict."""
    config = TrialConfig(method=MethodConfig("linear"), optim=OptimConfig(epochs=1, precision="fp32"))
    config = dataclasses.replace(config, data=DataConfig(seconds=0.2))
    train_one(complete(config), tmp_path, as_json=True)
    code, lines = run(capsys, tmp_path / "bundle", "--seeds", 1)
    assert code == 0, lines
    assert "the same weights, bit by bit" in lines[-3]
    assert lines[-1] == "reproduced"
