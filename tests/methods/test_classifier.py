import copy

import pytest
import torch

from astmoa.config import MethodConfig
from astmoa.methods.adapters import Bottleneck
from astmoa.methods.classifier import AdaptedClassifier
from tests.helpers.classifiers import METHODS, identify

VIRTUAL_TOKENS = ("prompt_shallow", "prompt_deep", "prefix")


def input_values(batch=2, frames=64):
    return torch.randn(batch, frames, 128, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("method", METHODS, ids=identify)
def test_the_adapted_model_starts_as_the_frozen_one(model, method):
    frozen = model(input_values()).last_hidden_state
    classifier = AdaptedClassifier(model, method, 5, seed=0)
    adapted = classifier.model(input_values()).last_hidden_state
    if method.name in VIRTUAL_TOKENS:  # drawn tokens are seen by all others: no such start
        assert not torch.equal(adapted, frozen)
    else:
        assert torch.equal(adapted, frozen)


@pytest.mark.parametrize("method", METHODS, ids=identify)
def test_two_steps_move_every_trainable_tensor_and_no_frozen_one(model, method):
    before = copy.deepcopy(model.state_dict())
    objects = {name: id(m) for name, m in model.named_modules()}
    classifier = AdaptedClassifier(model, method, 5, seed=0).train()
    start = {name: p.detach().clone() for name, p in classifier.trainable.items()}
    optimizer = torch.optim.AdamW(classifier.trainable.values(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(classifier(input_values(4)), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    still = [name for name, p in classifier.trainable.items() if torch.equal(p, start[name])]
    # Two have no say: batch normalisation takes the bias before it out, and a softmax one that all keys share.
    idle = ("k_proj.bias", "experts.conv_bias") if method.expert_kind == "conformer" else ("k_proj.bias",)
    assert [name for name in still if not name.endswith(idle)] == []
    classifier.remove()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert [key for key in before if not torch.equal(before[key], after[key])] == []
    assert not any(p.requires_grad for p in model.parameters())
    assert {name: id(m) for name, m in model.named_modules()} == objects
    assert not hasattr(model, "peft_config")


@pytest.mark.parametrize("method", METHODS, ids=identify)
def test_what_is_saved_gives_the_same_logits_bitwise_in_another_model(model, method):
    """Running statistics and drawn projections travel with the trained parameters."""
    classifier = AdaptedClassifier(model, method, 5, seed=0).train()
    optimizer = torch.optim.AdamW(classifier.trainable.values(), lr=1e-2)
    for _ in range(2):
        torch.nn.functional.cross_entropy(classifier(input_values(4)), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    expected = classifier.eval()(input_values())
    saved = {name: tensor.detach().clone() for name, tensor in classifier.tensors().items()}
    classifier.remove()
    again = AdaptedClassifier(model, method, 5, seed=99)
    assert not torch.equal(again(input_values()), expected)
    again.load(saved)
    assert torch.equal(again(input_values()), expected)


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
        classifier = AdaptedClassifier(model, MethodConfig("soft_moa", 4, 2, 3), 5, seed)
        classifier.remove()
        return torch.cat([p.detach().flatten() for p in classifier.trainable.values()])

    torch.manual_seed(1)
    first = values(3)
    torch.manual_seed(2)  # the global generator plays no part
    assert torch.equal(first, values(3))
    assert not torch.equal(first, values(4))


@pytest.mark.parametrize(
    ("method", "decayed"),
    [
        (MethodConfig("soft_moa", 4, 2, 3, placement="both"), {"down_weight", "up_weight", "weight"}),
        (MethodConfig("dense_moa", 1, 1, 1), {"down_weight", "up_weight", "router_weight", "weight"}),
        (MethodConfig("conformer", bottleneck_dim=2), {"down_weight", "up_weight", "conv_weight", "weight"}),
        (MethodConfig("bitfit"), {"weight"}),
        (MethodConfig("ia3"), {"weight"}),
        (MethodConfig("ln_tuning"), {"weight"}),
        (MethodConfig("prefix"), {"prefix_keys", "prefix_values", "weight"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_weight_decay_leaves_biases_norms_and_slots_alone(model, method, decayed):
    classifier = AdaptedClassifier(model, method, 5, seed=0)
    kept = {name for name in classifier.trainable if classifier.decayed(name)}
    assert {name.rsplit(".", 1)[-1] for name in kept} == decayed
    assert [name for name in kept if "norm" in name] == []
    assert "head.weight" in kept


def test_a_graft_that_fails_half_way_leaves_the_backbone_alone(model, monkeypatch):
    made, make = [], Bottleneck.module

    def fail_at_the_third(*args):
        made.append(args)
        if len(made) == 3:
            raise torch.OutOfMemoryError("no memory left")
        return make(*args)

    before = [id(layer.attention) for layer in model.layers]
    monkeypatch.setattr(Bottleneck, "module", fail_at_the_third)
    with pytest.raises(torch.OutOfMemoryError):
        AdaptedClassifier(model, MethodConfig("bottleneck"), 5, seed=0)
    assert [id(layer.attention) for layer in model.layers] == before
