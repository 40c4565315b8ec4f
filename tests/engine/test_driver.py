"""The state machine of a sweep, run on made-up curves and a virtual clock: no Ray, no training."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.engine.budgets import Budget
from astmoa.engine.confirmation import replicates
from astmoa.engine.ledger import Ledger
from astmoa.engine.proposers import FixedProposals
from astmoa.errors import ConfigError, RunError
from astmoa.pareto import frontier
from astmoa.records.load import trial_record
from astmoa.replay.simulation import MemoryJournal, VirtualClock, recorded, replay
from astmoa.search.searcher import proposal_of
from tests.helpers.synthetic import NUM_VAL_CLIPS, SHAPE, SPACE, count, curves, driver, run, search, template

TABLE = curves()
NUM_CANDIDATES = len(SPACE.candidates(SHAPE))


def of(events, *types):
    return [event for event in events if event["type"] in types]


def facts(events, trial_id):
    """A trial's events without times."""
    return [{k: v for k, v in e.items() if k not in ("time", "index")} for e in events if e.get("trial_id") == trial_id]


@pytest.mark.slow
def test_a_search_tries_every_candidate_once_and_says_so():
    driven = run(table=TABLE)
    assert driven.close() == "every candidate of the space was proposed"
    assert (
        len({e["trial_id"] for e in of(driven.events, "proposal")})
        == len(of(driven.events, "proposal"))
        == NUM_CANDIDATES
    )
    for trial in driven.ledger.trials.values():
        assert trial.state in ("completed", "stopped")
        epochs = [e["epoch"] for e in of(driven.events, "epoch") if e["trial_id"] == trial.proposal.trial_id]
        assert epochs == list(range(1, trial.epoch + 1))
        assert (trial.epoch == 9) == (trial.state == "completed")


def test_early_stopping_stops_and_every_stop_is_a_decision_with_its_milestone():
    driven = run(table=TABLE)
    stopped = [e["trial_id"] for e in of(driven.events, "end") if e["state"] == "stopped"]
    assert len(stopped) > NUM_CANDIDATES / 4
    decisions = {e["trial_id"]: e for e in of(driven.events, "decision")}
    assert decisions.keys() == set(stopped)
    assert all(e["milestone"] == e["epoch"] and e["milestone"] in (1, 3) for e in decisions.values())
    assert all(e.get("val_accuracy") is None for e in of(driven.events, "end") if e["state"] == "stopped")


def test_without_a_scheduler_all_run_to_their_end_and_the_front_is_that_of_the_curves():
    driven = run(table=TABLE, scheduler=None)
    assert {trial.state for trial in driven.ledger.trials.values()} == {"completed"}
    found = [(t.size, t.final) for t in driven.ledger.front()]
    every = [(c.params["num_trainable_params"], max(c.val_accuracy)) for c in TABLE.trials.values()]
    assert found == [every[i] for i in frontier.front(every)]
    assert driven.ledger.hypervolumes[-1] == pytest.approx(frontier.standard_hypervolume(every))
    assert driven.ledger.hypervolumes == sorted(driven.ledger.hypervolumes)


def test_device_seconds_add_up():
    driven = run(table=TABLE)
    assert driven.ledger.device_seconds == pytest.approx(sum(t.device_seconds for t in driven.ledger.trials.values()))
    assert driven.ledger.device_seconds == pytest.approx(
        sum(t.training + t.evaluation for t in driven.ledger.trials.values())
    )


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(max_trials=7), "7 trials proposed (--max-trials)"),
        (Budget(max_hours=0.01), "0.01 hours gone (--max-hours)"),
        (Budget(max_device_hours=0.01), "0.01 device-hours spent (--max-device-hours)"),
        (Budget(patience=4, min_growth=0.2), "hypervolume grew by"),
    ],
)
def test_a_budget_ends_the_search_and_is_named(budget, reason):
    driven = run(table=TABLE, budget=budget)
    assert reason in driven.close()
    assert reason in driven.events[-1]["reason"]
    assert 0 < driven.ledger.num_searched < NUM_CANDIDATES
    if budget.max_trials:
        assert driven.ledger.num_searched == 7
        assert all(
            t.state in ("completed", "stopped") for t in driven.ledger.trials.values()
        )  # what ran went on to its end
    if budget.max_hours:
        assert any(t.state == "cut" for t in driven.ledger.trials.values())
        assert driven.elapsed < 36 + 3  # an epoch later at most
    if budget.max_device_hours:
        assert driven.ledger.device_seconds < 36 + 2 * 3


