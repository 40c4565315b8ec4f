"""`astmoa export`: frontier points as bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Export:
    """Write a frontier point as a folder that reloads, predicts and trains again. Of a confirmed search, only confirmed
    points are on the front.

    Example: astmoa export runs/RUN --pick budget=300000 --out small
    """

    run_dir: Positional[Path]
    out: Path
    """The folder to write; with --pick all, one folder per point in it."""
    pick: str = "best"
    """best: highest validation accuracy. knee: where more parameters stop paying. smallest: the front's cheapest.
    budget=N: the most accurate one with at most N trainable parameters as the papers count (without the head).
    all: every point of the front."""
    storage: str | None = None
    """Address where the run is kept, such as s3://bucket/astmoa/RUN, for weights that are not in its folder.
    Default: the one that you started it with on this machine."""
    trust_code: bool = False
    """Run the code of the method that the run brings along, if it is one from outside: trust its author?"""

    def run(self) -> None:
        from astmoa.bundles.export import export, export_all, trust_run

        if self.trust_code:
            trust_run(self.run_dir)
        if self.pick == "all":
            print(*export_all(self.run_dir, self.out, self.storage), sep="\n")
        else:
            print(export(self.run_dir, self.pick, self.out, self.storage))
