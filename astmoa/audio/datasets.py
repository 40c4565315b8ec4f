"""Which clips there are, what they are called, and on which side of a split they lie.

Three sources, one shape: ESC-50 in its official layout, any CSV manifest, and the built-in synthetic set.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import soundfile
import torch

from astmoa.audio import synthetic
from astmoa.audio.decode import load_clip, num_samples
from astmoa.audio.splits import Clip, Splits, check_groups, divide, fold_numbers, some
from astmoa.config import DataConfig
from astmoa.errors import DataError

ESC50_SECONDS = 5.0
LONGEST_DEFAULT_SECONDS = 10.0
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, eq=False)
class DataSet:
    """A named, ordered list of clips. `load(i)` gives clip i as [samples] float32, mono, 16 kHz, at most `seconds`
    long."""

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    seconds: float
    load: Callable[[int], torch.Tensor] = field(repr=False)
    version: str = ""
    """What the clips are made from, where they are no files: it takes part in the feature store's key."""

    @property
    def folds(self) -> tuple[int, ...]:
        """Fold numbers, ascending; empty where the data name their splits."""
        return fold_numbers(self.clips)

    def splits(self, fold: int = 1, leave_out: Collection[int] = ()) -> Splits:
        """Fold `fold` tests, the next one (cyclic) validates, the others train; named splits are taken as they are.

        Without a validation split a tenth of train is held out, chosen by the clips' names: the same for every seed,
        machine and `leave_out`. Clips in `leave_out` are dropped. Raises DataError for a fold that does not exist, an
        empty split and a class that is missing from train.
        """
        return divide(self.name, self.labels, self.clips, fold, leave_out)


def open_data(config: DataConfig) -> DataSet:
    """The data set that a configuration names. Reads lists and headers, decodes nothing. Raises DataError."""
    if config.name == "builtin":
        clips = tuple(Clip(**item) for item in synthetic.plan())
        seconds = config.seconds or synthetic.SECONDS
        load = partial(_render, num_samples(seconds))
        data = DataSet("builtin", synthetic.LABELS, clips, seconds, load, synthetic.VERSION)
    else:
        if config.root is None:
            raise DataError(f"data.root is not set: give the folder of the {config.name} data (--data-root)")
        labels, clips = (_esc50 if config.name == "esc50" else _manifest)(Path(config.root), config.skip_bad_clips)
        seconds = config.seconds or (ESC50_SECONDS if config.name == "esc50" else _longest(clips))
        name = config.name if config.name == "esc50" else _manifest_path(Path(config.root)).resolve().parent.name
        data = DataSet(name, labels, clips, seconds, partial(_load, tuple(clip.path for clip in clips), seconds))
    data.splits(config.fold)  # a set that cannot be split should say so before hours of decoding
    return data


def _render(samples: int, index: int) -> torch.Tensor:
    return torch.from_numpy(synthetic.render(index)[:samples])


def _load(paths: Sequence[Path], seconds: float, index: int) -> torch.Tensor:
    return load_clip(paths[index], seconds)


def _esc50(root: Path, allow_missing: bool) -> tuple[tuple[str, ...], tuple[Clip, ...]]:
    """ROOT/meta/esc50.csv and ROOT/audio/. The csv says .wav; a file of the same stem in another format will do."""
    table = root / "meta" / "esc50.csv"
    if not table.is_file():
        raise DataError(f"{root} has no meta/esc50.csv: set data.root to ESC-50 from github.com/karolpiczak/ESC-50")
    rows = _rows(table, "filename", "fold", "target", "category")
    known = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".aifc"}
    audio = root / "audio"
    files = sorted(audio.iterdir()) if audio.is_dir() else []
    found = {path.stem: path for path in files if path.suffix.lower() in known}
    categories = {_integer(row["target"], table, "target"): row["category"] for row in rows}
    targets = {target: index for index, target in enumerate(sorted(categories))}
    clips = []
    for row in rows:
        if categories[int(row["target"])] != row["category"]:
            raise DataError(f"{table}: target {row['target']} has two categories: give each target one category")
        listed = audio / row["filename"]
        path = listed if listed.is_file() else found.get(listed.stem, listed)
        fold = _integer(row["fold"], table, "fold")
        clips.append(Clip(row["filename"], targets[int(row["target"])], path, fold, None, row.get("src_file") or None))
    _check_files(table, clips, allow_missing)
    return tuple(categories[target] for target in sorted(categories)), tuple(clips)


