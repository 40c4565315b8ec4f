"""Every method side by side (Tables 1 and 2 of arXiv 2402.00828), and what others offer.

Table 1 is Pfeiffer placement (one module per layer, beside the attention), Table 2 Houlsby (two per layer, beside
attention and FFN, the same number of experts in all, so half of them at each place). The paper's averages over its four
data sets: full fine-tuning 90.6 (it prints 90.1), Dense-MoA of 14 Convpass adapters 87.7, Soft-MoA of 14 bottleneck
adapters 87.6, one bottleneck adapter 85.9, LoRA 85.0, linear probe 55.8. The single Convpass and bottleneck of Table 2
are taken with half the bottleneck at each place; the paper does not say. Rows without figures are the peft library's,
AAT's and the mixtures of Conformers that nobody has published.

About 3 minutes with --quick on 2 CPU cores; then the paper's setting:

    python sweeps/methods.py --quick

    python sweeps/methods.py --data esc50 --data-root ESC-50 --cross-validate --backbone \
MIT/ast-finetuned-audioset-10-10-0.4593
"""

from dataclasses import dataclass

from astmoa import BackboneShape, MethodConfig, Point, StudyOptions, main

DATA = ("esc50", "urbansound8k", "speech_commands_v2", "fluent_speech_commands")


def row(label: str, method: MethodConfig, *accuracies: float) -> Point:
    return Point(label, method, paper=dict(zip(DATA, accuracies, strict=False)))


def mixture(name: str, expert: str, placement: str = "attention") -> MethodConfig:
    return MethodConfig(name, 14, bottleneck_dim=1, expert=expert, placement=placement)


BOTH = {"placement": "both"}
TABLE_1 = [
    row("full", MethodConfig("full"), 87.48, 84.31, 97.31, 93.29),
    row("linear", MethodConfig("linear"), 75.85, 77.93, 41.78, 27.52),
    row("bitfit", MethodConfig("bitfit"), 86.05, 82.17, 85.51, 63.85),
    row("deep prompts", MethodConfig("prompt_deep"), 86.52, 83.67, 89.18, 68.60),
    row("prefix", MethodConfig("prefix"), 82.93, 81.39, 83.46, 55.75),
    row("lora", MethodConfig("lora", bottleneck_dim=6), 86.45, 83.83, 93.61, 76.00),
    row("bottleneck", MethodConfig("bottleneck", bottleneck_dim=24), 88.65, 83.36, 93.53, 78.19),
    row("bottleneck dense", mixture("dense_moa", "bottleneck"), 89.55, 84.30, 93.89, 82.43),
    row("bottleneck soft", mixture("soft_moa", "bottleneck"), 89.08, 84.88, 93.91, 82.48),
    row("convpass", MethodConfig("convpass", bottleneck_dim=24), 87.93, 83.38, 93.47, 77.62),
    row("convpass dense", mixture("dense_moa", "convpass"), 89.30, 84.32, 93.70, 83.52),
    row("convpass soft", mixture("soft_moa", "convpass"), 88.43, 84.29, 93.36, 80.36),
]
TABLE_2 = [
    row("bottleneck x2", MethodConfig("bottleneck", bottleneck_dim=12, **BOTH), 88.00, 82.80, 91.75, 78.71),
    row("bottleneck dense x2", mixture("dense_moa", "bottleneck", "both"), 87.33, 83.78, 94.11, 82.64),
    row("bottleneck soft x2", mixture("soft_moa", "bottleneck", "both"), 87.13, 83.77, 93.67, 81.41),
    row("convpass x2", MethodConfig("convpass", bottleneck_dim=12, **BOTH), 87.15, 82.75, 92.55, 77.79),
    row("convpass dense x2", mixture("dense_moa", "convpass", "both"), 87.31, 83.77, 93.20, 82.26),
    row("convpass soft x2", mixture("soft_moa", "convpass", "both"), 88.13, 83.87, 92.69, 81.69),
]
CONFORMERS = [  # arXiv 2312.03694, Table 1, for the single ones
    row("conformer", MethodConfig("conformer", bottleneck_dim=8), 88.30, 84.57, 96.28, 95.48),
    row("conformer x2", MethodConfig("conformer", bottleneck_dim=8, **BOTH), 85.97, 83.59, 96.16, 96.34),
    row("conformer dense", mixture("dense_moa", "conformer")),
    row("conformer soft", mixture("soft_moa", "conformer")),
]
OTHERS = [
    row("partial", MethodConfig("partial")),
    row("shallow prompts", MethodConfig("prompt_shallow")),
    row("dora", MethodConfig("dora", bottleneck_dim=6)),
    row("vera", MethodConfig("vera", bottleneck_dim=64)),
    row("ia3", MethodConfig("ia3")),
    row("oft", MethodConfig("oft", bottleneck_dim=16)),
    row("ln tuning", MethodConfig("ln_tuning")),
    row("convpass 2d", MethodConfig("convpass", bottleneck_dim=24, convolution="2d")),
    row("aat_m", MethodConfig("aat_m", bottleneck_dim=48)),
    row("aat_ms", MethodConfig("aat_ms", bottleneck_dim=48)),
]


@dataclass(frozen=True)
class Options(StudyOptions):
    only_paper: bool = False
    """Leave out what arXiv 2402.00828 has no row for."""


def points(options: Options, shape: BackboneShape) -> list[Point]:
    return TABLE_1 + TABLE_2 + ([] if options.only_paper else CONFORMERS + OTHERS)


if __name__ == "__main__":
    source = "Tables 1 and 2 of arXiv 2402.00828 (conformer: Table 1 of arXiv 2312.03694)"
    main("methods", Options, points, __doc__, paper=source)
