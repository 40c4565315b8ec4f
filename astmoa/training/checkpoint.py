"""A trial's state in one safetensors file, written atomically: either the old checkpoint is there or the new one."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from astmoa.errors import RunError

_STALE_SECONDS = 3600  # no write takes as long


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and a JSON-able description to `path`, through a temporary file beside it.

    A write that fails leaves nothing behind; what a killed process left is removed by a write an hour later.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: machines that share the folder may have the same ones.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    try:
        save_file(contiguous, temporary, metadata={"astmoa": json.dumps(metadata)})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # or a power cut leaves the new name with nothing behind it
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _remove_stale(path)


def _remove_stale(path: Path) -> None:
    with contextlib.suppress(OSError):  # another process removed it first, say: the write itself is done
        now = path.stat().st_mtime  # by the clock of whoever keeps the folder, which may be another machine
        for other in path.parent.glob(f"{path.name}.*.tmp"):
            if now - other.stat().st_mtime > _STALE_SECONDS:
                other.unlink()


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The inverse of `save_tensors`. Raises RunError if the file is damaged or not ours."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["astmoa"])
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 (safe_open is no dict)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"{path}: not a readable checkpoint ({error}); delete it to start this trial again") from error


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}/{key}": value for key, value in tensors.items()}


def with_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in tensors.items() if key.startswith(f"{prefix}/")}
