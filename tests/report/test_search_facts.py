import dataclasses
import io
import itertools
import json

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from astmoa.records.load import sweep_record
from astmoa.records.standing import front_probabilities, standing
from astmoa.report.pictures import frontier_picture
from astmoa.report.summary import marked_points, summary
from astmoa.report.tables import markdown_table, rich_table, write_tables
from tests.helpers.journals import Trial, config, confirming, search_events, searched
from tests.helpers.pictures import cells, drawn

TEST = 0.123456  # a test accuracy that no validation accuracy looks like


def with_test(events):
    """The same events, every test accuracy TEST."""
    return [event | {"test_accuracy": TEST} if event.get("test_accuracy") is not None else event for event in events]


def near_and_front(trials):
    stands = standing(sweep_record(search_events(trials)))
    stood = {trial.trial_id: stands.get(trial.config.point()) for trial in trials}
    return [trial for trial in trials if stood[trial.trial_id] in ("front", "near-front")]


@pytest.fixture(scope="module")
def trials():
    return searched(60)


@pytest.fixture(scope="module")
def before(trials):
    return sweep_record(with_test(search_events(trials)))


@pytest.fixture(scope="module")
def chosen(trials):
    return near_and_front(trials)[:12]


@pytest.fixture(scope="module")
def after(trials, chosen):
    return sweep_record(with_test(search_events([*trials, *confirming(chosen, 4)])))


