"""Which replicates confirm a search, and in which order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.engine.budgets import Budget
from astmoa.engine.confirmation import Confirmation
from astmoa.errors import ConfigError
from tests.helpers.synthetic import NUM_VAL_CLIPS, run, search

FOUND = run(2, proposer=search(seed=3), budget=Budget(max_trials=25))


def confirmed(confirmation, folds, found=FOUND):
    return confirmation.of(dict.fromkeys(range(1, folds + 1), NUM_VAL_CLIPS), True, ("params", "accuracy"))(
        found.ledger
    )


def by_point(proposals):
    found = {}
    for proposal in proposals:
        found.setdefault(proposal.config.point(), []).append((proposal.config.data.fold, proposal.config.seed))
    return found


def chosen():
    """Points on the front or near it."""
    return len(by_point(confirmed(Confirmation(1), 1)))


@given(seeds=st.integers(1, 4), folds=st.integers(1, 5), trials=st.one_of(st.none(), st.integers(1, 120)))
@settings(max_examples=40)
def test_all_points_are_compared_over_the_same_folds(seeds, folds, trials):
    """However few trials there may be: as many seeds in every fold that a point has, the same folds for all."""
    proposals = confirmed(Confirmation(seeds, None, trials), folds)
    own, number = by_point(proposals), chosen()
    assert len({proposal.trial_id for proposal in proposals}) == len(proposals)
    assert all(1 <= seed <= seeds for pairs in own.values() for _, seed in pairs), "never the seed it was found with"
    if trials is None:
        assert len(proposals) == number * seeds * folds
    else:
        assert len(proposals) <= trials
        assert len(own) == min(trials, number)
    (used,) = {frozenset(fold for fold, _ in pairs) for pairs in own.values()}
    for pairs in own.values():
        assert {[fold for fold, _ in pairs].count(fold) for fold in used} == {len(pairs) / len(used)}


def test_one_of_each_comes_before_a_second_of_any_and_the_front_first():
    proposals = confirmed(Confirmation(3), 2)
    number = chosen()
    first = [(proposal.config.data.fold, proposal.config.seed) for proposal in proposals[: 2 * number]]
    assert first == [(1, 1)] * number + [(2, 1)] * number
    front = {trial.proposal.config.point() for trial in FOUND.ledger.front()}
    assert {proposal.config.point() for proposal in proposals[: len(front)]} == front
    assert number > len(front) > 1


def test_a_search_that_found_nothing_confirms_nothing():
    nothing = run(2, proposer=search(), budget=Budget(max_trials=1), stop=lambda driver: True)
    assert confirmed(Confirmation(3, None, 5), 2, nothing) == []


@pytest.mark.parametrize("text", ["five", "seeds=0", "seeds=2,trials=0", "trials=5", "seeds=2,rounds=3", "seeds="])
def test_what_is_no_confirmation_is_one_line(text):
    with pytest.raises(ConfigError, match=r"--confirm .* is not possible: give seeds=5") as caught:
        Confirmation.parse(text)
    assert "\n" not in str(caught.value)
