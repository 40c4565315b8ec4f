"""What does it cost where the published code departs from its paper (arXiv 2402.00828)? Each switch alone.

docs/faithful.md says what each switch does. Every one is measured on a method that it can change: mixtures for the
output that is added twice, Convpass for the convolution that is thrown away, the single adapter for its place beside
the FFN, deep prompts for the distillation token; the others on Soft-MoA. The paper gives no such comparison. Some
switches need data on which they can act, and show no difference on others: `positions` clips that are shorter or longer
than the backbone's own, `padding` clips of several lengths, `validate_on_test` data without a validation split.

About 2 minutes with --quick on 2 CPU cores; then data on which all of them act, in the paper's setting:

    python sweeps/faithful_vs_fixed.py --quick

    python sweeps/faithful_vs_fixed.py --data urbansound8k --data-root UrbanSound8K --cross-validate --backbone \
MIT/ast-finetuned-audioset-10-10-0.4593
"""

from dataclasses import dataclass
from pathlib import Path

from astmoa import BackboneShape, ConfigError, MethodConfig, Point, StudyOptions, main, report_effects

SOFT, DENSE = MethodConfig("soft_moa", 14), MethodConfig("dense_moa", 14)
SINGLE = MethodConfig("bottleneck", bottleneck_dim=24)
CONVPASS, PROMPTS = MethodConfig("convpass", bottleneck_dim=24), MethodConfig("prompt_deep")
SWITCHED = {
    "soft": (
        SOFT,
        (
            "positions",
            "padding",
            "weight_decay",
            "initialisation",
            "added_twice",
            "last_epoch",
            "validate_on_test",
            "normalized_tokens",
            "all",
        ),
    ),
    "dense": (DENSE, ("added_twice",)),
    "single": (SINGLE, ("single_at_ffn",)),
    "convpass": (CONVPASS, ("dropped_convolution",)),
    "prompts": (PROMPTS, ("replaced_distillation",)),
}


@dataclass(frozen=True)
class Options(StudyOptions):
    switches: tuple[str, ...] = ()
    """Only these. Default: all of them."""


def _base(name: str) -> str:
    return f"{name} as in the paper"


def points(options: Options, shape: BackboneShape) -> list[Point]:
    known = {switch for _, switches in SWITCHED.values() for switch in switches}
    if options.faithful:
        raise ConfigError("--faithful is what this study switches one by one: name some with --switches instead")
    if not set(options.switches) <= known:
        raise ConfigError(f"--switches {' '.join(options.switches)}: choose from {', '.join(sorted(known))}")
    found = []
    for name, (method, switches) in SWITCHED.items():
        wanted = [switch for switch in switches if not options.switches or switch in options.switches]
        if wanted:
            found.append(Point(_base(name), method))
            found += [Point(f"{name} {switch}", method, faithful=(switch,)) for switch in wanted]
    return found


def compare(out: Path, options: Options) -> None:
    """Each switch against its method as in the paper: a switch's replicate and its base share seed and fold."""
    report_effects(
        out, [(_base(name), f"{name} {switch}") for name, (_, switches) in SWITCHED.items() for switch in switches]
    )


if __name__ == "__main__":
    main("faithful_vs_fixed", Options, points, __doc__, then=compare)
