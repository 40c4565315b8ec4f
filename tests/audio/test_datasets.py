"""Lists of clips, labels and splits: ESC-50, manifests, holding out; and what is said about a list that is wrong."""

import csv
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.audio.datasets import Clip, DataSet, open_data
from astmoa.audio.splits import Splits
from astmoa.config import DataConfig
from astmoa.errors import ClipError, DataError
from tests.helpers import layouts


def _manifest(root: Path, header: str, rows: list[str]) -> DataConfig:
    for row in rows:
        layouts.wav(root / row.split(",")[0])
    layouts.table(root / "manifest.csv", header, rows)
    return DataConfig("csv", root=str(root))


def _message(config: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        open_data(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _names(data: DataSet, splits: Splits) -> tuple[list[str], list[str], list[str]]:
    return tuple([data.clips[i].name for i in side] for side in (splits.train, splits.val, splits.test))


# --- ESC-50


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_esc50_layout_rotates_five_folds(tmp_path: Path, suffix: str) -> None:
    data = open_data(layouts.esc50(tmp_path, suffix))
    assert data.labels == ("frog", "thunder", "vacuum")  # in the order of their targets
    assert (data.seconds, data.folds, len(data.clips)) == (5.0, (1, 2, 3, 4, 5), 15)
    assert data.load(0).numel() == 1600
    for fold in range(1, 6):
        splits = data.splits(fold)
        sides = [{data.clips[i].fold for i in side} for side in (splits.train, splits.val, splits.test)]
        assert sides[2] == {fold}
        assert sides[1] == {fold % 5 + 1}
        assert sides[0] == {1, 2, 3, 4, 5} - sides[1] - sides[2]
        assert all(side.dtype == np.int64 for side in (splits.train, splits.val, splits.test))
    assert data.clips[1].group == "1041"


def test_esc50_errors(tmp_path: Path) -> None:
    assert "github.com/karolpiczak/ESC-50" in _message(DataConfig("esc50", root=str(tmp_path / "nowhere")))
    assert "data.root" in _message(DataConfig("esc50"))
    config = layouts.esc50(tmp_path)
    assert "data.fold=6 does not exist" in _message(DataConfig("esc50", root=config.root, fold=6))
    for path in sorted((tmp_path / "audio").glob("1-*")):
        path.unlink()
    assert "3 clips that do not exist" in _message(config)
    assert "1-10361-A-36.wav" in _message(config)
    data = open_data(DataConfig("esc50", root=config.root, skip_bad_clips=True))
    with pytest.raises(ClipError, match=r"1-10361-A-36\.wav: no such file"):
        data.load(0)
    table = tmp_path / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("category", "kind"))
    assert "no column category" in _message(config)


def test_esc50_target_with_two_categories(tmp_path: Path) -> None:
    config = layouts.esc50(tmp_path)
    table = tmp_path / "meta" / "esc50.csv"
    whole = table.read_text()
    table.write_text(whole.replace("5,4,frog", "5,4,toad"))
    assert "target 4 has two names in category" in _message(config)
    table.write_text(whole.replace("frog", "thunder"))
    assert "target 4 and 19 are both thunder: restore the official file" in _message(config)


# --- CSV manifests


def test_csv_with_named_splits(tmp_path: Path) -> None:
    rows = ["t0.wav,dog,train", "t1.wav,cat,Train", "v.wav,cat,validation", "w.wav,dog,valid", "sub/e.wav,dog,test"]
    config = _manifest(tmp_path / "mine", "path,label,split", rows)
    for root in (config.root, config.root + "/manifest.csv"):
        data = open_data(DataConfig("csv", root=root, fold=3))  # a fold means nothing here
        assert (data.name, data.labels, data.folds) == ("mine", ("cat", "dog"), ())
        got = _names(data, data.splits(3))
        assert got == (["t0.wav", "t1.wav"], ["v.wav", "w.wav"], ["sub/e.wav"])
    assert data.load(4).numel() == 1600


def test_csv_folds_are_cyclic_in_their_sorted_order(tmp_path: Path) -> None:
    rows = [f"{fold}{label}.wav,{label},{fold}" for fold in (10, 2, 5, 7) for label in "ab"]
    data = open_data(DataConfig("csv", root=_manifest(tmp_path, "path,label,fold", rows).root, fold=5))
    assert data.folds == (2, 5, 7, 10)
    for test, val in ((2, 5), (5, 7), (7, 10), (10, 2)):
        splits = data.splits(test)
        assert {data.clips[i].fold for i in splits.test} == {test}
        assert {data.clips[i].fold for i in splits.val} == {val}
        assert len(splits.train) == 4


def test_split_counts_where_both_columns_are_there(tmp_path: Path) -> None:
    rows = ["a.wav,x,train,1", "b.wav,y,train,1", "c.wav,x,val,1", "d.wav,x,test,1"]
    data = open_data(_manifest(tmp_path, "path,label,split,fold", rows))
    assert _names(data, data.splits()) == (["a.wav", "b.wav"], ["c.wav"], ["d.wav"])


def test_labels_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = [f"{split}{n}.wav,{n},{split}" for n in (10, 9, 100) for split in ("train", "val", "test")]
    assert open_data(_manifest(tmp_path, "path,label,split", rows)).labels == ("9", "10", "100")


def test_default_seconds_are_the_longest_clip_up_to_ten(tmp_path: Path) -> None:
    rows = ["a.wav,x,train", "b.wav,x,val", "c.wav,x,test", "d.wav,y,train"]
    config = _manifest(tmp_path, "path,label,split", rows)
    assert open_data(config).seconds == pytest.approx(0.1)
    layouts.wav(tmp_path / "b.wav", 1.5)
    (tmp_path / "a.wav").write_text("no sound")  # found out when it is decoded
    assert open_data(config).seconds == 1.5
    layouts.wav(tmp_path / "c.wav", 11)
    assert open_data(config).seconds == 10.0
    assert open_data(DataConfig("csv", root=config.root, seconds=0.75)).load(2).numel() == 12_000


def test_csv_that_is_quoted_and_starts_with_a_byte_order_mark(tmp_path: Path) -> None:
    sides = {"a": "train", "b": "val", "c": "test", "d": "train"}
    for name in sides:
        layouts.wav(tmp_path / f"{name}, ü.wav")
    rows = [[f"{name}, ü.wav", "z" if name == "d" else "x, y", split] for name, split in sides.items()]
    with open(tmp_path / "manifest.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["path", "label", "split"], *rows])
    data = open_data(DataConfig("csv", root=str(tmp_path)))
    assert data.labels == ("x, y", "z")
    assert data.load(2).numel() == 1600


def test_space_around_labels_and_groups_does_not_count(tmp_path: Path) -> None:
    rows = ["a.wav,dog ,train,ann", "b.wav, dog,val,bob", "c.wav,cat,train, ann", "d.wav,dog,test, "]
    data = open_data(_manifest(tmp_path, "path,label,split,group", rows))
    assert data.labels == ("cat", "dog")
    assert [clip.label for clip in data.clips] == [1, 1, 0, 1]
    assert [clip.group for clip in data.clips] == ["ann", "bob", "ann", None]


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("path,split", ["a.wav,train"], "no column label"),
        ("path,label", ["a.wav,x"], "no column split or fold"),
        ("path,label,split", [], "lists no clips"),
        ("path,label,split", ["a.wav,,train"], "line 2 has no label"),
        ("path,label,split", ["a.wav, ,train"], "line 2 has no label"),
        ("path,label,split", ["a.wav,x,train", "b.wav,x ,test"], "has one class, x: nothing to tell apart"),
        ("path,label,split", ["a.wav,x,train", "./a.wav,y,test"], "a.wav and ./a.wav, which are one file"),
        ("path,label,split", ["a.wav,x,train", "b/../a.wav,y,test"], "a.wav and b/../a.wav, which are one file"),
        ("path,label,split", ["a.wav,x,train", "b.wav,x,"], "line 3 has no split"),
        ("path,label,split", ["a.wav,x,dev"], "split 'dev' of a.wav is unknown"),
        ("path,label,fold", ["a.wav,x,one"], "fold 'one' is no whole number"),
        ("path,label,fold", ["a.wav,x,1", "b.wav,y,2"], "has 2 folds"),
        ("path,label,split", ["a.wav,x,train", "a.wav,x,test"], "a.wav more than once"),
        ("path,label,split", ["a.wav,x,train", "b.wav,y,val"], "no usable test clips"),
        ("path,label,split", ["a.wav,x,test", "b.wav,y,test"], "no usable train clips"),
        ("path,label,split", ["a.wav,x,train", "b.wav,y,val", "c.wav,z,test"], "no train clip of y, z"),
        ("path,label,split", ["a.wav,x,train", "b.wav,y,test"], "no part of train can be held out"),
        ("path,label,split,group", ["a.wav,x,train,ann", "b.wav,x,test,ann"], "group 'ann' is in test and train"),
        ("path,label,fold,group", [f"{i}.wav,x,{i},{i // 2}" for i in (1, 2, 3)], "group '1' is in fold 2 and fold 3"),
    ],
)
def test_csv_errors_are_one_line(tmp_path: Path, header: str, rows: list[str], words: str) -> None:
    assert words in _message(_manifest(tmp_path, header, rows))


