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

from astmoa.errors import TrackingError
from astmoa.records.journal import read_journal_from
from astmoa.records.load import sweep_header
from astmoa.records.sweep import metric_of
from astmoa.tracking import rows, server
from astmoa.tracking.address import WrongAddress
from astmoa.tracking.artifacts import ARTIFACTS, changed_files, locked
from astmoa.tracking.failure import Disturbed
from astmoa.tracking.runs import ARTIFACTS as SENT
from astmoa.tracking.runs import FRONTIER, MIRRORED, Runs
from astmoa.tracking.sorted_events import Progress

_STATUS = {"running": "RUNNING", "paused": "KILLED", "completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}

_TRIES = 4  # besides the last one, where others mirror the same, or delete it


@dataclass(frozen=True)
class Mirrored:
    """Where a sweep lies in MLflow after a pass."""

    experiment: str
    experiment_id: str
    parent_run_id: str
    num_trials: int
    num_restored: int = 0
    """Runs that somebody had deleted, and that are back."""


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
            with locked(self.run_dir), server.one_line_errors(self.uri, self._remedy):
                for _ in range(_TRIES):
                    try:
                        return self._pass(self._progress, artifacts)
                    except Disturbed:
                        self._forget()
                return self._pass(self._progress, artifacts)
        except WrongAddress as error:
            self._forget()
            raise TrackingError(f"{error}; {server.again(self.run_dir)}") from None
        except BaseException:
            self._forget()
            raise

    @property
    def _remedy(self) -> str:
        return server.again(self.run_dir, self.uri)

    def _forget(self) -> None:
        self._runs: Runs | None = None
        # Trials to look at in the next pass, and whether the sweep had ended in the last one.
        self._behind: set[str] = set()
        self._ended = False

    def _pass(self, progress: Progress, artifacts: Collection[str]) -> Mirrored:
        started = progress.started
        if self._runs is None:
            self._runs = Runs(server.connect(self.uri, self._remedy), self.uri, progress.header)
            self._behind = set(started)
        runs = self._runs
        if progress.ended != self._ended:  # nobody will end a running trial any more, or somebody will again
            self._behind.update(progress.running)
        todo = [trial_id for trial_id in started if trial_id in self._behind]
        _make_missing(runs, progress, todo)
        for trial_id in todo:
            _mirror_trial(runs, progress, trial_id)
        self._behind.clear()
        self._ended = progress.ended
        _mirror_parent(runs, progress)
        _mirror_artifacts(runs, self.run_dir, artifacts)
        experiment = runs.experiment
        return Mirrored(experiment.name, experiment.experiment_id, runs.parent, len(started), runs.num_restored)


def _make_missing(runs: Runs, progress: Progress, todo: Collection[str]) -> None:
    """Another mirror of this sweep may do the same just now, of a copy of the folder or on another machine: so they
    are looked for before and after."""
    trials = progress.trials
    if all(trial_id in runs.children for trial_id in todo):
        return
    since = min(trials[trial_id].proposed for trial_id in todo if trial_id not in runs.children)
    runs.find(since)
    for trial_id in todo:
        if trial_id not in runs.children:
            runs.make(trials[trial_id])
    runs.find(since)


def _mirror_trial(runs: Runs, progress: Progress, trial_id: str) -> None:
    own, trial = progress.events[trial_id], progress.trials[trial_id]
    run_id, standing, state = runs.children[trial_id], progress.standing(trial_id), progress.state(trial_id)
    arrived = runs.arrived[run_id]
    tags = {} if runs.standings[run_id] == standing else {FRONTIER: standing, "astmoa.state": state}
    if arrived < len(own):
        metric = metric_of(progress.header)
        params = {} if arrived else rows.trial_params(trial)
        metrics = [row for event in own[arrived:] for row in rows.trial_metrics(event, metric)]
        _send(runs, run_id, metrics, params, tags | rows.trial_tags(trial, state, own), len(own))
    elif tags:
        _send(runs, run_id, [], {}, tags, arrived)
    runs.standings[run_id] = standing
    ended = progress.last if state == "paused" else trial.end or own[-1]
    _set_status(runs, run_id, _STATUS[state], ended["time"])


def _mirror_parent(runs: Runs, progress: Progress) -> None:
    parent = runs.parent
    arrived = runs.arrived[parent]
    if arrived < progress.num_events:
        params = {} if arrived else rows.sweep_params(progress.header)
        tags = rows.sweep_tags(progress.trace.hypervolume, progress.end_reason)
        _send(runs, parent, progress.rows_after(arrived), params, tags, progress.num_events)
    status = "RUNNING"
    if progress.ended:
        states = {trial.state for trial in progress.trials.values()}
        # A search's budget may cut trials: that is how it ends. Where all trials were to run, some are missing.
        cut = progress.end_reason == "interrupted" or ("running" in states and "search" not in progress.header)
        status = "KILLED" if cut else "FAILED" if states == {"failed"} else "FINISHED"
    _set_status(runs, parent, status, progress.last["time"])


def _mirror_artifacts(runs: Runs, run_dir: Path, names: Collection[str]) -> None:
    """Files that are there and have changed; the table also as the description that the UI shows first."""
    parent, digests = runs.parent, runs.digests
    for name, content, digest in changed_files(run_dir, names, digests):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / name
            copy.write_bytes(content)
            runs.client.log_artifact(parent, str(copy))
        if name == "table.md":
            runs.client.set_tag(parent, "mlflow.note.content", content.decode(errors="replace")[:5000])
        digests[name] = digest
        runs.client.set_tag(parent, SENT, json.dumps(digests))


def _set_status(runs: Runs, run_id: str, status: str, time: float) -> None:
    if runs.statuses[run_id] == status:
        return
    if status == "RUNNING":  # a trial resumed, or a sweep extended
        runs.client.update_run(run_id, status)
    else:
        runs.client.set_terminated(run_id, status, rows.milliseconds(time))
    runs.statuses[run_id] = status


def _send(
    runs: Runs, run_id: str, metrics: list[rows.Row], params: dict[str, str], tags: dict[str, str], arrived: int
) -> None:
    """In as many batches as MLflow's limits ask for. The count of arrived events goes last and vouches for all."""
    from mlflow.entities import Metric, Param, RunTag

    all_metrics = [Metric(key, value, rows.milliseconds(time), step) for key, value, time, step in metrics]
    all_params = [Param(key, value) for key, value in params.items()]
    all_tags = [RunTag(key, value) for key, value in tags.items()]
    while len(all_metrics) > 700 or len(all_params) > 90:
        runs.client.log_batch(run_id, all_metrics[:700], all_params[:90], synchronous=True)
        all_metrics, all_params = all_metrics[700:], all_params[90:]
    all_tags.append(RunTag(MIRRORED, str(arrived)))
    runs.client.log_batch(run_id, all_metrics, all_params, all_tags, synchronous=True)
    runs.arrived[run_id] = arrived
