import dataclasses
import math

import numpy as np
import pytest
import torch

from astmoa.audio.fbank import GREY
from astmoa.config import MethodConfig, OptimConfig, TrialConfig
from astmoa.errors import ConfigError, DataError, NonFiniteLossError, RunError
from astmoa.training.inputs import DeviceData
from astmoa.training.trial import CHECKPOINT, Trial, cosine_lr
from tests.conftest import make_inputs
from tests.petl.test_classifier import identify

CPU = torch.device("cpu")
METHODS = [
    MethodConfig("linear"),
    MethodConfig("bottleneck", bottleneck_dim=2),
    MethodConfig("soft_moa", 4, 2, 2),
    MethodConfig("dense_moa", 4, 1, 2, placement="both"),
    MethodConfig("full"),
    MethodConfig("prompt_deep", num_virtual_tokens=2),
    MethodConfig("lora", bottleneck_dim=2),
    MethodConfig("vera", bottleneck_dim=2),
    MethodConfig("dense_moa", 2, 1, 2, expert="conformer"),
    MethodConfig("aat_ms", bottleneck_dim=2),
]


def config(method=METHODS[2], **optim):
    defaults = {"epochs": 4, "batch_size": 8, "lr": 1e-2, "freq_mask": 8, "time_mask": 6}
    return TrialConfig(method=method, optim=OptimConfig(**{**defaults, **optim}))


def timeless(*records):
    return [{k: v for k, v in record.items() if "seconds" not in k} for record in records]


def run(config, backbone, inputs, folder=None):
    with Trial(config, backbone, DeviceData(inputs, CPU), folder) as trial:
        *records, end = timeless(*trial.epochs(), trial.test())
        return records, end, {name: p.detach().clone() for name, p in trial.classifier.tensors().items()}


def assert_same_runs(a, b):
    assert a[:2] == b[:2]
    assert a[2].keys() == b[2].keys()
    assert [name for name in a[2] if not torch.equal(a[2][name], b[2][name])] == []


@pytest.mark.parametrize("method", METHODS, ids=identify)
def test_a_trial_learns_an_easy_task(method, tiny_backbone, tiny_inputs):
    records, end, _ = run(config(method, epochs=15, freq_mask=0, time_mask=0), tiny_backbone, tiny_inputs)
    assert records[-1]["train_loss"] < records[0]["train_loss"]
    assert end["val_accuracy"] > 0.55
    assert [record["epoch"] for record in records] == list(range(1, 16))
    assert set(records[0]) == {"epoch", "train_loss", "val_loss", "val_accuracy", "lr"}


def test_the_same_trial_twice_on_a_warm_backbone_is_bitwise_equal(tiny_backbone, tiny_inputs):
    """Cold, then warm after trials of every other kind."""
    cold = run(config(), tiny_backbone, tiny_inputs)
    for method in METHODS:
        run(config(method, epochs=2), tiny_backbone, tiny_inputs)
    torch.manual_seed(99)
    assert_same_runs(run(config(), tiny_backbone, tiny_inputs), cold)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_resuming_equals_an_uninterrupted_run_bitwise(stop_after, tiny_backbone, tiny_inputs, tmp_path):
    whole = run(config(), tiny_backbone, tiny_inputs)
    with Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path) as trial:
        epochs = trial.epochs()
        for _ in range(stop_after):
            next(epochs)
    assert_same_runs(run(config(), tiny_backbone, tiny_inputs, tmp_path), whole)


@pytest.mark.parametrize(
    ("method", "faithful"),
    [(m, ()) for m in METHODS if m.name != "soft_moa"] + [(MethodConfig("convpass"), ("dropped_convolution",))],
    ids=lambda value: identify(value) if isinstance(value, MethodConfig) else "-".join(value),
)
def test_every_kind_of_method_resumes_bitwise(method, faithful, tiny_backbone, tiny_inputs, tmp_path):
    """Running statistics, peft's layers, whole copied layers, parameters that never get a gradient."""
    trial_config = dataclasses.replace(config(method, epochs=3), faithful=faithful)
    whole = run(trial_config, tiny_backbone, tiny_inputs)
    with Trial(trial_config, tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path) as trial:
        next(trial.epochs())
    assert_same_runs(run(trial_config, tiny_backbone, tiny_inputs, tmp_path), whole)


