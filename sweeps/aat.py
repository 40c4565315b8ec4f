"""AAT (arXiv 2401.10544): against LoRA and prefix tuning, and how many adapters where.

The paper freezes everything, LayerNorms too, and puts an adapter of a quarter of the width beside the MLP (AAT-M) and
another after the attention (AAT-MS); it reports about 7.1 M parameters for both in AST-base. It leaves two questions
open, which this study asks: how do they compare with LoRA and prefix tuning at the same budget, and what number and
placement of adapters is best. Every point has AAT's head, epochs, batches and masks for the data; AAT's adapters have
its learning rate and weight decay too, the others those of arXiv 2402.00828 (5e-3, prefix 1e-2). AAT's mixup and added
noise (Speech Commands, OpenMIC), its learning-rate steps and its frames per clip are not reproduced here.

    python sweeps/aat.py --quick

    python sweeps/aat.py --data gtzan --data-root GTZAN --backbone MIT/ast-finetuned-audioset-10-10-0.4593
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from astmoa import BackboneShape, MethodConfig, Point, StudyOptions, count_params, find_method, main, solve_bottleneck


@dataclass(frozen=True)
class Options(StudyOptions):
    recipes: ClassVar = find_method("aat_ms").recipes


def points(options: Options, shape: BackboneShape) -> list[Point]:
    quarter, last = shape.hidden_size // 4, shape.num_layers
    halves = {"first half": range(last // 2), "last half": range(last // 2, last), "every second": range(1, last, 2)}
    found = [
        Point(f"{name} r={r}", MethodConfig(name, bottleneck_dim=r))
        for name in ("aat_m", "aat_s", "aat_ms")
        for r in (quarter, max(1, quarter // 8))
    ]
    found += [
        Point(f"aat_ms {where}", MethodConfig("aat_ms", bottleneck_dim=quarter, layers=tuple(layers)))
        for where, layers in halves.items()
        if len(layers)
    ]
    for r in (quarter, max(1, quarter // 8)):  # at the budgets of AAT-MS
        budget = count_params(MethodConfig("aat_ms", bottleneck_dim=r), shape).paper
        lora = solve_bottleneck(budget, MethodConfig("lora"), shape)
        virtual = max(1, budget // (2 * shape.num_layers * shape.hidden_size))
        found += [
            Point(f"lora r={lora.bottleneck_dim}", lora),
            Point(f"prefix {virtual}", MethodConfig("prefix", num_virtual_tokens=virtual)),
        ]
    found += [Point("partial", MethodConfig("partial")), Point("linear", MethodConfig("linear"))]
    return [Point(p.label, dataclasses.replace(p.method, pooling="cls")) for p in found]


if __name__ == "__main__":
    main("aat", Options, points, __doc__)
