import dataclasses
import stat

import pytest

from astmoa.bundles.export import export
from astmoa.errors import RunError
from astmoa.records import own_runs
from astmoa.records.journal import FORMAT
from astmoa.records.storage import Store
from astmoa.study.resume import plain, stored_options
from astmoa.study.search_options import SearchOptions
from tests.helpers.journals import LeastJournal as Journal
from tests.helpers.journals import Trial, config, header, trial_events

ADDRESS = "s3://strangers.example/runs"
OPTIONS = SearchOptions(storage=ADDRESS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTMOA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ASTMOA_STORAGE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def no_store(monkeypatch):
    monkeypatch.setattr(Store, "__init__", lambda self, address: pytest.fail(f"{address} was followed"))


def run_folder(folder, options=OPTIONS, sweep_id="mine"):
    """With one completed trial, whose weights are not there."""
    journal = Journal(folder)
    begin = header(sweep_id=sweep_id, study="frontier", options=plain(options), format=FORMAT)
    begin |= {"storage": f"{ADDRESS}/{folder.name}", "data": {"name": "x", "labels": ["a", "b"]}}
    for event in (begin, *trial_events(Trial("t", config()), 1.0)):
        journal.append(event.pop("type"), **{key: value for key, value in event.items() if key != "time"})
    journal.close()
    return folder


def test_only_what_was_noted_is_followed(cache):
    journal = {"sweep_id": "mine"}
    assert not own_runs.follows(journal, "storage", ADDRESS)
    own_runs.note("mine", storage=ADDRESS, tracking_uri=None)
    own_runs.note("mine", tracking_uri="http://mine:5000")
    assert own_runs.follows(journal, "storage", ADDRESS)
    assert own_runs.follows(journal, "tracking_uri", "http://mine:5000")
    assert not own_runs.follows(journal, "storage", "s3://other/runs")
    assert not own_runs.follows(journal, "tracking_uri", None)
    assert not own_runs.follows({"sweep_id": "other"}, "storage", ADDRESS)
    assert stat.S_IMODE((cache / "runs").stat().st_mode) == 0o700


def test_a_password_is_not_noted(cache):
    own_runs.note("mine", storage="s3://key:secret@bucket/x")
    assert "secret" not in "".join(path.read_text() for path in cache.rglob("*.json"))


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "\xff", "[" * 100_000])
def test_a_note_that_is_damaged_is_none(cache, content):
    own_runs.note("mine", storage=ADDRESS)
    (cache / "runs" / "mine.json").write_bytes(content.encode("latin-1"))
    assert not own_runs.follows({"sweep_id": "mine"}, "storage", ADDRESS)
    own_runs.note("mine", storage=ADDRESS)
    assert own_runs.follows({"sweep_id": "mine"}, "storage", ADDRESS)


def test_a_cache_that_cannot_be_written_is_no_obstacle(cache):
    cache.write_text("a file")
    own_runs.note("mine", storage=ADDRESS)
    assert not own_runs.follows({"sweep_id": "mine"}, "storage", ADDRESS)


def test_an_export_follows_no_address_of_a_strangers_journal(tmp_path, no_store):
    run = run_folder(tmp_path / "run")
    with pytest.raises(RunError, match=f"is gone; its journal says that it was kept at {ADDRESS}/run: add --storage"):
        export(run, "best", tmp_path / "out")


def test_an_export_follows_what_was_given(tmp_path, monkeypatch):
    run, asked = run_folder(tmp_path / "run"), []
    monkeypatch.setattr(
        "astmoa.bundles.export.fetch", lambda run_dir, name, address: asked.append(address) or run_dir / name
    )
    own_runs.note("mine", storage=f"{ADDRESS}/run")
    for given in (None, "s3://given/run"):
        with pytest.raises(RunError, match="is gone: pick another point"):
            export(run, "best", tmp_path / "out", given)
    assert asked == [f"{ADDRESS}/run", "s3://given/run"]


def test_a_resumed_run_follows_no_address_of_a_strangers_journal(tmp_path):
    run = run_folder(tmp_path / "run")
    with pytest.raises(RunError, match=f"it names {ADDRESS}, .* add --storage {ADDRESS} where you trust"):
        stored_options("frontier", SearchOptions, run)
    assert stored_options("frontier", SearchOptions, run, storage_given=True).storage is None
    own_runs.note("mine", storage=f"{ADDRESS}/run")
    assert stored_options("frontier", SearchOptions, run).storage == ADDRESS


def test_a_strangers_journal_cannot_borrow_the_name_of_a_run_of_mine(tmp_path):
    own_runs.note("mine", storage="s3://my-bucket/runs/run")
    run = run_folder(tmp_path / "run", dataclasses.replace(OPTIONS, storage=ADDRESS))
    with pytest.raises(RunError, match="where you trust that address"):
        stored_options("frontier", SearchOptions, run)
