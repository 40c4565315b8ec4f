"""The arrows of the house: who may import whom, and what `import astmoa` must not cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.rooms import FLOORS

PACKAGE = Path(__file__).resolve().parents[1] / "astmoa"
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
ONLY = {"ray": {"backend"}, "optuna": {"search"}, "mlflow": {"tracking"}, "peft": {"methods"}}
LARGEST = 300
MOST_ROOMS = 22


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """What a file imports, wherever in it: at its top, in a function, for type checkers alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            each = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in FILES else node.module for name in each}
    return names


IMPORTS = {name: imports(path) for name, path in FILES.items()}


def room(name: str) -> str:
    return name.split(".")[1]


def arrows():
    """(file, file that it imports), all that the package's own face does not draw."""
    for name, imported in IMPORTS.items():
        for other in imported & FILES.keys():
            if "astmoa" not in (name, other):
                yield name, other


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Whatever stays when everything that imports nothing else of what is left is taken away, again and again."""
    left = {name: set(others) - {name} for name, others in edges.items()}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    return sorted(left)


def test_every_room_has_a_floor():
    assert {room(name) for name in FILES if name != "astmoa"} == set(HEIGHT)
    assert len(HEIGHT) <= MOST_ROOMS


def test_no_arrow_runs_back_up():
    wrong = [
        f"{name} imports {other}"
        for name, other in arrows()
        if room(name) != room(other) and HEIGHT[room(other)] >= HEIGHT[room(name)]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle():
    edges: dict[str, set[str]] = {name: set() for name in FILES}
    for name, other in arrows():
        edges[name].add(other)
    assert circles(edges) == []


def test_what_a_circle_is():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_no_two_rooms_have_a_file_of_one_name():
    seen: dict[str, str] = {}
    for name, path in FILES.items():
        if path.stem != "__init__":
            assert path.stem not in seen, f"{name} and {seen[path.stem]}"
            seen[path.stem] = name


def test_no_file_is_too_long():
    assert [name for name, path in FILES.items() if len(path.read_text().splitlines()) > LARGEST] == []


def test_what_trains_does_not_know_who_reads_its_records():
    """The engine does not either, but for dominance, which a sweep decides by while it runs."""
    readers = {"tracking", "report", "bundles"}
    for name, imported in IMPORTS.items():
        if name != "astmoa" and room(name) in {"search", "engine", "backend", "replay", "training", "methods", "audio"}:
            known = {other.split(".")[1] for other in imported & FILES.keys() if other != "astmoa"}
            assert not known & readers, name
            assert room(name) != "engine" or not known & {"records", "search", "backend", "training"}, name


def test_ray_optuna_mlflow_and_peft_have_one_room_each():
    for name, imported in IMPORTS.items():
        for other in imported:
            library = other.split(".")[0]
            assert name == "astmoa" or room(name) in ONLY.get(library, {room(name)}), f"{name} imports {library}"


def test_studies_use_public_names_alone():
    for path in sorted((PACKAGE.parent / "sweeps").glob("*.py")):
        names = {name for name in imports(path) if name.split(".")[0] == "astmoa"}
        assert names == {"astmoa"}, path.name


@pytest.mark.slow
def test_importing_astmoa_and_its_trainer_brings_none_of_them():
    code = (
        "import sys, astmoa.cli.main, astmoa.training.trial, astmoa.backbone.frozen, astmoa.bundles.export;"
        "import astmoa.study.command, astmoa.engine.driver;"
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
