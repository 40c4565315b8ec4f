import dataclasses
import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.cli.main import _parse
from astmoa.config import (
    FAITHFUL_SWITCHES,
    DataConfig,
    MethodConfig,
    OptimConfig,
    TrialConfig,
    complete,
    read_config,
)
from astmoa.config.later import identity, later
from astmoa.errors import ConfigError
from astmoa.methods.method import names
from tests.helpers import ROOT
from tests.helpers.damage import damage, distort
from tests.helpers.refusals import refused

methods = st.one_of(
    st.builds(
        MethodConfig, name=st.just("soft_moa"), num_experts=st.integers(1, 9), slots_per_expert=st.integers(1, 9)
    ),
    st.builds(MethodConfig, name=st.just("dense_moa"), num_experts=st.integers(1, 9), bottleneck_dim=st.integers(1, 9)),
    st.builds(
        MethodConfig,
        name=st.just("bottleneck"),
        placement=st.sampled_from(["attention", "ffn", "both"]),
        layers=st.one_of(st.none(), st.sets(st.integers(0, 11), min_size=1).map(tuple)),
    ),
)
trials = st.builds(
    TrialConfig,
    method=methods,
    seed=st.integers(0, 2**31),
    optim=st.builds(
        OptimConfig, lr=st.one_of(st.none(), st.floats(1e-6, 1.0)), epochs=st.one_of(st.none(), st.integers(1, 99))
    ),
    faithful=st.sets(st.sampled_from(["positions", "padding", "weight_decay"])).map(tuple),
)


@given(trials)
def test_a_trial_survives_its_dictionary(config):
    again = TrialConfig.from_dict(config.to_dict())
    assert again == config
    assert again.hash() == config.hash()


@given(trials)
def test_completing_twice_changes_nothing(config):
    once = complete(config)
    assert complete(once) == once
    assert None not in dataclasses.asdict(once.optim).values()


def test_the_hash_tells_trials_apart_and_the_point_does_not():
    config = complete(TrialConfig())
    other_seed = dataclasses.replace(config, seed=1)
    other_fold = dataclasses.replace(config, data=DataConfig(fold=2))
    other_place = dataclasses.replace(config, data=DataConfig(root="/elsewhere"))
    assert len({config.hash(), other_seed.hash(), other_fold.hash()}) == 3
    assert config.point() == other_seed.point() == other_fold.point()
    assert other_place.hash() == config.hash()


