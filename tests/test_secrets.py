"""A sweep with secrets of every kind about it. Nothing that it writes holds one, no process shows one to others, and
nobody else gets at its Ray."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from astmoa.cli.main import main
from astmoa.records.journal import read_journal
from tests.helpers import ROOT
from tests.helpers.machines import until
from tests.helpers.runs import write_tones

pytestmark = pytest.mark.slow

VARIABLES = (
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_KEY",
    "GITHUB_TOKEN",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_USERNAME",
    "OPENAI_API_KEY",
    "WANDB_API_KEY",
)
# It keeps Ray's folder at the end, for the test.
SWEEP = """
import os, runpy, sys
from astmoa.backend.ray_folder import Folder

if __name__ == "__main__":
    kept = sys.argv.pop(1)
    Folder.remove = lambda self: os.rename(self.path, kept)
    sys.argv.pop(0)
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def planted(name: str) -> str:
    return f"PLANTED{name.replace('_', '')}{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def bucket():
    """Host and port of an S3, and what it holds."""
    server = pytest.importorskip("moto.server", reason="no moto here: no S3 to be tested")
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="moto",
        aws_secret_access_key="moto",
    )
    client.create_bucket(Bucket="sounds")

    def content():
        objects = client.list_objects_v2(Bucket="sounds")["Contents"]
        return {o["Key"]: client.get_object(Bucket="sounds", Key=o["Key"])["Body"].read() for o in objects}

    yield f"{host}:{port}", content
    running.stop()


class Swept:
    """A sweep in a process of its own, looked at while it trains and when it has ended."""

    def __init__(self, folder: Path, base: Path, endpoint: str):
        self.out, self.home, self.kept, self.base = folder / "runs/run", folder / "home", folder / "kept", base
        sounds = folder / "sounds"
        for place in (self.home / ".ray", sounds):
            place.mkdir(parents=True)
        self.token = self.home / ".ray/auth_token"
        self.token.write_text(secrets.token_hex(32))  # as another Ray has left it
        self.token.chmod(0o644)
        environment = {**os.environ, **{name: planted(name) for name in VARIABLES}}
        environment |= {"AWS_SECRET_ACCESS_KEY": planted("AWS"), "AWS_ACCESS_KEY_ID": planted("KEY")}
        environment |= {"RAY_AUTH_TOKEN": f"{'5ec4e7' * 10}0000", "DATABASE_URL": f"mysql://a:{planted('DB')}@h/x"}
        environment |= {"HOME": str(self.home), "RAY_TMPDIR": str(base), "PYTHONPATH": str(ROOT)}
        environment.pop("RAY_ADDRESS", None)
        where = f"bucket/runs?scheme=http&endpoint_override={endpoint}&region=us-east-1".replace("bucket", "sounds")
        command = [sys.executable, "-c", SWEEP, self.kept, ROOT / "sweeps/n_vs_p.py"]
        command += ["--data", "csv", "--data-root", write_tones(sounds), "--seconds", "0.6", "--batch-size", "6"]
        command += ["--epochs", "2", "--seeds", "1", "--out", self.out]
        command += ["--storage", f"s3://{planted('S3KEY')}:{planted('S3SECRET')}@{where}"]
        command += [f"--tracking-uri=http://ann:{planted('URI')}@127.0.0.1:9/x?token={planted('PARAMETER')}"]
        log = folder / "log"
        with log.open("wb") as out:
            streams = {"stdout": out, "stderr": out, "stdin": subprocess.DEVNULL}
            sweep = subprocess.Popen(
                list(map(str, command)), env=environment, cwd=folder, start_new_session=True, umask=0o022, **streams
            )
        try:
            until(lambda: '"epoch"' in self.journal() or sweep.poll() is not None, "an epoch")
            # Its children repeat nothing of what was typed, and listen to nobody but this machine.
            self.commands, self.listening = {}, set()
            for process in psutil.Process(sweep.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    self.commands[process.pid] = " ".join(process.cmdline())
                    found = [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
                    self.listening |= set(found)
            self.code = sweep.wait(300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(sweep.pid, signal.SIGKILL)
        self.told = log.read_text()

    def journal(self) -> str:
        path = self.out / "journal.jsonl"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def swept(tmp_path_factory, bucket):
    base = Path(tempfile.mkdtemp(prefix="astmoa-"))  # short: the paths of sockets are bounded
    try:
        yield Swept(tmp_path_factory.mktemp("swept"), base, bucket[0])
    finally:
        shutil.rmtree(base)


SECRET = re.compile(rb"PLANTED\w+|5ec4e75ec4e7\w+|astmoa-not-a-secret")


def holding(*places: Path) -> dict[str, bytes]:
    """Files in which a secret stands, and which."""
    files = [path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 1, places
    return {str(path): found[0] for path in files if (found := SECRET.search(path.read_bytes()))}


def test_nothing_that_is_written_holds_a_secret(swept, bucket):
    assert swept.code == 0, swept.told
    assert [event["state"] for event in read_journal(swept.out) if event["type"] == "end"] == ["completed"] * 6
    assert holding(swept.out, swept.kept, swept.home) == {}
    assert list(swept.base.iterdir()) == []
    assert not SECRET.search(swept.told.encode()), swept.told
    objects = bucket[1]()
    assert sum("/trials/" in name and name.endswith("adapter.safetensors") for name in objects) == 6
    assert [name for name, content in objects.items() if SECRET.search(content)] == []


def test_what_is_mirrored_later_holds_none_either(swept):
    main(["track", str(swept.out)])
    beside = swept.out.parent
    assert (beside / "mlflow.db").is_file()
    assert (beside / "mlartifacts").is_dir()
    assert holding(beside) == {}


def test_no_process_shows_one_to_others(swept):
    names = " ".join(swept.commands.values())
    assert all(name in names for name in ("gcs_server", "raylet", "ray::", "astmoa.tracking.follower"))
    assert not SECRET.search(names.encode())


def test_nobody_else_gets_at_its_ray(swept):
    assert {"::ffff:127.0.0.1"} <= swept.listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
    # Ray opens its folders again and again: the one around them is closed.
    assert oct(swept.kept.stat().st_mode & 0o777) == "0o700"
    files = [path for path in swept.kept.glob("r/session_2*/*/*") if not path.is_dir()]
    assert len(files) > 10
    assert [path for path in files if path.stat().st_mode & 0o077] == []
    assert oct(swept.token.stat().st_mode & 0o777) == "0o600"


def test_the_run_folder_is_as_open_as_the_user_wants(swept):
    assert {oct(path.stat().st_mode & 0o777) for path in swept.out.iterdir() if path.is_file()} == {"0o644"}
