"""Every decision against the definitions, written out with loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.errors import ConfigError
from astmoa.search.early_stopping import ParetoRung
from astmoa.search.stopping_rules import DEFAULT_MARGIN, STOPPING_RULES, make_scheduler

SPREADS = ["epsilon_net", "crowding"]
MARGINS = st.sampled_from([0, 0.5, 1, 3])


@st.composite
def records(draw, min_size=1, max_size=16, noisy=True):
    """[(costs, errors)] of 2 or 3 objectives: params exact, accuracy noisy, time sometimes. Quarters of whole numbers,
    so that sums are exact; often few of them, so that ties and twins are common."""
    num_objectives = draw(st.integers(2, 3))
    widest = draw(st.sampled_from([1, 3, 12]))
    quarters = st.integers(-widest, widest).map(lambda i: i / 4)
    error = st.integers(0, 4).map(lambda i: i / 4) if noisy else st.just(0.0)
    errors = st.tuples(st.just(0.0), *[error] * (num_objectives - 1))
    return draw(
        st.lists(st.tuples(st.tuples(*[quarters] * num_objectives), errors), min_size=min_size, max_size=max_size)
    )


def name_of(i):
    return f"t{i:03}"


def decide(rows, names=None, **options):
    """Whether each of the rows, come one after the other to one rung, goes on."""
    options = {"name": "pareto_asha", "max_epochs": 2} | options
    scheduler = make_scheduler(**options)
    names = names or [name_of(i) for i in range(len(rows))]
    return [scheduler.report(name, 1, *row) is None for name, row in zip(names, rows, strict=True)]


# The definitions -----------------------------------------------------------------------------------------------------


def beats(a, b, margin):
    (a_costs, a_errors), (b_costs, b_errors) = a, b
    at_least, more = True, False
    for i in range(len(a_costs)):
        lead = b_costs[i] - a_costs[i]
        needed = margin * math.hypot(a_errors[i], b_errors[i])
        at_least = at_least and lead >= needed
        more = more or lead > needed
    return at_least and more


def plainly_dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def peel(rows, margin):
    """Fronts as lists of indices."""
    left, fronts = list(range(len(rows))), []
    while left:
        front = [i for i in left if not any(beats(rows[j], rows[i], margin) for j in left)]
        assert front, "nobody is left undominated: dominance has a cycle"
        fronts.append(front)
        left = [i for i in left if i not in front]
    return fronts


def scaled(rows, i):
    """Costs of row i on the range of all rows."""
    columns = list(zip(*[costs for costs, _ in rows], strict=True))
    return [
        (x - min(column)) / (max(column) - min(column)) if max(column) > min(column) else 0.0
        for x, column in zip(rows[i][0], columns, strict=True)
    ]


def squared_distance(rows, i, j):
    return float(sum(np.square(np.subtract(scaled(rows, i), scaled(rows, j)))))


def by_epsilon_net(rows, front):
    order = []
    for k in range(len(rows[0][0])):
        best = min(front, key=lambda i: rows[i][0][k])
        if best not in order:
            order.append(best)
    while len(order) < len(front):
        others = [i for i in front if i not in order]
        order.append(max(others, key=lambda i: min(squared_distance(rows, i, j) for j in order)))
    return order


def by_crowding(rows, front):
    distance = dict.fromkeys(front, 0.0)
    for k in range(len(rows[0][0])):
        line = sorted(front, key=lambda i: rows[i][0][k])
        if rows[line[0]][0][k] == rows[line[-1]][0][k]:
            continue
        for before, i, after in zip(line, line[1:], line[2:], strict=False):
            distance[i] += scaled(rows, after)[k] - scaled(rows, before)[k]
        distance[line[0]] = distance[line[-1]] = math.inf
    return sorted(front, key=lambda i: -distance[i])


def should_go_on(rows, names, reduction_factor, margin, spread):
    """The last of the rows, by position among all."""
    newcomer = len(rows) - 1
    fronts = peel(rows, margin)
    order = []
    for front in fronts:
        front = sorted(front, key=lambda i: (rows[i][0], names[i]))
        order += by_epsilon_net(rows, front) if spread == "epsilon_net" else by_crowding(rows, front)
    position = {record: place for place, record in enumerate(order)}
    return newcomer in fronts[0] or position[newcomer] < math.ceil(len(rows) / reduction_factor)


# Pareto-ASHA ---------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(records(), MARGINS, st.integers(2, 4), st.sampled_from(SPREADS), st.randoms(use_true_random=False))
def test_every_decision_equals_brute_force(rows, margin, reduction_factor, spread, random):
    names = random.sample([name_of(i) for i in range(len(rows))], len(rows))
    found = decide(rows, names, margin=margin, reduction_factor=reduction_factor, spread=spread)
    for n in range(1, len(rows) + 1):
        assert found[n - 1] == should_go_on(rows[:n], names[:n], reduction_factor, margin, spread)


@given(records(max_size=24), MARGINS)
def test_fronts_kept_record_by_record_are_those_peeled_at_once(rows, margin):
    rung = ParetoRung(3, margin, "epsilon_net")
    for i, row in enumerate(rows):
        rung.goes_on(name_of(i), *np.array(row))
    assert [np.flatnonzero(rung.fronts == k).tolist() for k in range(rung.fronts.max() + 1)] == peel(rows, margin)


@pytest.mark.parametrize("margin", [0, 1])
@pytest.mark.parametrize("slack", [0, 1, 4])
def test_many_fronts_of_few_records_are_those_peeled_at_once(slack, margin):
    """Along a diagonal, so that a newcomer pushes many fronts at once."""
    rng = np.random.default_rng(slack)
    along = rng.permutation(80)[:, None] + rng.integers(0, slack + 1, (80, 2))
    rows = [(tuple(costs), (0, error)) for costs, error in zip(along.tolist(), rng.integers(0, 3, 80), strict=True)]
    rung = ParetoRung(3, margin, "epsilon_net")
    for n, row in enumerate(rows, start=1):
        rung.goes_on(name_of(n), *np.array(row))
        if n % 10 == 0:
            fronts = [np.flatnonzero(rung.fronts == k).tolist() for k in range(rung.fronts.max() + 1)]
            assert fronts == peel(rows[:n], margin)
            assert len(fronts) > n / 12


@pytest.mark.slow
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("num_objectives", [2, 3])
@pytest.mark.parametrize("margin", [0, 1])
def test_a_long_rung_equals_brute_force(spread, num_objectives, margin):
    """Fronts of many members, cut by the quota in the middle."""
    rng = np.random.default_rng(num_objectives)
    on_fronts = rng.integers(0, 64, (48, num_objectives))
    on_fronts[:, 1] = 64 - on_fronts[:, 0] + 8 * (rng.integers(0, 6, 48))
    rows = [
        (tuple(row / 64), (0.0, error / 64, 0.0)[:num_objectives])
        for row, error in zip(on_fronts, rng.integers(0, 8, 48), strict=True)
    ]
    names = [name_of(i) for i in range(48)]
    found = decide(rows, names, margin=margin, spread=spread)
    assert found == [should_go_on(rows[: n + 1], names[: n + 1], 3, margin, spread) for n in range(48)]
    assert 0.2 < np.mean(found) < 0.8


@pytest.mark.parametrize("spread", SPREADS)
def test_positions_are_not_the_order(spread):
    """Syne Tune's class returned the order where its caller read positions: it stopped the fourth."""
    rows = [((x, x), (0, 0)) for x in (1, 2, 3, 0)]
    assert decide(rows, spread=spread) == [True, False, False, True]


