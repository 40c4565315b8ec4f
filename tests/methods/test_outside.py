"""Methods that somebody else wrote: loaded where a user names them, and nowhere else."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest

from astmoa import BackboneShape, MethodConfig, Point, Space, TrialConfig, count_params
from astmoa.cli.main import main
from astmoa.errors import AstmoaError, ConfigError
from astmoa.methods.method import METHODS, names
from astmoa.study.also import parse, with_methods
from astmoa.study.method_check import check_method
from tests.helpers import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "my_adapters.py"
NAME = "my_adapters.py:Scaled"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the example in it, and the register as it was afterwards."""
    monkeypatch.setattr(METHODS, "_known", dict(METHODS._known))
    monkeypatch.setattr(METHODS, "_sources", {})
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path


def changed(here, old, new):
    text = EXAMPLE.read_text()
    assert old in text
    (here / "my_adapters.py").write_text(text.replace(old, new))


def test_it_is_used_like_one_of_the_packages(here):
    method = MethodConfig(NAME, bottleneck_dim=8, own={"scale": 10})
    assert (method.scale, method.own, len(method.code)) == (10.0, {"scale": 10.0}, 12)
    assert count_params(method, BackboneShape()).paper == 12 * (2 * 768 * 8 + 1 + 2 * 768)
    trial = TrialConfig(method=method)
    assert TrialConfig.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial
    other = TrialConfig(method=dataclasses.replace(method, own={"scale": 0.1}))
    assert len({trial.hash(), other.hash(), TrialConfig().hash()}) == 3
    assert NAME not in names()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"own": {"scle": 1}}, "method.own.scle=1 is not possible: my_adapters.py:Scaled has no scle; its own dials"),
        ({"own": {"scale": 3.0}}, "method.own.scale=3.0 is not possible: one of 0.1, 1.0, 10.0"),
        ({"own": {"scale": "x"}}, "method.own.scale='x' is not possible: give a number"),
        ({"own": {"scale": float("nan")}}, "give a finite number"),
        ({"own": {"scale": True}}, "give a number"),
        ({"num_experts": 3}, "method.num_experts=3 is not possible: my_adapters.py:Scaled has no num_experts"),
    ],
)
def test_wrong_dials_are_one_line(here, fields, words):
    with pytest.raises(ConfigError) as error:
        MethodConfig(NAME, **fields)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope", "one of linear, full, partial"),
        ("nope.py:Scaled", "nope.py cannot be read (No such file or directory): give a file"),
        ("my_adapters.py:Nope", "is no method: it has Scaled"),
        ("my_adapters.py:ScaledBottleneck", "is no method: it has Scaled"),
        ("json:dumps", "is no method: nothing there is one"),
        ("no_such_module:X", "cannot be loaded: ModuleNotFoundError"),
        (":", "cannot be loaded"),
        ("my_adapters.py:", "is no method"),
        (".:X", "cannot be loaded"),
    ],
)
def test_what_is_no_method_is_one_line(here, name, words):
    with pytest.raises(ConfigError) as error:
        MethodConfig(name)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit, line 1: 3"),
        ("x = 1\nx.y", "cannot be loaded: AttributeError, line 2"),
        ("def", "cannot be loaded: SyntaxError, line 1"),
        ("import astmoa\nclass Mine(astmoa.Adapter):\n    expert = astmoa.Dial(1)", "expert is a dial that methods"),
        ("import astmoa\nclass Mine(astmoa.Adapter):\n    count = astmoa.Dial(1)", "a dial cannot be called count"),
        ("import astmoa\nclass Mine(astmoa.Adapter):\n    kind = astmoa.Dial(1)", "a dial cannot be called kind"),
        ("import astmoa\nclass Mine(astmoa.Adapter):\n    pass", "does not say module, module_params: define"),
        ("\0", "cannot be loaded"),
        ("#" * (1 << 20) + "\n", "is larger than 1 MiB"),
    ],
)
def test_whatever_a_file_raises_is_one_line(here, source, words):
    (here / "mine.py").write_text(source)
    with pytest.raises(ConfigError) as error:
        MethodConfig("mine.py:Mine")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_has_changed_is_another_trial(here):
    before = TrialConfig(method=MethodConfig(NAME))
    changed(here, "self.scale * ", "2 * self.scale * ")
    after = TrialConfig(method=MethodConfig(NAME))
    assert after.hash() != before.hash()
    with pytest.raises(ConfigError, match="its source is another one"):
        TrialConfig.from_dict(before.to_dict())