@pytest.mark.slow
@given(
    workers=st.integers(1, 4),
    at=st.integers(1, 150),
    again=st.integers(1, 100),
    sampler=st.sampled_from(["random", "nsga2", "ehvi"]),
)
@settings(max_examples=12, deadline=None)
def test_killed_at_any_moment_and_gone_on_with_nothing_is_lost_or_run_twice(workers, at, again, sampler):
    """The journal is cut after any event, twice; what was in it stays as it is, and every trial comes to its end."""
    budget = Budget(max_trials=25)
    whole = run(workers, TABLE, proposer=search(sampler=sampler), budget=budget).events
    kept = whole[: 1 + at % (len(whole) - 1)]
    for cut in (again, None):
        driven = run(workers, TABLE, events=kept, proposer=search(sampler=sampler), budget=budget)
        assert driven.events[: len(kept)] == kept
        kept = driven.events if cut is None else driven.events[: len(kept) + cut]
    assert driven.close() == "25 trials proposed (--max-trials)"
    assert len({e["trial_id"] for e in of(kept, "proposal")}) == len(of(kept, "proposal")) == 25
    assert all(t.state in ("completed", "stopped") for t in driven.ledger.trials.values())
    for kind in ("epoch", "decision", "end"):
        keys = [(e["trial_id"], e.get("epoch")) for e in of(kept, kind)]
        assert len(keys) == len(set(keys))


@pytest.mark.slow
@given(
    at=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    sampler=st.sampled_from(["random", "nsga2", "tpe", "ehvi"]),
)
@settings(max_examples=8, deadline=None)
def test_with_one_worker_a_resumed_search_is_the_undisturbed_one_event_by_event(at, sampler):
    """Same proposals (the sampler with its history), same rungs, same decisions."""
    options = {"proposer": None, "budget": Budget(max_trials=24)}
    whole = run(1, TABLE, **options | {"proposer": search(sampler=sampler)}).events
    kept = whole
    for cut in at:
        kept = kept[: 1 + cut % (len(kept) - 1)]
        kept = run(1, TABLE, events=kept, **options | {"proposer": search(sampler=sampler)}).events
    ids = [e["trial_id"] for e in of(whole, "proposal")]
    assert [e["trial_id"] for e in of(kept, "proposal")] == ids
    for trial_id in ids:
        ours = [e for e in facts(kept, trial_id) if e["type"] != "start"]
        theirs = [e for e in facts(whole, trial_id) if e["type"] != "start"]
        for event in (*ours, *theirs):
            event.pop("device_seconds", None)  # a resumed trial's clock starts again
        assert ours == theirs


def test_a_finished_search_is_extended_with_the_same_proposals_as_a_longer_one():
    short = run(1, TABLE, proposer=search(sampler="nsga2"), budget=Budget(max_trials=20))
    short.close()
    extended = run(1, TABLE, events=short.events, proposer=search(sampler="nsga2"), budget=Budget(max_trials=40))
    long = run(1, TABLE, proposer=search(sampler="nsga2"), budget=Budget(max_trials=40))
    assert [e["trial_id"] for e in of(extended.events, "proposal")] == [
        e["trial_id"] for e in of(long.events, "proposal")
    ]
    assert extended.close() == "40 trials proposed (--max-trials)"


