import dataclasses
import json
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astmoa.errors import RunError
from astmoa.pareto.spread import Spread, clip_interval
from astmoa.records.journal import NAME
from astmoa.records.load import flatten, load_sweep, sweep_record, trial_record
from astmoa.records.lock import hold
from tests.helpers.journals import BEGIN, Trial, config, every_state, header, sweep_events, trial_events, write

# Student's t at 97.5 %, from a printed table.
T = {2: 12.706, 3: 4.303, 5: 2.776}


def test_a_sweep_with_every_state(tmp_path):
    sweep = load_sweep(write(tmp_path, sweep_events(every_state())))
    assert (sweep.sweep_id, sweep.study, sweep.data_name, sweep.backbone_name) == (
        "abc123",
        "n_vs_p",
        "builtin",
        "tiny",
    )
    assert [trial.trial_id for trial in sweep.trials] == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert [t.state for t in sweep.trials] == ["completed", "completed", "failed", "stopped", "paused", "paused"]
    assert sweep.states == {"running": 0, "paused": 2, "stopped": 1, "completed": 2, "failed": 1}
    assert sweep.end["reason"] == "every trial ended"

    first = sweep.trials[0]
    assert (first.seed, first.fold, first.label, first.num_trainable_params) == (0, 1, "1/1", 10_000)
    assert (first.proposed, first.started, first.device) == (BEGIN + 10, BEGIN + 11, "cpu")
    assert [epoch["epoch"] for epoch in first.epochs] == [1, 2, 3]
    assert (first.val_accuracy, first.device_seconds, first.error) == (0.6, 4.0, None)
    assert sweep.trials[5].started is None
    assert sweep.trials[4].end is None


def test_no_trial_runs_where_nobody_is_at_work(tmp_path):
    """After the sweep's end, and after a crash, which leaves no end: then its folder is nobody's."""
    running = [Trial("a", config()), Trial("b", config(2), state="running"), Trial("c", config(3), state="proposed")]
    run_dir = write(tmp_path / "run", sweep_events(running, ended=False))
    with hold(run_dir):
        at_work = load_sweep(run_dir).states
    assert (at_work["running"], at_work["paused"]) == (2, 0)
    crashed = load_sweep(run_dir).states
    assert (crashed["running"], crashed["paused"], crashed["completed"]) == (0, 2, 1)
    ended = sweep_record(sweep_events(running)).states
    assert ended == crashed
    resumed = [*sweep_events(running), header(type="resume"), *trial_events(running[1], BEGIN)[1:2]]
    assert sweep_record(resumed).states == at_work


def test_only_completed_trials_have_accuracies(tmp_path):
    trials = load_sweep(write(tmp_path, sweep_events(every_state()))).trials
    assert trials[3].end["val_accuracy"] == 0.9  # stopped: the journal has a truncated value ...
    assert trials[3].val_accuracy is None  # ... that nobody gets as a result
    assert trials[3].test_accuracy is None
    assert trials[2].val_accuracy is None
    assert trials[2].error == "loss is not finite\nin epoch 4"
    assert trials[4].val_accuracy is None


def point_of(*replicates):
    """One point of (seed, fold, accuracy)."""
    trials = [Trial(f"t{i}", config(2, 3, seed=s, fold=f), accuracy=a) for i, (s, f, a) in enumerate(replicates)]
    (point,) = sweep_record(sweep_events(trials)).points()
    return point


def test_points_gather_seeds():
    point = point_of((0, 1, 0.5), (1, 1, 0.6), (2, 1, 0.8))
    spread = point.val_accuracy
    assert (spread.mean, spread.n) == (pytest.approx(statistics.mean([0.5, 0.6, 0.8])), 3)
    assert spread.std == pytest.approx(0.15275, abs=1e-5)  # the sample's (n - 1), not the population's
    half = T[3] * spread.std / 3**0.5
    assert (spread.low, spread.high) == (pytest.approx(spread.mean - half, abs=1e-4), 1.0)  # no accuracy is above 1
    assert point.test_accuracy.mean == pytest.approx(spread.mean - 0.05)
    assert point.device_seconds == Spread(4.0, 0.0, 3, 4.0, 4.0)
    assert (point.paper_params, point.num_trainable_params) == (9_500, 10_000)


def test_seeds_of_one_fold_count_as_one():
    point = point_of((0, 1, 0.5), (0, 2, 0.6), (1, 1, 0.8), (1, 2, 0.4))
    expected = Spread.of([0.65, 0.5], (0, 1))
    assert dataclasses.astuple(point.val_accuracy) == pytest.approx(dataclasses.astuple(expected))
    assert (point.test_accuracy.mean, point.test_accuracy.n) == (pytest.approx(0.525), 2)
    assert (point.device_seconds.n, len(point.completed)) == (2, 4)
    assert {fold: [t.seed for t in trials] for fold, trials in point.completed_folds.items()} == {1: [0, 1], 2: [0, 1]}