def terminal(sweep, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(rich_table(sweep))
    return console.file.getvalue()


def tables(text):
    """The pipe tables of a markdown text: header and rows of each."""
    parts = [part for part in text.split("\n\n") if part.startswith("| ")]
    return [(head, rows) for head, _, *rows in map(cells, parts)]


def test_before_confirmation_nothing_shows_a_test_accuracy(before, tmp_path, monkeypatch):
    figure = drawn(monkeypatch, lambda: frontier_picture(before, tmp_path / "f.png"))
    shown = [text.get_text() for axes in figure.axes for text in axes.texts] + [figure.get_suptitle()]
    written = [path.read_text() for path in write_tables(before, tmp_path)]
    for text in (terminal(before), *written, *shown):
        assert "0.1234" not in text
        assert "12.3" not in text
    assert all("test acc %" not in head for head, _ in tables(markdown_table(before)))
    facts = summary(before)
    assert {point["test_accuracy"] for point in facts["points"]} == {None}
    assert {replicate["test"] for point in facts["points"] for replicate in point["replicates"]} == {None}
    assert "--confirm seeds=5" in markdown_table(before)


def test_after_it_test_accuracies_are_those_of_fresh_replicates(after, chosen):
    confirmed = {trial.config.point() for trial in chosen}
    for point in summary(after)["points"]:
        assert (point["test_accuracy"] is not None) == (point["point"] in confirmed)
        for replicate in point["replicates"]:
            assert (replicate["test"] is not None) == (replicate["phase"] == "confirm")


def test_the_main_table_is_of_confirmed_points(after, chosen, trials):
    (head, rows), (others_head, others) = tables(markdown_table(after))
    assert {row[0] for row in rows} == {trial.label for trial in chosen}
    assert {row[0] for row in others} == {trial.label for trial in trials} - {row[0] for row in rows}
    assert "test acc %" in head
    assert "test acc %" not in others_head
    sizes = [int(row[head.index("with head")].replace(",", "")) for row in rows]
    assert sizes == sorted(sizes)
    probabilities = {f"{100 * value:.0f}" for value in front_probabilities(after).values()}
    assert {row[head.index("on front %")] for row in rows} == probabilities
    assert {row[head.index("seeds")] for row in rows} == {"4"}  # without the search's own
    marks = [row[-1] for row in rows]
    assert sum("front" in mark for mark in marks) > 1
    assert sum("knee" in mark for mark in marks) == sum("best" in mark for mark in marks) == 1
    assert not any("front" in row[-1].split(", ") or "best" in row[-1] for row in others)
    assert f"{len(chosen)} points were confirmed by fresh replicates" in markdown_table(after)
    assert f"({60 - len(chosen)} never confirmed)" in markdown_table(after)


def test_marks_of_a_search(before, after):
    for sweep in (before, after):
        stands = standing(sweep)
        for point, marks in marked_points(sweep):
            contends = point.confirmed or not sweep.confirmed
            assert ("front" in marks) == (stands.get(point.point) == "front")
            assert ("near" in marks) == (contends and stands.get(point.point) == "near-front")
            assert contends or marks == ()


def test_a_terminal_shows_the_front_and_counts_the_rest():
    sweep = sweep_record(search_events(searched(200)))
    text = terminal(sweep)
    shown = [line for line in text.splitlines() if " lr 0.008 " in line and "failed" not in line]
    front = [point.label for point, marks in marked_points(sweep) if "front" in marks]
    assert len(shown) == len(front) + 12
    assert all(any(line.startswith(label) for line in shown) for label in front)
    assert len(text.splitlines()) < 60
    counts = summary(sweep)["search"]["outcomes"]
    assert sum(counts.values()) == summary(sweep)["search"]["num_points"] == 200
    assert ", ".join(f"{count} {name}" for name, count in counts.items()) in " ".join(text.split())
    assert f"{counts['near-front'] - 12} more points near the front: see table.md" in text
    assert text.count("failed: s") == 3
    (_, main), (_, others) = tables(markdown_table(sweep))  # where everything is
    assert len(main) + len(others) == 200


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_terminal_of_80_columns_breaks_no_number(before, after, confirmed):
    lines = terminal(after if confirmed else before, width=80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line for line in lines)


def test_stopped_trials_are_counted_and_never_averaged():
    done = Trial("a", config(1), size=9_000, accuracy=0.5)
    stopped = [Trial(f"b{seed}", config(2, seed=seed), size=5_000, accuracy=0.97, state="stopped") for seed in (0, 1)]
    sweep = sweep_record(search_events([done, *stopped]))
    text = markdown_table(sweep)
    (_, ((label, *_),)), (head, (row,)) = tables(text)
    assert (label, row[0], row[head.index("val acc %")], row[-1]) == ("1/1", "2/1", "–", "stopped after epoch 3")
    assert "97" not in text
    assert "2 points tried: 1 front, 1 stopped." in text


def test_what_it_cost_and_why_it_ended():
    trials = [Trial("a", config(1)), Trial("b", config(2), state="stopped", epochs=1)]
    text = markdown_table(sweep_record(search_events(trials)))
    assert "- 4 epochs spent, hypervolume of the front 3.200; 6 core-seconds: start-up 8 %, training 38 %, " in text
    assert "evaluation 21 %, stopped 33 %." in text
    assert "- Ended: every trial ended." in text
    assert "Ended" not in markdown_table(sweep_record(search_events(trials, ended=False)))


def test_step_time_has_a_column_and_its_front_a_mark():
    trials = [
        Trial("a", config(1), size=1_000, accuracy=0.8, step_seconds=0.02),
        Trial("b", config(2), size=2_000, accuracy=0.6, step_seconds=0.01),
        Trial("c", config(4), size=3_000, accuracy=0.4, step_seconds=0.03),
    ]
    sweep = sweep_record(search_events(trials, objectives=["params", "accuracy", "step_time"]))
    (head, rows), (_, others) = tables(markdown_table(sweep))
    assert [(row[0], row[head.index("step ms")], row[-1]) for row in rows] == [
        ("1/1", "20.0", "front, best, 3-D"),
        ("2/1", "10.0", "3-D"),
    ]
    assert [row[0] for row in others] == ["4/1"]
    assert "front" not in terminal(sweep).split("2/1")[1].split("\n")[0]
    assert "step ms" not in markdown_table(sweep_record(search_events(trials)))


def test_json_has_everything(after, tmp_path):
    facts = json.loads(write_tables(after, tmp_path)[1].read_text())
    assert len(facts["points"]) == 60
    search = facts["search"]
    assert (search["sampler"], search["confirmed"], search["num_confirmed"]) == ("nsga2", True, 12)
    assert {point["standing"] for point in facts["points"]} == {"front", "near-front", "dominated", None}
    trace = after.hypervolume_trace()
    gains = [row["hypervolume"] for row in search["trace"]]
    assert (gains[0], gains[-1]) == (trace[0].hypervolume, trace[-1].hypervolume)
    assert all(a < b for a, b in itertools.pairwise(gains[:-1]))
    assert search["trace"][-1]["num_completed"] == len(trace)
    values = [(p.num_trainable_params, p.val_accuracy.mean) for p in after.contenders()]
    assert facts["hypervolume"] == pytest.approx(sum_of_steps(values))


def sum_of_steps(values):
    """Decades of parameters up to 100 M times the best accuracy there, step by step."""
    sizes = sorted({size for size, _ in values})
    best = [max(accuracy for size, accuracy in values if size <= limit) for limit in sizes]
    return sum(np.diff(np.log10([*sizes, 1e8])) * best)


def scatter(axes, label):
    (found,) = [dots for dots in axes.collections if dots.get_label() == label]
    return found.get_offsets()


def test_picture_before_confirmation(before, tmp_path, monkeypatch):
    figure = drawn(monkeypatch, lambda: frontier_picture(before, tmp_path / "f.png"))
    assert imread(tmp_path / "f.png").shape == (960, 1800, 4)
    left, gains, names = figure.axes
    assert figure.get_suptitle().endswith("before confirmation")
    counts = summary(before)["search"]["outcomes"]
    kinds = {"front": "front", "near the front": "near-front", "dominated": "dominated"}
    for label, standing_ in kinds.items():
        assert len(scatter(left, label)) == counts[standing_]
    stopped = [p.num_trainable_params for p in before.points() if p.trials[0].state == "stopped"]
    ticks = scatter(left, "stopped early (its size only)")
    assert sorted(ticks[:, 0]) == sorted(stopped)
    assert len(set(ticks[:, 1])) == 1  # all on one height: it says nothing
    (line,) = gains.lines
    assert line.get_xdata()[-1] == before.num_epochs
    assert line.get_ydata()[-1] == before.hypervolume_trace()[-1].hypervolume
    assert [text.get_text() for text in left.texts] == [str(n + 1) for n in range(counts["front"])]
    front = [point.label for point, marks in marked_points(before) if "front" in marks]
    assert set(front) <= {text.get_text() for text in names.texts}


def test_picture_after_confirmation(after, tmp_path, monkeypatch):
    left, _, names = drawn(monkeypatch, lambda: frontier_picture(after, tmp_path / "f.png")).axes
    front = [point for point, marks in marked_points(after) if "front" in marks]
    places = sorted((point.num_trainable_params, 100 * point.val_accuracy.mean) for point in front)
    np.testing.assert_allclose(sorted(map(tuple, scatter(left, "front, confirmed"))), places)
    single = [p for p in after.points() if p.val_accuracy is not None and not p.confirmed]
    assert len(scatter(left, "not confirmed: one replicate")) == len(single) > 0
    assert len(scatter(left, "replicates")) == 4 * len(front)
    (steps,) = [line for line in left.lines if line.get_drawstyle() == "steps-post"]
    np.testing.assert_allclose(steps.get_ydata()[:-1], [mean for _, mean in places])
    assert "on front %" in {text.get_text() for text in names.texts}


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, 60, 200])
def test_numbers_do_not_overlap(tmp_path, monkeypatch, count):
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep_record(search_events(searched(count))), tmp_path / "f"))
    left, _, names = figure.axes
    renderer = figure.canvas.get_renderer()
    for axes in (left, names):
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
        assert all(text.get_visible() for text in axes.texts)
        assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])


