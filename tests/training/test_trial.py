import dataclasses
import errno
import itertools
import math
import os
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.audio.fbank import GREY
from astmoa.backbone import Backbone
from astmoa.config import MethodConfig, OptimConfig, TrialConfig
from astmoa.errors import AstmoaError, ConfigError, DataError, Interrupted, NonFiniteLossError, RunError
from astmoa.training import checkpoint
from astmoa.training.checkpoint import load_tensors, prefixed, save_tensors
from astmoa.training.inputs import DeviceData
from astmoa.training.trial import CHECKPOINT, Trial, cosine_lr
from tests.conftest import make_inputs, make_model
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


def at_point(trial, point, do):
    """Do it right after the point-th training step or batch of other clips, counted from now on."""
    points = itertools.count(1)

    def count(*_):
        if next(points) == point:
            do()

    trial.optimizer.register_step_post_hook(count)
    trial.classifier.register_forward_hook(lambda module, *_: None if module.training else count())


def interrupted(config, backbone, inputs, folder, point):
    """Go on with a trial and interrupt it at a point; whether it came so far, and how many training steps it took."""
    steps = []
    with Trial(config, backbone, DeviceData(inputs, CPU), folder) as trial:
        trial.optimizer.register_step_post_hook(lambda *_: steps.append(1))
        at_point(trial, point, trial.interrupt)
        try:
            list(trial.epochs())
            trial.test()
        except Interrupted:
            return True, len(steps)
    return False, len(steps)


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


@pytest.fixture(scope="module")
def uninterrupted():
    """What three epochs of five steps, validated in two batches, must come to."""
    trial_config, backbone, inputs = config(epochs=3, batch_size=4), Backbone(make_model(), "tiny"), make_inputs()
    return trial_config, backbone, inputs, run(trial_config, backbone, inputs)


@given(points=st.lists(st.integers(1, 16), min_size=1, max_size=6))
@settings(max_examples=20)
def test_interruptions_anywhere_change_nothing_and_no_step_is_taken_twice(points, uninterrupted, tmp_path_factory):
    """An epoch is seven points; points add up, so they fall into every epoch, several into one, and into the test."""
    *trial, whole = uninterrupted
    folder, steps = tmp_path_factory.mktemp("trial"), 0
    for point in points:
        steps += interrupted(*trial, folder, point)[1]
    steps += interrupted(*trial, folder, math.inf)[1]
    assert steps == 15
    assert_same_runs(run(*trial, folder), whole)