def test_an_interrupted_fold_is_the_mean_of_what_is_there():
    spread = point_of((0, 1, 0.5), (0, 2, 0.6), (1, 1, 0.8)).val_accuracy
    assert (spread.mean, spread.n) == (pytest.approx(0.625), 2)  # of 0.65 and 0.6, not of three trials
    done = [Trial("a", config(fold=1, seed=0), accuracy=0.5), Trial("b", config(fold=1, seed=1), accuracy=0.7)]
    half_done = Trial("c", config(fold=2), state="running", accuracy=0.9)
    (point,) = sweep_record(sweep_events([*done, half_done])).points()
    assert (point.val_accuracy, list(point.completed_folds)) == (Spread.of([0.5, 0.7], (0, 1)), [1])


@pytest.mark.parametrize(("folds", "seeds"), [(5, 2), (3, 4)])
def test_the_interval_holds_the_truth_where_folds_are_harder_or_easier(folds, seeds):
    """The deviation between folds is three times that between seeds. Over all trials alike: 83 of 100 for 5 x 2."""
    point = point_of(*((seed, fold, 0.5) for fold in range(1, folds + 1) for seed in range(seeds)))
    generator = np.random.default_rng(0)
    draws = 0.5 + 0.03 * generator.normal(size=(3000, folds, 1)) + 0.01 * generator.normal(size=(3000, folds, seeds))
    held = 0
    for accuracies in draws.reshape(3000, -1).tolist():
        for trial, accuracy in zip(point.trials, accuracies, strict=True):
            trial.end["val_accuracy"] = accuracy
        spread = point.val_accuracy
        held += spread.low <= 0.5 <= spread.high
    assert held / 3000 == pytest.approx(0.95, abs=0.012)  # three standard errors


def test_points_count_completed_trials_only():
    one, two, three = sweep_record(sweep_events(every_state())).points()
    assert (one.val_accuracy.n, len(one.trials)) == (2, 2)
    assert (two.val_accuracy, two.test_accuracy, two.device_seconds, len(two.trials)) == (None, None, None, 2)
    assert (three.completed, len(three.trials)) == ((), 2)


def test_spread():
    assert Spread.of([]) is None
    assert Spread.of([None, None]) is None
    assert Spread.of([None, 0.5]) == Spread(0.5, None, 1)
    assert Spread.of([None, 0.5], (0, 1), (0.4, 0.7)) == Spread(0.5, None, 1, 0.4, 0.7)
    half = T[2] * 2**0.5 / 2**0.5
    assert Spread.of([1.0, 3.0], over_clips=(0.0, 0.1)) == Spread(
        2.0, pytest.approx(2**0.5), 2, pytest.approx(2 - half, abs=1e-3), pytest.approx(2 + half, abs=1e-3)
    )  # below 0: seconds are not cut
    assert Spread.of([0.1, 0.9], (0, 1)).low == 0
    assert Spread.of([0.1, 0.9], (0, 1)).high == 1


