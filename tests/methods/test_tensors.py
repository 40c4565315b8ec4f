"""Tensors from a file against those that they are loaded into."""

import math

import pytest
import torch

from astmoa.config import MethodConfig
from astmoa.errors import RunError
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.tensors import difference, not_finite

OURS = {"a": torch.zeros(2, 3), "b": torch.zeros(3)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"a": torch.full((2, 3), math.nan)}, None),  # values are not looked at
        ({"a": torch.zeros(1)}, "a has the shape [1], not [2, 3]"),
        ({"b": torch.zeros(1, 3)}, "b has the shape [1, 3], not [3]"),
        ({"b": torch.zeros(3).half()}, "b is of type float16, not float32"),
        ({"b": torch.zeros(3).long()}, "b is of type int64, not float32"),
        ({"b": None}, "b is missing"),
        ({"c": torch.zeros(3)}, "c is not part of it"),
    ],
)
def test_the_first_difference_is_named(changes, words):
    theirs = {name: tensor for name, tensor in (OURS | changes).items() if tensor is not None}
    assert difference(theirs, OURS) == words


def test_what_is_no_finite_number_is_named():
    assert not_finite(OURS) is None
    assert not_finite(OURS | {"b": torch.tensor([0, math.nan])}) == "b holds values that are no finite numbers"
    assert not_finite(OURS | {"b": torch.tensor([0, -math.inf])}) == "b holds values that are no finite numbers"
    assert not_finite(OURS | {"b": torch.tensor([0])}) == "b is of type int64, not of a floating one"


def test_a_classifier_takes_its_own_tensors_and_no_others(model):
    """A tensor of shape [1] would spread over any other."""
    classifier = AdaptedClassifier(model, MethodConfig("bottleneck", bottleneck_dim=2), 3, seed=0)
    before = {name: tensor.detach().clone() for name, tensor in classifier.tensors().items()}
    for name, wrong in (
        ("head.weight", torch.ones(1)),
        ("head.bias", torch.ones(3).double()),
        ("other", torch.ones(1)),
    ):
        with pytest.raises(RunError, match=f"not what this method trains .{name}"):
            classifier.load(before | {name: wrong})
    with pytest.raises(RunError, match=r"head\.bias is missing"):
        classifier.load({name: tensor for name, tensor in before.items() if name != "head.bias"})
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.tensors().items())
    classifier.load(before | {"head.bias": torch.ones(3)})
    assert classifier.head.bias.tolist() == [1, 1, 1]
