"""Tiny data sets in the official layouts: short noises under the official names."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import soundfile

from astmoa.audio.layout_speech import WORDS_V1, WORDS_V2
from astmoa.config import DataConfig

FSC_INTENTS = (("activate", "lights", "kitchen"), ("change language", "none", "none"), ("bring", "juice", "none"))
INSTRUMENTS = ("accordion", "banjo", "cello")


def wav(path: Path, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(len(str(path))).normal(size=round(16_000 * seconds))
    soundfile.write(path, samples, 16_000)


def wavs(paths: list[Path], seconds: float = 0.1) -> None:
    """The same noise under many names: hundreds of files in no time."""
    wav(paths[0], seconds)
    for path in paths[1:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(paths[0], path)


def table(path: Path, header: str, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def esc50(root: Path, suffix: str = "wav") -> DataConfig:
    """5 folds x 3 classes."""
    rows = []
    for fold in range(1, 6):
        for target, category in ((36, "vacuum"), (4, "frog"), (19, "thunder")):
            name = f"{fold}-10{target}{fold}-A-{target}"
            rows.append(f"{name}.wav,{fold},{target},{category},False,10{target}{fold},A")
            wav(root / "audio" / f"{name}.{suffix}")
    table(root / "meta" / "esc50.csv", "filename,fold,target,category,esc10,src_file,take", rows)
    return DataConfig("esc50", root=str(root))


def urbansound8k(root: Path, suffix: str = "wav") -> DataConfig:
    """10 folds x 2 classes x 2 slices of one recording."""
    rows = []
    for fold in range(1, 11):
        for number, name in ((3, "dog_bark"), (1, "car_horn")):
            for slice_ in range(2):
                recording = 100 * fold + number
                clip = f"{recording}-{number}-0-{slice_}"
                rows.append(f"{clip}.wav,{recording},0.0,4.0,1,{fold},{number},{name}")
                wav(root / "audio" / f"fold{fold}" / f"{clip}.{suffix}")
    table(
        root / "metadata" / "UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        rows,
    )
    return DataConfig("urbansound8k", root=str(root))


def speech_commands(root: Path, version: int = 2, num_labels: int | None = None) -> DataConfig:
    """Per word: 10 clips of train, 2 of validation, 2 of test; speakers are on one side; 2 recordings of noise."""
    words = WORDS_V1 if version == 1 else WORDS_V2
    sides = {"train": [], "val": [], "test": []}
    for word in words:
        for speaker in range(14):
            side = "train" if speaker < 10 else "val" if speaker < 12 else "test"
            sides[side].append(f"{word}/{speaker:08x}_nohash_0.wav")
    wavs([root / name for names in sides.values() for name in names], 0.2)
    (root / "validation_list.txt").write_text("\n".join(sides["val"]) + "\n")
    (root / "testing_list.txt").write_text("\n".join(sides["test"]) + "\n")
    wav(root / "_background_noise_" / "pink_noise.wav", 30.0)
    wav(root / "_background_noise_" / "running_tap.wav", 15.0)
    (root / "_background_noise_" / "README.md").write_text("noise\n")
    return DataConfig(f"speech_commands_v{version}", root=str(root), num_labels=num_labels)


def fluent_speech_commands(root: Path) -> DataConfig:
    """Two speakers per split, who say three intents each; ROOT is the folder above the data."""
    data = root / "fluent_speech_commands_dataset"
    header = ",path,speakerId,transcription,action,object,location"
    for split, speakers in (("train", "abcd"), ("valid", "ef"), ("test", "gh")):
        rows = []
        for speaker in speakers:
            for number, intent in enumerate(FSC_INTENTS):
                path = f"wavs/speakers/{speaker}/{split}-{speaker}-{number}.wav"
                rows.append(f'{len(rows)},{path},{speaker},"Well, do it",{",".join(intent)}')
                wav(data / path)
        table(data / "data" / f"{split}_data.csv", header, rows)
    return DataConfig("fluent_speech_commands", root=str(root))


def gtzan(root: Path, name: str = "gtzan", below: str = "genres", suffix: str = "wav") -> DataConfig:
    """All 1,000 names."""
    from torchaudio.datasets.gtzan import gtzan_genres

    folder = root / below
    wavs([folder / genre / f"{genre}.{number:05d}.{suffix}" for genre in gtzan_genres for number in range(100)])
    return DataConfig(name, root=str(root))


def openmic(root: Path, num_clips: int = 60, as_objects: bool = True) -> DataConfig:
    """Three instruments; clip i is labelled for instrument i % 3, yes for even i // 3, and for the next one, no."""
    keys = [f"{i // 10:03d}{i:03d}_3840" for i in range(num_clips)]
    relevance = np.full((num_clips, 3), 0.5)
    mask = np.zeros((num_clips, 3), dtype=bool)
    for i in range(num_clips):
        relevance[i, i % 3], relevance[i, (i + 1) % 3] = (0.9 if i // 3 % 2 == 0 else 0.2), 0.1
        mask[i, [i % 3, (i + 1) % 3]] = True
    root.mkdir(parents=True, exist_ok=True)
    names = np.array(keys, dtype=object if as_objects else None)
    vggish = np.zeros((num_clips, 10, 128), dtype=int)
    np.savez(root / "openmic-2018.npz", X=vggish, Y_true=relevance, Y_mask=mask, sample_key=names)
    (root / "class-map.json").write_text(json.dumps({name: i for i, name in enumerate(INSTRUMENTS)}))
    test = keys[: num_clips // 4]
    table(root / "partitions" / "split01_test.csv", test[0], test[1:])
    train = keys[num_clips // 4 :]
    table(root / "partitions" / "split01_train.csv", train[0], train[1:])
    wavs([root / "audio" / key[:3] / f"{key}.ogg" for key in keys])
    return DataConfig("openmic", root=str(root))


def openmic_arrays(root: Path, **changed: np.ndarray) -> None:
    """Put other arrays into an `openmic` made before."""
    archive = root / "openmic-2018.npz"
    arrays = dict(np.load(archive, allow_pickle=True))
    np.savez(archive, **{**arrays, **changed})


def openmic_keys(root: Path, pickled: bytes | None = None) -> None:
    """Write the keys as the published file has them, an array of objects in pickle's protocol 2, or as `pickled`."""
    archive = root / "openmic-2018.npz"
    arrays = dict(np.load(archive, allow_pickle=True))
    keys = arrays.pop("sample_key").astype(object)
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": keys.shape})
    stream.write(pickle.dumps(keys, protocol=2) if pickled is None else pickled)
    np.savez(archive, **arrays)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("sample_key.npy", stream.getvalue())


def folder(root: Path, divided: tuple[str, ...] = (), clips: int = 10) -> DataConfig:
    """Two classes; `divided`: the names of split folders."""
    for split in divided or ("",):
        for label in ("cat", "dog"):
            wavs([root / split / label / f"{i}.wav" for i in range(clips)])
    return DataConfig("folder", root=str(root))
