"""What replicates say about a front: exact answers for two points, simulated truths for many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from astmoa.pareto import confidence
from astmoa.pareto.confidence import front_probability, near_front, replication_order
from astmoa.pareto.frontier import front

DRAWS = 20_000
TOLERANCE = 4 * 0.5 / DRAWS**0.5  # four standard errors of a share


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=8), st.integers(0, 5))
def test_membership_of_all_draws_is_the_front_of_each(points, seed):
    """Few sizes and few accuracies, so that ties are common."""
    params = np.array([size for size, _ in points])
    accuracy = np.random.default_rng(seed).integers(0, 4, (len(points), 6)) / 4
    found = confidence._on_front(params, accuracy)
    for draw in range(6):
        expected = front(np.column_stack([params, accuracy[:, draw]]))
        assert set(np.flatnonzero(found[:, draw])) == set(expected.tolist())


@given(st.integers(0, 1000), st.sampled_from([2, 3, 5, 10]))
def test_two_points_on_common_folds_are_a_paired_t_test(seed, folds):
    """However hard the folds are: what they have in common cancels."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.2, folds)
    small, large = (mean + hard + rng.normal(0, 0.02, folds) for mean in (0.60, 0.61))
    replicates = [{fold: [accuracy] for fold, accuracy in enumerate(point)} for point in (small, large)]
    smallest, other = front_probability([1, 2], replicates, DRAWS)
    assert smallest == 1
    assert other == pytest.approx(1 - stats.ttest_rel(large, small, alternative="greater").pvalue, abs=TOLERANCE)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_against_an_exact_point_seeds_are_a_t_test(seeds):
    values = 0.8 + np.random.default_rng(seeds).normal(0, 0.02, seeds)
    _, other = front_probability([1, 2], [{1: [0.79]}, {1: values}], DRAWS, standard_error=[0.0, None])
    assert other == pytest.approx(1 - stats.ttest_1samp(values, 0.79, alternative="greater").pvalue, abs=TOLERANCE)


def test_seeds_of_one_fold_are_drawn_for_each_point_alone():
    """Seeds that rise and fall together say nothing: three differences of exactly 0.001 are no certainty."""
    small = [0.70, 0.72, 0.74]
    over_seeds = front_probability([1, 2], [{1: small}, {1: [x + 0.001 for x in small]}])
    over_folds = front_probability(
        [1, 2], [{fold: [x + more] for fold, x in enumerate(small)} for more in (0.0, 0.001)]
    )
    assert 0.4 < over_seeds[1] < 0.65
    assert over_folds[1] == 1


def test_seeds_are_averaged_within_their_fold():
    by_seed = [{1: [0.70, 0.74], 2: [0.50, 0.54]}, {1: [0.73, 0.73], 2: [0.52, 0.56]}]
    by_fold = [{1: [0.72], 2: [0.52]}, {1: [0.73], 2: [0.54]}]
    assert front_probability([1, 2], by_seed) == pytest.approx(front_probability([1, 2], by_fold))


def test_a_point_without_a_spread_takes_its_standard_error_or_the_others_spread():
    low = {1: [0.79, 0.80, 0.81]}
    expected = stats.norm.cdf(0.01 / 0.02)
    for values in ([0.81], [0.81, 0.81]):  # one replicate, and two that happen to be equal
        _, given_error = front_probability([1, 2], [{1: [0.80]}, {1: values}], DRAWS, standard_error=[0.0, 0.02])
        assert given_error == pytest.approx(expected, abs=TOLERANCE)
    # Three seeds differ by 0.01 about their mean: so would the single one's.
    _, borrowed, _ = front_probability([1, 2, 1], [{1: [0.80]}, {1: [0.81]}, low], DRAWS, standard_error=[0.0, None, 0])
    assert borrowed < 0.85
    exact = front_probability([1, 2, 1], [{1: [0.80]}, {1: [0.81]}, low], DRAWS, standard_error=[0.0, 0.0, 0])[1]
    assert exact > borrowed


