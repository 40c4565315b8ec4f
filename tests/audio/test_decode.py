"""Decoding: what comes out of good files, and the one line that comes out of bad ones."""

import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from astmoa.audio.decode import load_clip, num_samples
from astmoa.audio.sound import duration
from astmoa.errors import ClipError, DataError
from tests.helpers import SHARED

DATA = SHARED


def _tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def _noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def _reason(path: Path, seconds: float | None = 5.0) -> str:
    with pytest.raises(ClipError) as caught:
        load_clip(path, seconds)
    assert caught.value.path == path
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    again = pickle.loads(pickle.dumps(caught.value))  # it crosses process borders
    assert (str(again), again.reason) == (message, caught.value.reason)
    assert isinstance(again, DataError)
    return caught.value.reason


def test_16_khz_mono_comes_out_as_it_was_written(tmp_path: Path) -> None:
    wave = _noise(16_000)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    got = load_clip(tmp_path / "a.wav")
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.numpy(), wave)
    np.testing.assert_array_equal(load_clip(tmp_path / "a.wav", 0.25).numpy(), wave[:4000])
    np.testing.assert_array_equal(load_clip(tmp_path / "a.wav", 9.0).numpy(), wave)


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.stack([_noise(600_000, seed) for seed in range(3)], axis=1)  # longer than one block
    soundfile.write(tmp_path / "a.wav", channels, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(load_clip(tmp_path / "a.wav").numpy(), channels.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 44_101, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_other_rates_are_resampled_to_the_same_tone(tmp_path: Path, rate: int, suffix: str) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", _tone(rate), rate)
    got = load_clip(tmp_path / f"a.{suffix}", 1.0).numpy()
    assert len(got) == 16_000
    inside = slice(1000, -1000)  # the filter rings at the ends
    np.testing.assert_allclose(got[inside], _tone(16_000)[inside], atol=0.01)


@pytest.mark.parametrize("suffix", ["ogg", "mp3", "aiff", "au", "w64", "caf"])
def test_formats_of_libsndfile(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", _tone(16_000), 16_000)
    got = load_clip(tmp_path / f"a.{suffix}").numpy()
    spectrum = np.abs(np.fft.rfft(got))
    assert abs(np.argmax(spectrum) * 16_000 / len(got) - 440) < 2


@given(st.floats(0.001, 100), st.integers(1_000, 200_000))
def test_lengths_asked_for_are_enough_frames(seconds: float, rate: int) -> None:
    # The frames that decode reads, resampled, are never fewer than the samples asked for.
    frames = -int(-seconds * rate // 1)
    assert frames / rate >= seconds - 1e-9
    assert abs(num_samples(seconds) - seconds * 16_000) <= 0.5


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_reading_in_blocks_changes_nothing(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", _noise(600_000), 16_000)
    whole, _ = soundfile.read(tmp_path / f"a.{suffix}", dtype="float32")
    np.testing.assert_allclose(load_clip(tmp_path / f"a.{suffix}").numpy(), whole, atol=1e-6)


def test_a_prefix_equals_the_start_of_the_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", _noise(44_100 * 2), 44_100)
    whole, part = load_clip(tmp_path / "a.flac"), load_clip(tmp_path / "a.flac", 0.7)
    assert part.numel() == 11_200
    torch.testing.assert_close(part[:-20], whole[: part.numel() - 20], atol=1e-6, rtol=0)


def test_one_hour_is_not_decoded(tmp_path: Path) -> None:
    path, rate = tmp_path / "hour.wav", 16_000
    soundfile.write(path, _noise(rate * 6), rate, subtype="PCM_16")
    with open(path, "r+b") as file:  # a sparse file: an hour by header and size, and no such disk space
        data_bytes = rate * 2 * 3600
        file.seek(4)
        file.write(struct.pack("<I", data_bytes + 36))
        file.seek(40)
        file.write(struct.pack("<I", data_bytes))
        file.truncate(data_bytes + 44)
    assert soundfile.info(path).duration == 3600
    load_clip(path, 5.0)
    tracemalloc.start()
    begin = time.perf_counter()
    assert load_clip(path, 5.0).numel() == 80_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # an hour is 230 MB
    assert time.perf_counter() - begin < 1.0


def test_unusable_files_say_why_in_one_line(tmp_path: Path) -> None:
    wave = _noise(32_000)
    assert "no such file" in _reason(tmp_path / "none.wav")
    assert "it is a folder, no file" in _reason(tmp_path)
    assert "no name of a file" in _reason(tmp_path / "a\0b.wav")
    os.mkfifo(tmp_path / "pipe.wav")  # to open it would wait for ever
    assert "it is a pipe, no file" in _reason(tmp_path / "pipe.wav")
    assert "it is a device, no file" in _reason(Path("/dev/null"))
    assert duration(tmp_path / "pipe.wav") is None
    assert duration(Path("/dev/zero")) is None
    (tmp_path / "text.wav").write_text("this is no sound\n" * 100)
    assert "not readable as audio" in _reason(tmp_path / "text.wav")
    (tmp_path / "nothing.wav").touch()
    assert "not readable as audio" in _reason(tmp_path / "nothing.wav")
    (tmp_path / "headless.raw").write_bytes(wave.tobytes())
    assert "not readable as audio" in _reason(tmp_path / "headless.raw")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    assert "empty" in _reason(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "zeros.flac", np.zeros(16_000, np.float32), 16_000)
    assert "all samples are zero" in _reason(tmp_path / "zeros.flac")
    for name, value in (("nan", np.nan), ("inf", -np.inf), ("huge", 1e30)):
        broken = wave.copy()
        broken[100] = value
        soundfile.write(tmp_path / f"{name}.wav", broken, 16_000, subtype="FLOAT")
        assert "NaN, infinite" in _reason(tmp_path / f"{name}.wav")


@pytest.mark.parametrize(("rate", "words"), [(0, "0 as sample rate"), (3, "3 Hz"), (2_000_000_000, "2000000000 Hz")])
def test_impossible_sample_rates(tmp_path: Path, rate: int, words: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _noise(16_000), 16_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    assert words in _reason(path)


def test_files_beside_a_clip_are_not_looked_at(tmp_path: Path) -> None:
    """libsndfile takes ._NAME for a part of NAME when it is given a name."""
    for suffix in ("mp3", "wav", "flac"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, _noise(16_000), 16_000)
        before = load_clip(path)
        (tmp_path / f"._a.{suffix}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100))
        torch.testing.assert_close(load_clip(path), before, atol=0, rtol=0)
        assert duration(path) == pytest.approx(1.0, abs=0.1)


def test_formats_that_go_by_the_name_alone(tmp_path: Path) -> None:
    """Telephone recordings without any header, and Sound Designer's, whose header is a file of its own."""
    for suffix, coding in (("gsm", "GSM610"), ("vox", "VOX_ADPCM"), ("au", "ULAW")):
        path = tmp_path / f"a.{suffix}"
        with open(path, "wb") as file:
            soundfile.write(file, _tone(8_000), 8_000, coding, format="RAW")
        assert len(load_clip(path)) == pytest.approx(16_000, abs=400)
    soundfile.write(tmp_path / "a.sd2", _tone(16_000), 16_000)
    assert (tmp_path / "._a.sd2").exists()
    assert len(load_clip(tmp_path / "a.sd2")) == 16_000


def test_no_block_is_larger_for_many_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((4000, 500), 0.1), 16_000)
    load_clip(tmp_path / "a.wav")
    tracemalloc.start()
    assert len(load_clip(tmp_path / "a.wav")) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "au", "mp3", "caf", "rf64", "w64", "ogg"])
def test_half_a_file_is_noticed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, _noise(32_000), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    reason = _reason(path, 5.0)
    assert "truncated" in reason or "not readable" in reason


def test_a_cut_after_the_wanted_part_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _noise(32_000), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert load_clip(path, 0.5).numel() == 8_000


def test_a_wav_written_into_a_pipe_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _noise(16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4  # the size was not known when the header was written
    path.write_bytes(content)
    assert load_clip(path, 5.0).numel() == 16_000


def test_damage_inside_a_flac_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, _noise(64_000), 16_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    assert "not readable" in _reason(path) or "truncated" in _reason(path)


def test_a_clip_that_falls_silent_is_good(tmp_path: Path) -> None:
    wave = np.concatenate([_noise(1000), np.zeros(79_000, np.float32)])
    soundfile.write(tmp_path / "a.flac", wave, 16_000)
    assert load_clip(tmp_path / "a.flac", 5.0).numel() == 80_000


@pytest.mark.parametrize("pattern", ["esc50/audio/*", "fsdd/recordings/*", "urbansound8k/audio/fold1/*"])
def test_real_clips_decode(pattern: str) -> None:
    files = sorted(DATA.glob(pattern))
    if not files:
        pytest.skip(f"no real audio: {pattern} is not below ../shared/data")
    for file in files[::97]:
        wave = load_clip(file, 5.0)
        assert 0 < wave.numel() <= 80_000
        assert 0 < wave.abs().max() <= 1.5
