"""How much a frozen backbone knows: a linear classifier on the mean of its output tokens.

    python benchmarks/linear_probe.py [--backbone DIR] [--data ../shared/data] [--json]

FSDD (spoken digits): 600 clips of four speakers to train on, all 1,000 clips of the two others to test on. ESC-50
(environmental sounds, 5 s): folds 1-4 to train on, fold 5 to test on. A data set that is not there is skipped. Weight
decay is picked on a fifth of the training clips, never on the test clips. About a minute on two CPU cores.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
import torchaudio
import tyro
from transformers import ASTConfig, ASTModel

from astmoa.audio.fbank import SAMPLE_RATE, SILENCE, fbank

BUILTIN = Path(__file__).resolve().parent.parent / "astmoa" / "assets" / "builtin_ast"
FSDD_TRAIN, FSDD_TEST = ("george", "jackson", "nicolas", "yweweler"), ("theo", "lucas")
Split = tuple[torch.Tensor, torch.Tensor]


def encode(model: ASTModel, x: torch.Tensor, start: int | None = None, keep: float = 1.0) -> torch.Tensor:
    """Output tokens for clips [batch, frames, 128] of any length up to the model's own.

    Shorter clips get a contiguous window of the position table, from time patch `start` (the centre window if None).
    `keep` < 1 leaves out that share of each clip's patches (for training).
    """
    parts, config = model.embeddings, model.config
    patches = parts.patch_embeddings(x)
    bands, times = parts.get_shape(config)
    length = patches.shape[1] // bands
    start = (times - length) // 2 if start is None else start
    special, table = parts.position_embeddings[:, :2], parts.position_embeddings[:, 2:]
    table = table.unflatten(1, (bands, times))[:, :, start : start + length].flatten(1, 2)
    patches = patches + table
    if keep < 1:
        kept = torch.rand(patches.shape[:2], device=x.device).topk(int(keep * patches.shape[1]), dim=1).indices
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[2]))
    tokens = torch.cat((parts.cls_token, parts.distillation_token), dim=1) + special
    hidden = torch.cat((tokens.expand(len(x), -1, -1), patches.to(tokens.dtype)), dim=1)
    for layer in model.layers:
        hidden = layer(hidden, None)
    return model.layernorm(hidden)


def fit_length(mel: torch.Tensor, frames: int) -> torch.Tensor:
    """Pad at the end with silence, or cut the middle out."""
    start = max(0, (len(mel) - frames) // 2)
    mel = mel[start : start + frames]
    return F.pad(mel, (0, 0, 0, frames - len(mel)), value=SILENCE)


def load(paths: Iterable[Path], frames: int) -> torch.Tensor:
    clips = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        wave = torch.from_numpy(samples.mean(axis=1))
        if rate != SAMPLE_RATE:
            wave = torchaudio.functional.resample(wave, rate, SAMPLE_RATE)
        clips.append(fit_length(fbank(wave), frames))
    return torch.stack(clips)


def fsdd(root: Path, frames: int = 100) -> tuple[Split, Split]:
    rows = list(csv.DictReader((root / "manifest.csv").open()))
    rng = np.random.default_rng(0)
    train = [r for r in rows if r["speaker"] in FSDD_TRAIN]
    train = [train[i] for i in rng.permutation(len(train))[:600]]
    test = [r for r in rows if r["speaker"] in FSDD_TEST]
    return tuple(
        (load((root / r["path"] for r in part), frames), torch.tensor([int(r["label"]) for r in part]))
        for part in (train, test)
    )


def esc50(root: Path, frames: int = 512) -> tuple[Split, Split]:
    rows = list(csv.DictReader((root / "meta" / "esc50.csv").open()))
    rows = [r | {"path": root / "audio" / Path(r["filename"]).with_suffix(".flac")} for r in rows]
    rows = [r for r in rows if r["path"].exists()]
    return tuple(
        (load((r["path"] for r in part), frames), torch.tensor([int(r["target"]) for r in part]))
        for part in ([r for r in rows if r["fold"] != "5"], [r for r in rows if r["fold"] == "5"])
    )


SETS = {"fsdd": fsdd, "esc50": esc50}


@torch.no_grad()
def embed(model: ASTModel, x: torch.Tensor, batch: int = 32) -> torch.Tensor:
    device = next(model.parameters()).device
    return torch.cat([encode(model, part.to(device)).float().mean(dim=1).cpu() for part in x.split(batch)])


def fit(x: torch.Tensor, y: torch.Tensor, classes: int, decay: float) -> torch.nn.Linear:
    """Logistic regression to its optimum, from zero."""
    linear = torch.nn.Linear(x.shape[1], classes)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(linear(x), y) + decay * linear.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return linear


def probe(model: ASTModel, train: Split, test: Split) -> float:
    """Test accuracy (0..1) of a linear classifier on standardised mean-pooled features."""
    model.eval()
    x, y = embed(model, train[0]), train[1]
    mean, std = x.mean(dim=0), x.std(dim=0) + 1e-6
    x, classes = (x - mean) / std, int(y.max()) + 1
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    held, used = order[: len(y) // 5], order[len(y) // 5 :]

    def held_out_loss(decay: float) -> float:
        linear = fit(x[used], y[used], classes, decay)
        with torch.no_grad():
            return F.cross_entropy(linear(x[held]), y[held]).item()

    decay = min((1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1), key=held_out_loss)
    linear = fit(x, y, classes, decay)
    with torch.no_grad():
        guess = linear((embed(model, test[0]) - mean) / std).argmax(dim=1)
    return (guess == test[1]).float().mean().item()


@dataclass(frozen=True)
class Options:
    backbone: str = str(BUILTIN)
    """Folder of an ASTModel, or 'untrained'."""
    data: Path = Path("../shared/data")
    """Folder with fsdd/ and esc50/."""
    json: bool = False
    """Print the numbers as one last line of JSON."""


def main() -> None:
    args = tyro.cli(Options, description=__doc__)
    torch.manual_seed(0)
    if args.backbone == "untrained":
        model = ASTModel(ASTConfig.from_pretrained(BUILTIN))
    else:
        model = ASTModel.from_pretrained(args.backbone).float()
    accuracy: dict[str, float | None] = {}
    for name, read in SETS.items():
        if not (args.data / name).is_dir():
            print(f"{name}: skipped, {args.data / name} is not there")
            accuracy[name] = None
            continue
        train, test = read(args.data / name)
        accuracy[name] = round(probe(model, train, test), 4)
        print(f"{name}: {accuracy[name]:.1%} of {len(test[1])} test clips ({len(train[1])} training clips)")
    if args.json:
        print(json.dumps({"backbone": args.backbone, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
