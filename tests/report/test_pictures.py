import dataclasses
import sys
import threading

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.image import imread
from matplotlib.text import Annotation

from astmoa.errors import RunError
from astmoa.records.load import sweep_record
from astmoa.report.pictures import frontier_picture
from tests.helpers.journals import Trial, config, every_state, many_points, search_events, sweep_events
from tests.helpers.pictures import drawn, fill_the_disk


@pytest.fixture
def sweep():
    return sweep_record(sweep_events(every_state()))


def test_picture(tmp_path, monkeypatch):
    sweep = sweep_record(sweep_events(many_points(6, seeds=3)))
    path = tmp_path / "frontier.png"
    path.write_bytes(b"older")
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep, path))
    assert imread(path).shape == (720, 1650, 4)
    assert list(tmp_path.iterdir()) == [path]
    left, right = figure.axes
    assert left.get_xscale() == "log"  # sizes span a factor of 7.6
    assert figure.get_suptitle() == "n_vs_p: builtin data, backbone tiny, 3 seeds per point; bars: 95 % interval"
    assert [t.get_text() for t in left.texts] == ["1/1", "2/1", "3/1", "4/1", "5/1", "6/1"]
    dots = [line for line in left.lines if line.get_alpha() and line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [3] * 6
    (front,) = [line for line in left.lines if line.get_label() == "front"]
    expected = [100 * point.val_accuracy.mean for point in sweep.points()]
    np.testing.assert_allclose(front.get_ydata()[:-1], expected)
    assert [line.get_label() for line in left.lines].count("knee") == 1
    assert len(right.lines) == 6 * (3 + 1)  # each trial, and each point's mean
    assert max(right.lines[3].get_ydata()) == pytest.approx(expected[0])


def test_one_epoch_is_a_dot(tmp_path, monkeypatch):
    """A line needs two points to be seen."""
    for epochs, marker in ((1, "o"), (2, "None")):
        one = sweep_record(sweep_events([Trial("0", config(2), epochs=epochs)]))
        figure = drawn(monkeypatch, lambda one=one: frontier_picture(one, tmp_path / "frontier.png"))
        mean = figure.axes[1].lines[-1]
        assert (len(mean.get_xdata()), str(mean.get_marker())) == (epochs, marker)


def test_picture_of_one_budget_is_linear(tmp_path, monkeypatch):
    sweep = sweep_record(sweep_events(many_points(6, ratio=1.01)))
    assert drawn(monkeypatch, lambda: frontier_picture(sweep, tmp_path / "f.png")).axes[0].get_xscale() == "linear"


@pytest.mark.slow
@pytest.mark.parametrize(("count", "ratio"), [(9, 1.0), (9, 1.003), (9, 1.6), (40, 1.1)])
def test_names_do_not_overlap(tmp_path, monkeypatch, count, ratio):
    trials = many_points(count, ratio=ratio)
    trials = [dataclasses.replace(t, accuracy=0.8 + (t.accuracy - 0.8) / 10) for t in trials]
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep_record(sweep_events(trials)), tmp_path / "f.png"))
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


@pytest.mark.slow
def test_picture_without_results_one_result_and_many_points(tmp_path):
    for name, trials in {
        "states": every_state(),
        "one": many_points(1, seeds=1),
        "many": many_points(40, 1, 1.1),
    }.items():
        frontier_picture(sweep_record(sweep_events(trials)), tmp_path / f"{name}.png")
    assert len(list(tmp_path.iterdir())) == 3


def bars(axes):
    """(x, low, high) of every error bar, in percent."""
    segments = [c.get_segments()[0] for c in axes.collections if isinstance(c, LineCollection)]
    return [(*segment[0], segment[1][1]) for segment in segments]


def test_bars_are_the_intervals_and_limits_the_replicates(tmp_path, monkeypatch):
    sweep = sweep_record(sweep_events(many_points(3, seeds=2)))
    left = drawn(monkeypatch, lambda: frontier_picture(sweep, tmp_path / "f.png")).axes[0]
    points = sweep.points()
    expected = [(p.num_trainable_params, 100 * p.val_accuracy.low, 100 * p.val_accuracy.high) for p in points]
    np.testing.assert_allclose(bars(left), expected)
    values = [100 * trial.val_accuracy for trial in sweep.trials]
    low, high = left.get_ylim()
    assert low < min(values)
    assert max(values) < high
    assert high - low < 1.3 * (max(values) - min(values))
    assert max(top for *_, top in bars(left)) > high  # 2 seeds: their bars would have been the picture


def test_without_intervals_there_are_no_bars(tmp_path, monkeypatch):
    sweep = sweep_record(sweep_events([Trial("t0", config(), clips=None)]))
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep, tmp_path / "f.png"))
    assert bars(figure.axes[0]) == []
    assert "bars" not in figure.get_suptitle()


def of_methods(methods, seeds=1):
    trials = [
        Trial(f"{i}-{seed}", config(seed=seed, **method), size=10_000 * (i + 1), accuracy=0.5 + 0.01 * i)
        for i, method in enumerate(methods)
        for seed in range(seeds)
    ]
    return sweep_record(sweep_events(trials))


