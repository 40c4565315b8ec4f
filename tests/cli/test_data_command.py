"""`astmoa data check`: what people and programs read, and how it ends."""

import ctypes
import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from astmoa.audio.layout import LAYOUTS, Download
from astmoa.cli import data_command as data_cli
from astmoa.cli.data_command import Check
from astmoa.errors import DataError, exit_in_one_line
from tests.helpers import layouts
from tests.helpers.server import serve

SOURCES = {name: LAYOUTS.find(name).source for name in LAYOUTS.names()}


def _run(capsys: pytest.CaptureFixture, *args: object) -> tuple[int, str, str]:
    code = 0
    try:
        with exit_in_one_line("run it again"):
            tyro.cli(Check, args=[str(argument) for argument in args]).run()
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_a_whole_set(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    layouts.urbansound8k(tmp_path)
    code, out, err = _run(capsys, "urbansound8k", tmp_path)
    assert (code, err) == (0, "")
    assert "clips    40 of 8,732 official, 0.00 hours; 4 s of each are used" in out
    assert "2, 20 clips each; measured by accuracy" in out
    assert "fold 1: 4, fold 2: 4" in out
    assert "validation is held out of train" in out
    assert "missing  none" in out
    assert "broken   none (decoded)" in out
    assert "leakage  none: no source recording is on two sides" in out
    code, out, err = _run(capsys, "urbansound8k", tmp_path, "--json", "--fast")
    report = json.loads(out)
    assert (code, report["ok"], report["decoded"], report["clips"]) == (0, True, False, 40)
    assert report["splits"]["fold 10"] == 4
    assert (report["official"], report["unmeasured"]) == (8732, {})


def test_faults_end_with_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    layouts.openmic(tmp_path)
    clips = sorted(tmp_path.rglob("*.ogg"))
    clips[0].unlink()
    clips[1].unlink()
    clips[1].write_text("no sound")  # a file of its own: the others share one
    code, out, _ = _run(capsys, "openmic", tmp_path)
    assert code == 1
    assert f"missing  1: {clips[0].stem}" in out
    assert f"broken   1: {clips[1].stem}: not readable as audio" in out
    assert "measured by mAP" in out
    code, out, _ = _run(capsys, "openmic", tmp_path, "--json")
    report = json.loads(out)
    assert code == 1
    assert not report["ok"]
    assert report["missing"] == [clips[0].stem]
    assert list(report["broken"]) == [clips[1].stem]


def test_only_json_is_on_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch) -> None:
    """Decoders print by themselves when a file puzzles them, through C, to whatever is descriptor 1."""
    config = layouts.folder(tmp_path)

    def puzzled(path: Path, seconds: float | None) -> torch.Tensor:
        ctypes.CDLL(None).puts(b"alac_decode_block : Ooops!")
        return torch.ones(1600)

    monkeypatch.setattr("astmoa.audio.decode.load_clip", puzzled)
    Check("folder", config.root, json=True).run()
    out, err = capfd.readouterr()
    assert json.loads(out)["ok"]
    assert out.count("\n") == 1
    assert "Ooops!" in err