def test_a_long_front_has_a_list_that_ends(tmp_path, monkeypatch):
    trials = [
        Trial(f"t{i}", config(i + 1), size=1_000 * (i + 1), accuracy=0.02 * i, name=f"{'long ' * 20}{i}")
        for i in range(40)
    ]
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep_record(search_events(trials)), tmp_path / "f.png"))
    names = figure.axes[2]
    assert names.texts[-1].get_text() == "and 26 more: see table.md"
    whole, renderer = figure.get_window_extent(), figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in names.texts if text.get_text()]
    assert all(whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1) for box in boxes)
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])


@pytest.mark.parametrize("state", ["stopped", "failed", "running", "proposed", None])
def test_a_search_without_results(tmp_path, state):
    trials = [] if state is None else [dataclasses.replace(t, state=state) for t in searched(3)]
    sweep = sweep_record(search_events(trials, ended=False))
    assert frontier_picture(sweep, tmp_path / "f.png").stat().st_size > 1000
    assert "val acc %" in markdown_table(sweep)
    assert "frontier" in terminal(sweep)
    assert summary(sweep)["hypervolume"] == 0


def test_every_prefix_of_a_search_has_a_table():
    trials = searched(10)
    events = search_events([*trials, *confirming([t for t in trials if t.state == "completed"], 2)])
    for end in range(1, len(events) + 1, 3):
        sweep = sweep_record(events[:end])
        table, shown = markdown_table(sweep), terminal(sweep)
        for trial in sweep.trials:  # whoever has a result is in the table, whatever has not ended yet
            assert trial.val_accuracy is None or trial.label in table
        assert "frontier" in shown
