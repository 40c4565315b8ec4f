"""The file that a trial's tensors are kept in: written whole or not at all, and damage is found when it is read."""

import errno
import json
import os
import random
import struct
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from astmoa.errors import RunError
from astmoa.training import checkpoint
from astmoa.training.checkpoint import DamagedError, load_tensors, open_tensors, save_tensors
from astmoa.training.trial import CHECKPOINT
from tests.helpers.damage import damage
from tests.helpers.disks import fill, small_disk
from tests.helpers.refusals import refused

TENSORS = {
    "weight": torch.arange(12.0).reshape(3, 4),
    "half": torch.ones(5, dtype=torch.bfloat16),
    "step": torch.tensor(3.0),
    "state": torch.arange(7, dtype=torch.uint8),
    "nothing": torch.zeros(0, 4),
}
FACTS = {"records": [{"epoch": 1, "lr": 0.1}], "bf16": False}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / CHECKPOINT
    save_tensors(path, TENSORS, FACTS)
    return path


def assert_whole(path):
    tensors, facts = load_tensors(path)
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_what_is_saved_comes_back(saved):
    assert_whole(saved)


def test_any_flipped_bit_is_found(saved, tmp_path):
    """But where it changes nothing: in the blanks that fill up the header."""
    whole, path = saved.read_bytes(), tmp_path / CHECKPOINT
    found = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        message = refused(DamagedError, assert_whole, path)
        assert message is None or str(path) in message
        found += message is not None
    assert found > len(whole) - 8


@given(seed=st.integers(0, 10**9))
@settings(max_examples=150)
def test_damaged_files_are_found(seed, saved, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / CHECKPOINT
    path.write_bytes(damage(saved.read_bytes(), random.Random(seed)))
    refused(DamagedError, assert_whole, path)


def test_a_file_of_before_has_no_checksum_and_loads(tmp_path):
    save_file(TENSORS, tmp_path / CHECKPOINT, metadata={"astmoa": json.dumps(FACTS)})
    assert_whole(tmp_path / CHECKPOINT)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "header too small"),
        (struct.pack("<Q", 1 << 40) + b"{}", "its header claims 1,099,511,627,776 bytes"),
        (struct.pack("<Q", 50 << 20) + bytes(50 << 20), "its header claims 52,428,800 bytes"),
        ({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, "damaged"),
        ({"a": {"dtype": "F32", "shape": [2**63, 2], "data_offsets": [0, 0]}}, "damaged"),
        ({"__metadata__": {"astmoa": "[" * 100_000}}, "nested too deeply"),
        ({"__metadata__": {"astmoa": "9" * 5_000}}, "digits"),
        ({"__metadata__": {"astmoa": "{}", "format": "pt"}}, "none of ours"),
        ({"__metadata__": {"crc32": "00000000"}}, "none of ours"),
        ({}, "none of ours"),
    ],
)
def test_what_was_never_ours_is_one_line_and_takes_no_memory(content, words, tmp_path):
    if isinstance(content, dict):
        header = json.dumps(content).encode()
        content = struct.pack("<Q", len(header)) + header
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(DamagedError, match=words) as error:
        load_tensors(tmp_path / CHECKPOINT)
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_an_error_and_no_damage(tmp_path):
    """A pipe would be waited for, and none of them goes away by beginning anew."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe", "nothing"):
        with pytest.raises(RunError, match=name) as error:
            open_tensors(tmp_path / name)
        assert not isinstance(error.value, DamagedError)


def test_a_long_trial_s_header_is_read(tmp_path):
    """The bound on headers follows the number of epochs."""
    keys = ("train_loss", "val_loss", "val_accuracy", "lr", "seconds", "val_seconds", "step_seconds")
    facts = {"records": [dict.fromkeys(keys, 0.123456789012345)] * 30_000}
    save_tensors(tmp_path / CHECKPOINT, {}, facts)
    with pytest.raises(DamagedError, match="its header claims"):
        open_tensors(tmp_path / CHECKPOINT)
    assert open_tensors(tmp_path / CHECKPOINT, 30_000).metadata == facts


def test_a_full_disk_is_one_line_and_leaves_the_old_file_alone(tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        save_tensors(disk / CHECKPOINT, TENSORS, FACTS)
        filler = fill(disk)
        message = f"{disk / CHECKPOINT}: cannot be written .No space left on device.: make room"
        with pytest.raises(RunError, match=message) as error:
            save_tensors(disk / CHECKPOINT, {"large": torch.ones(50_000)}, {})
        assert "\n" not in str(error.value)
        assert {path.name for path in disk.iterdir()} == {CHECKPOINT, "filler"}
        assert_whole(disk / CHECKPOINT)
        filler.unlink()
        save_tensors(disk / CHECKPOINT, {"large": torch.ones(1_000)}, {})


def test_where_no_folder_can_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be written \(Not a directory\)|cannot be written \(File exists\)"):
        save_tensors(tmp_path / "file" / "trial" / CHECKPOINT, TENSORS, FACTS)


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
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\): make room"):
        save_tensors(tmp_path / CHECKPOINT, {"a": torch.zeros(2)}, {"is": "new"})
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert load_tensors(tmp_path / CHECKPOINT)[1] == {"is": "old"}


def test_what_a_killed_process_left_is_removed_but_nothing_that_may_still_be_written(tmp_path):
    """The last one as safetensors names what it writes to, before that gets the name that it was given."""
    left, young, other = (tmp_path / f"{name}.tmp" for name in (f"{CHECKPOINT}.12", f"{CHECKPOINT}.ab", "mine.12"))
    for path, age in ((left, 7200), (young, 60), (other, 7200), (tmp_path / ".tmpH81Maa", 7200)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    save_tensors(tmp_path / CHECKPOINT, {"a": torch.ones(2)}, {})
    assert set(tmp_path.iterdir()) == {young, other, tmp_path / CHECKPOINT}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_it_is_up_to_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "x", {"a": torch.ones(2)}, {})
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode
