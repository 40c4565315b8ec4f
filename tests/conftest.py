"""Shared fixtures: a tiny random backbone, tiny inputs, and the real audio where it is there."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers import SHARED
from tests.helpers.tiny import make_inputs, make_model

# Who runs the tests in the background of a shell has them begin deaf to Ctrl-C, and all that they start with them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No hub, no telemetry: a test that needs the network must fail at once.
os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("astmoa", deadline=None)  # a shared machine's pauses are not failures
settings.load_profile("astmoa")


# The files that take longest, longest first.
LONGEST = [
    *("test_ssh", "test_faults", "test_run", "test_study", "test_resume", "test_search_study", "test_sweeps"),
    *("test_benchmarks", "test_full_disk", "test_interface", "test_compare_page", "test_golden"),
]


def pytest_collection_modifyitems(items):
    """Files with slow tests first. A few processes take file after file in this order (`make test`): a long one that
    came last would keep one of them busy while the others have nothing left to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (item.path not in slow, places.get(item.path.stem, len(places))))


@pytest.fixture
def no_ray(monkeypatch):
    """For commands that must end before Ray starts."""

    def start_ray(*args):
        raise AssertionError("Ray was started")

    monkeypatch.setattr("astmoa.backend.run_sweep.start_ray", start_ray)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout: real audio is not tested")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Tests neither read nor fill the user's feature cache; they share one, so that features are computed once."""
    os.environ["ASTMOA_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Making MLflow's tables takes seconds; once is enough."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    from astmoa.tracking import server  # MLflow takes seconds to be imported

    server.connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(tmp_path, empty_database, monkeypatch):
    """A fresh tracker in the test's folder, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "db").mkdir()
    shutil.copy(empty_database, tmp_path / "db" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'db' / 'mlflow.db'}"


@pytest.fixture
def tiny_backbone():
    from astmoa.backbone.frozen import Backbone

    return Backbone(make_model(), "tiny")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> str:
    """A backbone folder written by save_pretrained."""
    folder = tmp_path_factory.mktemp("tiny_ast")
    make_model().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tiny_inputs():
    return make_inputs()
