"""kill -9, again and again in one search, through real Ray: in the end journal, rungs and tracker do not show it.

Each kill costs a start of Ray, some ten seconds: by default there are two. ASTMOA_KILLS=20 takes minutes.

One worker at a time, so that the order of a search is determined and two runs of it can be compared event by event.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from astmoa.config import OptimConfig, TrialConfig
from astmoa.engine.confirmation import replicates
from astmoa.engine.driver import Driver
from astmoa.engine.ledger import Ledger
from astmoa.engine.proposers import FixedProposals
from astmoa.records.journal import NAME, read_journal, unfinished_line
from astmoa.replay.simulation import MemoryJournal, VirtualClock
from astmoa.search.searcher import proposal_of
from astmoa.search.stopping_rules import make_scheduler
from tests.helpers import ROOT
from tests.helpers.synthetic import SPACE
from tests.helpers.tiny import make_inputs, make_model

pytestmark = pytest.mark.slow

NUM_KILLS = int(os.environ.get("ASTMOA_KILLS", "2"))
EPOCHS, NUM_CLIPS = 9, 80
TEMPLATE = TrialConfig(optim=OptimConfig(epochs=EPOCHS, batch_size=8, freq_mask=0, time_mask=0))
SEARCH = {"space": SPACE.to_json(), "scheduler": "pareto_asha", "objectives": ["params", "accuracy"]}
HEADER = {
    "format": 1,
    "sweep_id": "killed",
    "study": "tiny",
    "data": {"name": "tiny", "fingerprint": "f"},
    "backbone": {"name": "tiny"},
    "search": SEARCH,
}
DRIVER = """
import sys
from pathlib import Path
from tests.backend.test_resume_sweep import search
if __name__ == "__main__":
    print(search(Path(sys.argv[1])), flush=True)
"""


def backbone():
    from astmoa.backbone.frozen import Backbone

    return Backbone(make_model(), "tiny")


def inputs():
    return make_inputs(NUM_CLIPS, noise=2.0)


def proposals():
    """Every candidate, small and large ones mixed."""
    shape = backbone().shape
    made = [proposal_of(candidate, SPACE, shape, TEMPLATE) for candidate in SPACE.candidates(shape)]
    random.Random(0).shuffle(made)
    return made


def scheduler():
    return make_scheduler("pareto_asha", EPOCHS)


def confirm(ledger: Ledger):
    return list(itertools.chain(*replicates(ledger.front(), (1,), (1,))))


def search(run_dir: Path) -> str:
    from astmoa.backend.run_sweep import run_sweep

    return run_sweep(
        run_dir,
        HEADER,
        FixedProposals(proposals()),
        inputs(),
        backbone(),
        trials_at_once=1,
        scheduler=scheduler(),
        confirm=confirm,
    )


def start(run_dir: Path) -> subprocess.Popen:
    """In a session of its own: Ray's processes are killed together with the driver."""
    root = ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", DRIVER, str(run_dir)]
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def num_lines(run_dir: Path) -> int:
    path = run_dir / NAME
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_once(run_dir: Path, rng: random.Random, number: int) -> None:
    """Some events further, and a moment after; now and then with half a line written."""
    process, wanted = start(run_dir), num_lines(run_dir) + rng.randint(1, 40)
    deadline = time.monotonic() + 300
    while process.poll() is None and num_lines(run_dir) < wanted:
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.15))
    assert process.poll() is None, f"it ended after {number} kills: {process.communicate()}"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if number % 4 == 0 and not unfinished_line(run_dir):
        last = (run_dir / NAME).read_bytes().splitlines()[-1]
        with open(run_dir / NAME, "ab") as file:
            file.write(last[: rng.randint(1, len(last) - 1)])


def without_clocks(values: dict) -> dict:
    return {key: value for key, value in values.items() if key != "time" and "seconds" not in key}


def by_trial(run_dir: Path) -> dict[str, list[dict]]:
    """Every trial's proposal, epochs, decision and end. A trial that was killed has started more than once."""
    found: dict[str, list[dict]] = {}
    for event in read_journal(run_dir):
        if "trial_id" in event and event["type"] != "start":
            found.setdefault(event["trial_id"], []).append(without_clocks(event))
    return found


def answers(run_dir: Path) -> list[int | None]:
    """What the rungs, brought back from the journal, say to newcomers of all sizes and accuracies."""
    clock, told = VirtualClock(), []
    for epoch, size, accuracy in itertools.product((1, 3), (30, 300, 1000, 3000), (0.1, 0.3, 0.5, 0.6, 0.7, 0.9)):
        rungs = scheduler()
        driver = Driver(
            MemoryJournal(clock), FixedProposals(proposals()), dict, scheduler=rungs, num_val_clips={1: NUM_CLIPS // 4}
        )
        driver.restore(read_journal(run_dir))
        told.append(rungs.report("newcomer", epoch, [math.log10(size), -accuracy], [0.0, 0.1]))
    return told


OF_THIS_RUN = {"mlflow.parentRunId", "astmoa.mirrored", "astmoa.artifacts"}


def tracked(uri: str) -> dict[str, tuple]:
    """Every run by its name: status, parameters, tags, and all metric rows."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = {}
    for run in client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=1000):
        rows = {
            key: [(row.step, row.value) for row in client.get_metric_history(run.info.run_id, key)]
            for key in without_clocks(run.data.metrics)
        }
        tags = {key: value for key, value in run.data.tags.items() if key not in OF_THIS_RUN}
        assert run.info.run_name not in found
        found[run.info.run_name] = run.info.status, run.data.params, tags, rows
    return found


def test_a_search_killed_again_and_again_ends_as_the_undisturbed_one(tmp_path, monkeypatch):
    from astmoa.tracking import sync

    # One thread: on a machine that does something else too, two that wait for each other take ten times as long.
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    seed = int(os.environ.get("ASTMOA_KILL_SEED", random.randrange(10**6)))
    print(f"ASTMOA_KILL_SEED={seed}")  # pytest shows it when the test fails
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    stores = {run_dir: f"sqlite:///{run_dir}.db" for run_dir in (whole, killed)}
    assert search(whole) == "every trial ended"
    sync(whole, stores[whole])
    rng = random.Random(seed)
    for number in range(NUM_KILLS):
        kill_once(killed, rng, number)
        sync(killed, stores[killed])  # as far as it came: the tracker, too, gets it in pieces
    assert search(killed) == "every trial ended"
    sync(killed, stores[killed])

    ours, theirs = by_trial(killed), by_trial(whole)
    assert list(ours) == list(theirs)  # the same proposals in the same order
    for trial_id, events in theirs.items():
        assert ours[trial_id] == events
    kinds = [event["type"] for event in itertools.chain(*theirs.values())]
    assert kinds.count("decision") > 10  # what ends is worth comparing
    assert [e["phase"] for e in itertools.chain(*theirs.values()) if e["type"] == "proposal"].count("confirm") > 1
    confirmed = [[without_clocks(e) for e in read_journal(d) if e["type"] == "confirm"][-1] for d in (killed, whole)]
    assert confirmed[0] == confirmed[1]
    told = answers(whole)
    assert answers(killed) == told
    assert {None, 3} <= set(told)  # some would go on, some not
    assert not unfinished_line(killed)
    assert [e["type"] for e in read_journal(killed)].count("resume") >= NUM_KILLS - 1
    assert tracked(stores[killed]) == tracked(stores[whole])
