import pytest
import torch
import torch.nn.functional as F

from astmoa.backbone.frozen import Backbone, load_backbone, resize_positions
from astmoa.errors import BackboneError
from tests.helpers.tiny import make_model

FREQ, TIME, WIDTH = 8, 5, 16  # the tiny model's grid at 64 frames


def native(model):
    return model.embeddings.position_embeddings.detach().clone()


def grid(table, time):
    return table[0, 2:].reshape(FREQ, time, WIDTH)


def test_the_same_length_is_untouched(tiny_backbone):
    before = native(tiny_backbone.model)
    tiny_backbone.fit_positions(64)
    assert torch.equal(tiny_backbone.model.embeddings.position_embeddings, before)


def test_a_shorter_clip_gets_the_centre_in_time(tiny_backbone):
    before = native(tiny_backbone.model)
    tiny_backbone.fit_positions(36)  # 3 time patches of 5
    after = tiny_backbone.model.embeddings.position_embeddings
    assert torch.equal(grid(after, 3), grid(before, TIME)[:, 1:4])
    assert torch.equal(after[:, :2], before[:, :2])


def test_a_longer_clip_is_interpolated_in_time_alone(tiny_backbone):
    before = native(tiny_backbone.model)
    tiny_backbone.fit_positions(114)  # 10 time patches
    after = tiny_backbone.model.embeddings.position_embeddings
    assert torch.equal(after[:, :2], before[:, :2])
    for freq in range(FREQ):  # each frequency row by itself: nothing leaks between rows
        row = grid(before, TIME)[freq].T[None]
        expected = F.interpolate(row, size=10, mode="linear", align_corners=False)[0].T
        torch.testing.assert_close(grid(after, 10)[freq], expected)


def test_fitting_starts_from_the_native_table_every_time(tiny_backbone):
    before = native(tiny_backbone.model)
    tiny_backbone.fit_positions(36)
    tiny_backbone.fit_positions(114, faithful=("positions",))
    tiny_backbone.fit_positions(64)
    assert torch.equal(tiny_backbone.model.embeddings.position_embeddings, before)


def test_faithful_positions_are_zeros_where_the_length_changes(tiny_backbone):
    tiny_backbone.fit_positions(36, faithful=("positions",))
    assert not tiny_backbone.model.embeddings.position_embeddings.any()
    tiny_backbone.fit_positions(64, faithful=("positions",))
    assert tiny_backbone.model.embeddings.position_embeddings.any()


def test_the_papers_grid():
    """12 x 101 at 1024 frames; 590 tokens at 500, 110 at 100."""
    table = torch.randn(1, 2 + 12 * 101, 4)
    assert resize_positions(table, 12, 101, (500 - 16) // 10 + 1).shape == (1, 590, 4)
    assert resize_positions(table, 12, 101, (100 - 16) // 10 + 1).shape == (1, 110, 4)


def test_a_folder_is_loaded_frozen_and_packs_without_loss(tiny_folder):
    backbone = load_backbone(tiny_folder)
    assert not any(p.requires_grad for p in backbone.model.parameters())
    x = torch.randn(2, 36, 128)
    backbone.fit_positions(36)
    expected = backbone.model(x).last_hidden_state
    again = backbone.pack().unpack()
    again.fit_positions(36)
    assert torch.equal(again.model(x).last_hidden_state, expected)
    assert again.fingerprint == backbone.fingerprint == load_backbone(tiny_folder).fingerprint
    assert not again.model.training


def test_the_classification_checkpoint_of_the_hub_loads_too(tmp_path):
    """MIT/ast-finetuned-audioset-10-10-0.4593 is an ASTForAudioClassification; its inner model is what we want."""
    from transformers import ASTForAudioClassification

    model = make_model()
    classifier = ASTForAudioClassification(model.config)
    classifier.audio_spectrogram_transformer.load_state_dict(model.state_dict())
    classifier.save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path))
    assert loaded.fingerprint == Backbone(model, "x").fingerprint


def test_the_builtin_backbone_is_small_and_whole():
    backbone = load_backbone("builtin")
    from importlib import resources

    weights = resources.files("astmoa") / "assets" / "builtin_ast" / "model.safetensors"
    assert weights.stat().st_size <= 8_000_000
    backbone.fit_positions(98)
    assert backbone.model(torch.randn(1, 98, 128)).last_hidden_state.shape == (1, 74, backbone.shape.hidden_size)


def test_wrong_folders_are_told_apart(tmp_path, tiny_folder):
    import json
    import shutil

    no_weights = tmp_path / "no_weights"
    shutil.copytree(tiny_folder, no_weights)
    (no_weights / "model.safetensors").unlink()
    other_model = tmp_path / "other"
    shutil.copytree(tiny_folder, other_model)
    config = json.loads((other_model / "config.json").read_text())
    (other_model / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    empty = tmp_path / "empty"
    empty.mkdir()
    truncated = tmp_path / "truncated"
    shutil.copytree(tiny_folder, truncated)
    (truncated / "model.safetensors").write_bytes((truncated / "model.safetensors").read_bytes()[:1000])
    for folder, words in (
        (no_weights, "no weights"),
        (other_model, "'bert'"),
        (empty, "no config.json"),
        (truncated, "cannot be loaded"),
        (tmp_path / "missing", "does not exist"),
    ):
        with pytest.raises(BackboneError, match=words) as caught:
            load_backbone(str(folder))
        assert "\n" not in str(caught.value)


def test_a_checkpoint_that_lacks_tensors_is_refused(tmp_path):
    from safetensors.torch import save_file

    model = make_model()
    model.save_pretrained(tmp_path)
    state = {key: value for key, value in model.state_dict().items() if "layers.1.mlp.fc1" not in key}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lacks 2 tensors, first layers.1.mlp.fc1"):
        load_backbone(str(tmp_path))


def test_a_hub_id_without_network_is_one_line():
    with pytest.raises(BackboneError, match="cannot be loaded") as caught:
        load_backbone("MIT/no-such-model-anywhere")
    assert "\n" not in str(caught.value)


def test_clips_shorter_than_a_patch(tiny_backbone):
    with pytest.raises(BackboneError, match="shorter than one patch"):
        tiny_backbone.fit_positions(15)
