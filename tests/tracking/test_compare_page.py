"""What a user sees of a real sweep in MLflow's UI: runs side by side, their curves, and the front by its tag.

The pictures stay in the folder that $ASTMOA_SCREENSHOTS names, for people to look at.
"""

import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from astmoa.records.load import load_sweep
from astmoa.records.standing import standing
from astmoa.tracking import default_uri
from tests.helpers import browser
from tests.helpers.runs import write_tones
from tests.helpers.studies import script_here
from tests.helpers.trackers import free_port, runs, started

FILTER = "tags.\"astmoa.frontier\" = 'front'"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.chromium() is None, reason="no Chromium: apt-get install chromium shows MLflow's pages"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory, tiny_folder):
    """Four points of three epochs, swept by Ray and mirrored while they ran."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "tones").mkdir()
    options = ["--data", "csv", "--data-root", write_tones(folder / "tones"), "--seconds", 0.6, "--epochs", 3]
    options += ["--batch-size", 6, "--backbone", tiny_folder, "--seeds", 1, "--num-points", 4]
    result = script_here("random_search", *options, "--out", folder / "runs" / "run")
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "run"


@pytest.fixture(scope="module")
def site(out, tmp_path_factory):
    """The address of an MLflow server over the sweep's tracker."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri", default_uri(out)]
    command += ["--default-artifact-root", str(folder), "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    with started(command, folder, port):
        yield f"http://127.0.0.1:{port}/#"


@pytest.fixture
def look(site, tmp_path, request):
    """Opens a page: its text and HTML; keeps a picture of it."""
    folder = Path(os.environ.get("ASTMOA_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def look(page):
        picture = browser.screenshot(f"{site}{page}", folder / f"{request.node.name.removeprefix('test_')}.png")
        assert picture.stat().st_size > 20_000  # an empty page is smaller
        html = browser.dom(f"{site}{page}")
        text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", "\n", html, flags=re.DOTALL)
        return {line.strip() for line in text.splitlines()}, html

    return look


def query(**values):
    return "&".join(f"{key}={quote(json.dumps(value, separators=(',', ':')))}" for key, value in values.items())


def test_the_compare_page_shows_names_parameters_and_metrics(out, look):
    _, parent, children = runs(default_uri(out), "random_search")
    ids = [run.info.run_id for run in children.values()]
    text, html = look(f"/compare-runs?{query(runs=ids, experiments=[parent.info.experiment_id])}")
    assert "Comparing 4 Runs from 1 Experiment" in text
    assert "js-plotly-plot" in html  # parameters and a metric as parallel coordinates
    for trial in load_sweep(out).trials:
        assert f"{trial.label} seed {trial.seed} fold {trial.fold}" in text
        assert {"num_trainable_params", str(trial.num_trainable_params), trial.config["method"]["name"]} <= text
    assert {"method.name", "optim.lr", "best_val_accuracy", "test_accuracy", "train_loss"} <= text


def test_the_metric_page_shows_every_curve(out, look):
    _, parent, children = runs(default_uri(out), "random_search")
    ids = [run.info.run_id for run in children.values()]
    where = query(runs=ids, metric="val_accuracy", experiments=[parent.info.experiment_id], plot_layout={})
    axes = "x_axis=step&y_axis_scale=linear&line_smoothness=1&show_point=false"
    text, html = look(f"/metric?{where}&{axes}&{query(plot_metric_keys=['val_accuracy'], deselected_curves=[])}")
    assert html.count('class="js-line"') >= len(ids)
    for trial in load_sweep(out).trials:
        assert f"{trial.label} seed {trial.seed} fold {trial.fold} (val_accuracy)" in text
    assert {"1", "1.5", "2", "2.5", "3"} <= text  # epochs along the axis


def test_the_front_is_found_by_its_tag(out, look):
    """Sorted by a metric, the UI lists the matching runs alone; sorted by time it folds them into their sweep."""
    _, parent, _ = runs(default_uri(out), "random_search")
    sweep = load_sweep(out)
    places = {f"{t.label} seed {t.seed} fold {t.fold}": standing(sweep)[t.point] for t in sweep.trials}
    front = {name for name, place in places.items() if place == "front"}
    page = f"/experiments/{parent.info.experiment_id}/runs?searchFilter={quote(FILTER)}"
    text, _ = look(f"{page}&orderByKey={quote('metrics.`best_val_accuracy`')}&orderByAsc=false")
    assert {name for name in places if name in text} == front != set()
    assert {str(len(front)), "matching run" if len(front) == 1 else "matching runs"} <= text