def test_positions_inside_a_front_are_not_the_order():
    """On the second front, where the first front's right to go on does not hide a mistake: 9 records, so 3 go on. One
    stands alone in front; the line behind it has two seats, for its ends: the smallest and the most accurate."""
    line = [(x / 8, 1 - x / 8) for x in range(1, 8)]
    in_front = (0.0, 0.0)
    for newcomer, goes_on in [((0.0, 1.0), True), ((1.0, 0.0), True), ((0.4375, 0.5625), False)]:
        rows = [(costs, (0, 0)) for costs in [in_front, *line, newcomer]]
        assert decide(rows, margin=0)[-1] == goes_on


def test_the_third_seat_is_the_farthest_one():
    """12 records, 4 seats: one in front, two ends, and one more, in the middle of the largest gap."""
    crowd = [(x, 64 - x) for x in (0, 64, 1, 2, 3, 60, 61, 62, 63)]
    for x, goes_on in [(30, True), (5, False)]:
        rows = [(costs, (0, 0)) for costs in [(0, 0), *crowd, (4, 60) if goes_on else (32, 32), (x, 64 - x)]]
        assert [decide(rows, spread=spread)[-1] for spread in SPREADS] == [goes_on, goes_on]


def test_the_best_in_each_objective_come_before_the_farthest():
    """7 records, 3 seats: one in front, the smallest, and the most accurate, although the fastest is farther off."""
    smallest, accurate, fastest = (0, 5, 5), (1, 4, 6), (9, 9, 0)
    for newcomer, goes_on in [(accurate, True), (fastest, False)]:
        others = [costs for costs in (smallest, accurate, fastest) if costs != newcomer]
        rows = [(costs, (0, 0, 0)) for costs in [(0, 0, 0), *others, *[(x, x, x) for x in (10, 11, 12)], newcomer]]
        assert decide(rows)[-1] == goes_on


