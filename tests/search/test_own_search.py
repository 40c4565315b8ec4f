"""Samplers and stopping rules by a file's name."""

import pytest

from astmoa.errors import ConfigError
from astmoa.search.samplers import SAMPLERS
from astmoa.search.stopping_rules import STOPPING_RULES, make_scheduler
from tests.helpers import ROOT
from tests.helpers.synthetic import SHAPE, SPACE, run, search

EXAMPLE = ROOT / "docs" / "examples" / "my_search.py"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for register in (SAMPLERS, STOPPING_RULES):
        monkeypatch.setattr(register, "_known", dict(register._known))
        monkeypatch.setattr(register, "_sources", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_search.py").write_text(EXAMPLE.read_text())
    return tmp_path


def test_the_examples_search_and_stop():
    driven = run(2, proposer=search(sampler="my_search.py:tpe_soon"), scheduler="my_search.py:BelowTheMedian")
    stopped = driven.ledger.searched("stopped")
    assert {trial.epoch for trial in stopped} == {4}
    assert len(driven.ledger.searched("completed")) > len(stopped) / 2


def test_classes_of_optunas_are_samplers(here):
    (here / "mine.py").write_text("from optuna.samplers import TPESampler\nclass Mine(TPESampler):\n    pass\n")
    assert SAMPLERS.find("mine.py:Mine").make(3, 4) is not SAMPLERS.find("mine.py:Mine").make(3, 4)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def mine(seed):\n    return 3", "makes a int: give one of optuna.samplers"),
        (
            "mine = 3",
            "is no sampler: nothing there is one \\(def mine\\(seed\\), which returns one of optuna.samplers\\)",
        ),
        ("class mine:\n    pass", "is no sampler"),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError, line 1"),
    ],
)
def test_what_is_no_sampler_is_one_line(here, source, words):
    (here / "mine.py").write_text(source)
    with pytest.raises(ConfigError, match=words) as error:
        SAMPLERS.find("mine.py:mine").make(0, 4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class mine:\n    def report(self):\n        pass", "cannot be made with max_epochs: "),
        ("class mine:\n    pass", "is no stopping rule: nothing there is one"),
        ("def mine(max_epochs):\n    pass", "is no stopping rule"),
        ("class mine:\n    report = 3", "is no stopping rule"),
    ],
)
def test_what_is_no_rule_is_one_line(here, source, words):
    (here / "mine.py").write_text(source)
    with pytest.raises(ConfigError, match=words) as error:
        make_scheduler("mine.py:mine", 9)
    assert "\n" not in str(error.value)


def test_every_part_of_the_package_is_described():
    for register in (SAMPLERS, STOPPING_RULES):
        for name in register.names():
            assert register.find(name).about, name
            assert register.find(name).code is None
    assert SPACE.candidates(SHAPE)
