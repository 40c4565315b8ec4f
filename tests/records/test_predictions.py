"""What a trial said of every clip: written, read back, refused."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from astmoa.errors import RunError
from astmoa.records.predictions import NAME, Predictions, side_of
from tests.helpers.damage import damage
from tests.helpers.refusals import refused

LOGITS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(-1e6, 1e6, width=32)
)


def made(rng=None, clips=7, classes=3):
    rng = rng or np.random.default_rng(0)
    sides = []
    for _ in range(2):
        sides.append(side_of(rng.permutation(50)[:clips], 5 * rng.normal(size=(clips, classes)), True))
    return Predictions("t1", "f", *sides)


def test_what_is_written_comes_back(tmp_path):
    before = made()
    before.save(tmp_path / "a" / NAME)
    after = Predictions.load(tmp_path / "a" / NAME, "t1", "f")
    for side in ("val", "test"):
        for what in ("clips", "logits"):
            assert np.array_equal(getattr(getattr(before, side), what), getattr(getattr(after, side), what))


@given(logits=LOGITS, seed=st.integers(0, 99))
def test_clips_are_in_their_order_and_the_label_stays(logits, seed):
    clips = np.random.default_rng(seed).permutation(100)[: len(logits)]
    side = side_of(clips, logits, True)
    assert side.clips.tolist() == sorted(clips.tolist())
    assert (side.logits.max(axis=1) == 0).all()
    for place, row in zip(clips, logits, strict=True):
        ours = side.logits[side.clips.tolist().index(place)].astype(np.float64)
        # In half precision near 0 what is distinct by a millionth stays distinct: the label is one of the largest.
        assert row.max() - row[int(ours.argmax())] <= 6e-8
        expected = np.clip(row.astype(np.float64) - row.max(), -65504, 0)
        assert np.allclose(ours, expected, rtol=1e-3, atol=1e-6)


@given(logits=LOGITS)
def test_of_several_labels_the_logits_stay(logits):
    side = side_of(np.arange(len(logits)), logits, False)
    assert np.allclose(side.logits.astype(np.float64), np.clip(logits, -65504, 65504), rtol=1e-3, atol=1e-6)


def test_how_large_it_is_for_speech_commands(tmp_path):
    rng = np.random.default_rng(0)
    sides = (side_of(np.arange(n), rng.normal(size=(n, 35)), True) for n in (9981, 11_005))
    Predictions("t1", "f", *sides).save(tmp_path / NAME)
    assert (tmp_path / NAME).stat().st_size == pytest.approx(1.64e6, rel=0.01)


def test_anothers_are_refused_in_one_line(tmp_path):
    path = tmp_path / NAME
    made().save(path)
    cases = {
        ("t2", None): "are the predictions of trial 't1': remove it",
        ("t1", "g"): "counts the clips of other data \\('f', here g\\)",
    }
    for (trial_id, data), words in cases.items():
        with pytest.raises(RunError, match=words):
            Predictions.load(path, trial_id, data)
    with pytest.raises(RunError, match="is not there: a trial of an earlier version, or it was removed"):
        Predictions.load(tmp_path / "none", "t1")
    with pytest.raises(RunError, match="holds no predictions"):
        Predictions.load(tmp_path, "t1")


def test_of_another_version_or_not_ours(tmp_path):
    path = tmp_path / NAME
    save_file({"val.clips": np.zeros(1, dtype=np.int64)}, path)
    with pytest.raises(RunError, match="it does not say whose it is"):
        Predictions.load(path, "t1")
    save_file({}, path, {"format": "2", "trial_id": "t1", "data": "f", "checksum": ""})
    with pytest.raises(RunError, match="its format is '2', this version reads 1"):
        Predictions.load(path, "t1")


@given(seed=st.integers(0, 10**9))
def test_damaged_ones_are_refused_in_one_line(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("predictions") / NAME
    made().save(path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole, random.Random(seed)))
    if path.read_bytes() != whole:
        assert refused(RunError, Predictions.load, path, "t1", "f") is not None
