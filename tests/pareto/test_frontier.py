import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astmoa.pareto.frontier import (
    REFERENCE,
    dominates,
    front,
    hypervolume,
    knee,
    log_params,
    pick,
    standard_hypervolume,
)

# Few values, so that ties and duplicates are common.
small_points = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5).map(lambda i: i / 5)), max_size=14)
points_of_any_size = st.lists(st.tuples(st.integers(1, 10**8), st.floats(0, 1)), max_size=30)


def obvious_front(points):
    """Who is dominated by nobody, asked of everybody."""
    return {
        i
        for i, (size, accuracy) in enumerate(points)
        if not any((s <= size and a >= accuracy) and (s < size or a > accuracy) for s, a in points)
    }


@given(st.one_of(small_points, points_of_any_size))
def test_front_equals_brute_force(points):
    assert set(front(points).tolist()) == obvious_front(points)


@given(st.one_of(small_points, points_of_any_size))
def test_front_is_sorted_and_names_each_point_once(points):
    found = front(points)
    sizes = [points[i][0] for i in found]
    assert sizes == sorted(sizes)
    assert len(set(found.tolist())) == len(found)


@given(small_points.filter(len), st.randoms(use_true_random=False))
def test_front_does_not_depend_on_order(points, random):
    shuffled = random.sample(points, len(points))
    assert sorted(points[i] for i in front(points)) == sorted(shuffled[i] for i in front(shuffled))


@given(small_points)
def test_dominates_agrees_with_front(points):
    for i, point in enumerate(points):
        assert (i in front(points)) == (not any(dominates(other, point) for other in points))


def test_equal_points_stay_together_and_do_not_dominate_each_other():
    assert front([(2, 0.5), (1, 0.5), (1, 0.5), (3, 0.5)]).tolist() == [1, 2]
    assert not dominates((1, 0.5), (1, 0.5))
    assert dominates((1, 0.5), (2, 0.5))
    assert dominates((1, 0.6), (1, 0.5))
    assert not dominates((1, 0.4), (2, 0.5))


def test_no_points():
    assert front([]).tolist() == []
    assert hypervolume([], (10, 0)) == 0
    assert knee([]) is None
    with pytest.raises(ValueError, match="no trial has completed"):
        pick([], "best")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, None])
@pytest.mark.parametrize("function", [front, knee, lambda points: hypervolume(points, (10, 0)), log_params])
def test_what_is_not_finite_is_refused(function, bad):
    with pytest.raises((ValueError, TypeError), match="not finite"):
        function([(1, 0.5), (2, bad)])
    with pytest.raises((ValueError, TypeError), match="not finite"):
        dominates((1, bad), (2, 0.5))


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="num_trainable_params, accuracy"):
        front([(1, 2, 3)])


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([(2, 0.5)], 8 * 0.5),
        ([(2, 0.5), (5, 0.8)], 3 * 0.5 + 5 * 0.8),
        ([(2, 0.5), (5, 0.8), (6, 0.7)], 3 * 0.5 + 5 * 0.8),  # a dominated point adds nothing
        ([(2, 0.5), (2, 0.5)], 8 * 0.5),
        ([(10, 0.9)], 0),  # on the reference's border
        ([(12, 0.9)], 0),
        ([(12, 0.9), (2, 0.5)], 8 * 0.5),
        ([(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)], 0.1 + 0.2 + 0.3 + 6 * 0.4),
    ],
)
def test_hypervolume_closed_forms(points, area):
    assert hypervolume(points, (10, 0)) == pytest.approx(area, abs=1e-12)


def test_hypervolume_above_a_positive_accuracy():
    assert hypervolume([(2, 0.5), (1, 0.2)], (10, 0.3)) == pytest.approx(8 * 0.2)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12))