def test_time_of_earlier_runs_counts():
    first = run(2, TABLE, budget=Budget(max_hours=0.01))
    first.close()
    again = run(2, TABLE, events=first.events, budget=Budget(max_hours=0.01))
    assert again.ledger.num_searched == first.ledger.num_searched  # the budget was spent
    assert again.finished
    more = run(2, TABLE, events=first.events, budget=Budget(max_hours=0.02))
    assert more.ledger.num_searched > first.ledger.num_searched
    assert all(t.state != "cut" for t in more.ledger.trials.values() if t.proposal.trial_id in first.ledger.trials)


def test_what_a_budget_cut_off_is_gone_on_with_first():
    first = run(2, TABLE, budget=Budget(max_hours=0.01))
    cut = [t.proposal.trial_id for t in first.ledger.trials.values() if t.state == "cut"]
    more = run(2, TABLE, events=first.events, budget=Budget(max_hours=1))
    after = more.events[len(first.events) :]
    assert [e["trial_id"] for e in of(after, "start")][: len(cut)] == cut
    assert cut


def confirm(ledger: Ledger):
    front = ledger.front()
    return list(itertools.chain(*replicates(front, (1, 2), (1,))))


def test_a_confirmed_search_runs_replicates_of_its_front_to_their_end_after_the_search():
    table = curves(seeds=(0, 1, 2))
    driven = run(2, table, budget=Budget(max_trials=20), confirm=confirm)
    confirmed = [t for t in driven.ledger.trials.values() if t.proposal.phase == "confirm"]
    assert len(confirmed) == 2 * len(driven.ledger.front())
    assert all(t.state == "completed" for t in confirmed)
    assert {t.proposal.config.point() for t in confirmed} == {t.proposal.config.point() for t in driven.ledger.front()}
    phases = [e.get("phase") for e in of(driven.events, "proposal")]
    assert phases == ["search"] * 20 + ["confirm"] * len(confirmed)
    assert driven.ledger.num_searched == 20


def test_replicates_run_side_by_side_as_many_as_there_are_workers():
    at_once = []

    def watch(driven):
        at_once.append(sum(trial.state == "running" and trial.confirms for trial in driven.ledger.trials.values()))
        return False

    run(3, curves(seeds=(0, 1, 2)), stop=watch, budget=Budget(max_trials=20), confirm=confirm)
    assert max(at_once) == 3


def test_what_confirms_comes_on_top_of_the_bounds_of_time():
    table = curves(seeds=(0, 1, 2))
    budget = Budget(max_device_hours=0.01, max_hours=1)
    first = run(2, table, budget=budget, confirm=confirm)
    first.close()
    assert first.ledger.device_seconds > first.ledger.searched_device_seconds >= 36
    more = run(2, table, events=first.events, budget=Budget(max_device_hours=0.02, max_hours=1), confirm=confirm)
    assert more.ledger.num_searched > first.ledger.num_searched
    assert more.elapsed < 3600 * 0.02
    assert more.finished


def test_a_confirmation_names_its_points():
    driven = run(2, curves(seeds=(0, 1, 2)), budget=Budget(max_trials=20), confirm=confirm)
    (event,) = of(driven.events, "confirm")
    assert event["points"] == [trial.proposal.config.point() for trial in driven.ledger.front()]
    assert event["num_trials"] == 2 * len(driven.ledger.front())


def test_a_journal_without_a_trials_proposal_is_refused():
    events = run(1, TABLE, budget=Budget(max_trials=3)).events
    lost = next(e for e in events if e["type"] == "proposal")
    with pytest.raises(RunError, match=f"trial {lost['trial_id']}, never proposed: restore the journal"):
        driver().restore([e for e in events if e is not lost])


@pytest.mark.slow
@given(at=st.integers(1, 300))
@settings(max_examples=8, deadline=None)
def test_a_confirmation_is_gone_on_with_too(at):
    table = curves(seeds=(0, 1, 2))
    whole = run(2, table, budget=Budget(max_trials=15), confirm=confirm).events
    again = run(2, table, events=whole[: 1 + at % (len(whole) - 1)], budget=Budget(max_trials=15), confirm=confirm)
    confirmed = [t for t in again.ledger.trials.values() if t.proposal.phase == "confirm"]
    assert len(confirmed) == 2 * len(again.ledger.front())
    assert all(t.state == "completed" for t in confirmed)


