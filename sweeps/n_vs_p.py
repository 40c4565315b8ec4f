"""Many experts or many slots? Soft-MoA at one trainable budget, split six ways (Table 3 of arXiv 2402.00828).

Every pair (experts N, slots per expert p) spends the same budget: the bottleneck r is solved from it. The paper, on
Fluent Speech Commands at about 900 K parameters, finds many experts with few slots ahead: 78.5 % at 2/14, 83.2 % at
12/2, 82.9 % at 24/1.

Built-in data and backbone (minutes on 2 CPU cores), your own sounds, and the paper's backbone on ESC-50:

    python sweeps/n_vs_p.py

    python sweeps/n_vs_p.py --data csv --data-root my_sounds

    python sweeps/n_vs_p.py --data esc50 --data-root ESC-50 --backbone MIT/ast-finetuned-audioset-10-10-0.4593
"""

from dataclasses import dataclass

from astmoa.backbone import BackboneShape
from astmoa.config import MethodConfig
from astmoa.petl.params import count_params, solve_bottleneck
from astmoa.study import Points, StudyOptions, main

PAIRS = ((2, 14), (4, 6), (6, 4), (8, 3), (12, 2), (24, 1))  # Table 3


@dataclass(frozen=True)
class Options(StudyOptions):
    budget: int | None = None
    """Trainable parameters without the head, as the paper counts.
    Default: what 24 experts of one slot need with a bottleneck of 1 (903,456 in the paper's backbone)."""


def points(options: Options, shape: BackboneShape) -> Points:
    smallest_of_24 = count_params(MethodConfig("soft_moa", 24, 1, 1), shape.hidden_size, shape.num_layers).paper
    budget = smallest_of_24 if options.budget is None else options.budget
    return [
        (f"{n}/{p}", solve_bottleneck(budget, MethodConfig("soft_moa", n, p), shape.hidden_size, shape.num_layers))
        for n, p in PAIRS
    ]


if __name__ == "__main__":
    main("n_vs_p", Options, points, __doc__)
