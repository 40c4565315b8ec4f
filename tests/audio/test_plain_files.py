"""Plain files alone, and a part of one that reads like a file of its own."""

import io
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.audio.plain_files import Excerpt, NotAFileError, PlainFile, is_plain, read_plain


def test_what_is_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        listener.bind("socket")
    for path, what in ((tmp_path, "folder"), (tmp_path / "pipe", "pipe"), (tmp_path / "socket", "socket")):
        with pytest.raises(NotAFileError, match=f"it is a {what}, no file"):
            PlainFile(path)
        assert not is_plain(path)
    with pytest.raises(NotAFileError, match="a device"):
        read_plain("/dev/null")
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "none")
    with pytest.raises(OSError, match="no name of a file"):
        read_plain(tmp_path / "a\0b")
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_plain(tmp_path / "link") == b"content"


patches = st.dictionaries(st.integers(0, 60), st.binary(min_size=1, max_size=4), max_size=4)


@given(st.binary(min_size=1, max_size=50), st.data(), patches)
@settings(max_examples=60)
def test_an_excerpt_reads_like_a_file(tmp_path_factory, content: bytes, data: st.DataObject, changes: dict) -> None:
    path = tmp_path_factory.mktemp("excerpt") / "file"
    path.write_bytes(content)
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    expected = bytearray(content)
    for place, patch in changes.items():
        for offset, byte in enumerate(patch):
            if place + offset < len(expected):
                expected[place + offset] = byte
    plain = io.BytesIO(bytes(expected[start:end]))
    with PlainFile(path) as file:
        excerpt = Excerpt(file, start, end, changes)
        for _ in range(10):
            offset = data.draw(st.integers(0, 60))
            whence = data.draw(st.sampled_from([os.SEEK_SET, os.SEEK_END]))
            assert excerpt.seek(offset, whence) == plain.seek(offset, whence)
            count = data.draw(st.integers(0, 20))
            assert excerpt.read(count) == plain.read(count)
            assert excerpt.tell() == plain.tell()


def test_who_is_shy_tells_its_size_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with PlainFile(path) as file:
        excerpt = Excerpt(file, 0, 7, {}, shy=True)
        assert [excerpt.seek(0, os.SEEK_END) for _ in range(3)] == [7, 0, 0]
        assert excerpt.read(3) == b"con"


def test_a_disk_that_fails_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")

    def fail(*args):
        raise OSError(5, "Input/output error")

    with PlainFile(path) as file:
        monkeypatch.setattr("astmoa.audio.plain_files.os.preadv", fail)
        excerpt = Excerpt(file, 0, 7, {})
        assert excerpt.read(3) == b""
        assert excerpt.failure.errno == 5