def test_names_that_a_terminal_would_obey(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Bytes that are no UTF-8, and escape sequences."""
    layouts.folder(tmp_path, clips=12)
    odd = os.fsdecode(b"\xe9\x1b[31m.wav")
    (tmp_path / "cat" / odd).write_text("no sound")
    code, out, err = _run(capsys, "folder", tmp_path)
    assert (code, err) == (1, "")
    assert "broken   1: cat/\\udce9\\x1b[31m.wav: not readable as audio" in out
    assert "\x1b" not in out
    code, out, _ = _run(capsys, "folder", tmp_path, "--json")
    assert code == 1
    assert list(json.loads(out)["broken"]) == [f"cat/{odd}"]


def test_doubles_warnings_and_what_was_meant_are_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [
        "a.wav,dog,train",
        "b.wav,Dog,train",
        "c.wav,dog,val",
        "d.wav,dog,test",
        "e.mp3,dog,test",
        "f.wav,cat,train",
    ]
    layouts.wavs([tmp_path / row.split(",")[0] for row in rows if "mp3" not in row])
    (tmp_path / "e.wav").touch()
    layouts.table(tmp_path / "manifest.csv", "path,label,split", rows)
    code, out, err = _run(capsys, "csv", tmp_path)
    assert (code, err) == (1, "")
    assert "missing  1: e.mp3 (e.wav is there)" in out
    assert "leakage  1 sound is on two sides, byte for byte (5 clips), first a.wav (train) and c.wav (val)" in out
    assert "labels   1 sound is under two labels, byte for byte (5 clips), first a.wav (dog) and b.wav (Dog)" in out
    assert "warning  " in out
    assert "classes 'dog' (4 clips, first in line 2) and 'Dog' (1 clip, first in line 3) differ only in case" in out
    report = json.loads(_run(capsys, "csv", tmp_path, "--json")[1])
    assert report["near"] == {"e.mp3": "e.wav"}
    assert report["doubles"]["marks"] == ["train", "val"]
    assert report["relabelled"]["first"] == ["a.wav", "b.wav"]
    assert len(report["warnings"]) == 1


def test_a_leak_is_told_and_ends_with_zero(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    layouts.esc50(tmp_path)
    table = tmp_path / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(",1045,", ",1041,").replace(",10365,", ",10362,"))
    code, out, _ = _run(capsys, "esc50", tmp_path)
    assert code == 0
    assert "2 source recordings are on two sides or more, first 1041: 2 clips in fold 1 and fold 5" in out


def test_a_speaker_on_two_sides_of_official_splits_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    layouts.fluent_speech_commands(tmp_path)
    table = tmp_path / "fluent_speech_commands_dataset" / "data" / "test_data.csv"
    table.write_text(table.read_text().replace(",g,", ",a,"))
    code, _, err = _run(capsys, "fluent_speech_commands", tmp_path)
    assert code == 2
    assert "group 'a' is in test and train" in err
    assert err.count("\n") == 1


def test_classes_without_a_measure_are_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    layouts.openmic(tmp_path)
    mask = np.load(tmp_path / "openmic-2018.npz", allow_pickle=True)["Y_mask"]
    mask[:15, 1:] = False
    layouts.openmic_arrays(tmp_path, Y_mask=mask)
    code, out, _ = _run(capsys, "openmic", tmp_path, "--fast")
    assert code == 0
    assert "mAP      test passes over banjo, cello: it has no clip with" in out
    report = json.loads(_run(capsys, "openmic", tmp_path, "--fast", "--json")[1])
    assert report["unmeasured"] == {"test": ["banjo", "cello"]}


def test_labels_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    layouts.speech_commands(tmp_path, 1)
    assert "12, 14 clips each" in _run(capsys, "speech_commands_v1", tmp_path, "--num-labels", 12)[1]


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "builtin"])
def test_where_there_is_nothing_it_says_what_to_get(tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    for root in (tmp_path / "nowhere", tmp_path):
        code, out, err = _run(capsys, name, root)
        assert code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        source = SOURCES[name]
        assert f"{name}: expected layout" in out
        assert source.layout[0] in out
        if source.page != "your own files":
            assert source.licence in out
            assert (source.download.url if source.download else source.by_hand) in out
    _, out, err = _run(capsys, name, tmp_path / "nowhere", "--json")
    facts = json.loads(out)
    assert facts["source"]["licence"] == SOURCES[name].licence
    assert err == f"error: {facts['error']}\n"
    assert "no folder given" in _run(capsys, name)[2]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """ESC-50, made small, on a server of this machine."""
    layouts.esc50(tmp_path / "made" / "ESC-50-master")
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted((tmp_path / "made").rglob("*")):
            packed.write(path, path.relative_to(tmp_path / "made"))
    content = archive.read_bytes()
    shutil.rmtree(tmp_path / "made")
    archive.unlink()
    with serve(content) as server:
        checksum = "sha256:" + hashlib.sha256(content).hexdigest()
        download = Download(f"{server.url}/ESC-50.zip", len(content), checksum, "this test")
        monkeypatch.setattr(
            type(LAYOUTS.find("esc50")), "source", dataclasses.replace(SOURCES["esc50"], download=download)
        )
        yield server


@pytest.mark.slow
def test_download_unpack_and_check(shop, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shop.faults = ["cut"]
    code, out, err = _run(capsys, "esc50", tmp_path / "sounds" / "ESC-50", "--download")
    assert (code, err) == (0, "")
    assert "clips    15" in out
    assert sorted(path.name for path in (tmp_path / "sounds").iterdir()) == ["ESC-50"]
    shop.requests.clear()
    assert _run(capsys, "esc50", tmp_path / "sounds" / "ESC-50", "--download")[0] == 0
    assert shop.requests == []  # it is there


def test_a_wrong_download_ends_with_one_line(shop, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shop.content += b"!"
    code, _, err = _run(capsys, "esc50", tmp_path / "ESC-50", "--download")
    assert code == 2
    assert err.count("\n") == 1
    assert "they are deleted" in err
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_was_there_is_used_and_kept(shop, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    archive = tmp_path / "ESC-50.zip"
    archive.write_bytes(shop.content)
    code, out, err = _run(capsys, "esc50", tmp_path / "ESC-50", "--download")
    assert (code, err, shop.requests) == (0, "", [])
    assert "clips    15 of 2,000 official" in out
    assert archive.read_bytes() == shop.content


def test_another_file_of_the_archives_name_is_left_alone(shop, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    archive = tmp_path / "ESC-50.zip"
    archive.write_bytes(b"mine")
    code, _, err = _run(capsys, "esc50", tmp_path / "ESC-50", "--download")
    assert code == 2
    assert err.count("\n") == 1
    assert f"{archive} is another file (sha256 {hashlib.sha256(b'mine').hexdigest()}" in err
    assert "move it away, or unpack it yourself" in err
    assert (archive.read_bytes(), shop.requests) == (b"mine", [])


@pytest.mark.parametrize("name", ["gtzan", "gtzan_folds", "fluent_speech_commands", "csv", "folder"])
def test_what_cannot_be_downloaded_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot be downloaded from here") as caught:
        Check(name, str(tmp_path / "x"), download=True).run()
    assert SOURCES[name].by_hand in str(caught.value)


def test_importing_the_commands_costs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, astmoa.cli.data_command; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False", data_cli.__file__
