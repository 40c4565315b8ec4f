"""One trial without Ray: what can go wrong with the place that it is kept in."""

import json
import types

import pytest
import torch

from astmoa.bundles.export import Predictor
from astmoa.cli.main import main
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig, complete
from astmoa.errors import ConfigError, RunError
from astmoa.study import train_one as module
from astmoa.study.train_one import train_one
from astmoa.training.checkpoint import load_tensors
from tests.helpers.disks import fill, small_disk
from tests.helpers.refusals import refused
from tests.helpers.runs import write_tones


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("sounds"), per_split=(2, 1, 1))


@pytest.fixture(scope="module")
def config(sounds, tiny_folder):
    return complete(
        TrialConfig(
            data=DataConfig("csv", str(sounds), seconds=0.6),
            backbone=BackboneConfig(tiny_folder),
            method=MethodConfig("bottleneck", bottleneck_dim=2),
            optim=OptimConfig(epochs=3, batch_size=6),
        )
    )


def timeless(end):
    return {key: value for key, value in end.items() if "seconds" not in key}


def a_file(place):
    place.write_text("mine")
    return place


def below_a_file(place):
    place.write_text("mine")
    return place / "run"


def with_a_folder_of_mine(place):
    (place / "bundle").mkdir(parents=True)
    (place / "bundle" / "mine").touch()
    return place


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_file, "out is a file; give --out a folder"),
        (below_a_file, "run cannot be written (Not a directory)"),
        (with_a_folder_of_mine, "bundle exists and is no exported bundle; choose another --out"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_the_data_are_read(make, words, config, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "open_inputs", lambda data: pytest.fail("read the data"))
    assert words in refused(RunError, train_one, config, make(tmp_path / "out"))


def test_a_full_disk_is_found_before_the_data_are_read(config, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "open_inputs", lambda data: pytest.fail("read the data"))
    with small_disk(tmp_path / "disk", 64) as disk:
        fill(disk)
        message = refused(RunError, train_one, config, disk)
        assert f"{disk} cannot be written (No space left on device): make room" in message


def test_a_disk_that_fills_up_ends_in_one_line_and_room_lets_it_go_on(config, tmp_path, capsys):
    """After the first epoch; and then once more, when the bundle is written."""
    whole = timeless(train_one(config, tmp_path / "whole", as_json=True))
    with small_disk(tmp_path / "disk", 512) as disk:
        out, filler = disk / "out", None

        def fill_after(epoch):
            def line(record, *_):
                nonlocal filler
                if record["epoch"] == epoch:
                    filler = fill(disk)
                return json.dumps(record)

            return line

        for epoch, words in ((1, f"{out}/checkpoint.safetensors: cannot be written"), (3, "cannot be written")):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "_line", fill_after(epoch))
                message = refused(RunError, train_one, config, out)
            assert words in message
            assert "(No space left on device): make room" in message
            assert [path.name for path in out.rglob("*") if "tmp" in path.name] == []
            filler.unlink()
        assert load_tensors(out / "checkpoint.safetensors")[1]["best_epoch"] in (1, 2, 3)
        capsys.readouterr()
        assert timeless(train_one(config, out, as_json=True)) == whole
        assert Predictor(out / "bundle").labels == Predictor(tmp_path / "whole/bundle").labels


def test_a_damaged_checkpoint_is_told_on_standard_error(config, tmp_path, capsys):
    whole = timeless(train_one(config, tmp_path, as_json=True))
    path = tmp_path / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 64
    path.write_bytes(content)
    capsys.readouterr()
    assert timeless(train_one(config, tmp_path, as_json=True)) == whole
    why = f"{path} is damaged (its checksum is another one): it is {path.name}.damaged by now"
    assert capsys.readouterr().err == f"warning: {why}, and the trial begins anew\n"
    assert (tmp_path / f"{path.name}.damaged").read_bytes() == content


def test_a_size_that_memory_does_not_hold_is_one_line(config, monkeypatch):
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: types.SimpleNamespace(available=5_000))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "trainable parameters need more than" in refused(ConfigError, train_one, config, None)


def test_a_device_without_memory_is_one_line(config, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines")

    monkeypatch.setattr(module, "Trial", full)
    assert "out of device memory (CUDA out of memory" in refused(RunError, train_one, config, None)


def test_an_export_to_a_full_disk_names_that_disk(tmp_path, capsys):
    from tests.helpers.runs import trials_of, write_sweep

    run_dir = write_sweep(tmp_path / "run", trials_of({"1/2": (1_000, (0.5,))}))
    with small_disk(tmp_path / "disk", 64) as disk:
        fill(disk)
        with pytest.raises(SystemExit) as caught:
            main(["export", str(run_dir), "--out", str(disk / "best")])
        error = capsys.readouterr().err
        assert caught.value.code == 2
        assert error.startswith(f"error: {disk}/best cannot be written (No space left on device): make room")
        assert error.count("\n") == 1
