"""One pass over a run folder: find its runs by their tags, send what they miss.

A tag `astmoa.mirrored` counts the journal events of a run that have arrived, so that a second pass reads a page of runs
and sends nothing. Where it lags behind (a crash between rows and tag), rows go twice; MLflow drops what it already has.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from astmoa.journal import read_journal_from
from astmoa.records import Event, TrialRecord, metric_of, sweep_header
from astmoa.tracking import rows, server
from astmoa.tracking.files import ARTIFACTS, changed_files, locked
from astmoa.tracking.progress import Progress

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_MIRRORED = "astmoa.mirrored"
_ARTIFACTS = "astmoa.artifacts"
_FRONTIER = "astmoa.frontier"
_STATUS = {"running": "RUNNING", "completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Mirrored:
    """Where a sweep lies in MLflow after a pass."""

    experiment: str
    experiment_id: str
    parent_run_id: str
    num_trials: int


class Mirror:
    """One run folder's mirror. It remembers what has arrived: a pass sends one batch per trial with news.

    What a pass costs depends on the news only, not on how many trials there were before.
    """

    def __init__(self, run_dir: Path, uri: str):
        self.run_dir, self.uri = Path(run_dir), uri
        self._progress: Progress | None = None
        self._offset = 0
        self._forget()

    def sync(self, artifacts: Collection[str] = ARTIFACTS) -> Mirrored:
        """One pass. Raises RunError for a damaged journal, TrackingError if the tracker cannot be reached or refuses.

        artifacts: the files to send where they are there and have changed. After an error the next pass asks the
        tracker again what it has.
        """
        news, offset = read_journal_from(self.run_dir, self._offset)
        if self._progress is None:
            self._progress = Progress(sweep_header(news, str(self.run_dir)), str(self.run_dir))
        self._behind |= self._progress.add(news)
        self._offset = offset
        try:
            with locked(self.run_dir), server.one_line_errors(self.uri, server.again(self.run_dir, self.uri)):
                return self._pass(self._progress, artifacts)
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        self._client: MlflowClient | None = None
        self._experiment_id = self._parent = ""
        self._children: dict[str, str] = {}
        # Trials to look at in the next pass, and whether the sweep had ended in the last one.
        self._behind: set[str] = set()
        self._ended = False
        # By run id: how many events have arrived, the run's status, its standing. By file name: the parent's artifacts.
        self._arrived: dict[str, int] = {}
        self._statuses: dict[str, str] = {}
        self._standings: dict[str, str] = {}
        self._digests: dict[str, str] = {}

    def _pass(self, progress: Progress, artifacts: Collection[str]) -> Mirrored:
        header, name = progress.header, f"astmoa/{progress.header['study']}"
        started = progress.started
        fresh = self._client is None
        if fresh:
            self._client = server.connect(self.uri)
            self._experiment_id = server.experiment(self._client, name, self.uri)
            self._find_parent(header)
            self._behind = set(started)
        ended = progress.last["type"] == "sweep_end"
        if ended != self._ended:  # nobody will end a running trial any more, or somebody will again
            self._behind.update(progress.running)
        todo = [trial_id for trial_id in started if trial_id in self._behind]
        new = [progress.trials[trial_id] for trial_id in todo if trial_id not in self._children]
        if new:  # somebody else may have mirrored them
            self._find_children(0 if fresh else min(trial.proposed for trial in new))
        for trial_id in todo:
            self._mirror_trial(progress, trial_id)
        self._behind.clear()
        self._ended = ended
        self._mirror_parent(progress)
        self._mirror_artifacts(artifacts)
        return Mirrored(name, self._experiment_id, self._parent, len(started))

    def _find_parent(self, header: Event) -> None:
        query = f"tags.`astmoa.sweep_id` = '{header['sweep_id']}' and tags.`astmoa.kind` = 'sweep'"
        found = self._client.search_runs([self._experiment_id], query, max_results=1)
        tags = {"astmoa.kind": "sweep"} | rows.provenance(header)
        run = found[0] if found else self._create(header, f"sweep {header['sweep_id']}", header["time"], tags)
        self._parent = run.info.run_id
        self._remember(run)

    def _find_children(self, since: float) -> None:
        """Those that began then or later: a run never begins before its proposal."""
        token = None
        query = f"tags.`mlflow.parentRunId` = '{self._parent}' and attributes.start_time >= {_ms(since)}"
        while True:
            page = self._client.search_runs([self._experiment_id], query, max_results=1000, page_token=token)
            for run in page:
                self._children[run.data.tags["astmoa.trial_id"]] = run.info.run_id
                self._remember(run)
            token = page.token
            if not token:
                return

    def _create(self, header: Event, name: str, since: float, tags: dict[str, str]) -> Run:
        tags = tags | {"astmoa.sweep_id": str(header["sweep_id"])}
        return self._client.create_run(self._experiment_id, _ms(since), tags, name)

    def _remember(self, run: Run) -> None:
        run_id, tags = run.info.run_id, run.data.tags
        self._arrived[run_id] = int(tags.get(_MIRRORED, 0))
        self._statuses[run_id] = run.info.status
        self._standings[run_id] = tags.get(_FRONTIER, "")
        self._digests |= json.loads(tags.get(_ARTIFACTS, "{}"))

    def _mirror_trial(self, progress: Progress, trial_id: str) -> None:
        header, own, trial = progress.header, progress.events[trial_id], progress.trials[trial_id]
        if trial_id not in self._children:
            run = self._create_child(header, trial, own[0])
            self._children[trial_id] = run.info.run_id
            self._remember(run)
        run_id, standing = self._children[trial_id], progress.standings[trial_id]
        arrived = self._arrived[run_id]
        tags = {} if self._standings[run_id] == standing else {_FRONTIER: standing}
        if arrived < len(own):
            metric = metric_of(header)
            params = {} if arrived else rows.trial_params(trial)
            metrics = [row for event in own[arrived:] for row in rows.trial_metrics(event, metric)]
            self._send(run_id, metrics, params, tags | rows.trial_tags(trial, own), len(own))
        elif tags:
            self._send(run_id, [], {}, tags, arrived)
        self._standings[run_id] = standing
        if trial.state == "running" and progress.last["type"] == "sweep_end":
            self._set_status(run_id, "KILLED", progress.last["time"])
        else:
            self._set_status(run_id, _STATUS[trial.state], (trial.end or own[-1])["time"])

    def _create_child(self, header: Event, trial: TrialRecord, proposal: Event) -> Run:
        tags = {
            "mlflow.parentRunId": self._parent,
            "astmoa.kind": "trial",
            "astmoa.trial_id": trial.trial_id,
            "astmoa.point": trial.point,
            "astmoa.label": trial.label,
            "astmoa.config_hash": trial.config_hash,
        }
        if proposal.get("phase"):
            tags["astmoa.phase"] = proposal["phase"]
        name = f"{trial.label} seed {trial.seed} fold {trial.fold}"
        since = trial.proposed if trial.started is None else trial.started
        return self._create(header, name, since, tags | rows.provenance(header))

    def _mirror_parent(self, progress: Progress) -> None:
        arrived = self._arrived[self._parent]
        if arrived < progress.num_events:
            params = {} if arrived else rows.sweep_params(progress.header)
            tags = rows.sweep_tags(progress.trace.hypervolume, progress.end_reason)
            self._send(self._parent, progress.rows_after(arrived), params, tags, progress.num_events)
        status = "RUNNING"
        if progress.last["type"] == "sweep_end":
            states = {trial.state for trial in progress.trials.values()}
            # A search's budget may cut trials: that is how it ends. Where all trials were to run, some are missing.
            cut = progress.end_reason == "interrupted" or ("running" in states and "search" not in progress.header)
            status = "KILLED" if cut else "FAILED" if states == {"failed"} else "FINISHED"
        self._set_status(self._parent, status, progress.last["time"])

    def _mirror_artifacts(self, names: Collection[str]) -> None:
        """Files that are there and have changed; the table also as the description that the UI shows first."""
        for name, content, digest in changed_files(self.run_dir, names, self._digests):
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / name
                copy.write_bytes(content)
                self._client.log_artifact(self._parent, str(copy))
            if name == "table.md":
                self._client.set_tag(self._parent, "mlflow.note.content", content.decode()[:5000])
            self._digests[name] = digest
            self._client.set_tag(self._parent, _ARTIFACTS, json.dumps(self._digests))

    def _set_status(self, run_id: str, status: str, time: float) -> None:
        if self._statuses[run_id] == status:
            return
        if status == "RUNNING":  # a trial resumed, or a sweep extended
            self._client.update_run(run_id, status)
        else:
            self._client.set_terminated(run_id, status, _ms(time))
        self._statuses[run_id] = status

    def _send(
        self, run_id: str, metrics: list[rows.Row], params: dict[str, str], tags: dict[str, str], arrived: int
    ) -> None:
        """In as many batches as MLflow's limits ask for. The count of arrived events goes last and vouches for all."""
        from mlflow.entities import Metric, Param, RunTag

        all_metrics = [Metric(key, value, _ms(time), step) for key, value, time, step in metrics]
        all_params = [Param(key, value) for key, value in params.items()]
        all_tags = [RunTag(key, value) for key, value in tags.items()]
        while len(all_metrics) > 700 or len(all_params) > 90:
            self._client.log_batch(run_id, all_metrics[:700], all_params[:90], synchronous=True)
            all_metrics, all_params = all_metrics[700:], all_params[90:]
        all_tags.append(RunTag(_MIRRORED, str(arrived)))
        self._client.log_batch(run_id, all_metrics, all_params, all_tags, synchronous=True)
        self._arrived[run_id] = arrived


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
