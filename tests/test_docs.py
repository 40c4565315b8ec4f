"""What the pages show is what runs."""

import re
import shutil

import pytest

import astmoa
from astmoa.methods.method import METHODS
from tests.helpers.pages import DOCS, blocks


def test_the_pages_method_is_the_one_that_is_tested():
    assert blocks("extending.md")[0] == (DOCS / "examples" / "my_adapters.py").read_text()


def test_its_use_from_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(METHODS, "_known", dict(METHODS._known))
    monkeypatch.setattr(METHODS, "_sources", {})
    monkeypatch.chdir(tmp_path)
    shutil.copy(DOCS / "examples" / "my_adapters.py", tmp_path)
    shown = {}
    exec(blocks("extending.md")[1], shown)
    assert capsys.readouterr().out == "165900\n"
    assert len(shown["space"].branch("my_adapters.py:Scaled")["scale"]) == 3


@pytest.mark.parametrize("page", ["extending.md", "python.md", "../README.md"])
def test_every_name_of_the_interface_that_a_page_uses_is_there(page):
    used = {name for block in blocks(page) for name in re.findall(r"astmoa\.([A-Za-z_]+)", block)}
    assert used
    assert used <= set(dir(astmoa))


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_what_a_page_points_to_is_there(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), target


def test_the_journals_page_names_every_type_of_event_and_every_field():
    from astmoa.records.events import TYPES

    rows = {}
    for line in (DOCS / "run_folder.md").read_text().splitlines():
        if line.startswith("| `") and line.count("|") == 4:
            name, _, fields = (cell.strip() for cell in line.strip("|").split("|"))
            rows[name.strip("`")] = set(re.findall(r"`(\w+)`", fields))
    for name, kind in TYPES.items():
        known = set(kind.__annotations__)
        assert name in rows, name
        assert rows[name] - {"sweep"} >= (known if name != "resume" else {"sweep_id"}), (name, known - rows[name])
