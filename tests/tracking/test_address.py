"""What is no tracker: each in one line with its mend, within seconds, and left as it was."""

import contextlib
import http.server
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import warnings

import pytest

from astmoa.errors import TrackingError
from astmoa.tracking import LiveMirror, check, default_uri, live, server, sync, ui_command
from astmoa.tracking.address import WrongAddress, check_address, without_secrets
from astmoa.tracking.database import make_database
from tests.helpers.journals import every_state, sweep_events, write

pytestmark = pytest.mark.slow  # MLflow takes seconds to import


def said(call, *arguments):
    """The one line that a call ends in."""
    with pytest.raises(TrackingError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert "hush" not in text
    assert len(text) < 900
    return text


@pytest.mark.parametrize(
    ("uri", "mend"),
    [
        ("sqlite:mlflow.db", "write sqlite:///mlflow.db"),
        ("sqlite:/tmp/mlflow.db", "write sqlite:////tmp/mlflow.db"),
        ("sqlite://mlflow.db", "give sqlite:///PATH/mlflow.db"),
        ("sqlite://", "give sqlite:///PATH/mlflow.db"),
        ("sqlite:///", "it keeps nothing"),
        ("sqlite:///:memory:", "it keeps nothing"),
        ("sqlite:///a%20b.db", "a path without one"),
        ("SQLite:///mlflow.db", "small letters"),
        ("sqlite+foo:///mlflow.db", "write sqlite:///PATH"),
        ("runs/mlflow.db", "write sqlite:///runs/mlflow.db"),
        ("mlruns", "give http://HOST:5000 or sqlite:///"),
        ("localhost:5000", "write http://localhost:5000"),
        ("127.0.0.1:5000/x", "write http://127.0.0.1:5000/x"),
        ("http//host:5000", "write http://host:5000"),
        ("https:/host", "write https://host"),
        ("http:host", "write http://host"),
        ("http://", "give http://HOST:5000"),
        ("http://:5000", "give http://HOST:5000"),
        ("http://host name:5000", "give http://HOST:5000"),
        ("http://h'ost", "give http://HOST:5000"),
        ("http://host:99999", "Port out of range"),
        ("http://ann:hush@host:port", "Port could not be cast"),
        ("http://[::1", "Invalid IPv6"),
        ("postgres://ann:hush@host/db", "write postgresql://"),
        ("http://host\x1b[31m", "not printable"),
        ("sqlite:///a\0b", "not printable"),
        ("", "it is empty"),
        (" ", "it is empty"),
    ],
)
def test_what_is_no_address_is_refused_with_what_was_meant(uri, mend):
    assert mend in said(check_address, uri)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://host:5000", "https://ann:p@host/prefix", "http://[::1]:5000", "HTTP://host", "databricks", "uc:x"),
        *("sqlite:///mlflow.db", "sqlite:////tmp/my runs/x.db", "sqlite+pysqlite:///x.db", "sqlite:///x.db?timeout=9"),
        *("postgresql+psycopg://ann:p/w d@host/db", "mysql+pymysql://host/db", "mssql+pyodbc://host/db", "plugin://x"),
    ],
)  # fmt: skip
def test_what_may_be_an_address_is_left_to_mlflow(uri):
    check_address(uri)


def test_a_library_that_quotes_the_address_tells_no_password():
    uri = "postgresql://ann:hu/sh 'a@host/db"
    assert without_secrets(f"cannot reach {uri}: hu/sh 'a is wrong", uri) == (
        "cannot reach postgresql://***@host/db: *** is wrong"
    )


def test_a_folder_of_which_no_address_can_be_made(tmp_path):
    for name in ("what?", "50%41"):
        (tmp_path / name).mkdir()
        assert "--tracking-uri" in said(default_uri, tmp_path / name / "run")


