"""Experts' shares against plain loops over what each mixture was fed, and the study as a user runs it."""

import contextlib
import csv
import json
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch

from astmoa.audio.datasets import open_data
from astmoa.audio.fbank import GREY, SILENCE
from astmoa.backbone.frozen import Backbone
from astmoa.bundles.contributions import Contributions, bundle_inputs, contributions, mixtures, on_test_clips
from astmoa.bundles.export import Predictor
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig, complete
from astmoa.errors import DataError, RunError
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.moa import SoftMoA
from astmoa.study.train_one import train_one
from astmoa.training.inputs import DeviceData
from tests.helpers.runs import write_tones
from tests.helpers.studies import script, script_here
from tests.helpers.tiny import make_inputs, make_model

CPU = torch.device("cpu")
CASES = {
    "soft": (MethodConfig("soft_moa", 4, 2, 2), ()),
    "one expert": (MethodConfig("soft_moa", 1, 3), ()),
    "dense": (MethodConfig("dense_moa", 4, bottleneck_dim=2), ()),
    "soft both": (MethodConfig("soft_moa", 6, 2, placement="both"), ()),
    "dense ffn": (MethodConfig("dense_moa", 3, placement="ffn", layers=(0, 2)), ()),
    "sequential": (MethodConfig("soft_moa", 3, 2, composition="sequential", layers=(1,)), ()),
    "conformer": (MethodConfig("soft_moa", 2, 2, 2, expert="conformer"), ()),
    "normalised": (MethodConfig("soft_moa", 4, 2), ("normalized_tokens",)),
    "added twice": (MethodConfig("soft_moa", 4, 2), ("added_twice", "initialisation")),
}


def classifier_of(method, faithful=(), num_classes=3):
    """With routers that are far from even: zeros and small logits would hide a wrong sum."""
    backbone = Backbone(make_model(), "tiny")
    backbone.fit_positions(48)  # make_inputs' frames
    classifier = AdaptedClassifier(backbone.model, method, num_classes, seed=0, faithful=faithful)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in classifier.trainable.items():
            if "slot" in name or "router" in name:
                parameter.normal_(std=2, generator=generator)
    return classifier


def by_hand(classifier, features, normalised):
    """{(layer, place): [clips, n]}: token by token in float64, from what each mixture is fed."""
    fed, found = {}, {}
    with contextlib.ExitStack() as hooks, torch.inference_mode():
        for key, module in mixtures(classifier).items():
            hook = module.register_forward_pre_hook(lambda _, args, key=key: fed.update({key: args[0]}))
            hooks.callback(hook.remove)
        classifier(features)
    for key, module in mixtures(classifier).items():
        soft, rows = isinstance(module, SoftMoA), []
        n, p = module.slot_embeds.shape[1:] if soft else (module.experts.num_experts, 1)
        for clip in fed[key].double():
            total = torch.zeros(n, dtype=torch.float64)
            for token in clip / clip.norm(dim=1, keepdim=True) if normalised else clip:
                for i in range(n):
                    for j in range(n * p):
                        if j // p == i:  # the expert that processes slot j
                            total[i] += torch.softmax(logits_of(module, soft, token, n * p), 0)[j]
            rows.append(total / len(clip))
        found[key] = torch.stack(rows).detach().numpy()
    return found


def logits_of(module, soft, token, count):
    if soft:
        return token @ module.slot_embeds.double().reshape(len(token), count)
    return token @ module.router_weight.double() + module.router_bias.double()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_shares_are_those_of_a_plain_loop(case):
    method, faithful = CASES[case]
    inputs, clips = make_inputs(num_clips=12), torch.tensor([1, 2, 3, 4, 7])
    classifier, data = classifier_of(method, faithful), DeviceData(inputs, CPU)
    found = contributions(classifier, data, clips, batch_size=2)
    features, labels = data.batch(clips)
    expected = by_hand(classifier, features, "normalized_tokens" in faithful)
    assert {(layer, place) for layer in found.layers for place in found.places} == set(expected)
    for (layer, place), shares in expected.items():
        row = found.layers.index(layer), found.places.index(place)
        np.testing.assert_allclose(found.per_layer[row], shares.mean(axis=0), atol=1e-6)
        for label in range(3):
            ours = shares[labels.numpy() == label]
            np.testing.assert_allclose(found.per_class[row][label], ours.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.per_layer.sum(axis=-1), 1, atol=1e-6)
    assert found.per_layer.shape[-1] == 1 or np.ptp(found.per_layer) > 0.02  # even shares would prove little


def test_a_layer_is_the_mean_of_its_classes_weighted_by_their_clips():
    inputs = make_inputs(num_clips=30, num_classes=4)
    clips = torch.tensor([0, 4, 8, 12, 1, 5, 2])  # four of class 0, two of class 1, one of class 2, none of class 3
    classifier = classifier_of(MethodConfig("soft_moa", 4, 2), num_classes=4)
    found = contributions(classifier, DeviceData(inputs, CPU), clips)
    assert found.clips_per_class.tolist() == [4, 2, 1, 0]
    assert found.num_clips == 7
    assert np.isnan(found.per_class[:, :, 3]).all()
    weights = np.array([4, 2, 1]) / 7
    np.testing.assert_allclose(np.einsum("lqkn,k->lqn", found.per_class[:, :, :3], weights), found.per_layer)
    as_json = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert as_json["per_class"][0][0][3] == [None] * 4
    np.testing.assert_array_equal(as_json["per_layer"], found.per_layer)


