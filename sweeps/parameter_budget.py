"""Accuracy against trainable parameters: a single adapter that grows wider, mixtures that grow more experts (Fig. 2,
left, of arXiv 2402.00828).

Mixtures keep r = 1 (and p = 1) and grow N; the single adapter gets the same budgets and grows r. The paper, on Fluent
Speech Commands, finds Soft-MoA ahead at small budgets and level with Dense-MoA at large ones, both above the single
adapter. The figure gives no numbers to put beside ours.

    python sweeps/parameter_budget.py --quick

    python sweeps/parameter_budget.py --data fluent_speech_commands --data-root FSC --backbone \
MIT/ast-finetuned-audioset-10-10-0.4593
"""

from astmoa import BackboneShape, MethodConfig, Point, StudyOptions, count_params, main, solve_bottleneck

NUM_EXPERTS = (2, 4, 7, 14, 24)


def points(options: StudyOptions, shape: BackboneShape) -> list[Point]:
    found = []
    for n in NUM_EXPERTS:
        soft, dense = MethodConfig("soft_moa", n), MethodConfig("dense_moa", n)
        single = solve_bottleneck(count_params(soft, shape).paper, MethodConfig("bottleneck"), shape)
        found += [
            Point(f"single r={single.bottleneck_dim}", single),
            Point(f"dense N={n}", dense),
            Point(f"soft N={n}", soft),
        ]
    return found


if __name__ == "__main__":
    main("parameter_budget", StudyOptions, points, __doc__)
