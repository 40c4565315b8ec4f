"""How much each expert of a trained mixture contributes to the output tokens (arXiv 2402.00828, Fig. 2 right and 3).

An expert's share is the weight with which its outputs enter a token: in a Soft-MoA the token's combine weights (C of
Eq. 4) summed over the expert's slots, in a Dense-MoA its gate probability (Eq. 2). Shares are averaged over tokens,
then over clips; those of one module sum to 1. They are weights, not sizes: an expert that gives zeros has a share too.

Letters: b batch, m tokens, n experts, p slots per expert.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from astmoa.audio.fbank import SILENCE, padding
from astmoa.bundles.export import Predictor
from astmoa.errors import DataError, RunError
from astmoa.methods.classifier import AdaptedClassifier
from astmoa.methods.moa import DenseMoA, SoftMoA
from astmoa.training.inputs import DeviceData, Inputs, open_inputs

_PLACES = {"attention": "attention", "mlp": "ffn"}  # ASTModel's sub-layers in our words
Weights = TypeVar("Weights")


@dataclass(frozen=True, eq=False)
class Contributions:
    """per_layer: [layers, places, experts] float64, each module's shares, the mean over clips. per_class: [layers,
    places, classes, experts], the same over the clips of one class, NaN where there are none. clips_per_class:
    [classes] int64; in multi-label data a clip counts for each of its positive classes. num_clips: how many clips.
    layers are counted from 0; places are attention, ffn or both of them."""

    per_layer: np.ndarray
    per_class: np.ndarray
    layers: tuple[int, ...]
    places: tuple[str, ...]
    labels: tuple[str, ...]
    clips_per_class: np.ndarray
    num_clips: int

    @property
    def effective_experts(self) -> np.ndarray:
        """[layers, places]: exp of the entropy of a module's shares, n where they are even, 1 where one has all."""
        logs = np.log(np.where(self.per_layer > 0, self.per_layer, 1))
        return np.exp(-(self.per_layer * logs).sum(axis=-1))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; a class without clips has None for shares."""
        per_class = self.per_class.astype(object)
        per_class[np.isnan(self.per_class)] = None
        return {
            "layers": list(self.layers),
            "places": list(self.places),
            "labels": list(self.labels),
            "num_clips": self.num_clips,
            "clips_per_class": self.clips_per_class.tolist(),
            "per_layer": self.per_layer.tolist(),
            "per_class": per_class.tolist(),
            "effective_experts": self.effective_experts.tolist(),
        }


def mixtures(classifier: AdaptedClassifier) -> dict[tuple[int, str], SoftMoA | DenseMoA]:
    """Every mixture of a model, by layer (from 0) and place. Raises RunError where there is none."""
    found = {}
    for name, module in classifier.model.named_modules():
        if isinstance(module, SoftMoA | DenseMoA):
            _, layer, sublayer, *_ = name.split(".")  # layers.3.mlp.module
            found[int(layer), _PLACES[sublayer]] = module
    if not found:
        raise RunError("this model has no experts to compare: only soft_moa and dense_moa have; take one of these")
    return found


def contributions(
    classifier: AdaptedClassifier,
    data: DeviceData,
    clips: torch.Tensor,
    batch_size: int = 64,
    bf16: bool = False,
    padding: float = SILENCE,
) -> Contributions:
    """Run `clips` ([c] indices, at least one) through the model and average what its routers do.

    The weights are those that the model used, whatever its faithful switches; of each batch only [b, n] per module is
    kept. bf16 and padding as in training. Raises RunError where the model has no mixture.
    """
    routers = mixtures(classifier)
    recorded: dict[tuple[int, str], list[torch.Tensor]] = {key: [] for key in routers}
    classifier.eval()
    with contextlib.ExitStack() as recording, torch.inference_mode():
        for key, module in routers.items():
            recording.callback(_record(module, recorded[key].append))
        for batch in clips.split(batch_size):
            features, _ = data.batch(batch, padding)
            with torch.autocast(data.device.type, torch.bfloat16, enabled=bf16):
                classifier(features)
    layers = tuple(sorted({layer for layer, _ in routers}))
    places = tuple(place for place in _PLACES.values() if (layers[0], place) in routers)
    shares = {key: torch.cat(batches).double().cpu().numpy() for key, batches in recorded.items()}
    stacked = np.stack([[shares[layer, place] for place in places] for layer in layers])  # [layers, places, c, n]
    labels = data.inputs.label_names
    belongs = _membership(data.labels[clips.to(data.device)].cpu().numpy(), len(labels))  # [c, classes]
    counts = belongs.sum(axis=0)
    sums = np.einsum("lqcn,ck->lqkn", stacked, belongs.astype(np.float64))
    per_class = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], np.nan)
    return Contributions(stacked.mean(axis=2), per_class, layers, places, tuple(labels), counts, len(clips))


def open_bundle(bundle: Path) -> Predictor:
    """A bundle, on the GPU where there is one. Raises RunError where it holds no mixture: before any data are read."""
    predictor = Predictor(bundle, "cuda" if torch.cuda.is_available() else "cpu")
    mixtures(predictor.classifier)
    return predictor


def bundle_inputs(predictor: Predictor, data_root: str | None = None) -> Inputs:
    """The data that a bundle was trained on, cut to the same clip length; `data_root` says where they lie by now.

    Raises DataError where they are missing or their classes are others. Whether the clips are the very same is told by
    the fingerprints, which this leaves to the caller: a mended clip changes them too.
    """
    config = dataclasses.replace(predictor.config.data, seconds=predictor.seconds)
    if data_root is not None:
        config = dataclasses.replace(config, root=data_root)
    inputs = open_inputs(config)
    if list(inputs.label_names) != predictor.labels:
        theirs, ours = len(predictor.labels), len(inputs.label_names)
        raise DataError(
            f"{config.root or config.name} has other classes ({ours}, first {inputs.label_names[0]!r}) than the bundle "
            f"({theirs}, first {predictor.labels[0]!r}): give the data that it was trained on (--data-root)"
        )
    return inputs


def on_test_clips(predictor: Predictor, inputs: Inputs) -> Contributions:
    """A bundle's contributions on the test clips of its fold, computed as it was trained."""
    config = predictor.config
    clips = torch.from_numpy(inputs.splits[config.data.fold].test)
    data = DeviceData(inputs, predictor.device)
    batch_size = 2 * (config.optim.batch_size or 32)
    return contributions(predictor.classifier, data, clips, batch_size, predictor.bf16, padding(config.faithful))


