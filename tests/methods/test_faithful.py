"""The published code's departures that lie in the modules, each against the layer written out."""

import pytest
import torch

from astmoa.config import MethodConfig
from astmoa.methods.classifier import AdaptedClassifier
from tests.helpers.tiny import make_model


def drawn(classifier):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in classifier.trainable.items():
            if "experts" in name or "slot" in name or "router" in name:
                parameter.normal_(std=0.3, generator=generator)
    return classifier


@pytest.mark.parametrize("name", ["soft_moa", "dense_moa"])
def test_added_twice(model, name):
    """x + attention + MoA, and the same MoA output once more after the FFN."""
    layer = model.layers[1]
    attention, mlp, before, after = layer.attention, layer.mlp, layer.layernorm_before, layer.layernorm_after
    method = MethodConfig(name, 2, bottleneck_dim=3)
    drawn(AdaptedClassifier(model, method, 5, seed=0, faithful=("added_twice",)))
    x = torch.randn(2, 7, 16)
    y = layer.attention.module.module(before(x))
    hidden = x + attention(before(x))[0] + y
    torch.testing.assert_close(layer(x), hidden + mlp(after(hidden)) + y)


@pytest.mark.parametrize(
    "method",
    [
        MethodConfig("soft_moa", 2, bottleneck_dim=3, placement="ffn"),
        MethodConfig("soft_moa", 2, bottleneck_dim=3, placement="both"),
        MethodConfig("bottleneck", bottleneck_dim=3),
    ],
    ids=lambda m: f"{m.name}-{m.placement}",
)
def test_added_twice_leaves_ffn_houlsby_and_single_alone(model, method):
    outputs = []
    for faithful in ((), ("added_twice",)):
        classifier = drawn(AdaptedClassifier(model, method, 5, seed=0, faithful=faithful))
        outputs.append(model(torch.ones(1, 64, 128)).last_hidden_state)
        classifier.remove()
    assert torch.equal(*outputs)


def test_the_single_adapter_beside_the_ffn(model):
    def classifier_of(method, *faithful):
        classifier = drawn(AdaptedClassifier(model, method, 5, seed=0, faithful=faithful))
        out = model(torch.ones(1, 64, 128)).last_hidden_state
        classifier.remove()
        return out

    at_attention, at_ffn = (MethodConfig("bottleneck", bottleneck_dim=3, placement=p) for p in ("attention", "ffn"))
    assert torch.equal(classifier_of(at_attention, "single_at_ffn"), classifier_of(at_ffn))
    assert not torch.equal(classifier_of(at_attention), classifier_of(at_ffn))


def test_the_published_initialisation_draws_both_projections(model):
    method = MethodConfig("dense_moa", 4, bottleneck_dim=3)
    frozen = model(torch.ones(1, 64, 128)).last_hidden_state
    classifier = AdaptedClassifier(model, method, 5, seed=0, faithful=("initialisation",))
    weights = {n: p for n, p in classifier.trainable.items() if n.endswith("_weight") and "norm" not in n}
    assert {n.rsplit(".", 1)[-1] for n in weights} == {"down_weight", "up_weight", "router_weight"}
    stds = {name.rsplit(".", 1)[-1]: p.std().item() for name, p in weights.items()}
    assert all(0.01 < std < 0.03 for std in stds.values()), stds
    assert not torch.equal(model(torch.ones(1, 64, 128)).last_hidden_state, frozen)


def test_a_dropped_convolution_stays_as_it_was_and_is_counted(model):
    method = MethodConfig("convpass", bottleneck_dim=3)
    classifier = AdaptedClassifier(model, method, 5, seed=0, faithful=("dropped_convolution",)).train()
    kept = AdaptedClassifier(make_model().requires_grad_(False), method, 5, seed=0)
    assert classifier.param_count() == kept.param_count()
    start = classifier.trainable["layers.0.attention.experts.conv_weight"].detach().clone()
    optimizer = torch.optim.AdamW(classifier.trainable.values(), lr=0.1)
    for _ in range(2):
        classifier(torch.ones(1, 64, 128)).sum().backward()
        optimizer.step()
    assert torch.equal(classifier.trainable["layers.0.attention.experts.conv_weight"], start)
