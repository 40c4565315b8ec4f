"""What all pictures have in common: how they are drawn and written, and axes of sizes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from astmoa.errors import AstmoaError, RunError
from astmoa.report import whole_file

# A script that the font has no signs for, names that leave no room for axes: both are seen in the picture.
_NOT_FOR_A_TERMINAL = ("Glyph .* missing from", "constrained_layout not applied", "Tight layout not applied")


@contextlib.contextmanager
def drawing(path: Path) -> Iterator[None]:
    """Around all that is drawn for the picture at `path`: whatever matplotlib makes of it is a RunError that names it,
    and nothing of what it remarks gets to the terminal."""
    with warnings.catch_warnings():
        for remark in _NOT_FOR_A_TERMINAL:
            warnings.filterwarnings("ignore", remark)
        try:
            yield
        except (AstmoaError, OSError):
            raise
        except Exception as error:  # fonts, layout and colours raise what they like
            why = " ".join(str(error).split()) or "no reason given"
            raise RunError(
                f"{path}: the picture cannot be drawn ({type(error).__name__}: {why}); the tables tell the same"
            ) from error


def write_picture(canvas: FigureCanvasAgg, path: Path) -> Path:
    """As PNG, whole or not at all. Returns its path."""
    with whole_file(path) as unfinished:
        canvas.print_png(unfinished)
    return Path(path)


def size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Limits with air on both sides; logarithmic where sizes span more than a factor of 4."""
    low, high = min(sizes), max(sizes)
    if high > 4 * low > 0:
        axes.set_xscale("log")
        air = (high / low) ** 0.08
        axes.set_xlim(low / air, high * air)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        air = 0.08 * (high - low) or 0.05 * high or 1
        axes.set_xlim(low - air, high + air)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(short_size))


def short_size(value: float, _: object = None) -> str:
    """901,600 as '901.6 K', 1,500,000 as '1.5 M'."""
    for unit, name in ((1e6, " M"), (1e3, " K")):
        if abs(value) >= unit:
            return f"{value / unit:.5g}{name}"
    return f"{value:.5g}"


def frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e8e8", lw=0.6)
    axes.set_axisbelow(True)
