import dataclasses
import io
import json
import re
import sys
import threading

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Annotation
from rich.console import Console

from astmoa.records import sweep_record
from astmoa.report.pictures import frontier_picture
from astmoa.report.tables import markdown_table, marked_points, rich_table, summary, write_tables
from tests.journals import Trial, config, every_state, many_points, sweep_events


@pytest.fixture
def sweep():
    return sweep_record(sweep_events(every_state()))


def cells(markdown):
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_markdown(sweep):
    text = markdown_table(sweep)
    head, rule, *rows = cells(text)
    assert head == ["N/p", "bottleneck", "params", "with head", "val acc %", "test acc %", "seeds", "CPU-s", ""]
    assert set(rule) <= {"---", "---:"}
    assert rows == [
        ["1/1", "2", "9,500", "10,000", "65.0 ± 7.1", "60.0 ± 7.1", "2", "4.0", "front, best"],
        ["2/1", "2", "19,500", "20,000", "–", "–", "0 of 2", "–", ""],
        ["4/1", "2", "39,500", "40,000", "–", "–", "0 of 2", "–", ""],
    ]
    assert "- failed: t2 (2/1, seed 0, fold 1): loss is not finite in epoch 4\n" in text
    assert "n_vs_p: data builtin; backbone tiny; method soft_moa;" in text
    assert "trials: 2 running, 1 stopped, 2 completed, 1 failed" in text
    assert "1 unreadable clips left out" in text


def test_stopped_trials_never_show_an_accuracy(sweep):
    assert "90" not in markdown_table(sweep)  # t3 was stopped at 0.9


def test_what_varies_gets_a_column_and_what_is_shared_goes_below():
    trials = [
        Trial("a", config(2, 1)),
        Trial("b", config(2, 1, placement="ffn"), size=9_000),
        Trial("c", config(1, 1, name="bottleneck"), size=8_000),
    ]
    text = markdown_table(sweep_record(sweep_events(trials)))
    head, _, *rows = cells(text)
    assert head[1:3] == ["method", "placement"]
    assert [row[1:3] for row in rows] == [["soft_moa", "attention"], ["soft_moa", "ffn"], ["bottleneck", "attention"]]
    assert "placement" not in text.split("\n\n")[1]
    assert "composition parallel; epochs 3" in text


def test_replicates_are_called_what_they_are():
    def noun(*replicates):
        trials = [Trial(f"t{i}", config(seed=s, fold=f)) for i, (s, f) in enumerate(replicates)]
        return summary(sweep_record(sweep_events(trials)))["replicates"]

    assert noun((0, 1)) == "seeds"
    assert noun((0, 1), (1, 1)) == "seeds"
    assert noun((0, 1), (0, 2)) == "folds"
    assert noun((0, 1), (1, 2)) == "runs"


def test_marks():
    accuracies = {1_000: 0.1, 10_000: 0.8, 50_000: 0.5, 100_000: 0.85, 1_000_000: 0.9}
    trials = [Trial(f"t{i}", config(i + 1), size=s, accuracy=a) for i, (s, a) in enumerate(accuracies.items())]
    marks = [mark for _, mark in marked_points(sweep_record(sweep_events(trials)))]
    assert marks == [("front",), ("front", "knee"), (), ("front",), ("front", "best")]


def test_marks_are_on_means_over_seeds():
    trials = [
        Trial("a", config(1, seed=0), size=1_000, accuracy=0.5),
        Trial("b", config(1, seed=1), size=1_000, accuracy=0.7),
        Trial("c", config(2, seed=0), size=2_000, accuracy=0.59),  # beats one seed, not the mean
    ]
    assert [mark for _, mark in marked_points(sweep_record(sweep_events(trials)))] == [("front", "best"), ()]


def test_json_is_the_table(sweep, tmp_path):
    markdown, js = write_tables(sweep, tmp_path)
    assert markdown.read_text() == markdown_table(sweep)
    facts = json.loads(js.read_text())
    assert facts == summary(sweep)
    assert facts["points"][0]["val_accuracy"] == {
        "mean": pytest.approx(0.65),
        "std": pytest.approx(0.5**0.5 / 10),
        "n": 2,
    }
    assert facts["points"][1]["val_accuracy"] is None
    assert facts["hypervolume"] == pytest.approx(4 * 0.65)
    assert facts["failures"][0]["error"] == "loss is not finite\nin epoch 4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.json", "table.md"]


def test_terminal(sweep):
    console = Console(file=io.StringIO(), width=140)
    console.print(rich_table(sweep))
    text = console.file.getvalue()
    assert "65.0 ± 7.1" in text
    assert "failed: t2 (2/1, seed 0, fold 1): loss is not finite in epoch 4" in text


def test_a_terminal_of_80_columns_cuts_nothing():
    """Of the widest usual table: the paper's six points, two seeds each."""
    pairs = ((2, 14), (4, 6), (6, 4), (8, 3), (12, 2), (24, 1))
    trials = [
        Trial(f"{n}-{seed}", config(n, p, seed), 901_600 + n, 0.8 + seed / 10) for n, p in pairs for seed in (0, 1)
    ]
    sweep = sweep_record(sweep_events(trials))
    console = Console(file=io.StringIO(), width=80)
    console.print(rich_table(sweep))
    text = console.file.getvalue()
    shown = text.split()
    for row in cells(markdown_table(sweep))[2:8]:
        for cell in row:
            for word in cell.split():
                assert word in shown
    assert all(len(line) <= 80 for line in text.splitlines())


