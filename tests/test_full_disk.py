"""A disk that fills up in the middle of a real sweep: it ends in order, says which, and --resume goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from astmoa.backend.ray_folder import LEAST_DISK
from astmoa.records.journal import NAME, read_journal
from tests.helpers import ROOT
from tests.helpers.disks import fill, small_disk
from tests.helpers.machines import until
from tests.helpers.runs import write_tones

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def command(tmp_path_factory, tiny_folder):
    sounds = write_tones(tmp_path_factory.mktemp("tones"))
    options = ["--data", "csv", "--data-root", sounds, "--seconds", 0.6, "--epochs", 300, "--batch-size", 6]
    options += ["--backbone", tiny_folder, "--num-points", 2, "--seeds", 1, "--trials-at-once", 2]
    return [sys.executable, ROOT / "sweeps" / "random_search.py", *options]


def run(command, full: Path | None = None, journal: Path | None = None, **environment):
    """full: the disk to fill once the journal has some epochs."""
    words, env = list(map(str, command)), {**os.environ, **environment}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if full is not None:
            epochs = lambda: journal.is_file() and journal.read_text().count('"epoch"') > 20  # noqa: E731
            until(lambda: epochs() or process.poll() is not None, "some epochs")
            if process.poll() is None:
                fill(full)
        stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


def check_each_epoch_once(run_dir: Path) -> None:
    events = read_journal(run_dir)
    epochs = [(event["trial_id"], event["epoch"]) for event in events if event["type"] == "epoch"]
    assert len(epochs) == len(set(epochs)) == 600
    assert [event["state"] for event in events if event["type"] == "end"][-2:] == ["completed"] * 2


def test_the_run_folders_and_the_caches_disk(command, tmp_path):
    with small_disk(tmp_path / "disk", 16_000) as disk, small_disk(tmp_path / "cache", 16_000) as cache:
        out, mine = disk / "run", {"ASTMOA_CACHE": str(cache)}
        tracker = ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
        first = run([*command, *tracker, "--out", out], disk, out / NAME, **mine)
        assert first.returncode == 2, first.stderr
        assert "Traceback" not in first.stderr
        last = first.stderr.splitlines()[-1]
        assert "No space left on device" in last
        assert str(out) in last
        fill(cache)
        (disk / "filler").unlink()
        second = run([*command, "--resume", out], **mine)
        assert second.returncode == 0, second.stderr
        check_each_epoch_once(out)


def test_the_temporary_folders_disk(command, tmp_path):
    """Ray's, too: its sockets need a short path."""
    home = Path(tempfile.mkdtemp(prefix="astmoa-", dir="/tmp"))
    try:
        with small_disk(home / "t", LEAST_DISK // 1024 + 50_000) as disk:
            out, mine = tmp_path / "run", {"ASTMOA_CACHE": str(tmp_path / "cache"), "TMPDIR": str(disk)}
            tracker = ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
            first = run([*command, *tracker, "--out", out], disk, out / NAME, **mine)
            assert (disk / "filler").exists()
            assert first.returncode == 2, first.stderr
            assert "Traceback" not in first.stderr
            assert f"error: no space left in {disk}, where Ray works" in first.stderr.splitlines()[-1]
            full = run([*command, "--resume", out], **mine)
            assert full.returncode == 2, full.stderr
            assert f"0.00 GiB are free in {disk}, where Ray works, 1 are needed" in full.stderr.splitlines()[-1]
            (disk / "filler").unlink()
            again = run([*command, "--resume", out], **mine)
            assert again.returncode == 0, again.stderr
            check_each_epoch_once(out)
    finally:
        shutil.rmtree(home)
