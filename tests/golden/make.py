"""What must not move: hashes of configurations, a run folder and its bundle, as the version of 2026-11-28 wrote them.

    python tests/golden/make.py

made them, once. They are not made anew where a test finds something moved: older run folders would be lost with them.
The run is two points of a random search on the built-in data, its journal without what tells of the machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from astmoa.bundles.export import Predictor
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig, complete

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
AST = BackboneConfig("MIT/ast-finetuned-audioset-10-10-0.4593")
CONFIGS = [
    TrialConfig(),
    TrialConfig(method=MethodConfig("linear"), seed=3),
    TrialConfig(DataConfig("esc50", "ESC-50", fold=5), AST, MethodConfig("soft_moa", 14, 1, 3)),
    TrialConfig(DataConfig("esc50"), AST, MethodConfig("dense_moa", 12, bottleneck_dim=8, placement="both")),
    TrialConfig(
        DataConfig("urbansound8k", seconds=4),
        AST,
        MethodConfig("soft_moa", 4, 2, 8, "ffn", "sequential", (0, 3, 11), "convpass"),
        OptimConfig(lr=1, weight_decay=0, betas=(0.8, 0.999), precision="bf16"),
    ),
    TrialConfig(DataConfig("speech_commands_v2", num_labels=12), AST, MethodConfig("conformer", bottleneck_dim=4)),
    TrialConfig(DataConfig("gtzan"), AST, MethodConfig("aat_ms", bottleneck_dim=64), OptimConfig(epochs=7)),
    TrialConfig(DataConfig("openmic", metric="accuracy"), AST, MethodConfig("lora", bottleneck_dim=6), seed=2**40),
    TrialConfig(DataConfig("csv", skip_bad_clips=True), method=MethodConfig("convpass", convolution="2d")),
    TrialConfig(DataConfig("folder"), BackboneConfig("weights"), MethodConfig("prompt_deep", num_virtual_tokens=9)),
    TrialConfig(method=MethodConfig("partial", layers=(1,)), faithful=("all",)),
    TrialConfig(method=MethodConfig("oft", bottleneck_dim=16, pooling="cls"), optim=OptimConfig(4, 8, 1e-3, 0.1)),
    TrialConfig(DataConfig("fluent_speech_commands"), AST, MethodConfig("prefix"), faithful=("positions", "padding")),
]


def main() -> None:
    told = []
    for config in CONFIGS:
        whole = complete(config)
        told.append(
            {
                "config": config.to_dict(),
                **{"hash": config.hash(), "point": config.point()},
                **{"complete_hash": whole.hash(), "complete_point": whole.point()},
            }
        )
    (HERE / "hashes.json").write_text(json.dumps(told, indent=1) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = ["--num-points", 2, "--seeds", 1, "--epochs", 2, "--trials-at-once", 1, "--max-params", 20_000]
        command = [sys.executable, "sweeps/random_search.py", *options, "--out", out]
        subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
        for path in (out / "journal.jsonl", *out.glob("best/*.*")):
            if path.suffix != ".safetensors":
                path.write_text(path.read_text().replace(folder, "/runs"))
        shutil.rmtree(HERE / "run", ignore_errors=True)
        shutil.copytree(out, HERE / "run", ignore=shutil.ignore_patterns("*.png", ".lock", "checkpoint*", "table*"))
    logits = Predictor(HERE / "run" / "best").logits(tone(HERE / "tone.wav"))
    (HERE / "logits.json").write_text(json.dumps(logits.tolist()) + "\n")
    (HERE / "tone.wav").unlink()


def tone(path: Path) -> Path:
    """A second that rises from 300 to 3,000 Hz, made alike everywhere."""
    phase = 2 * np.pi * np.cumsum(np.linspace(300, 3000, 16_000)) / 16_000
    soundfile.write(path, (0.3 * np.sin(phase)).astype(np.float32), 16_000, subtype="PCM_16")
    return path


if __name__ == "__main__":
    main()
