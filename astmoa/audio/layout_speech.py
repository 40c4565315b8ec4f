"""Spoken commands: Speech Commands (arXiv 1804.03209) and Fluent Speech Commands (arXiv 1904.03670)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from astmoa.audio.csv_files import Row, read_lines, read_rows, shown
from astmoa.audio.layout import Choice, Download, Layout, Listing, Source, register
from astmoa.audio.lists import (
    Finder,
    audio_files,
    check_files,
    folders,
    inner,
)
from astmoa.audio.sound import duration
from astmoa.audio.splits import Clip, by_hash, check_groups, some
from astmoa.errors import DataError

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
WORDS_V1 = (
    *("bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house", "left", "marvin", "nine"),
    *("no", "off", "on", "one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "wow", "yes"),
    "zero",
)
ADDED_IN_V2 = ("backward", "follow", "forward", "learn", "visual")
WORDS_V2 = tuple(sorted(WORDS_V1 + ADDED_IN_V2))
UNKNOWN, SILENCE = "unknown", "silence"
SECONDS = 1.0
EXCEPT_FOLDER, HASH_DIVIDER = "_background_noise_", "_nohash_"  # as in torchaudio's speechcommands
_LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
# Where in each recording of noise a split's silence is cut: no noise that was trained on is tested on.
_NOISE_PARTS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}

_SPEECH_COMMANDS_LAYOUT = (
    "ROOT/yes/0a7c2a8d_nohash_0.wav   one folder per word",
    "ROOT/validation_list.txt, ROOT/testing_list.txt",
    "ROOT/_background_noise_/*.wav    needed for 12 labels",
)
_TORCHAUDIO = "torchaudio's SPEECHCOMMANDS"

# torchaudio's SPEECHCOMMANDS and FluentSpeechCommands want their own folders around the data (SpeechCommands/
# speech_commands_v0.02/, fluent_speech_commands_dataset/), take .wav alone, and do not notice what is missing: only
# the names that the first one gives to parts of a file's path are used here.


class SpeechCommands(Layout):
    """Speech Commands: one spoken word per clip."""

    words: ClassVar[tuple[str, ...]]
    folder: ClassVar[str]
    """Name of the folder into which torchaudio and TensorFlow unpack it."""

    def read(self, root: Path, choice: Choice) -> Listing:
        """ROOT/WORD/SPEAKER_nohash_N.wav with validation_list.txt and testing_list.txt; what neither names is train.

        num_labels None, 30 or 35: every word. 10: the ten commands, other words left out. 12: the commands, "unknown"
        and "silence", each of these two a tenth as many clips per split as the commands have, rounded up, as in
        TensorFlow's speech_commands example. Unknown: the split's other words, the first ones by a hash of their names.
        Silence: 1 s of _background_noise_, at places given by a hash; train cuts from the first 80 % of each recording,
        val and test from the next 10 % each. (The separate archive of the official 12-label test is not used: its clips
        differ slightly.)
        """
        words, version = self.words, self.folder
        root = inner(self.name, self.source.page, root, _LISTS["test"], version, f"SpeechCommands/{version}")
        _check_words(self.name, root, words)
        clips = _word_clips(root, words)
        check_files(root, clips, choice.skip_bad_clips)
        if choice.num_labels in (None, len(words)):
            return Listing(self.name, words, tuple(clips), SECONDS)
        commands = [_relabel(clip, COMMANDS.index(_word(clip))) for clip in clips if _word(clip) in COMMANDS]
        if choice.num_labels == len(COMMANDS):
            return Listing(self.name, COMMANDS, tuple(commands), SECONDS)
        others = [_relabel(clip, len(COMMANDS)) for clip in clips if _word(clip) not in COMMANDS]
        chosen = list(commands)
        for split in _NOISE_PARTS:
            count = math.ceil(sum(clip.split == split for clip in commands) / 10)
            unknown = sorted((clip for clip in others if clip.split == split), key=lambda clip: by_hash(clip.name))
            chosen += unknown[:count]
            chosen += _silence(root, split, count)
        return Listing(self.name, (*COMMANDS, UNKNOWN, SILENCE), tuple(chosen), SECONDS)


@register
class SpeechCommandsV1(SpeechCommands):
    """Speech Commands v1: 30 spoken words"""

    name = "speech_commands_v1"
    words, folder = WORDS_V1, "speech_commands_v0.01"
    recipe: ClassVar = {"epochs": 30, "batch_size": 128, "freq_mask": 0, "time_mask": 0}
    label_choices = (30, 12, 10)
    source = Source(
        page="arxiv.org/abs/1804.03209",
        licence="CC BY 4.0",
        layout=(*_SPEECH_COMMANDS_LAYOUT, "30 words, 64,721 clips (64,727 files with the noise)"),
        download=Download(
            "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
            1_489_096_277,
            "sha256:743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
            _TORCHAUDIO,
        ),
        group="speaker",
        clips=64_721,
    )


@register
class SpeechCommandsV2(SpeechCommands):
    """Speech Commands v2: 35 spoken words"""

    name = "speech_commands_v2"
    words, folder = WORDS_V2, "speech_commands_v0.02"
    recipe: ClassVar = {"epochs": 75, "batch_size": 128, "freq_mask": 0, "time_mask": 0}
    label_choices = (35, 12, 10)
    source = Source(
        page="arxiv.org/abs/1804.03209",
        licence="CC BY 4.0",
        layout=(*_SPEECH_COMMANDS_LAYOUT, "35 words, 105,829 clips"),
        download=Download(
            "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            2_428_923_189,
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            _TORCHAUDIO,
        ),
        group="speaker",
        clips=105_829,
    )


def _check_words(name: str, root: Path, words: Sequence[str]) -> None:
    """The word folders are those of this version: one taken for the other would train on half-known labels."""
    there = {path.name for path in folders(root)} - {EXCEPT_FOLDER}
    newer = there & set(ADDED_IN_V2)
    if name == "speech_commands_v1" and newer:
        raise DataError(f"{root} is version 2 (it has {some(sorted(newer))}): use --data speech_commands_v2")
    if name == "speech_commands_v2" and not newer and there >= set(WORDS_V1):
        raise DataError(f"{root} is version 1 (it has no {some(ADDED_IN_V2)}): use --data speech_commands_v1")
    if there - set(words):
        raise DataError(f"{root} has {some(sorted(there - set(words)))}, no word of {name}: move it elsewhere")
    if set(words) - there:
        lacking = some(sorted(set(words) - there))
        raise DataError(f"{root} has no folder {lacking}: unpack {name} again (astmoa data check {name} says where)")


def _word_clips(root: Path, words: Sequence[str]) -> list[Clip]:
    """Every file of every word, and what the lists name beside them, by name."""
    sides: dict[tuple[str, str], tuple[str, str]] = {}  # (word, stem) -> (split, line)
    for split, filename in _LISTS.items():
        for line in read_lines(root / filename):
            word, _, file = line.partition("/")
            if word not in words or not file:
                raise DataError(
                    f"{root / filename} lists {shown(line)}, whose word is none of the {len(words)}: correct it"
                )
            if sides.setdefault((word, Path(file).stem), (split, line))[0] != split:
                raise DataError(f"{shown(line)} is in both lists of {root}: keep it in one")
    clips = []
    for index, word in enumerate(words):
        files = audio_files(root / word)
        if len({path.stem for path in files}) < len(files):
            raise DataError(f"{root / word} has clips in two formats: keep one file of each")
        for path in files:
            split, _ = sides.pop((word, path.stem), ("train", ""))
            clips.append(_clip(f"{word}/{path.name}", index, path, split))
    clips += [_clip(line, words.index(word), root / line, split) for (word, _), (split, line) in sides.items()]
    return sorted(clips, key=lambda clip: clip.name)


def _clip(name: str, label: int, path: Path, split: str) -> Clip:
    speaker, found, _ = path.name.partition(HASH_DIVIDER)
    return Clip(name, label, path, None, split, speaker if found else None)


def _word(clip: Clip) -> str:
    return clip.name.partition("/")[0]


def _relabel(clip: Clip, label: int) -> Clip:
    return Clip(clip.name, label, clip.path, clip.fold, clip.split, clip.group)


def _silence(root: Path, split: str, count: int) -> Iterator[Clip]:
    """`count` cuts of 1 s. No group: the few recordings are in every split, in different parts."""
    # In whole milliseconds, each a whole number of samples, rounded into the part: a cut that begins or ends a little
    # outside would share noise with another split.
    places = []  # (path, first start, room for starts)
    for path in audio_files(root / EXCEPT_FOLDER):
        seconds = duration(path)
        if seconds is None:
            raise DataError(f"{path} is not readable: restore it, or use data.num_labels=10, which needs no silence")
        start, end = (1000 * part * seconds for part in _NOISE_PARTS[split])
        first, last = math.ceil(start), math.floor(end - 1000 * SECONDS)
        if last > first:
            places.append((path, first, last - first))
    if not places:
        raise DataError(
            f"{root / EXCEPT_FOLDER} has no recording of {10.1 * SECONDS:g} s or more to cut silence from: restore it, "
            "or use data.num_labels=10"
        )
    total = sum(room for _, _, room in places)
    for number in range(count):
        name = f"{EXCEPT_FOLDER}/{split}-{number:04d}"
        where = int.from_bytes(by_hash(name)[:8]) / 2**64 * total
        for path, first, room in places:
            if where < room or path == places[-1][0]:
                start = (first + math.floor(min(where, room))) / 1000
                yield Clip(name, len(COMMANDS) + 1, path, None, split, None, (start, start + SECONDS))
                break
            where -= room


@register
class FluentSpeechCommands(Layout):
    """Fluent Speech Commands: 31 intents, each an action, an object and a location"""

    name = "fluent_speech_commands"
    recipe: ClassVar = {"epochs": 75, "batch_size": 32, "freq_mask": 0, "time_mask": 0}
    source = Source(
        page="fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research",
        licence="Fluent Speech Commands Public License (non-commercial and academic use; read it first)",
        layout=(
            "ROOT/data/train_data.csv, valid_data.csv, test_data.csv",
            "ROOT/wavs/speakers/SPEAKER/CLIP.wav   30,043 clips; ROOT may also be the folder above",
        ),
        by_hand="ask for it on that page and unpack fluent_speech_commands_dataset",
        group="speaker",
        clips=30_043,
    )

    def read(self, root: Path, choice: Choice) -> Listing:
        """ROOT/data/{train,valid,test}_data.csv and ROOT/wavs/; ROOT may also be the folder above. Clips are cut at 4
        s.

        A label is an intent, "action object location": 31 in the whole set. Groups are speakers; the official splits
        share none, and tables where one is in two are a DataError.
        """
        root = inner(self.name, self.source.page, root, "data/train_data.csv", "fluent_speech_commands_dataset")
        columns = ("path", "speakerId", "action", "object", "location")
        tables = {"train": "train_data.csv", "val": "valid_data.csv", "test": "test_data.csv"}
        rows = {split: read_rows(root / "data" / table, *columns) for split, table in tables.items()}
        labels = tuple(sorted({_intent(row) for row in rows["train"]}))
        index = {label: i for i, label in enumerate(labels)}
        finder, clips = Finder(), []
        for split, table in tables.items():
            for row in rows[split]:
                if _intent(row) not in index:
                    raise DataError(
                        f"{root / 'data' / table} line {row.line}: intent {shown(repr(_intent(row)))} of "
                        f"{shown(row['path'])} is not in train: restore the official tables, or remove that line"
                    )
                path = finder.find(root / row["path"])
                clips.append(Clip(row["path"], index[_intent(row)], path, None, split, row["speakerId"]))
        check_files(root / "data", clips, choice.skip_bad_clips)
        check_groups(root / "data", clips)
        return Listing(self.name, labels, tuple(clips), 4.0)


def _intent(row: Row) -> str:
    return f"{row['action']} {row['object']} {row['location']}"
