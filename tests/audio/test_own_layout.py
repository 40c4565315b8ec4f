"""Layouts of data that a user brings: a function from a folder to sounds."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import astmoa
from astmoa.audio.datasets import open_data
from astmoa.audio.layout import LAYOUTS
from astmoa.audio.own_sounds import Sound, listing_of
from astmoa.config import DataConfig, TrialConfig
from astmoa.errors import AstmoaError, ConfigError, DataError
from tests.helpers import ROOT
from tests.helpers.refusals import refused
from tests.helpers.runs import write_drums

NAME = "my_sounds.py:drums"
EXAMPLE = ROOT / "docs" / "examples" / "my_sounds.py"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the example and recordings for it, and the register as it was afterwards."""
    monkeypatch.setattr(LAYOUTS, "_known", dict(LAYOUTS._known))
    monkeypatch.setattr(LAYOUTS, "_sources", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_sounds.py").write_text(EXAMPLE.read_text())
    write_drums(tmp_path / "recordings", 2)
    return tmp_path


def own(here, body, name="mine"):
    (here / "mine.py").write_text(f"import astmoa\nfrom pathlib import Path\ndef {name}(root):\n{body}\n")
    return open_data(DataConfig(f"mine.py:{name}", str(here / "recordings")))


def test_the_example_is_a_data_set_like_any_other(here):
    data = open_data(DataConfig(NAME, "recordings"))
    assert (data.name, data.labels, data.folds) == ("recordings", ("kick", "snare"), (1, 2, 3))
    assert {clip.group for clip in data.clips} == {"anna", "berit", "cornelius"}
    assert data.seconds == 0.5
    assert data.load(0).shape == (8000,)
    assert [len(side) for side in (data.splits(2).train, data.splits(2).val, data.splits(2).test)] == [4, 4, 4]


def test_its_source_is_part_of_the_trial(here):
    config = TrialConfig(data=DataConfig(NAME, "recordings"))
    assert TrialConfig.from_dict(config.to_dict()) == config
    (here / "my_sounds.py").write_text(EXAMPLE.read_text().replace("% 3", "% 4"))
    other = TrialConfig(data=DataConfig(NAME, "recordings"))
    assert other.hash() != config.hash()
    with pytest.raises(ConfigError, match="its source is another one"):
        DataConfig(NAME, code=config.data.code)


def test_another_process_needs_the_source_alone(here):
    config = TrialConfig(data=DataConfig(NAME, "recordings"))
    (here / "my_sounds.py").unlink()
    code = (
        "import json, sys\nfrom astmoa.config import TrialConfig\nfrom astmoa.config.own_code import receive\n"
        "told = json.load(sys.stdin)\nreceive(told['code'])\nprint(TrialConfig.from_dict(told['config']).hash())"
    )
    told = json.dumps({"code": {"layouts": LAYOUTS.sources()}, "config": config.to_dict()})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == config.hash()


def test_what_a_file_names_is_not_run(here):
    """Its trial is read all the same where its method is the package's: it needs the layout to train, not to
    predict."""
    values = TrialConfig(data=DataConfig(NAME, "recordings")).to_dict()
    LAYOUTS._known.pop(NAME)
    LAYOUTS._sources.clear()
    (here / "my_sounds.py").write_text("open('ran', 'w')")
    config = TrialConfig.from_dict(values)
    with pytest.raises(ConfigError, match="is code from outside, which is not run because a file names it"):
        open_data(config.data)
    del values["data"]["code"]
    with pytest.raises(ConfigError, match="is code from outside"):
        TrialConfig.from_dict(values)
    assert not (here / "ran").exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    return []", "no sounds were named"),
        ("    return 3", "failed in .*: TypeError, line"),
        ("    yield 3", "clip 1: 3 is no astmoa.Sound"),
        ("    raise SystemExit(2)", "failed in .*: SystemExit, line 4: 2"),
        ("    yield astmoa.Sound('gone.wav', 'a', 'train')", "lists a clip that does not exist"),
        ("    yield astmoa.Sound(root / 'kick-anna-0.wav', 'a')", "give every sound a split, or every one a fold"),
        ("    yield astmoa.Sound(root / 'kick-anna-0.wav', 'a', 'train', 1)", "a fold, not both"),
        ("    yield astmoa.Sound(root / 'kick-anna-0.wav', 'a', 'tset')", "split 'tset' of .* is unknown"),
        ("    yield astmoa.Sound(root / 'kick-anna-0.wav', ' ', 'train')", "give both"),
        ("    yield astmoa.Sound(root / 'kick-anna-0.wav', 3, 'train')", "give both"),
        ("    yield astmoa.Sound(None, 'a', 'train')", "give both"),
        ("    yield astmoa.Sound(root / 'kick-anna-0.wav', 'a', fold='one')", "no whole number of at least 0"),
        ("    yield astmoa.Sound(root / 'kick-anna-0.wav', 'a', fold=1, group=7)", "group 7 is no text"),
        (
            "    yield astmoa.Sound(root / 'kick-anna-0.wav', 'a', fold=1, span=(2, 1))",
            "give \\(start, end\\) in seconds",
        ),
        (
            "    for name in ('kick-anna-0.wav', './kick-anna-0.wav'):\n        yield astmoa.Sound(name, 'a', 'train')",
            "which are one file",
        ),
        (
            "    for n, split in enumerate(('train', 'test')):\n"
            "        yield astmoa.Sound(f'kick-anna-{n}.wav', 'a', split, group='anna')",
            "group 'anna' is in .*: keep it on one side",
        ),
    ],
)
def test_what_is_wrong_is_one_line(here, body, words):
    with pytest.raises(AstmoaError, match=words) as error:
        own(here, body)
    assert "\n" not in str(error.value)


