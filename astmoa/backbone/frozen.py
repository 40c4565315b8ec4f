"""The frozen Audio Spectrogram Transformer: the stock `ASTModel`, loaded at its own length, its positions then fitted
to the clips.

Loading at another length instead (what `ignore_mismatched_sizes` does) leaves an all-zero position table without a
word, and subclassing `ASTModel` makes `from_pretrained` re-initialise what the subclass adds; so: load first, resize,
freeze, graft after.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from torch import nn
from transformers import ASTConfig, ASTModel
from transformers import logging as transformers_logging

from astmoa.audio.fbank import NUM_MEL_BINS
from astmoa.backbone.folder import CONFIG, WEIGHTS, patch_size, read_folder, shards
from astmoa.errors import BackboneError, printable
from astmoa.files.reading import first_line
from astmoa.methods.shape import BackboneShape
from astmoa.methods.tensors import not_finite


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

    Raises BackboneError when there are no weights, when it is no Audio Spectrogram Transformer, when its files are
    damaged, and when tensors are missing or not finite.
    """
    config, state = read_folder(_find(name), name)
    if config.num_mel_bins != NUM_MEL_BINS:
        raise BackboneError(f"backbone {name!r} reads {config.num_mel_bins} mel bands; astmoa makes {NUM_MEL_BINS}")
    _check_amount(name, config, state)
    model, info = _build(name, config, state)
    _check_fit(name, info)
    wrong = not_finite(model.state_dict())
    if wrong:
        raise BackboneError(f"backbone {name!r}: {wrong}; save the model again")
    return Backbone(model, name)


def _find(name: str) -> Path:
    """The folder that a name stands for; what is at Hugging Face is downloaded, where it is not yet here."""
    source = str(Path(__file__).parents[1] / "assets" / "builtin_ast") if name == "builtin" else name
    try:
        if Path(source).is_dir():
            return Path(source)
    except OSError:  # a name that no file can have
        pass
    if source.startswith((".", "/", "~")) or source.count("/") > 1:  # no hub id looks like this
        raise BackboneError(f"backbone folder {name!r} does not exist")
    # Without a network, or with one that does not do as it should, the libraries below raise errors of their own, most
    # of which are of no common type: here only the hub is asked.
    try:
        return _download(source)
    except Exception as error:
        unknown = isinstance(error, RepositoryNotFoundError)  # whose first line is a number
        reason = "Hugging Face has no such model that you may read" if unknown else first_line(error)[:200]
        raise BackboneError(
            f"backbone {name!r} cannot be loaded ({reason}); give builtin, a Hugging Face id such as "
            "MIT/ast-finetuned-audioset-10-10-0.4593, or a folder written by save_pretrained"
        ) from error


def _download(repository: str) -> Path:
    config, missing = Path(hf_hub_download(repository, CONFIG)), None
    for weights in WEIGHTS:
        try:
            for shard in shards(Path(hf_hub_download(repository, weights))):
                hf_hub_download(repository, shard.name)
            return config.parent
        except EntryNotFoundError as error:
            missing = error
    assert missing is not None  # there is a name to try
    raise missing


def _check_amount(name: str, config: ASTConfig, state: dict[str, torch.Tensor]) -> None:
    """A config.json alone can ask for more than any memory holds."""
    freq, time = _grid(config, config.max_length)
    sizes = config.hidden_size, config.num_hidden_layers, config.intermediate_size, patch_size(config)
    asked = BackboneShape(*sizes, 2 + freq * time, bool(config.qkv_bias)).num_params
    held = sum(tensor.numel() for tensor in state.values())
    if asked > 2 * held:  # with fewer missing, it is said which
        raise BackboneError(
            f"backbone {name!r}: its {CONFIG} asks for {asked:,} parameters, its weights are {held:,}: it is not a "
            "whole AST checkpoint"
        )


def _check_fit(name: str, info: dict[str, Any]) -> None:
    """Every tensor that config.json asks for is there in its shape, and no layer is left over; heads may be."""
    for key, found, wanted in sorted(info["mismatched_keys"]):
        raise BackboneError(
            f"backbone {name!r}: {key} has the shape {list(found)}, by its {CONFIG} it is {list(wanted)}; "
            "save the model again"
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise BackboneError(
            f"backbone {name!r} lacks {len(missing)} tensors, first {missing[0]}; it is not a whole AST checkpoint"
        )
    more = sorted(key for key in info["unexpected_keys"] if re.match(r"(\w+\.)?layers\.\d+\.", key))
    if more:
        raise BackboneError(
            f"backbone {name!r} has {printable(more[0], 100)}, which its {CONFIG} leaves out; save the model again"
        )


def _build(name: str, config: ASTConfig, state: dict[str, torch.Tensor]) -> tuple[ASTModel, dict[str, Any]]:
    """The model, and what was missing or of another shape; names of older versions of transformers are translated."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # transformers raises whatever PyTorch does with sizes and values that it did not expect: here only it is called.
    try:
        return ASTModel.from_pretrained(  # type: ignore[return-value]  # a pair, by output_loading_info
            None,
            config=config,
            state_dict=state,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            attn_implementation="sdpa",
            dtype=torch.float32,
        )
    except Exception as error:
        raise BackboneError(
            f"backbone {name!r} cannot be loaded ({first_line(error)[:200]}); save the model again"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _grid(config: ASTConfig, num_frames: int) -> tuple[int, int]:
    patch = patch_size(config)
    freq = (config.num_mel_bins - patch) // config.frequency_stride + 1
    return freq, (num_frames - patch) // config.time_stride + 1


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
