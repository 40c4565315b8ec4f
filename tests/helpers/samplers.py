"""Samplers over a small space, with outcomes made up."""

import math

from astmoa.methods.shape import BackboneShape
from astmoa.search.sampler import OptunaSampler
from astmoa.search.space import Space

SHAPE = BackboneShape(64, 4, 128)


PLACES, LAYERS, RATES = ["attention", "ffn", "both"], ["all", "last_half"], [2e-3, 8e-3]


SPACE = Space(
    [
        {"name": "linear", "lr": RATES},
        {
            "name": "bottleneck",
            "bottleneck_dim": [1, 2, 4, 8, 16, 32],
            "placement": PLACES,
            "layers": LAYERS,
            "lr": RATES,
        },
        {
            "name": "soft_moa",
            "num_experts": [1, 2, 4, 8],
            "slots_per_expert": [1, 4],
            "bottleneck_dim": [1, 4, 16],
            "placement": PLACES,
            "layers": LAYERS,
            "lr": RATES,
        },
    ]
)


def outcome(candidate):
    """(parameters, accuracy, seconds per step): more parameters help, r=4 and both places do, so does the method."""
    size = SPACE.size(candidate, SHAPE) + 650
    accuracy = 0.2 + 0.1 * math.log10(size / 650) + {"linear": 0.0, "bottleneck": 0.05}.get(candidate["name"], 0.08)
    accuracy += {"both": 0.04, "attention": 0.03}.get(candidate.get("placement"), 0.0)
    accuracy -= 0.03 * (candidate.get("layers") == "last_half") + 0.03 * (candidate.get("lr") == RATES[0])
    accuracy -= 0.02 * abs(math.log2(candidate.get("bottleneck_dim", 1) / 4))
    return size, accuracy, 1e-3 * size


def trials(sampler, *states):
    return sampler._study.get_trials(deepcopy=False, states=states or None)


def make(name, seed=0, space=SPACE, **options):
    return OptunaSampler(space, SHAPE, name, seed, **{"num_startup": 4, **options})
