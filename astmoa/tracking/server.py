"""How a tracker is reached, named and opened in a browser; what may never be sent or printed."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from astmoa.errors import TrackingError
from astmoa.provenance import program, redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow waits 120 s for an answer and asks 8 times. Telemetry: a sweep tells nobody but its tracker.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_NOISY = ("mlflow", "alembic", "alembic.runtime.migration", "urllib3.connectionpool")


def connect(uri: str) -> MlflowClient:
    """A client for this tracker: quiet, soon out of patience, and with the folder of a SQLite file made."""
    _import_mlflow()
    from mlflow import MlflowClient

    database = sqlite_file(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{database}"
    return MlflowClient(tracking_uri=uri)


def experiment(client: MlflowClient, name: str, uri: str) -> str:
    """The id of the experiment with this name; created (for the UI a matter of training), or taken out of the bin."""
    found = client.get_experiment_by_name(name)
    if found is None:
        # Without a place of its own MLflow puts artifacts into the working directory.
        folder = artifact_folder(uri)
        place = folder and (folder / name.replace("/", "_")).as_uri()
        return client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"})
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


@contextlib.contextmanager
def one_line_errors(uri: str, remedy: str) -> Iterator[None]:
    """Turns everything that a tracker can do to us into a TrackingError that names the way back."""
    _import_mlflow()
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        raise TrackingError(f"tracking at {redact(uri)} failed ({reason(error)}); {remedy}") from error


def check(uri: str) -> None:
    """Raises TrackingError where nobody answers, within seconds."""
    with one_line_errors(uri, "start the server, or give another --tracking-uri"):
        connect(uri).search_experiments(max_results=1)


def again(run_dir: Path, uri: str) -> str:
    """How to make up for what a tracker missed: the end of a message."""
    command = shlex.join([program("astmoa"), "track", str(run_dir), "--tracking-uri", redact(uri)])
    return f"nothing is lost, fill it in later with: {command}"


def default_uri(run_dir: Path) -> str:
    """A SQLite file beside the run folder, so that all sweeps of one folder share it."""
    return f"sqlite:///{Path(run_dir).resolve().parent / 'mlflow.db'}"


def ui_command(uri: str) -> str:
    """The command that shows these runs in a browser, ready to paste."""
    if uri.startswith(("http://", "https://")):
        return shlex.join([program("python"), "-m", "webbrowser", redact(uri)])
    database, folder = sqlite_file(uri), artifact_folder(uri)
    words = [
        program("mlflow"),
        "ui",
        "--backend-store-uri",
        redact(uri) if database is None else f"sqlite:///{database}",
    ]
    if folder is not None:  # or it leaves a folder where it is called
        words += ["--default-artifact-root", str(folder)]
    return shlex.join([*words, "--workers", "1", "--port", "5000"])


def reason(error: BaseException) -> str:
    """Why, in one short line. A refused or unanswered connection is said plainly, however deep libraries wrapped it."""
    text = " ".join(str(error).split())
    for sign, plain in (
        ("Connection refused", "connection refused"),
        ("timed out", "no answer in time"),
        ("Failed to resolve", "unknown host"),
    ):
        if sign in text:
            return plain
    return redact(text)[:200] or type(error).__name__


def sqlite_file(uri: str) -> Path | None:
    """The database of a sqlite:/// address, absolute; None for another kind of tracker."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def artifact_folder(uri: str) -> Path | None:
    """Where artifacts lie: beside a SQLite database; a server has its own place (None)."""
    database = sqlite_file(uri)
    return None if database is None else database.parent / "mlartifacts"


def _import_mlflow() -> None:
    for name, value in _ENVIRONMENT.items():  # the user's own settings win
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401 (its first import sets its loggers up, so they are silenced after it)

    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
