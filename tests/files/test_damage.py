"""The mishaps that other tests draw from, and how the outcome of a damaged file is judged."""

from __future__ import annotations

import importlib
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from astmoa.errors import DataError
from tests.helpers import ROOT
from tests.helpers.damage import _MISHAPS, damage

BENCHMARKS = ROOT / "benchmarks"


def test_the_same_seed_makes_the_same_damage() -> None:
    content = bytes(range(256)) * 10
    made = {seed: damage(content, random.Random(seed)) for seed in range(300)}
    assert all(damage(content, random.Random(seed)) == harmed for seed, harmed in made.items())
    assert sum(harmed != content for harmed in made.values()) > 290
    assert {len(harmed) > len(content) for harmed in made.values()} == {True, False}


@pytest.mark.parametrize("mishap", _MISHAPS)
@pytest.mark.parametrize("content", [b"", b"x", b"content"])
def test_little_content_is_no_error(mishap, content: bytes) -> None:
    for seed in range(50):
        assert isinstance(mishap(content, random.Random(seed)), bytes)


@pytest.fixture(scope="module")
def damaged_files():
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("damaged_files")
    sys.path.remove(str(BENCHMARKS))


def _refuse(text: str):
    raise DataError(text)


def _say():
    """In place of the real command, whose imports take seconds."""
    print(*sys.argv[2:], sep="\n", file=sys.stderr)
    sys.exit(int(sys.argv[1]))


def _fill():
    held = []
    while True:
        held.append(bytearray(10_000_000))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "name", "detail"),
    [
        (lambda: None, "read", ""),
        (lambda: print("noise"), "read", ""),
        (lambda: _refuse("one line"), "refused", "one line"),
        (lambda: _refuse("two\nlines"), "traceback", "two"),
        (lambda: [][1], "traceback", "IndexError"),
        (lambda: sys.exit(0), "traceback", "SystemExit"),
        (lambda: signal.raise_signal(signal.SIGKILL), "traceback", "SIGKILL"),
        (lambda: time.sleep(60), "too slow", ""),
        (_fill, "too large", ""),
        (["2", "error: one line"], "refused", "error: one line"),
        (["2", "error: one line", "error: another"], "traceback", "exit code 2"),
        (["1", "Traceback"], "traceback", "exit code 1"),
        (["1"], "read", ""),
        (["0", "a warning"], "read", ""),
    ],
)
def test_outcomes(tmp_path: Path, monkeypatch, damaged_files, run, name: str, detail: str) -> None:
    monkeypatch.setitem(sys.modules, "astmoa.cli.main", SimpleNamespace(main=_say))
    monkeypatch.setattr(damaged_files, "_BYTES", 100_000_000)
    if name == "too slow":
        monkeypatch.setattr(damaged_files, "_SECONDS", 0.3)
    outcome = damaged_files.attempt(run, tmp_path / "printed")
    assert outcome.name == name
    assert detail in outcome.detail


def test_every_kind_makes_a_damaged_input(tmp_path: Path, damaged_files) -> None:
    assert {"manifest", "audio", "store"} <= set(damaged_files.kinds())
    for name in ("manifest", "audio", "store"):
        folder = tmp_path / name
        folder.mkdir()
        run = damaged_files.kinds()[name](folder, random.Random(0))
        assert any(folder.iterdir())
        assert damaged_files.attempt(run, tmp_path / "printed").name in ("read", "refused")
