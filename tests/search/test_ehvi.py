"""The expected growth of the hypervolume against its definition, and the model's choices where the best is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from scipy.stats import norm

from astmoa.pareto import frontier
from astmoa.search import ehvi
from tests.helpers.samplers import SPACE, make, outcome, trials

QUANTILES = norm.ppf((np.arange(400) + 0.5) / 400)
near = st.floats(0, 1, allow_nan=False)


@pytest.mark.slow
@given(
    points=st.lists(st.tuples(near, near), min_size=1, max_size=6),
    size=near,
    mean=near,
    spread=st.floats(0.01, 0.5),
    reference=st.tuples(st.floats(0.5, 1.2), st.floats(0, 0.5)),
)
def test_the_expected_gain_is_the_mean_of_the_gains(points, size, mean, spread, reference):
    points = np.array(points)
    before = frontier.hypervolume(points, reference)
    gains = [
        frontier.hypervolume(np.vstack([points, [size, accuracy]]), reference) - before
        for accuracy in mean + spread * QUANTILES
    ]
    found = ehvi.expected_gain(np.array([size]), np.array([mean]), np.array([spread]), points, reference)
    assert found[0] == pytest.approx(np.mean(gains), abs=0.01 * spread)


def test_a_certain_point_gains_its_area():
    """Between two points of a front, and beyond the reference."""
    points, one = np.array([[0.2, 0.3], [0.6, 0.8]]), np.ones(1)
    args = (np.array([1e-9]), points, (1.0, 0.1))
    assert ehvi.expected_gain(0.4 * one, 0.5 * one, *args)[0] == pytest.approx(0.2 * 0.2)
    assert ehvi.expected_gain(0.4 * one, 0.9 * one, *args)[0] == pytest.approx(0.2 * 0.6 + 0.4 * 0.1)
    assert ehvi.expected_gain(1.0 * one, 0.9 * one, *args)[0] == 0


def test_of_two_equally_accurate_candidates_the_smaller_is_tried_first():
    """A model of sizes would have to learn what is known: of what is as good as certain, small ones gain more."""
    sampler = make("ehvi", num_startup=12)
    sizes = []
    for _ in range(40):
        suggestion = sampler.ask()
        size = SPACE.size(suggestion.candidate, sampler._shape) + 650
        sizes.append(size)
        sampler.tell_completed(suggestion.number, (size, 0.5))
    assert np.median(sizes[12:24]) < np.median(sizes[:12])


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["_MOST_FITTED", "_MOST_RESULTS", "_MOST_CANDIDATES"])
def test_many_results_and_candidates_are_bounded(monkeypatch, bound):
    monkeypatch.setattr(ehvi, bound, 10 if bound != "_MOST_CANDIDATES" else 60)
    sampler = make("ehvi", num_startup=4)
    for _ in range(25):
        suggestion = sampler.ask()
        sampler.tell_completed(suggestion.number, outcome(suggestion.candidate))
    best = max(trial.values[1] for trial in trials(sampler, TrialState.COMPLETE))
    every = [outcome(candidate)[1] for candidate in SPACE.candidates(sampler._shape)]
    assert best > np.quantile(every, 0.9)
    assert all(math.isfinite(trial.values[1]) for trial in trials(sampler, TrialState.COMPLETE))
