"""Run folders behind an address: on this machine's disk, and in an S3 that moto plays."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import pytest

from astmoa.errors import RunError
from astmoa.records.journal import read_journal
from astmoa.records.storage import Store, Upload, bring_run, check_same_run, fetch, is_address, join, split
from astmoa.study.options import StudyOptions
from tests.helpers.journals import LeastJournal as Journal
from tests.helpers.machines import until


@pytest.fixture(scope="module")
def s3():
    """The address of a bucket."""
    server = pytest.importorskip("moto.server", reason="no moto here: no S3 to be tested")
    import boto3

    os.environ |= {"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto"}
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="sounds")
    yield f"s3://sounds/runs?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    running.stop()
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[key]


@pytest.fixture(params=["file", "s3"])
def address(request, tmp_path):
    return request.getfixturevalue("s3") if request.param == "s3" else f"file://{tmp_path}/there"


@pytest.mark.parametrize("storage", ["s3://b", "s3://b/p", "s3://b/p?region=x&scheme=http", "file:///mnt/x"])
def test_a_place_in_a_storage_is_joined_and_split(storage):
    assert split(join(storage, "run")) == (storage, "run")


@pytest.mark.parametrize("text", ["s3:/bucket/runs", "s3:bucket", "file:/mnt/x"])
def test_an_address_with_too_few_slashes_is_no_folder(text):
    with pytest.raises(RunError, match="is no address: two slashes follow its colon"):
        is_address(text)
    assert not is_address("/mnt/s3:/runs")


def test_what_is_put_is_got_elsewhere_and_replaced(address, tmp_path):
    store = pickle.loads(pickle.dumps(Store(join(address, f"put-{time.time_ns()}"))))
    here, back = tmp_path / "here", tmp_path / "deep" / "back"
    assert store.stamp("trials/1/x") is None
    assert not store.get("trials/1/x", back)
    assert not back.exists()
    for content in (b"one", b"and another" * 300_000):
        here.write_bytes(content)
        store.put(here, "trials/1/x")
        assert store.stamp("trials/1/x")[0] == len(content)
        assert store.get("trials/1/x", back)
        assert back.read_bytes() == content
    assert [path.name for path in back.parent.iterdir()] == ["back"]
    store.remove("trials/1/x")
    assert not store.has("trials/1/x")


def test_a_store_that_works_passes_its_check_and_keeps_nothing_of_it(address, tmp_path):
    store = Store(join(address, f"check-{time.time_ns()}"))
    store.check()
    if address.startswith("file"):
        assert list(Path(store.address.removeprefix("file://")).iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("s3://no-such-bucket-here/x?scheme=http&endpoint_override={endpoint}&region=us-east-1", "no-such-bucket-here"),
        ("s3://sounds/x?scheme=http&endpoint_override=127.0.0.1:9&region=us-east-1", "cannot be"),
        ("nonsense://sounds/x", "nonsense"),
        ("file:///proc/no/x", "cannot be written"),
    ],
)
def test_a_store_that_does_not_work_is_one_line_within_30_seconds(bad, words, s3):
    endpoint = s3.partition("endpoint_override=")[2].partition("&")[0]
    start = time.monotonic()
    with pytest.raises(RunError, match=words) as raised:
        Store(bad.format(endpoint=endpoint)).check()
    assert "\n" not in str(raised.value)
    assert "--storage" in str(raised.value)
    assert time.monotonic() - start < 30


@pytest.mark.slow
def test_a_password_in_an_address_is_in_no_message():
    with pytest.raises(RunError) as raised:
        Store("s3://ann:hush@sounds/x?scheme=http&endpoint_override=127.0.0.1:9&region=us-east-1").check()
    assert "hush" not in str(raised.value)


def test_a_journal_is_kept_while_it_grows_and_brought_to_another_machine(address, tmp_path):
    run_dir, name = tmp_path / "head" / "run", f"run-{time.time_ns()}"
    store = Store(join(address, name))
    journal = Journal(run_dir)
    with Upload(run_dir, store, warn=pytest.fail, interval=0.05) as upload:
        for number in range(3):
            journal.append("epoch", trial_id="t", epoch=number + 1)
            deadline = time.monotonic() + 30
            while (store.stamp("journal.jsonl") or [0])[0] != (run_dir / "journal.jsonl").stat().st_size:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        journal.append("sweep_end", reason="done")
        (run_dir / "best").mkdir()
        (run_dir / "best" / "config.yaml").write_text("x: 1")
        (run_dir / "table.md").write_text("table")
    assert upload.error is None
    brought = bring_run(store.address, tmp_path / "new head")
    assert brought == tmp_path / "new head" / name
    assert read_journal(brought) == read_journal(run_dir)
    assert fetch(brought, "best/config.yaml", store.address).read_text() == "x: 1"
    assert not fetch(brought, "trials/none", store.address).exists()
    # What is here and goes further is kept.
    with open(brought / "journal.jsonl", "a") as file:
        file.write('{"type": "resume", "time": 1}\n')
    assert read_journal(bring_run(store.address, tmp_path / "new head"))[-1]["type"] == "resume"


def kept_run(address, tmp_path, events=2):
    """A run of so many events on one head, and its store."""
    run_dir, store = tmp_path / "head" / "run", Store(join(address, f"run-{time.time_ns()}"))
    journal = Journal(run_dir)
    for number in range(events):
        journal.append("epoch", trial_id="t", epoch=number + 1)
    store.put(run_dir / "journal.jsonl", "journal.jsonl")
    return run_dir, store


def test_a_new_head_does_not_begin_anew_over_a_run_that_was_kept(address, tmp_path):
    run_dir, store = kept_run(address, tmp_path)
    check_same_run(run_dir, store)
    with pytest.raises(RunError, match="holds a run of that name: go on with --resume"):
        check_same_run(tmp_path / "new head" / "run", store)


def test_a_head_whose_journal_is_behind_or_another_does_not_go_on(address, tmp_path):
    run_dir, store = kept_run(address, tmp_path)
    path = run_dir / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])  # further, though its last line is cut off
    check_same_run(run_dir, store)
    path.write_bytes(whole[: whole.index(b"\n") + 20])
    with pytest.raises(RunError, match="holds more of that run"):
        check_same_run(run_dir, store)
    assert read_journal(bring_run(store.address, tmp_path / "new head")) == [
        json.loads(line) for line in whole.splitlines()
    ]
    other = tmp_path / "new head" / split(store.address)[1] / "journal.jsonl"
    other.write_bytes(b"{}\n" + whole)
    with pytest.raises(RunError, match=r"another journal\.jsonl than"):
        bring_run(store.address, tmp_path / "new head")
    assert other.read_bytes() == b"{}\n" + whole


def test_a_head_that_comes_back_does_not_write_over_its_successor(address, tmp_path):
    run_dir, store = kept_run(address, tmp_path)
    told: list[str] = []
    with Upload(run_dir, store, told.append, interval=0.05) as upload:
        journal = Journal(run_dir)
        journal.append("epoch", trial_id="t", epoch=3)
        until(lambda: store.read("journal.jsonl") == (run_dir / "journal.jsonl").read_bytes(), "the journal")
        successor = bring_run(store.address, tmp_path / "new head")
        Journal(successor).append("epoch", trial_id="t", epoch=4)
        store.put(successor / "journal.jsonl", "journal.jsonl")
        for number in range(3, 9):
            journal.append("epoch", trial_id="t", epoch=number + 1)
        until(lambda: told, "a warning")
    assert "another sweep writes its journal.jsonl there now" in told[0]
    assert "another sweep" in upload.error
    assert store.read("journal.jsonl") == (successor / "journal.jsonl").read_bytes()


@pytest.mark.slow
def test_a_store_that_comes_back_is_waited_for(tmp_path):
    (tmp_path / "there").write_text("no folder yet")
    store, here = Store(f"file://{tmp_path}/there/run"), tmp_path / "here"
    here.write_text("x")
    repaired = threading.Timer(1.5, (tmp_path / "there").unlink)
    repaired.start()
    store.put(here, "x", patience=30)
    assert store.read("x") == b"x"
    repaired.join()
    with pytest.raises(RunError, match="cannot be written"):
        Store(f"file://{here}/run").put(here, "x", patience=0.1)


def test_a_signal_leaves_no_half_file(address, tmp_path):
    """Ctrl-C twice: what was being sent is sent to its end."""
    store, here = Store(join(address, f"run-{time.time_ns()}")), tmp_path / "here"
    here.write_bytes(os.urandom(3_000_000))
    put = store._put

    def slowly(source, name):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        put(source, name)

    store._put = slowly
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of pytest-xdist is deaf to it
    try:
        with pytest.raises(KeyboardInterrupt):
            store.put(here, "x")
    finally:
        signal.signal(signal.SIGINT, before)
    # The interrupted one may not even have waited.
    assert until(lambda: store.read("x"), "the file") == here.read_bytes()


def test_where_no_run_was_kept_is_said(address, tmp_path):
    with pytest.raises(RunError, match=r"no journal\.jsonl there"):
        bring_run(join(address, "nothing"), tmp_path)


def test_a_store_that_goes_down_is_told_once_and_does_not_end_the_sweep(tmp_path):
    told: list[str] = []
    journal = Journal(tmp_path / "run")
    (tmp_path / "there").mkdir()
    store = Store(f"file://{tmp_path}/there/run")
    with Upload(tmp_path / "run", store, told.append, interval=0.02) as upload:
        (tmp_path / "there").rmdir()
        (tmp_path / "there").write_text("no folder any more")
        journal.append("sweep", study="x")
        deadline = time.monotonic() + 30
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)
    assert len(told) == 1
    assert "trying again" in told[0]
    assert "cannot be written" in upload.error


@pytest.mark.parametrize(
    ("options", "variable", "out", "kept"),
    [
        ({}, None, "runs/name", None),
        ({"out": Path("mine")}, None, "mine", None),
        ({"storage": "/mnt/all"}, None, "/mnt/all/name", None),
        ({"storage": "/mnt/all", "out": Path("mine")}, None, "/mnt/all/mine", None),
        ({}, "/mnt/all", "/mnt/all/name", None),
        ({"storage": "s3://b/p/"}, "/mnt/all", "runs/name", "s3://b/p/name"),
        ({"storage": "s3://b/p", "out": Path("deep/mine")}, None, "deep/mine", "s3://b/p/mine"),
        ({"storage": "s3://b/p?region=x"}, None, "runs/name", "s3://b/p/name?region=x"),
        (
            {"storage": "/mnt/all", "out": Path("/mnt/all/mine"), "resume": Path("/mnt/all/mine")},
            None,
            "/mnt/all/mine",
            None,
        ),
    ],
)
def test_where_a_run_lies(options, variable, out, kept, monkeypatch):
    monkeypatch.delenv("ASTMOA_STORAGE", raising=False)
    if variable:
        monkeypatch.setenv("ASTMOA_STORAGE", variable)
    assert StudyOptions(**options).place("name") == (Path(out), kept)
