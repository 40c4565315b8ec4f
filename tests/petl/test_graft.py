import copy

import pytest
import torch

from astmoa.config import MethodConfig
from astmoa.petl.graft import AdaptedClassifier
from tests.conftest import make_model

METHODS = [
    MethodConfig("linear"),
    MethodConfig("bottleneck", bottleneck_dim=4),
    MethodConfig("bottleneck", bottleneck_dim=4, placement="ffn", composition="sequential"),
    MethodConfig("soft_moa", 4, 2, 3),
    MethodConfig("soft_moa", 4, 2, 3, placement="both", layers=(1, 2)),
    MethodConfig("dense_moa", 4, 1, 3, placement="ffn"),
    MethodConfig("dense_moa", 4, 1, 3, placement="both", composition="sequential"),
]


@pytest.fixture
def model():
    return make_model().eval().requires_grad_(False)


def input_values(batch=2, frames=64):
    return torch.randn(batch, frames, 128, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_adapted_model_starts_as_the_frozen_one(model, method):
    frozen = model(input_values()).last_hidden_state
    classifier = AdaptedClassifier(model, method, 5, seed=0)
    assert torch.equal(classifier.model(input_values()).last_hidden_state, frozen)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_two_steps_move_every_trainable_tensor_and_no_frozen_one(model, method):
    before = copy.deepcopy(model.state_dict())
    classifier = AdaptedClassifier(model, method, 5, seed=0)
    start = {name: p.detach().clone() for name, p in classifier.trainable.items()}
    optimizer = torch.optim.AdamW(classifier.trainable.values(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(classifier(input_values()), torch.tensor([0, 1])).backward()
        optimizer.step()
    assert [name for name, p in classifier.trainable.items() if torch.equal(p, start[name])] == []
    classifier.remove()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert [key for key in before if not torch.equal(before[key], after[key])] == []
    assert not any(p.requires_grad for p in model.parameters())


def test_a_parallel_module_reads_the_layernorm_and_a_sequential_one_the_sublayer(model):
    """Against the layer written out by hand."""
    x = torch.randn(2, 7, 16)
    layer = model.layers[1]
    normed = layer.layernorm_before(x)
    attended = layer.attention(normed)[0]
    for composition in ("parallel", "sequential"):
        method = MethodConfig("bottleneck", bottleneck_dim=4, composition=composition, layers=(1,))
        classifier = AdaptedClassifier(model, method, 5, seed=0)
        module = model.layers[1].attention.module
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_()
        hidden = x + attended + module(normed if composition == "parallel" else attended)
        expected = hidden + layer.mlp(layer.layernorm_after(hidden))
        torch.testing.assert_close(model.layers[1](x), expected)
        classifier.remove()


def test_backward_stops_at_the_first_grafted_layer(model):
    classifier = AdaptedClassifier(model, MethodConfig("soft_moa", 2, 1, 1, layers=(2,)), 5, seed=0)
    reached = []
    for index, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda _m, _i, out, index=index: reached.append((index, out.requires_grad)))
    classifier(input_values())
    assert reached == [(0, False), (1, False), (2, True)]


def test_the_seed_decides_the_initialisation(model):
    def values(seed):
        classifier = AdaptedClassifier(model, METHODS[3], 5, seed)
        classifier.remove()
        return torch.cat([p.detach().flatten() for p in classifier.trainable.values()])

    torch.manual_seed(1)
    first = values(3)
    torch.manual_seed(2)  # the global generator plays no part
    assert torch.equal(first, values(3))
    assert not torch.equal(first, values(4))


def test_weight_decay_leaves_biases_norms_and_slots_alone(model):
    classifier = AdaptedClassifier(model, METHODS[4], 5, seed=0)
    kept = {name.rsplit(".", 1)[-1] for name in classifier.trainable if classifier.decayed(name)}
    assert kept == {"down_weight", "up_weight", "weight"}
    assert [name for name in classifier.trainable if classifier.decayed(name) and "norm" in name] == []
    assert classifier.decayed("head.weight")


def test_a_graft_that_fails_half_way_leaves_the_backbone_alone(model, monkeypatch):
    import astmoa.petl.graft as graft

    made, make = [], graft.make_module

    def fail_at_the_third(*args):
        made.append(args)
        if len(made) == 3:
            raise torch.OutOfMemoryError("no memory left")
        return make(*args)

    before = [id(layer.attention) for layer in model.layers]
    monkeypatch.setattr(graft, "make_module", fail_at_the_third)
    with pytest.raises(torch.OutOfMemoryError):
        AdaptedClassifier(model, MethodConfig("bottleneck"), 5, seed=0)
    assert [id(layer.attention) for layer in model.layers] == before