@pytest.mark.parametrize("spread", SPREADS)
def test_twins_share_the_seats_by_name(spread):
    """9 records, 3 seats: one in front, and two of its eight followers, which are all the same."""
    rows = [((x, x), (0, 0)) for x in (0, *[1] * 8)]
    for newcomer, goes_on in [("b", True), ("c", False)]:
        others = [name for name in "abcdefgh" if name != newcomer]
        assert decide(rows, ["in front", *others, newcomer], spread=spread)[-1] == goes_on


@given(records(), MARGINS)
def test_who_dominates_all_goes_on(rows, margin):
    costs = [min(column) - 100 for column in zip(*[costs for costs, _ in rows], strict=True)]
    assert decide([*rows, (costs, rows[0][1])], margin=margin)[-1]


@given(records(min_size=3), MARGINS, st.integers(2, 4))
def test_who_is_dominated_by_the_quota_is_stopped(rows, margin, reduction_factor):
    newcomer = rows.pop()
    dominators = [row for row in rows if beats(row, newcomer, margin)]
    if len(dominators) >= math.ceil((len(rows) + 1) / reduction_factor):
        assert not decide([*rows, newcomer], margin=margin, reduction_factor=reduction_factor)[-1]
    worse_than_all = tuple(max(column) + 100 for column in zip(*[costs for costs, _ in rows], strict=True))
    assert not decide([*rows, (worse_than_all, newcomer[1])], margin=margin, reduction_factor=reduction_factor)[-1]


@given(records(), MARGINS)
def test_the_first_front_is_never_stopped(rows, margin):
    for n, goes_on in enumerate(decide(rows, margin=margin, reduction_factor=4), start=1):
        if not any(beats(rows[i], rows[n - 1], margin) for i in range(n)):
            assert goes_on


def test_a_first_front_longer_than_the_quota_goes_on():
    line = [((x, 20 - x), (0, 0)) for x in range(20)]
    assert all(decide(line))