def test_text_from_outside_is_shown_as_it_is():
    """Brackets are not markup, and a pipe does not end a cell."""
    trial = Trial("t[red]", config(), state="failed")
    events = sweep_events([trial], study="[bold]odd")
    for event in events:
        if event["type"] == "proposal":
            event["label"] = "a|b[/]"
        if event["type"] == "end":
            event["error"] = "[Errno 2] no such file [/tmp]"
    sweep = sweep_record(events)
    console = Console(file=io.StringIO(), width=140)
    console.print(rich_table(sweep))
    for text in ("[bold]odd", "a|b[/]", "t[red]", "[Errno 2] no such file [/tmp]"):
        assert text in console.file.getvalue()
    assert cells(markdown_table(sweep))[2][0] == r"a\|b[/]"


def test_an_empty_sweep_has_tables_and_a_picture(tmp_path):
    sweep = sweep_record(sweep_events([]))
    assert "no trials" in markdown_table(sweep)
    assert summary(sweep)["hypervolume"] == 0
    assert frontier_picture(sweep, tmp_path / "empty.png").stat().st_size > 1000


def drawn(monkeypatch, sweep, path):
    """The figure behind the picture."""
    figures = []
    original = FigureCanvasAgg.print_png
    monkeypatch.setattr(
        FigureCanvasAgg, "print_png", lambda self, *a, **k: (figures.append(self.figure), original(self, *a, **k))
    )
    frontier_picture(sweep, path)
    return figures[0]


def test_picture(tmp_path, monkeypatch):
    sweep = sweep_record(sweep_events(many_points(6, seeds=3)))
    path = tmp_path / "frontier.png"
    path.write_bytes(b"older")
    figure = drawn(monkeypatch, sweep, path)
    assert imread(path).shape == (720, 1650, 4)
    assert list(tmp_path.iterdir()) == [path]
    left, right = figure.axes
    assert left.get_xscale() == "log"  # sizes span a factor of 7.6
    assert figure.get_suptitle() == "n_vs_p: builtin data, backbone tiny, 3 seeds per point"
    assert [t.get_text() for t in left.texts] == ["1/1", "2/1", "3/1", "4/1", "5/1", "6/1"]
    dots = [line for line in left.lines if line.get_alpha() and line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [3] * 6
    (front,) = [line for line in left.lines if line.get_label() == "front"]
    expected = [100 * point.val_accuracy.mean for point in sweep.points()]
    np.testing.assert_allclose(front.get_ydata()[:-1], expected)
    assert [line.get_label() for line in left.lines].count("knee") == 1
    assert len(right.lines) == 6 * (3 + 1)  # each trial, and each point's mean
    assert max(right.lines[3].get_ydata()) == pytest.approx(expected[0])


def test_picture_of_one_budget_is_linear(tmp_path, monkeypatch):
    sweep = sweep_record(sweep_events(many_points(6, ratio=1.01)))
    assert drawn(monkeypatch, sweep, tmp_path / "f.png").axes[0].get_xscale() == "linear"


@pytest.mark.parametrize(("count", "ratio"), [(9, 1.0), (9, 1.003), (9, 1.6), (40, 1.1)])
def test_names_do_not_overlap(tmp_path, monkeypatch, count, ratio):
    trials = many_points(count, ratio=ratio)
    trials = [dataclasses.replace(t, accuracy=0.8 + (t.accuracy - 0.8) / 10) for t in trials]
    figure = drawn(monkeypatch, sweep_record(sweep_events(trials)), tmp_path / "f.png")
    renderer = figure.canvas.get_renderer()
    left = figure.axes[0]
    names = [t for t in left.texts if isinstance(t, Annotation) and t.get_visible()]
    boxes = [name.get_window_extent(renderer) for name in names]
    frame = left.get_window_extent(renderer)
    assert len(boxes) == 9 if count == 9 else 15 < len(boxes) < 40  # in a crowd some are left out, never the best
    assert any(name.get_fontweight() == "bold" for name in names)
    for i, box in enumerate(boxes):
        assert frame.contains(box.x0, box.y0)
        assert frame.contains(box.x1, box.y1)
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_picture_without_results_one_result_and_many_points(tmp_path):
    for name, trials in {
        "states": every_state(),
        "one": many_points(1, seeds=1),
        "many": many_points(40, 1, 1.1),
    }.items():
        frontier_picture(sweep_record(sweep_events(trials)), tmp_path / f"{name}.png")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch, sweep):
    path = frontier_picture(sweep, tmp_path / "f.png")
    old = path.read_bytes()

    def full(self, file):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", full)
    with pytest.raises(OSError, match="disk full"):
        frontier_picture(sweep, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_pictures_can_be_drawn_in_a_thread_and_without_pyplot(tmp_path, sweep):
    before = "matplotlib.pyplot" in sys.modules
    thread = threading.Thread(target=frontier_picture, args=(sweep, tmp_path / "f.png"))
    thread.start()
    thread.join()
    assert (tmp_path / "f.png").is_file()
    assert ("matplotlib.pyplot" in sys.modules) == before