def test_a_finished_checkpoint_is_only_tested_again(tiny_backbone, tiny_inputs, tmp_path):
    first = run(config(), tiny_backbone, tiny_inputs, tmp_path)
    stamp = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    assert_same_runs(run(config(), tiny_backbone, tiny_inputs, tmp_path), first)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == stamp


def test_the_best_epoch_is_really_restored_for_the_test(tiny_backbone, tiny_inputs):
    with Trial(config(lr=0.3, epochs=6), tiny_backbone, DeviceData(tiny_inputs, CPU)) as trial:
        per_epoch = []
        for _ in trial.epochs():
            per_epoch.append({name: p.detach().clone() for name, p in trial.classifier.trainable.items()})
        end = trial.test()
        best = max(trial.records, key=lambda r: (r["val_accuracy"], -r["val_loss"]))
        assert end["best_epoch"] == best["epoch"]
        assert end["best_epoch"] != 6, "the test needs a run whose last epoch is not its best"
        assert end["val_accuracy"] == best["val_accuracy"]
        kept = per_epoch[best["epoch"] - 1]
        assert all(torch.equal(kept[name], p) for name, p in trial.classifier.trainable.items())
        test_clips = torch.from_numpy(tiny_inputs.splits[1].test)
        assert trial.evaluate(test_clips) == (end["test_loss"], end["test_accuracy"])


def test_seeds_differ(tiny_backbone, tiny_inputs):
    one = run(config(), tiny_backbone, tiny_inputs)
    two = run(dataclasses.replace(config(), seed=1), tiny_backbone, tiny_inputs)
    assert one[0] != two[0]


def test_a_non_finite_loss_fails_with_its_epoch_and_the_last_good_record(tiny_backbone, tiny_inputs):
    with Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU)) as trial:
        epochs = trial.epochs()
        next(epochs)
        with torch.no_grad():
            trial.classifier.trainable["head.weight"].fill_(float("nan"))
        with pytest.raises(NonFiniteLossError, match=r"epoch 2.*last good record.*'epoch': 1.*lower optim.lr"):
            next(epochs)


def test_a_checkpoint_of_another_configuration_is_refused_and_the_backbone_released(
    tiny_backbone, tiny_inputs, tmp_path
):
    run(config(), tiny_backbone, tiny_inputs, tmp_path)
    attention = tiny_backbone.model.layers[0].attention
    with pytest.raises(RunError, match="another configuration"):
        Trial(config(lr=0.5), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path)
    assert tiny_backbone.model.layers[0].attention is attention
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match="not a readable checkpoint"):
        Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path)


@pytest.mark.parametrize("what", ["data", "backbone"])
def test_a_checkpoint_of_other_data_or_weights_is_refused(what, tiny_backbone, tiny_inputs, tmp_path):
    """The configuration names a path; what lies there may have changed."""
    run(config(), tiny_backbone, tiny_inputs, tmp_path)
    if what == "data":
        tiny_inputs = dataclasses.replace(tiny_inputs, fingerprint="other")
    else:
        tiny_backbone.fingerprint = "other"
    with pytest.raises(RunError, match=r"belongs to (other data|another backbone)"):
        Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path)


def test_a_resumed_trial_keeps_its_precision(tiny_backbone, tiny_inputs, tmp_path):
    """It may have begun on a GPU, where `auto` is bf16."""
    with Trial(config(precision="auto"), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path) as trial:
        trial.bf16 = True
        next(trial.epochs())
    with Trial(config(precision="auto"), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path) as trial:
        list(trial.epochs())
        assert trial.test()["precision"] == "bf16"


def test_a_fold_that_is_not_loaded(tiny_backbone, tiny_inputs):
    other = dataclasses.replace(config(), data=dataclasses.replace(config().data, fold=3))
    with pytest.raises(ConfigError, match=r"data.fold=3.*\[1\]"):
        Trial(other, tiny_backbone, DeviceData(tiny_inputs, CPU))


def test_weight_decay_is_on_all_only_when_faithful(tiny_backbone, tiny_inputs):
    data = DeviceData(tiny_inputs, CPU)
    with Trial(config(), tiny_backbone, data) as trial:
        by_decay = {group["weight_decay"]: len(group["params"]) for group in trial.optimizer.param_groups}
        assert set(by_decay) == {0.1, 0.0}
    with Trial(dataclasses.replace(config(), faithful=("weight_decay",)), tiny_backbone, data) as trial:
        assert [group["weight_decay"] for group in trial.optimizer.param_groups] == [0.1]
        assert len(trial.optimizer.param_groups[0]["params"]) == sum(by_decay.values())


