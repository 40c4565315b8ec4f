"""What a tracker's address may be, and what is wrong with one: found before anything is asked of it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from astmoa.errors import TrackingError
from astmoa.provenance import redact

ADVICE = "give http://HOST:5000 or sqlite:///PATH/mlflow.db"
# Those need no ://, and are MLflow's own.
_HOSTED = ("databricks", "databricks-uc", "uc")
_MEANT = {"postgres": "postgresql", "mariadb": "mysql+pymysql", "mysql8": "mysql+pymysql"}


class WrongAddress(TrackingError):
    """No tracker can be had there, however often one asks."""


def check_address(uri: str) -> None:
    """Raises WrongAddress where nothing can be reached by it, with what was probably meant."""
    scheme, sign, rest = uri.partition("://")
    kind = scheme.lower()
    if not uri.isprintable() or not uri.strip():
        raise _wrong(uri, f"it is empty, or not printable: {ADVICE}")
    if not sign:
        if uri.partition(":")[0] not in _HOSTED:
            raise _wrong(uri, f"it is no address: {_meant(uri)}")
    elif kind in ("http", "https"):
        _check_http(uri)
    elif kind in _MEANT:
        raise _wrong(uri, f"write {_MEANT[kind]}://")
    elif kind.partition("+")[0] == "sqlite":
        _check_sqlite(uri, scheme, rest)


def without_secrets(text: str, uri: str) -> str:
    """What somebody else says of this address, without its password: libraries quote either, or both."""
    text = text.replace(uri, redact(uri))
    hidden = re.search(r"://[^:/@]*:(.*)@", uri)
    return redact(text.replace(hidden[1], "***") if hidden and hidden[1] else text)


def sqlite_file(uri: str) -> Path | None:
    """The database of a sqlite:/// address, absolute; None for another kind of tracker."""
    found = re.match(r"sqlite(\+pysqlite)?:///([^?]*)", uri)
    return Path(found[2]).resolve() if found else None


def artifact_folder(uri: str) -> Path | None:
    """Where artifacts lie: beside a SQLite database; a server has its own place (None)."""
    database = sqlite_file(uri)
    return None if database is None else database.parent / "mlartifacts"


def default_uri(run_dir: Path) -> str:
    """A SQLite file beside the run folder, so that all sweeps of one folder share it.

    Raises WrongAddress where no such address can be made of the folder's name.
    """
    folder = Path(run_dir).resolve().parent
    if set(str(folder)) & {"?", "%"}:  # what follows would be taken for options, or for a character's number
        raise WrongAddress(f"{folder}: no SQLite address holds a ? or a %: give --tracking-uri, or another folder")
    return f"sqlite:///{folder / 'mlflow.db'}"


def _check_http(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:  # a port that is no number, half an IPv6 address
        raise _wrong(uri, f"{' '.join(str(error).split())[:80]}: give http://HOST:5000") from None
    if not host or re.search(r"[\s'\"<>\\,]", host):
        raise _wrong(uri, "it has no host, or a character that none has: give http://HOST:5000")


def _check_sqlite(uri: str, scheme: str, rest: str) -> None:
    path = rest[1:].partition("?")[0]
    if scheme not in ("sqlite", "sqlite+pysqlite"):
        raise _wrong(uri, "write sqlite:///PATH/mlflow.db, in small letters")
    if not rest.startswith("/"):
        raise _wrong(uri, "give sqlite:///PATH/mlflow.db, so with four slashes where PATH begins with one")
    if path in ("", "/", ":memory:", "/:memory:"):
        raise _wrong(uri, "it keeps nothing: give sqlite:///PATH/mlflow.db")
    if "%" in path:
        raise _wrong(uri, "a % stands for a character's number there: give a path without one")


def _meant(uri: str) -> str:
    text = uri.strip()
    if text.startswith("sqlite:"):
        return f"write sqlite:///{text[7:]}"
    if found := re.match(r"(https?)(:/?|/{1,2})(?=[\w\[])", text):
        return f"write {found[1]}://{text[found.end() :]}"
    if re.match(r"[\w.-]+:\d+(/|$)", text):
        return f"write http://{text}"
    if text.endswith((".db", ".sqlite", ".sqlite3")):
        return f"write sqlite:///{text}"
    return ADVICE


def _wrong(uri: str, why: str) -> WrongAddress:
    return WrongAddress(f"no tracker has the address {redact(uri)!r}: {why}")
