import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.config import MethodConfig
from astmoa.errors import ConfigError
from astmoa.petl.graft import AdaptedClassifier
from astmoa.petl.params import count_params, solve_bottleneck
from tests.conftest import make_model


@pytest.mark.parametrize(
    ("method", "paper"),
    [
        (MethodConfig("bottleneck", bottleneck_dim=24), 470_304),
        (MethodConfig("soft_moa", 14, 1, 1), 534_696),
        (MethodConfig("dense_moa", 14, 1, 1), 534_864),
        (MethodConfig("soft_moa", 24, 1, 1), 903_456),
        (MethodConfig("soft_moa", 2, 14, 16), 885_120),
        (MethodConfig("linear"), 0),
    ],
)
def test_the_papers_figures(method, paper):
    assert count_params(method, 768, 12).paper == paper


@pytest.mark.parametrize(("classes", "head"), [(50, 38_450), (35, 26_915), (31, 23_839), (10, 7_690)])
def test_the_papers_heads(classes, head):
    """The paper's 769 C, and the final LayerNorm, which we train and it does not list."""
    assert count_params(MethodConfig("linear"), 768, 12, classes).head == head + 2 * 768


methods = st.tuples(
    st.sampled_from(["linear", "bottleneck", "soft_moa", "dense_moa"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["attention", "ffn", "both"]),
    st.sampled_from(["parallel", "sequential"]),
    st.one_of(st.none(), st.sets(st.integers(0, 2), min_size=1).map(tuple)),
).map(
    lambda t: MethodConfig(
        t[0],
        1 if t[0] in ("linear", "bottleneck") else t[1] * (2 if t[4] == "both" else 1),
        t[2] if t[0] == "soft_moa" else 1,
        *t[3:],
    )
)


@settings(max_examples=60)
@given(methods, st.integers(2, 6))
def test_counted_equals_built(method, num_classes):
    classifier = AdaptedClassifier(make_model().requires_grad_(False), method, num_classes, seed=0)
    counted = count_params(method, 16, 3, num_classes)
    assert classifier.param_count() == counted
    assert counted.num_trainable_params == sum(p.numel() for p in classifier.parameters() if p.requires_grad)


@given(st.integers(1, 30), st.integers(1, 20), st.integers(8, 64), st.integers(1, 4), st.integers(0, 400_000))
def test_the_solver_comes_nearest_from_below(n, p, hidden_size, num_layers, budget):
    method = MethodConfig("soft_moa", n, p)

    def count(r):
        return count_params(dataclasses.replace(method, bottleneck_dim=r), hidden_size, num_layers).paper

    if count(1) > budget:
        with pytest.raises(ConfigError, match="no bottleneck fits"):
            solve_bottleneck(budget, method, hidden_size, num_layers)
    else:
        r = solve_bottleneck(budget, method, hidden_size, num_layers).bottleneck_dim
        assert count(r) <= budget < count(r + 1)


def test_a_layer_that_is_not_there():
    with pytest.raises(ConfigError, match=r"layers=\[12\].*0 to 11"):
        count_params(MethodConfig("bottleneck", layers=(12,)), 768, 12)