def test_failures_in_a_row_end_the_sweep_with_the_first_error():
    made = driver(budget=Budget(max_failures=3))
    for number in range(3):
        proposal = made.next()
        made.start(proposal.trial_id)
        made.fail(proposal.trial_id, f"boom {number}")
    assert made.next() is None
    assert made.finished
    with pytest.raises(RunError, match=r"stopped after 3 failed trials in a row .*first error: boom 0"):
        made.check_failures()


def test_workers_that_never_come_up_end_the_sweep_too():
    """Then Ray tells of an error, and never of a start."""
    made = driver(budget=Budget(max_failures=3))
    for _ in range(3):
        made.fail(made.next().trial_id, "no worker")
    assert made.next() is None
    with pytest.raises(RunError, match="stopped after 3 failed trials"):
        made.check_failures()


def test_a_lost_machine_that_takes_many_trials_along_counts_as_one_failure():
    made = driver(budget=Budget(max_failures=3))
    together = [made.next().trial_id for _ in range(6)]
    for trial_id in together:
        made.start(trial_id)
    for trial_id in together:
        made.fail(trial_id, "the node died")
    made.check_failures()
    assert made.next() is not None


def test_having_given_up_stays_so_when_a_last_trial_completes():
    made = driver(scheduler=None, budget=Budget(max_failures=2), epochs=1)
    good = made.next().trial_id
    made.start(good)
    for _ in range(2):
        bad = made.next().trial_id
        made.start(bad)
        made.fail(bad, "boom")
    assert made.next() is None
    end = {"state": "completed", "val_accuracy": 0.5, "test_accuracy": 0.5}
    made.report(good, {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}, end, 1.0)
    assert made.next() is None
    assert made.finished
    with pytest.raises(RunError, match="first error: boom"):
        made.check_failures()


def test_a_success_between_failures_counts_anew():
    made = driver(scheduler=None, budget=Budget(max_failures=2), epochs=1)
    for state in ("failed", "completed", "failed"):
        proposal = made.next()
        made.start(proposal.trial_id)
        if state == "failed":
            made.fail(proposal.trial_id, "boom")
        else:
            end = {"state": "completed", "val_accuracy": 0.5, "test_accuracy": 0.5}
            made.report(proposal.trial_id, {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}, end, 1.0)
    made.check_failures()
    assert made.next() is not None


def test_failed_trials_are_tried_again_unless_they_diverged():
    clock = VirtualClock()
    journal = MemoryJournal(clock)
    made = driver(clock, journal)
    dead, diverged = made.next().trial_id, made.next().trial_id
    made.start(dead)
    made.fail(dead, "the worker died")
    made.start(diverged)
    made.report(diverged, None, {"state": "failed", "error": "loss is inf", "retry": False}, 1.0)
    again = driver(clock, MemoryJournal(clock))
    again.restore(journal.events)
    assert again.next().trial_id == dead
    assert again.next().trial_id not in (dead, diverged)
    assert again.ledger.trials[diverged].state == "failed"


def test_a_lost_worker_s_trial_goes_on_before_anything_new_and_is_no_failure():
    clock = VirtualClock()
    journal = MemoryJournal(clock)
    made = driver(clock, journal, budget=Budget(max_failures=1))
    lost, other = made.next().trial_id, made.next().trial_id
    for trial_id in (lost, other):
        made.start(trial_id)
    made.report(lost, {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}, None, 1.0)
    made.lose(lost, "the worker died", strike=True)
    assert made.next().trial_id == lost
    made.start(lost)
    assert made.report(lost, {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}, None, 2.0)  # from its checkpoint
    made.check_failures()
    kinds = [event["type"] for event in journal.events if event.get("trial_id") == lost]
    assert kinds == ["proposal", "start", "epoch", "retry", "start"]
    (retry,) = [event for event in journal.events if event["type"] == "retry"]
    assert {key: retry[key] for key in ("epoch", "error", "strikes", "losses", "alone")} == {
        "epoch": 1,
        "error": "the worker died",
        "strikes": 1,
        "losses": 1,
        "alone": False,
    }


