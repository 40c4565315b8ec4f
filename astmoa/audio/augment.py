"""SpecAugment (Park et al. 2019) for a whole batch at once, where the batch lies."""

from __future__ import annotations

import torch


def spec_augment(
    batch: torch.Tensor, freq_mask: int, time_mask: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Hide one block of mel bands and one block of frames in every clip.

    batch: [b, frames, mel] normalised features. A block's width is uniform over 0 to `freq_mask` (`time_mask`), both
    included and no wider than the picture; its start is uniform over the places where it fits. Hidden values become 0,
    the data's mean after normalisation, as in AST's own recipe. 0 turns a mask off; with both off the batch itself
    comes back. `generator` lives on the batch's device. Returns a new tensor; the batch is not changed.
    """
    if freq_mask == 0 and time_mask == 0:
        return batch
    hidden = torch.zeros((), dtype=torch.bool, device=batch.device)
    if freq_mask > 0:
        hidden = hidden | _block(batch, 2, freq_mask, generator)[:, None, :]
    if time_mask > 0:
        hidden = hidden | _block(batch, 1, time_mask, generator)[:, :, None]
    return batch.masked_fill(hidden, 0.0)


def _block(batch: torch.Tensor, dim: int, widest: int, generator: torch.Generator | None) -> torch.Tensor:
    """One run of True per clip along `dim`: [b, size of dim]."""
    size = batch.shape[dim]
    # Two uniform numbers per clip: no random integer has a range that differs from clip to clip.
    draws = torch.rand(2, batch.shape[0], 1, generator=generator, device=batch.device)
    width = (draws[0] * (min(widest, size) + 1)).long()
    start = (draws[1] * (size - width + 1)).long()
    place = torch.arange(size, device=batch.device)
    return (place >= start) & (place < start + width)
