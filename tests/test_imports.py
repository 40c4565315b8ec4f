"""The arrows of the house: who may import whom, and what `import astmoa` must not cost."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "astmoa"
# Rooms from the bottom up: a room imports only rooms that stand before it.
FLOORS = [
    ["text", "files", "typed", "reading"],
    ["errors", "shape"],
    ["events", "methods"],
    ["config", "journal", "lock", "frontier", "confidence", "provenance"],
    ["own_runs"],
    ["audio", "backbone", "backbone_folder", "records", "storage"],
    ["training", "report", "tracking"],
    ["sweep", "bundles", "study_options"],
    ["resume", "search_options"],
    [
        "study",
        "train_one",
        "reproduce",
        "data_cli",
        "doctor_cli",
        "method_cli",
        "bundle_cli",
        "command_line",
        "replay_cli",
        "contributions",
    ],
    ["interface", "cli"],
]
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
ONLY = {"ray": {"sweep"}, "optuna": {"sweep"}, "mlflow": {"tracking"}, "peft": {"methods"}}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def test_every_room_has_a_floor():
    assert {room for room, _ in modules()} == set(HEIGHT)


def test_no_arrow_runs_back_up():
    wrong = []
    for room, path in modules():
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "astmoa" or len(parts) == 1:
                continue
            other = parts[1]
            if other in HEIGHT and other != room and HEIGHT[other] > HEIGHT[room]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


def test_sweeping_and_training_do_not_know_who_reads_their_records():
    """But for dominance, which a sweep decides by while it runs."""
    readers = {"tracking", "frontier", "report", "bundles", "records"}
    for room, path in modules():
        if room in {"sweep", "training", "methods", "backbone", "audio", "config"}:
            known = {name.split(".")[1] for name in imports(path) if name.startswith("astmoa.")}
            assert not known & (readers - {"frontier"} if room == "sweep" else readers), path


def test_ray_optuna_and_mlflow_have_one_room_each():
    for room, path in modules():
        for name in imports(path):
            library = name.split(".")[0]
            assert room in ONLY.get(library, {room}), f"{path} imports {library}"


def test_importing_astmoa_and_its_trainer_brings_none_of_them():
    code = (
        "import sys, astmoa, astmoa.cli, astmoa.training.trial, astmoa.backbone, astmoa.bundles.export, astmoa.study;"
        "print([m for m in ('ray', 'optuna', 'mlflow', 'peft') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_study_says_what_is_wrong_before_anything_heavy_is_imported():
    """Help, a wrong option, a run folder that another process has: none of them waits for torch or Ray."""
    code = (
        "import sys; sys.path.append('sweeps'); import n_vs_p, frontier, methods, placement, random_search;"
        "print([m for m in ('torch', 'transformers', 'ray', 'optuna', 'mlflow', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert out.stdout.strip() == "[]"
