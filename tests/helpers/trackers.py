"""What MLflow's database holds, for tests that mirror into one."""

import collections
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request

import pytest

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


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def started(command, cwd, port):
    """A server in its own process group; ended with all its children."""
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "NO_PROXY": "127.0.0.1"}
    with open(cwd / "server.log", "wb") as log:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                get(f"http://127.0.0.1:{port}/health")
                yield
                return
            time.sleep(0.3)
        pytest.fail(f"the server did not come up: {(cwd / 'server.log').read_text()[-2000:]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def get(address, payload=None):
    request = urllib.request.Request(
        address, payload and json.dumps(payload).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.read()
