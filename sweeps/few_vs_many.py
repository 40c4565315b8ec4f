"""One trainable budget, few experts or many: Dense-MoA and Soft-MoA (Fig. 2, middle, of arXiv 2402.00828).

The budget is split over N experts per layer; the bottleneck r is solved from it. The paper, on Fluent Speech Commands
at about 900 K parameters, finds Dense-MoA best at N = 7 and worse with more, while Soft-MoA (one slot per expert) needs
many experts. The figure gives no numbers to put beside ours.

Some 75 seconds with --quick on 2 CPU cores; then the paper's setting:

    python sweeps/few_vs_many.py --quick

    python sweeps/few_vs_many.py --data fluent_speech_commands --data-root FSC --backbone \
MIT/ast-finetuned-audioset-10-10-0.4593
"""

from dataclasses import dataclass

from astmoa import BackboneShape, MethodConfig, Point, StudyOptions, count_params, main, solve_bottleneck

NUM_EXPERTS = (1, 2, 4, 7, 14, 24)


@dataclass(frozen=True)
class Options(StudyOptions):
    budget: int | None = None
    """Trainable parameters without the head, as the paper counts.
    Default: what Dense-MoA of 24 experts needs with a bottleneck of 1 (903,744 in the paper's backbone)."""


def points(options: Options, shape: BackboneShape) -> list[Point]:
    largest = count_params(MethodConfig("dense_moa", 24), shape).paper
    budget = largest if options.budget is None else options.budget
    return [
        Point(f"{name} N={n}", solve_bottleneck(budget, MethodConfig(f"{name}_moa", n), shape))
        for name in ("dense", "soft")
        for n in NUM_EXPERTS
    ]


if __name__ == "__main__":
    main("few_vs_many", Options, points, __doc__)
