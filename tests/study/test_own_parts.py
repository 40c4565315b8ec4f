"""A search whose data, sampler and early stopping are the user's own, as docs/extending.md shows them."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from astmoa.cli.main import main
from astmoa.records.journal import read_journal
from astmoa.records.load import load_sweep
from tests.helpers import ROOT
from tests.helpers.runs import write_drums
from tests.helpers.studies import script

pytestmark = pytest.mark.slow
OWN = (
    ("--data", "my_sounds.py:drums"),
    ("--sampler", "my_search.py:tpe_soon"),
    (
        "--scheduler",
        "my_search.py:BelowTheMedian",
    ),
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, tiny_folder):
    """The folder in which a search ran, and what it told."""
    here = tmp_path_factory.mktemp("own")
    for name in ("my_sounds.py", "my_search.py"):
        shutil.copy(ROOT / "docs" / "examples" / name, here)
    rule = (here / "my_search.py").read_text()  # equal accuracies, of which a tiny search has many, stop a trial, too
    (here / "my_search.py").write_text(rule.replace("if costs[1] > ", "if len(self.seen) > 3 and costs[1] >= "))
    write_drums(here / "recordings", 4)
    options = ["--data-root", "recordings", "--backbone", tiny_folder, "--epochs", 4, "--batch-size", 6]
    own = [word for pair in OWN for word in pair]
    before = os.getcwd()
    os.chdir(here)
    try:
        done = script("frontier", *own, *options, "--max-trials", 6, "--out", "run")
    finally:
        os.chdir(before)
    assert done.returncode == 0, done.stderr
    return here


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def resumed(*more, **environment):
    return script("frontier", "--resume", "run", "--max-trials", 7, *more, **environment)


def test_it_searches_by_them(searched):
    sweep, header = load_sweep(searched / "run"), read_journal(searched / "run")[0]
    assert len(sweep.trials) == 6
    assert sweep.states["stopped"] >= 1
    assert header["data"]["name"] == "recordings"
    assert header["layouts"] == {"my_sounds.py:drums": (searched / "my_sounds.py").read_text()}
    assert len(header["search"]["sampler_code"]) == len(header["search"]["scheduler_code"]) == 12
    assert {event["milestone"] for event in read_journal(searched / "run") if event["type"] == "decision"} == {2}


def test_a_strangers_run_is_not_resumed_with_its_code(searched, tmp_path, monkeypatch):
    monkeypatch.chdir(searched)
    done = resumed(ASTMOA_CACHE=str(tmp_path / "another"))
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert "it runs code that this user has not named on this machine: add " in line
    assert all(f"{flag} {name}" in line for flag, name in OWN)


def test_another_source_is_another_search(searched, monkeypatch):
    monkeypatch.chdir(searched)
    for name, old, new, words in (
        ("my_search.py", "n_startup_trials=4", "n_startup_trials=5", "written with another search: sampler_code"),
        ("my_sounds.py", "% 3", "% 3 ", "my_sounds.py:drums has changed since this run began"),
    ):
        source = (searched / name).read_text()
        (searched / name).write_text(source.replace(old, new))
        done = resumed()
        (searched / name).write_text(source)
        assert done.returncode == 2
        assert words in done.stderr.strip().splitlines()[-1]


def test_its_bundle_predicts_anywhere_and_trains_again_for_who_trusts_it(searched, tmp_path, monkeypatch, capsys):
    bundle, clip = searched / "run" / "best", searched / "recordings" / "kick-anna-0.wav"
    assert (bundle / "layout.py").read_text() == (searched / "my_sounds.py").read_text()
    monkeypatch.chdir(tmp_path)
    code = f"import sys; from astmoa.cli.main import main; main({['predict', str(bundle), str(clip), '--json']!r})"
    done = _python(code)
    assert json.loads(done.stdout)["predictions"][0]["label"] in ("kick", "snare"), done.stderr
    again = ["reproduce", str(bundle), "--data-root", str(searched / "recordings"), "--json"]
    code = f"from astmoa.cli.main import main; main({again!r})"
    refused = _python(code)
    assert refused.returncode == 2
    assert "is code from outside, which is not run because a file names it" in refused.stderr.strip().splitlines()[-1]
    code = f"from astmoa.cli.main import main; main({[*again, '--trust-code']!r})"
    done = _python(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["inside"]


def test_data_check_looks_at_it(searched, monkeypatch, capsys):
    monkeypatch.chdir(searched)
    main(["data", "check", "my_sounds.py:drums", "recordings", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert report["splits"] == {"fold 1": 8, "fold 2": 8, "fold 3": 8}
    with pytest.raises(SystemExit):
        main(["data", "check", "my_sounds.py:cymbals", "recordings"])
    assert "is no layout: it has drums" in capsys.readouterr().err
