"""What a tracker did to us, in one line with the mend: MLflow, its database, its drivers and whatever answers there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from astmoa.errors import TrackingError, printable
from astmoa.provenance import program, redact
from astmoa.tracking.address import ADVICE, without_secrets

# What to install for a driver that is not there, where it has not the module's name.
_PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "cx_Oracle": "oracledb",
}
NO_MLFLOW = "what answers there is no MLflow server"
_LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_MEANWHILE = (
    r"must be in the 'active' state|Run with id=\S+ not found|Run '\S+' not found|already exists"
    r"|UNIQUE constraint|duplicate key value|Duplicate entry"
)
# Of a library's words: what is said instead, and how to mend it.
_SIGNS: tuple[tuple[str, str, str | None], ...] = (
    (r"WRONG_VERSION_NUMBER|record layer failure", "it does not speak https", "write http://"),
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", "set MLFLOW_TRACKING_SERVER_CERT_PATH"),
    (r"[Cc]onnection refused", "connection refused", None),
    (r"timed out|timeout expired", "no answer in time", None),
    (r"Failed to resolve|Name or service not known|could not translate host|name resolution", "unknown host", None),
    (r"Invalid Host header", "it refuses this name of its host", "start it with --allowed-hosts"),
    (r"error code 401", "it asks for a user", _LOGIN),
    (r"error code 403", "it refuses this user (403)", f"{_LOGIN}; or start it with --allowed-hosts"),
    (r"error code (404|405)|not in a valid JSON", NO_MLFLOW, ADVICE),
    (r"too many (\d+) error responses", r"it answers \1", "look at the server's log"),
    (r"RemoteDisconnected|Connection aborted|Connection reset", "it hangs up without an answer", ADVICE),
    (r"unsupported URI|Can't load plugin: sqlalchemy", "MLflow keeps nothing there", ADVICE),
    (r"Databricks credential", "no Databricks credentials are known",
     "pip install databricks-sdk, and set DATABRICKS_HOST and DATABRICKS_TOKEN"),
    (r"Unity Catalog", "MLflow keeps no runs in a Unity Catalog", "give databricks"),
    (r"maintenance mode", "MLflow keeps no runs in plain folders any more", "give sqlite:///PATH/mlflow.db"),
    (r"attempt to write a readonly|read-only (file system|transaction)", "it cannot be written", "check your rights"),
    (r"database is locked", "another program is writing to it", "close that, or try again"),
    (r"unable to open database file", "it cannot be opened", "check path and rights"),
    (r"file is not a database", "it is no database", ADVICE),
    (r"database or disk is full", "its disk is full", "make room"),
)  # fmt: skip


class Disturbed(TrackingError):
    """Somebody else has deleted or made just what was looked for: to be tried again."""


def told(error: BaseException, uri: str, remedy: str | None = None) -> TrackingError:
    """In one line: which tracker, what is wrong, how to mend it where that is known, and the way back."""
    why, mend = explained(error, uri)
    first = "check path and rights" if isinstance(error, OSError) and error.filename else "start the server"
    ways = "; ".join(filter(None, (mend, remedy))) or f"{first}, or give another --tracking-uri"
    kind = Disturbed if re.search(_MEANWHILE, str(error)) else TrackingError
    return kind(f"tracking at {redact(uri)} failed ({why}); {ways}")


def reason(error: BaseException) -> str:
    """Why, in one short line."""
    return explained(error, "")[0]


def explained(error: BaseException, uri: str) -> tuple[str, str]:
    """What is wrong, in one short line without passwords, and the mend; empty where none is known."""
    chain = list(_chain(error))
    missing = next((one for one in chain if isinstance(one, ImportError)), None)
    if missing is not None:
        return _missing(missing)
    text = " ".join(" ".join(map(str, chain)).split())
    for sign, plain, mend in _SIGNS:
        if found := re.search(sign, text):
            return found.expand(plain), mend or ""
    # The database's own words: SQLAlchemy adds the statement with its values, and where to read on.
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}", ""
    inner = next((orig for one in chain if (orig := getattr(one, "orig", None))), error)
    words = " ".join(str(inner).split())
    return printable(without_secrets(words, uri) if uri else redact(words), 200) or type(error).__name__, ""


def _missing(error: ImportError) -> tuple[str, str]:
    name = (error.name or "").partition(".")[0] or ("psycopg" if "pq wrapper" in str(error) else "")
    if not name:
        return " ".join(str(error).split())[:200], ""
    package = _PACKAGES.get(name, name)
    quoted = f"'{package}'" if "[" in package else package
    return f"no {name} is installed, which it is reached by", f"{program('python')} -m pip install {quoted}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, at most a dozen."""
    for _ in range(12):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
