"""What all trials of a study share: features, labels and splits, on the device once per worker."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from astmoa.audio.datasets import DataSet, open_data
from astmoa.audio.doubles import find_doubles, told
from astmoa.audio.fbank import SILENCE
from astmoa.audio.splits import Splits
from astmoa.audio.standard_output import kept_clean
from astmoa.audio.store import Features, load_features
from astmoa.config import DataConfig
from astmoa.errors import DataError, printable


@dataclass(frozen=True)
class Inputs:
    """Plain arrays, so that they travel through an object store without a copy per worker.

    features: [clips, frames, 128] float16, normalised, padded with silence from `lengths` ([clips] int32, frames) on.
    labels: [clips] int64, or for multi-label data [clips, classes] float32: 1, 0, NaN where nobody labelled.
    splits: one per test fold. metric: accuracy or mAP. bad_clips: name and reason of every clip that was left out.
    """

    features: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    splits: dict[int, Splits]
    label_names: tuple[str, ...]
    fingerprint: str
    seconds: float
    bad_clips: dict[str, str] = field(default_factory=dict)
    name: str = ""
    metric: str = "accuracy"
    has_folds: bool = True
    """Whether the data have folds; where they name their splits, every fold is the same."""

    @property
    def num_val_clips(self) -> dict[int, int]:
        """Validation clips of every test fold."""
        return {fold: len(splits.val) for fold, splits in self.splits.items()}

    @property
    def num_frames(self) -> int:
        return self.features.shape[1]


def open_inputs(
    config: DataConfig,
    folds: Iterable[int] = (),
    all_folds: bool | Literal["if any"] = False,
    processes: int | None = None,
    progress: bool = True,
) -> Inputs:
    """Open a data set and its feature store. `folds` defaults to the configured one; `all_folds` are all that
    the data have; data that name their splits have none, which is an error unless they are wanted "if any".
    Raises DataError."""
    with kept_clean():  # headers are read
        data = open_data(config, check_fold=not all_folds)
    wanted = data.folds if all_folds and data.folds else tuple(folds) or (config.fold,)
    if not data.folds and (all_folds is True or wanted != (1,)):
        raise DataError(f"{data.name} names its splits, it has no folds: leave the fold out, use seeds for replicates")
    features = load_features(
        data,
        processes=processes,
        skip_bad=config.skip_bad_clips,
        progress=progress,
    )
    splits = {fold: data.splits(fold, leave_out=features.bad) for fold in wanted}
    for warning in (*data.warnings, *_doubles(data, features)):
        print(f"warning: {printable(warning)}", file=sys.stderr)
    labels = np.array([clip.label for clip in data.clips], dtype=np.int64) if data.targets is None else data.targets
    return Inputs(
        features=np.asarray(features.array),  # a memory map's own type would be pickled whole, once per worker
        lengths=np.asarray(features.lengths),
        labels=labels,
        splits=splits,
        label_names=data.labels,
        fingerprint=features.fingerprint,
        seconds=data.seconds,
        name=data.name,
        metric=data.metric,
        has_folds=bool(data.folds),
        bad_clips={data.clips[index].name: reason for index, reason in features.bad.items()},
    )


def _doubles(data: DataSet, features: Features) -> Iterator[str]:
    """What a sweep should not be silent about: the same bytes on two sides of a split, or under two labels."""
    names = [clip.name for clip in data.clips]
    digests = [None if i in features.bad else digest for i, digest in enumerate(features.digests)]
    found = find_doubles(digests, names, data.sides())
    if found:
        yield f"{told(found, 'on two sides')}: what is measured there was trained on"
    found = None if data.multi_label else find_doubles(digests, names, [data.labels[clip.label] for clip in data.clips])
    if found:
        yield f"{told(found, 'under two labels')}: one of them is wrong"


class DeviceData:
    """Features and labels on the device; batches are made there by index."""

    def __init__(self, inputs: Inputs, device: torch.device):
        with warnings.catch_warnings():  # arrays from the object store are read-only; nothing here writes to them
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self.features = torch.from_numpy(inputs.features).to(device)
            self.labels = torch.from_numpy(inputs.labels).to(device)
            self.lengths = torch.from_numpy(inputs.lengths).to(device)
        self.inputs, self.device = inputs, device

    def batch(self, clips: torch.Tensor, padding: float = SILENCE) -> tuple[torch.Tensor, torch.Tensor]:
        """clips: [b] indices -> features [b, frames, 128] float32 and labels [b] or [b, classes].

        padding: what short clips are filled up with; the stored features are with silence.
        """
        clips = clips.to(self.device)
        features = self.features[clips].float()
        if padding != SILENCE:
            beyond = torch.arange(features.shape[1], device=self.device) >= self.lengths[clips][:, None]
            features = features.masked_fill(beyond[..., None], padding)
        return features, self.labels[clips]
