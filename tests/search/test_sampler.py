"""A real Optuna study over small spaces and made-up results."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from astmoa.errors import ConfigError, RunError
from astmoa.pareto import frontier
from astmoa.search.pool import Pool
from astmoa.search.sampler import TELL_STOPPED, OptunaSampler, Suggestion
from astmoa.search.samplers import SAMPLERS
from astmoa.search.space import Space
from tests.helpers.samplers import PLACES, RATES, SHAPE, SPACE, make, outcome, trials

SMALL = Space(
    [
        {"name": "linear", "lr": RATES},
        {"name": "dense_moa", "num_experts": [1, 2], "bottleneck_dim": [1, 4], "placement": ["attention", "both"]},
    ]
)
NARROW = Space(
    [
        {"name": "bottleneck", "bottleneck_dim": [1, 4, 32], "placement": ["attention", "both"], "lr": RATES},
        {"name": "soft_moa", "num_experts": [1, 2, 4, 8], "bottleneck_dim": [1, 2, 4], "placement": PLACES},
    ]
)
NO_GP = [name for name in SAMPLERS.names() if name != "gp"]
EVERY = [*NO_GP, pytest.param("gp", marks=pytest.mark.slow)]


def play(sampler, events, waiting=None, recording=None):
    """Three workers: ask until all are busy, then tell the oldest; every fourth is stopped, every ninth fails."""
    waiting = [] if waiting is None else waiting
    recording = [] if recording is None else recording
    for _ in range(events):
        if len(waiting) < 3:
            suggestion = sampler.ask()
            waiting.append(suggestion)
            recording.append(("ask", suggestion))
        else:
            suggestion = waiting.pop(0)
            recording.append(("told", suggestion.number))
            tell(sampler, suggestion.number, suggestion.candidate)
    return waiting, recording


def tell(sampler, number, candidate):
    size, accuracy, seconds = outcome(candidate)
    if number % 9 == 8:
        sampler.tell_failed(number)
    elif number % 4 == 3:
        sampler.tell_stopped(number, (size, accuracy / 2, seconds), (size, accuracy - 0.01, seconds), 0.25)
    else:
        sampler.tell_completed(number, (size, accuracy, seconds))


@pytest.mark.parametrize("name", EVERY)
def test_workers_that_ask_at_once_get_different_points(name):
    sampler = make(name)
    play(sampler, 24 if name != "gp" else 13)
    before = sampler.num_running
    asked = [sampler.ask() for _ in range(8 if name != "gp" else 3)]
    assert len({str(suggestion.candidate) for suggestion in asked}) == len(asked)
    assert sampler.num_running == before + len(asked)
    assert len(trials(sampler, TrialState.RUNNING)) == sampler.num_running


def test_the_start_is_at_random_over_the_methods_until_results_are_in():
    sampler = make("tpe", num_startup=4)
    asked = [sampler.ask() for _ in range(12)]
    assert {suggestion.candidate["name"] for suggestion in asked} == set(SPACE.names)
    for suggestion in asked[:6]:
        sampler.tell_failed(suggestion.number)
    random = make("random", num_startup=4)
    assert [random.ask() for _ in range(14)] == [*asked, sampler.ask(), sampler.ask()], "failures are no results"
    for suggestion in asked[6:]:
        sampler.tell_completed(suggestion.number, outcome(suggestion.candidate))
    assert [sampler.ask() for _ in range(3)] != [random.ask() for _ in range(3)]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("max_params", [None, 3_000])
def test_every_candidate_is_proposed_once_and_then_none(name, max_params):
    sampler = make(name, space=SMALL, max_params=max_params, num_startup=3)
    feasible = SMALL.candidates(SHAPE, max_params)
    assert len(feasible) < SMALL.num_combinations, "one at least must be refused"
    proposed = []
    while (suggestion := sampler.ask()) is not None:
        proposed.append(suggestion.candidate)
        size = SMALL.size(suggestion.candidate, SHAPE)
        sampler.tell_completed(suggestion.number, (size, 0.5 + size / 1e5))
    assert sorted(map(str, proposed)) == sorted(map(str, feasible))
    assert sampler.ask() is None
    assert sampler.num_running == 0
    assert not trials(sampler, TrialState.RUNNING, TrialState.WAITING)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in NO_GP for how in TELL_STOPPED),
        pytest.param("gp", "infeasible", marks=pytest.mark.slow),  # the way with most models, seconds each
    ],
)
def test_a_study_rebuilt_after_a_kill_goes_on_as_the_undisturbed_one(name, how):
    options = {"max_params": 20_000, "tell_stopped": how}
    kill, after = (45, 10) if name != "gp" else (14, 2)
    undisturbed = make(name, 3, **options)
    waiting, recording = play(undisturbed, kill)
    resumed = make(name, 3, **options)
    asked = []
    for event, what in recording:
        if event == "ask":
            resumed.again(what)
            asked.append(what)
        else:
            tell(resumed, what, asked[what].candidate)
    assert resumed.num_running == undisturbed.num_running
    assert any(what.passed_over for event, what in recording if event == "ask") or name in ("random", "gp", "ehvi")

    def next_asks(sampler):
        _, rest = play(sampler, 2 * after, list(waiting))
        return [what for event, what in rest if event == "ask"][:after]

    past_the_start = len(trials(undisturbed, TrialState.COMPLETE)) >= 4
    assert past_the_start, "drawn by the sampler itself"
    expected = next_asks(undisturbed)
    assert len(expected) == after
    assert next_asks(resumed) == expected


def as_tpe(seed):
    return TPESampler(n_startup_trials=1, multivariate=True, constant_liar=True, seed=seed)


def test_a_sampler_of_ones_own_proposes_what_ours_does_where_it_is_the_same():
    options = {"max_params": 20_000, "tell_stopped": "predicted", "num_startup": 4}
    ours, own = (OptunaSampler(SPACE, SHAPE, name, 3, **options) for name in ("tpe", as_tpe))
    _, expected = play(ours, 40)
    _, got = play(own, 40)
    assert got == expected


def test_a_search_with_a_sampler_of_ones_own_is_resumed_as_any():
    options = {"max_params": 20_000, "num_startup": 4}
    undisturbed, resumed = (
        OptunaSampler(SPACE, SHAPE, lambda seed: TPESampler(seed=seed), 3, **options) for _ in range(2)
    )
    waiting, recording = play(undisturbed, 30)
    asked = []
    for event, what in recording:
        if event == "ask":
            resumed.again(what)
            asked.append(what)
        else:
            tell(resumed, what, asked[what].candidate)
    _, expected = play(undisturbed, 10, list(waiting))
    _, got = play(resumed, 10, list(waiting))
    assert got == expected


def test_what_makes_no_sampler_is_one_line():
    sampler = OptunaSampler(SPACE, SHAPE, lambda seed: "tpe", 0, num_startup=2)
    with pytest.raises(ConfigError, match=r"sampler .*lambda.* makes a str: give one of optuna\.samplers"):
        play(sampler, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_GP)
def test_another_seed_goes_another_way(name):
    def proposed(seed):
        _, recording = play(make(name, seed), 40)
        return [str(what.candidate) for event, what in recording if event == "ask"]

    assert proposed(0) == proposed(0)
    assert proposed(0) != proposed(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_infeasible_candidates_are_refused_and_told_as_such(name):
    budget = 1_500
    sampler = make(name, 1, max_params=budget)
    _, recording = play(sampler, 60 if name != "gp" else 15)
    asked = [what for event, what in recording if event == "ask"]
    assert all(SPACE.size(what.candidate, SHAPE) <= budget for what in asked)
    infeasible = [trial for trial in trials(sampler, TrialState.COMPLETE) if trial.constraints["space"] > 0]
    feasible = [trial for trial in trials(sampler, TrialState.COMPLETE) if trial.constraints["space"] <= 0]
    pool = Pool(SPACE, SHAPE, budget)
    refused = {str(c) for what in asked for c in what.passed_over if pool.row(c) is None}
    assert len(infeasible) == len(refused), "each once"
    assert refused or name in ("random", "gp", "ehvi")
    assert len(feasible) == sum(1 for event, what in recording if event == "told" and what % 9 != 8 and what % 4 != 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_GP)
@pytest.mark.parametrize("how", TELL_STOPPED)
def test_a_truncated_accuracy_is_never_told_as_final_unless_asked_for(name, how):
    sampler = make(name, tell_stopped=how, max_params=20_000)
    waiting, recording = play(sampler, 60)
    for suggestion in waiting:
        tell(sampler, suggestion.number, suggestion.candidate)
    asked = [what for event, what in recording if event == "ask"]
    stopped = [what for what in asked if what.number % 4 == 3 and what.number % 9 != 8]
    truncated = {outcome(what.candidate)[1] / 2 for what in stopped}
    predicted = {outcome(what.candidate)[1] - 0.01 for what in stopped}
    complete = trials(sampler, TrialState.COMPLETE)
    told = {trial.values[1] for trial in complete if trial.constraints.get("stopped", -1) <= 0}
    assert truncated.isdisjoint(trial.values[1] for trial in complete) or how == "truncated"
    assert (truncated <= told) == (how == "truncated")
    assert (predicted <= told) == (how == "predicted")
    missed = [trial for trial in complete if trial.constraints.get("stopped", -1) > 0]
    assert [trial.constraints["stopped"] for trial in missed] == [0.75] * (len(stopped) if how == "infeasible" else 0)
    assert {trial.values[1] for trial in missed} == (predicted if how == "infeasible" else set())
    assert len(trials(sampler, TrialState.PRUNED)) == (len(stopped) if how == "pruned" else 0)
    assert sampler.num_running == 0
    assert not trials(sampler, TrialState.RUNNING, TrialState.WAITING), "nothing stays running"


def test_nsga2_counts_every_told_trial_among_its_generations():
    sampler = make("nsga2", num_startup=5)
    play(sampler, 80)
    generations = [trial.system_attrs.get("NSGAIISampler:generation") for trial in trials(sampler, TrialState.COMPLETE)]
    assert None not in generations, "a trial without a generation never becomes a parent"
    assert max(generations) > 2
    assert generations.count(0) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_GP)
def test_the_number_of_draws_in_an_ask_is_bounded(name):
    sampler = make(name, max_params=1_500)
    bound = SAMPLERS.find(name).max_draws
    for _ in range(60):
        before = len(trials(sampler))
        suggestion = sampler.ask()
        if suggestion is None:
            break
        # Every draw leaves one trial, an infeasible one another, and the candidate itself one.
        assert len(trials(sampler)) - before <= 2 * bound + 1
        assert len(suggestion.passed_over) <= bound
        sampler.tell_completed(suggestion.number, outcome(suggestion.candidate))


def test_a_failed_trial_may_be_tried_again():
    sampler = make("nsga2")
    suggestion = sampler.ask()
    sampler.tell_failed(suggestion.number)
    assert sampler.num_running == 0
    sampler.tell_failed(suggestion.number)
    sampler.tell_completed(suggestion.number, outcome(suggestion.candidate))
    assert len(trials(sampler, TrialState.COMPLETE)) == 1
    with pytest.raises(ValueError, match="not running"):
        sampler.tell_completed(suggestion.number, outcome(suggestion.candidate))
    assert str(suggestion.candidate) not in {str(sampler.ask().candidate) for _ in range(30)}


def test_three_objectives_in_decades_of_parameters():
    sampler = make("nsga2", objectives=("params", "accuracy", "step_time"))
    sampler.tell_completed(sampler.ask().number, (1000, 0.5, 0.25))
    assert trials(sampler, TrialState.COMPLETE)[0].values == [3.0, 0.5, 0.25]
    assert [direction.name for direction in sampler._study.directions] == ["MINIMIZE", "MAXIMIZE", "MINIMIZE"]
    with pytest.raises(ValueError, match="3 finite numbers"):
        sampler.tell_completed(sampler.ask().number, (1000, 0.5))
    two = make("nsga2")
    two.tell_completed(two.ask().number, (1000, 0.5, math.inf))  # nobody asked for the time
    assert trials(two, TrialState.COMPLETE)[0].values == [3.0, 0.5]


@pytest.mark.parametrize("accuracy", [math.nan, math.inf, -math.inf])
def test_absence_is_no_number(accuracy):
    sampler = make("random", tell_stopped="predicted")
    number = sampler.ask().number
    with pytest.raises(ValueError, match="finite"):
        sampler.tell_completed(number, (1000, accuracy))
    with pytest.raises(ValueError, match="finite"):
        sampler.tell_stopped(number, (1000, 0.5), (1000, accuracy), 0.5)
    with pytest.raises(ValueError, match="fraction"):
        sampler.tell_stopped(number, (1000, 0.5), (1000, 0.5), 1.5)
    assert sampler.num_running == 1, "it can still be told"


def test_what_does_not_follow_on_the_history_is_refused():
    sampler, other = make("random"), make("random", max_params=700)
    first = sampler.ask()
    again = make("random")
    with pytest.raises(RunError, match="does not follow"):
        again.again(Suggestion(1, first.candidate))
    again.again(first)
    with pytest.raises(RunError, match="does not follow"):
        again.again(Suggestion(1, first.candidate))
    large = {"name": "bottleneck", "bottleneck_dim": 32, "placement": "both", "layers": "all", "lr": RATES[0]}
    with pytest.raises(RunError, match="does not follow"):
        other.again(Suggestion(0, large))
    with pytest.raises(ConfigError, match="no candidate of this search space"):
        again.again(Suggestion(1, {**large, "bottleneck_dim": 3}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"name": "cmaes"},
            "sampler='cmaes' is not possible: one of nsga2, tpe, gp, ehvi, random, or yours as FILE.py:NAME",
        ),
        ({"name": "tpe", "tell_stopped": "nan"}, "tell_stopped='nan' is not known: one of failed, pruned, predicted"),
        ({"name": "tpe", "objectives": ("accuracy",)}, r"objectives=\['accuracy'\] is not possible"),
        ({"name": "ehvi", "objectives": ("params", "accuracy", "step_time")}, "ehvi' knows params and accuracy alone"),
        ({"name": "tpe", "seed": -1}, "search seed -1"),
        ({"name": "tpe", "num_startup": 1}, "num_startup=1"),
        ({"name": "tpe", "max_params": -1}, "below the smallest model"),
    ],
)
def test_unknown_names_and_impossible_settings(options, words):
    with pytest.raises(ConfigError, match=words):
        make(**options)


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_the_nearest_is_nearest_by_the_obvious_search(seed, taken):
    rng = np.random.default_rng(seed)
    pool = Pool(NARROW, SHAPE, 5_000)
    for row in rng.permutation(len(pool.candidates))[: min(taken, len(pool.candidates) - 1)]:
        pool.take(int(row))
    everything = NARROW.candidates(SHAPE)
    wish = everything[rng.integers(len(everything))]
    sizes = {key: sorted({c[key] for c in everything if key in c}) for key in ("num_experts", "slots_per_expert")}
    sizes |= {key: sorted({c[key] for c in everything if key in c}) for key in ("bottleneck_dim", "lr")}

    def distance(candidate):
        keys = {*wish, *candidate}
        changed = sum(wish.get(key) != candidate.get(key) for key in keys)
        both = [key for key in keys if key in sizes and key in wish and key in candidate]
        return changed, sum(abs(sizes[key].index(wish[key]) - sizes[key].index(candidate[key])) for key in both)

    left = [candidate for row, candidate in enumerate(pool.candidates) if pool.has(row)]
    found = pool.nearest(wish, rng)
    assert pool.has(found)
    assert distance(pool.candidates[found]) == min(map(distance, left))


@pytest.mark.slow
def test_models_find_more_of_the_front_than_random():
    points = np.array([outcome(candidate)[:2] for candidate in SPACE.candidates(SHAPE)])
    reference = np.log10(points[:, 0].max()), points[:, 1].min()
    full = frontier.hypervolume(frontier.log_params(points), reference)

    def share(name, seed):
        sampler, found = make(name, seed, num_startup=16), []
        for _ in range(60):
            suggestion = sampler.ask()
            found.append(outcome(suggestion.candidate)[:2])
            sampler.tell_completed(suggestion.number, found[-1])
        return frontier.hypervolume(frontier.log_params(np.array(found)), reference) / full

    found = {name: np.mean([share(name, seed) for seed in range(8)]) for name in ("random", "nsga2", "tpe", "ehvi")}
    assert found["nsga2"] > found["random"] + 0.01, found
    assert found["tpe"] > found["random"] + 0.02, found
    assert found["ehvi"] > found["tpe"] + 0.01, found
