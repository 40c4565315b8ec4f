"""The feature store: right numbers, computed once, whole or absent, and honest about clips it cannot use."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from astmoa.audio import store
from astmoa.audio.datasets import DataSet, open_data
from astmoa.audio.decode import load_clip
from astmoa.audio.fbank import SILENCE, fbank, num_frames
from astmoa.audio.progress import in_order
from astmoa.audio.store import Features, cache_root, load_features
from astmoa.config import DataConfig
from astmoa.errors import DataError
from tests.helpers import layouts

LENGTHS = [0.01, 0.3, 0.7, 0.5, 1.2, 0.5, 0.4, 0.5]  # seconds; the set's clips are cut or filled up to 0.5
SIDES = ["train", "train", "train", "train", "val", "val", "test", "test"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, seconds in enumerate(LENGTHS):
        soundfile.write(folder / f"{index}.wav", 0.1 * rng.normal(size=round(16_000 * seconds)), 16_000)
    _table(folder, "aabababa")
    return folder


def _table(folder: Path, labels: str) -> None:
    rows = [f"{i}.wav,{label},{side}" for i, (label, side) in enumerate(zip(labels, SIDES, strict=True))]
    (folder / "manifest.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")


def _open(root: Path, skip: bool = False, seconds: float = 0.5) -> DataSet:
    return open_data(DataConfig("csv", root=str(root), seconds=seconds, skip_bad_clips=skip))


def _counted(data: DataSet) -> tuple[DataSet, list[int]]:
    """The same data set, and the list of the clips that it was asked to decode."""
    asked: list[int] = []

    def load(index: int) -> torch.Tensor:
        asked.append(index)
        return data.load(index)

    return DataSet(data.name, data.labels, data.clips, data.seconds, load, data.version), asked


def _same(one: Features, other: Features) -> bool:
    same = np.array_equal(one.array, other.array) and np.array_equal(one.lengths, other.lengths)
    return same and (one.bad, one.fingerprint) == (other.bad, other.fingerprint)


def test_rows_are_the_front_ends_numbers_cut_or_padded(root: Path, tmp_path: Path) -> None:
    features = load_features(_open(root), tmp_path)
    assert features.array.shape == (8, num_frames(8000), 128)
    assert features.array.dtype == np.float16
    assert isinstance(features.array, np.memmap)
    assert not features.array.flags.writeable
    assert features.bad == {}
    assert features.lengths.dtype == np.int32
    for index, seconds in enumerate(LENGTHS):
        expected = fbank(load_clip(root / f"{index}.wav", 0.5)).numpy()
        row = features.array[index].astype(np.float32)
        np.testing.assert_allclose(row[: len(expected)], expected, atol=2e-3)
        assert features.lengths[index] == len(expected) == max(1, num_frames(round(16_000 * min(seconds, 0.5))))
        assert (row[len(expected) :] == np.float16(SILENCE)).all()


def test_it_is_computed_once_whatever_fold_or_label(root: Path, tmp_path: Path) -> None:
    data, asked = _counted(_open(root))
    first = load_features(data, cache_dir=tmp_path)
    assert sorted(asked) == list(range(8))
    again, asked = _counted(_open(root))
    assert _same(first, load_features(again, cache_dir=tmp_path))
    assert asked == []
    _table(root, "abababab")  # other labels: the same sounds, other data
    relabelled, asked = _counted(_open(root))
    second = load_features(relabelled, cache_dir=tmp_path)
    assert asked == []
    assert np.array_equal(first.array, second.array)
    assert first.fingerprint != second.fingerprint


def test_seconds_and_changed_files_are_another_store(root: Path, tmp_path: Path) -> None:
    first = load_features(_open(root), cache_dir=tmp_path)
    longer = load_features(_open(root, seconds=0.6), cache_dir=tmp_path)
    assert longer.array.shape[1] == num_frames(9600)
    soundfile.write(root / "3.wav", 0.1 * np.random.default_rng(9).normal(size=8000), 16_000)  # the same size
    data, asked = _counted(_open(root))
    changed = load_features(data, cache_dir=tmp_path)
    assert asked == [3]  # the other rows are taken from the older store
    assert len({f.fingerprint for f in (first, longer, changed)}) == 3
    np.testing.assert_array_equal(first.lengths, changed.lengths)
    np.testing.assert_array_equal(np.delete(first.array, 3, axis=0), np.delete(changed.array, 3, axis=0))
    np.testing.assert_allclose(changed.array[3], fbank(load_clip(root / "3.wav")), atol=2e-3)


def test_a_copy_elsewhere_has_the_same_fingerprint(root: Path, tmp_path: Path) -> None:
    here = load_features(_open(root), cache_dir=tmp_path / "cache")
    shutil.copytree(root, tmp_path / "elsewhere" / "copy", copy_function=shutil.copyfile)
    data, asked = _counted(_open(tmp_path / "elsewhere" / "copy"))
    there = load_features(data, cache_dir=tmp_path / "cache")
    assert len(asked) == 8  # other files, as far as one can tell without reading them
    assert _same(here, there)


def test_builtin_depends_on_its_version_alone(tmp_path: Path) -> None:
    data = open_data(DataConfig(seconds=0.1))
    few = DataSet(data.name, data.labels, data.clips[:5], data.seconds, data.load, data.version)
    first = load_features(few, cache_dir=tmp_path)
    counted, asked = _counted(few)
    assert _same(first, load_features(counted, cache_dir=tmp_path))
    assert asked == []
    turned = DataSet(data.name, data.labels, data.clips[:5], data.seconds, counted.load, data.version + "!")
    assert load_features(turned, cache_dir=tmp_path).fingerprint != first.fingerprint
    assert len(asked) == 5


def test_all_bad_clips_are_counted_in_one_line(root: Path, tmp_path: Path) -> None:
    (root / "1.wav").write_text("no sound")
    (root / "3.wav").unlink()
    soundfile.write(root / "4.wav", np.zeros(8000), 16_000)
    soundfile.write(root / "6.wav", np.full(8000, np.nan), 16_000, subtype="FLOAT")
    data = _open(root, skip=True)  # as if 3.wav had gone after the list was read
    with pytest.raises(DataError) as caught:
        load_features(data, cache_dir=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "4 of 8 clips" in message
    assert all(f"{name}.wav" in message for name in (1, 3, 4))
    assert "6.wav" not in message
    assert "and 1 more" in message
    assert "--skip-bad-clips" in message

    # Nothing of the work is lost, and what was found is remembered.
    data, asked = _counted(data)
    features = load_features(data, cache_dir=tmp_path, skip_bad=True)
    assert asked == []
    assert list(features.bad) == [1, 3, 4, 6]
    assert "all samples are zero" in features.bad[4]
    assert (features.array[[1, 3, 4, 6]] == np.float16(SILENCE)).all()
    np.testing.assert_allclose(features.array[5], fbank(load_clip(root / "5.wav")), atol=2e-3)
    assert [features.lengths[i] for i in (1, 3, 4, 6)] == [0, 0, 0, 0]
    splits = data.splits(1, features.bad)
    assert not set(features.bad) & {*splits.train, *splits.val, *splits.test}


def test_mending_a_clip_decodes_that_clip_alone(root: Path, tmp_path: Path) -> None:
    good = (root / "2.wav").read_bytes()
    (root / "2.wav").write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"1 of 8 clips.*2\.wav: truncated"):
        load_features(_open(root), cache_dir=tmp_path)
    (root / "2.wav").write_bytes(good)
    data, asked = _counted(_open(root))
    features = load_features(data, cache_dir=tmp_path)
    assert asked == [2]
    assert features.bad == {}
    assert _same(features, load_features(_open(root), cache_dir=tmp_path / "fresh"))


def test_targets_are_part_of_the_fingerprint_alone(root: Path, tmp_path: Path) -> None:
    data = _open(root)
    one = np.array([[1, 0], [0, 1]] * 4, dtype=np.float32)
    other = one.copy()
    other[3, 0] = np.nan
    found = []
    for targets in (None, one, other, one.copy()):
        counted, asked = _counted(dataclasses.replace(data, targets=targets))
        found.append(load_features(dataclasses.replace(counted, targets=targets), cache_dir=tmp_path).fingerprint)
        assert len(asked) == (8 if targets is None else 0)
    assert found[1] == found[3]
    assert len(set(found)) == 3


def test_cuts_of_one_recording_are_rows_of_their_own(root: Path, tmp_path: Path) -> None:
    data = open_data(layouts.speech_commands(tmp_path / "commands", num_labels=12))
    cuts = [i for i, clip in enumerate(data.clips) if clip.span is not None][:3]
    few = dataclasses.replace(data, clips=tuple(data.clips[i] for i in cuts), load=lambda i: data.load(cuts[i]))
    features = load_features(few, cache_dir=tmp_path)
    for row, index in enumerate(cuts):
        np.testing.assert_allclose(features.array[row], fbank(data.load(index)), atol=2e-3)
    moved = dataclasses.replace(few.clips[1], span=(1.0, 2.0))
    changed = dataclasses.replace(few, clips=(few.clips[0], moved, few.clips[2]))
    counted, asked = _counted(changed)
    assert load_features(counted, cache_dir=tmp_path).fingerprint != features.fingerprint
    assert asked == [1]


def test_few_rows_wait_for_the_writer(root: Path, tmp_path: Path) -> None:
    """A slow disk must not make the whole data set pile up in memory."""
    started, most_ahead = [], []

    def call(index: int) -> int:
        started.append(index)
        return index

    for result in in_order(call, 500, 2, "", False):
        time.sleep(0.0005)
        most_ahead.append(len(started) - result)
    assert sorted(started) == list(range(500))
    assert max(most_ahead) <= 33


def _meta(target: Path) -> Path:
    return target / "meta.json"


def _turn(path: Path, place: int, bit: int = 1) -> None:
    """One bit of a file, as a disk may."""
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


HARMS = {
    "array cut": lambda target: os.truncate(target / "features.npy", 5000),
    "array too long": lambda target: os.truncate(target / "features.npy", 10_000_000),
    "array's header turned": lambda target: _turn(target / "features.npy", 60),
    "no array": lambda target: (target / "features.npy").unlink(),
    "no meta": lambda target: _meta(target).unlink(),
    "half meta": lambda target: os.truncate(_meta(target), 100),
    "meta turned": lambda target: _turn(_meta(target), _meta(target).read_bytes().index(b'"lengths"') + 12),
    "null": lambda target: _meta(target).write_text("null"),
    "a list": lambda target: _meta(target).write_text("[1, 2]"),
    "other types": lambda target: _meta(target).write_text('{"version": 2, "sha256": 5, "meta": 7}'),
    "deep": lambda target: _meta(target).write_text("[" * 100_000),
    "folder for file": lambda target: (_meta(target).unlink(), _meta(target).mkdir()),
    "pipe for array": lambda target: ((target / "features.npy").unlink(), os.mkfifo(target / "features.npy")),
    "file for folder": lambda target: (shutil.rmtree(target), target.touch()),
    "no UTF-8": lambda target: _meta(target).write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_store_is_made_again(root: Path, tmp_path: Path, harm: str, capsys: pytest.CaptureFixture) -> None:
    first = load_features(_open(root), cache_dir=tmp_path)
    rows, fingerprint = first.array.copy(), first.fingerprint
    (target,) = (tmp_path / "features").iterdir()
    HARMS[harm](target)
    data, asked = _counted(_open(root))
    again = load_features(data, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.array, rows)
    assert again.fingerprint == fingerprint
    assert len(asked) == 8
    assert capsys.readouterr().err == f"the features in {target} are damaged: they are computed again\n"
    data, asked = _counted(_open(root))
    load_features(data, cache_dir=tmp_path)
    assert (asked, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize("rows", [[2], [0, 5, 7]])
def test_turned_bits_are_found_and_only_their_rows_made_again(
    root: Path, tmp_path: Path, rows: list[int], capsys: pytest.CaptureFixture
) -> None:
    """A loss that is no number would be blamed on the learning rate."""
    first = load_features(_open(root), cache_dir=tmp_path)
    values, fingerprint = first.array.copy(), first.fingerprint
    (target,) = (tmp_path / "features").iterdir()
    size = values[0].nbytes
    for row in rows:
        _turn(target / "features.npy", first.array.offset + row * size + 1001, 0x40)
    data, asked = _counted(_open(root))
    again = load_features(data, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.array, values)
    assert again.fingerprint == fingerprint
    assert sorted(asked) == rows
    assert capsys.readouterr().err.endswith(f" are damaged in {len(rows)} of 8 rows: they are computed again\n")


def test_damaged_rows_are_not_taken_over(root: Path, tmp_path: Path) -> None:
    first = load_features(_open(root), cache_dir=tmp_path)
    (target,) = (tmp_path / "features").iterdir()
    _turn(target / "features.npy", first.array.offset + 3 * first.array[0].nbytes + 77)
    soundfile.write(root / "6.wav", 0.1 * np.random.default_rng(9).normal(size=8000), 16_000)
    data, asked = _counted(_open(root))
    changed = load_features(data, cache_dir=tmp_path)  # another key: a store of its own
    assert sorted(asked) == [3, 6]
    np.testing.assert_allclose(changed.array[3], fbank(load_clip(root / "3.wav", 0.5)), atol=2e-3)


def test_stores_of_earlier_versions_are_made_again_under_the_same_fingerprint(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """They have no checksums, and clips in them may have lost their ends."""
    first = load_features(_open(root), cache_dir=tmp_path)
    (target,) = (tmp_path / "features").iterdir()
    meta = json.loads(_meta(target).read_text())["meta"]
    old = {key: meta[key] for key in ("front_end", "stamps", "digests", "lengths", "bad")}
    _meta(target).write_text(json.dumps(old))
    data, asked = _counted(_open(root))
    assert load_features(data, cache_dir=tmp_path).fingerprint == first.fingerprint
    assert len(asked) == 8
    assert "are from an earlier version: they are computed again" in capsys.readouterr().err


def test_the_fingerprint_is_that_of_all_versions(root: Path, tmp_path: Path) -> None:
    """It is in the headers of runs: whoever changes it, breaks their resuming."""
    data = open_data(DataConfig(seconds=0.1))
    few = DataSet(data.name, data.labels, data.clips[:5], data.seconds, data.load, "fixed")
    assert load_features(few, cache_dir=tmp_path).fingerprint == "b171f6c6cae0a206"


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9j\xe0")
    for label in ("a", "b"):
        for number in range(3):
            layouts.wav(tmp_path / "clip.wav", 0.1 + 0.01 * number)
            (folder / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "clip.wav").rename(folder / label / os.fsdecode(b"\xff%d.wav" % number))
    data = open_data(DataConfig("folder", root=str(folder)))
    first = load_features(data, cache_dir=tmp_path / "cache")
    assert first.bad == {}
    counted, asked = _counted(data)
    assert _same(first, load_features(counted, cache_dir=tmp_path / "cache"))
    assert asked == []


def test_a_pipe_under_a_clips_name_does_not_hold_it_up(root: Path, tmp_path: Path) -> None:
    (root / "3.wav").unlink()
    os.mkfifo(root / "3.wav")
    features = load_features(_open(root, skip=True), cache_dir=tmp_path, skip_bad=True)
    assert features.bad == {3: "it is a pipe, no file: correct the path"}


def test_two_writers_at_once(root: Path, tmp_path: Path) -> None:
    data = _open(root)
    both = threading.Barrier(2, timeout=10)

    def load(index: int) -> torch.Tensor:
        if index == 7:
            both.wait()  # neither is finished before the other has come as far
        return data.load(index)

    slow = DataSet(data.name, data.labels, data.clips, data.seconds, load)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: load_features(slow, cache_dir=tmp_path, processes=1), range(2))
    assert _same(one, other)
    assert len(list((tmp_path / "features").iterdir())) == 1


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_that_counts(root: Path, tmp_path: Path) -> None:
    script = f"""