@pytest.mark.parametrize("n", [2, 5])
def test_the_interval_holds_the_truth_in_95_of_100(n):
    samples = np.random.default_rng(0).normal(3.0, 2.0, (2000, n))
    held = [spread.low <= 3.0 <= spread.high for spread in map(Spread.of, samples.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("correct", "clips"), [(174, 200), (3, 40), (58, 60)])
def test_the_interval_over_clips_is_the_bootstraps(correct, clips):
    answers = np.arange(clips) < correct
    drawn = np.random.default_rng(0).integers(clips, size=(20_000, clips))
    expected = np.quantile(answers[drawn].mean(axis=1), [0.025, 0.975])
    np.testing.assert_allclose(clip_interval(correct / clips, clips), expected, atol=1 / clips + 1e-9)


@given(st.integers(1, 3000).flatmap(lambda clips: st.tuples(st.integers(0, clips), st.just(clips))))
def test_an_interval_over_clips_lies_about_the_accuracy(counts):
    correct, clips = counts
    accuracy = float(np.float32(correct / clips))  # as the trainer writes it
    low, high = clip_interval(accuracy, clips)
    assert 0 <= low <= correct / clips <= high <= 1
    assert low < high


@pytest.mark.parametrize("clips", [1, 7, 40, 2000])
def test_all_right_is_not_certain(clips):
    """Clopper and Pearson's bound for c of c solves p^c = 0.025: with less, c right answers were too lucky."""
    low, high = clip_interval(1.0, clips)
    assert (low**clips, high) == (pytest.approx(0.025), 1.0)
    assert clip_interval(0.0, clips) == (0.0, pytest.approx(1 - low))


def test_one_replicate_has_the_interval_over_its_clips():
    trials = [Trial("t0", config(), accuracy=0.8), Trial("t1", config(seed=1), state="failed")]
    (point,) = sweep_record(sweep_events(trials)).points()
    low, high = clip_interval(0.8, 200)
    assert (low, high) == (0.745, 0.855)  # 1.96 standard errors of 2.83 % are 5.5 %
    assert point.val_accuracy == Spread(0.8, None, 1, low, high)
    assert (point.test_accuracy.low, point.test_accuracy.high) == clip_interval(0.75, 200)
    (old,) = sweep_record(sweep_events([Trial("t0", config(), clips=None)])).points()
    assert (old.val_accuracy.low, old.val_accuracy.high) == (None, None)


def test_an_interval_that_was_written_counts():
    events = sweep_events([Trial("t0", config(), accuracy=0.8)], data={"name": "openmic", "metric": "mAP"})
    sweep = sweep_record(events)
    assert (sweep.metric, sweep.trials[0].val_interval) == ("mAP", None)  # mAP counts no correct clips
    end = next(event for event in events if event["type"] == "end")
    end |= {"val_interval": [0.7, 0.9], "test_interval": [0.6, 0.85]}
    (point,) = sweep_record(events).points()
    assert (point.val_accuracy.low, point.val_accuracy.high, point.test_accuracy.low) == (0.7, 0.9, 0.6)
    end["state"] = "stopped"
    assert sweep_record(events).trials[0].val_interval is None


def test_metric_is_accuracy_where_nothing_else_is_said():
    assert sweep_record([header()]).metric == sweep_record([header(data="esc50")]).metric == "accuracy"


def test_the_papers_figures_travel_with_the_proposal():
    trials = [Trial("t0", config(1)), Trial("t1", config(2), paper={"esc50": 87.48})]
    without, given_one = sweep_record(sweep_events(trials)).points()
    assert (without.paper, given_one.paper, given_one.trials[0].paper) == ({}, {"esc50": 87.48}, {"esc50": 87.48})


def test_a_resumed_trial_replaces_what_it_did_again():
    trial = Trial("t0", config(), state="running", epochs=3, accuracy=0.6)
    first = trial_events(trial, 0)
    again = trial_events(dataclasses.replace(trial, state="completed", epochs=2, accuracy=0.9), 100)[1:]
    record = trial_record([*first, again[0]])
    assert (record.state, len(record.epochs), record.started) == ("running", 3, 1)
    record = trial_record([*first, *again[:2]])  # epoch 1 done again: what the first attempt did after it is void
    assert [(e["epoch"], e["time"]) for e in record.epochs] == [(1, 102)]
    record = trial_record([*first, *again])
    assert ([e["time"] for e in record.epochs], record.val_accuracy, record.started) == ([102, 103], 0.9, 1)


def test_a_new_start_revokes_a_failure():
    failed = trial_events(Trial("t0", config(), state="failed"), 0)
    again = trial_events(Trial("t0", config(), accuracy=0.7), 100)
    assert trial_record([*failed, again[1]]).state == "running"
    record = trial_record([*failed, *again[1:]])
    assert (record.state, record.val_accuracy, record.error) == ("completed", 0.7, None)


def test_an_extended_sweep_has_not_ended():
    events = sweep_events(every_state()[:1])
    assert sweep_record(events).end is not None
    more = [{**header(), "type": "resume", "sweep_id": "other"}, *trial_events(every_state()[1], BEGIN + 500)]
    extended = sweep_record([*events, *more])
    assert (extended.end, len(extended.trials), extended.sweep_id) == (None, 2, "abc123")


def test_names_as_plain_text():
    sweep = sweep_record([header(data="esc50", backbone=None)])
    assert (sweep.data_name, sweep.backbone_name) == ("esc50", "?")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "begins with no sweep"),
        (trial_events(Trial("t0", config()), 0), "begins with no sweep"),
        ([{"type": "sweep", "time": 0.0, "study": "x"}], "begins with no sweep"),
        (
            [header(), {"type": "end", "time": 0.0, "trial_id": "t9", "state": "failed"}],
            "end of trial t9, never proposed",
        ),
    ],
)
def test_what_is_no_sweep_is_one_line_that_names_the_folder(tmp_path, events, message):
    write(tmp_path, events)
    with pytest.raises(RunError, match=message) as caught:
        load_sweep(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_prefix_of_a_journal_is_a_sweep(tmp_path):
    """A crash can leave any of them."""
    lines = (write(tmp_path, sweep_events(every_state())) / NAME).read_bytes().splitlines(keepends=True)
    for end in range(1, len(lines) + 1):
        sweep = sweep_record([json.loads(line) for line in lines[:end]])
        assert sum(sweep.states.values()) == len(sweep.trials)
        assert all(t.epochs == tuple(sorted(t.epochs, key=lambda e: e["epoch"])) for t in sweep.trials)


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1], "f": {}}) == {"a.b": 1, "a.c.d": None, "e": [1], "f": {}}


def test_trials_come_in_the_studys_order_not_in_that_of_their_starts():
    events = sweep_events([Trial("late", config(4)), Trial("early", config(2))])
    for event in events:
        if event["type"] == "proposal":
            event["index"] = {"late": 1, "early": 0}[event["trial_id"]]
    assert [trial.trial_id for trial in sweep_record(events).trials] == ["early", "late"]
