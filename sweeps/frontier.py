"""The frontier of accuracy against trainable parameters, searched: what is worth its parameters on your sounds?

Proposes methods (linear probe, single adapter, Dense-MoA, Soft-MoA of arXiv 2402.00828), experts, slots, bottleneck,
placement, layers and learning rate; Pareto early stopping ends what cannot reach the frontier any more; --confirm
trains what is on it or near it again with other seeds and in all folds. --quick takes 5 minutes on two CPU cores.

    python sweeps/frontier.py --quick

    python sweeps/frontier.py --data esc50 --data-root ESC-50 --max-device-hours 10 --confirm seeds=3

    python sweeps/frontier.py --resume runs/RUN --max-trials 200
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from astmoa import BackboneShape, SearchOptions, Space, main

PLACES = ["attention", "ffn", "both"]
LAYERS = ["last_half", "every_second", "all"]
LEARNING_RATES = [1e-3, 2e-3, 5e-3, 1e-2, 2e-2]
PLACED = {"bottleneck_dim": [1, 2, 4, 8, 16, 32], "placement": PLACES, "layers": LAYERS, "lr": LEARNING_RATES}
EXPERTS = [2, 4, 6, 8, 12, 16, 24]
SPACE = Space(
    [
        {"name": ["linear"], "lr": LEARNING_RATES},
        {"name": ["bottleneck"], **PLACED},
        {"name": ["dense_moa"], "num_experts": EXPERTS, **PLACED},
        {"name": ["soft_moa"], "num_experts": EXPERTS, "slots_per_expert": [1, 2, 4, 8], **PLACED},
    ]
)


@dataclass(frozen=True)
class Options(SearchOptions):
    """Everything that a search can be told, but what the space chooses."""

    refused: ClassVar = {**SearchOptions.refused, "--lr": "it chooses learning rates by itself; leave it out"}
    lr: Annotated[float | None, tyro.conf.Suppress] = None


def space(options: Options, shape: BackboneShape) -> Space:
    return SPACE


if __name__ == "__main__":
    main("frontier", Options, space, __doc__)
