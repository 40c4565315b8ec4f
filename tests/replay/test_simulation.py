"""Searches over recorded curves: the file, the virtual clock, and what comes out of known curves."""

import gzip
import itertools
import json
import math
from typing import get_args

import pytest

from astmoa.cli.main import main
from astmoa.engine.budgets import Budget
from astmoa.errors import ConfigError, RunError
from astmoa.pareto import frontier
from astmoa.replay.curves import Curves
from astmoa.replay.simulation import Policy, VirtualClock, recorded, replay, shares
from astmoa.search.space import Space
from astmoa.search.stopping_rules import Spread
from tests.helpers.synthetic import SHAPE, SPACE, curves, driver, run

TABLE = curves(seeds=(0, 1))
SAMPLERS = ("random", "nsga2", "tpe", "ehvi")
SCHEDULERS = ("none", "asha", "pareto_asha", "hyperband", "pareto_hyperband")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "sub" / "grid.json.gz"
    TABLE.save(path)
    return path


# -- the file


def test_what_is_saved_comes_back(path):
    again = Curves.load(path)
    for key in ("template", "shape", "num_val_clips", "seeds"):
        assert getattr(again, key) == getattr(TABLE, key)
    assert again.space == TABLE.space
    assert again.trials.keys() == TABLE.trials.keys()
    for trial_id, curve in TABLE.trials.items():
        assert again.trials[trial_id].params == curve.params
        assert again.trials[trial_id].val_accuracy == pytest.approx(curve.val_accuracy, abs=1e-6)
    assert again.scores() == [(size, pytest.approx(accuracy, abs=1e-6)) for size, accuracy in TABLE.scores()]


def test_the_same_curves_are_the_same_bytes(path, tmp_path):
    Curves.load(path).save(tmp_path / "again.gz")
    Curves.load(tmp_path / "again.gz").save(tmp_path / "third.gz")
    assert (tmp_path / "third.gz").read_bytes() == (tmp_path / "again.gz").read_bytes()


def damage(path, how):
    data = path.read_bytes()
    if how == "cut":
        return data[: len(data) // 2]
    if how == "flipped":
        return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]
    if how == "text":
        return b"no archive"
    values = json.loads(gzip.decompress(data))
    if how == "newer":
        values["format"] = 99
    if how == "no seeds":
        del values["seeds"]
    return gzip.compress(json.dumps([values] if how == "a list" else values).encode())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "no recorded curves"),
        ("flipped", "no recorded curves"),
        ("text", "no recorded curves"),
        ("a list", "no recorded curves"),
        ("no seeds", "no recorded curves .*seeds"),
        ("newer", "newer astmoa .*upgrade"),
    ],
)
def test_other_files_are_refused_in_one_line(path, tmp_path, how, words):
    other = tmp_path / "other.gz"
    other.write_bytes(damage(path, how))
    with pytest.raises(RunError, match=words) as caught:
        Curves.load(other)
    assert "\n" not in str(caught.value)
    assert str(other) in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        Curves.load(tmp_path / "none.gz")


# -- the clock


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_share_the_time(workers):
    """Without stopping: the seconds of all curves, spread; with one worker exactly their sum."""
    driven = Policy("random", "none").replay(TABLE, 0, workers)
    seconds = [sum(TABLE.trials[trial_id].seconds) for trial_id in driven.ledger.trials]
    assert len(seconds) == len(TABLE.candidates)
    assert sum(seconds) / workers <= driven.elapsed * (1 + 1e-9)
    assert driven.elapsed <= sum(seconds) / workers + max(seconds)
    if workers == 1:
        assert driven.elapsed == pytest.approx(sum(seconds))
    assert driven.ledger.device_seconds == pytest.approx(sum(seconds))


def test_never_more_trials_run_than_there_are_workers_and_never_fewer_while_there_are_more():
    open_trials, seen = set(), []

    def watch(driven, what, trial):
        (open_trials.add if what == "start" else open_trials.discard if what == "end" else len)(trial.proposal.trial_id)
        seen.append(len(open_trials))

    Policy("random", "pareto_asha").replay(TABLE, 0, 3, watch=watch)
    assert max(seen) == 3
    assert min(seen[3 : -3 * TABLE.max_epochs]) >= 2  # one has just ended, the next not begun


def test_the_earliest_epoch_comes_first():
    times = []
    made = driver(VirtualClock(), scheduler=None)
    made.watch(lambda what, trial: times.append(made._clock()))
    replay(made, recorded(TABLE.trials), made._clock, 4)
    assert times == sorted(times)
    assert made.finished


def test_it_stops_when_told_to():
    driven = Policy("random").replay(TABLE, stop=lambda driven: len(driven.ledger.searched("completed")) == 3)
    assert len(driven.ledger.searched("completed")) == 3
    assert driven.ledger.searched("running")


def test_no_worker_is_no_replay():
    with pytest.raises(ConfigError, match=r"0 workers .* at least 1"):
        Policy("random").replay(TABLE, num_workers=0)


def test_what_was_not_recorded_is_named():
    other = curves(space=Space([{"name": ["linear"]}]))
    made = driver(VirtualClock())
    with pytest.raises(RunError, match=r"with seed 0 was not recorded"):
        replay(made, recorded(other.trials), made._clock, 2)