def test_the_learning_rate_is_a_cosine_to_zero():
    rates = [cosine_lr(step, 100, 0.5) for step in range(101)]
    assert rates[0] == 0.5
    assert math.isclose(rates[50], 0.25)
    assert math.isclose(rates[100], 0, abs_tol=1e-12)
    assert rates == sorted(rates, reverse=True)


def test_bf16_stays_close_to_fp32(tiny_backbone, tiny_inputs):
    clips = torch.arange(10)
    with Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU)) as trial:
        exact = trial.logits(clips)
        trial.bf16 = True
        rough = trial.logits(clips)
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("method", [METHODS[2], METHODS[8]], ids=identify)
def test_multi_label_data_are_learned_and_scored_by_average_precision(method, tiny_backbone):
    inputs = make_inputs(num_clips=80, multi_label=True)
    records, end, _ = run(config(method, epochs=12, freq_mask=0, time_mask=0), tiny_backbone, inputs)
    assert records[-1]["train_loss"] < records[0]["train_loss"]
    assert end["val_accuracy"] > 0.8
    for side in ("val", "test"):
        low, high = end[f"{side}_interval"]
        assert 0 < low <= end[f"{side}_accuracy"] <= high <= 1


def test_the_published_test_takes_the_last_epoch(tiny_backbone, tiny_inputs):
    trial_config = dataclasses.replace(config(lr=0.3, epochs=6), faithful=("last_epoch",))
    with Trial(trial_config, tiny_backbone, DeviceData(tiny_inputs, CPU)) as trial:
        list(trial.epochs())
        last = {name: p.detach().clone() for name, p in trial.classifier.trainable.items()}
        end = trial.test()
        best = max(trial.records, key=lambda r: r["val_accuracy"])
        assert best["val_accuracy"] > trial.records[-1]["val_accuracy"], "the test needs a last epoch that is worse"
        assert end["best_epoch"] == 6
        assert end["val_accuracy"] == trial.records[-1]["val_accuracy"]
        assert all(torch.equal(last[name], p) for name, p in trial.classifier.trainable.items())


@pytest.mark.parametrize("held_out", [True, False])
def test_validating_on_the_test_fold_is_for_data_without_a_validation_split(held_out, tiny_backbone, tiny_inputs):
    splits = dataclasses.replace(tiny_inputs.splits[1], held_out=held_out)
    inputs = dataclasses.replace(tiny_inputs, splits={1: splits})
    trial_config = dataclasses.replace(config(epochs=1), faithful=("validate_on_test",))
    with Trial(trial_config, tiny_backbone, DeviceData(inputs, CPU)) as trial:
        list(trial.epochs())
        end = trial.test()
    assert end["num_val_clips"] == (len(splits.test) if held_out else len(splits.val))
    assert (end["val_accuracy"] == end["test_accuracy"]) or not held_out
    assert trial.steps_per_epoch == math.ceil((30 if held_out else 20) / 8)


def test_grey_padding_reaches_the_model_only_when_faithful(tiny_backbone, tiny_inputs):
    lengths = np.full(40, 20, dtype=np.int32)
    inputs = dataclasses.replace(tiny_inputs, lengths=lengths)
    plain = run(config(), tiny_backbone, inputs)
    grey = run(dataclasses.replace(config(), faithful=("padding",)), tiny_backbone, inputs)
    assert plain[0] != grey[0]
    features = inputs.features.copy()
    features[:, 20:] = GREY
    by_hand = run(config(), tiny_backbone, dataclasses.replace(inputs, features=features))
    assert [r["train_loss"] for r in grey[0]] == pytest.approx([r["train_loss"] for r in by_hand[0]], rel=1e-3)


def test_a_trial_that_cannot_start_leaves_the_backbone_alone(tiny_backbone, tiny_inputs, monkeypatch):
    before = [id(module) for module in tiny_backbone.model.modules()]
    monkeypatch.setattr(Trial, "_make_optimizer", lambda self: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError):
        Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU))
    assert [id(module) for module in tiny_backbone.model.modules()] == before


def test_multi_label_data_that_cannot_be_scored(tiny_backbone):
    inputs = make_inputs(multi_label=True)
    inputs.labels[inputs.splits[1].val] = 1
    with pytest.raises(DataError, match="no class has a positive and a negative validation clip"):
        Trial(config(), tiny_backbone, DeviceData(inputs, CPU))
