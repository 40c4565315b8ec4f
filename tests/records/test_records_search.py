"""What the records say of a search: phases, stops, standings, and where time and epochs went."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astmoa.pareto import frontier
from astmoa.pareto.spread import Spread
from astmoa.records.hypervolumes import hypervolume_trace
from astmoa.records.load import sweep_record, trial_record
from astmoa.records.standing import front_probabilities, standing, step_time_front
from tests.helpers.journals import BEGIN, Trial, config, confirming, search_events, searched, sweep_events, trial_events


def found(experts, size, accuracy, **changes):
    """A trial of a search."""
    return Trial(f"s{experts}", config(experts), size=size, accuracy=accuracy, phase="search", **changes)


def sweep_of(*trials, **search):
    return sweep_record(search_events(trials, **search))


def again(trial, *accuracies, state="completed"):
    """Its replicates of the confirm phase, with these accuracies."""
    return [
        dataclasses.replace(
            trial,
            trial_id=f"{trial.trial_id}-{seed}",
            config=dataclasses.replace(trial.config, seed=seed),
            accuracy=accuracy,
            phase="confirm",
            state=state,
        )
        for seed, accuracy in enumerate(accuracies, 1)
    ]


def names(sweep, by_point):
    """The same, by the label instead of the hash."""
    labels = {point.point: point.label for point in sweep.points()}
    return {labels[point]: value for point, value in by_point.items()}


def test_a_search_is_told_from_a_study_of_points():
    assert not sweep_record(sweep_events([Trial("t0", config())])).is_search
    sweep = sweep_of(found(1, 1_000, 0.5), found(2, 2_000, 0.6, state="stopped", epochs=2))
    assert (sweep.is_search, sweep.confirmed, sweep.objectives) == (True, False, ("params", "accuracy"))
    assert (sweep.reason, sweep.num_epochs) == ("every trial ended", 5)
    assert sweep_record(search_events([found(1, 1_000, 0.5)], ended=False)).reason is None
    completed, stopped = sweep.trials
    assert (completed.phase, completed.stopped_at, completed.val_accuracy) == ("search", None, 0.5)
    assert (stopped.state, stopped.stopped_at, stopped.val_accuracy) == ("stopped", 2, None)


def test_a_new_start_revokes_a_stop():
    events = trial_events(found(1, 1_000, 0.5, state="stopped", epochs=2), 0)
    assert trial_record(events).stopped_at == 2
    record = trial_record([*events, {"type": "start", "time": 50.0, "trial_id": "s1", "device": "cpu"}])
    assert (record.state, record.stopped_at, record.started, record.last_started) == ("running", None, 1, 50)


def test_confirmed_points_are_judged_by_fresh_replicates_alone():
    lucky = found(1, 1_000, 0.9)
    (point,) = sweep_of(lucky).points()
    assert (point.confirmed, point.val_accuracy.mean) == (False, 0.9)
    sweep = sweep_of(lucky, *again(lucky, 0.5, 0.6))
    (point,) = sweep.points()
    assert (point.confirmed, sweep.confirmed, len(point.trials), len(point.completed)) == (True, True, 3, 2)
    assert point.val_accuracy == Spread.of([0.5, 0.6], (0, 1))
    assert point.test_accuracy.mean == pytest.approx(0.5)
    assert {fold: len(trials) for fold, trials in point.completed_folds.items()} == {1: 2}
    # As long as no fresh replicate has completed there is only the search's.
    for state in ("failed", "running"):
        (point,) = sweep_of(lucky, *again(lucky, 0.5, state=state)).points()
        assert (point.confirmed, point.val_accuracy.mean, len(point.counted)) == (False, 0.9, 2)


def test_confirmed_points_alone_contend():
    small, large = found(1, 1_000, 0.7), found(2, 9_000, 0.95)
    sweep = sweep_of(small, large, found(4, 5_000, 0.9, state="stopped"))
    assert [point.label for point in sweep.contenders()] == ["1/1", "2/1"]
    sweep = sweep_of(small, large, *again(small, 0.6, 0.6))
    assert [point.label for point in sweep.contenders()] == ["1/1"]
    assert sweep_of().contenders() == ()


def test_standings():
    points = [
        found(1, 1_000, 0.5),
        found(2, 2_000, 0.8),
        found(4, 3_000, 0.78),  # of 200 clips each: intervals of 5.5 % to both sides
        found(6, 4_000, 0.6),
        found(8, 5_000, 0.9, state="stopped"),
        found(10, 6_000, 0.9, state="failed"),
    ]
    sweep = sweep_of(*points)
    expected = {"1/1": "front", "2/1": "front", "4/1": "near-front", "6/1": "dominated"}
    assert names(sweep, standing(sweep)) == expected
    assert standing(sweep_of()) == {}
    assert standing(sweep_of(points[-1])) == {}


def test_a_lucky_replicate_is_not_put_before_confirmed_ones():
    lucky, near, bad = found(1, 1_000, 0.99), found(2, 2_000, 0.66), found(4, 3_000, 0.3)
    confirmed = found(6, 2_000, 0.9)
    sweep = sweep_of(lucky, near, bad, confirmed, *again(confirmed, 0.69, 0.7, 0.71))
    expected = {"1/1": "near-front", "2/1": "near-front", "4/1": "dominated", "6/1": "front"}
    assert names(sweep, standing(sweep)) == expected


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=12))
def test_the_standing_on_the_front_is_the_frontiers(values):
    """However many points there are, and whatever is equal."""
    trials = [found(i + 1, 1_000 * size, accuracy / 20, clips=None) for i, (size, accuracy) in enumerate(values)]
    sweep = sweep_of(*trials)
    stands = names(sweep, standing(sweep))
    front = {trials[i].label for i in frontier.front([(t.size, t.accuracy) for t in trials])}
    assert {label for label, value in stands.items() if value == "front"} == front
    # Without intervals only what is as accurate as the front reaches it, from its right.
    best = {t.label: max(u.accuracy for u in trials if u.size <= t.size) for t in trials}
    near = {t.label for t in trials if t.label not in front and t.accuracy == best[t.label]}
    assert {label for label, value in stands.items() if value == "near-front"} == near


def test_the_probability_of_being_on_the_front():
    clear, behind = found(1, 1_000, 0.9), found(2, 2_000, 0.9)
    assert front_probabilities(sweep_of(clear, behind)) == {}  # the search's own replicates say nothing about luck
    sweep = sweep_of(clear, behind, *again(clear, 0.8, 0.81, 0.82), *again(behind, 0.7, 0.71, 0.72))
    probabilities = names(sweep, front_probabilities(sweep))
    assert probabilities["1/1"] == 1  # nothing is smaller
    assert probabilities["2/1"] < 0.05
    one = sweep_of(clear, behind, *again(clear, 0.8), *again(behind, 0.8))
    assert names(one, front_probabilities(one))["2/1"] == pytest.approx(0.5, abs=0.05)  # by its clips' error alone
    unknown = [dataclasses.replace(trial, clips=None) for trial in (*again(clear, 0.8), *again(behind, 0.8))]
    assert front_probabilities(sweep_of(*unknown)) == {}


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=10),
)
def test_the_front_in_three_objectives(values):
    trials = [
        found(i + 1, 1_000 * size, accuracy / 5, step_seconds=float(step))
        for i, (size, accuracy, step) in enumerate(values)
    ]
    sweep = sweep_of(*trials, objectives=["params", "accuracy", "step_time"])
    expected = {
        a.label
        for a, (size, accuracy, step) in zip(trials, values, strict=True)
        if not any(
            other != (size, accuracy, step) and other[0] <= size and other[1] >= accuracy and other[2] <= step
            for other in values
        )
    }
    assert set(names(sweep, dict.fromkeys(step_time_front(sweep)))) == expected
    assert step_time_front(sweep_of(*trials)) == set()  # it was no objective


def test_the_step_time_is_the_fastest_epochs():
    events = search_events([found(1, 1_000, 0.5)])
    for event in events:
        if event["type"] == "epoch":
            event["step_seconds"] = {1: 0.3, 2: 0.1, 3: 0.2}[event["epoch"]]
    assert sweep_record(events).points()[0].step_seconds == 0.1
    assert sweep_record(sweep_events([Trial("old", config())])).points()[0].step_seconds is None


def brute_force_trace(events):
    """After every end of a completed trial, from all that came before."""
    sizes = {e["trial_id"]: e["params"]["num_trainable_params"] for e in events if e["type"] == "proposal"}
    rows = []
    for i, event in enumerate(events):
        if event["type"] == "end" and event["state"] == "completed":
            before = [e for e in events[: i + 1] if e["type"] == "end" and e["state"] == "completed"]
            points = [(sizes[e["trial_id"]], e["val_accuracy"]) for e in before]
            epochs = sum(e["type"] == "epoch" and e["time"] <= event["time"] for e in events)
            rows.append((event["time"], len(before), epochs, frontier.standard_hypervolume(points)))
    return rows


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 10, 500, 20_000, 99_999_999, 200_000_000]), st.integers(0, 10), st.booleans()),
        max_size=15,
    )
)
def test_the_trace_is_the_hypervolume_of_all_so_far(values):
    trials = [
        found(i + 1, size, accuracy / 10, state="completed" if done else "stopped")
        for i, (size, accuracy, done) in enumerate(values)
    ]
    events = sorted(search_events(trials), key=lambda event: event["time"])
    np.testing.assert_allclose(sweep_record(events).hypervolume_trace(), brute_force_trace(events) or [])


def test_the_trace_of_trials_side_by_side():
    events = sorted(search_events(searched(40)), key=lambda event: event["time"])  # 12 epochs, begun every ten seconds
    trace = sweep_record(events).hypervolume_trace()
    np.testing.assert_allclose(trace, brute_force_trace(events))
    assert [row.num_completed for row in trace] == list(range(1, len(trace) + 1))


def test_the_trace_is_the_searchs_own():
    trials = searched(20)
    done = [trial for trial in trials if trial.state == "completed"]
    sweep = sweep_of(*trials, *confirming(done[:3], luck=-0.1))
    assert sweep.hypervolume_trace() == sweep_of(*trials).hypervolume_trace()
    assert len(hypervolume_trace(sweep.trials)) == len(done) + 9


def test_where_the_devices_time_went():
    """One second an epoch, a quarter of it validation, half a second of test, half a second besides."""
    trials = [found(1, 1_000, 0.5), found(2, 2_000, 0.6, state="stopped", epochs=2), found(4, 3_000, 0, state="failed")]
    spent = sweep_of(*trials).device_seconds()
    assert spent == pytest.approx({"start_up": 0.5, "training": 2.25, "evaluation": 1.25, "stopped": 3, "failed": 4})


def test_a_share_of_a_device_divides_all_parts():
    events = search_events([found(1, 1_000, 0.5)])
    events[-2]["device_seconds"] /= 4
    sweep = sweep_record(events)
    assert sweep.trials[0].device_share == pytest.approx(0.25)
    parts = {"start_up": 0.125, "training": 0.5625, "evaluation": 0.3125, "stopped": 0, "failed": 0}
    assert sweep.device_seconds() == pytest.approx(parts)


def test_the_time_before_a_trial_was_resumed_counts():
    """Two epochs, a break of an hour, the third, the end: the break is in nobody's account."""
    events = search_events([found(1, 1_000, 0.5)])
    begin, third = (
        next(i for i, e in enumerate(events) if e.get(k) == v) for k, v in (("type", "start"), ("epoch", 3))
    )
    for event in events[third:]:
        event["time"] += 3600
    events.insert(third, {**events[begin], "time": events[third]["time"] - 1})
    end = next(event for event in events if event["type"] == "end")
    assert end["time"] - events[third]["time"] == 2
    end["device_seconds"] = 2 + 2.0  # of both attempts
    sweep = sweep_record(events)
    assert sweep.trials[0].device_share == pytest.approx(1)
    assert sweep.device_seconds()["start_up"] == pytest.approx(0.5)


