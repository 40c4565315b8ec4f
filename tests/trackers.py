"""What MLflow's database holds, for tests that mirror into one."""

import collections
import contextlib
import sqlite3

from astmoa.tracking import server


def mlflow_client():
    """The class, imported only after astmoa has turned MLflow's telemetry off."""
    from mlflow import MlflowClient

    return MlflowClient


def content(uri):
    """All that a tracker holds, run ids replaced by the trials' and the sweep's own names. Counts show doubles."""
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as db:
        tags = db.execute("select run_uuid, key, value from tags").fetchall()
        names = {run: value for run, key, value in tags if key == "astmoa.sweep_id"}
        names |= {run: value for run, key, value in tags if key == "astmoa.trial_id"}
        held = [
            ("run", names[r], *rest)
            for r, *rest in db.execute("select run_uuid, name, status, start_time, end_time from runs")
        ]
        for table, columns in {
            "params": "key, value",
            "metrics": "key, value, timestamp, step, is_nan",
            "latest_metrics": "key, value, timestamp, step",
        }.items():
            held += [(table, names[r], *rest) for r, *rest in db.execute(f"select run_uuid, {columns} from {table}")]
        held += [("tag", names[run], key, names.get(value, value)) for run, key, value in tags]
    return collections.Counter(held)


def runs(uri, study="n_vs_p"):
    """The parent run and the children by trial id."""
    client = server.connect(uri)
    experiment = client.get_experiment_by_name(f"astmoa/{study}")
    found = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["astmoa.trial_id"]: run for run in found if run is not parent}
    assert len(children) == len(found) - 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} <= {parent.info.run_id}
    return client, parent, children
