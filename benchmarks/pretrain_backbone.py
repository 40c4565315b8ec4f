"""Pretrain the built-in backbone (a 2.8 M parameter `transformers.ASTModel`) on synthetic sounds only.

    python benchmarks/pretrain_backbone.py --work /tmp/pretrain

Words spoken by espeak-ng (and flite, where installed) in many voices, and procedural sounds (rain, knocks, sirens,
engines, barks, chirps, random presets of a small synthesiser), all made on the machine it runs on. The network names
the word, the phonemes in it, or the kind of sound, from the mean of its output tokens. No recording is used.

About 8 minutes to make the sounds and 53 to train on two busy CPU cores; a second call goes on from the last
checkpoint. Linear probe (`linear_probe.py`) of the shipped weights: 87.1 % on spoken digits of new speakers (untrained
network 29.7 %), 67.5 % on ESC-50's fold 5 (24.5 %; 200 clips).
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import linear_probe
import numpy as np
import torch
import torch.nn.functional as F
import tyro
from linear_probe import BUILTIN, encode
from pretrain_sounds import ACCENTS, FLITE, PART, SECOND, SOUNDS, VARIANTS, WORDS, make_part, phoneme_table
from torch import nn
from transformers import ASTConfig, ASTModel

from astmoa.audio.fbank import LOG_FLOOR, MEAN, SILENCE, STD

CONFIG = dict(
    hidden_size=192, num_hidden_layers=6, num_attention_heads=3, intermediate_size=768, patch_size=16,
    frequency_stride=16, time_stride=10, num_mel_bins=128, max_length=512,
)  # fmt: skip
SEEN: dict[str, tuple] = {}  # probe sets, read once


class Pool:
    """The parts of one kind rendered so far; `draw` picks clips at random."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder, self.parts = kind, folder, {}

    def refresh(self) -> None:
        for path in sorted(self.folder.glob(f"{self.kind}_*.pt")):
            if path not in self.parts:
                self.parts[path] = torch.load(path)

    def draw(self, n: int, frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[n, frames, 128] float, labels, lengths; a random cut of longer clips."""
        parts = list(self.parts.values())
        x = torch.full((n, frames, CONFIG["num_mel_bins"]), SILENCE)
        labels, lengths = torch.zeros(n, dtype=torch.long), torch.zeros(n)
        for i in range(n):
            part = parts[np.random.randint(len(parts))]
            j = np.random.randint(len(part["labels"]))
            labels[i], length = part["labels"][j], int(part["lengths"][j])
            start = np.random.randint(max(0, length - frames) + 1)
            length = min(length, frames)
            x[i, :length], lengths[i] = part["x"][j, start : start + length].float(), length
        return x, labels, lengths


def augment(x: torch.Tensor, lengths: torch.Tensor, hard: float, other: torch.Tensor | None = None) -> torch.Tensor:
    """Another mouth, room, microphone and distance, all on the log-mel picture and for the whole batch at once."""
    batch, frames, bins = x.shape
    uniform = lambda low, high: torch.rand(batch, 1, 1, device=x.device) * (high - low) + low  # noqa: E731
    chance = lambda p: torch.rand(batch, 1, 1, device=x.device) < p  # noqa: E731
    ends = lengths.to(x.device)[:, None, None]
    # Faster or slower, later in the window, and with longer or shorter resonators (a shift of the mel axis).
    stretch = 2 ** uniform(-0.35, 0.35)
    slack = (frames - ends * stretch).clamp(min=0)
    begin = torch.where(chance(0.5), uniform(0, 1) * slack, uniform(0, 0.1) * slack)
    t = (torch.arange(frames, device=x.device)[None, :, None] - begin) / stretch
    if other is None:  # a sound goes on, a word does not
        t = torch.where(ends >= frames, t.remainder(frames), t)
    m = (torch.arange(bins, device=x.device)[None, None, :] - 40) * uniform(0.93, 1.07) + 40 + uniform(-5, 5)
    grid = torch.stack(torch.broadcast_tensors(2 * (m + 0.5) / bins - 1, 2 * (t + 0.5) / frames - 1), dim=-1)
    x = F.grid_sample(x[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    inside = (t >= 0) & (t < ends)
    level = x * (2 * STD) + MEAN
    # Distance and microphone: loudness, tilt, a smooth random equaliser.
    colour = F.interpolate(torch.randn(batch, 1, 7, device=x.device) * uniform(0, 1.2), size=bins, mode="linear")
    distance = uniform(-7, 1)
    level = level + distance + uniform(-1.5, 1.5) * torch.linspace(-1, 1, bins, device=x.device) + colour
    level = torch.where(inside, level, LOG_FLOOR)
    if other is not None:  # another sound in the room
        behind = other * (2 * STD) + MEAN + uniform(-11, -4) + distance * (1 - hard)
        level = torch.where(chance(0.3), torch.logaddexp(level, behind), level)
    slope = uniform(-2, 2) * torch.linspace(-1, 1, bins, device=x.device)
    noise = uniform(-16, -7) + distance * (1 - hard) + slope + torch.randn_like(level) * 0.6
    level = torch.where(chance(0.3 + 0.3 * hard), torch.logaddexp(level, noise), level)
    # A telephone's band; then digital silence after the end, as a padded clip has it.
    at = torch.arange(bins, device=x.device)[None, None, :]
    level = torch.where(chance(0.5) & (at > uniform(70, 120)), level - uniform(4, 14), level)
    level = torch.where(chance(0.15) & (at < uniform(5, 25)), level - uniform(2, 8), level)
    after = torch.arange(frames, device=x.device)[None, :, None] > begin + ends * stretch + uniform(0, 5)
    level = torch.where(chance(0.7) & after, LOG_FLOOR, level)
    for size, axis, most in ((frames, 1, 6 + 8 * hard), (bins, 2, 20)):
        width, first = uniform(0, most), uniform(0, size - most)
        at = torch.arange(size, device=x.device).view([1, size, 1] if axis == 1 else [1, 1, size])
        level = torch.where(
            chance(0.2 + 0.3 * hard) & (at >= first) & (at < first + width), level.mean((1, 2), keepdim=True), level
        )
    return (level.clamp(min=LOG_FLOOR) - MEAN) / (2 * STD)


def new_model() -> ASTModel:
    """The network, its position table started from sines of band and time so that it need not find the axes first."""
    model = ASTModel(ASTConfig(**CONFIG))
    bands, times = model.embeddings.get_shape(model.config)
    waves = 2 * math.pi / 2 ** torch.linspace(1.5, 7.5, CONFIG["hidden_size"] // 4)
    rows = torch.arange(bands)[:, None, None] * 4 * waves, torch.arange(times)[None, :, None] * waves
    rows = [torch.cat((r.sin(), r.cos()), -1).expand(bands, times, -1) for r in rows]
    with torch.no_grad():
        model.embeddings.position_embeddings[0, 2:] = 0.2 * torch.cat(rows, -1).flatten(0, 1)
    return model


@dataclass(frozen=True)
class Options:
    work: Path
    """Folder for sounds and checkpoints; a second call goes on."""
    out: Path = BUILTIN
    data: Path = Path("../shared/data")
    """Only for the probes; may be absent."""
    steps: int = 3800
    words_at: int = 600
    """First step that hears words as well as sounds."""
    batch: int = 128
    lr: float = 1e-3
    cooldown: float = 0.3
    """Last share of the steps, in which the rate goes down."""
    ease_at: int = 1250
    """First step with milder masks, noise and patch drop."""
    word_parts: int = 24
    """Times the clips of one part."""
    sound_parts: int = 12
    """Times the clips of one part."""
    probe_every: int = 500
    seed: int = 0
    machine: str = "2-core AMD EPYC CPU shared with other work"
    """For the card."""
    publish_only: bool = False
    """Write the last checkpoint and stop."""

    @property
    def flite(self) -> bool:
        return shutil.which("flite") is not None

    @property
    def flags(self) -> list[str]:
        return [flag for flag in sys.argv[1:] if flag != "--publish-only"]


class Trainer:
    def __init__(self, args: Options) -> None:
        self.args, self.work = args, args.work
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(args.seed)
        phonemes = phoneme_table(args.work)
        self.phonemes = phonemes.to(self.device)
        self.model = new_model().to(self.device)
        if self.device.type == "cpu":  # at 74 tokens the plain product beats the fused kernel's backward pass
            self.model.set_attn_implementation("eager")
        width = CONFIG["hidden_size"]
        sizes = dict(words=len(WORDS), phonemes=phonemes.shape[1], sounds=len(SOUNDS))
        self.heads = nn.ModuleDict({k: nn.Linear(width, n) for k, n in sizes.items()}).to(self.device)
        params = [*self.model.parameters(), *self.heads.parameters()]
        groups = [[p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]]
        self.params = params
        self.optimiser = torch.optim.AdamW(
            [dict(params=groups[0], weight_decay=0.05), dict(params=groups[1], weight_decay=0.0)], betas=(0.9, 0.98)
        )
        self.pools = {k: Pool(k, args.work) for k in ("sounds", "words")}
        self.step, self.seconds, self.clips = 0, 0.0, 0
        self.path = args.work / "checkpoint.pt"
        if self.path.exists():
            state = torch.load(self.path)
            for name, part in self.stateful():
                part.load_state_dict(state[name])
            self.step, self.seconds, self.clips = state["step"], state["seconds"], state["clips"]
        torch.manual_seed(args.seed + self.step)
        np.random.seed(args.seed + self.step)

    def stateful(self) -> list[tuple[str, nn.Module | torch.optim.Optimizer]]:
        return [("model", self.model), ("heads", self.heads), ("optimiser", self.optimiser)]

    def save(self) -> None:
        state = {name: part.state_dict() for name, part in self.stateful()}
        torch.save(state | dict(step=self.step, seconds=self.seconds, clips=self.clips), self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def rate(self) -> float:
        """Warm up, stay, and go down in the last part: the middle does not depend on when the end comes."""
        left = (self.args.steps - self.step) / (self.args.steps * self.args.cooldown)
        return self.args.lr * min(1.0, (self.step + 1) / 300, max(left, 0.0))

    def cooling(self) -> bool:
        return self.step >= self.args.steps * (1 - self.args.cooldown)

    def batch(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Clips and their labels: mostly 1 s of words and sounds, every tenth batch 2.5 to 5 s of sounds."""
        size, hard = self.args.batch, float(self.step < self.args.ease_at)
        if self.step % 10 == 9:
            x, labels, lengths = self.pools["sounds"].draw(size // 4, 248)
            x = augment(x.to(self.device), lengths, hard)
            if self.step % 20 == 9:  # whole table: the same events a second time, from another place on, and silence
                again = x.roll(int(np.random.randint(248)), dims=1)
                x = torch.cat((x, again, torch.full_like(x[:, :16], SILENCE)), dim=1)
            return x, {"sounds": labels.to(self.device)}
        if hard:
            frames = SECOND if self.step % 4 else 140
        else:  # most words end before 0.7 s
            frames = 140 if self.step % 8 == 0 else SECOND if self.step % 2 or self.cooling() else 70
        speak = self.step >= self.args.words_at and self.pools["words"].parts
        x, labels, lengths = self.pools["sounds"].draw(size * 5 // 16 if speak else size, frames)
        x = x.to(self.device)
        heard, targets = augment(x, lengths, hard), {"sounds": labels.to(self.device)}
        if speak:
            words, labels, lengths = self.pools["words"].draw(size - len(x), frames)
            behind = x[torch.randint(len(x), (len(words),))]
            heard = torch.cat((heard, augment(words.to(self.device), lengths, hard, behind)))
            targets["words"] = labels.to(self.device)
        return heard, targets

    def losses(self, x: torch.Tensor, targets: dict[str, torch.Tensor], keep: float) -> dict[str, torch.Tensor]:
        times = self.model.embeddings.get_shape(self.model.config)[1]
        room = times - ((x.shape[1] - CONFIG["patch_size"]) // CONFIG["time_stride"] + 1)
        start = None if np.random.random() < 0.5 else int(np.random.randint(room + 1))
        with torch.autocast(self.device.type, torch.bfloat16):
            pooled = encode(self.model, x, start, keep).float().mean(dim=1)
        n = len(targets["sounds"])
        out = {"sounds": F.cross_entropy(self.heads["sounds"](pooled[:n]), targets["sounds"], label_smoothing=0.1)}
        if "words" in targets:
            spoken = pooled[n:]
            out["words"] = F.cross_entropy(self.heads["words"](spoken), targets["words"], label_smoothing=0.1)
            present = self.phonemes[targets["words"]]
            weight = 8 if self.step < self.args.ease_at else 20
            out["phonemes"] = weight * F.binary_cross_entropy_with_logits(self.heads["phonemes"](spoken), present)
        return out

    def train(self) -> None:
        mean: dict[str, float] = {}
        self.model.train()
        while self.step < self.args.steps:
            began = time.perf_counter()
            for pool in self.pools.values():
                pool.refresh()
            rate = self.rate()
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            x, targets = self.batch()
            keep = 1.0 if self.cooling() else 0.85 if self.step >= self.args.ease_at else 0.65
            losses = self.losses(x, targets, keep)
            self.optimiser.zero_grad()
            sum(losses.values()).backward()
            nn.utils.clip_grad_norm_(self.params, 1.0)
            self.optimiser.step()
            for name, loss in losses.items():
                mean[name] = mean.get(name, loss.item()) * 0.98 + 0.02 * loss.item()
            self.step, self.clips = self.step + 1, self.clips + len(x)
            self.seconds += time.perf_counter() - began
            if self.step % 100 == 0:
                line = dict(step=self.step, minutes=round(self.seconds / 60, 1), clips=self.clips, lr=round(rate, 6))
                line |= {k: round(v, 3) for k, v in mean.items()}
                if self.step % self.args.probe_every == 0:
                    line |= self.probe()
                print(json.dumps(line), flush=True)
            if self.step % 250 == 0 or self.step == self.args.steps:
                self.save()

    def probe(self, names: tuple[str, ...] = ("fsdd",)) -> dict[str, float]:
        """A view of how it goes; nothing is chosen by it."""
        found = {}
        for name in names:
            if (self.args.data / name).is_dir():
                if name not in SEEN:
                    SEEN[name] = linear_probe.SETS[name](self.args.data / name)
                found[name] = round(linear_probe.probe(self.model, *SEEN[name]), 4)
        self.model.train()
        return found


CARD = """# The built-in backbone

A small `transformers.ASTModel` ({parameters:.2f} M parameters, float16 weights), trained by astmoa's authors for this
package on synthetic sounds only: no recording of anybody or anything was used.

    from transformers import ASTModel
    model = ASTModel.from_pretrained("<this folder>").float()

- **Input**: the log-mel picture of `astmoa.audio.fbank.fbank` (16 kHz, 128 bands, 10 ms), up to 512 frames. For shorter
  clips take a contiguous window of the position table, best the centre one: most training clips had 0.7 to 1.4 s, and
  half of the batches were heard there; a tenth of the batches had 2.5 to 5 s.
- **Trained on**: {words} spoken words ({word_clips:,} clips; {espeak}, {variants} voice variants, {accents} accents
  {flite};
  no digits nor their homophones) and {sounds} kinds of procedural sound ({sound_clips:,} clips: rain, knocks, sirens,
  engines, barks, chirps, and random presets of a small synthesiser), heard through random distance, microphone, noise,
  speed and resonator length.
- **Task**: name the word, the phonemes in it, or the kind of sound, from the mean of the output tokens.
- **Made by** `{command}`:
  {steps:,} steps, {clips:,} clips seen, {minutes:.0f} minutes of training on a {machine}.
  The weights are those of the last step; no step was chosen by a test score (the FSDD probe was logged on the way).

Linear probe (`benchmarks/linear_probe.py`: frozen network, mean of the output tokens, logistic regression), test accuracy:

| | this network | same network, untrained |
| --- | --- | --- |
{table}

FSDD: 600 training clips of four speakers, 1,000 test clips of the two others. ESC-50: fold 5 (200 clips, so give or
take 3 points) against the other four, in a copy that has half of the clips. Neither set was used in pretraining.

The words were spoken by espeak-ng (GPL-3.0-or-later){flite_licence}; no part of either program is in the weights.
"""  # noqa: E501


def publish(trainer: Trainer, folder: Path) -> None:
    """Write the weights and the card."""
    args = trainer.args
    model = ASTModel(ASTConfig(**CONFIG))
    model.load_state_dict(trainer.model.state_dict())
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    model = ASTModel.from_pretrained(folder).float()
    trainer.model.load_state_dict(model.state_dict())  # the probes look at what is shipped
    scores = trainer.probe(("fsdd", "esc50"))
    torch.manual_seed(0)
    trainer.model.load_state_dict(ASTModel(ASTConfig(**CONFIG)).state_dict())
    plain = trainer.probe(("fsdd", "esc50"))
    names = {"fsdd": "FSDD, new speakers (10 classes)", "esc50": "ESC-50 (50 classes)"}
    table = "\n".join(f"| {names[k]} | {scores[k]:.1%} | {plain[k]:.1%} |" for k in scores) or "| not measured | | |"
    espeak = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True).stdout.split(":")[1].split()[0]
    text = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        words=len(WORDS),
        sounds=len(SOUNDS),
        word_clips=args.word_parts * PART,
        sound_clips=args.sound_parts * PART,
        espeak=f"espeak-ng {espeak}",
        variants=len(VARIANTS),
        accents=len(set(ACCENTS)),
        flite="and flite's voices " + ", ".join(FLITE) if args.flite else "only",
        flite_licence=" and flite (BSD-like)" if args.flite else "",
        command="python " + " ".join(["benchmarks/pretrain_backbone.py", *args.flags]),
        steps=trainer.step,
        clips=trainer.clips,
        minutes=trainer.seconds / 60,
        machine=args.machine,
        table=table,
    )
    (folder / "README.md").write_text(text)
    print(json.dumps(dict(step=trainer.step, fsdd_esc50=scores, untrained=plain, folder=folder.name)), flush=True)


def main() -> None:
    args = tyro.cli(Options, description=__doc__)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.publish_only:
        return publish(Trainer(args), args.out)
    jobs = [("sounds", i) for i in range(args.sound_parts)] + [("words", i) for i in range(args.word_parts)]
    jobs.sort(key=lambda job: job[1] // 3)  # some of each first
    with ProcessPoolExecutor(2, get_context("spawn")) as workers:
        made = [workers.submit(make_part, (kind, i, PART, args.flite, args.work)) for kind, i in jobs]
        made[0].result()
        trainer = Trainer(args)
        trainer.train()
        for part in made:
            part.result()
    publish(trainer, args.out)


if __name__ == "__main__":
    main()
