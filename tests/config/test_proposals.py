import pytest

from astmoa.config import MethodConfig, TrialConfig
from astmoa.config.proposals import Point, replicate
from astmoa.errors import ConfigError
from astmoa.methods.params import count_params
from astmoa.methods.shape import BackboneShape
from astmoa.search.random_methods import random_methods

POINTS = [
    Point("2/1", MethodConfig("soft_moa", 2)),
    Point("4/1", MethodConfig("soft_moa", 4), faithful=("padding",), paper={"esc50": 88.0}),
]
SPACES = [
    {"name": ["bottleneck"], "bottleneck_dim": [1, 2, 4, 8]},
    {"name": ["dense_moa"], "num_experts": [1, 2, 4], "bottleneck_dim": [1, 2, 4, 8]},
    {"name": ["soft_moa"], "num_experts": [1, 2, 4], "slots_per_expert": [1, 2], "bottleneck_dim": [1, 2, 4, 8]},
]


def test_replicates_come_in_the_outer_loops_and_differ_in_seed_and_fold_alone():
    proposals = replicate(POINTS, TrialConfig(faithful=("positions",)), seeds=range(2), folds=(1, 3))
    assert [(p.label, p.config.seed, p.config.data.fold) for p in proposals] == [
        (label, seed, fold) for seed in (0, 1) for fold in (1, 3) for label in ("2/1", "4/1")
    ]
    assert len({p.trial_id for p in proposals}) == 8
    assert len({p.config.point() for p in proposals}) == 2
    assert all(p.config.optim.epochs for p in proposals), "proposals are complete"
    assert {(p.label, p.config.faithful, p.paper.get("esc50")) for p in proposals} == {
        ("2/1", ("positions",), None),
        ("4/1", ("padding", "positions"), 88.0),
    }


def test_points_that_are_the_same_trial_run_once():
    method = MethodConfig("soft_moa", 2)
    twice = [Point("a", method), Point("b", method), Point("c", MethodConfig("soft_moa", 4))]
    assert [p.label for p in replicate(twice, TrialConfig(), range(1), (1,))] == ["a", "c"]


def test_random_search_draws_different_possible_points_the_same_for_a_seed():
    drawn = list(random_methods(SPACES, 20, seed=3))
    assert len(set(drawn)) == 20
    assert drawn == list(random_methods(SPACES, 20, seed=3))
    assert drawn != list(random_methods(SPACES, 20, seed=4))
    assert {m.name for m in drawn} == {"bottleneck", "dense_moa", "soft_moa"}


def test_random_search_keeps_to_a_budget():
    budget = 40_000
    drawn = list(random_methods(SPACES, 8, 0, accept=lambda m: count_params(m, BackboneShape(64, 4)).paper <= budget))
    assert len(drawn) == 8
    assert max(count_params(m, BackboneShape(64, 4)).paper for m in drawn) <= budget


@pytest.mark.parametrize(
    ("spaces", "num", "words"),
    [
        ([], 1, "empty"),
        (SPACES, 0, "give at least 1"),
        ([{"name": []}], 1, "no choices for name"),
        ([{"name": ["bottleneck"]}], 2, "gave 1 possible points of the 2 wanted"),
        ([{"name": ["bottleneck"]}], 10**9, "gave 1 possible points of the 1000000000 wanted"),
        ([{"name": ["dense_moa"], "slots_per_expert": [2]}], 1, "gave 0 possible"),
    ],
)
def test_a_space_without_enough_points(spaces, num, words):
    with pytest.raises(ConfigError, match=words):
        list(random_methods(spaces, num, seed=0))
