"""Random streams that are a function of (seed, purpose, epoch) and of nothing else."""

from __future__ import annotations

import numpy as np
import torch


def stream_seed(*parts: object) -> int:
    """A 63-bit seed from (seed, purpose, ...); neighbouring seeds give unrelated streams."""
    words = [part if isinstance(part, int) else int.from_bytes(str(part).encode(), "little") for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, purpose: str, epoch: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, epoch))
