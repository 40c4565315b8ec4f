"""A backbone from elsewhere: its files are data, and what cannot be built of them is one line, in no time."""

import json
import math
import os
import pickle
import random
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from astmoa.backbone.folder import shards
from astmoa.backbone.frozen import load_backbone
from astmoa.errors import BackboneError
from tests.helpers.damage import damage, distort
from tests.helpers.refusals import refused

WEIGHTS, PICKLE, INDEX = "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "backbone")


def ask(**changes):
    def change(folder):
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | changes))

    return change


def put(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def first(state):
    return next(name for name in sorted(state) if name.endswith("dense.weight"))


def spoil(change):
    """A change of one tensor."""

    def spoiled(folder):
        state = load_file(folder / WEIGHTS)
        state[first(state)] = change(state[first(state)])
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})

    return spoiled


def header(**tensors):
    text = json.dumps(tensors).encode()
    return put(WEIGHTS, struct.pack("<Q", len(text)) + text)


def pickled(make):
    """The weights as torch.save writes them, after `make` has changed them."""

    def change(folder):
        state = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        made = make(state)
        if isinstance(made, bytes):
            (folder / PICKLE).write_bytes(made)
        else:
            torch.save(made, folder / PICKLE)

    return change


def replaced(**kinds):
    return pickled(lambda state: state | {first(state): kinds["by"](state[first(state)])})


