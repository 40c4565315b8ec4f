"""Where should modules sit: which sub-layer, which layers, parallel or sequential?

One bottleneck adapter and one Soft-MoA, each beside the attention, the FFN or both (with half the bottleneck, or half
the experts, at each place), in parallel or after the sub-layer; then the single adapter in some of the layers only,
with the bottleneck that spends the same budget. arXiv 2402.00828 compares Pfeiffer and Houlsby (its Tables 1 and 2: on
average 85.9 against 85.3 for the single adapter, 87.6 against 86.5 for Soft-MoA of 14); its companion, arXiv
2312.03694, finds parallel ahead of sequential. Neither varies the layers.

    python sweeps/placement.py --quick

    python sweeps/placement.py --data esc50 --data-root ESC-50 --cross-validate --backbone \
MIT/ast-finetuned-audioset-10-10-0.4593
"""

from astmoa import BackboneShape, MethodConfig, Point, StudyOptions, count_params, main, solve_bottleneck

DATA = ("esc50", "urbansound8k", "speech_commands_v2", "fluent_speech_commands")
PAPER = {  # Tables 1 and 2, parallel
    "single attention": (88.65, 83.36, 93.53, 78.19),
    "single both": (88.00, 82.80, 91.75, 78.71),
    "soft attention": (89.08, 84.88, 93.91, 82.48),
    "soft both": (87.13, 83.77, 93.67, 81.41),
}


def points(options: StudyOptions, shape: BackboneShape) -> list[Point]:
    found = []
    for composition in ("parallel", "sequential"):
        for place in ("attention", "ffn", "both"):
            where = {"placement": place, "composition": composition}
            single = MethodConfig("bottleneck", bottleneck_dim=12 if place == "both" else 24, **where)
            for name, method in (("single", single), ("soft", MethodConfig("soft_moa", 14, **where))):
                paper = PAPER.get(f"{name} {place}", ()) if composition == "parallel" else ()
                after = "" if composition == "parallel" else " after"
                found.append(Point(f"{name} {place}{after}", method, paper=dict(zip(DATA, paper, strict=False))))
    return found + _some_layers(shape)


def _some_layers(shape: BackboneShape) -> list[Point]:
    last = shape.num_layers
    choices = {
        "first half": tuple(range(last // 2)),
        "last half": tuple(range(last // 2, last)),
        "every second": tuple(range(1, last, 2)),
        "last layer": (last - 1,),
    }
    budget = count_params(MethodConfig("bottleneck", bottleneck_dim=24), shape).paper
    return [
        Point(f"single {name}", solve_bottleneck(budget, MethodConfig("bottleneck", layers=layers), shape))
        for name, layers in choices.items()
        if layers
    ]


if __name__ == "__main__":
    main("placement", StudyOptions, points, __doc__, paper="Tables 1 and 2 of arXiv 2402.00828")