@pytest.fixture
def installed(here, monkeypatch):
    """A package with a method of its own, which imports a neighbour, and its entry point."""
    package = here / "site" / "scaling"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "sizes.py").write_text("SCALES = (0.1, 1.0, 10.0)\n")
    text = (
        EXAMPLE.read_text()
        .replace("(0.1, 1.0, 10.0)", "SCALES")
        .replace("import astmoa\n", "import astmoa\n\nfrom .sizes import SCALES\n")
    )
    (package / "adapters.py").write_text(text)
    facts = here / "site" / "scaling-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: scaling\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[astmoa.methods]\nscaled = scaling.adapters:Scaled\n")
    monkeypatch.syspath_prepend(str(here / "site"))
    yield here / "site"
    for name in [name for name in sys.modules if name.startswith("scaling")]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scaled", "scaling.adapters:Scaled"])
def test_an_installed_packages_method_has_a_name(installed, name):
    method = MethodConfig(name, bottleneck_dim=2, own={"scale": 10.0})
    assert method.scale == 10.0
    trial = TrialConfig(method=method)
    assert TrialConfig.from_dict(trial.to_dict()) == trial
    code = (
        "import json, sys\nfrom astmoa.config import TrialConfig\nfrom astmoa.methods.method import METHODS\n"
        "told = json.load(sys.stdin)\nMETHODS.receive_all(told['sources'])\n"
        "print(TrialConfig.from_dict(told['config']).hash())"
    )
    told = json.dumps({"sources": METHODS.sources(), "config": trial.to_dict()})
    command = [sys.executable, "-c", code]
    there = {**os.environ, "PYTHONPATH": f"{ROOT}:{installed}"}
    done = subprocess.run(command, input=told, capture_output=True, text=True, env=there)
    assert done.stdout.strip() == trial.hash(), done.stderr
    done = subprocess.run(command, input=told, capture_output=True, text=True)
    assert "cannot be loaded: ImportError" in done.stderr.splitlines()[-1], "its neighbour is not there"


def test_the_source_of_an_entry_point_alone_is_enough_where_it_stands_alone(here):
    kind = METHODS.receive("scaled", EXAMPLE.read_text())
    assert (kind.name, METHODS.known("scaled")) == ("scaled", kind)


def test_what_a_file_names_is_not_run(here):
    """A journal's or a bundle's configuration may be anybody's."""
    (here / "mine.py").write_text("open('ran', 'w')")
    values = TrialConfig().to_dict()
    for name in ("mine.py:X", f"{here}/mine.py:X", "json:X"):
        values["method"]["name"] = name
        with pytest.raises(ConfigError, match="is code from outside, which is not run because a file names it"):
            TrialConfig.from_dict(values)
        with pytest.raises(ConfigError, match="code from outside"):
            Space.from_json([{"name": name}])
    assert not (here / "ran").exists()


