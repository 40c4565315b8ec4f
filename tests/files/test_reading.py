"""Files from somewhere else: bounds, pipes, and what is no JSON."""

import os
import threading

import pytest

from astmoa.files.reading import first_line, parse_json, read_bytes, read_json


def test_a_file_is_read_up_to_a_bound(tmp_path):
    (tmp_path / "a").write_bytes(b"[1, 2]")
    assert read_bytes(tmp_path / "a", 6) == b"[1, 2]"
    assert read_json(tmp_path / "a", 6) == [1, 2]
    with pytest.raises(ValueError, match="more than 5 bytes"):
        read_bytes(tmp_path / "a", 5)
    with pytest.raises(ValueError, match="it is no file"):
        read_bytes(tmp_path, 5)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is no file"):
        read_bytes(tmp_path / "pipe", 5)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "nothing", 5)


def test_a_pipe_of_the_shell_is_read():
    """As in --config <(sed ... config.yaml)"""
    reader, writer = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writer, b"seed: 1"), os.close(writer)))
    thread.start()
    assert read_bytes(f"/dev/fd/{reader}", 100) == b"seed: 1"
    thread.join()
    os.close(reader)


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"a":' * 100_000, "9" * 5_000, b"\xff", b"\xff\xfe\xfd"])
def test_what_is_no_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_json(text)


def test_the_first_line_of_an_error_is_never_empty():
    assert first_line(ValueError("\n  wrong\nhere")) == "wrong"
    assert first_line(EOFError()) == "EOFError"
