"""`astmoa frontier`: tables and picture of a run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from astmoa.errors import ConfigError, printable
from astmoa.files.whole import check_place


@dataclass(frozen=True)
class Frontier:
    """Show a sweep's frontier from its journal, and write its tables and picture anew."""

    run_dir: Positional[Path]
    json: bool = False
    """Print points (marked front, knee, best; in a search also near, 3-D) and hypervolume as one JSON object."""
    picture: Path | None = None
    """Where to write the picture, a PNG file. Default: RUN_DIR/frontier.png"""

    def run(self) -> None:
        from astmoa.records.load import load_sweep
        from astmoa.report.pictures import frontier_picture
        from astmoa.report.tables import rich_table, summary, write_tables

        if self.picture is not None:
            _check_picture(self.picture)
        sweep = load_sweep(self.run_dir)
        write_tables(sweep, self.run_dir)
        if not self.json:
            Console().print(rich_table(sweep))
        picture = frontier_picture(sweep, self.picture or self.run_dir / "frontier.png")
        if self.json:
            print(json.dumps({**summary(sweep), "picture": str(picture)}))
        else:
            print(printable(f"Picture: {picture}"))


def _check_picture(path: Path) -> None:
    """Better before anything is written or shown than after. Raises ConfigError."""
    if path.suffix.lower() not in (".png", ""):
        raise ConfigError(f"--picture {path} is not possible: pictures are PNG files, so give a name that ends in .png")
    try:
        check_place(path)
    except OSError as error:
        raise ConfigError(
            f"--picture {path} is not possible ({error.strerror}): give a file in a folder that can be written"
        ) from None
