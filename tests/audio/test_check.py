"""The look at a whole data set: what it counts, and what it finds."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from astmoa.audio.check import Leak, inspect
from astmoa.audio.doubles import Doubles
from astmoa.config import DataConfig
from astmoa.errors import DataError
from tests.helpers import layouts
from tests.helpers.sounds import encode


def test_a_whole_set_in_folds(tmp_path: Path) -> None:
    report = inspect(layouts.esc50(tmp_path))
    assert report.ok
    assert (report.clips, report.seconds, report.metric, report.held_out) == (15, 5.0, "accuracy", False)
    assert report.labels == {"frog": 5, "thunder": 5, "vacuum": 5}
    assert report.splits == {f"fold {fold}": 3 for fold in range(1, 6)}
    assert report.hours == pytest.approx(15 * 0.1 / 3600)
    assert (report.missing, report.broken, report.leaks, report.problems) == ((), {}, (), ())
    assert report.groups == 15


def test_a_whole_set_in_named_splits(tmp_path: Path) -> None:
    report = inspect(layouts.speech_commands(tmp_path, num_labels=12))
    assert report.ok
    assert report.splits == {"train": 120, "val": 24, "test": 24}
    assert report.labels["silence"] == report.labels["unknown"] == 14
    assert report.hours == pytest.approx((154 * 0.2 + 14) / 3600)


def test_several_labels_count_what_is_there(tmp_path: Path) -> None:
    report = inspect(layouts.openmic(tmp_path))
    assert report.ok
    assert report.labels == dict.fromkeys(layouts.INSTRUMENTS, 10)
    assert report.metric == "mAP"
    assert report.held_out
    assert sum(report.splits.values()) == 60
    assert report.unmeasured == {}


@pytest.mark.parametrize("left", [0.9, 0.1])
def test_classes_that_a_side_cannot_measure_are_named(tmp_path: Path, left: float) -> None:
    config = layouts.openmic(tmp_path)
    arrays = np.load(tmp_path / "openmic-2018.npz", allow_pickle=True)
    mask = arrays["Y_mask"]
    mask[:15, 1] &= arrays["Y_true"][:15, 1] == left  # test has only one kind of banjo
    layouts.openmic_arrays(tmp_path, Y_mask=mask)
    report = inspect(config, fast=True)
    assert report.unmeasured == {"test": ("banjo",)}
    assert report.ok


@pytest.mark.parametrize(("num_labels", "official"), [(None, 64_721), (30, 64_721), (12, None), (10, None)])
def test_the_official_number_is_that_of_all_words(tmp_path: Path, num_labels: int | None, official: int | None) -> None:
    assert inspect(layouts.speech_commands(tmp_path, 1, num_labels), fast=True).official == official


def test_the_builtin_set() -> None:
    report = inspect(DataConfig(), fast=True)
    assert report.ok
    assert report.hours == pytest.approx(900 / 3600)


def test_missing_and_broken_clips_are_all_found(tmp_path: Path) -> None:
    config = layouts.esc50(tmp_path)
    audio = sorted((tmp_path / "audio").iterdir())
    audio[0].unlink()
    audio[4].write_text("no sound")
    soundfile.write(audio[5], np.zeros(1600), 16_000)
    layouts.wav(audio[7], 1.0)
    audio[7].write_bytes(audio[7].read_bytes()[:2000])
    report = inspect(config)
    assert not report.ok
    assert report.missing == (audio[0].name,)
    assert set(report.broken) == {audio[4].name, audio[5].name, audio[7].name}
    assert "truncated" in report.broken[audio[7].name]
    fast = inspect(config, fast=True)
    assert (fast.missing, set(fast.broken), fast.decoded) == (report.missing, {audio[4].name}, False)


def test_what_the_rest_cannot_do_is_told(tmp_path: Path) -> None:
    config = layouts.esc50(tmp_path)
    for path in (tmp_path / "audio").glob("2-*"):
        path.unlink()
    report = inspect(config)
    assert len(report.missing) == 3
    assert [problem.split(":")[0] for problem in report.problems] == [
        "esc50 has no usable val clips",
        "esc50 has no usable test clips",
    ]


def test_a_recording_in_two_folds_is_a_leak_and_no_error(tmp_path: Path) -> None:
    config = layouts.esc50(tmp_path)
    table = tmp_path / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(",1045,", ",1041,"))
    report = inspect(config)
    assert report.leaks == (Leak("1041", ("fold 1", "fold 5"), 2),)
    assert report.ok


def test_a_speaker_in_two_splits_is_refused(tmp_path: Path) -> None:
    config = layouts.fluent_speech_commands(tmp_path)
    table = tmp_path / "fluent_speech_commands_dataset" / "data" / "test_data.csv"
    table.write_text(table.read_text().replace(",g,", ",a,"))
    with pytest.raises(DataError, match="group 'a' is in test and train: keep it on one side"):
        inspect(config)


def test_folds_need_not_start_at_one(tmp_path: Path) -> None:
    rows = [(f"{label}{i}.wav", label, i) for i in (12, 5, 7) for label in "xy"]
    layouts.wavs([tmp_path / name for name, _, _ in rows])
    layouts.table(tmp_path / "manifest.csv", "path,label,fold", [f"{name},{label},{i}" for name, label, i in rows])
    report = inspect(DataConfig("csv", root=str(tmp_path)))
    assert list(report.splits) == ["fold 5", "fold 7", "fold 12"]
    assert report.ok
    assert report.groups == 0


def test_wrong_lists_are_raised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no meta"):
        inspect(DataConfig("esc50", root=str(tmp_path)))


def test_missing_clips_come_with_what_was_meant(tmp_path: Path) -> None:
    config = layouts.esc50(tmp_path)
    audio = sorted((tmp_path / "audio").iterdir())
    there = audio[0].rename(audio[0].with_stem(audio[0].stem.lower()))
    report = inspect(config)
    assert report.missing == (audio[0].name,)
    assert report.near == {audio[0].name: f"audio/{there.name}"}


def _csv(root: Path, rows: list[str], column: str = "split") -> DataConfig:
    """Every clip has sound of its own."""
    for number, row in enumerate(rows):
        soundfile.write(root / row.split(",")[0], np.random.default_rng(number).normal(size=1600) / 10, 16_000)
    layouts.table(root / "manifest.csv", f"path,label,{column}", rows)
    return DataConfig("csv", root=str(root))


def test_the_same_bytes_on_two_sides_are_a_leak(tmp_path: Path) -> None:
    config = _csv(tmp_path, ["a.wav,x,train", "b.wav,y,train", "c.wav,x,val", "d.wav,y,test", "e.wav,y,train"])
    whole = inspect(config)
    assert (whole.doubles, whole.relabelled) == (None, None)
    for copy in "de":
        shutil.copy(tmp_path / "b.wav", tmp_path / f"{copy}.wav")
    report = inspect(config)
    assert report.doubles == Doubles(1, 3, ("b.wav", "d.wav"), ("train", "test"))
    assert report.relabelled is None
    assert report.ok
    assert inspect(config, fast=True).doubles is None


def test_the_same_bytes_in_two_folds_and_under_two_labels(tmp_path: Path) -> None:
    config = _csv(tmp_path, [f"{label}{fold}.wav,{label},{fold}" for fold in (1, 2, 3) for label in "xy"], "fold")
    shutil.copy(tmp_path / "x1.wav", tmp_path / "y2.wav")
    report = inspect(config)
    assert report.doubles == Doubles(1, 2, ("x1.wav", "y2.wav"), ("fold 1", "fold 2"))
    assert report.relabelled == Doubles(1, 2, ("x1.wav", "y2.wav"), ("x", "y"))


def test_cuts_of_one_recording_are_no_doubles(tmp_path: Path) -> None:
    report = inspect(layouts.speech_commands(tmp_path, num_labels=12))
    assert report.doubles.first[0].startswith("down/")  # this set is one noise under many names, but for the silence
    assert report.doubles.clips == 14 * 11


@pytest.mark.parametrize("fast", [False, True])
def test_what_is_no_file_is_told_and_waited_for_by_nobody(tmp_path: Path, fast: bool) -> None:
    config = layouts.folder(tmp_path, clips=12)
    (tmp_path / "cat" / "0.wav").unlink()
    os.mkfifo(tmp_path / "cat" / "0.wav")
    (tmp_path / "cat" / "1.wav").unlink()
    (tmp_path / "cat" / "1.wav").mkdir()
    report = inspect(config, fast=fast)
    assert report.broken["cat/0.wav"] == "it is a pipe, no file: correct the path"
    assert report.broken["cat/1.wav"] == "it is a folder, no file: correct the path"
    assert report.missing == ()


def test_a_length_that_no_header_tells_counts_as_it_is(tmp_path: Path) -> None:
    config = layouts.folder(tmp_path, clips=12)
    content = encode("FLAC", "PCM_16")
    streamed = content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]
    for number in range(12):
        (tmp_path / "cat" / f"{number}.wav").write_bytes(streamed)
    for fast in (False, True):
        report = inspect(config, fast=fast)
        assert report.seconds == 2.0
        assert report.hours == pytest.approx((12 * 2.0 + 12 * 0.1) / 3600)
        assert report.ok


# --- Real audio


def test_the_real_esc50_has_its_known_leak(shared_data: Path) -> None:
    report = inspect(DataConfig("esc50", root=str(shared_data / "esc50")), fast=True)
    assert report.ok
    assert report.leaks == (Leak("131943", ("fold 2", "fold 3"), 2),)
    assert (report.clips, report.official, set(report.labels.values())) == (1000, 2000, {20})
    assert report.warnings == ()


@pytest.mark.slow
def test_the_real_urban_sounds_with_one_broken(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "urbansound8k"
    shutil.copytree(shared_data / "urbansound8k", root, copy_function=shutil.copyfile)
    clips = sorted(root.rglob("*.flac"))
    clips[17].write_bytes(clips[17].read_bytes()[:5000])
    clips[400].unlink()
    report = inspect(DataConfig("urbansound8k", root=str(root)))
    assert list(report.broken) == [clips[17].name]
    assert report.missing == (clips[400].name,)
    assert report.leaks == ()
    assert report.splits == {"fold 1": 200, "fold 2": 200, "fold 10": 200}