def test_the_hash_does_not_depend_on_the_order_of_keys():
    values = complete(TrialConfig()).to_dict()
    reversed_keys = {
        key: dict(reversed(v.items())) if isinstance(v, dict) else v for key, v in reversed(values.items())
    }
    assert TrialConfig.from_dict(reversed_keys).hash() == TrialConfig.from_dict(values).hash()


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"metod": {}}, ["metod", "method"]),
        ({"method": {"num_expert": 2}}, ["method.num_expert", "method.num_experts"]),
        ({"method": {"num_experts": 0}}, ["method.num_experts=0", "at least 1"]),
        ({"method": {"num_experts": -3}}, ["method.num_experts=-3", "at least 1"]),
        ({"method": {"slots_per_expert": 0}}, ["method.slots_per_expert=0", "at least 1"]),
        ({"method": {"bottleneck_dim": 0}}, ["method.bottleneck_dim=0", "at least 1"]),
        ({"method": {"num_experts": 2.5}}, ["method.num_experts=2.5", "int"]),
        ({"method": {"num_experts": True}}, ["method.num_experts=True", "int"]),
        (
            {"method": {"name": "dense_moa", "slots_per_expert": 2}},
            ["method.slots_per_expert=2", "dense_moa has no slots"],
        ),
        (
            {"method": {"name": "bottleneck", "num_experts": 2}},
            ["method.num_experts=2", "bottleneck has no num_experts"],
        ),
        ({"method": {"num_experts": 3, "placement": "both"}}, ["method.num_experts=3", "even"]),
        ({"method": {"name": "moa"}}, ["method.name='moa'", "soft_moa"]),
        ({"method": {"layers": [0, 0]}}, ["method.layers", "once"]),
        ({"method": {"layers": []}}, ["method.layers", "at least one"]),
        ({"optim": {"lr": 0.0}}, ["optim.lr=0.0", "above 0"]),
        ({"optim": {"lr": float("nan")}}, ["optim.lr=nan", "above 0"]),
        ({"optim": {"lr": "fast"}}, ["optim.lr='fast'", "float"]),
        ({"optim": {"betas": [0.9, 1.0]}}, ["optim.betas", "1"]),
        ({"data": {"name": "esc"}}, ["data.name='esc'", "esc50"]),
        ({"data": {"fold": -1}}, ["data.fold=-1", "at least 0"]),
        ({"seed": -1}, ["seed=-1", "at least 0"]),
        ({"faithful": ["position"]}, ["faithful", "positions"]),
        ({"method": 3}, ["method", "mapping"]),
        ({"optim": {"betas": ["a", "b"]}}, ["optim.betas[0]='a'", "float"]),
        ({"faithful": [1, "padding"]}, ["faithful[0]=1", "str"]),
        ({"optim": {"lr": "5e-3"}}, ["optim.lr='5e-3'", "0.005"]),  # what YAML makes of lr: 5e-3
        ({"method": {"name": "lora", "num_virtual_tokens": 3}}, ["num_virtual_tokens=3", "lora has no"]),
        ({"method": {"name": "soft_moa", "expert": "convpass", "convolution": "2d"}}, ["convolution='2d'", "slots"]),
        ({"method": {"name": "conformer", "convolution": "2d"}}, ["convolution='2d'", "conformer has no"]),
        ({"data": {"name": "esc50", "num_labels": 12}}, ["data.num_labels=12", "esc50"]),
        ({"data": {"name": "speech_commands_v1", "num_labels": 35}}, ["data.num_labels=35", "30, 12, 10"]),
        ({"method": {"name": "oft"}}, ["bottleneck_dim=1", "at least 2"]),
        ({"optim": {"freq_mask": True}}, ["optim.freq_mask=True"]),
        ({"data": {"metric": "f1"}}, ["data.metric='f1'", "mAP"]),
        ({"data": {"seconds": 1e6}}, ["data.seconds", "at most 600"]),
        ({"method": {"num_experts": 1_000_000}}, ["method.num_experts=1000000", "at most 10,000"]),
        ({"method": {"slots_per_expert": 10_001}}, ["method.slots_per_expert=10001", "at most 10,000"]),
        ({"method": {"name": "lora", "bottleneck_dim": 10**9}}, ["method.bottleneck_dim=1000000000", "at most 10,000"]),
        ({"method": {"name": "prefix", "num_virtual_tokens": 10**9}}, ["num_virtual_tokens", "at most 10,000"]),
        ({"method": {"layers": [0, 10**400]}}, ["method.layers=(0, 1000", "layer numbers"]),
        ({"optim": {"epochs": 10**400}}, ["optim.epochs=1000", "at most 1,000,000"]),
        ({"optim": {"lr": 10**400}}, ["optim.lr=1000", "float"]),
        ({"optim": {"weight_decay": 10**5000}}, ["optim.weight_decay=<a very large int>"]),
        ({"optim": {"time_mask": 10**400}}, ["optim.time_mask=1000"]),
        ({"optim": {"betas": [10**400, 0.9]}}, ["optim.betas[0]=1000"]),
        ({"seed": 10**5000}, ["seed=<a very large int>", "at most 18446744073709551615"]),
        ({"data": {"fold": 10**400}}, ["data.fold=1000", "at most 1,000,000"]),
        ({"x" * 10**6: 1}, ["unknown key 'xxx", " ...", "faithful"]),
        ({"method": "x" * 10**6}, ["method='xxx", " ..."]),
        ({"optim": {"lr": "9" * 10**6}}, ["optim.lr='999", " ..."]),
    ],
)
def test_impossible_values_are_named_in_one_line(values, parts):
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_dict(values)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    for part in parts:
        assert part in message


def test_all_faithful_switches_at_once():
    everything = TrialConfig(faithful=("all",)).faithful
    assert set(everything) == set(FAITHFUL_SWITCHES) - {"normalized_tokens"}  # an option of the published code
    assert "normalized_tokens" in TrialConfig(faithful=("all", "normalized_tokens")).faithful


def test_every_switch_is_read_in_exactly_one_place():
    package = ROOT / "astmoa"
    # Where they are defined, and where reports speak of them, they do nothing.
    sources = {p: p.read_text() for p in package.rglob("*.py") if p.parent.name not in ("config", "report")}
    for switch in FAITHFUL_SWITCHES:
        readers = [(p.name, text.count(f'"{switch}" in')) for p, text in sources.items() if f'"{switch}" in' in text]
        assert [count for _, count in readers] == [1], (switch, readers)


def test_every_switch_is_documented():
    text = (ROOT / "docs" / "faithful.md").read_text()
    for switch in FAITHFUL_SWITCHES:
        assert f"| `{switch}` |" in text


def test_whole_numbers_and_fractions_are_one_trial():
    """A sweep's file says lr=1, its journal 1.0."""
    config = complete(TrialConfig(optim=OptimConfig(lr=1, weight_decay=0), data=DataConfig(seconds=2)))
    assert TrialConfig.from_dict(config.to_dict()).hash() == config.hash()


@pytest.mark.parametrize("name", names())
def test_a_method_on_the_command_line_is_the_method_in_a_sweep(name):
    size = {"bottleneck_dim": 4} if name == "oft" else {}
    flags = ["--method.name", name] + (["--method.bottleneck-dim", "4"] if size else [])
    told = _parse(["train", *flags]).trial
    assert complete(told) == complete(TrialConfig(method=MethodConfig(name, **size)))
    assert complete(told).method.pooling == ("cls" if name.startswith("aat") else "mean")


