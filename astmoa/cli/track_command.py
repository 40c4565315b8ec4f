"""`astmoa track`: a run folder into MLflow."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from astmoa.errors import printable


@dataclass(frozen=True)
class Track:
    """Bring MLflow up to date with a run folder's journal: after the tracker was down, or into another tracker.

    What is there already is found and completed, nothing is made twice. Runs of this sweep that were deleted in the UI
    come back: to be rid of them, remove the run folder, too.
    """

    run_dir: Positional[Path]
    tracking_uri: str | None = None
    """Default: the tracker that the run had, else $MLFLOW_TRACKING_URI, else the file mlflow.db beside the folder."""

    def run(self) -> None:
        from astmoa.study.resume import tracker
        from astmoa.tracking import redact, sync, ui_command

        uri, another = tracker(Path(self.run_dir), self.tracking_uri)
        if another:
            print(printable(another), file=sys.stderr)
        mirrored = sync(self.run_dir, uri)
        back = f", {mirrored.num_restored} of them out of the bin" if mirrored.num_restored else ""
        print(printable(f"Tracked: {mirrored.num_trials + 1} runs{back}, in {redact(uri)}, {mirrored.experiment}"))
        print(printable(f"MLflow UI: {ui_command(uri)}"))
