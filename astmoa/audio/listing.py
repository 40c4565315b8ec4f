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


def wrong_listing(listing: Listing) -> str | None:
    """What is wrong with a listing that somebody made by hand, in a few words; None where nothing is."""
    labels, clips, targets = listing.labels, listing.clips, listing.targets
    if not isinstance(listing.name, str) or not listing.name:
        return "the name is no text"
    if not isinstance(labels, tuple) or len(labels) < 2 or not all(isinstance(label, str) for label in labels):
        return "the labels are no tuple of at least two texts"
    if not isinstance(clips, tuple) or not clips or not all(isinstance(clip, Clip) for clip in clips):
        return "the clips are no tuple of Clip"
    for clip in clips:
        if targets is None and (type(clip.label) is not int or not 0 <= clip.label < len(labels)):
            return f"the label of {clip.name!r} is no place among the labels"
        if (clip.split is None) == (clip.fold is None):
            return f"{clip.name!r} has neither a split nor a fold, or both"
        if clip.path is None and listing.seconds is None:
            return f"{clip.name!r} is no file, and the clips' seconds are not said"
    if targets is not None and np.shape(targets) != (len(clips), len(labels)):
        return "the targets are not [clips, labels]"
    seconds = listing.seconds
    if seconds is not None and (not isinstance(seconds, int | float) or not 0 < seconds <= 600):
        return "the seconds are no number above 0 and at most 600"
    return None
