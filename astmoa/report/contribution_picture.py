"""How much each expert of a mixture contributes to the output tokens: by layer, and by class in one layer.

The pictures are those of arXiv 2402.00828, Fig. 2 (right) and Fig. 3, from plain arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from astmoa.report.axes import drawing, write_picture
from astmoa.report.words import drawn

_LONGEST_NAME = 40  # of a class


def contributions_picture(
    per_layer: np.ndarray,
    per_class: np.ndarray,
    layer_numbers: Sequence[int],
    class_names: Sequence[str],
    path: Path,
    title: str,
) -> Path:
    """Write the picture as PNG, whole or not at all, and return its path.

    per_layer: [layers, experts] and per_class: [classes, experts], shares from 0 to 1 of the output tokens (combine
    weights summed over an expert's slots, averaged over tokens and clips); a class without clips is a row of NaN.
    Left: per layer a group of bars, one for each expert. Right: experts x classes, each cell that expert's share.

    Raises ValueError where shapes and names do not fit together, RunError where it cannot be drawn, OSError where it
    cannot be written.
    """
    per_layer, per_class = (np.asarray(shares, dtype=np.float64) for shares in (per_layer, per_class))
    num_layers, num_classes, num_experts = len(layer_numbers), len(class_names), per_layer.shape[-1]
    expected = (num_layers, num_experts), (num_classes, num_experts)
    if (per_layer.shape, per_class.shape) != expected or 0 in per_layer.shape + per_class.shape:
        raise ValueError(
            f"shares of shapes {per_layer.shape} (layers, experts) and {per_class.shape} (classes, experts) do not fit "
            f"{num_layers} layer numbers and {num_classes} class names: give one row for each"
        )
    with drawing(path):
        class_names = [drawn(name, _LONGEST_NAME) for name in class_names]
        return _picture(per_layer, per_class, layer_numbers, class_names, path, title)


def _picture(
    per_layer: np.ndarray,
    per_class: np.ndarray,
    layer_numbers: Sequence[int],
    class_names: Sequence[str],
    path: Path,
    title: str,
) -> Path:
    num_layers, num_classes, num_experts = len(layer_numbers), len(class_names), per_layer.shape[-1]
    # Wide enough for an upright name per class, high enough for a number per expert below the longest name.
    bars, cells = min(4.5 + 0.018 * num_layers * num_experts, 9.0), max(4.0, 1.8 + 0.17 * num_classes)
    names = 0.075 * max(len(name) for name in class_names)
    figure = Figure(figsize=(bars + cells, max(4.2, 0.19 * num_experts + names + 1.2)), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(bars, cells))
    _bars(left, 100 * per_layer, layer_numbers)
    _heat_map(right, 100 * per_class, class_names)
    figure.suptitle(drawn(title, int(11 * figure.get_figwidth())), fontsize=11)
    return write_picture(canvas, path)


def _bars(axes: Axes, percent: np.ndarray, layer_numbers: Sequence[int]) -> None:
    """One group per layer, one colour per expert."""
    num_layers, num_experts = percent.shape
    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 0.95, num_experts)))
    width = 0.84 / num_experts
    for expert in range(num_experts):
        places = np.arange(num_layers) - 0.42 + width * (expert + 0.5)
        axes.bar(places, percent[:, expert], width, color=colours(expert))
    axes.axhline(100 / num_experts, color="#333333", lw=1, ls=(0, (4, 3)))
    axes.annotate("even", (1, 100 / num_experts), xytext=(3, 0), textcoords="offset points",
                  xycoords=("axes fraction", "data"), va="center", fontsize=8)  # fmt: skip
    axes.set(xlabel="layer", ylabel="share of the output tokens (%)", xticks=range(num_layers))
    axes.set_xticklabels([str(number) for number in layer_numbers])
    axes.tick_params(axis="x", length=0)
    axes.margins(x=0.01)
    axes.set_ylim(0, 1.05 * np.nanmax(percent, initial=100 / num_experts))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e8e8e8", lw=0.6)
    axes.set_axisbelow(True)
    # A key as long as the axes are high has room for any number of experts; number 1 on top, as in the heat map.
    key = axes.figure.colorbar(
        ScalarMappable(BoundaryNorm(np.arange(num_experts + 1) + 0.5, num_experts), colours),
        ax=axes,
        aspect=40,
        pad=0.08,
    )
    key.set_ticks(range(1, num_experts + 1), labels=_numbers(num_experts), fontsize=8)
    key.ax.tick_params(which="both", length=0)
    key.ax.invert_yaxis()
    key.ax.set_title("expert", fontsize=8)


def _heat_map(axes: Axes, percent: np.ndarray, class_names: Sequence[str]) -> None:
    """Experts x classes. Its colours are not those of the experts on the left."""
    num_classes, num_experts = percent.shape
    image = axes.imshow(percent.T, aspect="auto", cmap="magma", interpolation="nearest")
    axes.set_xticks(range(num_classes), class_names, rotation=90, fontsize=8)
    axes.set_yticks(range(num_experts), _numbers(num_experts), fontsize=8)
    axes.set_ylabel("expert")
    axes.tick_params(length=0)
    bar = axes.figure.colorbar(image, ax=axes, aspect=40, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    bar.ax.set_title("%", fontsize=8)


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]
