"""Many experts or many slots? Soft-MoA at one trainable budget, split six ways (Table 3 of arXiv 2402.00828).

Every pair (experts N, slots per expert p) spends the same budget: the bottleneck r is solved from it. The paper, on
Fluent Speech Commands at about 900 K parameters, finds many experts with few slots ahead: 78.5 % at 2/14, 83.2 % at
12/2, 82.9 % at 24/1.

Built-in data and backbone (minutes on 2 CPU cores), your own sounds, and the paper's setting:

    python sweeps/n_vs_p.py

    python sweeps/n_vs_p.py --data csv --data-root my_sounds

    python sweeps/n_vs_p.py --data fluent_speech_commands --data-root FSC --backbone \
MIT/ast-finetuned-audioset-10-10-0.4593
"""

from dataclasses import dataclass

from astmoa import BackboneShape, MethodConfig, Point, StudyOptions, count_params, main, solve_bottleneck

# Table 3: (N, p) and the paper's accuracy on Fluent Speech Commands.
TABLE = {(2, 14): 78.52, (4, 6): 80.26, (6, 4): 81.65, (8, 3): 82.36, (12, 2): 83.24, (24, 1): 82.87}


@dataclass(frozen=True)
class Options(StudyOptions):
    budget: int | None = None
    """Trainable parameters without the head, as the paper counts.
    Default: what 24 experts of one slot need with a bottleneck of 1 (903,456 in the paper's backbone)."""


def points(options: Options, shape: BackboneShape) -> list[Point]:
    smallest_of_24 = count_params(MethodConfig("soft_moa", 24, 1, 1), shape).paper
    budget = smallest_of_24 if options.budget is None else options.budget
    return [
        Point(
            f"{n}/{p}",
            solve_bottleneck(budget, MethodConfig("soft_moa", n, p), shape),
            paper={"fluent_speech_commands": accuracy},
        )
        for (n, p), accuracy in TABLE.items()
    ]


if __name__ == "__main__":
    main("n_vs_p", Options, points, __doc__, paper="Table 3 of arXiv 2402.00828")
