"""Files that are not there, and what is there that is nearly the same."""

import unicodedata
from pathlib import Path

import pytest

from astmoa.audio.near import Nearby, is_there


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("audio/Clip 3.wav", "audio/other.flac", unicodedata.normalize("NFC", "audio/é.wav"), "top.wav"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("listed", "meant"),
    [
        ("audio\\Clip 3.wav", "audio/Clip 3.wav"),
        ("C:\\data\\audio\\Clip 3.wav", "audio/Clip 3.wav"),
        ("audio/Clip 3.wav ", "audio/Clip 3.wav"),
        (" audio /Clip 3.wav", "audio/Clip 3.wav"),
        ("'audio/Clip 3.wav'", "audio/Clip 3.wav"),
        ("audio/clip 3.WAV", "audio/Clip 3.wav"),
        ("Audio/Clip 3.wav", "audio/Clip 3.wav"),
        ("audio/Clip%203.wav", "audio/Clip 3.wav"),
        ("audio/Clip 3.mp3", "audio/Clip 3.wav"),
        ("audio/Clip 3", "audio/Clip 3.wav"),
        ("audio/Clpi 3.wav", "audio/Clip 3.wav"),
        ("audio/other.wav", "audio/other.flac"),
        ("/home/somebody/set/audio/other.flac", "audio/other.flac"),
        ("other/set/audio/other.flac", "audio/other.flac"),
        ("other.flac", "audio/other.flac"),
        ("https://host/audio/other.flac", "audio/other.flac"),
        ("~/set/top.wav", "top.wav"),
        ("audio/é.wav", "audio/é.wav"),
        ("nothing/of/the/kind.ogg", None),
        ("", None),
        ("x" * 5000, None),
        ("a\0b", None),
        ("..", None),
        ("audio", None),
    ],
)
def test_what_was_probably_meant(root: Path, listed: str, meant: str | None) -> None:
    listed = unicodedata.normalize("NFD", listed)
    meant = None if meant is None else unicodedata.normalize("NFC", meant)
    assert Nearby(root).of(root / listed) == meant


def test_an_address_of_a_file(root: Path) -> None:
    for address in (f"file://{root}/audio/Clip%203.wav", f"file://localhost{root}/audio/Clip 3.wav"):
        assert Nearby(root).of(root / address) == "audio/Clip 3.wav"


def test_what_is_listed_itself_is_not_meant(root: Path) -> None:
    taken = {str(root / "audio/Clip 3.wav")}
    for listed in ("audio/Clip 3.mp3", "audio/Clip 4.wav", "Clip 3.wav"):
        assert Nearby(root, taken).of(root / listed) is None


def test_names_that_look_alike_are_told_apart() -> None:
    assert is_there("a.mp3", "a.wav") == "a.wav is there"
    assert is_there("a.wav ", "a.wav") == "a.wav is there, with no blanks around its name"
    assert "accents" in is_there(unicodedata.normalize("NFD", "é.wav"), unicodedata.normalize("NFC", "é.wav"))
