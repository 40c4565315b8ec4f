import dataclasses
import itertools
import math
import os
import random
import re
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.audio.fbank import GREY
from astmoa.backbone.frozen import Backbone
from astmoa.config import MethodConfig, OptimConfig, TrialConfig
from astmoa.errors import AstmoaError, ConfigError, DataError, Interrupted, NonFiniteLossError, RunError
from astmoa.training.checkpoint import load_tensors, prefixed, save_tensors
from astmoa.training.inputs import DeviceData
from astmoa.training.optimizer import cosine_lr
from astmoa.training.scoring import score
from astmoa.training.trial import CHECKPOINT, Trial
from tests.helpers.classifiers import identify
from tests.helpers.damage import damage, distort
from tests.helpers.refusals import refused
from tests.helpers.tiny import make_inputs, make_model

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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_damaged_checkpoint_is_no_end_the_trial_begins_anew_and_says_so(uninterrupted, tmp_path):
    """One flipped bit, in the middle of the second epoch; what comes out is what comes out of a whole run."""
    *trial, whole = uninterrupted
    interrupted(*trial, tmp_path, 9)
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with Trial(trial[0], trial[1], DeviceData(trial[2], CPU), tmp_path) as again:
        why = "its checksum is another one"
        assert again.note == f"{path} is damaged ({why}): it is {path.name}.damaged by now, and the trial begins anew"
        assert again.resumed_epochs == 0
        assert_same_runs(([*timeless(*again.epochs())], *timeless(again.test()), again.classifier.tensors()), whole)
    with Trial(trial[0], trial[1], DeviceData(trial[2], CPU), tmp_path) as finished:
        assert (finished.note, finished.resumed_epochs) == (None, 3)


