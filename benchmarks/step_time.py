"""What a mixture of adapters costs per training step, against one adapter.

    python benchmarks/step_time.py                                        2 layers of AST-base, 2 minutes on a CPU
    python benchmarks/step_time.py --layers 12 --tokens 590 --batch 32    paper size, ESC-50, on a GPU
    python benchmarks/step_time.py --layers 12 --tokens 110 --batch 128   the same, Speech Commands

A step is forward, backward and AdamW of a frozen AST (random weights: time does not depend on them) with modules beside
the attention of every layer. The variants share the frozen weights and take turns: single (one adapter, r=24),
dense_moa and soft_moa (14 experts, r=1, one slot), and plain_loop_dense_moa, the obvious implementation of Dense-MoA,
which runs and stacks every expert ([b, m, d, N]); that one for bottleneck experts only. --expert convpass and --expert
conformer measure mixtures of those. Printed are ratios to single, of the minimum and of the median times. On a CPU it
uses one thread and counts CPU seconds.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from _common import Goals, finish, interleaved, pick_clock, pick_device, ratios, table
from torch import nn
from transformers import ASTConfig, ASTModel

from astmoa.config import ExpertName, MethodConfig
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.moa import DenseMoA
from astmoa.methods.sublayers import Adapted

GOALS: Goals = {"dense_moa_over_single": ("<=", 1.10), "soft_moa_over_single": ("<=", 1.05)}


@dataclass(frozen=True)
class Options:
    layers: int = 2
    """Transformer layers; AST-base has 12."""
    tokens: int = 470
    """Tokens per clip, 12 per time patch and 2 more: 470 is 4 s of sound, ESC-50 590, Speech Commands 110."""
    batch: int = 4
    """Clips per step."""
    hidden_size: int = 768
    """Width; heads are 64 wide."""
    expert: ExpertName = "bottleneck"
    """What the experts and the single adapter are."""
    num_experts: int = 14
    """Experts of both mixtures, each with a bottleneck of 1."""
    single_bottleneck: int = 24
    """Bottleneck of the single adapter."""
    rounds: int = 15
    """Timed steps of every variant."""
    warm_up: int = 3
    """Steps before the clock runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16: autocast. auto: bf16 on a GPU, fp32 on a CPU."""
    compile: bool = False
    """Run every variant through torch.compile."""
    threads: int = 1
    """CPU threads. With more than one, seconds on the wall are counted."""
    json: bool = False
    """Print everything once more as one last line of JSON."""


class PlainLoopDenseMoA(nn.Module):
    """Dense-MoA as Eq. 1 and 2 are written: run every expert, stack the outputs, weigh them. For comparison only."""

    def __init__(self, hidden_size: int, num_experts: int, bottleneck_dim: int):
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden_size, bottleneck_dim), nn.GELU(), nn.Linear(bottleneck_dim, hidden_size))
            for _ in range(num_experts)
        )
        self.router = nn.Linear(hidden_size, num_experts)

    @classmethod
    def like(cls, fused: DenseMoA) -> PlainLoopDenseMoA:
        """The same function with copies of the same weights."""
        stacked = fused.experts
        plain = cls(stacked.hidden_size, stacked.num_experts, stacked.bottleneck_dim).to(stacked.down_weight)
        with torch.no_grad():
            for i, (down, _, up) in enumerate(plain.experts):
                down.weight.copy_(stacked.down_weight[i].T)
                down.bias.copy_(stacked.down_bias[i])
                up.weight.copy_(stacked.up_weight[i].T)
                up.bias.copy_(stacked.up_bias[i])
            plain.router.weight.copy_(fused.router_weight.T)
            plain.router.bias.copy_(fused.router_bias)
        return plain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, m, d] -> [b, m, d]"""
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)  # [b, m, d, n]
        gate_probs = self.router(x).softmax(dim=-1)  # [b, m, n]
        return (outputs * gate_probs[:, :, None]).sum(dim=-1)


def graft(backbone: ASTModel, method: MethodConfig, plain_loop: bool = False) -> AdaptedClassifier:
    """An adapted classifier that shares the frozen tensors of `backbone`."""
    model = copy.deepcopy(backbone, {id(p): p for p in backbone.parameters()})
    classifier = AdaptedClassifier(model, method, num_classes=50, seed=0)
    if plain_loop:
        for module in model.modules():
            if isinstance(module, Adapted):
                module.module = PlainLoopDenseMoA.like(module.module)
    return classifier.train()


class Step:
    """One training step of one variant."""

    def __init__(self, classifier: AdaptedClassifier, x: torch.Tensor, labels: torch.Tensor, options: Options):
        self.trained = [p for p in classifier.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-3, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.run = torch.compile(classifier) if options.compile else classifier
        self.x, self.labels = x, labels
        self.bf16 = options.precision == "bf16" or (options.precision == "auto" and x.is_cuda)

    def __call__(self) -> None:
        with torch.autocast(self.x.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.run(self.x)
        F.cross_entropy(logits.float(), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def measure(options: Options) -> tuple[dict[str, Any], torch.device]:
    device = pick_device(options.device)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.tokens < 14 or (options.tokens - 2) % 12:
        raise SystemExit(f"error: --tokens {options.tokens} is not possible: give 12 per time patch and 2 more, as 470")
    frames = 10 * ((options.tokens - 2) // 12) + 10
    config = ASTConfig(
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, options.hidden_size // 64),
        intermediate_size=4 * options.hidden_size,
        max_length=frames,
    )
    backbone = ASTModel(config).eval().requires_grad_(False).to(device)
    x = torch.randn(options.batch, frames, config.num_mel_bins, device=device)
    labels = torch.randint(50, (options.batch,), device=device)
    dense = MethodConfig("dense_moa", options.num_experts, expert=options.expert)
    soft = MethodConfig("soft_moa", options.num_experts, expert=options.expert)
    variants = {
        "single": graft(backbone, MethodConfig(options.expert, bottleneck_dim=options.single_bottleneck)),
        "dense_moa": graft(backbone, dense),
        "soft_moa": graft(backbone, soft),
    }
    if options.expert == "bottleneck":
        variants["plain_loop_dense_moa"] = graft(backbone, dense, plain_loop=True)
    clock_name, clock = pick_clock(device)
    steps = {name: Step(classifier, x, labels, options) for name, classifier in variants.items()}
    times = interleaved(steps, options.rounds, options.warm_up, clock)
    found = ratios(times, "single")
    print(
        f"{options.layers} layers, {options.hidden_size} wide, {options.tokens} tokens x {options.batch}; {clock_name}"
    )
    rows = []
    for name, seconds in times.items():
        over = ("", "") if name == "single" else (found[f"{name}_over_single"], found[f"{name}_over_single_median"])
        params = sum(p.numel() for p in steps[name].trained)
        rows.append([name, params, 1e3 * min(seconds), 1e3 * statistics.median(seconds), *over])
    table(["variant", "trained", "min ms", "median ms", "min / single", "median / single"], rows)
    settings = {key: value for key, value in dataclasses.asdict(options).items() if key != "json"}
    milliseconds = {
        name: {"min": 1e3 * min(seconds), "median": 1e3 * statistics.median(seconds)} for name, seconds in times.items()
    }
    return {**found, "milliseconds": milliseconds, "clock": clock_name, "settings": settings}, device


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    result, device = measure(options)
    finish(result, GOALS, device, options.json)


if __name__ == "__main__":
    main()
