import itertools

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from astmoa.report.contribution_picture import contributions_picture
from tests.helpers.pictures import drawn, fill_the_disk


def shares(rows, experts):
    return np.random.default_rng(0).dirichlet([20] * experts, rows)


def figure_of(monkeypatch, path, layers, classes, experts):
    names = [f"a class of sounds {i}" for i in range(classes)]
    per_layer, per_class = shares(layers, experts), shares(classes, experts)
    numbers = range(1, layers + 1)
    figure = drawn(
        monkeypatch, lambda: contributions_picture(per_layer, per_class, numbers, names, path, "Shares of experts")
    )
    return figure, per_layer, per_class, names


def test_bars_and_cells_are_the_shares(tmp_path, monkeypatch):
    figure, per_layer, per_class, names = figure_of(monkeypatch, tmp_path / "c.png", 3, 5, 4)
    left, right = figure.axes[:2]
    bars = [patch for patch in left.patches if isinstance(patch, Rectangle)]
    groups = {
        layer: sorted(b.get_x() for b in bars if round(b.get_x() + b.get_width() / 2) == layer) for layer in range(3)
    }
    assert [len(group) for group in groups.values()] == [4, 4, 4]
    heights = {round(bar.get_x(), 6): bar.get_height() for bar in bars}
    for layer, group in groups.items():
        np.testing.assert_allclose([heights[round(x, 6)] for x in group], 100 * per_layer[layer])
    assert [text.get_text() for text in left.get_xticklabels()] == ["1", "2", "3"]
    np.testing.assert_allclose(right.images[0].get_array(), 100 * per_class.T)
    assert [text.get_text() for text in right.get_xticklabels()] == names
    assert [text.get_text() for text in right.get_yticklabels()] == ["1", "2", "3", "4"]
    assert figure.get_suptitle() == "Shares of experts"


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "classes", "experts"), [(12, 50, 24), (4, 10, 7), (1, 2, 1), (6, 31, 2)])
def test_nothing_is_cut_off_and_no_names_overlap(tmp_path, monkeypatch, layers, classes, experts):
    figure, *_ = figure_of(monkeypatch, tmp_path / "c.png", layers, classes, experts)
    renderer = figure.canvas.get_renderer()
    right = figure.axes[1]
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert figure.bbox.x0 - 1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1
    for labels in (right.get_xticklabels(), right.get_yticklabels()):
        boxes = [label.get_window_extent(renderer) for label in labels]
        assert not any(box.overlaps(after) for box, after in itertools.pairwise(boxes))
    heights = [axes.get_window_extent(renderer).height for axes in figure.axes[:2]]
    assert min(heights) > 150  # pixels: room for the bars beneath long names


def test_a_class_without_clips_is_left_white(tmp_path, monkeypatch):
    per_class = shares(3, 2)
    per_class[1] = np.nan
    figure = drawn(
        monkeypatch, lambda: contributions_picture(shares(1, 2), per_class, [0], list("abc"), tmp_path / "c.png", "")
    )
    image = figure.axes[1].images[0]
    assert np.ma.getmaskarray(image.get_array())[:, 1].all()
    assert image.get_clim() == (100 * np.nanmin(per_class), 100 * np.nanmax(per_class))


def test_what_does_not_fit_together_is_refused(tmp_path):
    path = tmp_path / "c.png"
    for arguments in (
        (shares(2, 3), shares(4, 2), [0, 1], list("abcd")),
        (shares(2, 3), shares(4, 3), [0], list("abcd")),
        (shares(2, 3), shares(4, 3), [0, 1], list("abc")),
        (np.zeros((0, 3)), shares(4, 3), [], list("abcd")),
        (shares(2, 3)[0], shares(4, 3), [0, 1], list("abcd")),
    ):
        with pytest.raises(ValueError, match="give one row for each"):
            contributions_picture(*arguments, path, "")
    assert not path.exists()


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = contributions_picture(shares(2, 3), shares(4, 3), [0, 1], list("abcd"), tmp_path / "c.png", "")
    old = path.read_bytes()

    fill_the_disk(monkeypatch)
    with pytest.raises(OSError, match="disk full"):
        contributions_picture(shares(2, 3), shares(4, 3), [0, 1], list("abcd"), path, "")
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