def test_each_papers_recipe():
    def optim(data, method):
        return complete(TrialConfig(data=DataConfig(data), method=MethodConfig(method))).optim

    soft, aat = optim("esc50", "soft_moa"), optim("esc50", "aat_ms")
    assert (soft.epochs, soft.batch_size, soft.lr, soft.weight_decay, soft.time_mask) == (50, 32, 5e-3, 0.1, 80)
    assert (aat.epochs, aat.batch_size, aat.lr, aat.weight_decay, aat.time_mask) == (25, 42, 1e-4, 0.05, 96)
    assert optim("speech_commands_v2", "soft_moa").epochs == 75
    assert optim("esc50", "prefix").lr == 1e-2
    assert optim("esc50", "full").lr == 5e-5
    assert optim("esc50", "linear").lr == 1e-3


def test_sizes_from_the_command_line_are_bounded_too():
    """They do not come through a file."""
    with pytest.raises(ConfigError, match=r"optim.lr=1000.* is not possible: give a number above 0"):
        OptimConfig(lr=10**400)
    with pytest.raises(ConfigError, match=r"optim.freq_mask=1000.* is not possible"):
        OptimConfig(freq_mask=10**400)


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(20))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("[1", "line 1: expected ',' or ']'"),
        (b"\xff", "no YAML file"),
        (BOMB, "more than 10,000 values"),
        ("a: &a [*a]", "more than 10,000 values"),
        ("a: &a {b: &b {<<: [*a, *b]}}", "more than 10,000 values"),
        ("[" * 60_000, "recursion"),
        ("#" * 70_000, "more than 65,536 bytes"),
        ("seed: !!int ''", "no YAML file"),
        ("seed: !!timestamp x", "no YAML file"),
        ("seed: 2001-99-99", "no YAML file"),
        ("seed: " + "9" * 5_000, "no YAML file"),
        ("!!python/object/apply:os.system [exit]", "could not determine a constructor"),
        ("seed: 0\0", "special characters are not allowed"),
        ("optim: {lr: fast}", "optim.lr='fast' is not possible"),
        ("3", "configuration=3 is not possible"),
    ],
)
def test_a_file_that_holds_no_trial_is_one_line(text, words, tmp_path):
    (tmp_path / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / "config.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_with_anchors_is_read(tmp_path):
    """Somebody's own; ours have none."""
    (tmp_path / "config.yaml").write_text("optim: {epochs: &n 3, batch_size: *n}\n")
    assert read_config(tmp_path / "config.yaml").optim == OptimConfig(epochs=3, batch_size=3)
    for path, words in ((tmp_path, "it is no file"), (tmp_path / "none", "does not exist")):
        with pytest.raises(ConfigError, match=words):
            read_config(path)


@pytest.mark.slow
@given(seed=st.integers(0, 10**9))
@settings(max_examples=150)
def test_damaged_files_are_a_trial_or_one_line(seed, tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("config") / "config.yaml", random.Random(seed)
    text = yaml.safe_dump(complete(TrialConfig(method=MethodConfig("soft_moa", 4, 2, layers=(0, 2)))).to_dict())
    if rng.random() < 0.5:
        path.write_bytes(damage(text.encode(), rng))
    else:
        path.write_text(yaml.safe_dump(distort(yaml.safe_load(text), rng)))
    if refused(ConfigError, read_config, path) is None:
        config = complete(read_config(path))
        assert TrialConfig.from_dict(config.to_dict()).hash() == config.hash()


@dataclasses.dataclass(frozen=True)
class Grown:
    """As MethodConfig would be with a dial more."""

    name: str = "soft_moa"
    layers: tuple[int, ...] | None = None
    gain: float = later(1.0)


@dataclasses.dataclass(frozen=True)
class Around:
    method: Grown = dataclasses.field(default_factory=Grown)
    seed: int = 0
    warm_up: int | None = later(None)


def test_a_field_that_came_later_is_no_part_of_a_hash_where_it_is_at_its_default():
    assert identity(Around()) == {"method": {"name": "soft_moa", "layers": None}, "seed": 0}
    told = Around(Grown(layers=(1, 2), gain=0.5), 3, 0)
    assert identity(told) == {
        "method": {"name": "soft_moa", "layers": (1, 2), "gain": 0.5},
        "seed": 3,
        "warm_up": 0,
    }


def test_a_dial_more_leaves_the_names_of_trials_as_they_were():
    """Of real ones: a field of MethodConfig, added here."""
    config = complete(TrialConfig())
    fields = [(f.name, f.type, f) for f in dataclasses.fields(MethodConfig)]
    wider = dataclasses.make_dataclass("Wider", [*fields, ("gain", float, later(1.0))], frozen=True)
    values = {f.name: getattr(config.method, f.name) for f in dataclasses.fields(MethodConfig)}
    same, other = (dataclasses.replace(config, method=wider(**values, **gain)) for gain in ({}, {"gain": 2.0}))
    assert (same.hash(), same.point()) == (config.hash(), config.point())
    assert other.hash() != config.hash()
    assert other.point() != config.point()
