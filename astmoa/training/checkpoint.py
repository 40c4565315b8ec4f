"""Named tensors and a description of them in one safetensors file, written atomically and with a checksum: either the
old file is there or the new one, and what changed after it was written is found when it is read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from astmoa.errors import RunError
from astmoa.files.reading import first_line, parse_json

_STALE_SECONDS = 3600  # no write takes as long
_FACTS, _CHECKSUM = "astmoa", "crc32"
_MOST_HEADER = 4 << 20  # names, shapes and facts; an epoch's record is 300 bytes of it


class DamagedError(RunError):
    """A file is not as it was written, or was never ours."""


@dataclass(frozen=True)
class Saved:
    """What a file holds. The tensors lie in it still: only `verify`, and whoever uses them, reads their values."""

    path: Path
    tensors: dict[str, torch.Tensor]
    metadata: Any
    _checksum: str | None
    _text: str

    def verify(self) -> None:
        """Raises DamagedError where the checksum is another one. Older files have none."""
        if self._checksum not in (None, _checksum_of(self.tensors, self._text)):
            raise DamagedError(f"{self.path} is damaged (its checksum is another one)")


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and a JSON-able description to `path`, through a temporary file beside it.

    A write that fails leaves nothing behind; what a killed process left is removed by a write an hour later. Raises
    RunError where it cannot be written (the disk is full, say): then the old file is there as it was.
    """
    # Not the process id: machines that share the folder may have the same ones.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps(metadata)
    header = {_FACTS: text, _CHECKSUM: _checksum_of(contiguous, text)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        save_file(contiguous, temporary, metadata=header)
        os.chmod(temporary, mode)  # safetensors closes its files to all others, who may share the folder
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # or a power cut leaves the new name with nothing behind it
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: cannot be written ({_reason(error)}): make room or mend the path, then go on with the same "
            "command, a sweep with --resume"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _remove_stale(path)


def _checksum_of(tensors: dict[str, torch.Tensor], text: str) -> str:
    """Over names, types, shapes and values of the tensors, and the description. It finds damage, not forgery, and so
    need not cost as much as a cryptographic digest."""
    value = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _reason(error: OSError | SafetensorError) -> str:
    """Safetensors tells the system's number of an error in its text alone."""
    number = re.search(r"os error (\d+)", str(error))
    return os.strerror(int(number[1])) if number else getattr(error, "strerror", None) or first_line(error)


def _remove_stale(path: Path) -> None:
    with contextlib.suppress(OSError):  # another process removed it first, say: the write itself is done
        now = path.stat().st_mtime  # by the clock of whoever keeps the folder, which may be another machine
        for other in path.parent.iterdir():
            ours = other.name.startswith(f"{path.name}.") and other.suffix == ".tmp"
            library = re.fullmatch(r"\.tmp\w{6}", other.name)  # safetensors writes to a temporary file of its own
            if (ours or library) and now - other.stat().st_mtime > _STALE_SECONDS:
                other.unlink()


def open_tensors(path: Path, num_records: int = 0) -> Saved:
    """The inverse of `save_tensors`, without a look at any value: see `Saved.verify`.

    num_records: how many epochs' records the description may hold, at most. Raises DamagedError if the file is damaged
    or not ours, RunError if it cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would be waited for
            raise RunError(f"{path} is no file; remove it")
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
        if size > _MOST_HEADER + 1024 * num_records:
            raise ValueError(f"its header claims {size:,} bytes")
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if not {_FACTS} <= header.keys() <= {_FACTS, _CHECKSUM}:
                raise ValueError("its header is none of ours")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
        return Saved(path, tensors, parse_json(header[_FACTS]), header.get(_CHECKSUM), header[_FACTS])
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({_reason(error)}); mend the path or your rights") from error
    except (SafetensorError, ValueError) as error:
        raise DamagedError(f"{path} is damaged ({first_line(error)})") from error


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The inverse of `save_tensors`. Raises DamagedError if the file is damaged or not ours, RunError if it cannot be
    read."""
    saved = open_tensors(path)
    saved.verify()
    return saved.tensors, saved.metadata


def set_aside(path: Path) -> str:
    """Give a damaged file another name, for somebody else may need it after all; returns that in words. Raises RunError
    where the folder cannot be written."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except OSError as error:
        raise RunError(f"{path} is damaged and cannot be renamed ({_reason(error)}): mend your rights") from None
    return f"it is {aside.name} by now"


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}/{key}": value for key, value in tensors.items()}


def with_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in tensors.items() if key.startswith(f"{prefix}/")}
