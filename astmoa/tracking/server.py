"""How a tracker is reached, and how it is opened in a browser."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astmoa.errors import TrackingError
from astmoa.provenance import program, redact
from astmoa.tracking.address import artifact_folder, check_address, sqlite_file
from astmoa.tracking.database import check_database, is_database, make_database
from astmoa.tracking.failure import NO_MLFLOW, told

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

# MLflow waits 120 s for an answer and asks 8 times. Telemetry: a sweep tells nobody but its tracker.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_NOISY = ("mlflow", "alembic", "alembic.runtime.migration", "urllib3.connectionpool")


class Client:
    """MlflowClient, whose every failure is a TrackingError in one line: what is wrong, how to mend it, and `remedy`.

    Raises WrongAddress where no tracker can be had at this address, before MLflow makes or alters anything there.
    """

    def __init__(self, uri: str, remedy: str | None = None):
        check_address(uri)
        self._uri, self._remedy = uri, remedy
        self._client = self._call(_open, uri)

    def experiment_named(self, name: str) -> Experiment | None:
        """None where there is none."""
        found = self.get_experiment_by_name(name)
        if found is not None and not found.experiment_id:  # it answers with anything, to anything
            raise told(TrackingError(NO_MLFLOW), self._uri, self._remedy)
        return found

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._call, getattr(self._client, name))

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except TrackingError:
            raise
        except Exception as error:  # MLflow passes on what drivers, parsers and HTTP libraries raise: anything
            raise told(error, self._uri, self._remedy) from error


def connect(uri: str, remedy: str | None = None) -> Client:
    """A client for this tracker: quiet, soon out of patience, and with the folder of a SQLite file made."""
    return Client(uri, remedy)


def _open(uri: str) -> MlflowClient:
    _import_mlflow()
    from mlflow import MlflowClient

    if is_database(uri):
        check_database(uri)
    database = sqlite_file(uri)
    if database is None:
        return MlflowClient(tracking_uri=uri)
    if not database.exists():
        make_database(database, MlflowClient)
    options = uri.partition("?")[2]
    return MlflowClient(tracking_uri=f"sqlite:///{database}{'?' * bool(options)}{options}")


def make_experiment(client: Client, name: str, uri: str) -> Experiment:
    """A new one, for the UI a matter of training."""
    # Without a place of its own MLflow puts artifacts into the working directory.
    folder = artifact_folder(uri)
    place = folder and (folder / name.replace("/", "_")).as_uri()
    made = client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"})
    return client.get_experiment(made)


@contextlib.contextmanager
def one_line_errors(uri: str, remedy: str) -> Iterator[None]:
    """Around what is done with a client: what the files that it sends do to us is a TrackingError, too."""
    try:
        yield
    except OSError as error:
        raise told(error, uri, remedy) from error


def check(uri: str) -> None:
    """Raises TrackingError where nobody answers, or somebody else, within seconds."""
    client = connect(uri)
    client.search_experiments(max_results=1)
    client.experiment_named("astmoa")


def again(run_dir: Path, uri: str | None = None) -> str:
    """How to make up for what a tracker missed: the end of a message. Without `uri`: at another address."""
    address = redact(uri) if uri else "ADDRESS"
    command = shlex.join([program("astmoa"), "track", str(run_dir), "--tracking-uri", address])
    return f"nothing is lost, fill it in later with: {command}"


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


def _import_mlflow() -> None:
    for name, value in _ENVIRONMENT.items():  # the user's own settings win
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401 (its first import sets its loggers up, so they are silenced after it)

    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs what it raises, trace and all
    import sqlalchemy.exc

    warnings.filterwarnings("ignore", module=r"(mlflow|alembic)\.")
    warnings.filterwarnings("ignore", category=sqlalchemy.exc.SAWarning)