def test_a_clip_of_several_labels_counts_for_each_positive_one():
    inputs, clips = make_inputs(num_clips=20, multi_label=True), torch.arange(3, 13)
    classifier, data = classifier_of(MethodConfig("dense_moa", 3)), DeviceData(inputs, CPU)
    found = contributions(classifier, data, clips)
    alone = np.stack([contributions(classifier, data, clips[i : i + 1]).per_layer for i in range(len(clips))])
    np.testing.assert_allclose(found.per_layer, alone.mean(axis=0), atol=1e-6)
    for label in range(3):
        positive = inputs.labels[clips, label] == 1  # neither 0 nor unknown
        assert found.clips_per_class[label] == positive.sum() > 0
        np.testing.assert_allclose(found.per_class[:, :, label], alone[positive].mean(axis=0), atol=1e-6)
    assert found.clips_per_class.sum() > len(clips)


@pytest.mark.parametrize("name", ["soft_moa", "dense_moa"])
def test_the_model_is_afterwards_what_it_was(name):
    """Also when it ends half-way: the backbone is other trials' too."""
    classifier, data = classifier_of(MethodConfig(name, 4)), DeviceData(make_inputs(), CPU)
    modules = list(mixtures(classifier).values())
    before = [set(vars(module)) for module in modules]
    contributions(classifier, data, torch.arange(4))
    with pytest.raises(IndexError):
        contributions(classifier, data, torch.tensor([0, 1, 10_000]), batch_size=2)
    assert [set(vars(module)) for module in modules] == before
    assert not any(module._forward_pre_hooks for module in modules)


@pytest.mark.parametrize("name", ["linear", "bottleneck", "prefix", "lora"])
def test_what_has_no_experts_is_refused(name):
    classifier = classifier_of(MethodConfig(name))
    with pytest.raises(RunError, match=r"soft_moa and dense_moa") as caught:
        contributions(classifier, DeviceData(make_inputs(), CPU), torch.arange(4))
    assert "\n" not in str(caught.value)


def test_the_effective_number_of_experts():
    rows = [[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]]
    per_layer = np.array(rows)[:, None]
    found = Contributions(per_layer, per_layer[:, :, None], (0, 1, 2, 3), ("ffn",), ("a",), np.array([1]), 1)
    last = math.exp(-(0.7 * math.log(0.7) + 0.3 * math.log(0.1)))
    np.testing.assert_allclose(found.effective_experts, [[4], [1], [2], [last]])


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"), per_split=(4, 2, 3))


def config_of(tones, backbone, method, **changes):
    optim = OptimConfig(epochs=1, batch_size=4, lr=1e-2, precision=changes.pop("precision", "fp32"))
    data = DataConfig("csv", str(tones), seconds=changes.pop("seconds", 0.6))
    return complete(TrialConfig(data, BackboneConfig(backbone), method, optim, **changes))


@pytest.mark.parametrize(("precision", "faithful"), [("fp32", ()), ("bf16", ()), ("fp32", ("padding",))])
def test_a_bundle_is_analysed_as_it_was_trained(precision, faithful, tones, tiny_folder, tmp_path):
    """On its test clips, in its precision and with its padding, each of which shows in the numbers."""
    config = config_of(tones, tiny_folder, MethodConfig("soft_moa", 4, 2), precision=precision, faithful=faithful)
    train_one(config, tmp_path, as_json=True)
    predictor = Predictor(tmp_path / "bundle")
    inputs = bundle_inputs(predictor)
    assert inputs.fingerprint == predictor.facts["data"]["fingerprint"]
    found = on_test_clips(predictor, inputs)
    assert found.labels == ("high", "low", "middle")
    assert found.clips_per_class.tolist() == [3, 3, 3]
    arguments = predictor.classifier, DeviceData(inputs, CPU), torch.from_numpy(inputs.splits[1].test)
    options = {"bf16": precision == "bf16", "padding": GREY if faithful else SILENCE}
    others = {"bf16": not options["bf16"], "padding": SILENCE if faithful else GREY}
    np.testing.assert_allclose(contributions(*arguments, **options).per_layer, found.per_layer, atol=1e-6)
    for other, value in others.items():
        changed = contributions(*arguments, **{**options, other: value}).per_layer
        assert np.abs(changed - found.per_layer).max() > 1e-5, other


