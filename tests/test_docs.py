"""What the pages show is what runs."""

import re
import shutil

import pytest

import astmoa
from astmoa.cli.params_command import methods_table
from astmoa.methods.method import METHODS
from tests.helpers.pages import DOCS, blocks
from tests.helpers.rooms import FLOORS


@pytest.mark.parametrize(("place", "name"), [(0, "my_adapters"), (2, "my_sounds"), (3, "my_search")])
def test_the_pages_examples_are_those_that_are_tested(place, name):
    assert blocks("extending.md")[place] == (DOCS / "examples" / f"{name}.py").read_text()


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


def test_the_readmes_table_of_methods_is_the_registers():
    readme = (DOCS.parent / "README.md").read_text()
    for row in methods_table():
        line = f"| `{row['name']}` | {row['about']} | {row['dials']} | {row['params']:,} |"
        assert line in readme.splitlines()
    assert len(readme.splitlines()) <= 120


def test_the_pages_drawing_is_the_one_that_is_held():
    page = (DOCS / "architecture.md").read_text().split("```")[1]
    drawn = [re.match(r"([a-z, ]+?)(?:  |$)", line).group(1).split(", ") for line in page.strip().splitlines()[1:]]
    assert [set(rooms) for rooms in drawn] == [set(rooms) for rooms in reversed(FLOORS)]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_files_that_a_page_names_are_there(page):
    text = (DOCS.parent / page).read_text()
    for name in re.findall(
        r"(?<![\w/])(?:astmoa|tests|benchmarks|sweeps|cluster|docs)/[\w/]+\.(?:py|yaml|sh|md|sbatch)", text
    ):
        assert (DOCS.parent / name).exists(), name
