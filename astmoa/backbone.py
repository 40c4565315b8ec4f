"""The frozen Audio Spectrogram Transformer: the stock `ASTModel`, loaded at its own length, its positions then fitted
to the clips.

Loading at another length instead (what `ignore_mismatched_sizes` does) leaves an all-zero position table without a
word, and subclassing `ASTModel` makes `from_pretrained` re-initialise what the subclass adds; so: load first, resize,
freeze, graft after.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn
from transformers import ASTConfig, ASTModel
from transformers import logging as transformers_logging

from astmoa.audio.fbank import NUM_MEL_BINS
from astmoa.errors import BackboneError
from astmoa.shape import BackboneShape


class Backbone:
    """A frozen `ASTModel` with its native position table kept aside.

    `model` is in evaluation mode, in float32, and none of its parameters asks for a gradient. `fingerprint` is a hash
    of the weights as loaded, before `fit_positions`.
    """

    def __init__(self, model: ASTModel, name: str, fingerprint: str | None = None):
        self.model = model.float().eval().requires_grad_(False)
        self.name = name
        self.fingerprint = fingerprint or _fingerprint(model)
        self._native_positions = model.embeddings.position_embeddings.detach().clone()

    @property
    def shape(self) -> BackboneShape:
        """As the positions are fitted now: `num_tokens` follows the clip length."""
        config = self.model.config
        return BackboneShape(
            config.hidden_size,
            config.num_hidden_layers,
            config.intermediate_size,
            config.patch_size,
            self.model.embeddings.position_embeddings.shape[1],
            bool(config.qkv_bias),
        )

    def fit_positions(self, num_frames: int, faithful: tuple[str, ...] = ()) -> None:
        """Set the position table for clips of `num_frames` frames (10 ms each), always starting from the native one.

        faithful "positions": the published code's instead, whose table is lost when the length changes.
        """
        config = self.model.config
        table = self._native_positions
        freq, native_time = _grid(config, config.max_length)
        if num_frames < config.patch_size:
            raise BackboneError(
                f"clips of {num_frames} frames (10 ms each) are shorter than one patch of {config.patch_size}; "
                "raise --seconds"
            )
        _, time = _grid(config, num_frames)
        fitted = resize_positions(table, freq, native_time, time)
        if "positions" in faithful and time != native_time:
            fitted = torch.zeros_like(fitted)
        device = self.model.layernorm.weight.device
        self.model.embeddings.position_embeddings = nn.Parameter(fitted.to(device), requires_grad=False)

    def pack(self) -> PackedBackbone:
        """Plain arrays that travel through an object store, so that only one machine needs the files."""
        state = {key: value.detach().cpu().numpy() for key, value in self.model.state_dict().items()}
        state["embeddings.position_embeddings"] = self._native_positions.cpu().numpy()
        return PackedBackbone(self.name, self.fingerprint, self.model.config.to_dict(), state)


@dataclass(frozen=True)
class PackedBackbone:
    name: str
    fingerprint: str
    config: dict[str, Any]
    state: dict[str, np.ndarray]

    def unpack(self, device: torch.device | str = "cpu") -> Backbone:
        with torch.device("meta"):  # no time spent on an initialisation that is overwritten at once
            model = ASTModel(ASTConfig.from_dict(self.config))
        # A copy, because arrays from the object store are read-only and shared between workers.
        state = {key: torch.from_numpy(np.array(value)).to(device) for key, value in self.state.items()}
        model.load_state_dict(state, assign=True)
        return Backbone(model, self.name, self.fingerprint)


def resize_positions(table: torch.Tensor, freq: int, old_time: int, new_time: int) -> torch.Tensor:
    """Fit a position table to another clip length, as Gong's AST does.

    table: [1, 2 + freq * old_time, d], rows CLS, distillation, then the freq x time grid (time fastest).
    Shorter: the centre is cut out in time. Longer: bilinear interpolation in time. The first two rows stay.
    Returns [1, 2 + freq * new_time, d].
    """
    if new_time == old_time:
        return table.clone()
    special, grid = table[:, :2], table[:, 2:]
    grid = grid.transpose(1, 2).unflatten(2, (freq, old_time))  # [1, d, freq, time]
    if new_time < old_time:
        start = (old_time - new_time) // 2
        grid = grid[..., start : start + new_time]
    else:
        grid = F.interpolate(grid, size=(freq, new_time), mode="bilinear", align_corners=False)
    return torch.cat([special, grid.flatten(2).transpose(1, 2)], dim=1)


def load_backbone(name: str) -> Backbone:
    """Load and freeze `builtin`, a Hugging Face id, or a folder written by `save_pretrained`.

    Raises BackboneError when there are no weights, when it is no Audio Spectrogram Transformer, or when tensors are
    missing.
    """
    source = str(Path(__file__).parent / "assets" / "builtin_ast") if name == "builtin" else name
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        _check_source(name, source)
        model, info = ASTModel.from_pretrained(
            source, output_loading_info=True, attn_implementation="sdpa", dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise BackboneError(
            f"backbone {name!r} cannot be loaded ({reason}); give builtin, a Hugging Face id such as "
            "MIT/ast-finetuned-audioset-10-10-0.4593, or a folder written by save_pretrained"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    if model.config.num_mel_bins != NUM_MEL_BINS:
        raise BackboneError(
            f"backbone {name!r} reads {model.config.num_mel_bins} mel bands; astmoa makes {NUM_MEL_BINS}"
        )
    missing = sorted(info["missing_keys"]) + sorted(map(str, info.get("mismatched_keys", ())))
    if missing:
        raise BackboneError(
            f"backbone {name!r} lacks {len(missing)} tensors, first {missing[0]}; it is not a whole AST checkpoint"
        )
    return Backbone(model, name)


def _check_source(name: str, source: str) -> None:
    folder = Path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BackboneError(
                f"backbone folder {name!r} has no config.json; give a folder written by save_pretrained"
            )
        if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
            raise BackboneError(
                f"backbone folder {name!r} has no weights (model.safetensors); save the model there again"
            )
        kind = ASTConfig.get_config_dict(source)[0].get("model_type")
        if kind != ASTConfig.model_type:
            raise BackboneError(
                f"backbone folder {name!r} holds a {kind!r} model; an {ASTConfig.model_type!r} is needed"
            )
    elif source.startswith((".", "/", "~")) or source.count("/") > 1:  # no hub id looks like this
        raise BackboneError(f"backbone folder {name!r} does not exist")


def _grid(config: ASTConfig, num_frames: int) -> tuple[int, int]:
    freq = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    return freq, (num_frames - config.patch_size) // config.time_stride + 1


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