@pytest.fixture(scope="module")
def half_done(uninterrupted, tmp_path_factory):
    """The checkpoint of a trial in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("half")
    assert interrupted(*uninterrupted[:3], folder, 9) == (True, 7)
    return folder / CHECKPOINT


def spoil(kind, name, change):
    """A change of one tensor."""
    return lambda tensors, facts: tensors.update({f"{kind}/{name}": change(tensors[f"{kind}/{name}"])})


def tell(**changes):
    return lambda tensors, facts: facts.update(changes)


def first_epoch(**changes):
    return lambda tensors, facts: facts["records"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("current", "head.bias", lambda t: t[:1]), r"current/head.bias has the shape \[1\], not \[3\]"),
        (spoil("best", "head.weight", lambda t: t.half()), "best/head.weight is of type float16, not float32"),
        (spoil("current", "head.weight", lambda t: t * math.nan), "current/head.weight holds values that"),
        (spoil("exp_avg", "norm.bias", lambda t: t * math.inf), "exp_avg/norm.bias holds values that are no finite"),
        (spoil("exp_avg_sq", "norm.bias", lambda t: -1 - t), "exp_avg_sq/norm.bias holds values that are no means"),
        (spoil("step", "norm.bias", lambda t: t[None]), r"step/norm.bias has the shape \[1\], not \[\]"),
        (lambda tensors, facts: tensors.pop("exp_avg/norm.bias"), "exp_avg/norm.bias is missing"),
        (lambda tensors, facts: tensors.pop("step/norm.bias"), "exp_avg/norm.bias is not part of it"),
        (lambda tensors, facts: tensors.update({"other": torch.ones(1)}), "other is not part of it"),
        (spoil("unfinished", "total", lambda t: t.expand(9).clone()), r"unfinished/total has the shape \[9\]"),
        (spoil("unfinished", "augment", lambda t: t.fill_(255)), "Invalid mt19937 state"),
        (spoil("unfinished", "augment", lambda t: t.float()), "unfinished/augment is of type float32, not uint8"),
        (tell(records=None), "records: Input should be a valid list"),
        (tell(records=[], best_epoch=1), "best_epoch 1 is none of its epochs"),
        (tell(best_epoch=0), "best_epoch 0 is none of its epochs"),
        (tell(best_epoch=10**400), "best_epoch .* is none of its epochs"),
        (tell(best_epoch=True), "best_epoch: Input should be a valid integer"),
        (tell(bf16="no"), "bf16: Input should be a valid boolean"),
        (first_epoch(epoch=2), "its epochs are not the first ones of 3"),
        (first_epoch(val_loss="low"), "records.0.val_loss: Input should be a valid number"),
        (first_epoch(seconds=-1), "records.0.seconds: Input should be greater than or equal to 0"),
        (first_epoch(train_loss=math.nan), "records.0.train_loss: Input should be a finite number"),
        (tell(unfinished={"steps": 6, "train_seconds": 1, "val_seconds": 0}), "longer than an epoch"),
        (tell(unfinished={"steps": 1}), "unfinished.train_seconds: Field required"),
        (tell(unfinished=None), "unfinished: Input should be a valid dictionary"),
        (lambda tensors, facts: facts.pop("unfinished"), "unfinished/augment is not part of it"),
    ],
)
def test_a_checkpoint_that_fits_no_trial_changes_nothing_of_it(change, words, uninterrupted, half_done, tmp_path):
    """With a checksum that is right: somebody else has made it, or an older version."""
    trial_config, backbone, inputs, _ = uninterrupted
    tensors, facts = load_tensors(half_done)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors, facts)
    save_tensors(tmp_path / CHECKPOINT, tensors, facts)
    with Trial(trial_config, backbone, DeviceData(inputs, CPU)) as fresh:
        wanted = {name: tensor.detach().clone() for name, tensor in fresh.classifier.tensors().items()}
    with Trial(trial_config, backbone, DeviceData(inputs, CPU), tmp_path) as trial:
        assert re.search(f"{CHECKPOINT} is damaged .*{words}", trial.note)
        assert "\n" not in trial.note
        assert (trial.records, trial.best, trial.best_epoch, trial.spent) == ([], {}, 0, 0.0)
        assert not trial.optimizer.state
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in trial.classifier.tensors().items())


@given(seed=st.integers(0, 10**9))
@settings(max_examples=40)
def test_damaged_checkpoints_are_gone_on_from_as_they_were_or_not_at_all(
    seed, uninterrupted, half_done, tmp_path_factory
):
    """Bytes of the file, or what it says, written anew with a checksum that is right."""
    trial_config, backbone, inputs, _ = uninterrupted
    folder, rng = tmp_path_factory.mktemp("trial"), random.Random(seed)
    if rng.random() < 0.5:
        (folder / CHECKPOINT).write_bytes(damage(half_done.read_bytes(), rng))
    else:
        tensors, facts = load_tensors(half_done)
        save_tensors(folder / CHECKPOINT, tensors, distort(facts, rng))
    refused(RunError, open_and_close, trial_config, backbone, inputs, folder)


def open_and_close(trial_config, backbone, inputs, folder):
    """RunError: the checkpoint says that it belongs to something else."""
    with Trial(trial_config, backbone, DeviceData(inputs, CPU), folder) as trial:
        assert (trial.note is None) == (trial.resumed_epochs == 1)


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
        said = trial.predictions
        for side, own in (("val", said.val), ("test", said.test)):
            assert own.clips.tolist() == sorted(getattr(tiny_inputs.splits[1], side).tolist())
            right = own.logits.argmax(axis=1) == tiny_inputs.labels[own.clips]
            assert right.mean() == pytest.approx(end[f"{side}_accuracy"])


def test_what_was_said_of_clips_with_several_labels_gives_their_score(tiny_backbone):
    inputs = make_inputs(multi_label=True)
    with Trial(config(epochs=2), tiny_backbone, DeviceData(inputs, CPU)) as trial:
        list(trial.epochs())
        end = trial.test()
        for side, own in (("val", trial.predictions.val), ("test", trial.predictions.test)):
            labels = torch.from_numpy(inputs.labels[own.clips])
            assert score(torch.from_numpy(own.logits.astype(np.float32)), labels) == pytest.approx(
                end[f"{side}_accuracy"], abs=1e-3
            )


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
    with Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU), tmp_path) as trial:
        assert (trial.resumed_epochs, trial.note is None) == (0, False)
        next(trial.epochs())
    assert (tmp_path / f"{CHECKPOINT}.damaged").read_bytes() == b"not a checkpoint"  # it may be somebody else's


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


@pytest.mark.slow
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

    def no_room(*given):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr("astmoa.training.trial.make_optimizer", no_room)
    with pytest.raises(torch.OutOfMemoryError):
        Trial(config(), tiny_backbone, DeviceData(tiny_inputs, CPU))
    assert [id(module) for module in tiny_backbone.model.modules()] == before


def test_multi_label_data_that_cannot_be_scored(tiny_backbone):
    inputs = make_inputs(multi_label=True)
    inputs.labels[inputs.splits[1].val] = 1
    with pytest.raises(DataError, match="no class has a positive and a negative validation clip"):
        Trial(config(), tiny_backbone, DeviceData(inputs, CPU))
