"""A sweep's runs in MLflow, found by what they are: their tags name the sweep and the trial.

Whatever was done to them in the UI (deleted one by one or with their parent, their experiment renamed or deleted), the
same runs are found again: taken out of the bin, put under their parent. Of two that are the same, made by two mirrors
at once, one goes into the bin: both mirrors choose the same one to stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from astmoa.records.journal_events import SweepEvent
from astmoa.records.trials import TrialRecord
from astmoa.tracking import rows, server

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

MIRRORED = "astmoa.mirrored"
ARTIFACTS = "astmoa.artifacts"
FRONTIER = "astmoa.frontier"
_PARENT = "mlflow.parentRunId"
_MOST_EXPERIMENTS = 200  # of one request


class Runs:
    """The parent and the trials' runs of the sweep with this header, as far as they are there. Asks the tracker at
    once; a parent that is missing is made."""

    def __init__(self, client: server.Client, uri: str, header: SweepEvent):
        self.client, self._header = client, header
        self.parent = ""
        self.children: dict[str, str] = {}
        """Run ids by trial id."""
        self.num_restored = 0
        """Runs that were in the bin."""
        # By run id: how many of its events have arrived, its status, its standing. By file name: the parent's files.
        self.arrived: dict[str, int] = {}
        self.statuses: dict[str, str] = {}
        self.standings: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.experiment = self._experiment(rows.text(f"astmoa/{header['study']}"), uri)
        self.find(0)
        if not self.parent:
            self.parent = self._make_parent()
            self.find(header["time"])

    def find(self, since: float) -> None:
        """Look for runs that began at that time or later: a run never begins before its trial's proposal."""
        same: dict[str, list[Run]] = {}
        for run in self._search([self.experiment.experiment_id], since):
            tags = run.data.tags
            name = "" if tags.get("astmoa.kind") == "sweep" else tags.get("astmoa.trial_id")
            if name is not None:
                same.setdefault(name, []).append(run)
        for name in sorted(same):  # the parent first
            self._adopt(name, same[name])

    def make(self, trial: TrialRecord) -> None:
        """A trial's run. Call `find` afterwards: somebody else may have made the same in between."""
        tags = {
            _PARENT: self.parent,
            "astmoa.kind": "trial",
            "astmoa.trial_id": trial.trial_id,
            "astmoa.point": trial.point,
            "astmoa.label": rows.text(trial.label),
            "astmoa.config_hash": trial.config_hash,
        }
        if trial.phase:
            tags["astmoa.phase"] = trial.phase
        name = rows.text(f"{trial.label} seed {trial.seed} fold {trial.fold}")
        since = trial.proposed if trial.started is None else trial.started
        self.children[trial.trial_id] = self._make(name, since, tags)

    def _make_parent(self) -> str:
        return self._make(f"sweep {self._header['sweep_id']}", self._header["time"], {"astmoa.kind": "sweep"})

    def _make(self, name: str, since: float, tags: dict[str, str]) -> str:
        tags = tags | rows.provenance(self._header) | {"astmoa.sweep_id": str(self._header["sweep_id"])}
        run = self.client.create_run(self.experiment.experiment_id, rows.milliseconds(since), tags, name)
        self._remember(run)
        return run.info.run_id

    def _adopt(self, name: str, same: Sequence[Run]) -> None:
        """Of runs that are the same the one to stay: what is not in the bin, then whatever every mirror picks alike."""
        run, *others = sorted(same, key=lambda run: (_deleted(run), run.info.run_id))
        for other in others:
            if not _deleted(other):
                self.client.delete_run(other.info.run_id)
        run_id = run.info.run_id
        if _deleted(run):
            self.client.restore_run(run_id)
            self.num_restored += 1
        if not name:
            if run_id != self.parent:
                self.parent, self.digests = run_id, _known_files(run)
                self._remember(run)
            return
        if run.data.tags.get(_PARENT) != self.parent and self.parent:
            self.client.set_tag(run_id, _PARENT, self.parent)
        if self.children.get(name) != run_id:
            self.children[name] = run_id
            self._remember(run)

    def _remember(self, run: Run) -> None:
        run_id, tags = run.info.run_id, run.data.tags
        count = tags.get(MIRRORED, "0")
        self.arrived[run_id] = int(count) if count.isdecimal() else 0  # anybody may write a tag
        self.statuses[run_id] = run.info.status
        self.standings[run_id] = tags.get(FRONTIER, "")

    def _experiment(self, name: str, uri: str) -> Experiment:
        """Where the sweep's runs are: where its study's belong, or what that was renamed to. Where it has none yet the
        former, made if need be. Out of the bin."""
        usual = self.client.experiment_named(name)
        if usual is not None and next(self._search([usual.experiment_id], 0), None) is not None:
            found = usual
        else:
            found = self._elsewhere() or usual or server.make_experiment(self.client, name, uri)
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return found

    def _elsewhere(self) -> Experiment | None:
        """An experiment of any name with runs of this sweep."""
        others = {one.experiment_id: one for one in _pages(self.client.search_experiments, view_type=_everything())}
        ids = list(others)
        for begin in range(0, len(ids), _MOST_EXPERIMENTS):
            for run in self._search(ids[begin : begin + _MOST_EXPERIMENTS], 0):
                return others[run.info.experiment_id]
        return None

    def _search(self, experiments: Sequence[str], since: float) -> Iterator[Run]:
        """The sweep's runs in these experiments, those in the bin too."""
        query = f"tags.`astmoa.sweep_id` = '{self._header['sweep_id']}'"
        if since:
            query += f" and attributes.start_time >= {rows.milliseconds(since)}"
        return _pages(
            self.client.search_runs, experiment_ids=experiments, filter_string=query, run_view_type=_everything()
        )


def _deleted(run: Run) -> bool:
    return run.info.lifecycle_stage == "deleted"


def _known_files(parent: Run) -> dict[str, str]:
    try:
        digests = json.loads(parent.data.tags.get(ARTIFACTS, "{}"))
    except ValueError:  # anybody may write a tag
        digests = None
    return digests if isinstance(digests, dict) else {}


def _everything() -> int:
    from mlflow.entities import ViewType

    return ViewType.ALL


def _pages(search: Callable[..., Any], **what: Any) -> Iterator[Any]:
    token = None
    while True:
        page, before = search(**what, max_results=1000, page_token=token), token
        yield from page
        token = page.token
        if not token or token == before:
            return