def test_equal_sizes_share_the_front_between_them():
    """Two points alike: one of them is on the front, which one nobody knows."""
    same = {1: [0.70, 0.72, 0.74]}
    assert front_probability([5, 5], [same, same], DRAWS) == pytest.approx([0.5, 0.5], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("params", "replicates", "errors", "words"),
    [
        ([1, 2], [{1: [0.5]}], None, "length"),
        ([1], [{1: [0.5]}], [0.1, 0.1], "length"),
        ([1], [{}], None, "leave it out"),
        ([1], [{1: [0.5], 2: []}], None, "leave it out"),
        ([1], [{1: [float("nan")]}], [0.1], "not finite"),
        ([1, 2], [{1: [0.5]}, {1: [0.6]}], None, "nothing tells"),
        ([float("nan")], [{1: [0.5]}], [0.1], "size"),
        ([1], [{1: [0.5]}], [float("inf")], "standard error"),
    ],
)
def test_what_cannot_be_drawn_is_refused(params, replicates, errors, words):
    with pytest.raises(ValueError, match=words):
        front_probability(params, replicates, standard_error=errors)


def test_no_points():
    assert front_probability([], []).tolist() == []
    assert near_front([], [], [], []).tolist() == []
    assert replication_order([], [], [], [], 3) == []


def true_points(rng, count=10, scatter=0.02):
    """Sizes over two decades; true accuracies about a rising line, some above it and some below."""
    params = np.sort(10 ** rng.uniform(4, 6, count))
    return params, 0.8 + 0.03 * (np.log10(params) - 4) + rng.normal(0, scatter, count)


def simulate(problems, seeds=0, folds=0, noise=0.015):
    """Probabilities said, and whether each was true, over many drawn problems."""
    rng = np.random.default_rng(0)
    said, true = [], []
    for number in range(problems):
        params, mean = true_points(rng)
        hard = rng.normal(0, 0.05, folds or 1)
        seen = mean[:, None, None] + hard[:, None] + rng.normal(0, noise, (len(mean), folds or 1, seeds or 1))
        replicates = [{fold: list(values) for fold, values in enumerate(point)} for point in seen]
        said.append(front_probability(params, replicates, 1000, number))
        true.append(np.isin(np.arange(len(mean)), front(np.column_stack([params, mean]))))
    return np.concatenate(said), np.concatenate(true)


def of_those_said(said, true, low, high):
    chosen = (said >= low) & (said < high)
    return said[chosen].mean(), true[chosen].mean(), chosen.mean()


@pytest.mark.slow
@pytest.mark.parametrize("replicates", [{"seeds": 5}, {"seeds": 10}, {"folds": 5}, {"folds": 5, "seeds": 2}])
def test_probabilities_come_true(replicates):
    """2,000 statements: each class of them is true about as often as it says."""
    said, true = simulate(200, **replicates)
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        mean, share, _ = of_those_said(said, true, low, high)
        assert share == pytest.approx(mean, abs=0.13), (low, high)
    assert np.mean((said - true) ** 2) < 0.09


@pytest.mark.slow
def test_two_seeds_say_too_little_and_two_folds_rule_out_too_much():
    """What the docstring admits."""
    said, true = simulate(300, seeds=2)
    mean, share, _ = of_those_said(said, true, 0.5, 0.9)
    assert share > mean + 0.1  # too careful
    _, share, often = of_those_said(said, true, 0.9, 1.01)
    assert share > 0.98
    assert often < 0.15  # and rarely sure
    assert of_those_said(said, true, 0, 0.1)[1] < 0.1  # not too bold below
    said, true = simulate(300, folds=2)
    mean, share, _ = of_those_said(said, true, 0, 0.1)
    assert share > mean + 0.04


spread_points = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 8), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=10
)