def test_a_trial_that_begins_anew_gives_another_account_of_its_epochs():
    """Its checkpoint was damaged after two epochs. It is interrupted once more in the middle; nothing is missing from
    its last account, and what the sweep decides by is as it was."""
    clock = VirtualClock()
    journal = MemoryJournal(clock)

    for attempt, past, done, known in ((1, [], [1, 2], 2), (2, [], [1], 2), (3, [1], [2, 3], 3)):
        events = list(journal.events)
        made = driver(clock, journal, scheduler=None)
        made.restore(events)
        trial_id = made.next().trial_id
        made.start(trial_id)
        for number in past + done:
            record = {"epoch": number, "val_accuracy": 0.5, "val_loss": attempt, "seconds": 1.0}
            assert made.report(trial_id, record, None, 1.0, done_now=number in done)
        assert made.ledger.trials[trial_id].epoch == known
    told = [(e["epoch"], e["val_loss"]) for e in of(journal.events, "epoch")]
    assert told == [(1, 1), (2, 1), (1, 2), (2, 3), (3, 3)]
    record = trial_record([event for event in journal.events if event.get("trial_id") == trial_id])
    assert [(e["epoch"], e["val_loss"]) for e in record.epochs] == [(1, 2), (2, 3), (3, 3)]


@pytest.mark.parametrize(("strike", "times"), [(True, 3), (False, 10)])
def test_a_trial_that_loses_too_many_workers_is_failed_and_the_sweep_goes_on(strike, times):
    made = driver()
    trial_id = made.next().trial_id
    for number in range(times):
        assert made.ledger.trials[trial_id].state == "proposed"
        made.start(trial_id)
        made.lose(trial_id, f"boom {number}", strike)
        if number < times - 1:
            assert made.next().trial_id == trial_id
    assert made.ledger.trials[trial_id].state == "failed"
    assert f"boom {times - 1}" in made.ledger.first_error
    assert made.next().trial_id != trial_id


def test_strikes_are_counted_over_a_resume_and_a_failed_trial_begins_anew():
    clock = VirtualClock()
    journal = MemoryJournal(clock)
    made = driver(clock, journal)
    trial_id = made.next().trial_id
    made.lose(trial_id, "boom", strike=True)
    made.lose(made.next().trial_id, "boom", strike=True)
    again = driver(clock, journal)
    again.restore(list(journal.events))
    assert again.next().trial_id == trial_id
    assert again.ledger.trials[trial_id].strikes == 2
    again.lose(trial_id, "boom", strike=True)
    assert again.ledger.trials[trial_id].state == "failed"
    third = driver(clock, journal)
    third.restore(list(journal.events))
    assert third.next().trial_id == trial_id
    assert third.ledger.trials[trial_id].strikes == 0


def no_memory(made, trial_id):
    end = {"state": "failed", "error": "out of device memory", "retry": True, "out_of_memory": True}
    return made.report(trial_id, None, end, 1.0)


def test_what_is_too_large_for_a_shared_device_runs_alone_when_nothing_else_does():
    points = [proposal_of(c, SPACE, SHAPE, template(1)) for c in list(SPACE.candidates(SHAPE))[:3]]
    made = driver(proposer=FixedProposals(points), scheduler=None, shared_device=True)
    large, *others = (made.next().trial_id for _ in range(3))
    for trial_id in (large, *others):
        made.start(trial_id)
    assert not no_memory(made, large)
    assert made.ledger.trials[large].open
    end = {"state": "completed", "val_accuracy": 0.5, "test_accuracy": 0.5}
    for trial_id in others:
        assert made.next() is None  # the others still hold parts of devices
        assert not made.finished
        made.report(trial_id, {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}, end, 1.0)
    assert made.next().trial_id == large
    assert made.ledger.trials[large].alone
    made.start(large)
    assert not no_memory(made, large)
    assert made.ledger.trials[large].state == "failed"
    assert made.next() is None
    assert made.finished


