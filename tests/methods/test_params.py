import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.backbone.frozen import Backbone
from astmoa.config import MethodConfig
from astmoa.errors import ConfigError
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.method import find_method, names
from astmoa.methods.params import LARGEST, check_size, count_params, solve_bottleneck
from astmoa.methods.shape import BackboneShape
from tests.helpers.classifiers import METHODS, identify
from tests.helpers.tiny import make_model

AST_BASE = BackboneShape()
MIXTURES = tuple(name for name in names() if find_method(name).is_mixture)


@pytest.mark.parametrize(
    ("method", "paper"),
    [
        (MethodConfig("linear"), 0),
        (MethodConfig("bitfit"), 102_144),
        (MethodConfig("prompt_deep", num_virtual_tokens=25), 230_400),
        (MethodConfig("prefix", num_virtual_tokens=12), 221_184),
        (MethodConfig("lora", bottleneck_dim=6), 221_184),
        (MethodConfig("bottleneck", bottleneck_dim=24), 470_304),
        (MethodConfig("convpass", bottleneck_dim=24), 491_328),
        (MethodConfig("conformer", bottleneck_dim=8), 270_720),
        (MethodConfig("soft_moa", 14, 1, 1), 534_696),
        (MethodConfig("dense_moa", 14, 1, 1), 534_864),
        (MethodConfig("soft_moa", 24, 1, 1), 903_456),
        (MethodConfig("soft_moa", 2, 14, 16), 885_120),
        (MethodConfig("aat_m", bottleneck_dim=192), 3_550_464),
        (MethodConfig("aat_ms", bottleneck_dim=192), 7_100_928),
    ],
)
def test_the_papers_figures(method, paper):
    assert count_params(method, AST_BASE).paper == paper


def test_full_fine_tuning_is_about_the_papers_85_5_million():
    """It trains the positions of its clips; the paper's four data sets have 110 to 590 tokens."""
    counts = [count_params(MethodConfig("full"), BackboneShape(num_tokens=n)).paper for n in (110, 470, 590)]
    assert [round(count / 1e6, 1) for count in counts] == [85.3, 85.6, 85.7]


@pytest.mark.parametrize(("classes", "head"), [(50, 38_450), (35, 26_915), (31, 23_839), (10, 7_690)])
def test_the_papers_heads(classes, head):
    """The paper's 769 C, and the final LayerNorm: together its 9 to 40 K of the linear probe."""
    assert count_params(MethodConfig("linear"), AST_BASE, classes).head == head + 2 * 768
    assert count_params(MethodConfig("bitfit"), AST_BASE, classes).head == head  # its LayerNorm bias is BitFit's


@pytest.mark.parametrize("method", METHODS, ids=identify)
def test_counted_equals_built_for_every_method(method):
    backbone = Backbone(make_model(), "tiny")
    backbone.fit_positions(64)
    classifier = AdaptedClassifier(backbone.model, method, 4, seed=0)
    counted = count_params(method, backbone.shape, 4)
    assert classifier.param_count() == counted
    assert counted.num_trainable_params == sum(p.numel() for p in classifier.parameters() if p.requires_grad)


def test_every_method_is_in_that_list():
    assert {method.name for method in METHODS} == set(names())


placed = st.tuples(
    st.sampled_from(["bottleneck", "convpass", "conformer", "soft_moa", "dense_moa"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["attention", "ffn", "both"]),
    st.sampled_from(["parallel", "sequential"]),
    st.one_of(st.none(), st.sets(st.integers(0, 2), min_size=1).map(tuple)),
    st.sampled_from(["bottleneck", "convpass", "conformer"]),
).map(
    lambda t: MethodConfig(
        t[0],
        t[1] * (2 if t[4] == "both" else 1) if t[0] in MIXTURES else 1,
        t[2] if t[0] == "soft_moa" else 1,
        *t[3:7],
        t[7] if t[0] in MIXTURES else "bottleneck",
    )
)


@settings(max_examples=60)
@given(placed, st.integers(2, 6))
def test_counted_equals_built(method, num_classes):
    backbone = Backbone(make_model(), "tiny")
    classifier = AdaptedClassifier(backbone.model, method, num_classes, seed=0)
    assert classifier.param_count() == count_params(method, backbone.shape, num_classes)


experts = st.sampled_from(["bottleneck", "convpass", "conformer"])


@given(st.integers(1, 30), st.integers(1, 20), st.integers(24, 64), st.integers(1, 4), st.integers(0, 400_000), experts)
def test_the_solver_comes_nearest_from_below(n, p, hidden_size, num_layers, budget, expert):
    method, shape = MethodConfig("soft_moa", n, p, expert=expert), BackboneShape(hidden_size, num_layers)

    def count(r):
        return count_params(dataclasses.replace(method, bottleneck_dim=r), shape).paper

    if count(1) > budget:
        with pytest.raises(ConfigError, match="no bottleneck fits"):
            solve_bottleneck(budget, method, shape)
    else:
        r = solve_bottleneck(budget, method, shape).bottleneck_dim
        assert count(r) <= budget < count(r + 1)


def test_a_layer_that_is_not_there():
    with pytest.raises(ConfigError, match=r"layers=\[12\].*0 to 11"):
        count_params(MethodConfig("bottleneck", layers=(12,)), AST_BASE)


def test_a_method_without_a_bottleneck_has_none_to_solve():
    with pytest.raises(ConfigError, match="bitfit"):
        solve_bottleneck(10**6, MethodConfig("bitfit"), AST_BASE)


@pytest.mark.parametrize(
    "method", [MethodConfig("full"), MethodConfig("partial"), MethodConfig("bitfit")], ids=identify
)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_backbone_without_biases_in_its_attention(method, pooling):
    backbone = Backbone(make_model(qkv_bias=False), "tiny")
    method = dataclasses.replace(method, pooling=pooling)
    classifier = AdaptedClassifier(backbone.model, method, 4, seed=0)
    assert classifier.param_count() == count_params(method, backbone.shape, 4)


def test_blocks_that_do_not_divide_the_width_are_not_counted():
    with pytest.raises(ConfigError, match="blocks must divide the width 768"):
        count_params(MethodConfig("oft", bottleneck_dim=5), AST_BASE)


def test_what_is_too_large_is_refused_before_it_is_built():
    """Full fine-tuning and the widest of the papers' adapters are far below."""
    for method in (MethodConfig("full"), MethodConfig("aat_ms", bottleneck_dim=192)):
        assert check_size(method, AST_BASE, 10) == count_params(method, AST_BASE, 10)
        assert 10 * check_size(method, AST_BASE).num_trainable_params < LARGEST
    with pytest.raises(ConfigError, match="has 91,227,481,824 trainable parameters: at most 1,000,000,000 are"):
        check_size(MethodConfig("soft_moa", 10_000, 10_000), BackboneShape(hidden_size=76))


def test_a_budget_above_the_widest_bottleneck_says_so():
    with pytest.raises(ConfigError, match=r"the budget 1,000,000,000 is above what the widest .* r=10,000; lower it"):
        solve_bottleneck(10**9, MethodConfig("bottleneck"), AST_BASE)
    assert solve_bottleneck(10**8, MethodConfig("bottleneck"), AST_BASE).bottleneck_dim == 5420