def test_the_data_of_a_bundle(tones, tiny_folder, tmp_path):
    """Found where they lie now, at the length of the bundle; refused where they are missing or others."""
    config = config_of(tones, tiny_folder, MethodConfig("dense_moa", 2), seconds=None)
    train_one(config, tmp_path, as_json=True)
    predictor = Predictor(tmp_path / "bundle")
    moved = shutil.copytree(tones, tmp_path / "moved")
    first = bundle_inputs(predictor)
    again = bundle_inputs(predictor, str(moved))
    assert (again.fingerprint, again.num_frames) == (first.fingerprint, predictor.num_frames)
    rows = list(csv.DictReader((moved / "manifest.csv").open()))

    def rewrite(keep, label):
        with open(moved / "manifest.csv", "w", newline="") as file:
            kept = [(row["path"], label(row["label"]), row["split"]) for row in rows if keep(row["path"])]
            csv.writer(file).writerows([("path", "label", "split"), *kept])

    longest = max((row["path"] for row in rows), key=lambda path: soundfile.info(moved / path).duration)
    rewrite(lambda path: path != longest, lambda label: label)
    fewer = bundle_inputs(predictor, str(moved))
    assert open_data(DataConfig("csv", str(moved))).seconds < fewer.seconds  # the bundle's, not what the clips give now
    assert fewer.num_frames == predictor.num_frames
    assert fewer.fingerprint != first.fingerprint
    rewrite(lambda path: True, lambda label: label.replace("high", "shrill"))
    for root, words in ((moved, "other classes"), (tmp_path / "nowhere", "nowhere")):
        with pytest.raises(DataError, match=words) as caught:
            bundle_inputs(predictor, str(root))
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_study_trains_one_mixture_and_shows_its_shares(tones, tiny_folder, tmp_path):
    out = tmp_path / "run"
    options = ["--data", "csv", "--data-root", tones, "--seconds", 0.6, "--backbone", tiny_folder, "--batch-size", 4]
    result = script_here("contributions", *options, "--quick", "--out", out)
    assert result.returncode == 0, result.stderr
    numbers = json.loads((out / "contributions.json").read_text())
    assert np.shape(numbers["per_layer"]) == (3, 1, 7)
    assert np.shape(numbers["per_class"]) == (3, 1, 3, 7)
    np.testing.assert_allclose(np.sum(numbers["per_layer"], axis=-1), 1, atol=1e-6)
    assert (out / "contributions.png").read_bytes().startswith(b"\x89PNG")
    for path in ("contributions.png", "contributions.json", "best", "frontier.png"):
        assert str(out / path) in result.stdout
    table = result.stdout.split("effective experts\n")[1].splitlines()
    for layer in range(3):
        words = table[layer].split()
        shares = 100 * np.array(numbers["per_layer"][layer][0])
        assert words[:2] == [str(layer), "attention"]
        assert [float(word) for word in words[2:4]] == pytest.approx([shares.min(), shares.max()], abs=0.051)
        assert float(words[4]) == pytest.approx(numbers["effective_experts"][layer][0], abs=0.0051)
    # The bundle by itself gives the same, and leaves its folder alone.
    files = sorted((out / "best").iterdir())
    alone = script("contributions", "--bundle", out / "best", "--out", tmp_path / "look", "--layer", 0)
    assert alone.returncode == 0, alone.stderr
    assert alone.stderr == ""
    assert json.loads((tmp_path / "look" / "contributions.json").read_text()) == numbers
    assert sorted((out / "best").iterdir()) == files


@pytest.mark.slow
def test_a_bundle_with_two_places_and_what_is_wrong_with_one(tones, tiny_folder, tmp_path):
    method = MethodConfig("dense_moa", 4, placement="both", layers=(0, 2))
    train_one(config_of(tones, tiny_folder, method), tmp_path / "two", as_json=True)
    bundle = tmp_path / "two" / "bundle"
    facts = json.loads((bundle / "bundle.json").read_text())
    facts["data"]["fingerprint"] = "0" * 16  # trained on other clips of the same classes
    (bundle / "bundle.json").write_text(json.dumps(facts))
    result = script_here("contributions", "--bundle", bundle, "--out", tmp_path / "look")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("warning: these clips have fingerprint")
    assert len(result.stderr.splitlines()) == 1
    for place in ("attention", "ffn"):
        assert (tmp_path / "look" / f"contributions_{place}.png").is_file()
    train_one(config_of(tones, tiny_folder, MethodConfig("linear")), tmp_path / "linear", as_json=True)
    for arguments, words in (
        (["--bundle", bundle, "--layer", 1], "--layer 1 has no experts: choose from 0, 2"),
        (["--bundle", tmp_path / "linear" / "bundle"], "soft_moa and dense_moa"),
        (["--bundle", tmp_path], "config.yaml is missing"),
        (["--bundle", bundle, "--data-root", tmp_path / "nowhere"], "nowhere"),
        (["--bundle", bundle, "--epochs", 3, "--num-experts", 4], "so --epochs, --num-experts would do nothing"),
        (["--backbone", tiny_folder, "--layer", 3], "choose from 0, 1, 2"),
    ):
        result = script_here("contributions", *arguments, "--out", tmp_path / "none")
        assert result.returncode == 2
        error = result.stderr.splitlines()[-1]
        assert error.startswith("error: ")
        assert words in error
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "none").exists()