import sys
import time
from astmoa.audio.datasets import DataSet, open_data
from astmoa.audio.progress import in_order
from astmoa.audio.store import load_features
from astmoa.config import DataConfig
from pathlib import Path
data = open_data(DataConfig("csv", root={str(root)!r}, seconds=0.5))
def load(index):
    if index == 5:
        print("here", flush=True, file=sys.stderr)
        time.sleep(60)
    return data.load(index)
load_features(DataSet(data.name, data.labels, data.clips, data.seconds, load), cache_dir=Path({str(tmp_path)!r}))
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert writer.stderr.readline() == "here\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    (left,) = (tmp_path / "features").iterdir()
    data, asked = _counted(_open(root))
    features = load_features(data, cache_dir=tmp_path)
    assert len(asked) == 8
    assert features.bad == {}
    assert left.exists()  # it could belong to a writer that is still at work
    old = time.time() - 2 * 24 * 3600
    os.utime(left, (old, old))
    load_features(_open(root, seconds=0.3), cache_dir=tmp_path)
    assert not left.exists()


def test_an_error_in_the_middle_leaves_nothing_and_stops_the_threads(root: Path, tmp_path: Path) -> None:
    data = _open(root)
    before = torch.get_num_threads(), threading.active_count()

    def load(index: int) -> torch.Tensor:
        if index == 2:
            raise RuntimeError("a bug, not a bad clip")
        return data.load(index)

    with pytest.raises(RuntimeError, match="a bug"):
        load_features(DataSet(data.name, data.labels, data.clips, data.seconds, load), cache_dir=tmp_path)
    assert list((tmp_path / "features").iterdir()) == []
    assert (torch.get_num_threads(), threading.active_count()) == before