def _membership(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """labels: [c], or multi-label [c, classes] with 1, 0, NaN -> [c, classes] bool"""
    return labels[:, None] == np.arange(num_classes) if labels.ndim == 1 else labels > 0.5


def _record(module: SoftMoA | DenseMoA, keep: Callable[[torch.Tensor], None]) -> Callable[[], None]:
    """Hand every forward pass's shares [b, n] to `keep`, until the returned function is called.

    Not a hook on the module: what a variant makes of its input before it routes would be missed.
    """
    if isinstance(module, SoftMoA):
        sizes = module.slot_embeds.shape[1:]

        def keep_slots(weights: tuple[torch.Tensor, torch.Tensor]) -> None:
            combine_weights = weights[1].unflatten(2, sizes)  # [b, m, n, p]
            keep(combine_weights.float().sum(dim=3).mean(dim=1))

        return _watch(module, module.routing, keep_slots)
    return _watch(module, module.routing, lambda gates: keep(gates.float().mean(dim=1)))


def _watch(
    module: nn.Module, routing: Callable[[torch.Tensor], Weights], look: Callable[[Weights], None]
) -> Callable[[], None]:
    def watched(x: torch.Tensor) -> Weights:
        weights = routing(x)
        look(weights)
        return weights

    vars(module)["routing"] = watched
    return lambda: delattr(module, "routing")  # the class's own shows again