def test_journals_that_do_not_tell_validation_apart_have_one_part():
    spent = sweep_record(
        sweep_events([Trial("old", config()), Trial("new", config(2), state="failed")])
    ).device_seconds()
    assert spent == {"training": 4.0, "stopped": 0.0, "failed": 4.0}
    died = search_events([found(1, 1_000, 0.5, state="failed")])
    del died[-2]["device_seconds"]  # a worker that died left no time
    assert set(sweep_record(died).device_seconds().values()) == {0.0}


def test_every_prefix_of_a_search_has_records():
    trials = searched(8)
    done = [trial for trial in trials if trial.state == "completed"]
    events = search_events([*trials, *confirming(done, 2)])
    for end in range(1, len(events) + 1):
        sweep = sweep_record(events[:end])
        stands = standing(sweep)
        assert set(stands) == {point.point for point in sweep.points() if point.val_accuracy is not None}
        assert ("front" in stands.values()) == bool(stands)
        assert sum(sweep.device_seconds().values()) == pytest.approx(sum(t.device_seconds or 0 for t in sweep.trials))
    assert events[0]["time"] == BEGIN


def test_until_every_chosen_point_has_a_fresh_replicate_the_front_is_the_searchs():
    """A confirmation that was interrupted, or bounded by trials=1, must not leave a front of one point."""
    small, large = found(1, 1_000, 0.7), found(2, 9_000, 0.95)
    for replicates, labels, confirmed in [
        (again(small, 0.6), ["1/1", "2/1"], False),
        ([*again(small, 0.6), *again(large, 0.9)], ["1/1", "2/1"], True),
        ([*again(small, 0.6), *again(large, 0.9, state="failed")], ["1/1"], True),  # it never will have one
    ]:
        events = search_events([small, large, *replicates])
        points = [event["point"] for event in events if event["type"] == "proposal"][:2]
        events.insert(-1, {"type": "confirm", "time": events[-1]["time"], "points": points, "num_trials": 2})
        sweep = sweep_record(events)
        assert [point.label for point in sweep.contenders()] == labels
        assert sweep.confirmed is confirmed
        assert sweep.points()[0].val_accuracy.mean == (0.6 if confirmed else 0.7)
    assert sweep.chosen == tuple(points)


