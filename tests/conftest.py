"""Shared fixtures: a tiny random backbone, tiny inputs, and the real audio where it is there."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# Who runs the tests in the background of a shell has them begin deaf to Ctrl-C, and all that they start with them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No hub, no telemetry: a test that needs the network must fail at once.
os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("astmoa", deadline=None)  # a shared machine's pauses are not failures
settings.load_profile("astmoa")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


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

    monkeypatch.setattr("astmoa.sweep.run.start_ray", start_ray)


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


def make_model(hidden_size=16, num_layers=3, max_length=64, **changes):
    from transformers import ASTConfig, ASTModel

    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        max_length=max_length,
        frequency_stride=16,
        time_stride=10,
        **changes,
    )
    model = ASTModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # no zeros left: a lost table or bias must show
    return model


@pytest.fixture
def tiny_backbone():
    from astmoa.backbone import Backbone

    return Backbone(make_model(), "tiny")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> str:
    """A backbone folder written by save_pretrained."""
    folder = tmp_path_factory.mktemp("tiny_ast")
    make_model().save_pretrained(folder)
    return str(folder)


def make_inputs(num_clips=40, num_frames=48, num_classes=3, noise=0.3, multi_label=False):
    """Clips whose class is a band of the spectrogram: easy, so that training shows in a few steps.

    multi_label: the next class's band is there too in every second clip; every fifth label is not known.
    """
    from astmoa.audio.splits import Splits
    from astmoa.training.inputs import Inputs

    rng = np.random.default_rng(0)
    labels = np.arange(num_clips, dtype=np.int64) % num_classes
    features = rng.normal(0, noise, (num_clips, num_frames, 128)).astype(np.float16)
    for index, label in enumerate(labels):
        features[index, :, 30 * label : 30 * label + 20] += 1
    order = np.arange(num_clips)
    splits = Splits(order[: num_clips // 2], order[num_clips // 2 : -num_clips // 4], order[-num_clips // 4 :])
    names = tuple("abcdefgh"[:num_classes])
    lengths = np.full(num_clips, num_frames, dtype=np.int32)
    metric = "accuracy"
    if multi_label:
        metric, targets = "mAP", np.eye(num_classes, dtype=np.float32)[labels]
        for index in range(0, num_clips, 2):
            other = (labels[index] + 1) % num_classes
            targets[index, other] = 1
            features[index, :, 30 * other : 30 * other + 20] += 1
        targets.flat[::5] = np.nan
        labels = targets
    return Inputs(features, lengths, labels, {1: splits}, names, "fingerprint", seconds=0.5, metric=metric)


@pytest.fixture
def tiny_inputs():
    return make_inputs()
