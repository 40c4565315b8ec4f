"""Made-up learning curves over a small space: a driver can be run through a whole search in a second."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np

from astmoa.config import OptimConfig, TrialConfig
from astmoa.config.proposals import Proposal
from astmoa.engine.driver import Driver
from astmoa.methods.params import count_params
from astmoa.methods.shape import BackboneShape
from astmoa.replay.curves import Curve, Curves
from astmoa.replay.simulation import MemoryJournal, VirtualClock, recorded, replay
from astmoa.search.sampler import OptunaSampler
from astmoa.search.searcher import Search, proposal_of
from astmoa.search.space import Space
from astmoa.search.stopping_rules import make_scheduler

SHAPE = BackboneShape(32, 4, 64, num_tokens=26)
NUM_CLASSES, NUM_VAL_CLIPS = 5, 200
PLACED = {"bottleneck_dim": [1, 2, 4, 8], "placement": ["attention", "ffn", "both"], "lr": [2e-3, 8e-3]}
SPACE = Space(
    [{"name": ["linear"]}, {"name": ["bottleneck"], **PLACED}, {"name": ["dense_moa"], "num_experts": [2, 4], **PLACED}]
)


def template(epochs: int = 9) -> TrialConfig:
    return TrialConfig(optim=OptimConfig(epochs=epochs))


def count(proposal: Proposal) -> dict[str, int]:
    return count_params(proposal.config.method, SHAPE, NUM_CLASSES).to_dict()


def curves(epochs: int = 9, seeds: tuple[int, ...] = (0,), space: Space = SPACE) -> Curves:
    """Larger is better, the higher learning rate faster; what else is noise, a function of the trial."""
    trials = {}
    for candidate in space.candidates(SHAPE):
        for seed in seeds:
            proposal = proposal_of(candidate, space, SHAPE, dataclasses.replace(template(epochs), seed=seed))
            size = count(proposal)["num_trainable_params"]
            digest = hashlib.sha256(proposal.trial_id.encode()).digest()
            noise = np.random.default_rng(int.from_bytes(digest[:8], "big")).normal(0, 0.01, epochs)
            speed = 0.8 if candidate.get("lr") == 8e-3 else 0.4
            top = 0.5 + 0.08 * math.log10(size)
            accuracy = [float(np.clip(top * (1 - math.exp(-speed * (e + 1))) + noise[e], 0, 1)) for e in range(epochs)]
            seconds = [1 + size / 1e5 + 0.01 * (digest[8] % 7)] * epochs
            step = [s / 10 for s in seconds]
            trials[proposal.trial_id] = Curve(
                proposal.label, count(proposal), accuracy, seconds, [0.1] * epochs, step, accuracy[-1]
            )
    return Curves({}, template(epochs), SHAPE, space, {1: NUM_VAL_CLIPS}, seeds, trials)


def search(
    seed: int = 0, epochs: int = 9, sampler: str = "random", tell: str = "predicted", space: Space = SPACE
) -> Search:
    return Search(OptunaSampler(space, SHAPE, sampler, seed, tell_stopped=tell), space, SHAPE, template(epochs))


def driver(
    clock=None, journal=None, proposer=None, scheduler="pareto_asha", epochs=9, num_val_clips=NUM_VAL_CLIPS, **options
) -> Driver:
    clock = clock or VirtualClock()
    return Driver(
        journal if journal is not None else MemoryJournal(clock),
        proposer or search(epochs=epochs),
        count,
        scheduler=make_scheduler(scheduler, epochs) if scheduler else None,
        num_val_clips={1: num_val_clips},
        clock=clock,
        **options,
    )


def run(num_workers: int = 2, table: Curves | None = None, stop=lambda driver: False, events=(), **options) -> Driver:
    """A whole search on a virtual clock; `events`: what an earlier run left."""
    clock = VirtualClock(events[-1]["time"] if events else 0.0)
    journal = MemoryJournal(clock, list(events))
    made = driver(clock, journal, **options)
    made.restore(list(events))
    journal.append("resume" if events else "sweep")
    replay(made, recorded((table or curves(options.get("epochs", 9))).trials), clock, num_workers, stop)
    made.events = journal.events
    return made