@given(spread_points)
def test_near_front_equals_its_definition(points):
    params, accuracy, below, above = np.array(points).T
    low, high = accuracy - below, accuracy + above
    edge = set(front(np.column_stack([params, accuracy])).tolist())
    for i, near in enumerate(near_front(params, accuracy, low, high)):
        over = [j for j in edge if params[j] <= params[i] and accuracy[j] >= accuracy[i]]
        assert near == (i not in edge and all(high[i] >= low[j] for j in over))


def test_near_front_without_intervals_takes_the_accuracy():
    params, accuracy = [1, 2, 3], [0.8, 0.75, 0.7]
    assert near_front(params, accuracy, [None, 0.7, None], [None, 0.81, None]).tolist() == [False, True, False]
    assert near_front(params, accuracy, [0.7, 0.7, np.nan], [0.9, 0.81, np.nan]).tolist() == [False, True, True]


def test_undecided_points_come_first_and_clear_cut_ones_last():
    params = [1, 2, 3, 4, 5]
    mean = [0.50, 0.70, 0.705, 0.60, 0.90]  # 1 and 2 contend; 3 is far below both, 0 and 4 are safe
    order = replication_order(params, mean, [0.01] * 5, [1] * 5, 3)
    assert sorted(order) == sorted([0, 1, 2, 3, 4] * 2)
    assert set(order[:4]) == {1, 2}
    assert 3 in order[-6:]


def test_a_points_error_counts_by_what_it_decides():
    """The smallest point is on the front for sure, but whether the second one is hangs on it."""
    order = replication_order([1, 2, 3], [0.70, 0.70, 0.9], [0.03, 0.001, 0.001], [1, 1, 1], [2, 2, 2])
    assert order[0] == 0


def test_order_gives_what_is_missing_and_nothing_to_the_exact():
    assert replication_order([1, 2], [0.7, 0.7], [0.01, 0.01], [5, 7], 5) == []
    assert replication_order([1, 2], [0.7, 0.7], [0.01, 0.01], [0, 3], [2, 4]).count(0) == 2
    assert replication_order([1, 2], [0.7, 0.7], [0.0, 0.01], [1, 1], 2) == [1, 0]
    assert replication_order([1, 2], [0.1, 0.9], [0, 0], [2, 1], 3) == [1, 0, 1]  # all clear: the fewest first
    with pytest.raises(ValueError, match="not finite"):
        replication_order([1], [float("nan")], [0.1], [1], 2)


def uncertainty(params, mean, error):
    noise = np.random.default_rng(1).standard_normal((len(mean), 1000))
    p = confidence._on_front(params, mean[:, None] + error[:, None] * noise).mean(1)
    return (p * (1 - p)).sum()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_order_leaves_less_uncertainty_than_round_robin(share):
    """Replicates are really drawn, of 120 problems; each order gets the same ones, and stops at a share of them."""
    rng = np.random.default_rng(2)
    left = {"ours": [], "round robin": []}
    for _ in range(120):
        params, truth = true_points(rng, 12, 0.03)
        noise = rng.uniform(0.005, 0.03, len(params))
        seen = truth[:, None] + noise[:, None] * rng.standard_normal((len(params), 5))
        ours = replication_order(params, seen[:, 0], noise, np.ones(12, int), 5, draws=1000)
        for name, order in (("ours", ours), ("round robin", list(range(12)) * 4)):
            count = 1 + np.bincount(order[: int(share * len(order))], minlength=12)
            mean = np.array([values[:n].mean() for values, n in zip(seen, count, strict=True)])
            left[name].append(uncertainty(params, mean, noise / np.sqrt(count)))
    saved = np.array(left["round robin"]) - np.array(left["ours"])
    assert saved.mean() > 2 * saved.std(ddof=1) / len(saved) ** 0.5
    assert saved.mean() > 0.03 * np.mean(left["round robin"])
