"""MP3: all frames are decoded, whatever an information frame or the size of the file makes one guess."""

import contextlib
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from astmoa.audio.sound import duration
from astmoa.errors import ClipError
from tests.helpers.sounds import decode, encode, noise, put


def _mp3(rate: int = 16_000, mode: str = "VARIABLE", wave: np.ndarray | None = None) -> bytes:
    return encode("MP3", "MPEG_LAYER_III", noise(2 * rate) if wave is None else wave, rate, bitrate_mode=mode)


def _information(content: bytes) -> int:
    return content.index(b"Info") if b"Info" in content[:500] else content.index(b"Xing")


def _without_information(content: bytes, rate: int) -> bytes:
    """As it is written into a pipe: only the frames that are sound."""
    size = next(at for at in range(4, 3000) if content[at : at + 2] == content[:2] and content[at + 3] == content[3])
    return content[size:]


def _loud_end(rate: int) -> np.ndarray:
    """Nearly silent first: a variable rate begins with small frames, and size over frame is a wrong guess."""
    return np.concatenate([noise(rate) * 1e-4, noise(2 * rate, 1) * 3]).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("turned", [False, True])
def test_a_variable_rate_without_information_loses_nothing(tmp_path: Path, rate: int, turned: bool) -> None:
    wave = _loud_end(rate)
    content = _mp3(rate, wave=wave[::-1].copy() if turned else wave)
    whole, bare = decode(tmp_path, content), _without_information(content, rate)
    path = tmp_path / "clip"
    got = decode(tmp_path, bare)
    assert duration(path) == pytest.approx(3.0, abs=0.4)  # with what an encoder puts before and behind
    assert duration(path, 2.0) == 2.0
    assert len(got) == pytest.approx(duration(path) * 16_000, abs=1)
    assert len(got) >= len(whole)
    # The same sound, behind the delay that only the information frame tells.
    delay = int(np.argmax(np.correlate(got.numpy(), whole.numpy()[: len(whole) // 2], "valid")))
    same = np.corrcoef(got[delay : delay + len(whole)].numpy(), whole[: len(got) - delay].numpy())[0, 1]
    assert same > 0.9
    assert len(decode(tmp_path, bare, 2.0)) == 32_000
    with soundfile.SoundFile(path) as file:
        assert abs(file.frames / rate - len(got) / 16_000) > 0.3  # the library's guess


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("frames", ["zero", "half", "one less", "one more", "double", "most"])
def test_a_wrong_number_of_frames_changes_nothing(tmp_path: Path, mode: str, frames: str) -> None:
    content = _mp3(mode=mode)
    whole = decode(tmp_path, content)
    assert len(whole) == 32_000  # delay and filling are cut off, as the information frame tells
    place = _information(content) + 8
    right = struct.unpack_from(">I", content, place)[0]
    wrong = {"zero": 0, "half": right // 2, "one less": right - 1, "one more": right + 1, "double": 2 * right}
    changed = put(content, place, ">I", wrong.get(frames, 0x7FFF_FFFF))
    torch.testing.assert_close(decode(tmp_path, changed), whole, atol=0, rtol=0)
    torch.testing.assert_close(decode(tmp_path, changed, 1.0), whole[:16_000], atol=0, rtol=0)
    assert duration(tmp_path / "clip") == 2.0


@pytest.mark.parametrize("bare", [False, True])
def test_files_that_were_put_together(tmp_path: Path, bare: bool) -> None:
    content = _mp3()
    tag = b"ID3\x04\0\0\0\0\0\x23" + b"\0" * 35
    one, other = (_without_information(content, 16_000),) * 2 if bare else (content, tag + content)
    once, twice = decode(tmp_path, one), decode(tmp_path, one + other)
    assert len(twice) == pytest.approx(2 * len(once), abs=4000)
    torch.testing.assert_close(twice[:28_000], once[:28_000], atol=1e-4, rtol=0)
    assert duration(tmp_path / "clip") == len(twice) / 16_000


def test_another_rate_in_the_middle_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"damaged, \d\.\d\d s of it are no sound, or one of another rate"):
        decode(tmp_path, _mp3(16_000) + _mp3(44_100))


def test_tags_and_scraps_behind_the_last_frame_are_no_damage(tmp_path: Path) -> None:
    content = _mp3()
    whole = decode(tmp_path, content)
    scraps = np.random.default_rng(0).bytes(5000)
    for behind in (b"TAG" + b"x" * 125, b"APETAGEX" + b"x" * 3000, bytes(9000), scraps):
        torch.testing.assert_close(decode(tmp_path, content + behind), whole, atol=0, rtol=0)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_a_cut_is_told(tmp_path: Path, mode: str) -> None:
    content = _mp3(mode=mode)
    cut = content[: len(content) * 3 // 4]
    with pytest.raises(ClipError, match=r"truncated, 1\.\d\d s of 2\.\d\d s"):
        decode(tmp_path, cut)
    assert len(decode(tmp_path, cut, 1.0)) == 16_000


@pytest.mark.parametrize("bare", [False, True])
def test_damage_in_the_middle_is_told_where_it_is_wanted(tmp_path: Path, bare: bool) -> None:
    content = _mp3(mode="CONSTANT", wave=noise(5 * 16_000))
    content = _without_information(content, 16_000) if bare else content
    middle = len(content) // 2
    damaged = content[:middle] + np.random.default_rng(0).bytes(4000) + content[middle:]
    with pytest.raises(ClipError, match=r"damaged|truncated|not readable"):
        decode(tmp_path, damaged)
    assert len(decode(tmp_path, damaged, 1.0)) == 16_000


@pytest.mark.slow
@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xfb\x90", b"ID3\4\0\0\0\0\0\0", b"\xff\xfb\x00\x00"])
def test_no_filling_holds_it_up(tmp_path: Path, filling: bytes) -> None:
    content = _mp3() + filling * (5_000_000 // len(filling))
    begin = time.perf_counter()
    with contextlib.suppress(ClipError):
        decode(tmp_path, content)
    duration(tmp_path / "clip")
    assert time.perf_counter() - begin < 4


def test_layer_two(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    try:
        soundfile.write(path, noise(), 16_000, "MPEG_LAYER_II", format="MP3")
    except soundfile.SoundFileError:
        pytest.skip("this libsndfile does not write MPEG layer 2")
    assert duration(path) == pytest.approx(2.0, abs=0.1)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg: MP3 inside WAV, and a real pipe, are not tested")
def test_what_ffmpeg_writes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _loud_end(16_000) / 2, 16_000)

    def ffmpeg(*how: str) -> bytes:
        command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", "libmp3lame", *how, "-"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"this ffmpeg cannot: {done.stderr.decode().splitlines()[0]}")
        return done.stdout

    variable = ffmpeg("-q:a", "4", "-f", "mp3")
    got = decode(tmp_path, variable)
    assert len(got) == pytest.approx(48_000, abs=3000)
    assert duration(tmp_path / "clip") == len(got) / 16_000
    inside = decode(tmp_path, ffmpeg("-q:a", "4", "-f", "wav"))
    assert len(inside) == pytest.approx(48_000, abs=3000)
    np.testing.assert_allclose(inside[:45_000], got[:45_000], atol=1e-4)