def looks(figure):
    """(colour, marker) of each point, smallest first."""
    lines = [line for line in figure.axes[0].lines if line.get_markeredgecolor() == "white"]
    return [(line.get_color(), line.get_marker()) for line in sorted(lines, key=lambda line: line.get_xdata()[0])]


def legend(figure):
    texts = [text.get_text() for box in figure.legends for text in box.get_texts()]
    lines = [line for box in figure.legends for line in box.get_lines()]
    return {text: (line.get_color(), line.get_marker()) for text, line in zip(texts, lines, strict=True)}


def test_points_of_a_method_look_alike(tmp_path, monkeypatch):
    methods = [{"name": "bottleneck"}, {"experts": 2}, {"experts": 4}, {"name": "conformer"}]
    figure = drawn(monkeypatch, lambda: frontier_picture(of_methods(methods), tmp_path / "f.png"))
    named = legend(figure)
    assert set(named) == {"bottleneck", "soft_moa", "conformer"}
    assert looks(figure) == [named[name] for name in ("bottleneck", "soft_moa", "soft_moa", "conformer")]
    assert len(set(named.values())) == 3


def test_mixtures_of_different_experts_look_different(tmp_path, monkeypatch):
    methods = [{"name": "bottleneck"}, {"experts": 2}, {"experts": 2, "expert": "convpass"}]
    figure = drawn(monkeypatch, lambda: frontier_picture(of_methods(methods), tmp_path / "f.png"))
    assert set(legend(figure)) == {"bottleneck", "soft_moa bottleneck", "soft_moa convpass"}


def test_one_method_has_a_colour_per_point(tmp_path, monkeypatch):
    figure = drawn(
        monkeypatch, lambda: frontier_picture(of_methods([{"experts": n} for n in (1, 2, 3)]), tmp_path / "f.png")
    )
    assert legend(figure) == {}
    assert len(set(looks(figure))) == 3


def test_56_methods_look_different(tmp_path, monkeypatch):
    events = sweep_events([Trial(f"t{i}", config(i + 1), size=1_000 * (i + 1)) for i in range(56)])
    for event in events:
        if event["type"] == "proposal":
            event["config"]["method"]["name"] = event["trial_id"]
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep_record(events), tmp_path / "f.png"))
    assert len(set(looks(figure))) == len(set(legend(figure).values())) == 56


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch, sweep):
    path = frontier_picture(sweep, tmp_path / "f.png")
    old = path.read_bytes()

    fill_the_disk(monkeypatch)
    with pytest.raises(OSError, match="disk full"):
        frontier_picture(sweep, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def odd_names():
    """What starts a formula, hides from a legend, has no sign in the font, is no text, or is far too long."""
    names = (
        r"$\frac{1}{0$",
        "a $x$ b $y$",
        "_hidden",
        "two\nlines",
        "\u72d7\u53eb \U0001f415",
        "\udcff\x1b",
        "x" * 400,
        " ",
    )
    return [
        Trial(f"t{i}", config(i + 1), size=5_000 + 3_000 * i, accuracy=0.3 + 0.05 * i, name=name)
        for i, name in enumerate(names)
    ]


@pytest.mark.slow
def test_names_are_drawn_as_they_are_and_nothing_is_remarked(tmp_path, monkeypatch, recwarn):
    odd = {"study": "$s$_{", "data": {"name": "$d_{"}, "backbone": {"name": "b" * 500}}
    sweep = sweep_record(sweep_events(odd_names(), **odd))
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep, tmp_path / "f.png"))
    left, right = figure.axes
    shown = [text.get_text() for text in left.texts]
    assert shown[:4] == [r"\$\frac{1}{0\$", r"a \$x\$ b \$y\$", " _hidden", r"two\nlines"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        name if len(name) < 30 else "x" * 20 + " ..." for name in shown
    ]
    assert "$" not in figure.get_suptitle().replace(r"\$", "")
    assert len(figure.get_suptitle()) < 150
    assert left.get_position().width > 0.5  # long names take no room from the axes
    methods = sweep_events(odd_names()[:4])
    for event in methods:
        if event["type"] == "proposal":
            event["config"]["method"]["name"] = event["label"]
    figure = drawn(monkeypatch, lambda: frontier_picture(sweep_record(methods), tmp_path / "f.png"))
    assert sorted(text.get_text() for text in figure.legends[0].get_texts()) == sorted(shown[:4])
    drawn(monkeypatch, lambda: frontier_picture(sweep_record(search_events(odd_names())), tmp_path / "f.png"))
    assert [str(warning.message) for warning in recwarn] == []


def test_what_matplotlib_cannot_draw_is_one_line(sweep, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("deep inside\nof a font")

    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", fail)
    with pytest.raises(
        RunError, match=r"f.png: the picture cannot be drawn \(ZeroDivisionError: deep inside of a font\)"
    ):
        frontier_picture(sweep, tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []


def test_pictures_can_be_drawn_in_a_thread_and_without_pyplot(tmp_path, sweep):
    before = "matplotlib.pyplot" in sys.modules
    thread = threading.Thread(target=frontier_picture, args=(sweep, tmp_path / "f.png"))
    thread.start()
    thread.join()
    assert (tmp_path / "f.png").is_file()
    assert ("matplotlib.pyplot" in sys.modules) == before
