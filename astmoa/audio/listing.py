"""What a layout says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from astmoa.audio.splits import Clip


class Listing(NamedTuple):
    """What a layout says: the parts of a `DataSet` that are read from lists and folders.

    seconds: the layout's clip length, None for the longest clip's. targets: [clips, classes] float32, see `DataSet`.
    own_validation: False where the validation clips that folds or splits show are our rule, not the data's. warnings:
    what may be meant otherwise than it is written, one line each.
    """

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    seconds: float | None
    targets: np.ndarray | None = None
    own_validation: bool = True
    warnings: tuple[str, ...] = ()
