"""A tiny random backbone and tiny inputs."""

from __future__ import annotations

import numpy as np
import torch


def make_model(hidden_size=16, num_layers=3, max_length=64, **changes):
    from transformers import ASTConfig, ASTModel

    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        max_length=max_length,
        frequency_stride=16,
        time_stride=10,
        **changes,
    )
    model = ASTModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # no zeros left: a lost table or bias must show
    return model


def make_inputs(num_clips=40, num_frames=48, num_classes=3, noise=0.3, multi_label=False):
    """Clips whose class is a band of the spectrogram: easy, so that training shows in a few steps.

    multi_label: the next class's band is there too in every second clip; every fifth label is not known.
    """
    from astmoa.audio.splits import Splits
    from astmoa.training.inputs import Inputs

    rng = np.random.default_rng(0)
    labels = np.arange(num_clips, dtype=np.int64) % num_classes
    features = rng.normal(0, noise, (num_clips, num_frames, 128)).astype(np.float16)
    for index, label in enumerate(labels):
        features[index, :, 30 * label : 30 * label + 20] += 1
    order = np.arange(num_clips)
    splits = Splits(order[: num_clips // 2], order[num_clips // 2 : -num_clips // 4], order[-num_clips // 4 :])
    names = tuple("abcdefgh"[:num_classes])
    lengths = np.full(num_clips, num_frames, dtype=np.int32)
    metric = "accuracy"
    if multi_label:
        metric, targets = "mAP", np.eye(num_classes, dtype=np.float32)[labels]
        for index in range(0, num_clips, 2):
            other = (labels[index] + 1) % num_classes
            targets[index, other] = 1
            features[index, :, 30 * other : 30 * other + 20] += 1
        targets.flat[::5] = np.nan
        labels = targets
    return Inputs(features, lengths, labels, {1: splits}, names, "fingerprint", seconds=0.5, metric=metric)
