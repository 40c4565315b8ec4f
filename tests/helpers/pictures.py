"""How tests read what a report wrote."""

import re

from matplotlib.backends.backend_agg import FigureCanvasAgg


def cells(markdown):
    """Rows of a pipe table: the header, the rule, the points."""
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def drawn(monkeypatch, draw):
    """The figure behind the picture that `draw` writes."""
    figures = []
    original = FigureCanvasAgg.print_png
    monkeypatch.setattr(
        FigureCanvasAgg, "print_png", lambda self, *a, **k: (figures.append(self.figure), original(self, *a, **k))
    )
    draw()
    return figures[0]


def fill_the_disk(monkeypatch):
    """From now on pictures break off half-way."""

    def full(self, file):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", full)