def _manifest_path(root: Path) -> Path:
    return root if root.is_file() else root / "manifest.csv"


def _manifest(root: Path, allow_missing: bool) -> tuple[tuple[str, ...], tuple[Clip, ...]]:
    """Any CSV with path, label, and split or fold (split counts where both are there); paths start at its folder."""
    table = _manifest_path(root)
    rows = _rows(table, "path", "label", "split|fold")
    named = "split" in rows[0]
    names = sorted({row["label"] for row in rows}, key=_numbers_as_numbers([row["label"] for row in rows]))
    clips = []
    for row in rows:
        split = _SPLIT_NAMES.get(row["split"].strip().lower()) if named else None
        if named and split is None:
            raise DataError(f"{table}: split {row['split']!r} of {row['path']} is unknown: use train, val or test")
        fold = None if named else _integer(row["fold"], table, "fold")
        path = table.parent / row["path"]
        clips.append(Clip(row["path"], names.index(row["label"]), path, fold, split, row.get("group") or None))
    _check_files(table, clips, allow_missing)
    check_groups(table, clips)
    return tuple(names), tuple(clips)


def _rows(table: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file; every one of `columns` ("a|b": one of them) is there and filled."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(
            f"{table} does not exist: set data.root to a manifest.csv, or to the folder that holds it"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error}): save it as a CSV file in UTF-8") from None
    if not rows:
        raise DataError(f"{table} lists no clips: give a header line and one line per clip")
    for alternatives in columns:
        present = [name for name in alternatives.split("|") if name in rows[0]]
        if not present:
            raise DataError(
                f"{table} has no column {alternatives.replace('|', ' or ')}: it has {', '.join(map(str, rows[0]))}"
            )
        for line, row in enumerate(rows, start=2):
            if not row[present[0]]:
                raise DataError(f"{table} line {line} has no {present[0]}: fill it or remove the line")
    return rows


def _integer(text: str, table: Path, column: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{table}: {column} {text!r} is no whole number: correct it") from None


def _numbers_as_numbers(labels: Sequence[str]) -> Callable[[str], int | str]:
    return (
        int if all(label.isdecimal() for label in labels) and len({int(x) for x in labels}) == len(set(labels)) else str
    )


def _check_files(table: Path, clips: Sequence[Clip], allow_missing: bool) -> None:
    twice = [name for name, count in Counter(clip.name for clip in clips).items() if count > 1]
    if twice:
        raise DataError(f"{table} lists {some(twice)} more than once: keep one line per clip")
    missing = [] if allow_missing else [str(clip.path) for clip in clips if not os.path.isfile(clip.path)]
    if missing:
        fix = "restore them, or use --skip-bad-clips to leave them out"
        raise DataError(f"{table} lists {len(missing)} clips that do not exist, {some(missing)}: {fix}")


def _longest(clips: Sequence[Clip]) -> float:
    """Seconds of the longest clip by its header, 10 at most; a file without a readable header does not count."""
    longest = 0.0
    for clip in clips:
        try:
            longest = max(longest, soundfile.info(clip.path).duration)
        except (soundfile.SoundFileError, TypeError, ValueError, OSError, ZeroDivisionError):
            continue  # decoding reports it, with all others
    if longest == 0.0:
        raise DataError(
            f"none of {len(clips)} clips is readable audio, {clips[0].path} for one: convert them to WAV or FLAC"
        )
    return min(longest, LONGEST_DEFAULT_SECONDS)