@given(records(min_size=2), MARGINS, st.sampled_from(SPREADS), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing_for_the_newcomer(rows, margin, spread, random):
    names = [name_of(i) for i in range(len(rows))]
    order = [*random.sample(range(len(rows) - 1), len(rows) - 1), len(rows) - 1]
    shuffled = decide([rows[i] for i in order], [names[i] for i in order], margin=margin, spread=spread)
    assert decide(rows, names, margin=margin, spread=spread)[-1] == shuffled[-1]


@pytest.mark.parametrize("name", ["pareto_asha", "asha"])
@given(
    rows=records(),
    margin=MARGINS,
    spread=st.sampled_from(SPREADS),
    units=st.tuples(*[st.integers(-9, 9).map(lambda i: 2.0**i)] * 3),
    constants=st.tuples(*[st.integers(-1000, 1000)] * 3),
)
def test_units_and_constants_change_nothing(name, rows, margin, spread, units, constants):
    """Powers of two and whole numbers: without rounding."""
    other = [
        (
            [(cost + constant) * unit for cost, constant, unit in zip(costs, constants, units, strict=False)],
            [error * unit for error, unit in zip(errors, units, strict=False)],
        )
        for costs, errors in rows
    ]
    options = {"name": name, "margin": margin, "spread": spread}
    assert decide(rows, **options) == decide(other, **options)


@pytest.mark.slow
@given(records(min_size=2, max_size=2))
def test_margin_0_is_plain_dominance(rows):
    a, b = rows
    assert decide([a, b], margin=0)[-1] == (not plainly_dominates(a[0], b[0]))


@given(records(min_size=2, max_size=2, noisy=False), MARGINS)
def test_exact_objectives_need_no_margin(rows, margin):
    a, b = rows
    assert decide([a, b], margin=margin)[-1] == (not plainly_dominates(a[0], b[0]))


@pytest.mark.parametrize(
    ("a", "b", "stopped"),
    [
        ((4, -0.50), (5, -0.50), False),  # smaller, and the same within the noise
        ((4, -0.54), (5, -0.50), False),
        ((4, -0.56), (5, -0.50), True),
        ((4, -0.56), (4, -0.50), True),  # of equal params
        ((4, -0.54), (4, -0.50), False),
        ((5, -0.90), (4, -0.50), False),  # larger
    ],
)
def test_the_margin_in_numbers(a, b, stopped):
    """Two standard errors of 3 % and 4 % make 5 % for the difference."""
    assert decide([(a, (0, 0.03)), (b, (0, 0.04))], margin=1) == [True, not stopped]
    assert decide([(a, (0, 0.06)), (b, (0, 0.08))], margin=0.5) == [True, not stopped]


def test_a_lead_of_just_the_margin_is_no_win_by_itself():
    row = ((4, -0.5), (0, 0.25))
    assert decide([((4, -0.75), (0, 0)), row], margin=1)[-1]
    assert not decide([((4, -0.751), (0, 0)), row], margin=1)[-1]
    assert not decide([((3, -0.75), (0, 0)), row], margin=1)[-1]


@given(records(min_size=3, max_size=3), MARGINS)
def test_dominance_is_transitive(rows, margin):
    a, b, c = rows
    if beats(a, b, margin) and beats(b, c, margin):
        assert beats(a, c, margin)
        assert decide([a, b, c], margin=margin) == [True, False, False]


# Accuracy alone ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.sampled_from([2, 4]))
def test_asha_equals_the_quantile(accuracies, reduction_factor):
    """Halves and quarters of whole numbers: numpy's interpolation is exact."""
    rows = [((i % 3, -accuracy), (0, 1)) for i, accuracy in enumerate(accuracies)]
    for n, goes_on in enumerate(decide(rows, name="asha", reduction_factor=reduction_factor), start=1):
        assert goes_on == (accuracies[n - 1] >= np.quantile(accuracies[:n], 1 - 1 / reduction_factor))


def test_asha_stops_two_thirds_of_the_latecomers():
    rng = np.random.default_rng(0)
    scheduler = make_scheduler("asha", max_epochs=27, grace_period=1)
    lived = [0, 0, 0]
    for i in range(3000):
        for rung, epoch in enumerate([1, 3, 9]):
            if scheduler.report(f"t{i}", epoch, (4, -rng.random()), (0, 0.02)) is not None:
                break
            lived[rung] += i >= 300
    assert lived[0] / 2700 == pytest.approx(1 / 3, abs=0.03)
    assert lived[1] / lived[0] == pytest.approx(1 / 3, abs=0.05)
    assert lived[2] / lived[1] == pytest.approx(1 / 3, abs=0.1)


def test_asha_stops_the_small_and_pareto_asha_does_not():
    large = [((7, -0.8 - i / 100), (0, 0)) for i in range(9)]
    small = ((4, -0.5), (0, 0))
    assert decide([*large, small], name="pareto_asha")[-1]
    assert not decide([*large, small], name="asha")[-1]


# Milestones, brackets, repeats ---------------------------------------------------------------------------------------

GOOD, BAD = ((1, -0.9), (0, 0)), ((2, -0.1), (0, 0))


@pytest.mark.parametrize("name", ["pareto_asha", "asha"])
@pytest.mark.parametrize(
    ("max_epochs", "grace_period", "reduction_factor", "milestones"),
    [
        (12, 1, 3, [1, 3, 9]),
        (9, 1, 3, [1, 3]),  # complete at 9
        (20, 2, 4, [2, 8]),
        (16, 3, 2, [3, 6, 12]),
        (5, 5, 3, []),
        (1, 1, 3, []),
    ],
)
def test_trials_are_stopped_at_milestones_only(name, max_epochs, grace_period, reduction_factor, milestones):
    found = []
    for epoch in range(1, max_epochs + 1):
        scheduler = make_scheduler(name, max_epochs, grace_period, reduction_factor)
        assert scheduler.report("good", epoch, *GOOD) is None
        found += [scheduler.report("bad", epoch, *BAD)] if epoch in milestones else []
        assert (scheduler.report("bad", epoch, *BAD) is None) == (epoch not in milestones)
    assert found == milestones


@pytest.mark.parametrize("name", ["pareto_asha", "asha"])
def test_a_late_first_report_enters_no_missed_rung(name):
    scheduler = make_scheduler(name, max_epochs=20, grace_period=1)
    for epoch in (1, 2, 3):
        assert scheduler.report("first", epoch, *BAD) is None
    for epoch in (4, 5, 9):  # better than all, but past the rungs 1 and 3
        assert scheduler.report("late", epoch, *GOOD) is None
    assert scheduler.report("first", 9, *BAD) == 9  # in rung 9 it counts
    middle = ((1.5, -0.5), (0, 0))  # between the two: it goes on in 1 and 3, as "late" is not there
    assert scheduler.report("middle", 1, *middle) is None
    assert scheduler.report("middle", 3, *middle) is None
    assert scheduler.report("middle", 9, *middle) == 9


def test_a_rung_keeps_the_first_report_of_an_epoch():
    scheduler = make_scheduler("pareto_asha", max_epochs=9, grace_period=1)
    assert scheduler.report("a", 1, *BAD) is None
    assert scheduler.report("a", 1, *GOOD) is None
    assert scheduler.report("b", 1, (1.5, -0.5), (0, 0)) is None  # would be stopped by a second record of a
    assert scheduler.report("c", 1, *BAD) == 1


def test_who_was_stopped_stays_stopped():
    scheduler = make_scheduler("pareto_asha", max_epochs=27, grace_period=1)
    for epoch in (1, 2, 3):
        scheduler.report("good", epoch, *GOOD)
        last = scheduler.report("bad", epoch, *(BAD if epoch == 3 else GOOD))
    assert last == 3
    assert [scheduler.report("bad", epoch, *GOOD) for epoch in (1, 2, 3, 4, 9)] == [None, None, 3, 3, 3]


@st.composite
def histories(draw):
    """[(trial, epoch, costs, errors)] as a sweep sends them: trials interleaved, each with growing epochs."""
    rows = draw(records(min_size=2, max_size=10))
    late = draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows)))
    order = draw(st.permutations([i for i in range(len(rows)) for _ in range(6)]))
    epochs = list(late)
    reports = []
    for i in order:
        drift = draw(st.integers(-2, 2)) / 4
        (params, accuracy, *rest), errors = rows[i]
        reports.append((name_of(i), epochs[i], (params, accuracy + drift, *rest), errors))
        epochs[i] += 1
    return reports


