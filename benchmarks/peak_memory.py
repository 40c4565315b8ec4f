"""The memory that one trial takes at its peak, against the bytes that it must hold, and whether it stays flat.

    python benchmarks/peak_memory.py                      the built-in backbone, 51 trials, 2 minutes on 2 CPU cores
    python benchmarks/peak_memory.py --layers 12 --frames 500 --batch 32 --trials 5      AST-base, ESC-50's size

One whole trial runs (load the backbone, train, evaluate, checkpoint, test), then warm ones on the same backbone and
features, method after method. Features are random numbers in the shape of a data set: memory does not depend on them.

Needed: frozen weights; features (half precision); what a training step saves for its backward (every distinct storage
that autograd keeps and that is no parameter, counted in one step); trained tensors, their gradients and AdamW's
moments.

Peak on a CPU: the high-water mark of a fresh process's resident memory (Linux: /proc/self), reset before a trial, minus
what was resident after imports and one toy trial, before backbone and features: libraries are not counted, everything
else is, loading and what the allocator holds back, too. The allocator is the one that the workers of a sweep get. Peak
on a GPU: PyTorch's allocated bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from _common import Goals, finish, pick_device, table
from transformers import ASTConfig, ASTModel

from astmoa.audio.splits import Splits
from astmoa.backbone.frozen import Backbone, load_backbone
from astmoa.config import MethodConfig, OptimConfig, TrialConfig
from astmoa.training.inputs import DeviceData, Inputs
from astmoa.training.trial import Trial

GOALS: Goals = {"peak_over_needed": ("<=", 1.3), "growth_over_50_trials": ("<=", 1.02)}
MIB = 2**20
CLASSES = 12
CHILD = "ASTMOA_BENCHMARK_ALLOCATOR"  # set in the fresh process that measures


@dataclass(frozen=True)
class Options:
    backbone: str = "builtin"
    """builtin, a Hugging Face id, or a save_pretrained folder."""
    layers: int | None = None
    """Instead of a saved backbone, a random AST of this many layers (AST-base: 12)."""
    hidden_size: int = 768
    """Width of the random AST; heads are 64 wide."""
    frames: int = 98
    """Frames per clip, 10 ms each."""
    clips: int = 900
    """Clips whose features are held; a trial trains on 3, validates on 2 and tests on 2 batches of them."""
    batch: int = 16
    """Clips per training step; evaluation takes twice as many."""
    num_experts: int = 8
    """Experts of the Soft-MoA that is measured, with two slots each."""
    bottleneck_dim: int = 4
    """Its bottleneck."""
    epochs: int = 2
    """Epochs of one trial."""
    trials: int = 50
    """Warm trials after the first."""
    threads: int = 1
    """CPU threads."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16: autocast. auto: bf16 on a GPU, fp32 on a CPU."""
    allocator: Literal["auto", "system", "jemalloc"] = "auto"
    """Allocator of CPU memory. auto: what a sweep's workers get. jemalloc: the one that Ray's package brings."""
    json: bool = False
    """Print everything once more as one last line of JSON."""


def worker_environment(allocator: str) -> dict[str, str]:
    """The environment of a sweep's worker, as far as it decides how memory is handed out."""
    environment = dict(os.environ)
    if allocator == "auto":
        with contextlib.suppress(ImportError):
            import astmoa.backend.run_sweep  # noqa: F401 (sets what Ray's workers inherit)
        environment = dict(os.environ)
        allocator = "jemalloc" if environment.get("RAY_LD_PRELOAD_ON_WORKERS") == "1" else "system"
    if allocator == "jemalloc":
        ray = importlib.util.find_spec("ray")
        library = Path(ray.origin).parent / "core" / "libjemalloc.so" if ray and ray.origin else None
        if library is None or not library.is_file():
            raise SystemExit("error: --allocator jemalloc: Ray's package here brings none; use --allocator system")
        environment["LD_PRELOAD"] = str(library)
    return {**environment, CHILD: allocator}


class Meter:
    """Peak bytes since the last `reset`, above those at the time it was made."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        if not self.cuda and not sys.platform.startswith("linux"):
            raise SystemExit("error: peak memory on a CPU is read from /proc: run this on Linux")
        gc.collect()
        if not self.cuda:
            _trim()
        self.base = torch.cuda.memory_allocated() if self.cuda else _resident("VmRSS")

    def reset(self) -> None:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        return (torch.cuda.max_memory_allocated() if self.cuda else _resident("VmHWM")) - self.base


def _trim() -> None:
    """Give the allocator's free pages back, so that the baseline holds none that a trial could use unseen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def _resident(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"error: /proc/self/status has no {key}")


