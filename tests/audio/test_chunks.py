"""WAV, RF64, Wave64, AIFF, CAF and AU: whatever their headers say of the length, all samples come out, and no more."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from astmoa.audio.sound import duration
from astmoa.errors import ClipError
from tests.helpers.sounds import decode, encode, noise, put

# Format, coding, bytes before the size of the sound, how it is written, and what it counts besides the samples.
FORMS = [
    ("WAV", "PCM_16", b"data", "<I", 0),
    ("WAV", "FLOAT", b"data", "<I", 0),
    ("WAV", "IMA_ADPCM", b"data", "<I", 0),
    ("RF64", "PCM_16", b"ds64\x1c\0\0\0" + struct.pack("<q", 64_096), "<q", 0),
    ("W64", "PCM_16", b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a", "<q", 24),
    ("AIFF", "PCM_16", b"SSND", ">I", 8),
    ("AIFF", "FLOAT", b"SSND", ">I", 8),
    ("CAF", "PCM_16", b"data", ">q", 4),
    ("CAF", "ALAC_16", b"data", ">q", 4),
    ("AU", "PCM_16", b".snd\0\0\0\x18", ">I", 0),
]


def _place(content: bytes, before: bytes) -> int:
    assert content.count(before) == 1
    return content.index(before) + len(before)


@pytest.mark.parametrize(("form", "coding", "before", "kind", "more"), FORMS)
@pytest.mark.parametrize("size", ["zero", "unknown", "half", "a little less", "nearly unknown"])
def test_a_size_that_is_wrong_loses_nothing(
    tmp_path: Path, form: str, coding: str, before: bytes, kind: str, more: int, size: str
) -> None:
    content = encode(form, coding)
    whole = decode(tmp_path, content)
    place = _place(content, before)
    right = struct.unpack_from(kind, content, place)[0]
    wide = struct.calcsize(kind) == 8
    sizes = {
        "zero": 0,
        "unknown": -1 if wide else 0xFFFF_FFFF,
        "nearly unknown": (1 << 63) - 100 if wide else 0x7FFF_FF00,
        "half": right // 2,
        "a little less": right * 7 // 8 // 8 * 8 - 8,
    }
    changed = put(content, place, kind, sizes[size])
    torch.testing.assert_close(decode(tmp_path, changed), whole, atol=0, rtol=0)
    torch.testing.assert_close(decode(tmp_path, changed, 1.5), whole[:24_000], atol=0, rtol=0)
    assert duration(tmp_path / "clip") == len(whole) / 16_000


@pytest.mark.parametrize("form", ["WAV", "AIFF", "W64"])
def test_a_size_too_large_in_a_file_that_is_all_there(tmp_path: Path, form: str) -> None:
    """The size of everything is right: no bytes are missing."""
    before, kind = {"WAV": (b"data", "<I"), "AIFF": (b"SSND", ">I"), "W64": (FORMS[4][2], "<q")}[form]
    content = encode(form, "PCM_16")
    place = _place(content, before)
    changed = put(content, place, kind, 2 * struct.unpack_from(kind, content, place)[0])
    torch.testing.assert_close(decode(tmp_path, changed), decode(tmp_path, content), atol=0, rtol=0)


@pytest.mark.parametrize(("outer", "size"), [(0, 0), (36, 0), (8, 0), (0xFFFF_FFFF, 0xFFFF_FFFF), (1000, 964)])
def test_wav_whose_writer_never_came_back(tmp_path: Path, outer: int, size: int) -> None:
    """Both sizes as they were before, or some time during a recording: they agree, and the file goes on."""
    content = encode("WAV", "PCM_16")
    changed = put(put(content, 4, "<I", outer), 40, "<I", size)
    torch.testing.assert_close(decode(tmp_path, changed), decode(tmp_path, content), atol=0, rtol=0)


def test_aiff_written_into_a_pipe(tmp_path: Path) -> None:
    content = encode("AIFF", "PCM_16")
    changed = put(put(content, 4, ">I", 0), _place(content, b"SSND"), ">I", 0)
    changed = put(changed, _place(content, b"COMM") + 6, ">I", 0)  # frames
    torch.testing.assert_close(decode(tmp_path, changed), decode(tmp_path, content), atol=0, rtol=0)


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 4000) + b"INFO" + b"x" * 3996,
        b"LIST" + struct.pack("<I", 40_000) + b"INFO" + b"x" * 20_000,  # cut inside, and no matter
        b"odd " + struct.pack("<I", 5000) + b"x" * 5000,
        b"TAG" + b"x" * 125,
        bytes(10_000),
        b"\x01\xfe" * 50,
    ],
)
def test_what_follows_the_sound_is_no_sound(tmp_path: Path, behind: bytes) -> None:
    content = encode("WAV", "PCM_16")
    whole = decode(tmp_path, content)
    torch.testing.assert_close(decode(tmp_path, content + behind), whole, atol=0, rtol=0)
    mended = put(content, 4, "<I", len(content) + len(behind) - 8)
    torch.testing.assert_close(decode(tmp_path, mended + behind), whole, atol=0, rtol=0)


@pytest.mark.parametrize(("form", "coding", "before", "kind", "more"), FORMS)
def test_bytes_that_are_missing_are_told(
    tmp_path: Path, form: str, coding: str, before: bytes, kind: str, more: int
) -> None:
    content = encode(form, coding)
    cut = content[: len(content) * 3 // 4]
    with pytest.raises(ClipError, match=r"truncated, 1\.\d\d s of \d"):
        decode(tmp_path, cut)
    assert len(decode(tmp_path, cut, 1.0)) == 16_000


def test_sound_of_the_other_byte_order(tmp_path: Path) -> None:
    content = encode("WAV", "PCM_16", endian="BIG")
    assert content[:4] == b"RIFX"
    changed = put(content, 40, ">I", 1000)
    torch.testing.assert_close(decode(tmp_path, changed), decode(tmp_path, content), atol=0, rtol=0)


def test_speech_in_nist_format_that_was_cut(tmp_path: Path) -> None:
    content = encode("NIST", "PCM_16")
    np.testing.assert_allclose(decode(tmp_path, content), noise(), atol=1e-4)
    with pytest.raises(ClipError, match=r"truncated, 1\.\d\d s of 2.00 s"):
        decode(tmp_path, content[: len(content) * 3 // 4])


def test_thousands_of_empty_chunks_do_not_hold_it_up(tmp_path: Path) -> None:
    content = encode("WAV", "PCM_16")
    many = content[:12] + (b"none" + bytes(4)) * 200_000 + content[12:]
    with contextlib.suppress(ClipError):  # libsndfile may give up, too
        assert len(decode(tmp_path, many)) == 32_000