def test_csv_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert "does not exist" in _message(DataConfig("csv", root=str(tmp_path / "nowhere")))
    (tmp_path / "manifest.csv").write_bytes(b"path,label,split\n\xff\xfe.wav,x,train\n")
    assert "UTF-8" in _message(DataConfig("csv", root=str(tmp_path)))


def test_missing_files_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    rows = [f"{i}.wav,{'xy'[i % 2]},{split}" for i, split in enumerate(["train"] * 6 + ["val", "test"])]
    config = _manifest(tmp_path, "path,label,split", rows)
    for i in range(5):
        (tmp_path / f"{i}.wav").unlink()
    message = _message(config)
    assert "5 clips" in message
    assert "0.wav" in message
    assert "and 2 more" in message
    assert "--skip-bad-clips" in message
    assert len(open_data(DataConfig("csv", root=config.root, skip_bad_clips=True)).clips) == 8


def test_a_missing_file_comes_with_the_one_that_was_meant(tmp_path: Path) -> None:
    rows = ["a.wav,x,train", "b.wav,y,train", "c.wav,x,val", "d.wav,y,test"]
    config = _manifest(tmp_path, "path,label,split", rows)
    table = tmp_path / "manifest.csv"
    table.write_text(table.read_text().replace("b.wav", "sub\\\\B.WAV "))
    assert "sub\\\\B.WAV  (b.wav is there)" in _message(config)
    table.write_text(table.read_text().replace(".wav", ".flac"))
    skipping = DataConfig("csv", root=config.root, skip_bad_clips=True)
    assert "none of the 4 listed clips exists" in _message(skipping)  # nothing is said of unreadable audio
    assert "a.flac (a.wav is there)" in _message(skipping)


