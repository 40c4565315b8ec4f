"""CSV files as people have them: no row is lost or bent in silence, and what is wrong is named with its line."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astmoa.audio.csv_files import read_lines, read_rows
from astmoa.audio.datasets import open_data
from astmoa.config import DataConfig
from astmoa.errors import DataError
from tests.helpers import layouts
from tests.helpers.damage import damage

HEADER = "path,label,split"
ROWS = [f"{split}{n}.wav,{label},{split}" for split in ("train", "val", "test") for n, label in enumerate("ab")]


def _rows(tmp_path: Path, text: str | bytes) -> list[dict[str, str]]:
    table = tmp_path / "manifest.csv"
    table.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_rows(table, "path", "label", "split|fold", path="path")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HEADER}\na.wav,crying, baby,test\n", "line 2 has 4 fields, the header 3: put text that has commas"),
        ("path,split,label\na.flac,test,crying, baby\n", "line 2 has 4 fields, the header 3"),
        (f"{HEADER}\na.wav,x,train\n\nb.wav,x\n", "line 4 has 2 fields, the header 3"),
        (f'{HEADER}\na.wav,"x,train\nb.wav,y,test\n', "line 2: a quotation mark is not closed"),
        (f'{HEADER}\na.wav,"x,train\nb.wav,y,test\nc.wav,z",val\n', "line 2: a field goes on over the next rows"),
        (f'{HEADER}\na.wav,"x"y,train\n', "line 2: ',' expected after '\"'"),
        (f'{HEADER}\na.wav,"x\ny",train\n', "line 2: label has a line break in it"),
        (f"{HEADER},label\na.wav,x,train,y\n", "has two columns label: rename or remove one"),
        ("path, label ,split,label\na.wav,x,train,y\n", "has two columns label"),
        ("path;label;split\na.wav;x;train\n", "line 1: fields are separated by semicolons"),
        ("path\tlabel\tsplit\na.wav\tx\ttrain\n", "line 1: fields are separated by tabs"),
        (f"{HEADER}\na.wav,x,train\n".encode("utf-16"), "is text in UTF-16: save it as a CSV file in UTF-8"),
        (f"{HEADER}\na.wav,x,train\n".encode("utf-16-be"), "is text in UTF-16"),
        (f"{HEADER}\na.wav,x\0,train\n", "line 2 has a zero byte"),
        (f"{HEADER}\r\na.wav,x,train\r\nb\0.wav,x,train\r\n", "line 3 has a zero byte"),
        (
            f"{HEADER}\na.wav,bébé,train\n".encode("cp1252"),
            "line 2: label is not UTF-8 (as Windows-1252 it reads bébé)",
        ),
        (f"{HEADER}\né.wav,x,train\n".encode("latin1"), "line 2: path is not UTF-8 (as Windows-1252 it reads é.wav)"),
        (f"{HEADER}\na.wav,{'x' * 200_000},train\n", "line 2: field larger than field limit"),
        ("", "lists no clips"),
        (f"{HEADER}\n", "lists no clips"),
        ("a.wav,x,train\nb.wav,x,train\n", "has no column path: it has a.wav, x, train"),
        ("path,split\na.wav,train\n", "has no column label"),
        (f"{HEADER}\n ,x,train\n", "line 2 has no path"),
    ],
)
def test_what_would_lose_or_bend_a_row_is_an_error(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        _rows(tmp_path, text)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "manifest.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\na.wav,x,train\nb.wav,y,test\n",
        f"\ufeff{HEADER}\r\na.wav,x,train\r\nb.wav,y,test\r\n",
        f"{HEADER}\ra.wav,x,train\rb.wav,y,test",
        f"{HEADER}\n\na.wav,x,train\n,,\n  \nb.wav,y,test\n",
        f"{HEADER},,\na.wav,x,train,,\nb.wav,y,test,,\n",
        f"{HEADER}\na.wav,x,train,\nb.wav,y,test,,\n",
        f" path,label , split\n{ROWS[0].replace(ROWS[0], 'a.wav,x,train')}\nb.wav,y,test\n",
        f'{HEADER}\n"a.wav","x","train"\nb.wav,y,test\n',
        f'{HEADER},note\na.wav,x,train,"one\ntwo, three\n"\nb.wav,y,test,"said ""no"""\n',
        f",{HEADER}\n0,a.wav,x,train\n1,b.wav,y,test\n",
    ],
)
def test_what_loses_nothing_is_read(tmp_path: Path, text: str) -> None:
    rows = _rows(tmp_path, text)
    assert [(row["path"], row["label"], row["split"]) for row in rows] == [
        ("a.wav", "x", "train"),
        ("b.wav", "y", "test"),
    ]


def test_rows_know_their_lines(tmp_path: Path) -> None:
    rows = _rows(tmp_path, f'{HEADER},note\n\na.wav,x,train,"one\ntwo"\n\nb.wav,y,test,\n')
    assert [row.line for row in rows] == [3, 6]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.csv")
    with pytest.raises(DataError, match="cannot be read, it is a pipe, no file"):
        read_rows(tmp_path / "manifest.csv", "path")
    with pytest.raises(DataError, match=r"cannot be read \(it is a pipe, no file\)"):
        read_lines(tmp_path / "manifest.csv")


def test_names_of_files_may_be_any_bytes(tmp_path: Path) -> None:
    name = b"\xe9t\xe9.wav"
    (tmp_path / os.fsdecode(name)).touch()
    rows = _rows(tmp_path, HEADER.encode() + b"\n" + name + b",x,train\n")
    assert os.fsencode(rows[0]["path"]) == name


# --- Damaged ones

fields = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sounds")
    layouts.wavs([root / row.split(",")[0] for row in ROWS])
    return root


def _open(root: Path, content: bytes) -> None:
    """It is read, or refused in one line."""
    (root / "manifest.csv").write_bytes(content)
    for skip in (False, True):
        error, labels = "", ()
        try:
            labels = open_data(DataConfig("csv", root=str(root), skip_bad_clips=skip)).labels
        except DataError as raised:
            error = str(raised)
        assert "\n" not in error
        assert len(error) < 3000
        assert all(len(label) <= 200 and label.strip() == label for label in labels)


@given(st.integers(0, 2**32))
@settings(max_examples=150)
def test_damaged_manifests_are_read_or_refused(sounds: Path, seed: int) -> None:
    whole = "\n".join([f"{HEADER},group,note", *(f'{row},g{n},"a, b"' for n, row in enumerate(ROWS))]) + "\n"
    _open(sounds, damage(whole.encode(), random.Random(seed)))


@given(st.lists(st.lists(fields, max_size=6), max_size=6), st.sampled_from([",", ";", "\t"]))
@settings(max_examples=100)
@example([[], ["train0.wav", "\u2028", "train"]], ",")
def test_any_words_in_a_manifest_are_read_or_refused(sounds: Path, rows: list[list[str]], mark: str) -> None:
    _open(sounds, "\n".join([HEADER, *ROWS, *(mark.join(row) for row in rows)]).encode())