def run(scheduler, history, told=frozenset()):
    """Answers, by trial and epoch, until a trial is stopped."""
    answers, stopped = {}, set(told)
    for trial, epoch, costs, errors in history:
        if trial not in stopped:
            answers[trial, epoch] = scheduler.report(trial, epoch, costs, errors)
            if answers[trial, epoch] is not None:
                stopped.add(trial)
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("name", STOPPING_RULES.names())
@settings(max_examples=50)
@given(history=histories(), cut=st.integers(0, 60), reduction_factor=st.integers(2, 3))
def test_a_resumed_sweep_decides_alike(name, history, cut, reduction_factor):
    """Everything before the cut again into a fresh object, and then again into the same, and the rest after it."""
    options = {"name": name, "max_epochs": 10, "reduction_factor": reduction_factor}
    whole = run(make_scheduler(**options), history)
    before = [report for report in history[:cut] if report[:2] in whole]
    resumed = make_scheduler(**options)
    for _ in range(2):
        assert run(resumed, before) == {key: whole[key] for key in whole if key in {report[:2] for report in before}}
    stopped = {trial for trial, epoch, *_ in before if whole[trial, epoch] is not None}
    after = run(resumed, history[cut:], stopped)
    assert after == {key: whole[key] for key in whole if key in {report[:2] for report in history[cut:]}}


@given(st.lists(st.sampled_from([GOOD, BAD]), max_size=30))
def test_none_stops_nobody(rows):
    assert all(decide(rows, name="none"))


