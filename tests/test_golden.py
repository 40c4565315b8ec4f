"""What an earlier version wrote is still what it was: names of trials, a run folder, a bundle, the recorded grid.

tests/golden/make.py made all of it, with the version of 2026-11-28. It is not to be made anew where a test fails: the
runs that people have would be as lost as the golden one.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from astmoa.bundles.export import Predictor, export
from astmoa.config import TrialConfig, complete
from astmoa.records.journal import NAME, read_journal
from astmoa.records.load import load_sweep
from astmoa.replay.curves import Curves
from tests.helpers import ROOT

GOLDEN = ROOT / "tests" / "golden"
RUN = GOLDEN / "run"
HASHES = json.loads((GOLDEN / "hashes.json").read_text())
GRID = ROOT / "benchmarks" / "grids" / "fsdd60.json.gz"


@pytest.mark.parametrize("golden", HASHES, ids=[golden["hash"] for golden in HASHES])
def test_a_trial_keeps_its_name(golden):
    config = TrialConfig.from_dict(golden["config"])
    whole = complete(config)
    assert (config.hash(), config.point()) == (golden["hash"], golden["point"])
    assert (whole.hash(), whole.point()) == (golden["complete_hash"], golden["complete_point"])
    assert config.to_dict() == golden["config"]


def test_the_recorded_grid_keeps_its_names():
    curves = Curves.load(GRID)  # which looks up every candidate by its name
    assert len(curves.trials) == 654
    names = "".join(sorted(curves.trials))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "c852d25befbca42a"


def test_the_run_is_read_and_exported(tmp_path):
    sweep = load_sweep(RUN)
    assert [(t.trial_id, t.label, t.state, t.val_accuracy, t.test_accuracy) for t in sweep.trials] == [
        ("56c175526a0f", "linear", "completed", 0.39444444444444443, 0.37916666666666665),
        ("9c3bca6b5332", "soft 2/2 r1 attention", "completed", 0.5944444444444444, 0.6416666666666667),
    ]
    for trial in sweep.trials:
        config = TrialConfig.from_dict(trial.config)
        assert (config.hash(), config.point()) == (trial.trial_id, trial.point)
    export(RUN, "best", tmp_path / "best")
    for name in ("adapter.safetensors", "config.yaml", "labels.json"):
        assert (tmp_path / "best" / name).read_bytes() == (RUN / "best" / name).read_bytes()


def test_the_bundle_predicts_what_it_predicted(tmp_path):
    """To rounding: other processors sum in another order."""
    spec = importlib.util.spec_from_file_location("make", GOLDEN / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    logits = Predictor(RUN / "best").logits(make.tone(tmp_path / "tone.wav"))
    expected = torch.tensor(json.loads((GOLDEN / "logits.json").read_text()))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_run_is_resumed_where_it_was_interrupted(tmp_path):
    """Before its second trial had ended."""
    run = shutil.copytree(RUN, tmp_path / "run")
    lines = (run / NAME).read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    ends = [number for number, event in enumerate(events) if event["type"] == "end"]
    (run / NAME).write_text("".join(lines[: ends[0] + 3]))
    last = events[ends[1]]["trial_id"]
    shutil.rmtree(run / "trials" / last)
    command = [sys.executable, str(ROOT / "sweeps" / "random_search.py"), "--resume", str(run)]
    command += ["--trials-at-once", "2", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, timeout=300)
    assert done.returncode == 0, done.stderr
    told = {e["trial_id"]: e for e in read_journal(run) if e["type"] == "end"}
    assert set(told) == {e["trial_id"] for e in events if e["type"] == "end"}
    assert told[last]["val_accuracy"] == pytest.approx(events[ends[1]]["val_accuracy"], abs=0.02)