class Evil:
    """What it does when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def zip_bomb(folder):
    pickled(dict)(folder)
    with zipfile.ZipFile(folder / PICKLE) as old, zipfile.ZipFile(folder / "new", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(10**7) if name.endswith("data/0") else old.read(name))
    (folder / "new").rename(folder / PICKLE)


def listed(content):
    def change(folder):
        (folder / WEIGHTS).rename(folder / "model-1.safetensors")
        (folder / INDEX).write_text(content if isinstance(content, str) else json.dumps(content))

    return change


def pipe(name):
    def change(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def linked(name, target):
    def change(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return change


WRONG = [
    (ask(num_attention_heads=0), "config.json: num_attention_heads: Input should be greater than or equal to 1"),
    (ask(num_attention_heads=3), "config.json: 3 heads do not divide the width 16"),
    (ask(hidden_size="16"), "hidden_size: Input should be a valid integer"),
    (ask(hidden_size=16.0), "hidden_size: Input should be a valid integer"),
    (ask(hidden_size=None), "hidden_size: Input should be a valid integer"),
    (ask(hidden_size=10**9), "hidden_size: Input should be less than or equal to"),
    (ask(hidden_size=16_384, num_hidden_layers=1_000), "asks for 1,074,942,852,352 parameters, its weights are 11,520"),
    (ask(num_hidden_layers=10_000_000), "num_hidden_layers: Input should be less than or equal to 1000"),
    (ask(num_hidden_layers=1_000), "asks for 2,228,848 parameters, its weights are 11,520"),
    (ask(num_hidden_layers=4), r"lacks 16 tensors, first layers\.3\."),
    (ask(num_hidden_layers=2), r"has layers\.2\.\S+, which its config.json leaves out"),
    (ask(qkv_bias=False), r"has layers\.0\.\S+\.bias, which its config.json leaves out"),
    (ask(intermediate_size=33), r"fc1.bias has the shape \[32\], by its config.json it is \[33\]"),
    (ask(time_stride=0), "time_stride: Input should be greater than or equal to 1"),
    (ask(frequency_stride=-1), "frequency_stride: Input should be greater than or equal to 1"),
    (ask(patch_size=[16, 16]), "patch_size: Input should be a valid integer"),
    (ask(patch_size=129), "a patch of 129 is larger than the picture"),
    (ask(max_length=8), "a patch of 16 is larger than the picture"),
    (ask(max_length=10**400), "max_length: Input should be less than or equal to"),
    (ask(num_mel_bins=64), "reads 64 mel bands"),
    (ask(hidden_act="evil"), "hidden_act 'evil' is not known"),
    (ask(hidden_act=["gelu"]), "hidden_act: Input should be a valid string"),
    (ask(layer_norm_eps=math.nan), "layer_norm_eps: Input should be a finite number"),
    (ask(layer_norm_eps=0), "layer_norm_eps: Input should be greater than 0"),
    (ask(hidden_dropout_prob=2), "hidden_dropout_prob: Input should be less than 1"),
    (ask(quantization_config={"quant_method": "bitsandbytes"}), "its weights are quantised"),
    (ask(model_type="bert"), "it is of a 'bert' model"),
    (put("config.json", b"[]"), "it is of a None model"),
    (put("config.json", b""), r"config.json: Expecting value"),
    (put("config.json", b"\xff\xff"), "config.json: 'utf-8' codec"),
    (put("config.json", b"[" * 100_000), "config.json: it is nested too deeply"),
    (put("config.json", b" " * 2_000_000), "config.json: it has more than 1,048,576 bytes"),
    (pipe("config.json"), "config.json: it is no file"),
    (spoil(lambda t: t * math.nan), r"layers\.0\.\S+ holds values that are no finite numbers"),
    (spoil(lambda t: t + math.inf), r"layers\.0\.\S+ holds values that are no finite numbers"),
    (spoil(lambda t: t[:1, :1].clone()), r"has the shape \[1, 1\], by its config.json it is"),
    (spoil(lambda t: t.to(torch.int8)), "is of type int8, not of a floating one"),
    (spoil(lambda t: t.to(torch.float8_e4m3fn)), "is of type float8_e4m3fn, not of a floating one"),
    (put(WEIGHTS, b""), "model.safetensors: Error while deserializing header"),
    (put(WEIGHTS, struct.pack("<Q", 1 << 60) + b"{}"), "model.safetensors: its header claims"),
    (header(a={"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}), "model.safetensors: Error"),
    (header(), "asks for 11,520 parameters, its weights are 0"),
    (pipe(WEIGHTS), "model.safetensors: it is no file"),
    (linked(WEIGHTS, "/dev/zero"), "model.safetensors: it is no file"),
    (linked(WEIGHTS, WEIGHTS), "has no weights"),
    (listed({"weight_map": {"a": "../backbone/model-1.safetensors"}}), "which is no .safetensors file beside it"),
    (listed({"weight_map": {"a": "/etc/passwd"}}), "'/etc/passwd', which is no .safetensors file beside it"),
    (listed({"weight_map": {"a": "evil.bin"}}), "'evil.bin', which is no .safetensors file beside it"),
    (listed({"weight_map": {"a": "model-2.safetensors"}}), "model-2.safetensors: No such file"),
    (listed({"weight_map": {"a": 3}}), "model.safetensors.index.json: weight_map.a: Input should be a valid string"),
    (listed("[" * 100_000), "model.safetensors.index.json: it is nested too deeply"),
    (pickled(lambda state: {"a": Evil()}), "it holds something else than tensors, and that is not run"),
    (pickled(lambda state: pickle.dumps(Evil())), "pytorch_model.bin: it was not written by torch.save"),
    (pickled(lambda state: b""), "pytorch_model.bin: it was not written by torch.save"),
    (pickled(lambda state: [1]), "pytorch_model.bin: it holds no tensors by name"),
    (pickled(lambda state: {"a": "text"}), "pytorch_model.bin: a is no plain tensor"),
    (replaced(by=lambda t: torch.zeros(1).expand(10**6, 10**6)), "is no plain tensor"),
    (replaced(by=lambda t: t.to_sparse()), "is no plain tensor"),
    (replaced(by=lambda t: torch.empty(10**6, 10**6, device="meta")), "is no plain tensor"),
    (zip_bomb, "pytorch_model.bin: it was not written by torch.save"),
    (put("adapter_config.json", b'{"base_model_name_or_path": "/elsewhere"}'), "has an adapter_config.json"),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words[:60] for _, words in WRONG])
def test_what_cannot_be_built_is_one_line(change, words, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    change(folder)
    with pytest.raises(BackboneError, match=words) as error:
        load_backbone(str(folder))
    assert "\n" not in str(error.value)
    assert not Path("executed").exists()


def halve(folder):
    """The weights in two files."""
    state = load_file(folder / WEIGHTS)
    names = sorted(state)
    parts = {"model-1.safetensors": names[:20], "model-2.safetensors": names[20:]}
    for file, held in parts.items():
        save_file({name: state[name] for name in held}, folder / file)
    (folder / WEIGHTS).unlink()
    listing = {name: file for file, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listing}))


@pytest.mark.parametrize(
    "change",
    [
        halve,
        pickled(dict),
        spoil(lambda t: t.double()),
        ask(auto_map={"AutoModel": "evil.Model"}, return_dict=False, dtype="evil", id2label={"0": "speech"}),
        ask(attn_implementation="evil", pruned_heads={"0": [0]}, transformers_weights="../elsewhere"),
        put("generation_config.json", b"{"),
    ],
    ids=["shards", "pickle", "double", "words", "more words", "other files"],
)
def test_what_is_whole_is_loaded_whatever_else_is_said(change, folder, tiny_folder):
    change(folder)
    loaded = load_backbone(str(folder))
    assert loaded.fingerprint == load_backbone(tiny_folder).fingerprint
    loaded.fit_positions(36)
    assert loaded.model(torch.randn(1, 36, 128)).last_hidden_state.isfinite().all()


def test_shards_are_named_beside_their_index(tmp_path):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"b": "2.safetensors", "a": "1.safetensors"}}))
    assert shards(tmp_path / INDEX) == [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    assert shards(tmp_path / PICKLE) == [tmp_path / PICKLE]


def test_what_was_downloaded_before_loads_without_a_network(tiny_folder, tmp_path, monkeypatch):
    """Hugging Face's own cache, as its library and transformers lay it out; there is a pickle alone."""
    snapshot = tmp_path / "models--me--tiny" / "snapshots" / ("a" * 40)
    shutil.copytree(tiny_folder, snapshot)
    pickled(dict)(snapshot)
    (tmp_path / "models--me--tiny" / "refs").mkdir()
    (tmp_path / "models--me--tiny" / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_backbone("me/tiny").fingerprint == load_backbone(tiny_folder).fingerprint
    (snapshot / PICKLE).unlink()
    with pytest.raises(BackboneError, match="cannot be loaded") as error:
        load_backbone("me/tiny")
    assert "\n" not in str(error.value)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=150)
def test_damaged_folders_are_loaded_or_refused(seed, tiny_folder, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("damaged") / "backbone", random.Random(seed)
    shutil.copytree(tiny_folder, folder)
    kind = rng.choice(("config", "words", WEIGHTS, PICKLE, INDEX))
    if kind == PICKLE:
        pickled(dict)(folder)
    if kind == INDEX:
        halve(folder)
    if kind == "words":
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(distort(values, rng)))
    else:
        path = folder / ("config.json" if kind == "config" else kind)
        path.write_bytes(damage(path.read_bytes(), rng))
    refused(BackboneError, load_backbone, str(folder))
