"""A folder written by `save_pretrained`, read as data: its configuration and its weights are checked before a model of
that size is built, and nothing in them is followed or run.

transformers itself would obey more of such a folder than is needed here: quantisation, an adapter beside the weights,
an index that points elsewhere, whatever sizes config.json asks for.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, with_config
from safetensors import SafetensorError, safe_open
from transformers import ASTConfig
from transformers.activations import ACT2FN
from typing_extensions import TypedDict

from astmoa.errors import BackboneError, printable, shown
from astmoa.files.reading import first_line, read_json, require_file
from astmoa.files.typed import STRICT, checked

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files with weights, in the order in which transformers looks for them."""
CONFIG, _ADAPTER = "config.json", "adapter_config.json"
_MOST_CONFIG, _MOST_INDEX, _MOST_HEADER = 1 << 20, 4 << 20, 16 << 20  # bytes; AudioSet's 527 labels are 30 KB
_MOST_PICKLE = 1 << 20  # bytes, of names and shapes
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_Share = Annotated[float, Field(ge=0, lt=1)]


@with_config(STRICT)
class _Config(TypedDict, total=False):
    """What is used of a config.json; what it leaves out has transformers' own default."""

    hidden_size: Annotated[int, Field(ge=1, le=16_384)]
    num_hidden_layers: Annotated[int, Field(ge=1, le=1_000)]
    num_attention_heads: Annotated[int, Field(ge=1, le=1_024)]
    intermediate_size: Annotated[int, Field(ge=1, le=65_536)]
    hidden_act: str
    hidden_dropout_prob: _Share
    attention_probs_dropout_prob: _Share
    initializer_range: Annotated[float, Field(ge=0, le=100)]
    layer_norm_eps: Annotated[float, Field(gt=0, lt=1)]
    patch_size: Annotated[int, Field(ge=1, le=1_024)]
    qkv_bias: bool
    frequency_stride: Annotated[int, Field(ge=1, le=1_024)]
    time_stride: Annotated[int, Field(ge=1, le=1_024)]
    max_length: Annotated[int, Field(ge=1, le=100_000)]
    num_mel_bins: Annotated[int, Field(ge=1, le=1_024)]


@with_config(STRICT)
class _Index(TypedDict):
    weight_map: dict[str, str]


_CONFIG_KIND, _INDEX_KIND = TypeAdapter(_Config), TypeAdapter(_Index)


def read_folder(folder: Path, name: str) -> tuple[ASTConfig, dict[str, torch.Tensor]]:
    """The configuration, and the weights by the names that they have in their files; these are not read yet, only
    mapped. `name`: what the user calls the backbone.

    Raises BackboneError where it is no folder of a float AST, or one of its files is damaged.
    """
    if not (folder / CONFIG).exists():
        raise BackboneError(f"backbone folder {name!r} has no {CONFIG}; give a folder written by save_pretrained")
    if (folder / _ADAPTER).exists():
        raise BackboneError(f"backbone folder {name!r} has an {_ADAPTER}: merge the adapter and save the model again")
    weights = next((folder / weights for weights in WEIGHTS if (folder / weights).exists()), None)
    if weights is None:
        raise BackboneError(f"backbone folder {name!r} has no weights ({WEIGHTS[0]}); save the model there again")
    try:
        path = folder / CONFIG
        config = _config(read_json(path, _MOST_CONFIG))
        state: dict[str, torch.Tensor] = {}
        path = weights
        for path in shards(weights):
            state |= _floats(_safetensors(path) if path.suffix == ".safetensors" else _pickled(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise BackboneError(
            f"backbone {name!r} cannot be loaded ({path.name}: {reason}); save the model again"
        ) from error
    return config, state


def shards(weights: Path) -> list[Path]:
    """The files with the weights: the one that is given, or those that it lists. Raises ValueError, OSError."""
    if weights.suffix != ".json":
        return [weights]
    index: _Index = checked(_INDEX_KIND, read_json(weights, _MOST_INDEX))
    names = sorted(set(index["weight_map"].values()))
    kind = weights.name.split(".")[1]
    for name in names:
        if Path(name).name != name or not name.endswith(f".{kind}"):
            raise ValueError(f"it lists {shown(name)}, which is no .{kind} file beside it")
    return [weights.with_name(name) for name in names]


def _config(values: Any) -> ASTConfig:
    """Raises ValueError where it is no configuration of a float AST that can be built."""
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != ASTConfig.model_type:
        raise ValueError(f"it is of a {shown(kind)} model; an {ASTConfig.model_type!r} is needed")
    if values.get("quantization_config") is not None:
        raise ValueError("its weights are quantised; floating ones are needed")
    known: dict[str, Any] = checked(_CONFIG_KIND, values)
    config = ASTConfig(**{key: known[key] for key in _Config.__annotations__ if key in known})
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(f"{config.num_attention_heads} heads do not divide the width {config.hidden_size}")
    if config.hidden_act not in ACT2FN:
        raise ValueError(f"hidden_act {shown(config.hidden_act)} is not known")
    if patch_size(config) > min(config.num_mel_bins, config.max_length):
        raise ValueError(f"a patch of {config.patch_size} is larger than the picture")
    return config


def patch_size(config: ASTConfig) -> int:
    """Side of a patch: one number, though transformers knows pairs."""
    assert isinstance(config.patch_size, int)
    return config.patch_size


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    require_file(path)
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _MOST_HEADER:
        raise ValueError(f"its header claims {size:,} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    except SafetensorError as error:
        raise ValueError(first_line(error)) from error


def _pickled(path: Path) -> Mapping[str, torch.Tensor]:
    require_file(path)
    # What a damaged archive or pickle makes of itself is any error whatever, so here all of them are caught;
    # weights_only keeps it from running anything.
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
        if any(part.compress_type or part.filename.endswith(".pkl") * part.file_size > _MOST_PICKLE for part in parts):
            raise ValueError("it was not written by torch.save")
        with warnings.catch_warnings(action="ignore"):  # of kinds of tensors, which are refused below
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except zipfile.BadZipFile as error:
        raise ValueError("it was not written by torch.save") from error
    except UnpicklingError as error:
        raise ValueError("it holds something else than tensors, and that is not run") from error
    except Exception as error:
        raise ValueError(first_line(error)) from error
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ValueError("it holds no tensors by name")
    return state


def _floats(state: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """The same, all of which are plain floating tensors. Raises ValueError with the name of the first that is not."""
    for key, value in state.items():
        plain = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        # One value spread over a huge shape would be written out by whoever copies it.
        if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{printable(key, 100)} is no plain tensor")
        if value.ndim and value.dtype not in _TYPES:
            raise ValueError(
                f"{printable(key, 100)} is of type {str(value.dtype).removeprefix('torch.')}, not of a floating one"
            )
    return state
