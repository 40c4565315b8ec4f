"""`astmoa doctor`: is a cluster fit for a sweep, and is a cluster file ready for `ray up`?"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from astmoa.config import DataConfig, DataName
from astmoa.errors import AstmoaError, RunError, printable
from astmoa.records.storage import VARIABLE
from astmoa.study.options import check_gpus_per_trial

_GIB = 2**30


@dataclass(frozen=True)
class Doctor:
    """Look at every machine of the cluster: versions, package, GPUs, memory, disk, storage, tracker; in seconds.

    What is wrong comes out as one line each: which machine, what, and how to mend it; then the exit code is 2. Call it
    on the head of a cluster, or on one machine by itself; or before `ray up`, with the cluster file.

    Example: astmoa doctor cluster/gpu.yaml
    """

    file: Positional[Path | None] = None
    """A cluster file, to be checked instead of a cluster. Nothing is started."""
    storage: str | None = None
    """A folder that all machines share, or an address such as s3://bucket/astmoa. Default: $ASTMOA_STORAGE."""
    tracking_uri: str | None = None
    """MLflow tracking server. Default: $MLFLOW_TRACKING_URI."""
    gpus_per_trial: float | None = None
    """Is there a machine with that many GPUs?"""
    nodes: int = 1
    """Wait until this many machines are up, the head included, ..."""
    wait: float = 60.0
    """... but no longer than this many seconds."""
    data: DataName | None = None
    """Also open this data set, and show its fingerprint."""
    data_root: str | None = None
    backbone: str | None = None
    """Also load this backbone, and show its fingerprint."""
    json: bool = False
    """Print machines, findings and notes as one JSON object."""

    def run(self) -> None:
        findings = _check_file(self.file) if self.file is not None else self._check_cluster()
        for finding in findings:
            print(printable(finding), file=sys.stderr)
        if findings:
            sys.exit(2)
        if not self.json:
            print("All is well.")

    def _check_cluster(self) -> list[str]:
        from astmoa.backend.doctor import examine_cluster, notes

        if self.nodes < 1:
            raise RunError(f"--nodes {self.nodes} is not possible: give at least 1, which is this machine")
        if not 0 <= self.wait < math.inf:
            raise RunError(f"--wait {self.wait:g} is not possible: give a number of seconds, 0 or more")
        check_gpus_per_trial(self.gpus_per_trial)
        findings = [str(error) for check in (self._tracker, self._sounds, self._weights) if (error := _error(check))]
        storage = self.storage or os.environ.get(VARIABLE)
        machines, found = examine_cluster(storage, self.nodes, self.wait, self.gpus_per_trial)
        findings = found + findings
        if self.json:
            told = {
                "machines": [dataclasses.asdict(m) for m in machines],
                "findings": findings,
                "notes": notes(machines),
            }
            print(json.dumps(told))
        for m in () if self.json else machines:
            facts: dict[str, Any] = m.facts or {"memory": 0, "disk": 0, "package": None}
            shown = (
                f"{m.name}: {m.cpus:g} CPUs, {m.gpus:g} GPUs, {facts['memory'] / _GIB:.1f} GiB of memory and "
                f"{facts['disk'] / _GIB:.1f} GiB of disk free, astmoa {facts['package']}"
            )
            print(printable(shown))
        for note in () if self.json else notes(machines):
            print(printable(f"Note: {note}"))
        return findings

    def _tracker(self) -> None:
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if uri is not None:
            from astmoa.tracking import check

            check(uri)

    def _sounds(self) -> None:
        if self.data is not None:
            from astmoa.training.inputs import open_inputs

            inputs = open_inputs(DataConfig(self.data, self.data_root), all_folds="if any")
            told = f"{inputs.name}: {len(inputs.labels):,} clips, fingerprint {inputs.fingerprint}"
            print(printable(told), file=self._out)

    def _weights(self) -> None:
        if self.backbone is not None:
            from astmoa.backbone.frozen import load_backbone  # importing it takes seconds

            backbone = load_backbone(self.backbone)
            print(printable(f"backbone {backbone.name}: fingerprint {backbone.fingerprint}"), file=self._out)

    @property
    def _out(self):
        return sys.stderr if self.json else sys.stdout


def _error(check) -> AstmoaError | None:
    try:
        check()
    except AstmoaError as error:
        return error
    return None


def _check_file(path: Path) -> list[str]:
    from astmoa.backend.cluster_file import problems

    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RunError(f"{path} {what}: name a cluster file, such as cluster/gpu.yaml")
    return problems(path)