def test_hypervolume_equals_counted_cells(points):
    """Whole numbers make the area a number of unit cells: a cell counts if a point is left of it and above it."""
    x, y = np.meshgrid(np.arange(10), np.arange(1, 11))
    cells = np.zeros(x.shape, dtype=bool)
    for size, accuracy in points:
        cells |= (x >= size) & (y <= accuracy)
    inside = [(size, min(accuracy, 10)) for size, accuracy in points]
    assert hypervolume(inside, (10, 0)) == cells.sum()


@given(small_points, st.tuples(st.integers(1, 6), st.integers(0, 10).map(lambda i: i / 10)))
def test_one_more_point_never_lowers_the_hypervolume(points, more):
    before, after = hypervolume(points, (7, 0)), hypervolume([*points, more], (7, 0))
    assert after >= before - 1e-12
    if not any(dominates(point, more) or tuple(point) == more for point in points) and more[1] > 0:
        assert after > before


def test_standard_hypervolume_is_in_decades():
    assert REFERENCE == (8.0, 0.0)
    assert standard_hypervolume([(10_000, 0.5)]) == pytest.approx(4 * 0.5)
    with pytest.raises(ValueError, match="above 0"):
        standard_hypervolume([(0, 0.5)])


def test_log_params_leaves_its_input_alone():
    points = np.array([[100.0, 0.5]])
    assert log_params(points).tolist() == [[2.0, 0.5]]
    assert points.tolist() == [[100.0, 0.5]]


def test_knee_is_measured_on_log_sizes():
    points = [(1e3, 0.1), (1e4, 0.8), (1e5, 0.85), (1e6, 0.9)]
    assert knee(points) == 1
    assert knee([*points, (5e5, 0.2)]) == 1  # a dominated point changes nothing
    assert (
        knee([(1, 0.0), (100, 0.6), (1000, 1.0)]) is None
    )  # above the chord on plain sizes, below it on logarithmic ones
    assert knee([(1, 0.0), (5, 0.45), (60, 0.75), (1000, 1.0)]) == 1  # 60 is the farther one on plain sizes


@pytest.mark.parametrize(
    "points",
    [
        [(10, 0.5)],
        [(10, 0.5), (100, 0.6)],
        [(10, 0.1), (100, 0.2), (1000, 0.3), (10_000, 0.4)],  # straight
        [(10, 0.1), (100, 0.12), (1000, 0.9)],  # hollow
    ],
)
def test_no_knee(points):
    assert knee(points) is None
    assert pick(points, "knee") == pick(points, "best")


@pytest.mark.slow
@given(points_of_any_size, st.floats(0.01, 100))
def test_knee_does_not_depend_on_the_unit_of_accuracy(points, unit):
    found = knee(points)
    scaled = knee([(size, accuracy * unit) for size, accuracy in points])
    if found is not None and scaled is not None:
        assert _height(points, scaled) == pytest.approx(_height(points, found), rel=1e-6, abs=1e-12)


def _height(points, index):
    """Distance above the chord, up to the chord's length: the oracle is the plain vertical distance."""
    edge = sorted(obvious_front(points), key=lambda i: points[i])
    (x0, y0), (x1, y1) = ((np.log10(points[i][0]), points[i][1]) for i in (edge[0], edge[-1]))
    x, y = np.log10(points[index][0]), points[index][1]
    return y - (y0 + (y1 - y0) * (x - x0) / (x1 - x0))


@given(points_of_any_size)
def test_knee_stands_highest_above_the_chord(points):
    found = knee(points)
    if found is not None:
        heights = [_height(points, i) for i in obvious_front(points)]
        assert _height(points, found) == pytest.approx(max(heights), abs=1e-12)
        assert max(heights) > 0


def test_pick():
    points = [(1000, 0.9), (10, 0.2), (20, 0.8), (2000, 0.9), (10, 0.1)]
    assert pick(points, "best") == 0
    assert pick(points, "smallest") == 1
    assert pick(points, "knee") == 2
    with pytest.raises(ValueError, match="'cheapest' is not possible"):
        pick(points, "cheapest")
