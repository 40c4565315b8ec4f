"""A worker's own judgement of its machine, and of a notice; what it trains is in test_run and test_faults."""

from __future__ import annotations

import types

import pytest
import torch

from astmoa.backend import worker
from astmoa.errors import RunError
from astmoa.provenance import package_hash
from astmoa.records.journal import NAME as JOURNAL
from astmoa.records.storage import Store
from astmoa.training.trial import CHECKPOINT


@pytest.fixture
def setup(tmp_path):
    (tmp_path / JOURNAL).touch()
    return types.SimpleNamespace(package=package_hash(), device="cpu", store=None, run_dir=str(tmp_path))


@pytest.fixture
def broken(tmp_path):
    """A store below a file."""
    (tmp_path / "file").touch()
    return Store(f"file://{tmp_path}/file/run")


def test_a_fit_machine_begins(setup, tmp_path):
    worker._check_machine(setup)
    setup.store, setup.run_dir = Store(f"file://{tmp_path}/kept"), "/not/here"
    worker._check_machine(setup)
    assert list((tmp_path / "kept").iterdir()) == []  # it has written there, and taken that away


def test_a_machine_that_joined_unfit_is_one_line_with_its_name(setup, broken, monkeypatch):
    monkeypatch.setattr(worker.socket, "gethostname", lambda: "late")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cases = {
        "its astmoa is": {"package": "another"},
        "Ray has GPUs there, torch sees none": {"device": "cuda"},
        "cannot be written": {"store": broken},
        "does not see /not/here": {"run_dir": "/not/here"},
    }
    for words, changed in cases.items():
        with pytest.raises(RunError, match=words) as raised:
            worker._check_machine(types.SimpleNamespace(**{**vars(setup), **changed}))
        assert str(raised.value).startswith("machine late")
        assert "\n" not in str(raised.value)


def test_a_notice_is_heeded_where_the_store_does_not_work(setup, broken, tmp_path, monkeypatch):
    """The trial goes on from its last whole epoch, elsewhere; it has not failed."""

    def leave():
        raise SystemExit

    monkeypatch.setattr(worker.ray.actor, "exit_actor", leave)
    monkeypatch.setattr(broken, "put", lambda *args: Store.put(broken, *args[:2]))  # without patience
    made = worker.TrialWorker.__new__(worker.TrialWorker)
    setup.store = broken
    made._setup, made._trial, made._noticed = setup, None, True
    made._folder, made._name, made._scratch = tmp_path / "trial", "trials/t", tmp_path / "scratch"
    made._folder.mkdir()
    (made._folder / CHECKPOINT).touch()
    with pytest.raises(SystemExit):
        made.step()
    assert not made._folder.exists()


def test_what_a_trial_has_done_now_is_told_apart_from_its_past(setup, monkeypatch):
    """And a note of a damaged checkpoint goes with the first epoch, for the journal."""
    monkeypatch.setattr(worker.TrialWorker, "_device_seconds", lambda self: 1.0)
    records = [{"epoch": number} for number in (1, 2, 3)]
    for resumed, note in ((2, None), (0, "its checkpoint was damaged")):
        made = worker.TrialWorker.__new__(worker.TrialWorker)
        config = types.SimpleNamespace(optim=types.SimpleNamespace(epochs=4))
        made._setup, made._noticed = setup, False
        made._trial = types.SimpleNamespace(config=config, note=note, resumed_epochs=resumed)
        made._epochs = iter(records)
        told = [made.step()["news"] for _ in records]
        assert [news.done_now for news in told] == [number > resumed for number in (1, 2, 3)]
        assert [news.record for news in told] == [records[0] | ({"note": note} if note else {}), *records[1:]]
