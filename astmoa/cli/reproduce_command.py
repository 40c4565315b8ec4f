"""`astmoa reproduce`: does an exported trial come out again?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Reproduce:
    """Train an exported trial again, with the same seed, and say whether it comes out the same.

    Compares weights bit by bit, and the validation accuracy with the interval where 95 of 100 further runs fall: by the
    spread of the point's replicates, or for a single one by its validation clips. Ends with 0 when the result is
    inside, 1 when it is outside, 2 for errors, such as other data or another backbone.
    Example: astmoa reproduce runs/RUN/best --seeds 2
    """

    bundle: Positional[Path]
    """A folder that `astmoa export` wrote (or RUN_DIR/best)."""
    seeds: int = 0
    """Train this many other seeds, too, and compare their mean."""
    out: Path | None = None
    """Folder to keep the trials in; the same folder again goes on after their last epoch."""
    data_root: str | None = None
    """Where the data are now, if elsewhere than then."""
    backbone: str | None = None
    """Where the backbone is now, if elsewhere than then."""
    threads: int | None = None
    """CPU threads, whose number decides the last bits of sums: a sweep on CPUs gives each trial its share of the cores.
    Default: as recorded, where the bundle knows it."""
    json: bool = False
    """Print records as JSON lines; the last one is the result."""
    trust_code: bool = False
    """Run the code of the method that the bundle brings along, if it is one from outside: trust its author?"""

    def run(self) -> None:
        from astmoa.bundles.bundle import trust
        from astmoa.study.reproduce import reproduce

        if self.trust_code:
            trust(self.bundle)
        result = reproduce(self.bundle, self.seeds, self.out, self.json, self.data_root, self.backbone, self.threads)
        if not result["inside"]:
            sys.exit(1)