def test_a_manifest_a_folder_too_deep_is_pointed_at(tmp_path: Path) -> None:
    _manifest(tmp_path / "set", "path,label,split", ["a.wav,x,train"])
    message = _message(DataConfig("csv", root=str(tmp_path)))
    assert f"manifest.csv does not exist, but there is one in {tmp_path}/set: set data.root to that folder" in message


def test_a_manifest_that_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "manifest.csv", tmp_path / "other.csv"):
        os.mkfifo(path)
    assert "it is a pipe, no file" in _message(DataConfig("csv", root=str(tmp_path)))
    assert "it is a pipe, no file" in _message(DataConfig("csv", root=str(tmp_path / "other.csv")))


def test_doubtful_classes_and_groups_are_warned_of(tmp_path: Path) -> None:
    rows = ["a.wav,Dog,train,ann", "b.wav,dog,train,Ann", "c.wav,dog,val,bob", "d.wav,dog,test,eve"]
    data = open_data(_manifest(tmp_path, "path,label,split,group", rows))
    classes, groups = data.warnings
    assert "classes 'Dog' (1 clip, first in line 2) and 'dog' (3 clips, first in line 3) differ only in case" in classes
    assert "groups 'ann' (1 clip) and 'Ann' (1 clip) differ only in case" in groups


