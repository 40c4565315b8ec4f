"""Losses and metrics against loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from astmoa.training.scoring import bootstrap_interval, loss_per_clip, score


def drawn(clips, classes, seed, known=0.7):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(clips, classes, generator=generator)
    targets = (torch.rand(clips, classes, generator=generator) < 0.5).float()
    targets[torch.rand(clips, classes, generator=generator) > known] = math.nan
    return logits, targets


def average_precision(scores, truth):
    """Mean over the positives of the precision at their place in the order of scores."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, total = 0, 0.0
    for place, i in enumerate(order, start=1):
        if truth[i]:
            hits += 1
            total += hits / place
    return total / hits


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 999))
def test_mean_average_precision_is_over_what_is_labelled(clips, classes, seed):
    logits, targets = drawn(clips, classes, seed)
    precisions = []
    for c in range(classes):
        known = [i for i in range(clips) if not math.isnan(targets[i, c])]
        truth = [bool(targets[i, c]) for i in known]
        if any(truth) and not all(truth):
            precisions.append(average_precision([logits[i, c].item() for i in known], truth))
    expected = sum(precisions) / len(precisions) if precisions else math.nan
    assert score(logits, targets) == pytest.approx(expected, nan_ok=True)


@given(st.integers(1, 10), st.integers(1, 5), st.integers(0, 999))
def test_binary_cross_entropy_is_over_what_is_labelled(clips, classes, seed):
    logits, targets = drawn(clips, classes, seed)
    losses = loss_per_clip(logits, targets)
    for i in range(clips):
        known = [c for c in range(classes) if not math.isnan(targets[i, c])]
        terms = []
        for c in known:
            p = torch.sigmoid(logits[i, c].double()).item()
            terms.append(-math.log(p) if targets[i, c] == 1 else -math.log(1 - p))
        assert losses[i].item() == pytest.approx(sum(terms) / len(terms) if terms else 0.0, rel=1e-4)


def test_unlabelled_classes_get_no_gradient():
    logits, targets = drawn(6, 4, 0)
    logits.requires_grad_()
    loss_per_clip(logits, targets).sum().backward()
    assert torch.equal(logits.grad == 0, targets.isnan())


def test_accuracy_and_its_loss():
    logits, labels = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 4
    assert score(logits, labels) == sum(int(row.argmax()) == int(k) for row, k in zip(logits, labels, strict=True)) / 50
    expected = [-torch.log_softmax(row, 0)[k].item() for row, k in zip(logits, labels, strict=True)]
    assert loss_per_clip(logits, labels).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_bootstrap_interval_holds_the_score_and_is_always_the_same():
    logits, targets = drawn(200, 3, 1)
    low, high = bootstrap_interval(logits, targets)
    assert low < score(logits, targets) < high
    assert (low, high) == bootstrap_interval(logits, targets)
    half = bootstrap_interval(logits[:50], targets[:50])
    assert half[1] - half[0] > high - low
