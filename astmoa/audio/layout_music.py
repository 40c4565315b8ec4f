"""Music: GTZAN's genres and OpenMIC-2018's instruments."""

from __future__ import annotations

import dataclasses
import json
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from astmoa.audio.csv_files import read_lines, shown
from astmoa.audio.layout import Choice, Download, Layout, Listing, Source, register
from astmoa.audio.lists import Finder, audio_files, check_files, folders, inner
from astmoa.audio.plain_files import PlainFile, read_plain
from astmoa.audio.splits import Clip, by_hash, some
from astmoa.errors import DataError

CLIPS_PER_GENRE, NUM_FOLDS = 100, 10
RELEVANT = 0.5
# All that numpy, zipfile and a damaged pickle raise: headers may promise more than fits, lists may be too deep.
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    MemoryError,
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.PickleError,
)

# ---- GTZAN. torchaudio's lists are used; its class opens .wav below genres/ alone, and decodes with torchcodec.


@register
class Gtzan(Layout):
    """GTZAN: 10 genres of music, the fault-filtered split"""

    name = "gtzan"
    recipe: ClassVar = {"epochs": 30, "batch_size": 2, "freq_mask": 0, "time_mask": 0}
    source = Source(
        page="marsyas.info/downloads/datasets.html",
        licence="none stated; excerpts of commercial recordings, for research",
        layout=("ROOT/blues/blues.00000.wav   10 genres x 100 clips; ROOT/genres or ROOT/genres_original will do",),
        by_hand=(
            "the original server (opihi.cs.uvic.ca/sound/genres.tar.gz, 1.2 GB) is gone; take a mirror, such as "
            "kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification"
        ),
        group="recording",
        clips=930,  # of the fault-filtered lists
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """ROOT/GENRE/GENRE.00000.wav, also below ROOT/genres or ROOT/genres_original; .au or any other format will do.

        The fault-filtered split (443 train, 197 validation, 290 test clips) was made against the set's repeated
        recordings. What it does not list is not used. jazz.00054 is known to be broken in the public copy:
        --skip-bad-clips leaves it out.
        """
        from torchaudio.datasets.gtzan import (  # torch is not for who only asks for names
            filtered_test,
            filtered_train,
            filtered_valid,
            gtzan_genres,
        )

        root = _gtzan_root(self, root)
        sides = {"train": filtered_train, "val": filtered_valid, "test": filtered_test}
        finder = Finder()
        clips = [_excerpt(root, name, None, split, finder) for split, names in sides.items() for name in names]
        check_files(root, clips, choice.skip_bad_clips)
        return Listing("gtzan", tuple(gtzan_genres), tuple(clips), 30.0)


@register
class GtzanFolds(Layout):
    """GTZAN: all 1,000 clips in ten folds of ours"""

    name = "gtzan_folds"
    recipe: ClassVar = {"epochs": 30, "batch_size": 2, "freq_mask": 0, "time_mask": 0}
    source = dataclasses.replace(Gtzan.source, clips=1000)

    def read(self, root: Path, choice: Choice) -> Listing:
        """All 1,000 clips in ten folds, folders as for `gtzan`.

        Each genre's hundred clips are sorted by a hash of their names and dealt out in turn: ten per genre and fold,
        the same everywhere. No official folds exist. The set's repeated recordings fall into different folds, which
        flatters every method: prefer `gtzan`, and use this to compare with results that were made so.
        """
        from torchaudio.datasets.gtzan import gtzan_genres  # torch is not for who only asks for names

        root = _gtzan_root(self, root)
        finder, clips = Finder(), []
        for genre in gtzan_genres:
            names = sorted((f"{genre}.{number:05d}" for number in range(CLIPS_PER_GENRE)), key=by_hash)
            clips += [_excerpt(root, name, 1 + i % NUM_FOLDS, None, finder) for i, name in enumerate(names)]
        clips.sort(key=lambda clip: clip.name)
        check_files(root, clips, choice.skip_bad_clips)
        return Listing("gtzan_folds", tuple(gtzan_genres), tuple(clips), 30.0, own_validation=False)


def _gtzan_root(layout: Layout, root: Path) -> Path:
    from torchaudio.datasets.gtzan import gtzan_genres

    root = inner(
        layout.name, layout.source.page, root, gtzan_genres[0], "genres", "genres_original", "Data/genres_original"
    )
    strange = [path.name for path in folders(root) if path.name not in gtzan_genres and audio_files(path)]
    if strange:
        raise DataError(f"{root} has {some(strange)}, no genre of GTZAN: move it elsewhere, or use --data folder")
    lacking = [genre for genre in gtzan_genres if not (root / genre).is_dir()]
    if lacking:
        raise DataError(f"{root} has no folder {some(lacking)}: unpack GTZAN again")
    return root


def _excerpt(root: Path, name: str, fold: int | None, split: str | None, finder: Finder) -> Clip:
    from torchaudio.datasets.gtzan import gtzan_genres

    genre = name.partition(".")[0]
    path = finder.find(root / genre / f"{name}.wav")
    return Clip(name, gtzan_genres.index(genre), path, fold, split)


# ---- OpenMIC


@register
class OpenMic(Layout):
    """OpenMIC-2018: 20 instruments, several per clip"""

    name = "openmic"
    recipe: ClassVar = {"epochs": 30, "batch_size": 12, "freq_mask": 0, "time_mask": 0}
    source = Source(
        page="zenodo.org/records/1432913",
        licence="CC BY 4.0 (each clip under its own Creative Commons licence, see openmic-2018-metadata.csv)",
        layout=(
            "ROOT/openmic-2018.npz, ROOT/class-map.json",
            "ROOT/partitions/split01_train.csv, split01_test.csv",
            "ROOT/audio/000/000046_3840.ogg   20,000 clips, 20 instruments",
        ),
        download=Download(
            "https://zenodo.org/records/1432913/files/openmic-2018-v1.0.0.tgz",
            2_623_376_754,
            "md5:e4ccf187e2bb5ab2e115416e8aafe7f4",
            "Zenodo's record 1432913",
        ),
        group="track",
        clips=20_000,
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """ROOT/openmic-2018.npz, class-map.json, partitions/split01_{train,test}.csv and audio/KEY[:3]/KEY.ogg.

        Twenty instruments, several per clip, each labelled for some clips only: a target is 1 where its relevance is at
        least 0.5, 0 below, NaN where nobody was asked. Groups are tracks. No validation split is named: a tenth of
        train is held out.
        """
        root = inner(self.name, self.source.page, root, "openmic-2018.npz", "openmic-2018")
        archive = root / "openmic-2018.npz"
        keys, relevance, labelled = _arrays(archive)
        labels = _class_map(root / "class-map.json")
        shape = (len(keys), len(labels))
        if relevance.shape != shape or labelled.shape != shape:
            raise DataError(
                f"{archive} has targets of shape {relevance.shape} for {shape[0]} keys, class-map.json "
                f"{shape[1]} classes: restore both from the same archive"
            )
        wrong = np.argwhere(labelled & ~((relevance >= 0) & (relevance <= 1)))  # NaN is in no range
        if len(wrong):
            clip, label = wrong[0]
            raise DataError(
                f"{archive}: the relevance of {labels[label]} in {keys[clip]} is {relevance[clip, label]:g}, not in "
                f"0 to 1 ({len(wrong)} such in all): restore it from the data set's archive"
            )
        split = _partition(root / "partitions", keys)
        finder = Finder()
        paths = [finder.find(root / "audio" / key[:3] / f"{key}.ogg") for key in keys]
        clips = tuple(
            Clip(key, -1, path, None, split[key], key.partition("_")[0]) for key, path in zip(keys, paths, strict=True)
        )
        check_files(archive, clips, choice.skip_bad_clips)
        targets = np.where(labelled, relevance >= RELEVANT, np.nan).astype(np.float32)
        return Listing("openmic", labels, clips, 10.0, targets)


def _arrays(archive: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """sample_key, Y_true [clips, classes] in 0..1, Y_mask [clips, classes] bool."""
    try:
        with PlainFile(archive):  # or NumPy would wait for a pipe's other end
            pass
        with np.load(archive) as arrays:  # the large X (features of another model) is not read
            relevance, labelled = arrays["Y_true"], arrays["Y_mask"].astype(bool)
        with zipfile.ZipFile(archive) as file:
            keys = _strings(file)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{archive} cannot be read ({reason}): restore it from the data set's archive") from None
    return keys, relevance, labelled


def _strings(file: zipfile.ZipFile) -> list[str]:
    """sample_key. The official file keeps it as an array of Python objects, which is a pickle, and a pickle may run
    any program: this one may name numpy's array and dtype and the decoding of bytes, and nothing else."""
    with file.open("sample_key.npy") as stream:
        np.lib.format.read_magic(stream)
        _, _, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype.hasobject:
            keys = _OnlyArrays(stream, encoding="latin1").load()
        else:
            keys = np.frombuffer(stream.read(), dtype=dtype)
    return [str(key) for key in np.asarray(keys).ravel()]


class _OnlyArrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2's protocol
            return _latin1
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no list of clips needs")


def _latin1(text: str, encoding: str) -> bytes:
    """`_codecs.encode` as a pickle of bytes calls it. Any other encoding could be a program's."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes as {encoding!r}, which no list of clips needs")
    return text.encode("latin1")


def _class_map(path: Path) -> tuple[str, ...]:
    try:
        index = json.loads(read_plain(path))
        names = {int(number): str(name) for name, number in index.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}): restore it from the data set's archive") from None
    if sorted(names) != list(range(len(index))):
        raise DataError(f"{path} does not number its {len(index)} classes from 0 on: restore it")
    return tuple(names[number] for number in range(len(names)))


def _partition(folder: Path, keys: list[str]) -> dict[str, str]:
    """The official split of every key. Raises DataError for a key in none, in both, or without labels."""
    split: dict[str, str] = {}
    known = set(keys)
    for side in ("train", "test"):
        path = folder / f"split01_{side}.csv"
        for key in read_lines(path):
            if key not in known:
                raise DataError(
                    f"{path} lists {shown(key)}, which openmic-2018.npz does not: restore both from one archive"
                )
            if split.setdefault(key, side) != side:
                raise DataError(f"{path}: {shown(key)} is in train and test: restore the official lists")
    lacking = [key for key in keys if key not in split]
    if lacking:
        raise DataError(f"{folder} puts {some(lacking)} into neither train nor test: restore the official lists")
    return split
