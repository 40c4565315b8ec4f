"""A sweep's journal, mirrored into MLflow: one parent run per sweep, one nested run per started trial.

The only package that imports mlflow, and only inside functions. Every row sent is a function of the journal alone
(values, steps, timestamps), and runs are found by their tags. So mirroring again, later, or in pieces gives the same
runs and rows, and whatever a server missed is filled in by the next pass.

    rows      what is sent: parameters, metrics and tags of a trial and of a sweep, from journal events
    trace     the sweep's own metrics, after each trial's end
    progress  the journal's events, sorted as they come in
    address   what a tracker may be called, and what is wrong with an address
    database  whether a database is MLflow's own
    failure   what a tracker did to us, in one line with the mend
    server    how a tracker is reached, and opened in a browser
    runs      the sweep's runs there, found by their tags
    files     which files of a run folder are sent
    mirror    one pass over a run folder
    follower  passes while a sweep runs
    live      a process of its own that follows
"""

from pathlib import Path

from astmoa.provenance import redact
from astmoa.tracking.address import default_uri
from astmoa.tracking.live import LiveMirror
from astmoa.tracking.mirror import Mirror, Mirrored
from astmoa.tracking.server import check, ui_command

__all__ = ["LiveMirror", "Mirror", "Mirrored", "check", "default_uri", "redact", "sync", "ui_command"]


def sync(run_dir: Path, uri: str) -> Mirrored:
    """Bring MLflow up to date with a run folder: runs, metrics, states and artifacts. Repeat it at will.

    Raises RunError for a damaged journal, and TrackingError if the tracker cannot be reached or refuses.
    """
    return Mirror(run_dir, uri).sync()