def make_backbone(options: Options, device: torch.device) -> Backbone:
    if options.layers is None:
        backbone = load_backbone(options.backbone)
    else:
        config = ASTConfig(
            hidden_size=options.hidden_size,
            num_hidden_layers=options.layers,
            num_attention_heads=max(1, options.hidden_size // 64),
            intermediate_size=4 * options.hidden_size,
            max_length=options.frames,
        )
        backbone = Backbone(ASTModel(config), "random")
    backbone.model.to(device)
    return backbone


def make_inputs(clips: int, frames: int, batch: int) -> Inputs:
    rng = np.random.default_rng(0)
    features = np.empty((clips, frames, 128), np.float16)
    for row in features:
        row[:] = rng.standard_normal((frames, 128), np.float32)
    order = rng.permutation(clips)[: 7 * batch]
    splits = Splits(train=order[: 3 * batch], val=order[3 * batch : 5 * batch], test=order[5 * batch :])
    names = tuple(map(str, range(CLASSES)))
    lengths = np.full(clips, frames, dtype=np.int32)
    return Inputs(features, lengths, rng.integers(CLASSES, size=clips), {1: splits}, names, "random", frames / 100)


def make_config(options: Options, method: MethodConfig, seed: int) -> TrialConfig:
    optim = OptimConfig(epochs=options.epochs, batch_size=options.batch, precision=options.precision)
    return TrialConfig(method=method, optim=optim, seed=seed)


def run_trial(config: TrialConfig, backbone: Backbone, data: DeviceData, folder: Path) -> None:
    with Trial(config, backbone, data, folder / config.hash()) as trial:
        for _ in trial.epochs():
            pass
        trial.test()


def needed_bytes(config: TrialConfig, backbone: Backbone, data: DeviceData) -> dict[str, int]:
    """What a trial must hold, in bytes, by part."""
    frozen = [*backbone.model.parameters(), *backbone.model.buffers()]
    saved: dict[tuple[int, int], int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr(), storage.nbytes()] = storage.nbytes()
        return tensor

    with Trial(config, backbone, data) as trial:
        clips = torch.from_numpy(data.inputs.splits[1].train[: config.optim.batch_size])
        features, labels = data.batch(clips)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = F.cross_entropy(trial._forward(features), labels)  # the trainer's own forward, precision included
        trained = list(trial.classifier.trainable.values())
        parameters = {p.untyped_storage().data_ptr() for p in (*frozen, *trained)}
        activations = sum(size for (pointer, _), size in saved.items() if pointer not in parameters)
        del loss
    size = sum(p.nbytes for p in trained)
    return {
        "weights": sum(p.nbytes for p in frozen),
        "features": data.features.nbytes,
        "activations": activations,
        "trained, gradients, moments": 4 * size,
    }


def measure(options: Options) -> tuple[dict[str, Any], torch.device]:
    device = pick_device(options.device)
    torch.set_num_threads(options.threads)
    if options.clips < 7 * options.batch:
        raise SystemExit(f"error: --clips {options.clips} is too few: give 7 times --batch ({options.batch}) or more")
    measured = MethodConfig("soft_moa", options.num_experts, 2, options.bottleneck_dim)
    methods = [
        measured,
        MethodConfig("dense_moa", options.num_experts, bottleneck_dim=options.bottleneck_dim),
        MethodConfig("bottleneck", bottleneck_dim=options.num_experts * options.bottleneck_dim),
        MethodConfig("linear"),
        MethodConfig("soft_moa", 2 * options.num_experts, 1, options.bottleneck_dim),
    ]
    with tempfile.TemporaryDirectory(prefix="astmoa-bench-") as folder:
        _toy_trial(options, measured, device, Path(folder) / "toy")
        meter = Meter(device)
        meter.reset()
        backbone = make_backbone(options, device)
        data = DeviceData(make_inputs(options.clips, options.frames, options.batch), device)
        run_trial(make_config(options, measured, 0), backbone, data, Path(folder))
        first = meter.peak()
        warm = []
        for index in range(options.trials):
            meter.reset()
            run_trial(make_config(options, methods[index % len(methods)], 1 + index), backbone, data, Path(folder))
            warm.append(meter.peak())
    needed = needed_bytes(make_config(options, measured, 0), backbone, data)
    total = sum(needed.values())
    cycle = min(len(methods), max(1, len(warm) // 2))
    growth = max(warm[-cycle:]) / max(warm[:cycle]) if warm else 1.0
    rows = [[f"needed: {part}", size / MIB] for part, size in needed.items()]
    rows += [["needed", total / MIB], ["peak of the first trial", first / MIB]]
    if warm:
        rows += [[f"highest peak, warm trials 1 to {cycle}", max(warm[:cycle]) / MIB]]
        rows += [[f"highest peak, the last {cycle} of {len(warm)}", max(warm[-cycle:]) / MIB]]
    table(["", "MiB"], rows)
    settings = {key: value for key, value in dataclasses.asdict(options).items() if key != "json"}
    result = {
        "peak_over_needed": first / total,
        "growth_over_50_trials": growth,
        "peak_bytes": first,
        "needed_bytes": total,
        "needed": needed,
        "warm_peak_bytes": warm,
        "allocator": os.environ[CHILD],
        "settings": settings,
    }
    print(f"allocator of CPU memory: {os.environ[CHILD]}")
    return result, device


def _toy_trial(options: Options, method: MethodConfig, device: torch.device, folder: Path) -> None:
    """Every line of code once, so that what libraries load at first use is there before the baseline is taken."""
    toy = dataclasses.replace(options, layers=1, hidden_size=64, frames=26, batch=2)
    data = DeviceData(make_inputs(14, toy.frames, toy.batch), device)
    run_trial(make_config(toy, method, 0), make_backbone(toy, device), data, folder)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if CHILD not in os.environ:
        command = [sys.executable, __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=worker_environment(options.allocator)).returncode)
    result, device = measure(options)
    finish(result, GOALS, device, options.json)


if __name__ == "__main__":
    main()
