"""Tensors that come from a file, against those that they are loaded into."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from astmoa.errors import printable


def difference(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str | None:
    """The first tensor that is not as wanted, by name, shape and type, in words; None where all are.

    Copying would not say so: a tensor of shape [1] spreads over any other one, and whole numbers become floating ones.
    Values are not read.
    """
    for name, ours in wanted.items():
        if name not in found:
            return f"{name} is missing"
        theirs = found[name]
        if theirs.shape != ours.shape:
            return f"{name} has the shape {list(theirs.shape)}, not {list(ours.shape)}"
        if theirs.dtype != ours.dtype:
            return f"{name} is of type {_plain(theirs.dtype)}, not {_plain(ours.dtype)}"
    extra = sorted(found.keys() - wanted.keys())
    return f"{_named(extra[0])} is not part of it" if extra else None


def not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The first tensor with a NaN or an infinity, in words; None where all values are finite numbers."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            return f"{_named(name)} is of type {_plain(tensor.dtype)}, not of a floating one"
        if not tensor.isfinite().all():
            return f"{_named(name)} holds values that are no finite numbers"
    return None


def _named(name: str) -> str:
    return printable(name, 100)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