def test_a_data_set_can_be_pickled(tmp_path: Path) -> None:
    for config in (DataConfig(), layouts.esc50(tmp_path)):
        data = open_data(config)
        again = pickle.loads(pickle.dumps(data))
        assert again.clips == data.clips
        np.testing.assert_array_equal(again.load(3), data.load(3))


# --- Leaving clips out and holding clips out


def _data(clips: list[Clip], targets: np.ndarray | None = None) -> DataSet:
    classes = max(clip.label for clip in clips) + 1 if targets is None else targets.shape[1]
    labels = tuple(str(label) for label in range(classes))
    return DataSet("drawn", labels, tuple(clips), 1.0, lambda index: None, targets=targets)


def test_left_out_clips_are_on_no_side(tmp_path: Path) -> None:
    data = open_data(layouts.esc50(tmp_path))
    whole, rest = data.splits(2), data.splits(2, leave_out={0: "bad", 3: "bad", 6: "bad"})
    for before, after in ((whole.train, rest.train), (whole.val, rest.val), (whole.test, rest.test)):
        np.testing.assert_array_equal(after, [i for i in before if i not in (0, 3, 6)])
    with pytest.raises(DataError, match="no train clip of vacuum"):
        data.splits(2, leave_out=[i for i, clip in enumerate(data.clips) if clip.label == 2 and clip.fold in (1, 4, 5)])
    with pytest.raises(DataError, match="no usable test clips"):
        data.splits(2, leave_out=whole.test)
    with pytest.raises(DataError, match="no usable val clips"):
        data.splits(2, leave_out=whole.val)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda counts: max(counts) > 1))
@settings(max_examples=50)
def test_a_stratified_tenth_is_held_out(counts: list[int]) -> None:
    clips = [Clip(f"{c}-{i}", c, split="train") for c, count in enumerate(counts) for i in range(count)]
    data = _data([*clips, Clip("test", 0, split="test")])
    splits = data.splits()
    held = Counter(data.clips[i].label for i in splits.val)
    for label, count in enumerate(counts):
        assert held[label] == (max(1, round(count / 10)) if count >= 2 else 0)
    assert sorted([*splits.train, *splits.val]) == list(range(len(clips)))


def test_what_is_held_out_depends_on_names_alone() -> None:
    clips = [Clip(f"{i}", i % 3, split="train") for i in range(90)] + [Clip("test", 0, split="test")]
    data, turned = _data(clips), _data(clips[::-1])
    first, other = data.splits(), turned.splits()
    assert set(_names(data, first)[1]) == set(_names(turned, other)[1])
    left = data.splits(leave_out=first.train[:5])
    np.testing.assert_array_equal(left.val, first.val)
    held = np.array([int(data.clips[i].name) for i in first.val])
    assert held.min() < 45 < held.max()  # from anywhere, not the head or the tail of the list


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=30, max_size=120))
@settings(max_examples=100)
def test_groups_are_held_out_whole_and_no_class_with_them(drawn: list[tuple[int, int]]) -> None:
    clips = [Clip(str(i), label, split="train", group=f"g{group}") for i, (label, group) in enumerate(drawn)]
    present = sorted({clip.label for clip in clips})
    clips = [Clip(c.name, present.index(c.label), split="train", group=c.group) for c in clips]
    data = _data([*clips, Clip("test", 0, split="test")])
    everything = {clip.label for clip in clips}
    if all(everything != {c.label for c in clips if c.group != group} for group in {c.group for c in clips}):
        with pytest.raises(DataError, match="held out"):  # every group holds all clips of some class
            data.splits()
        return
    splits = data.splits()
    train, val = ({data.clips[i].group for i in side} for side in (splits.train, splits.val))
    assert not train & val
    assert {data.clips[i].label for i in splits.train} == set(range(len(present)))


def test_many_small_groups_come_near_a_stratified_tenth() -> None:
    rng = np.random.default_rng(0)
    clips = [Clip(str(i), int(rng.integers(5)), split="train", group=f"g{i // 4}") for i in range(1000)]
    data = _data([*clips, Clip("test", 0, split="test")])
    held = Counter(data.clips[i].label for i in data.splits().val)
    assert 80 <= held.total() <= 120
    assert min(held.values()) >= 10