def test_several_labels_per_clip_are_measured_by_map(here):
    data = own(
        here,
        "    for n, path in enumerate(sorted(root.glob('*.wav'))):\n"
        "        yield astmoa.Sound(path, {'loud'} if n % 2 else {'loud', path.stem.split('-')[0]}, fold=n % 3)",
    )
    assert data.metric == "mAP"
    assert data.labels == ("kick", "loud", "snare")
    assert data.targets.sum(axis=0).tolist() == [3, 12, 3]


def test_parts_of_one_file(here):
    data = own(
        here,
        "    for n in range(8):\n"
        "        yield astmoa.Sound(f'kick-anna-{n % 2}.wav', str(n // 2 % 2), ['train', 'test'][n % 2], "
        "span=(0.05 * (n // 2), 0.3))",
    )
    assert data.load(0).shape == (4800,)
    assert data.load(4).shape == (3200,)
    with pytest.raises(DataError, match=r"kick-anna-0.wav 0 to 0.3 s and kick-anna-0.wav 0.2 to 0.4 s, which are one"):
        own(
            here,
            "    for split, span in (('train', (0, 0.3)), ('test', (0.2, 0.4))):\n"
            "        yield astmoa.Sound('kick-anna-0.wav', 'a', split, span=span)",
        )


def test_a_class_says_more(here):
    (here / "mine.py").write_text(
        "import astmoa\nclass Mine(astmoa.Layout):\n    'drums'\n    recipe = {'epochs': 3, 'batch_size': 2, "
        "'freq_mask': 0, 'time_mask': 0}\n    def read(self, root, choice):\n"
        "        raise astmoa.DataError('read me')\n"
        "class Silent(astmoa.Layout):\n    pass\n"
    )
    config = TrialConfig(data=DataConfig("mine.py:Mine", "recordings"))
    assert astmoa.config.complete(config).optim.epochs == 3
    with pytest.raises(DataError, match="read me"):
        open_data(config.data)
    for said, words in (
        ("3", "failed in recordings: TypeError, line"),
        ("Listing('x', ('a',), (), 1.0)", "labels are no tuple of at least two"),
        ("Listing('x', ('a', 'b'), (), 1.0)", "clips are no tuple of Clip"),
        ("Listing('x', ('a', 'b'), (Clip('c', 5, None, 1),), 1.0)", "the label of 'c' is no place"),
        ("Listing('x', ('a', 'b'), (Clip('c', 0, None, 1),), None)", "'c' is no file, and the clips' seconds are not"),
        ("Listing('x', ('a', 'b'), (Clip('c', 0, None),), 1.0)", "'c' has neither a split nor a fold"),
        ("Listing('x', ('a', 'b'), (Clip('c', 0, None, 1),), -1)", "the seconds are no number above 0"),
        ("[astmoa.Sound(f'kick-anna-{n}.wav', 'ab'[n], fold=n) for n in range(2)]", "has 2 folds: give at least 3"),
    ):
        (here / "mine.py").write_text(
            "import astmoa\nfrom astmoa.audio.listing import Listing\nfrom astmoa.audio.splits import Clip\n"
            f"class Mine(astmoa.Layout):\n    def read(self, root, choice):\n        return {said}\n"
            "class Silent(astmoa.Layout):\n    pass\n"
        )
        with pytest.raises(AstmoaError, match=words) as error:
            open_data(DataConfig("mine.py:Mine", "recordings"))
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="does not say read: define that in class Silent"):
        DataConfig("mine.py:Silent")
    with pytest.raises(ConfigError, match="is no layout: it has Mine, Silent"):
        DataConfig("mine.py:Nope")


VALUES = st.one_of(st.none(), st.text(max_size=4), st.integers(-2, 4), st.lists(st.text(max_size=2), max_size=2))


@given(rows=st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES), max_size=4))
def test_whatever_is_named_is_a_listing_or_one_line(rows, tmp_path_factory):
    place = tmp_path_factory.getbasetemp()
    sounds = [Sound(*row) for row in rows]
    refused(AstmoaError, lambda: listing_of(place, sounds, lambda index: f"clip {index + 1}", True))
