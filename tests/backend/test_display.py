"""What the display says of a driver that runs on made-up curves."""

import re

import pytest

from astmoa.backend import display as module
from astmoa.backend.display import Display
from astmoa.engine.budgets import Budget
from astmoa.engine.confirmation import replicates
from astmoa.engine.proposers import FixedProposals
from tests.helpers.synthetic import curves, driver, run, search


@pytest.fixture
def now(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock


def enumerated(number=3, epochs=2, **options):
    """A driver of so many proposals, and these."""
    source = search(epochs=epochs)
    proposals = [source.next() for _ in range(number)]
    return driver(proposer=FixedProposals(proposals), scheduler=None, epochs=epochs, **options), proposals


def report(made, trial_id, epoch, accuracy=0.5, end=None, device_seconds=0.0):
    record = {"epoch": epoch, "val_accuracy": accuracy, "seconds": 4.0, "val_seconds": 1.0}
    return made.report(trial_id, record, end, device_seconds)


def completed(accuracy):
    return {"state": "completed", "val_accuracy": accuracy, "test_accuracy": accuracy, "test_seconds": 0.5}


def test_the_time_left_is_the_pace_since_the_first_trial_times_what_is_left(now):
    made, proposals = enumerated(3, 2)
    display = Display(made, proposals)
    made.watch(display.changed)
    assert display.epochs_left() == 6
    now[0] = 150.0  # workers starting: no part of the pace
    first = made.next().trial_id
    made.start(first)
    assert display.seconds_left() is None
    now[0] += 4
    report(made, first, 1)
    assert display.seconds_left() == 4 * 5
    now[0] += 4
    report(made, first, 2, end=completed(0.5))
    assert display.seconds_left() == 4 * 4
    second = made.next().trial_id
    made.start(second)
    made.fail(second, "boom")  # its epochs are not waited for
    assert display.seconds_left() == 4 * 2


def test_a_search_expects_of_trials_to_come_what_those_that_ended_took(now):
    made = driver(budget=Budget(max_trials=5), scheduler="pareto_asha", epochs=9)
    display = Display(made, None)
    made.watch(display.changed)
    ids = []
    for _ in range(2):
        ids.append(made.next().trial_id)
        made.start(ids[-1])
    now[0] += 10
    report(made, ids[0], 1, 0.5)
    assert display.epochs_left() is None  # no trial has ended: nobody knows how many epochs one takes
    assert display.seconds_left() is None
    made.fail(ids[0], "boom")  # after 1 epoch
    assert display.epochs_left() == 3 * 1 + 9
    assert display.seconds_left() == 10 * 12


def test_a_budget_of_time_bounds_what_is_left(now):
    clock = [0.0]
    made = driver(clock=lambda: clock[0], budget=Budget(max_hours=1))
    display = Display(made, None)
    made.watch(display.changed)
    trial_id = made.next().trial_id
    made.start(trial_id)
    clock[0] = now[0] = 600.0
    report(made, trial_id, 1, device_seconds=500.0)
    assert display.seconds_left() == 3000
    made = driver(clock=lambda: clock[0], budget=Budget(max_device_hours=1))
    display = Display(made, None)
    made.watch(display.changed)
    trial_id = made.next().trial_id
    made.start(trial_id)
    now[0] += 100
    report(made, trial_id, 1, device_seconds=360.0)
    assert display.seconds_left() == pytest.approx(900)  # a tenth in 100 seconds


def test_epochs_known_from_an_earlier_run_do_not_set_the_pace(now):
    made, proposals = enumerated(2, 2)
    journal = made._journal
    trial_id = made.next().trial_id
    made.start(trial_id)
    report(made, trial_id, 1)
    again = driver(proposer=FixedProposals(proposals), scheduler=None, epochs=2)
    again.restore(journal.events)
    display = Display(again, proposals)
    again.watch(display.changed)
    again.start(again.next().trial_id)
    report(again, trial_id, 1)  # a resumed trial reports its past first
    assert display.seconds_left() is None
    assert display.epochs_left() == 3


def test_trials_by_state_add_up_and_replicates_join_the_total(now):
    table = curves(seeds=(0, 1))
    made = run(
        2,
        table,
        budget=Budget(max_trials=20),
        confirm=lambda ledger: [own for (own,) in replicates(ledger.front(), (1,), (1,))],
    )
    text = Display(made, None).text()
    states = [trial.state for trial in made.ledger.trials.values()]
    total = 20 + len(made.ledger.front())
    assert f"{total}/{total} trials (0 running, " in text
    for state in ("completed", "stopped"):
        assert f"{states.count(state)} {state}" in text
    assert f"front {len(made.ledger.front())}, hypervolume {made.ledger.hypervolumes[-1]:.4f}" in text
    best = max(made.ledger.searched("completed"), key=lambda trial: trial.final)
    assert f"best val {100 * best.final:.1f} % ({best.proposal.label})" in text
    assert "failed" not in text


def test_device_seconds_are_told_by_what_they_went_into(now):
    made = run(2, curves())
    trials = made.ledger.trials.values()
    front, seconds = Display(made, None).details()
    start_up, training, evaluation, wasted = map(int, re.findall(r"\d+", seconds))
    assert start_up + training + evaluation == pytest.approx(made.ledger.device_seconds, abs=2)
    assert evaluation == pytest.approx(0.1 * sum(trial.epoch for trial in trials), abs=1)
    assert wasted == pytest.approx(sum(t.device_seconds for t in trials if t.state == "stopped"), abs=1)
    shown = re.findall(r"([\d,]+) \d+\.\d %", front)
    sizes = [trial.size for trial in made.ledger.front()]
    assert [int(number.replace(",", "")) for number in shown] == (sizes if len(sizes) <= 6 else sizes[:3] + sizes[-3:])
    assert ("..." in front) == (len(sizes) > 6)


def test_without_a_terminal_it_prints_whole_lines(capsys):
    made, proposals = enumerated(1, 2)
    with Display(made, proposals, every=0.0) as display:
        made.watch(display.changed)
        trial_id = made.next().trial_id
        made.start(trial_id)
        report(made, trial_id, 1, 0.25)
        report(made, trial_id, 2, 0.75, completed(0.75))
    lines = capsys.readouterr().err.strip().splitlines()
    assert "starting workers" in lines[0]
    assert "1 epochs | best val so far 25.0 %" in lines[2]
    assert f"best val 75.0 % ({proposals[0].label})" in lines[-1]
    assert "1/1 trials (0 running, 1 completed)" in lines[-1]