@pytest.mark.parametrize("name", ["hyperband", "pareto_hyperband"])
def test_hyperband_deals_its_brackets_and_keeps_them_apart(name):
    """S = 2: shares of 9, 5 and 3 in 17; who is in which bracket shows in where the bad ones are stopped."""
    scheduler = make_scheduler(name, max_epochs=9, grace_period=1)
    stops = {1: 0, 3: 0, None: 0}
    for i in range(17 * 20):
        trial = name_of(i)
        answer = None
        for epoch in range(1, 10):
            answer = scheduler.report(trial, epoch, (i, i), (0, 0))  # each worse than all before
            if answer is not None:
                break
        stops[answer] += 1
    # The first one in each bracket has nobody to lose against.
    assert stops == {1: 9 * 20 - 1, 3: 5 * 20 - 1, None: 3 * 20 + 2}


def test_hyperband_deals_a_short_sweep_to_all_brackets():
    scheduler = make_scheduler("hyperband", max_epochs=9, grace_period=1)
    found = []
    for i in range(10):
        # Each worse than all before: stopped in its bracket's first rung, unless it is the bracket's first.
        answers = [scheduler.report(name_of(i), epoch, (4, i), (0, 0)) for epoch in (1, 3)]
        found.append(next((answer for answer in answers if answer), None))
    assert (found.count(1), found.count(3), found.count(None)) == (6 - 1, 3 - 1, 1 + 2)


@given(records(min_size=2, max_size=12), st.sampled_from(["asha", "pareto_asha"]))
def test_the_first_bracket_is_the_plain_scheduler(rows, name):
    """With a grace period of more than a third of all epochs there is no other bracket."""
    options = {"max_epochs": 5, "grace_period": 2}
    plain, brackets = make_scheduler(name, **options), make_scheduler(name.replace("asha", "hyperband"), **options)
    for i, row in enumerate(rows):
        for epoch in range(1, 6):
            assert plain.report(name_of(i), epoch, *row) == brackets.report(name_of(i), epoch, *row)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STOPPING_RULES.names())
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [1, 2])
def test_what_is_not_finite_never_enters(name, bad, epoch):
    scheduler, untouched = (
        make_scheduler(name, max_epochs=9, grace_period=1),
        make_scheduler(name, max_epochs=9, grace_period=1),
    )
    for costs, errors in [((4, bad), (0, 0.1)), ((bad, -0.5), (0, 0.1)), ((4, -0.5), (0, bad)), ((4, -0.5), (0, -0.1))]:
        with pytest.raises(ValueError, match=f"trial bad, epoch {epoch}: .*finite"):
            scheduler.report("bad", epoch, costs, errors)
    for i, row in enumerate([BAD, GOOD, BAD, GOOD]):
        for epoch in (1, 3):
            assert scheduler.report(name_of(i), epoch, *row) == untouched.report(name_of(i), epoch, *row)


@pytest.mark.parametrize(("costs", "errors"), [((4,), (0,)), ((4, 0.5), (0,)), ((4, 0.5), (0, 0, 0)), (4, 0)])
def test_costs_without_their_errors_are_refused(costs, errors):
    with pytest.raises(ValueError, match="one of each for params, accuracy"):
        make_scheduler("pareto_asha", 9, 1).report("a", 1, costs, errors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "pbt"}, r"scheduler='pbt' .*pareto_asha, asha, pareto_hyperband, hyperband, none"),
        ({"grace_period": 0}, "grace_period=0 .*1 to 9"),
        ({"grace_period": 10}, "grace_period=10 .*1 to 9"),
        ({"reduction_factor": 1}, "reduction_factor=1 .*at least 2"),
        ({"margin": -1}, "margin=-1 .*at least 0"),
        ({"margin": math.nan}, "margin=nan .*at least 0"),
        ({"spread": "random"}, "spread='random' .*epsilon_net, crowding"),
    ],
)
def test_impossible_options_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as error:
        make_scheduler(**{"name": "pareto_asha", "max_epochs": 9} | options)
    assert "\n" not in str(error.value)


def test_every_scheduler_is_described_and_made():
    for name in STOPPING_RULES.names():
        assert STOPPING_RULES.find(name).about
        assert make_scheduler(name, 9, 1).report("a", 1, *GOOD) is None
    assert 0 < DEFAULT_MARGIN < 3
