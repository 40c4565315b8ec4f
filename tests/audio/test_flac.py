"""FLAC: the number of samples in its header is checked against its last frame, and its digest says whether all is
there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from astmoa.audio.flac import part
from astmoa.audio.plain_files import PlainFile
from astmoa.audio.sound import duration
from astmoa.errors import ClipError
from tests.helpers.sounds import decode, encode, noise


def _announce(content: bytes, samples: int) -> bytes:
    field = int.from_bytes(content[21:26]) >> 36 << 36 | samples
    return content[:21] + field.to_bytes(5) + content[26:]


@pytest.mark.parametrize("coding", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("samples", [0, 1, 16_000, 31_999, 32_001, 64_000, (1 << 36) - 1])
def test_a_wrong_number_of_samples_changes_nothing(tmp_path: Path, coding: str, samples: int) -> None:
    content = encode("FLAC", coding)
    whole = decode(tmp_path, content)
    changed = _announce(content, samples)
    torch.testing.assert_close(decode(tmp_path, changed), whole, atol=0, rtol=0)
    torch.testing.assert_close(decode(tmp_path, changed, 1.5), whole[:24_000], atol=0, rtol=0)
    torch.testing.assert_close(decode(tmp_path, changed, 5.0), whole, atol=0, rtol=0)
    assert duration(tmp_path / "clip") == 2.0
    assert duration(tmp_path / "clip", 1.0) == 1.0


def test_channels_are_part_of_the_digest(tmp_path: Path) -> None:
    content = encode("FLAC", "PCM_24", np.stack([noise(), noise(seed=1)], axis=1))
    assert len(decode(tmp_path, _announce(content, 64_000))) == 32_000


@pytest.mark.parametrize("samples", [1, 100, 4096, 4097, 300_000])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_the_last_frame_confirms_a_right_number(tmp_path: Path, samples: int, level: float) -> None:
    path = tmp_path / "clip"
    for behind in (b"", b"TAG" + bytes(125)):
        path.write_bytes(encode("FLAC", "PCM_16", noise(samples), compression_level=level) + behind)
        with PlainFile(path) as file:
            assert part(file, 0).sure
    for wrong in (samples - 1, samples + 1):
        path.write_bytes(_announce(encode("FLAC", "PCM_16", noise(samples)), wrong))
        with PlainFile(path) as file:
            assert not part(file, 0).sure


@pytest.mark.parametrize("announced", [32_000, 0])
def test_a_cut_is_told(tmp_path: Path, announced: int) -> None:
    content = encode("FLAC", "PCM_16")
    cut = _announce(content, announced)[: len(content) // 2]
    with pytest.raises(ClipError, match=r"truncated|not readable"):
        decode(tmp_path, cut)
    assert len(decode(tmp_path, cut, 0.5)) == 8_000


def test_samples_that_nobody_can_vouch_for_are_missed(tmp_path: Path) -> None:
    """The header announces more, and has no digest: nothing says that this is all."""
    content = bytearray(_announce(encode("FLAC", "PCM_16"), 64_000))
    content[26:42] = bytes(16)
    with pytest.raises(ClipError, match=r"truncated, 2\.00 s of 4\.00 s"):
        decode(tmp_path, bytes(content))


def test_two_recordings_in_one_file_are_not_one_in_silence(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="not readable"):
        decode(tmp_path, encode("FLAC", "PCM_16") + encode("FLAC", "PCM_16", noise(20_000)))