def test_what_is_found_after_a_confirmation_makes_the_front_the_searchs_again():
    """An extended search may find a point that dominates all that were confirmed: it is not hidden behind them."""
    small, large, new = found(1, 1_000, 0.7), found(2, 9_000, 0.8), found(3, 500, 0.95)
    events = search_events([small, large, *again(small, 0.6), *again(large, 0.75)])
    points = [event["point"] for event in events if event["type"] == "proposal"][:2]
    first = next(i for i, event in enumerate(events) if event.get("phase") == "confirm")
    events.insert(first, {"type": "confirm", "time": events[first - 1]["time"], "points": points, "num_trials": 2})
    confirmed = sweep_record(events)
    assert (confirmed.confirmed, confirmed.outdated) == (True, False)
    extended = [*events, *trial_events(new, events[-1]["time"] + 1)]
    sweep = sweep_record(extended)
    assert (sweep.confirmed, sweep.outdated) == (False, True)
    assert names(sweep, standing(sweep)) == {"1/1": "dominated", "2/1": "dominated", "3/1": "front"}
    anew = {"type": "confirm", "time": extended[-1]["time"] + 1, "points": [new.config.point()], "num_trials": 1}
    begun = sweep_record([*extended, anew])
    assert (begun.confirmed, begun.outdated, begun.num_confirming) == (False, False, 0)
    done = sweep_record([*extended, anew, *trial_events(again(new, 0.9)[0], anew["time"] + 1)])
    assert done.confirmed
