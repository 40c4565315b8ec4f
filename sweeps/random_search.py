"""Random search over methods: a first picture of the frontier of accuracy against trainable parameters.

Draws configurations of the linear probe, the single adapter, Dense-MoA and Soft-MoA: experts, slots, bottleneck, place.
Random search is the baseline that every other way to propose must beat (Bergstra and Bengio, 2012).

    python sweeps/random_search.py --num-points 20

    python sweeps/random_search.py --data csv --data-root my_sounds --max-params 300000
"""

from dataclasses import dataclass

from astmoa import BackboneShape, MethodConfig, Point, StudyOptions, count_params, main, random_methods

EXPERTS, BOTTLENECKS, PLACES = [2, 4, 6, 8, 12, 16, 24], [1, 2, 4, 8, 16, 32], ["attention", "ffn", "both"]
SPACES = [
    {"name": ["linear"]},
    {"name": ["bottleneck"], "bottleneck_dim": BOTTLENECKS, "placement": PLACES},
    {"name": ["dense_moa"], "num_experts": EXPERTS, "bottleneck_dim": BOTTLENECKS, "placement": PLACES},
    {
        "name": ["soft_moa"],
        "num_experts": EXPERTS,
        "slots_per_expert": [1, 2, 4],
        "bottleneck_dim": BOTTLENECKS,
        "placement": PLACES,
    },
]


@dataclass(frozen=True)
class Options(StudyOptions):
    num_points: int = 12
    """Configurations to draw."""
    max_params: int | None = None
    """Draw only what trains at most this many parameters, without the head."""
    search_seed: int = 0
    """Another seed draws other configurations."""


def points(options: Options, shape: BackboneShape) -> list[Point]:
    def affordable(method: MethodConfig) -> bool:
        count = count_params(method, shape).paper
        return options.max_params is None or count <= options.max_params

    return [
        Point(_label(method), method)
        for method in random_methods(SPACES, options.num_points, options.search_seed, affordable)
    ]


def _label(method: MethodConfig) -> str:
    """Such as `soft 8/2 r4 both`."""
    if method.name == "linear":
        return "linear"
    name = method.name.removesuffix("_moa")
    size = {"soft": f" {method.num_experts}/{method.slots_per_expert}", "dense": f" {method.num_experts}"}.get(name, "")
    return f"{name}{size} r{method.bottleneck_dim} {method.placement}"


if __name__ == "__main__":
    main("random_search", Options, points, __doc__)
