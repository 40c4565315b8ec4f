"""Official layouts, each made small: what is read from them, and the one line that each fault gets."""

import io
import json
import math
import os
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torchaudio.datasets import gtzan as torchaudio_gtzan
from torchaudio.datasets import speechcommands as torchaudio_speech

from astmoa.audio.datasets import DataSet, open_data
from astmoa.audio.layout import LAYOUTS
from astmoa.audio.layout_speech import COMMANDS, WORDS_V1, WORDS_V2
from astmoa.config import DATA_NAMES, DataConfig
from astmoa.errors import DataError
from tests.helpers import layouts

SOURCES = {name: LAYOUTS.find(name).source for name in LAYOUTS.names()}


def _message(config: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        open_data(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _sides(data: DataSet, fold: int = 1) -> dict[str, list[str]]:
    splits = data.splits(fold)
    return {side: [data.clips[i].name for i in getattr(splits, side)] for side in ("train", "val", "test")}


MAKERS = {
    "esc50": layouts.esc50,
    "urbansound8k": layouts.urbansound8k,
    "speech_commands_v1": lambda root: layouts.speech_commands(root, 1),
    "speech_commands_v2": layouts.speech_commands,
    "fluent_speech_commands": layouts.fluent_speech_commands,
    "gtzan": layouts.gtzan,
    "gtzan_folds": lambda root: layouts.gtzan(root, "gtzan_folds"),
    "openmic": layouts.openmic,
    "folder": layouts.folder,
}


@pytest.mark.parametrize(("name", "seconds"), list(zip(MAKERS, [5, 4, 1, 1, 4, 30, 30, 10, 0.1], strict=True)))
def test_every_layout_opens_splits_and_pickles(tmp_path: Path, name: str, seconds: float) -> None:
    data = open_data(MAKERS[name](tmp_path))
    assert data.seconds == pytest.approx(seconds, abs=1e-3)
    assert len({clip.name for clip in data.clips}) == len(data.clips)
    assert all(clip.path.is_file() for clip in data.clips)
    assert data.load(len(data.clips) - 1).numel() in (1600, 3200)
    for fold in data.folds or (1,):
        splits = data.splits(fold)
        used = [*splits.train, *splits.val, *splits.test]
        assert sorted(used) == list(range(len(data.clips)))
        if name not in ("gtzan", "gtzan_folds", "folder"):  # those name no groups
            groups = [{data.clips[i].group for i in side} for side in (splits.train, splits.val, splits.test)]
            assert all(groups)
            assert not groups[0] & groups[1]
            assert not groups[0] & groups[2]
            assert not groups[1] & groups[2]
    assert data.splits().held_out == (name in ("urbansound8k", "gtzan_folds", "openmic", "folder"))
    assert pickle.loads(pickle.dumps(data)).clips == data.clips


@pytest.mark.parametrize("name", MAKERS)
def test_a_missing_clip_is_named_and_can_be_left_out(tmp_path: Path, name: str) -> None:
    config = MAKERS[name](tmp_path)
    before = open_data(config)
    victim = before.clips[3]
    victim.path.unlink()
    if name == "folder":  # its folders are its list
        assert len(open_data(config).clips) == len(before.clips) - 1
        return
    if name.startswith("speech"):  # a train clip is on no list
        victim = next(clip for clip in before.clips if clip.split == "val")
        victim.path.unlink()
    message = _message(config)
    assert "lists a clip that does not exist" in message
    assert str(victim.path) in message
    assert "--skip-bad-clips" in message
    skipped = open_data(DataConfig(name, root=config.root, skip_bad_clips=True))
    assert victim.name in {clip.name for clip in skipped.clips}


@pytest.mark.parametrize("deeper", ["unpacked", "set-main/dataset"])
@pytest.mark.parametrize("name", [name for name in MAKERS if not name.startswith(("speech", "gtzan_"))])
def test_a_set_that_was_unpacked_a_folder_or_two_too_deep_is_found(tmp_path: Path, name: str, deeper: str) -> None:
    config = MAKERS[name](tmp_path / deeper)
    (tmp_path / "__MACOSX").mkdir()  # as archives made on a Mac have it
    (tmp_path / "LICENSE").touch()
    there, found = open_data(config), open_data(DataConfig(name, root=str(tmp_path)))
    assert [(clip.name, clip.path) for clip in found.clips] == [(clip.name, clip.path) for clip in there.clips]
    assert found.labels == there.labels


def test_two_sets_below_are_not_one(tmp_path: Path) -> None:
    for copy in ("one", "two"):
        layouts.esc50(tmp_path / copy)
    message = _message(DataConfig("esc50", root=str(tmp_path)))
    assert f"meta/esc50.csv in {tmp_path}/one, {tmp_path}/two: set data.root to one of them" in message


@pytest.mark.parametrize("name", [name for name in DATA_NAMES if name != "builtin"])
def test_a_folder_that_is_not_there_or_empty_is_one_line(tmp_path: Path, name: str) -> None:
    for root in (tmp_path / "nowhere", tmp_path):
        message = _message(DataConfig(name, root=str(root)))
        assert str(root) in message
        assert "data.root" in message or "make one folder per class" in message
        if SOURCES[name].page != "your own files":
            assert SOURCES[name].page in message
            assert f"astmoa data check {name}" in message
    assert "data.root is not set" in _message(DataConfig(name))


@pytest.mark.parametrize("name", [name for name in DATA_NAMES if name not in ("openmic", "csv")])
def test_a_metric_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    config = MAKERS[name](tmp_path) if name in MAKERS else DataConfig()
    assert open_data(config).metric == "accuracy"
    message = _message(DataConfig(name, root=config.root, metric="mAP"))
    assert "use accuracy or auto" in message


# --- UrbanSound8K


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_urbansound8k_has_ten_folds_and_classes_by_number(tmp_path: Path, suffix: str) -> None:
    data = open_data(layouts.urbansound8k(tmp_path, suffix))
    assert data.labels == ("car_horn", "dog_bark")
    assert data.folds == tuple(range(1, 11))
    splits = data.splits(10)
    assert {data.clips[i].fold for i in splits.test} == {10}
    assert {data.clips[i].fold for i in splits.val} == {1}
    assert data.clips[0].group == "103"


def test_urbansound8k_faults(tmp_path: Path) -> None:
    config = layouts.urbansound8k(tmp_path)
    assert "data.fold=11 does not exist" in _message(DataConfig("urbansound8k", root=config.root, fold=11))
    table = tmp_path / "metadata" / "UrbanSound8K.csv"
    _replace(table, "1,10,3,dog_bark", "1,10,10,dog_bark")
    assert "classID 10 is outside 0 to 9" in _message(config)
    _replace(table, "1,10,10,dog_bark", "1,10,3,dog")
    assert "classID 3 has two names in class" in _message(config)
    _replace(table, "1,10,3,dog\n", "1,10,3,dog_bark\n")
    _replace(table, "car_horn", "dog_bark")
    assert "classID 1 and 3 are both dog_bark" in _message(config)


@pytest.mark.parametrize(("name", "folds"), [("esc50", 5), ("urbansound8k", 10)])
def test_folds_are_the_official_ones(tmp_path: Path, name: str, folds: int) -> None:
    config = MAKERS[name](tmp_path)
    table = next(tmp_path.rglob("*.csv"))
    whole = table.read_text()
    for wrong in (0, folds + 1):
        old, new = (f"wav,{fold},4," if name == "esc50" else f"1,{fold},3," for fold in (folds, wrong))
        table.write_text(whole)
        _replace(table, old, new)
        assert f"fold {wrong} is outside 1 to {folds}: restore" in _message(config)


# --- Speech Commands


def test_the_words_are_those_of_the_versions() -> None:
    assert (len(WORDS_V1), len(WORDS_V2), len(set(WORDS_V2))) == (30, 35, 35)
    assert set(COMMANDS) < set(WORDS_V1) < set(WORDS_V2)


def test_speech_commands_all_words_follow_the_official_lists(tmp_path: Path) -> None:
    config = layouts.speech_commands(tmp_path)
    data = open_data(config)
    assert data.labels == WORDS_V2
    sides = _sides(data)
    assert set(sides["val"]) == set((tmp_path / "validation_list.txt").read_text().split())
    assert set(sides["test"]) == set((tmp_path / "testing_list.txt").read_text().split())
    assert {name: len(side) for name, side in sides.items()} == {"train": 350, "val": 70, "test": 70}
    clip = next(clip for clip in data.clips if clip.name == "yes/0000000a_nohash_0.wav")
    assert (data.labels[clip.label], clip.split, clip.group) == ("yes", "val", "0000000a")
    assert len(open_data(DataConfig(config.name, root=config.root, num_labels=35)).clips) == len(data.clips)


def test_speech_commands_in_torchaudios_folders_and_in_flac(tmp_path: Path) -> None:
    layouts.speech_commands(tmp_path / "SpeechCommands" / "speech_commands_v0.02")
    config = DataConfig("speech_commands_v2", root=str(tmp_path))
    before = _sides(open_data(config))
    for path in tmp_path.rglob("*_nohash_*.wav"):
        path.rename(path.with_suffix(".flac"))
    after = _sides(open_data(config))
    assert {side: {name.replace(".flac", ".wav") for name in names} for side, names in after.items()} == {
        side: set(names) for side, names in before.items()
    }


def test_ten_labels_are_the_commands_alone(tmp_path: Path) -> None:
    data = open_data(layouts.speech_commands(tmp_path, 1, num_labels=10))
    assert data.labels == COMMANDS
    assert len(data.clips) == 140
    assert {clip.name.split("/")[0] == data.labels[clip.label] for clip in data.clips} == {True}


def test_twelve_labels_add_unknown_and_silence(tmp_path: Path) -> None:
    config = layouts.speech_commands(tmp_path, num_labels=12)
    data = open_data(config)
    assert data.labels == (*COMMANDS, "unknown", "silence")
    for indices, commands in zip(_indices(data), (100, 20, 20), strict=True):
        counts = Counter(data.labels[data.clips[i].label] for i in indices)
        assert counts["unknown"] == counts["silence"] == math.ceil(commands / 10)
        assert sum(counts[word] for word in COMMANDS) == commands
    unknown = [clip for clip in data.clips if clip.label == 10]
    assert not {clip.name.split("/")[0] for clip in unknown} & set(COMMANDS)
    again = open_data(config)
    assert again.clips == data.clips
    everything = {clip.name: clip for clip in open_data(DataConfig(config.name, root=config.root)).clips}
    assert all(everything[clip.name].split == clip.split for clip in data.clips if clip.label != 11)


def _indices(data: DataSet) -> list[np.ndarray]:
    splits = data.splits()
    return [splits.train, splits.val, splits.test]


def test_silence_is_a_second_of_noise_and_no_split_shares_any(tmp_path: Path) -> None:
    data = open_data(layouts.speech_commands(tmp_path, num_labels=12))
    parts = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
    seen = 0
    for index, clip in enumerate(data.clips):
        if clip.label != 11:
            continue
        seen += 1
        start, end = clip.span
        samples, _ = soundfile.read(clip.path, dtype="float32")
        low, high = (part * len(samples) / 16_000 for part in parts[clip.split])
        assert low <= start < end <= high
        got = data.load(index).numpy()
        first = round(start * 16_000)
        np.testing.assert_allclose(got, samples[first : first + 16_000], atol=1e-6)
        assert clip.group is None
    assert seen == 14
    assert len({clip.span for clip in data.clips if clip.label == 11}) == 14


@pytest.mark.parametrize("samples", [160_304, 160_322, 163_337, 200_001])
def test_no_cut_of_silence_reaches_into_another_part(tmp_path: Path, samples: int) -> None:
    config = layouts.speech_commands(tmp_path, num_labels=12)
    for path in (tmp_path / "_background_noise_").glob("*.wav"):
        layouts.wav(path, samples / 16_000)
    parts = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
    spans = [(clip.split, clip.span) for clip in open_data(config).clips if clip.label == 11]
    assert len(spans) == 14
    for split, (start, end) in spans:
        low, high = (part * samples / 16_000 for part in parts[split])
        assert low <= start
        assert end <= high


def test_one_version_taken_for_the_other(tmp_path: Path) -> None:
    layouts.speech_commands(tmp_path / "one", 1)
    layouts.speech_commands(tmp_path / "two", 2)
    message = _message(DataConfig("speech_commands_v2", root=str(tmp_path / "one")))
    assert "is version 1" in message
    assert "--data speech_commands_v1" in message
    message = _message(DataConfig("speech_commands_v1", root=str(tmp_path / "two")))
    assert "is version 2" in message
    assert "--data speech_commands_v2" in message


def test_speech_commands_faults(tmp_path: Path) -> None:
    config = layouts.speech_commands(tmp_path, num_labels=12)
    lists = tmp_path / "validation_list.txt"
    whole = lists.read_text()
    lists.write_text(whole + "bed/0000000d_nohash_0.wav\n")
    assert "bed/0000000d_nohash_0.wav is in both lists" in _message(config)
    lists.write_text(whole + "sesame/0000000d_nohash_0.wav\n")
    assert "whose word is none of the 35" in _message(config)
    lists.write_text("\n")
    assert "validation_list.txt lists no clips: restore it" in _message(config)
    lists.write_text(whole)
    (tmp_path / "testing_list.txt").rename(tmp_path / "kept.txt")
    (tmp_path / "testing_list.txt").touch()
    assert "testing_list.txt lists no clips: restore it" in _message(config)
    (tmp_path / "kept.txt").rename(tmp_path / "testing_list.txt")
    lists.unlink()
    assert "validation_list.txt cannot be read" in _message(config)
    lists.write_text(whole)
    layouts.wav(tmp_path / "bed" / "00000001_nohash_0.flac")
    assert "clips in two formats" in _message(config)
    (tmp_path / "bed" / "00000001_nohash_0.flac").unlink()
    (tmp_path / "sesame").mkdir()
    assert "has sesame, no word of speech_commands_v2" in _message(config)
    (tmp_path / "sesame").rmdir()
    (tmp_path / "bed").rename(tmp_path / ".bed")
    assert "has no folder bed" in _message(config)
    (tmp_path / ".bed").rename(tmp_path / "bed")
    layouts.wav(tmp_path / "_background_noise_" / "pink_noise.wav", 5.0)
    layouts.wav(tmp_path / "_background_noise_" / "running_tap.wav", 5.0)
    assert "no recording of 10.1 s or more" in _message(config)
    (tmp_path / "_background_noise_" / "pink_noise.wav").write_text("no sound")
    assert "pink_noise.wav is not readable" in _message(config)


# --- Fluent Speech Commands


def test_fluent_speech_commands_are_intents_by_speaker(tmp_path: Path) -> None:
    config = layouts.fluent_speech_commands(tmp_path)
    inside = DataConfig(config.name, root=str(tmp_path / "fluent_speech_commands_dataset"))
    for data in (open_data(config), open_data(inside)):
        assert data.labels == ("activate lights kitchen", "bring juice none", "change language none none")
        assert {side: len(names) for side, names in _sides(data).items()} == {"train": 12, "val": 6, "test": 6}
        assert data.clips[0].group == "a"
        assert data.labels[data.clips[0].label] == "activate lights kitchen"


def test_fluent_speech_commands_faults(tmp_path: Path) -> None:
    config = layouts.fluent_speech_commands(tmp_path)
    folder = tmp_path / "fluent_speech_commands_dataset" / "data"
    _replace(folder / "test_data.csv", "bring,juice,none", "bring,shoes,none")
    assert "intent 'bring shoes none' of wavs/speakers/g/test-g-2.wav is not in train: restore" in _message(config)
    _replace(folder / "test_data.csv", "bring,shoes,none", "bring,juice,none")
    _replace(folder / "test_data.csv", ",g,", ",a,")
    assert "group 'a' is in test and train" in _message(config)
    (folder / "test_data.csv").unlink()
    assert "test_data.csv does not exist" in _message(config)
    (folder / "test_data.csv").write_text(",path,speakerId,transcription,action,object,location\n")
    assert "lists no clips" in _message(config)
    (folder / "test_data.csv").write_text("path,speakerId,action,object\nx,y,z,a\n")
    assert "no column location" in _message(config)


# --- GTZAN


@pytest.mark.parametrize(("below", "suffix"), [("genres", "wav"), ("genres_original", "au"), ("", "flac")])
def test_gtzan_is_the_fault_filtered_split(tmp_path: Path, below: str, suffix: str) -> None:
    data = open_data(layouts.gtzan(tmp_path, below=below, suffix=suffix))
    assert data.labels == tuple(torchaudio_gtzan.gtzan_genres)
    sides = _sides(data)
    assert sides["train"] == torchaudio_gtzan.filtered_train
    assert sides["val"] == torchaudio_gtzan.filtered_valid
    assert sides["test"] == torchaudio_gtzan.filtered_test
    assert all(clip.name.startswith(data.labels[clip.label]) for clip in data.clips)


def test_gtzan_folds_are_stratified_and_use_every_clip(tmp_path: Path) -> None:
    config = layouts.gtzan(tmp_path, "gtzan_folds")
    data = open_data(config)
    assert len(data.clips) == 1000
    counts = Counter((clip.fold, clip.label) for clip in data.clips)
    assert set(counts.values()) == {10}
    assert len(counts) == 100
    numbers = np.array([int(clip.name[-5:]) for clip in data.clips if clip.fold == 1])
    assert numbers.min() < 20
    assert numbers.max() >= 80  # from everywhere: neighbours in the list are often pieces of one album
    assert [clip.fold for clip in open_data(config).clips] == [clip.fold for clip in data.clips]


def test_gtzan_faults(tmp_path: Path) -> None:
    config = layouts.gtzan(tmp_path)
    layouts.wav(tmp_path / "genres" / "polka" / "polka.00000.wav")
    assert "has polka, no genre of GTZAN" in _message(config)
    (tmp_path / "genres" / "polka").rename(tmp_path / "polka")
    (tmp_path / "genres" / "rock").rename(tmp_path / "rock")
    assert "has no folder rock" in _message(config)


# --- OpenMIC


@pytest.mark.parametrize("as_objects", [True, False])
def test_openmic_has_several_labels_with_gaps(tmp_path: Path, as_objects: bool) -> None:
    data = open_data(layouts.openmic(tmp_path, as_objects=as_objects))
    assert (data.labels, data.metric, data.multi_label) == (layouts.INSTRUMENTS, "mAP", True)
    assert data.targets.shape == (60, 3)
    assert data.targets.dtype == np.float32
    for index, clip in enumerate(data.clips):
        number = int(clip.name[3:6])
        expected = np.full(3, np.nan, dtype=np.float32)
        expected[number % 3], expected[(number + 1) % 3] = float(number // 3 % 2 == 0), 0.0
        np.testing.assert_array_equal(data.targets[index], expected)
        assert (clip.label, clip.group) == (-1, clip.name.split("_")[0])
    sides = _sides(data)
    assert set(sides["test"]) == set((tmp_path / "partitions" / "split01_test.csv").read_text().split())
    assert 4 <= len(sides["val"]) <= 7
    assert data.splits().held_out
    held = data.targets[data.splits().val]
    assert (np.nansum(held == 1, axis=0) >= 1).all()
    assert (np.nansum(held == 0, axis=0) >= 1).all()


def test_openmic_faults(tmp_path: Path) -> None:
    config = layouts.openmic(tmp_path)
    assert "use mAP or auto" in _message(DataConfig("openmic", root=config.root, metric="accuracy"))
    test = tmp_path / "partitions" / "split01_test.csv"
    whole = test.read_text()
    test.write_text(whole + "000099_3840\n")
    assert "lists 000099_3840, which openmic-2018.npz does not" in _message(config)
    test.write_text(whole + "002029_3840\n")
    assert "002029_3840 is in train and test" in _message(config)
    test.write_text("\n".join(whole.split()[1:]))
    assert "puts 000000_3840 into neither train nor test" in _message(config)
    test.unlink()
    assert "split01_test.csv cannot be read" in _message(config)
    test.write_text(whole)
    (tmp_path / "class-map.json").write_text(json.dumps({"accordion": 0, "banjo": 2}))
    assert "does not number its 2 classes from 0 on" in _message(config)
    (tmp_path / "class-map.json").write_text(json.dumps({"accordion": 0, "banjo": 1}))
    assert "targets of shape (60, 3) for 60 keys, class-map.json 2 classes" in _message(config)
    (tmp_path / "class-map.json").write_text("[]]")
    assert "class-map.json cannot be read" in _message(config)


def test_openmic_class_that_train_never_has(tmp_path: Path) -> None:
    config = layouts.openmic(tmp_path)
    arrays = dict(np.load(tmp_path / "openmic-2018.npz", allow_pickle=True))
    arrays["Y_true"][15:, 1] = 0.3  # asked for, never there
    np.savez(tmp_path / "openmic-2018.npz", **arrays)
    assert "no train clip of banjo" in _message(config)


def test_openmics_keys_may_be_pickled_for_python_2(tmp_path: Path) -> None:
    config = layouts.openmic(tmp_path)
    before = [clip.name for clip in open_data(config).clips]
    layouts.openmic_keys(tmp_path)
    assert b"_codecs" in (tmp_path / "openmic-2018.npz").read_bytes()
    assert [clip.name for clip in open_data(config).clips] == before


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00bX\x03\x00\x00\x00zip\x86R.", "it encodes as 'zip'"),
        (b"\x80\x02c_codecs\ndecode\nX\x01\x00\x00\x00bX\x06\x00\x00\x00latin1\x86R.", "it names _codecs.decode"),
        (
            b"\x80\x02}" + b"K\x01}" * 100_000 + b"s" * 100_000 + b".",
            "cannot be read (maximum recursion",
        ),  # a deep dict
    ],
)
def test_openmics_keys_that_are_something_else(tmp_path: Path, pickled: bytes, words: str) -> None:
    config = layouts.openmic(tmp_path)
    layouts.openmic_keys(tmp_path, pickled)
    assert words in _message(config)


def test_openmics_header_that_promises_more_than_fits(tmp_path: Path) -> None:
    config = layouts.openmic(tmp_path)
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(tmp_path / "openmic-2018.npz", "w") as file:
        file.writestr("Y_true.npy", stream.getvalue())
    assert "openmic-2018.npz cannot be read" in _message(config)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_openmics_relevance_is_in_0_to_1_where_it_is_labelled(tmp_path: Path, value: float) -> None:
    config = layouts.openmic(tmp_path)
    relevance = np.load(tmp_path / "openmic-2018.npz", allow_pickle=True)["Y_true"]
    relevance[4, 0] = value  # nobody labelled that
    layouts.openmic_arrays(tmp_path, Y_true=relevance)
    open_data(config)
    relevance[4, 1] = value
    layouts.openmic_arrays(tmp_path, Y_true=relevance)
    assert f"the relevance of banjo in 000004_3840 is {value:g}, not in 0 to 1" in _message(config)


class _Harm:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_openmics_pickled_keys_cannot_run_anything(tmp_path: Path) -> None:
    config = layouts.openmic(tmp_path)
    arrays = dict(np.load(tmp_path / "openmic-2018.npz", allow_pickle=True))
    arrays["sample_key"] = np.array([_Harm(tmp_path / "harmed")] * 60, dtype=object)
    np.savez(tmp_path / "openmic-2018.npz", **arrays)
    assert "which no list of clips needs" in _message(config)
    assert not (tmp_path / "harmed").exists()
    (tmp_path / "openmic-2018.npz").write_bytes(b"PK\x03\x04 cut")
    assert "openmic-2018.npz cannot be read" in _message(config)


# --- One folder per class


def test_folders_are_divided_eighty_ten_ten_per_class(tmp_path: Path) -> None:
    config = layouts.folder(tmp_path, clips=20)
    layouts.wavs([tmp_path / "owl" / f"{i}.wav" for i in range(3)])
    data = open_data(config)
    assert data.labels == ("cat", "dog", "owl")
    assert data.name == tmp_path.name
    for indices, expected in zip(_indices(data), ((16, 16, 1), (2, 2, 1), (2, 2, 1)), strict=True):
        counts = Counter(data.clips[i].label for i in indices)
        assert tuple(counts[label] for label in range(3)) == expected
    assert _sides(open_data(config)) == _sides(data)
    assert data.splits().held_out
    layouts.wav(tmp_path / "cat" / "new.wav")
    after = _sides(open_data(config))
    for side, names in _sides(data).items():
        assert len(set(names) - set(after[side])) <= 1


@pytest.mark.parametrize(("split_folders", "held_out"), [(("train", "val", "test"), False), (("Train", "test"), True)])
def test_folders_named_after_splits_are_the_splits(
    tmp_path: Path, split_folders: tuple[str, ...], held_out: bool
) -> None:
    data = open_data(layouts.folder(tmp_path, split_folders))
    assert data.labels == ("cat", "dog")
    sides = _sides(data)
    assert {name.split("/")[0] for name in sides["test"]} == {"test"}
    assert {name.split("/")[0] for name in sides["train"]} == {split_folders[0]}
    assert {name.split("/")[0] for name in sides["val"]} == ({split_folders[0]} if held_out else {"val"})
    assert data.splits().held_out is held_out


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    layouts.wavs([tmp_path / label / f"{i}.wav" for label in ("plane", "train") for i in range(5)])
    assert open_data(DataConfig("folder", root=str(tmp_path))).labels == ("plane", "train")


def test_folder_faults(tmp_path: Path) -> None:
    config = layouts.folder(tmp_path / "divided", ("train", "test"))
    layouts.wav(tmp_path / "divided" / "more" / "cat" / "0.wav")
    assert "more is beside train and test" in _message(config)
    config = layouts.folder(tmp_path / "strange", ("train", "val", "test"))
    layouts.wav(tmp_path / "strange" / "test" / "owl" / "0.wav")
    assert "train has no owl" in _message(config)
    config = layouts.folder(tmp_path / "half", ("train", "val"))
    assert "no usable test clips" in _message(config)
    config = layouts.folder(tmp_path / "few", clips=2)
    assert "has 2 clips: give at least 3" in _message(config)
    config = layouts.folder(tmp_path / "empty")
    (tmp_path / "empty" / "owl").mkdir()
    (tmp_path / "empty" / "owl" / "notes.txt").write_text("hoo")
    assert "owl has no sound files" in _message(config)
    config = DataConfig("folder", root=str(tmp_path / "one"))
    layouts.wavs([tmp_path / "one" / "cat" / f"{i}.wav" for i in range(5)])
    assert "one has one class, cat: nothing to tell apart" in _message(config)


@pytest.mark.parametrize("divided", [(), ("train", "val", "test")])
def test_clips_below_a_class_are_not_passed_over(tmp_path: Path, divided: tuple[str, ...]) -> None:
    config = layouts.folder(tmp_path, divided)
    cats = tmp_path.joinpath(*divided[:1], "cat")
    (cats / "notes").mkdir()
    (cats / "notes" / "read.txt").write_text("no sound")
    open_data(config)
    layouts.wav(cats / "session" / "2" / "0.wav")
    message = _message(config)
    assert str(cats / "session" / "2") in message
    assert f"move them into {cats}, or use --data csv" in message


def test_formats_that_cannot_be_decoded_are_not_passed_over(tmp_path: Path) -> None:
    config = layouts.folder(tmp_path)
    (tmp_path / "cat" / "phone.m4a").write_bytes(b"\0" * 100)
    data = open_data(config)
    index = [clip.name for clip in data.clips].index("cat/phone.m4a")
    with pytest.raises(DataError, match="convert it to WAV"):
        data.load(index)
    (tmp_path / "cat" / "._0.wav").write_bytes(b"mac")
    assert len(open_data(config).clips) == len(data.clips)


# --- Where they come from


def test_checksums_are_those_of_torchaudio() -> None:
    known = torchaudio_speech._CHECKSUMS
    for version in (1, 2):
        download = SOURCES[f"speech_commands_v{version}"].download
        name = download.url.rpartition("/")[2]
        assert download.checksum == "sha256:" + known[f"http://download.tensorflow.org/data/{name}"]


def test_every_data_set_says_where_it_comes_from() -> None:
    assert set(SOURCES) == set(DATA_NAMES)
    for source in SOURCES.values():
        assert source.layout
        assert source.licence
        assert source.download or source.by_hand


def test_classes_a_folder_too_deep_beside_another_folder(tmp_path: Path) -> None:
    layouts.folder(tmp_path / "dataset")
    (tmp_path / "docs").mkdir()
    layouts.wav(tmp_path / "docs" / "example.wav")
    message = _message(DataConfig("folder", root=str(tmp_path)))
    assert f"dataset/cat has clips below class dataset: set data.root to {tmp_path}/dataset if its folders" in message


def test_clips_below_a_class_that_has_some_itself(tmp_path: Path) -> None:
    config = layouts.folder(tmp_path)
    layouts.wav(tmp_path / "cat" / "deeper" / "x.wav")
    assert f"clips below class cat: move them into {tmp_path}/cat, or use --data csv" in _message(config)


def test_classes_of_folders_that_differ_only_in_case(tmp_path: Path) -> None:
    config = layouts.folder(tmp_path)
    layouts.wavs([tmp_path / "Dog" / f"{i}.wav" for i in range(3)])
    (warning,) = open_data(config).warnings
    assert "classes 'Dog' (3 clips) and 'dog' (10 clips) differ only in case" in warning


def test_labels_that_are_none_are_refused_in_folders(tmp_path: Path) -> None:
    config = layouts.folder(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "c\x1bat")
    assert "the label c\\x1bat has a control character in it" in _message(config)


def test_names_that_are_not_utf_8_in_folders_and_lists(tmp_path: Path) -> None:
    odd = os.fsdecode(b"clip\xe9.wav")
    config = layouts.folder(tmp_path / "folder", clips=12)
    (tmp_path / "folder" / "cat" / "0.wav").rename(tmp_path / "folder" / "cat" / odd)
    data = open_data(config)
    assert f"cat/{odd}" in {clip.name for clip in data.clips}
    assert len(data.splits().test) == 2
    folder = tmp_path / "list"
    layouts.wavs([folder / f"{i}.wav" for i in range(3)])
    (folder / "0.wav").rename(folder / odd)
    rows = [f"{odd},a,train", "1.wav,b,train", "2.wav,a,val", "./1.wav,a,test"][:3]
    layouts.wav(folder / "3.wav")
    text = "\n".join(["path,label,split", *rows, "3.wav,a,test"])
    (folder / "manifest.csv").write_bytes(os.fsencode(text))
    data = open_data(DataConfig("csv", root=str(folder)))
    assert data.clips[0].name == odd
    assert data.load(0).numel() == 1600
