"""Axes as all pictures of sweeps have them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter


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