@pytest.mark.parametrize(
    ("method", "faithful"),
    [(m, ()) for m in METHODS] + [(MethodConfig("convpass"), ("dropped_convolution",))],
    ids=lambda value: identify(value) if isinstance(value, MethodConfig) else "-".join(value),
)
def test_every_kind_of_method_goes_on_in_the_middle_of_an_epoch_bitwise(method, faithful, tiny_inputs, tmp_path):
    """After every step of the first epoch, then in the second and in the last one. No state of the global generator is
    saved: none may be used, not even where the backbone was pretrained with dropout."""
    backbone = Backbone(make_model(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5), "tiny")
    trial_config = dataclasses.replace(config(method, epochs=3), faithful=faithful)
    whole = run(trial_config, backbone, tiny_inputs)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    ends = [interrupted(trial_config, backbone, tiny_inputs, tmp_path, point) for point in (1, 1, 1, 3, 3)]
    assert ends == [(True, 1), (True, 1), (True, 1), (True, 2), (True, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_runs(run(trial_config, backbone, tiny_inputs, tmp_path), whole)


def test_an_interruption_in_the_validation_saves_the_trained_epoch_at_once(uninterrupted, tmp_path):
    *trial, whole = uninterrupted
    assert interrupted(*trial, tmp_path, 6) == (True, 5)  # after the first of two batches
    _, metadata = load_tensors(tmp_path / CHECKPOINT)
    assert metadata["records"] == []
    assert metadata["unfinished"]["steps"] == 5
    assert metadata["unfinished"]["val_seconds"] > 0
    assert interrupted(*trial, tmp_path, 1) == (True, 0)  # and there once more
    assert load_tensors(tmp_path / CHECKPOINT)[1]["unfinished"]["val_seconds"] > metadata["unfinished"]["val_seconds"]
    assert_same_runs(run(*trial, tmp_path), whole)


def test_an_interruption_between_epochs_writes_nothing_and_repeats_nothing(uninterrupted, tmp_path):
    trial_config, backbone, inputs, whole = uninterrupted
    with Trial(trial_config, backbone, DeviceData(inputs, CPU), tmp_path) as trial:
        at_point(trial, 7, trial.interrupt)  # in the last batch of the validation: the epoch is as good as done
        epochs = trial.epochs()
        record = next(epochs)
        assert (record["epoch"], record["lr"]) == (1, trial.optimizer.param_groups[0]["lr"])
        stamp = (tmp_path / CHECKPOINT).stat().st_mtime_ns
        with pytest.raises(Interrupted, match="after 1 of 3 epochs"):
            next(epochs)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == stamp
    with Trial(trial_config, backbone, DeviceData(inputs, CPU), tmp_path) as trial:
        assert trial.resumed_epochs == 1
    assert interrupted(trial_config, backbone, inputs, tmp_path, math.inf) == (False, 10)
    assert_same_runs(run(trial_config, backbone, inputs, tmp_path), whole)


def test_an_interruption_before_the_first_step_and_one_without_a_folder(tiny_backbone, tiny_inputs, tmp_path):
    with Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path) as trial:
        trial.interrupt()
        with pytest.raises(Interrupted):
            next(trial.epochs())
    assert list(tmp_path.iterdir()) == []
    assert interrupted(config(), tiny_backbone, tiny_inputs, None, 2) == (True, 2)


def test_an_interruption_of_the_test_leaves_the_last_checkpoint(uninterrupted, tmp_path):
    *trial, whole = uninterrupted
    interrupted(*trial, tmp_path, math.inf)
    stamp = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    assert interrupted(*trial, tmp_path, 1) == (True, 0)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == stamp
    assert_same_runs(run(*trial, tmp_path), whole)


def test_a_signal_interrupts_and_is_no_failure(uninterrupted, tmp_path):
    trial_config, backbone, inputs, whole = uninterrupted
    with Trial(trial_config, backbone, DeviceData(inputs, CPU), tmp_path) as trial:
        before = signal.signal(signal.SIGTERM, lambda *_: trial.interrupt())
        try:
            at_point(trial, 9, lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(Interrupted) as error:
                list(trial.epochs())
        finally:
            signal.signal(signal.SIGTERM, before)
    assert not isinstance(error.value, AstmoaError)
    assert load_tensors(tmp_path / CHECKPOINT)[1]["unfinished"]["steps"] == 2
    assert_same_runs(run(trial_config, backbone, inputs, tmp_path), whole)


def test_the_seconds_of_a_resumed_epoch_include_those_before(uninterrupted, tmp_path):
    trial_config, backbone, inputs, _ = uninterrupted
    start = time.perf_counter()
    assert interrupted(trial_config, backbone, inputs, tmp_path, 2) == (True, 2)
    tensors, metadata = load_tensors(tmp_path / CHECKPOINT)
    unfinished = metadata["unfinished"]
    assert 0 < unfinished["train_seconds"] < time.perf_counter() - start
    assert unfinished["val_seconds"] == 0
    unfinished |= {"train_seconds": 1000.0, "val_seconds": 5000.0}
    save_tensors(tmp_path / CHECKPOINT, tensors, metadata)
    with Trial(trial_config, backbone, DeviceData(inputs, CPU), tmp_path) as trial:
        first, second, _ = trial.epochs()
    assert 5000 < first["val_seconds"] < 5100
    assert 200 < first["step_seconds"] < 220
    assert first["seconds"] == pytest.approx(5 * first["step_seconds"] + first["val_seconds"])
    assert second["seconds"] < 100


def save_as_before(trial, path):
    """A checkpoint as it was written before epochs could be interrupted."""
    moments = {name: trial.optimizer.state[parameter] for name, parameter in trial.classifier.trainable.items()}
    tensors = prefixed("current", trial.classifier.tensors()) | prefixed("best", trial.best)
    for moment in ("exp_avg", "exp_avg_sq", "step"):
        tensors |= prefixed(moment, {name: moments[name][moment] for name in moments})
    identity = {
        "config_hash": trial.config.hash(),
        "data": trial.data.inputs.fingerprint,
        "backbone": "tiny fingerprint",
    }
    facts = {"bf16": trial.bf16, "records": trial.records, "best_epoch": trial.best_epoch}
    save_tensors(path, tensors, {**identity, **facts})


def test_an_old_checkpoint_still_loads(tiny_inputs, tmp_path):
    backbone = Backbone(make_model(), "tiny", "tiny fingerprint")
    whole = run(config(), backbone, tiny_inputs)
    with Trial(config(), backbone, DeviceData(tiny_inputs, CPU)) as trial:
        epochs = trial.epochs()
        next(epochs), next(epochs)
        save_as_before(trial, tmp_path / CHECKPOINT)
    with Trial(config(), backbone, DeviceData(tiny_inputs, CPU), tmp_path) as trial:
        assert trial.resumed_epochs == 2
    assert_same_runs(run(config(), backbone, tiny_inputs, tmp_path), whole)


def test_an_epoch_begun_on_another_kind_of_device_goes_on(uninterrupted, tmp_path):
    """A GPU's generator has a state of 16 bytes, which a CPU's does not take."""
    *trial, _ = uninterrupted
    interrupted(*trial, tmp_path, 2)
    tensors, metadata = load_tensors(tmp_path / CHECKPOINT)
    tensors["unfinished/augment"] = torch.zeros(16, dtype=torch.uint8)
    save_tensors(tmp_path / CHECKPOINT, tensors, metadata)
    assert interrupted(*trial, tmp_path, math.inf) == (False, 13)


def test_two_writers_with_one_process_id_use_different_temporary_files(tmp_path, monkeypatch):
    """Machines that share a folder may have the same ones."""
    names, write = [], checkpoint.save_file
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(checkpoint, "save_file", lambda t, path, **kw: (names.append(path), write(t, path, **kw)))
    for _ in range(2):
        save_tensors(tmp_path / CHECKPOINT, {"a": torch.ones(2)}, {})
    assert len(set(names)) == 2
    assert {name.parent for name in names} == {tmp_path}, "a rename is atomic only within a file system"


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    save_tensors(tmp_path / CHECKPOINT, {"a": torch.ones(2)}, {"is": "old"})

    def fill_the_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        save_tensors(tmp_path / CHECKPOINT, {"a": torch.zeros(2)}, {"is": "new"})
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert load_tensors(tmp_path / CHECKPOINT)[1] == {"is": "old"}


def test_what_a_killed_process_left_is_removed_but_nothing_that_may_still_be_written(tmp_path):
    left, young, other = (tmp_path / f"{name}.tmp" for name in (f"{CHECKPOINT}.12", f"{CHECKPOINT}.ab", "mine.12"))
    for path, age in ((left, 7200), (young, 60), (other, 7200)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    save_tensors(tmp_path / CHECKPOINT, {"a": torch.ones(2)}, {})
    assert set(tmp_path.iterdir()) == {young, other, tmp_path / CHECKPOINT}


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
