"""The built-in sounds as a layout; how they are made is in synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from astmoa.audio.layout import Choice, Layout, Listing, Source, register
from astmoa.audio.splits import Clip

if TYPE_CHECKING:
    import torch


@register
class Builtin(Layout):
    """intents made here from a seed"""

    name = "builtin"
    recipe: ClassVar = {"epochs": 6, "batch_size": 16, "freq_mask": 0, "time_mask": 0}
    needs_root = False
    version = "builtin 2"
    """What the sounds are made by, equal to `synthetic.VERSION`."""
    source = Source(
        page="astmoa itself",
        licence="this package's",
        layout=("no folder: the sounds are made from a seed",),
        by_hand="it comes with the package",
        group="speaker",
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """The same clips everywhere; speakers are on one side of the split each."""
        from astmoa.audio import synthetic  # a second of work

        clips = tuple(Clip(**item) for item in synthetic.plan())
        return Listing(self.name, synthetic.LABELS, clips, synthetic.SECONDS)

    def load(self, clips: Sequence[Clip], seconds: float, index: int) -> torch.Tensor:
        import torch

        from astmoa.audio import synthetic
        from astmoa.audio.decode import num_samples

        return torch.from_numpy(synthetic.render(index)[: num_samples(seconds)])
