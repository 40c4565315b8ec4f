"""`astmoa params`: what a method trains, counted."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from tyro.conf import Positional

from astmoa.config import ExpertName, MethodConfig, MethodName
from astmoa.errors import ConfigError, shown
from astmoa.methods.method import METHODS
from astmoa.methods.shape import BackboneShape

_LARGEST_SIZE = 10**9


@dataclass(frozen=True)
class Params:
    """Count a method's trainable parameters in closed form, as the papers count (without --num-classes: without head).

    Example: astmoa params soft_moa --num-experts 14 --slots-per-expert 1 --bottleneck-dim 1
    """

    name: Positional[MethodName | None] = None
    """Default: all of them, in a table for an AST-base."""
    num_experts: int = 1
    slots_per_expert: int = 1
    bottleneck_dim: int = 1
    placement: Literal["attention", "ffn", "both"] = "attention"
    expert: ExpertName = "bottleneck"
    convolution: Literal["1d", "2d"] = "1d"
    num_virtual_tokens: int | None = None
    layers: tuple[int, ...] | None = None
    hidden_size: int = 768
    num_layers: int = 12
    intermediate_size: int | None = None
    """Width inside the MLP. Default: four times --hidden-size."""
    num_tokens: int = 1214
    """Tokens of one clip: full fine-tuning trains their positions. 590 for ESC-50's 5 s."""
    num_classes: int = 0
    """Classes of the head; 0 leaves head and final LayerNorm out."""
    budget: int | None = None
    """Solve the largest bottleneck within this many parameters instead of using --bottleneck-dim."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from astmoa.methods.params import count_params, solve_bottleneck

        if self.name is None:
            rows = methods_table()
            print(json.dumps(rows) if self.json else "\n".join(_lines(rows)))
            return

        for key, least in (
            ("hidden_size", 1),
            ("num_layers", 1),
            ("num_tokens", 1),
            ("intermediate_size", 1),
            ("num_classes", 0),
        ):
            value = getattr(self, key)
            if value is not None and not least <= value <= _LARGEST_SIZE:
                raise ConfigError(
                    f"{key}={shown(value)} is not possible: give a whole number of at least {least} and at most "
                    f"{_LARGEST_SIZE:,}"
                )
        fields = {field.name for field in dataclasses.fields(MethodConfig)}
        method = MethodConfig(**{key: value for key, value in vars(self).items() if key in fields})
        inner = 4 * self.hidden_size if self.intermediate_size is None else self.intermediate_size
        shape = BackboneShape(self.hidden_size, self.num_layers, inner, num_tokens=self.num_tokens)
        if self.budget is not None:
            method = solve_bottleneck(self.budget, method, shape)
        count = count_params(method, shape, self.num_classes)
        values = {"bottleneck_dim": method.bottleneck_dim, **count.to_dict()}
        if self.json:
            print(json.dumps(values))
        else:
            for key, value in values.items():
                print(f"{key:<22}{value:>12,}")


def methods_table() -> list[dict[str, Any]]:
    """Every method of the package: what it is, where it comes from, and its count at AST-base with example dials."""
    from astmoa.methods.params import count_params

    rows = []
    for name in METHODS.names():
        method = METHODS.find(name)
        count = count_params(MethodConfig(name, **method.example), BackboneShape()).paper
        dials = ", ".join(f"{key}={value}" for key, value in method.example.items())
        rows.append({"name": name, "about": method.about, "paper": method.paper, "dials": dials, "params": count})
    return rows


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    """For people: name, count, dials, what it is."""
    wide = max(len(row["dials"]) for row in rows)
    return [f"{row['name']:<15}{row['params']:>11,}  {row['dials']:<{wide}}  {row['about']}" for row in rows]