@pytest.mark.parametrize(
    ("uri", "module", "package"),
    [
        ("postgresql+psycopg://ann:hush@h/db", "psycopg", "'psycopg[binary]'"),
        ("postgresql+psycopg2://ann:hush@h/db", "psycopg2", "psycopg2-binary"),
        ("mysql+pymysql://ann:hush@h/db", "pymysql", "pymysql"),
        ("mysql://ann:hush@h/db", "MySQLdb", "mysqlclient"),
        ("mssql+pyodbc://ann:hush@h/db", "pyodbc", "pyodbc"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_its_package(uri, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    text = said(check, uri)
    assert f"no {module} is installed" in text
    assert text.endswith(f"-m pip install {package}")


@pytest.mark.parametrize("uri", ["oracle://ann:hush@h/db", "ftp://h/x", "foo://x"])
def test_what_mlflow_keeps_nothing_in(uri):
    assert "MLflow keeps nothing there); give http://HOST:5000 or sqlite:///" in said(check, uri)


def alter(*statements):
    def change(path):
        with contextlib.closing(sqlite3.connect(path)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()

    return change


def version(of):
    return alter(f"update alembic_version set version_num = '{of}'")


OLD = "0584bdc529eb"  # a version of MLflow's tables that is in use no more


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (version(OLD), ["older MLflow", "db upgrade sqlite:///"]),
        (lambda path: (version(OLD)(path), alter("drop table params")(path)), ["another program's"]),
        (version("ffffffffffff"), ["another MLflow (version ffffffffffff", "pip install -U mlflow"]),
        (alter("drop table alembic_version"), ["its making was cut off"]),
        (lambda path: (path.unlink(), alter("create table moz_places (id integer)")(path)), ["another program's"]),
        (lambda path: (path.unlink(), alter("create table experiments (id integer)")(path)), ["another program's"]),
        (lambda path: path.write_text("to do: nothing\n" * 99), ["it is no database"]),
        (lambda path: (path.unlink(), path.mkdir()), ["is a folder"]),
    ],
    ids=["older", "older-half", "newer", "half-made", "firefox", "other-experiments", "text", "folder"],
)
def test_a_database_that_is_not_ours_is_named_and_left_as_it_is(uri, tmp_path, change, words):
    path, run_dir = tmp_path / "db" / "mlflow.db", write(tmp_path / "runs" / "run", sweep_events(every_state()))
    change(path)
    before = path.read_bytes() if path.is_file() else None
    for call in ((check, uri), (sync, run_dir, uri)):
        text = said(*call)
        for word in words:
            assert word in text
        assert (path.read_bytes() if path.is_file() else None) == before
    assert "nothing is lost, fill it in later with" in text
    assert [file.name for file in (tmp_path / "db").iterdir()] == ["mlflow.db"]


def test_a_database_that_somebody_holds_or_that_cannot_be_written(uri, tmp_path, monkeypatch):
    with contextlib.closing(sqlite3.connect(tmp_path / "db" / "mlflow.db")) as holder:
        holder.execute("begin exclusive")
        begin = time.monotonic()
        assert "another program is writing to it" in said(check, f"{uri}?timeout=0.2")
        assert time.monotonic() - begin < 5
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as root everything may be written
    assert "cannot be written" in said(check, uri)


def test_an_empty_file_becomes_a_database_and_remarks_stay_away(uri, tmp_path, recwarn, monkeypatch):
    (tmp_path / "empty.db").touch()
    made = []
    monkeypatch.setattr("mlflow.MlflowClient.__init__", lambda self, tracking_uri: made.append(tracking_uri))
    server.connect(f"sqlite:///{tmp_path / 'empty.db'}")
    assert made == [f"sqlite:///{tmp_path / 'empty.db'}"]
    monkeypatch.undo()
    with warnings.catch_warnings():
        check(f"{uri}?mode=ro")  # which the driver passes over, with a warning
    assert [str(warning.message) for warning in recwarn if "mode" in str(warning.message)] == []


def test_a_database_is_made_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "mlflow.db"

    def make(uri):
        """Killed in the middle, or another process is faster."""
        (path.parent / uri.rpartition("/")[2]).write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_database(path, make)
    assert list(path.parent.iterdir()) == []

    def be_slower(uri):
        (path.parent / uri.rpartition("/")[2]).write_text("mine")
        path.write_text("the other's")

    make_database(path, be_slower)
    assert path.read_text() == "the other's"
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture(scope="module")
def website():
    """Answers every request with the status in its path; 200 with the body in the rest of it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = self.path.split("/")[1:3]
            body = {"html": b"<html>\x1b[31mhello</html>", "empty": b"{}", "list": b"[]"}[body]
            self.send_response(int(status))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *arguments):
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"ann:hush@127.0.0.1:{site.server_port}"
    site.shutdown()
    site.server_close()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("http 200/html", "no MLflow server"),
        ("http 200/empty", "no MLflow server"),
        ("http 200/list", "no MLflow server"),
        ("http 404/html", "no MLflow server"),
        ("http 401/html", "MLFLOW_TRACKING_USERNAME"),
        ("http 403/html", "--allowed-hosts"),
        ("http 503/html", "it answers 503"),
        ("https 200/html", "write http://"),
    ],
)
def test_a_server_that_is_no_mlflow(website, path, words):
    scheme, path = path.split()
    assert words in said(check, f"{scheme}://{website}/{path}")


class Follower:
    """In place of the process that follows a sweep: another program."""

    def __init__(self, monkeypatch, program):
        def start(command, **options):
            return original([sys.executable, "-c", program], **options)

        original = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", start)


def test_a_tracker_that_hangs_does_not_hold_up_the_end(tmp_path, monkeypatch):
    warned = []
    Follower(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(live, "_LONGEST_END", 0.3)
    begin = time.monotonic()
    mirror = LiveMirror(tmp_path / "run", "http://ann:hush@host", warn=warned.append)
    text = mirror.close()
    assert time.monotonic() - begin < 10
    assert "http://***@host did not come to an end within" in text
    assert "nothing is lost" in text
    assert warned == [text]


def test_what_libraries_print_is_no_answer(tmp_path, monkeypatch):
    warned = []
    lines = ["hello", "7", "[1]", '{"warn": "a\\u001b\\nb"}', '{"end": null}']
    Follower(monkeypatch, f"print('\\n'.join({lines!r}))")
    assert LiveMirror(tmp_path / "run", "http://host", warn=warned.append).close() is None
    assert warned == [r"a\x1b\nb"]


def test_a_machine_that_starts_no_more_processes_keeps_its_sweep(tmp_path, monkeypatch):
    def start(*arguments, **options):
        raise OSError(11, "Resource temporarily unavailable")

    warned = []
    monkeypatch.setattr(subprocess, "Popen", start)
    with LiveMirror(tmp_path / "run", "http://ann:hush@host", warn=warned.append) as mirror:
        pass
    assert warned == [mirror.error]
    assert "Resource temporarily unavailable" in mirror.error
    assert "hush" not in mirror.error


def test_an_address_of_a_file_with_options_is_that_files(tmp_path):
    assert f"sqlite:///{tmp_path}/x.db --default-artifact-root {tmp_path}/mlartifacts" in ui_command(
        f"sqlite+pysqlite:///{tmp_path}/x.db?timeout=9"
    )
    with pytest.raises(WrongAddress):
        server.connect("x.db")
    assert shutil.which("mlflow") is None or "mlflow" in ui_command(f"sqlite:///{tmp_path}/x.db")
