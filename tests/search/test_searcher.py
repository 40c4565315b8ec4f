"""What a search predicts for trials that it stopped."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astmoa.search.curve_model import NEAREST, predicted_end

accuracies = st.floats(0, 1)
curves = st.lists(accuracies, min_size=4, max_size=4).map(lambda curve: list(np.maximum.accumulate(curve)))


@given(st.lists(accuracies, min_size=1, max_size=4), st.lists(curves, max_size=12))
def test_the_gain_is_the_mean_of_the_nearest_curves(curve, completed):
    epoch = len(curve)
    ranked = sorted(completed, key=lambda other: math.dist(other[:epoch], curve) ** 2)
    gains = [other[-1] - other[epoch - 1] for other in ranked[:NEAREST]]
    expected = min(1.0, curve[-1] + (np.mean(gains) if gains else 0.0))
    near = [math.dist(other[:epoch], curve) ** 2 for other in ranked[: NEAREST + 1]]
    if len(near) <= NEAREST or not math.isclose(near[-1], near[-2], rel_tol=1e-9, abs_tol=1e-15):  # a tie is a tie
        assert predicted_end(curve, completed) == pytest.approx(expected)


def test_shorter_curves_say_nothing_and_nobody_is_better_than_perfect():
    assert predicted_end([0.5, 0.6], [[0.5]]) == 0.6
    assert predicted_end([0.5, 0.6], []) == 0.6
    assert predicted_end([0.9], [[0.9, 1.0], [0.6, 1.0]]) == 1.0


def test_two_families_of_curves_are_told_apart():
    """A low learning rate rises late, a high one early: their mean gain is wrong for both."""
    slow = [[0.1 + n / 100, 0.2 + n / 100, 0.8 + n / 100] for n in range(6)]
    fast = [[0.5 + n / 100, 0.6 + n / 100, 0.6 + n / 100] for n in range(6)]
    assert predicted_end([0.12, 0.22], slow + fast) == pytest.approx(0.82)
    assert predicted_end([0.52, 0.62], slow + fast) == pytest.approx(0.62)
