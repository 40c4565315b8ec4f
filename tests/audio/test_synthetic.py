"""The built-in set: repeatable, balanced, strangers in every split, and intents that only their order tells apart."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from astmoa.audio import synthetic
from astmoa.audio.datasets import open_data
from astmoa.audio.store import load_features
from astmoa.config import DataConfig


def _clips(split: str) -> list[int]:
    return [i for i, clip in enumerate(synthetic.plan()) if clip["split"] == split]


def test_plan_is_balanced_and_speakers_are_on_one_side() -> None:
    data = open_data(DataConfig())
    splits = data.splits()
    sides = {"train": splits.train, "val": splits.val, "test": splits.test}
    assert {name: len(side) for name, side in sides.items()} == synthetic.SPLIT_SIZES
    speakers = {name: {data.clips[i].group for i in side} for name, side in sides.items()}
    assert {name: len(group) for name, group in speakers.items()} == synthetic.SPEAKERS
    assert len(set.union(*speakers.values())) == sum(synthetic.SPEAKERS.values())
    for side in sides.values():
        counts = Counter(data.clips[i].label for i in side)
        assert set(counts.values()) == {len(side) // len(data.labels)}
        assert len(counts) == len(data.labels)


def test_every_speaker_says_many_intents() -> None:
    said: dict[str, set[int]] = {}
    for clip in synthetic.plan():
        said.setdefault(clip["group"], set()).add(clip["label"])
    assert min(len(labels) for labels in said.values()) == len(synthetic.LABELS)


def test_labels_are_ordered_pairs_of_different_words() -> None:
    pairs = {tuple(label.split()) for label in synthetic.LABELS}
    assert len(pairs) == len(synthetic.LABELS) == 20
    assert all(first != second and (second, first) in pairs for first, second in pairs)


@pytest.mark.slow
def test_a_clip_is_the_same_alone_in_any_order_and_in_another_process() -> None:
    some = [0, 899, 17]
    here = [synthetic.render(i) for i in some]
    for index, wave in zip(reversed(some), reversed(here), strict=True):
        np.testing.assert_array_equal(synthetic.render(index), wave)
    script = "import sys; from astmoa.audio import synthetic; sys.stdout.buffer.write(synthetic.render(17).tobytes())"
    there = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout
    np.testing.assert_array_equal(np.frombuffer(there, np.float32), here[2])
    assert not np.array_equal(synthetic.render(0), synthetic.render(20))  # same intent, another clip


def test_clips_are_one_second_finite_and_of_varied_loudness() -> None:
    waves = np.stack([synthetic.render(i) for i in range(0, 900, 9)])
    assert waves.shape == (100, 16_000)
    assert waves.dtype == np.float32
    assert np.isfinite(waves).all()
    peaks = np.abs(waves).max(axis=1)
    low, high = (10 ** (db / 20) for db in synthetic.LOUDNESS_DB)
    assert low * 0.999 <= peaks.min() < 2 * low
    assert high / 2 < peaks.max() <= high * 1.001


def test_seconds_cut_a_clip() -> None:
    half = open_data(DataConfig(seconds=0.5))
    np.testing.assert_array_equal(half.load(5).numpy(), synthetic.render(5)[:8000])


def test_speakers_differ_in_pitch_tract_breath_and_tempo() -> None:
    voices = np.array([synthetic.speaker(i) for i in range(sum(synthetic.SPEAKERS.values()))])
    assert len(np.unique(voices[:, 0])) == len(voices)
    spread = voices.max(axis=0) / voices.min(axis=0)
    assert (spread > [2.0, 1.2, 2.0, 1.2]).all()


@pytest.mark.slow
def test_words_leave_different_pictures_and_their_order_shows(tmp_path: Path) -> None:
    """Nearest class mean. On coarse pictures it tells intents apart far above chance: the words carry information. On
    averages over time it does not tell the two orders of the same words apart."""
    train, test = _clips("train"), _clips("test")
    labels = np.array([clip["label"] for clip in synthetic.plan()])
    pictures = load_features(open_data(DataConfig()), cache_dir=tmp_path).array.astype(np.float32)

    def right(describe) -> tuple[float, float]:
        described = {i: describe(pictures[i] - pictures[i].mean()) for i in train + test}
        means = np.stack([np.mean([described[i] for i in train if labels[i] == c], axis=0) for c in range(20)])
        guesses = np.array(
            [np.argmin(((means - described[i]) ** 2).sum(axis=tuple(range(1, means.ndim)))) for i in test]
        )
        truth = labels[test]
        words = [frozenset(synthetic.LABELS[label].split()) for label in range(20)]
        pair = np.array([words[g] == words[t] for g, t in zip(guesses, truth, strict=True)])
        return float(np.mean(guesses == truth)), float(np.mean((guesses == truth)[pair]))

    coarse = right(lambda picture: picture[:96].reshape(12, 8, 16, 8).mean(axis=(1, 3)))
    averaged = right(lambda picture: picture.mean(axis=0))
    assert coarse[0] > 0.25  # chance is 0.05
    assert 0.3 < averaged[1] < 0.7  # of clips whose two words were found, the order is a coin toss
    assert averaged[0] < 0.5


@pytest.mark.slow
def test_clips_can_be_written_to_listen_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "astmoa.audio.synthetic", str(tmp_path / "out"), "--clips", "2"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert [Path(line).name for line in lines] == ["train-0000-miru-taso.wav", "train-0001-miru-kela.wav"]
    wave, rate = soundfile.read(lines[1])
    assert rate == 16_000
    np.testing.assert_allclose(wave, synthetic.render(1), atol=1e-4)
