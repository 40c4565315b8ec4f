import pickle
import shutil

import numpy as np
import pytest
import soundfile
import torch

from astmoa.config import DataConfig
from astmoa.training.inputs import DeviceData, open_inputs
from tests.helpers import layouts


@pytest.mark.slow
def test_the_features_travel_as_one_buffer_without_a_copy():
    """What Ray does: out-of-band buffers go into shared memory; anything in-band is copied into every worker."""
    inputs = open_inputs(DataConfig(), progress=False)
    buffers = []
    in_band = pickle.dumps(inputs, protocol=5, buffer_callback=buffers.append)
    assert len(in_band) < 10_000
    again = pickle.loads(in_band, buffers=buffers)
    assert again.features.__array_interface__["data"] == inputs.features.__array_interface__["data"]
    assert np.shares_memory(DeviceData(again, torch.device("cpu")).features.numpy(), inputs.features)


@pytest.mark.slow
def test_the_builtin_set_is_split_by_speaker_and_has_all_classes_everywhere():
    inputs = open_inputs(DataConfig(), progress=False)
    splits = inputs.splits[1]
    for clips in (splits.train, splits.val, splits.test):
        assert set(inputs.labels[clips]) == set(range(len(inputs.label_names)))
    assert len(set(splits.train) | set(splits.val) | set(splits.test)) == len(inputs.labels)


def test_batches_are_float32_on_the_device(tiny_inputs):
    data = DeviceData(tiny_inputs, torch.device("cpu"))
    features, labels = data.batch(torch.tensor([3, 1]))
    assert features.dtype == torch.float32
    np.testing.assert_array_equal(features.numpy(), tiny_inputs.features[[3, 1]].astype(np.float32))
    assert labels.tolist() == tiny_inputs.labels[[3, 1]].tolist()


def test_what_a_sweep_should_not_be_silent_about(tmp_path, capsys):
    rows = ["a.wav,dog,train", "b.wav,Dog,train", "f.wav,cat,train", "c.wav,cat,val", "d.wav,dog,test"]
    for number, row in enumerate(rows):
        soundfile.write(tmp_path / row.split(",")[0], np.random.default_rng(number).normal(size=8000) / 10, 16_000)
    layouts.table(tmp_path / "manifest.csv", "path,label,split", rows)
    config = DataConfig("csv", root=str(tmp_path))
    before = open_inputs(config)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"warning: {tmp_path}/manifest.csv: classes ")
    shutil.copy(tmp_path / "a.wav", tmp_path / "c.wav")
    assert open_inputs(config).fingerprint != before.fingerprint
    _, doubles, labels = capsys.readouterr().err.splitlines()
    assert doubles == (
        "warning: 1 sound is on two sides, byte for byte (2 clips), first a.wav (train) and c.wav (val): what is "
        "measured there was trained on"
    )
    assert labels == (
        "warning: 1 sound is under two labels, byte for byte (2 clips), first a.wav (dog) and c.wav (cat): one of "
        "them is wrong"
    )