@pytest.mark.parametrize("budget", [Budget(max_hours=0.01), Budget(max_device_hours=0.01)])
def test_a_spent_budget_does_not_wait_for_what_an_earlier_run_left(budget):
    """A live sweep would ask for ever."""
    first = run(2, TABLE, budget=budget)
    cut = {trial_id for trial_id, trial in first.ledger.trials.items() if trial.state == "cut"}
    assert cut
    again = run(2, TABLE, events=first.events, budget=budget)
    assert again.finished
    assert [event["type"] for event in again.events[len(first.events) :]] == ["resume"]
    assert {trial_id for trial_id, trial in again.ledger.trials.items() if trial.state == "cut"} == cut


# -- what comes out


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [*itertools.product(SAMPLERS, SCHEDULERS), pytest.param("gp", "pareto_asha", marks=pytest.mark.slow)],
)
def test_every_policy_is_repeatable_and_stays_inside_the_grid(sampler, scheduler):
    policy = Policy(sampler, scheduler)
    first, second = (policy.replay(TABLE, seed=1, num_workers=3, max_trials=20) for _ in range(2))
    assert first._journal.events == second._journal.events
    assert len(first.ledger.trials) == 20
    assert first.ledger.trials.keys() <= TABLE.trials.keys()
    assert {trial.proposal.config.seed for trial in first.ledger.trials.values()} == {1}
    stopped = [trial for trial in first.ledger.trials.values() if trial.state == "stopped"]
    assert bool(stopped) == (scheduler != "none")


def test_a_third_objective_is_the_recorded_step_time():
    """Made so that time follows size: what is on the front of two objectives is then on that of three, and no other."""
    policy = Policy("tpe", "pareto_asha", step_time=True)
    driven = policy.replay(TABLE, 0, 3, max_trials=30)
    assert driven.judge.objectives == ("params", "accuracy", "step_time")
    assert all(math.isfinite(trial.step_seconds) for trial in driven.ledger.searched("completed"))
    assert driven.ledger.front()


def test_the_spread_decides_inside_of_a_front():
    policies = {spread: Policy("random", "pareto_asha", "predicted", 1, 2, 0.0, spread) for spread in get_args(Spread)}
    ends = {spread: policy.replay(TABLE)._journal.events for spread, policy in policies.items()}
    assert ends["crowding"] != ends["epsilon_net"]


def test_seeds_of_a_search_take_turns_on_the_recorded_ones():
    seen = {
        seed: {
            t.proposal.config.seed for t in Policy("random").replay(TABLE, seed, max_trials=3).ledger.trials.values()
        }
        for seed in range(4)
    }
    assert seen == {0: {0}, 1: {1}, 2: {0}, 3: {1}}


def test_a_budget_of_parameters_holds():
    driven = Policy("nsga2", max_params=600).replay(TABLE)
    sizes = [SPACE.size(trial.proposal.ask["candidate"], SHAPE) for trial in driven.ledger.trials.values()]
    assert max(sizes) <= 600
    assert len(sizes) == len(SPACE.candidates(SHAPE, 600))


def test_the_whole_grid_has_all_of_its_hypervolume_and_parts_have_less():
    everything = Policy("random", "none").replay(TABLE)
    proposals = [trial.proposal for trial in everything.ledger.trials.values()]
    assert shares(TABLE, proposals) == pytest.approx(1)
    growing = [shares(TABLE, proposals[:number]) for number in (0, 1, 10, 40, len(proposals))]
    assert growing[0] == 0
    assert growing == sorted(growing)
    assert growing[2] < 1


def test_shares_are_measured_with_the_means_of_the_seeds():
    """The grid's own front has all of it, whichever seed's proposals name it; without a point inside it has less."""
    front = frontier.front(TABLE.scores())
    for seed in TABLE.seeds:
        policy = Policy("random", "none").replay(TABLE, seed)
        by_point = {trial.proposal.config.point(): trial.proposal for trial in policy.ledger.trials.values()}
        own = [by_point[TABLE.config(TABLE.candidates[i], 0).point()] for i in front]
        assert shares(TABLE, own) == pytest.approx(1)
        assert shares(TABLE, own[:1] + own[2:]) < 1


# -- the command


def test_the_command_prints_what_the_policy_gives(path, capsys):
    main(["replay", str(path), "--sampler", "random", "--max-trials", "25", "--workers", "2", "--seed", "1", "--json"])
    facts = json.loads(capsys.readouterr().out)
    driven = Policy("random").replay(Curves.load(path), 1, 2, 25)
    assert facts["reason"] == "25 trials proposed (--max-trials)"
    assert facts["completed"] + facts["stopped"] == 25
    assert facts["epochs"] == sum(trial.epoch for trial in driven.ledger.trials.values())
    assert facts["grid_epochs"] == len(TABLE.candidates) * TABLE.max_epochs
    assert [point["params"] for point in facts["front"]] == [trial.size for trial in driven.ledger.front()]
    assert facts["hours"] == pytest.approx(driven.elapsed / 3600)
    main(["replay", str(path), "--sampler", "random", "--max-trials", "25", "--workers", "2", "--seed", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(facts["front"]) + 4
    assert "25 trials proposed" in lines[-3]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--sampler", "cmaes"], ["cmaes", "tpe"]),
        (["--scheduler", "median"], ["median", "pareto_asha"]),
        (["--tell-stopped", "loudly"], ["loudly", "predicted"]),
        (["--max-trials", "0"], ["--max-trials 0"]),
        (["--workers", "0"], ["0 workers"]),
        (["--seed", "-1"], ["seed -1"]),
        (["--grace-period", "10"], ["grace_period", "10", "9"]),
    ],
)
def test_the_commands_wrong_input_is_one_line(path, args, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["replay", str(path), *args])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    for word in words:
        assert word in line