def test_in_a_search_bounded_by_time_it_does_not_wait_for_the_end():
    made = driver(scheduler=None, shared_device=True, budget=Budget(max_hours=1.0))
    large, other = (made.next().trial_id for _ in range(2))
    for trial_id in (large, other):
        made.start(trial_id)
    assert not no_memory(made, large)
    assert made.next() is None  # nothing new before it
    end = {"state": "completed", "val_accuracy": 0.5, "test_accuracy": 0.5}
    made.report(other, {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}, end, 1.0)
    assert made.next().trial_id == large
    made.start(large)
    assert made.next() is not None  # which Ray starts where a device is free
    assert not no_memory(made, large)
    assert made.ledger.trials[large].state == "failed"
    assert made.next() is not None


def test_with_a_whole_device_there_is_no_more_memory_to_be_had():
    made = driver(shared_device=False)
    trial_id = made.next().trial_id
    made.start(trial_id)
    assert not no_memory(made, trial_id)
    assert made.ledger.trials[trial_id].state == "failed"


def test_a_budget_cuts_what_waits_for_a_device_of_its_own():
    clock = VirtualClock()
    made = driver(clock, budget=Budget(max_hours=1), shared_device=True)
    trial_id = made.next().trial_id
    made.start(trial_id)
    no_memory(made, trial_id)
    clock.now += 3601
    assert made.next() is None
    assert made.ledger.trials[trial_id].state == "cut"
    assert made.finished


class FullDisk(MemoryJournal):
    def append(self, type, **fields):
        if len(self.events) == 12:
            raise RunError("journal.jsonl: cannot be written (No space left on device): make room")
        return super().append(type, **fields)


def test_a_journal_that_cannot_be_written_stops_everything_and_is_the_sweeps_error():
    clock = VirtualClock()
    made = driver(clock, FullDisk(clock))
    with pytest.raises(RunError, match="No space left"):
        replay(made, recorded(TABLE.trials), clock, 2)
    assert made.finished
    assert made.next() is None
    with pytest.raises(RunError, match="No space left"):
        made.close()


def test_fixed_proposals_keep_their_order_and_refuse_strangers():
    made = search()
    proposals = [made.next() for _ in range(5)]
    fixed = run(1, TABLE, proposer=FixedProposals(proposals), scheduler=None)
    assert [e["trial_id"] for e in of(fixed.events, "proposal")] == [p.trial_id for p in proposals]
    assert fixed.close() == "every trial ended"
    with pytest.raises(RunError, match=r"another configuration: .* there, .* now"):
        driver(proposer=FixedProposals(proposals[:2])).restore(fixed.events)


@pytest.mark.parametrize(
    "values",
    [{"max_trials": 0}, {"max_hours": 0.0}, {"max_device_hours": float("nan")}, {"patience": 0}, {"max_failures": 0}],
)
def test_impossible_budgets_are_refused(values):
    with pytest.raises(ConfigError, match="--"):
        Budget(**values)


def test_the_margin_is_made_of_the_evaluations_own_error():
    """With few validation clips more trials go on: less is known to be worse."""
    stopped = []
    for clips in (20, 20_000):
        made = driver(num_val_clips=clips)
        replay(made, recorded(TABLE.trials), made._clock, 1)
        stopped.append(len(made.ledger.searched("stopped")))
    assert stopped[0] < stopped[1]
    assert NUM_VAL_CLIPS > 0
    assert count(made.ledger.front()[0].proposal)["num_trainable_params"] == made.ledger.front()[0].size
