"""What a completed trial said of every validation and test clip: `predictions.safetensors` beside its adapter.

Logits in half precision and the clips' indices in the data set: 2 bytes for each clip and class, 8 more for each clip.
For Speech Commands v2 with its 9,981 validation and 11,005 test clips and 35 classes that is 1.6 MB. Removing the files
costs nothing but what is read from them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from astmoa.errors import RunError, shown
from astmoa.files.reading import first_line, parse_json, read_bytes
from astmoa.files.whole import whole_file

NAME = "predictions.safetensors"
FORMAT = "1"
SIDES = ("val", "test")
_MOST_BYTES = 1 << 31
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a split."""

    clips: np.ndarray
    """[c] int64: indices in the data set, each once, ascending."""
    logits: np.ndarray
    """[c, classes] float16. Of clips with one label only differences count: the largest of a row is 0."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of one trial, with the weights that it was tested with: those of its best epoch."""

    trial_id: str
    data: str
    """Fingerprint of the data set whose clips are counted."""
    val: Side
    test: Side

    def save(self, path: Path) -> None:
        """Whole or not at all. Raises RunError where the file cannot be written."""
        arrays: dict[str, np.ndarray] = {}
        for side in SIDES:
            own: Side = getattr(self, side)
            arrays |= {f"{side}.clips": own.clips, f"{side}.logits": own.logits}
        said = {"format": FORMAT, "trial_id": self.trial_id, "data": self.data, "checksum": _checksum(arrays)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as unfinished:
                unfinished.write_bytes(save(arrays, said))
        except OSError as error:
            raise RunError(
                f"{path} cannot be written ({error.strerror or error}): make room or mend the path"
            ) from error

    @classmethod
    def load(cls, path: Path, trial_id: str, data: str | None = None) -> Predictions:
        """The inverse. trial_id, data: whose it must be. Raises RunError for a file that is another's, another
        version's, damaged or none."""
        try:
            content = read_bytes(path, _MOST_BYTES)
            arrays, said = load(content), _metadata(content)
            if said.get("format") != FORMAT:
                raise ValueError(f"its format is {shown(said.get('format'))}, this version reads {FORMAT}")
            if said.get("checksum") != _checksum(arrays):
                raise ValueError("its values are not those that were written")
            sides = {side: _side(arrays, side) for side in SIDES}
        except FileNotFoundError:
            raise RunError(f"{path} is not there: a trial of an earlier version, or it was removed") from None
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror or error}): mend your rights") from None
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} holds no predictions ({first_line(error)}): remove it") from None
        if said["trial_id"] != trial_id:
            raise RunError(f"{path} are the predictions of trial {shown(said['trial_id'])}: remove it")
        if data is not None and said["data"] != data:
            raise RunError(f"{path} counts the clips of other data ({shown(said['data'])}, here {data}): remove it")
        return cls(trial_id, said["data"], sides["val"], sides["test"])


def side_of(clips: np.ndarray, logits: np.ndarray, one_label: bool) -> Side:
    """From logits [c, classes] in single precision. one_label: shifted so that the largest is 0 in each row, which no
    probability notices, and near which half precision is finest: the order of what is likely stays."""
    order = np.argsort(clips, kind="stable")
    values = logits[order].astype(np.float32)
    if one_label:
        values = values - values.max(axis=1, keepdims=True)
    return Side(clips[order].astype(np.int64), np.clip(values, -_LARGEST, _LARGEST).astype(np.float16))


def _side(arrays: Mapping[str, np.ndarray], side: str) -> Side:
    """Raises ValueError for what `side_of` does not give, KeyError where an array is missing."""
    clips, logits = arrays[f"{side}.clips"], arrays[f"{side}.logits"]
    if clips.dtype != np.int64 or clips.ndim != 1 or not len(clips) or clips[0] < 0 or not (np.diff(clips) > 0).all():
        raise ValueError(f"{side}.clips are no ascending indices")
    if logits.dtype != np.float16 or logits.ndim != 2 or len(logits) != len(clips) or logits.shape[1] < 1:
        raise ValueError(f"{side}.logits are not [clips, classes] in half precision")
    if not np.isfinite(logits).all():
        raise ValueError(f"{side}.logits are not finite")
    return Side(clips, logits)


def _metadata(content: bytes) -> dict[str, str]:
    """What stands in the header beside the arrays; `load` has read it, and does not give it back."""
    size = int.from_bytes(content[:8], "little")
    header = parse_json(content[8 : 8 + size])
    said = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(said, dict) or not {"format", "trial_id", "data", "checksum"} <= said.keys():
        raise ValueError("it does not say whose it is")
    return said


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """It finds damage, not forgery."""
    value = 0
    for name, array in sorted(arrays.items()):
        value = zlib.crc32(f"{name} {array.dtype} {list(array.shape)}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(), value)
    return f"{value:08x}"
