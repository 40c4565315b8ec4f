"""The studies: what they sweep, on the papers' backbone and on any other, and that every point really runs."""

import ast

import pytest

from astmoa.config import FAITHFUL_SWITCHES, OptimConfig, TrialConfig, complete
from astmoa.methods.method import names
from astmoa.methods.params import count_params
from astmoa.methods.shape import BackboneShape
from astmoa.records.load import load_sweep
from tests.helpers import ROOT
from tests.helpers.runs import write_tones
from tests.helpers.studies import script_here, study

NAMES = sorted(path.stem for path in (ROOT / "sweeps").glob("*.py"))
SEARCHES = ["frontier"]
AST_BASE, SMALL = BackboneShape(num_tokens=590), BackboneShape(192, 6, 768, num_tokens=74)


@pytest.mark.parametrize("shape", [AST_BASE, SMALL], ids=["ast-base", "builtin"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SEARCHES])
def test_points_are_distinct_and_possible(name, shape, monkeypatch):
    module, options = study(name, monkeypatch)
    points = module.points(options(), shape)
    assert len({point.label for point in points}) == len(points)
    configs = [complete(TrialConfig(method=p.method, faithful=p.faithful)) for p in points]
    assert len({config.hash() for config in configs}) == len(points)
    for point in points:
        assert count_params(point.method, shape, 10).num_trainable_params > 0


@pytest.mark.slow
@pytest.mark.parametrize("shape", [AST_BASE, SMALL], ids=["ast-base", "builtin"])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_searchs_candidates_are_distinct_and_possible(name, shape, monkeypatch):
    module, options = study(name, monkeypatch)
    space = module.space(options(), shape)
    points = [space.point(candidate, shape) for candidate in space.candidates(shape)]
    assert len({point.label for point in points}) == len(points)
    trained = {
        complete(TrialConfig(method=point.method, optim=OptimConfig(lr=point.lr))).hash(): point for point in points
    }
    assert len(trained) == len(points)
    assert {point.method.name for point in points} == set(space.names)
    for point in points[:: len(points) // 50]:
        assert count_params(point.method, shape, 10).num_trainable_params > 0


def test_the_frontiers_dials(monkeypatch):
    """Experts, slots (of Soft-MoA alone), bottleneck, placement, layers, method and learning rate."""
    module, _ = study("frontier", monkeypatch)
    dials = {name: set(module.SPACE.branch(name)) for name in module.SPACE.names}
    placed = {"bottleneck_dim", "placement", "layers", "lr"}
    assert dials == {
        "linear": {"lr"},
        "bottleneck": placed,
        "dense_moa": placed | {"num_experts"},
        "soft_moa": placed | {"num_experts", "slots_per_expert"},
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_study_says_its_source_and_its_command_and_holds_no_plumbing(name):
    tree = ast.parse((ROOT / "sweeps" / f"{name}.py").read_text())
    text = ast.get_docstring(tree)
    assert f"python sweeps/{name}.py" in text
    assert "arXiv" in text or name == "random_search"
    imported = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"ray", "optuna", "mlflow", "torch"}


def test_n_vs_p_and_few_vs_many_spend_one_budget(monkeypatch):
    for name, budget in (("n_vs_p", 903_456), ("few_vs_many", 903_744)):
        module, options = study(name, monkeypatch)
        for point in module.points(options(), AST_BASE):
            r, n = point.method.bottleneck_dim, point.method.num_experts
            count = count_params(point.method, AST_BASE).paper
            one_more = 12 * n * (2 * 768 + 1)
            assert budget - one_more < count <= budget, (point.label, r)


def test_methods_are_all_there_with_the_papers_counts(monkeypatch):
    module, options = study("methods", monkeypatch)
    points = {point.label: point for point in module.points(options(), AST_BASE)}
    assert {point.method.name for point in points.values()} >= set(names()) - {"aat_s"}
    # Thousands, as the paper's Table 1 prints them (535 for mixtures of Convpass adapters, which have 535.4 and 535.5).
    table = {"bitfit": 102, "deep prompts": 230, "prefix": 221, "lora": 221, "bottleneck": 470, "convpass": 491}
    table |= {f"{expert} {mix}": 535 for expert in ("bottleneck", "convpass") for mix in ("dense", "soft")}
    for label, thousands in table.items():
        assert abs(count_params(points[label].method, AST_BASE).paper / 1000 - thousands) < 0.6, label
    assert points["lora"].paper["speech_commands_v2"] == 93.61


def test_the_papers_averages_follow_from_its_rows(monkeypatch):
    """A figure copied wrongly would show in the average that the paper prints beside it.

    But for full fine-tuning: it prints 90.07 beside a row whose mean is 90.60.
    """
    module, _ = study("methods", monkeypatch)
    averages = {"full": 90.60, "linear": 55.77, "bitfit": 79.40, "deep prompts": 81.99, "prefix": 75.88, "lora": 84.97}
    averages |= {"bottleneck": 85.93, "bottleneck dense": 87.54, "bottleneck soft": 87.59, "convpass": 85.60}
    averages |= {"convpass dense": 87.71, "convpass soft": 86.61, "bottleneck x2": 85.32, "bottleneck dense x2": 86.97}
    averages |= {
        "bottleneck soft x2": 86.50,
        "convpass x2": 85.06,
        "convpass dense x2": 86.63,
        "convpass soft x2": 86.60,
    }
    points = {point.label: point for point in module.TABLE_1 + module.TABLE_2}
    assert points.keys() == averages.keys()
    for label, average in averages.items():
        figures = points[label].paper.values()
        assert sum(figures) / 4 == pytest.approx(average, abs=0.011), label


def test_every_switch_is_measured(monkeypatch):
    module, options = study("faithful_vs_fixed", monkeypatch)
    switched = {switch for point in module.points(options(), AST_BASE) for switch in point.faithful}
    assert switched == {*FAITHFUL_SWITCHES, "all"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["methods", "faithful_vs_fixed"])
def test_every_point_runs_in_a_sweep(name, tiny_folder, tmp_path):
    """Every method and every switch through Ray, journal, tracker, table, picture and bundle."""
    (tmp_path / "tones").mkdir()
    sounds = write_tones(tmp_path / "tones", per_split=(2, 1, 1))
    options = ["--data", "csv", "--data-root", sounds, "--seconds", 0.6, "--epochs", 1, "--batch-size", 6]
    options += ["--backbone", tiny_folder, "--seeds", 1, "--trials-at-once", 1]
    result = script_here(name, *options, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    sweep = load_sweep(tmp_path / "run")
    assert sweep.states == {"running": 0, "paused": 0, "stopped": 0, "failed": 0, "completed": len(sweep.trials)}
    assert len(sweep.trials) == len({trial.label for trial in sweep.trials}) > 15
    table = (tmp_path / "run" / "table.md").read_text()
    assert all(trial.label in table for trial in sweep.trials)
    assert (tmp_path / "run" / "best" / "adapter.safetensors").is_file()
    if name == "faithful_vs_fixed":
        effects = (tmp_path / "run" / "effects.md").read_text()
        assert all(f" {switch} |" in effects for switch in (*FAITHFUL_SWITCHES, "all"))