def test_a_few_large_groups_give_one_of_them() -> None:
    clips = [Clip(str(i), i % 5, split="train", group=f"speaker{i % 4}") for i in range(400)]
    data = _data([*clips, Clip("test", 0, split="test")])
    assert len({data.clips[i].group for i in data.splits().val}) == 1


def test_validation_is_the_datas_own_or_held_out(tmp_path: Path) -> None:
    named = [Clip(f"{side}{i}", 0, split=side) for side in ("train", "val", "test") for i in range(4)]
    assert not _data(named).splits().held_out
    assert _data([clip for clip in named if clip.split != "val"]).splits().held_out
    assert not open_data(layouts.esc50(tmp_path)).splits().held_out  # the next fold validates in the paper, too
    rows = [f"{fold}{label}.wav,{label},{fold}" for fold in (1, 2, 3) for label in "xy"]
    assert open_data(_manifest(tmp_path / "mine", "path,label,fold", rows)).splits().held_out


known = st.lists(st.sampled_from([1.0, 0.0, float("nan")]), min_size=4, max_size=4)


@given(st.lists(known, min_size=20, max_size=80))
@settings(max_examples=100)
def test_with_several_labels_yes_and_no_of_every_class_are_held_out(rows: list[list[float]]) -> None:
    targets = np.array([*rows, [1.0] * 4, [0.0] * 4, [1.0] * 4, [0.0] * 4, [1.0] * 4], dtype=np.float32)
    clips = [Clip(str(i), -1, split="train") for i in range(len(targets) - 1)] + [Clip("test", -1, split="test")]
    splits = _data(clips, targets).splits()
    assert sorted([*splits.train, *splits.val]) == list(range(len(clips) - 1))
    for value in (1.0, 0.0):
        held, kept = ((targets[side] == value).sum(axis=0) for side in (splits.val, splits.train))
        assert (held >= 1).all()
        assert (kept >= 1).all()
    assert len(splits.val) <= max(8, 0.3 * len(clips))


def test_a_class_that_train_only_denies_is_missing() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 0], [1, np.nan], [1, 1]], dtype=np.float32)
    clips = [Clip(str(i), -1, split="train") for i in range(4)] + [Clip("test", -1, split="test")]
    with pytest.raises(DataError, match="no train clip of 1"):
        _data(clips, targets).splits()


# --- Real audio


def test_the_real_esc50(shared_data: Path) -> None:
    data = open_data(DataConfig("esc50", root=str(shared_data / "esc50")))
    assert (len(data.clips), len(data.labels), data.seconds, data.folds) == (1000, 50, 5.0, (1, 2, 3, 4, 5))
    assert data.labels[:3] == ("dog", "rooster", "pig")
    assert data.labels[36] == "vacuum_cleaner"
    for fold in data.folds:
        splits = data.splits(fold)
        assert [len(side) for side in (splits.train, splits.val, splits.test)] == [600, 200, 200]
    assert data.load(999).numel() == 80_000


def test_the_real_spoken_digits(shared_data: Path) -> None:
    data = open_data(DataConfig("csv", root=str(shared_data / "fsdd")))
    assert (len(data.clips), data.labels) == (3000, tuple("0123456789"))
    splits = data.splits()
    assert [len(side) for side in (splits.train, splits.val, splits.test)] == [2430, 270, 300]
    assert set(Counter(data.clips[i].label for i in splits.val).values()) == {27}
    assert 2 < data.seconds < 2.5
    assert 0 < data.load(0).numel() <= data.seconds * 16_000


def test_the_real_urban_sounds(shared_data: Path) -> None:
    for name in ("csv", "urbansound8k"):
        data = open_data(DataConfig(name, root=str(shared_data / "urbansound8k")))
        assert (len(data.clips), len(data.labels), data.seconds, data.folds) == (600, 10, 4.0, (1, 2, 10))
        splits = data.splits(2)
        assert [len(side) for side in (splits.train, splits.val, splits.test)] == [200, 200, 200]
        assert splits.held_out
    assert data.labels[:2] == ("air_conditioner", "car_horn")