@pytest.mark.slow
def test_another_process_needs_the_source_alone(here):
    trial = TrialConfig(method=MethodConfig(NAME, own={"scale": 0.1}))
    (here / "my_adapters.py").unlink()
    code = (
        "import json, sys\nfrom astmoa.config import TrialConfig\nfrom astmoa.methods.method import METHODS\n"
        "told = json.load(sys.stdin)\nMETHODS.receive_all(told['sources'])\n"
        "print(TrialConfig.from_dict(told['config']).hash())"
    )
    told = json.dumps({"sources": METHODS.sources(), "config": trial.to_dict()})
    done = subprocess.run([sys.executable, "-c", code], input=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == trial.hash()


def test_in_a_space_its_own_dials_are_chosen_from(here):
    branch = {"name": NAME, "bottleneck_dim": [1, 4], "scale": [0.1, 1, 10], "lr": [1e-3]}
    space = Space([{"name": "linear"}, branch])
    candidates = space.candidates(BackboneShape())
    assert len(candidates) == 7
    methods = [space.method(candidate, BackboneShape()) for candidate in candidates]
    assert {method.own.get("scale") for method in methods} == {None, 0.1, 1.0, 10.0}
    assert Space.from_json(json.loads(json.dumps(space.to_json()))) == space
    assert len({space.label(candidate) for candidate in candidates}) == 7
    for wrong in ({"scale": [3]}, {"scale": [10, 1]}, {"scale": []}, {"scale": 1.0}, {"num_experts": [2]}):
        with pytest.raises(ConfigError, match=r"scale|num_experts"):
            Space([branch | wrong])


def test_a_file_that_is_edited_while_a_search_runs_changes_nothing(here):
    space = Space([{"name": NAME, "bottleneck_dim": [1, 4]}])
    candidates = space.candidates(BackboneShape())
    before = [space.method(candidate, BackboneShape()) for candidate in candidates]
    labels = [space.label(candidate) for candidate in candidates]
    for edited in ("2 * self.scale * ", None):
        (here / "my_adapters.py").unlink()
        if edited:
            changed(here, "self.scale * ", edited)
        assert [space.method(candidate, BackboneShape()) for candidate in candidates] == before
        assert [space.label(candidate) for candidate in candidates] == labels
        assert space.feasible(BackboneShape())


def test_every_sampler_draws_and_encodes_its_own_dials(here):
    from astmoa.search.encoding import Encoding
    from astmoa.search.pool import Pool

    space = Space([{"name": "linear"}, {"name": NAME, "bottleneck_dim": [1, 4], "scale": [0.1, 1.0, 10.0]}])
    encoding, pool = Encoding(space), Pool(space, BackboneShape(), None)
    for candidate in space.candidates(BackboneShape()):
        values = encoding.encode(candidate)
        if candidate["name"] == NAME:
            assert values["scale" if "scale" in values else f"{NAME}.scale"] == [0.1, 1.0, 10.0].index(
                candidate["scale"]
            )
        assert pool.code(candidate) is not None


def test_beside_a_studys_points_and_in_its_space(here):
    points = with_methods([Point("linear", MethodConfig("linear"))], [f"{NAME},bottleneck_dim=8,scale=10", NAME])
    assert [point.label for point in points] == ["linear", "Scaled r8 scale 10.0", "Scaled"]
    assert (points[1].method.bottleneck_dim, points[1].method.scale) == (8, 10.0)
    space = Space([{"name": "bottleneck", "bottleneck_dim": [1, 4], "layers": ["all", "last_half"], "lr": [1e-3]}])
    wider = with_methods(space, [f"{NAME},bottleneck_dim=2"])
    assert wider.branch(NAME) == {
        "bottleneck_dim": (2,),
        "layers": ("all", "last_half"),
        "scale": (0.1, 1.0, 10.0),
        "lr": (1e-3,),
    }
    method, given = parse(f"{NAME},layers=0+2,placement=both,pooling=cls")
    assert (method.layers, method.placement, method.pooling) == ((0, 2), "both", "cls")
    assert given == ("layers", "placement", "pooling")


@pytest.mark.parametrize(
    "text", [f"{NAME},x=1", f"{NAME},scale", f"{NAME},bottleneck_dim=x", f"{NAME},scale=2", "", ","]
)
def test_what_cannot_be_beside_a_study_is_one_line(here, text):
    with pytest.raises(AstmoaError) as error:
        parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_what_holds_for_all_methods_holds(name):
    assert [finding for finding in check_method(name) if finding.wrong] == []


def test_the_example_holds_what_all_methods_hold(here, capsys):
    main(["method", "check", NAME])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("ok  ") for line in lines)
    assert len(EXAMPLE.read_text().splitlines()) <= 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "+ 1, 0",
            "+ 2, 0",
            "counted is what is built: counted ",
        ),
        ("torch.zeros(r, d)", "torch.ones(r, d)", "starts as the frozen one: the adapted model's output differs"),
        ("self.scale * (", "1.0 * (", "attention.scale did not move in two steps"),
        (", generator=generator", "", "the same seed gives the same start: layers.0.attention.down"),
        ("@ self.up)", "@ self.up)[:, :3]", "it can be inserted: RuntimeError"),
        ("        super().__init__()\n", "", "it can be inserted: AttributeError"),
        ("return self.scale", "return torch.rand(()) * self.scale", "what is saved gives the same logits again: other"),
    ],
)
def test_what_does_not_hold_is_named(here, capsys, old, new, words):
    changed(here, old, new)
    with pytest.raises(SystemExit) as end:
        main(["method", "check", NAME])
    out = capsys.readouterr().out
    assert end.value.code == 1
    assert words in out


def test_a_method_that_is_never_possible_is_no_space(here):
    (here / "mine.py").write_text(
        "import astmoa\nclass Never(astmoa.Method):\n    def count(self, dials, shape):\n"
        "        raise astmoa.ConfigError('never possible')\n    def insert(self, *given):\n        pass\n"
    )
    with pytest.raises(ConfigError, match="none of mine\\.py:Never is possible in this backbone: never possible"):
        Space([{"name": "mine.py:Never"}]).feasible(BackboneShape())