def test_a_cache_that_cannot_be_written_says_so(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="set ASTMOA_CACHE") as caught:
        load_features(_open(root), cache_dir=tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_full_disk_says_so_and_leaves_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*ASTMOA_CACHE"):
        load_features(_open(root), cache_dir=tmp_path)
    assert list((tmp_path / "features").iterdir()) == []


def test_less_than_one_window_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="shorter than one window"):
        load_features(_open(root, seconds=0.02), cache_dir=tmp_path)


@pytest.mark.parametrize("processes", [1, 4])
def test_it_is_silent_where_there_is_no_terminal_and_threads_change_nothing(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture, processes: int
) -> None:
    features = load_features(_open(root), cache_dir=tmp_path / str(processes), processes=processes)
    assert capfd.readouterr() == ("", "")
    assert _same(features, load_features(_open(root), cache_dir=tmp_path / "other", processes=2))


def test_progress_on_a_terminal(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any output for a terminal
    load_features(_open(root), cache_dir=tmp_path / "quiet", progress=False)
    assert capfd.readouterr() == ("", "")
    load_features(_open(root), cache_dir=tmp_path / "shown")
    out, err = capfd.readouterr()
    assert out == ""
    assert "Features of data" in err


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path) -> None:
    monkeypatch.delenv("ASTMOA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == Path.home() / ".cache" / "astmoa"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_root() == tmp_path / "x" / "astmoa"
    monkeypatch.setenv("ASTMOA_CACHE", str(tmp_path / "y"))
    load_features(_open(root))
    assert [path.name[:5] for path in (tmp_path / "y" / "features").iterdir()] == ["data-"]
