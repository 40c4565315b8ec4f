"""A tracker that is a database: is it MLflow's own? Asked before MLflow is, which makes its tables in any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astmoa.files.whole import unfinished_name
from astmoa.provenance import program, redact
from astmoa.tracking.address import WrongAddress, sqlite_file

_KEPT_IN = ("sqlite", "postgresql", "mysql", "mssql")
_TABLES = {"experiments", "runs", "metrics", "params", "tags"}
_PATIENCE = 5  # seconds
_MYSQL = ("connect_timeout", "read_timeout", "write_timeout")
_POSTGRES = ("connect_timeout",)
_WAITS = {"pysqlite": ("timeout",), "psycopg": _POSTGRES, "psycopg2": _POSTGRES, "pymysql": _MYSQL, "mysqldb": _MYSQL,
          "pyodbc": ("timeout",)}  # fmt: skip


def is_database(uri: str) -> bool:
    return uri.partition("://")[0].partition("+")[0] in _KEPT_IN


def check_database(uri: str) -> None:
    """Changes nothing. A database that is not there, or empty, is well: MLflow makes its tables in it.

    Raises WrongAddress where it holds something else, or is of another version of MLflow; and whatever the database's
    driver raises.
    """
    path = sqlite_file(uri)
    if path is not None and not _is_there(path, uri):
        return
    tables, version = _look_into(uri)
    if not tables:
        return
    if not tables >= _TABLES:
        raise WrongAddress(
            f"{redact(uri)} is another program's: its {len(tables)} tables are not MLflow's; give a new one"
        )
    if version is None:
        raise WrongAddress(
            f"{redact(uri)} is not MLflow's, or its making was cut off: give a new one, or remove this one"
        )
    known, newest = _versions()
    if version not in known:
        raise WrongAddress(
            f"{redact(uri)} was made by another MLflow (version {version} of its tables): use that one, or a newer one "
            f"({program('python')} -m pip install -U mlflow)"
        )
    if version != newest:
        raise WrongAddress(
            f"{redact(uri)} was made by an older MLflow: give its server's http address, or copy it and then call "
            f"{program('mlflow')} db upgrade {redact(uri)}"
        )


def make_database(path: Path, make: Callable[[str], object]) -> None:
    """A new SQLite file with MLflow's tables, whole or not at all: `make` makes them in the database of an address.

    Killed in the middle, it would leave a half that no MLflow opens. Where another process is faster, its file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path)
    try:
        make(f"sqlite:///{unfinished}")
        try:
            os.link(unfinished, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without a second name for a file
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
        unfinished.with_name(f"{unfinished.name}-journal").unlink(missing_ok=True)


def _is_there(path: Path, uri: str) -> bool:
    """Is there something in it? Raises WrongAddress where it can be no database."""
    if path.exists() and not path.is_file():
        raise WrongAddress(f"{redact(uri)} is a folder, or no usual file: give sqlite:///PATH/mlflow.db")
    if path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise WrongAddress(f"{redact(uri)} cannot be written, nor files beside it: check your rights")
    return path.is_file() and path.stat().st_size > 0


def _look_into(uri: str) -> tuple[set[str], str | None]:
    """Its tables but for alembic's own where nothing else is there, and the version that this has of them."""
    import sqlalchemy
    from alembic.migration import MigrationContext

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool, connect_args=_patience(uri))
    with engine.connect() as connection:
        tables = set(sqlalchemy.inspect(connection).get_table_names())
        version = MigrationContext.configure(connection).get_current_revision()
    return (tables if version or tables != {"alembic_version"} else set()), version


def _patience(uri: str) -> dict[str, Any]:
    """How long to wait for an answer, in the driver's words, where the address does not say."""
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    words = _WAITS.get(url.get_driver_name(), ())
    return {word: _PATIENCE for word in words if word not in url.query}


def _versions() -> tuple[set[str], str | None]:
    """All that this MLflow knows of its tables, and the newest."""
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return {script.revision for script in scripts.walk_revisions()}, scripts.get_current_head()
