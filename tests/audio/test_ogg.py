"""Ogg: the clock of the last page is checked, and every link of a chain is decoded."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from astmoa.audio.ogg import _checksum
from astmoa.audio.sound import duration
from astmoa.errors import ClipError
from tests.helpers.sounds import decode, encode, noise

CODINGS = ["VORBIS", "OPUS"]


def _pages(content: bytes) -> list[tuple[int, int]]:
    """Where each page begins and ends."""
    found, place = [], 0
    while place < len(content):
        count = content[place + 26]
        end = place + 27 + count + sum(content[place + 27 : place + 27 + count])
        found.append((place, end))
        place = end
    return found


def _rewritten(content: bytes, number: int, granule: int | None = None, flags: int | None = None, serial=None) -> bytes:
    """With another clock, flags or serial number in one page, and its checksum made new."""
    begin, end = _pages(content)[number]
    page = bytearray(content[begin:end])
    if granule is not None:
        struct.pack_into("<q", page, 6, granule)
    if flags is not None:
        page[5] = flags
    if serial is not None:
        struct.pack_into("<I", page, 14, serial)
    struct.pack_into("<I", page, 22, 0)
    struct.pack_into("<I", page, 22, _checksum(page))
    return content[:begin] + bytes(page) + content[end:]


@pytest.mark.parametrize("coding", CODINGS)
def test_the_checksum_is_that_of_real_pages(coding: str) -> None:
    content = encode("OGG", coding)
    assert _rewritten(content, -1) == content


@pytest.mark.slow
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("clock", ["missing", "zero", "half", "double", "huge"])
def test_a_wrong_last_clock_loses_nothing(tmp_path: Path, coding: str, last: bool, clock: str) -> None:
    content = encode("OGG", coding, noise(4 * 16_000))
    whole = decode(tmp_path, content)
    right = struct.unpack_from("<q", content, _pages(content)[-1][0] + 6)[0]
    wrong = {"missing": -1, "zero": 0, "half": right // 2, "double": 2 * right, "huge": 1 << 60}[clock]
    changed = _rewritten(content, -1, wrong, flags=4 if last else 0)
    for seconds in (None, 5.0, 1.0):
        got = decode(tmp_path, changed, seconds)
        wanted = whole if seconds is None else whole[: int(seconds * 16_000)]
        assert 0 <= len(got) - len(wanted) < 1000  # only the clock could say where the last packet's sound ends
        torch.testing.assert_close(got[: len(wanted)], wanted, atol=1e-4, rtol=0)
    assert duration(tmp_path / "clip") == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_without_its_end_mark_is_as_good(tmp_path: Path, coding: str) -> None:
    content = encode("OGG", coding)
    changed = _rewritten(content, -1, flags=0)
    torch.testing.assert_close(decode(tmp_path, changed), decode(tmp_path, content), atol=0, rtol=0)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("same_serial", [True, False])
def test_every_link_of_a_chain_is_decoded(tmp_path: Path, coding: str, same_serial: bool) -> None:
    first, second = encode("OGG", coding), encode("OGG", coding, noise(24_000, seed=1))
    for number in range(len(_pages(second))):
        second = _rewritten(second, number, serial=7)
    if same_serial:
        second = first
    one, other = decode(tmp_path, first), decode(tmp_path, second)
    chained = first + second + first
    expected = torch.cat([one, other, one])
    torch.testing.assert_close(decode(tmp_path, chained), expected, atol=0, rtol=0)
    torch.testing.assert_close(decode(tmp_path, chained, 2.5), expected[:40_000], atol=0, rtol=0)
    torch.testing.assert_close(decode(tmp_path, chained, 0.5), expected[:8_000], atol=0, rtol=0)
    assert duration(tmp_path / "clip") == len(expected) / 16_000
    assert duration(tmp_path / "clip", 3.0) == 3.0


def test_links_of_different_rates_are_told(tmp_path: Path) -> None:
    chained = encode("OGG", "VORBIS") + encode("OGG", "VORBIS", noise(8000), 8000)
    with pytest.raises(ClipError, match="its parts have different sample rates"):
        decode(tmp_path, chained)
    assert len(decode(tmp_path, chained, 2.0)) == 32_000


@pytest.mark.parametrize("coding", CODINGS)
def test_a_cut_is_told(tmp_path: Path, coding: str) -> None:
    content = encode("OGG", coding, noise(6 * 16_000))
    cut = content[: len(content) // 2]
    with pytest.raises(ClipError, match=r"truncated, \d\.\d\d s are there"):
        decode(tmp_path, cut)
    with pytest.raises(ClipError, match=r"truncated, \d\.\d\d s of 5\.00 s are there"):
        decode(tmp_path, cut, 5.0)
    assert len(decode(tmp_path, cut, 1.0)) == 16_000


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("harm", ["gone", "flipped"])
def test_a_page_that_is_lost_is_told(tmp_path: Path, coding: str, harm: str) -> None:
    content = encode("OGG", coding, noise(6 * 16_000))
    pages = _pages(content)
    begin, end = pages[len(pages) // 2]
    middle = bytearray(content[begin:end])
    middle[len(middle) // 2] ^= 1
    damaged = content[:begin] + (bytes(middle) if harm == "flipped" else b"") + content[end:]
    with pytest.raises(ClipError, match="truncated"):
        decode(tmp_path, damaged)


@pytest.mark.parametrize("coding", CODINGS)
def test_scraps_between_and_behind_pages_do_no_harm(tmp_path: Path, coding: str) -> None:
    content = encode("OGG", coding)
    whole, scraps = decode(tmp_path, content), np.random.default_rng(0).bytes(500)
    begin, _ = _pages(content)[3]
    for changed in (content + scraps, content[:begin] + scraps + content[begin:]):
        torch.testing.assert_close(decode(tmp_path, changed), whole, atol=0, rtol=0)
