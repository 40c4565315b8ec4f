"""What peft inserts, against the formulas of the methods' papers."""

import pytest
import torch

from astmoa.config import MethodConfig
from astmoa.errors import ConfigError
from astmoa.methods.classifier import AdaptedClassifier


def drawn(classifier):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in classifier.trainable.values():
            parameter.normal_(generator=generator)
    return classifier


def tensor(classifier, name):
    return next(t for key, t in classifier.tensors().items() if key.startswith(name))


@pytest.mark.parametrize("name", ["lora", "dora", "vera", "ia3"])
def test_a_projection_is_its_formula(model, name):
    size = {} if name == "ia3" else {"bottleneck_dim": 3}
    frozen = model.layers[1].attention.v_proj
    classifier = drawn(AdaptedClassifier(model, MethodConfig(name, **size), 5, seed=0))
    x, where = torch.randn(2, 7, 16), "layers.1.attention.v_proj"
    w, bias = frozen.weight, frozen.bias
    if name in ("lora", "dora"):
        w = w + tensor(classifier, f"{where}.lora_B") @ tensor(classifier, f"{where}.lora_A")
    if name == "dora":  # a direction and its magnitude
        magnitude = tensor(classifier, f"{where}.lora_magnitude_vector")
        w = magnitude[:, None] * w / w.norm(dim=1, keepdim=True)
    if name == "vera":  # fixed random projections, shared by all layers, scaled by two vectors
        a, b = (tensor(classifier, f"layers.0.attention.q_proj.vera_{n}") for n in "AB")
        d, s = (tensor(classifier, f"{where}.vera_lambda_{n}") for n in "db")
        w = w + s[:, None] * b @ (d[:, None] * a)
    expected = x @ w.T + bias
    if name == "ia3":  # keys and values scaled
        expected = expected * tensor(classifier, f"{where}.ia3_l").flatten()
    torch.testing.assert_close(model.layers[1].attention.v_proj(x), expected)


def test_oft_rotates_blocks_of_inputs(model):
    """y = W (R x): R is block-diagonal and orthogonal, up to peft's truncated series for the Cayley transform."""
    frozen = model.double().layers[1].attention.q_proj
    classifier = drawn(AdaptedClassifier(model, MethodConfig("oft", bottleneck_dim=4), 5, seed=0))
    with torch.no_grad():
        tensor(classifier, "layers.1.attention.q_proj.oft_R").mul_(0.1)
    rotated = model.layers[1].attention.q_proj(torch.eye(16, dtype=torch.float64)) - frozen.bias
    rotation = torch.linalg.solve(frozen.weight, rotated.T)  # its columns are R's
    block = torch.block_diag(*[torch.ones(4, 4)] * 4).bool()
    assert rotation[~block].abs().max() < 1e-9
    assert (rotation[block] - torch.eye(16)[block]).abs().max() > 0.1
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(16, dtype=torch.float64), atol=0.05, rtol=0)


def test_the_seed_decides_and_the_global_generator_is_left_alone(model):
    def values(seed):
        classifier = AdaptedClassifier(model, MethodConfig("vera", bottleneck_dim=3), 5, seed)
        classifier.remove()
        return torch.cat([t.detach().flatten() for t in classifier.tensors().values()])

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = values(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(first, values(3))
    assert not torch.equal(first, values(4))


def test_blocks_must_divide_the_width(model):
    before = [id(m) for m in model.modules()]
    with pytest.raises(ConfigError, match=r"bottleneck_dim=5.*divide"):
        AdaptedClassifier(model, MethodConfig("oft", bottleneck_dim=5), 5, seed=0)
    assert [id(m) for m in model.modules()] == before
