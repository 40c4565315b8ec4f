"""The journal is the sweep: one JSON line per event, append-only, in the file before anybody hears of it.

Everything that comes after a sweep (tables, pictures, the MLflow mirror, export, resume) reads this file, nothing else.
Line types, each with `type` and `time` (seconds since 1970):

    sweep      once, first: format, sweep_id, study, command, options, data, backbone, versions, git_commit;
               num_trials where a study enumerates its points, search (space, sampler, scheduler, ...) where it searches
    proposal   trial_id, index (place in the study's order), config (complete), config_hash, point (hash without seed
               and fold), label, params {adapter, router, norm, head, num_trainable_params}; in a search also phase
               (search, confirm) and ask (number, candidate, passed_over: what the sampler needs to go on)
    start      trial_id, device (cpu, cuda)
    epoch      trial_id, epoch (from 1), train_loss, val_loss, val_accuracy, lr, seconds, val_seconds, step_seconds;
               note: its trial's checkpoint was damaged and it began anew, so that its epochs come again, and hold
    confirm    points (hashes of what a search's replicates are to confirm), num_trials
    decision   trial_id, epoch, action ("stop"), milestone
    retry      trial_id, epoch, error, strikes, losses, alone: its worker or machine is gone, or its device's memory was
               too small; it goes on from its checkpoint (alone: on a device of its own)
    end        trial_id, state (completed, stopped, failed), best_epoch, val_accuracy, test_accuracy, test_loss,
               device_seconds, error, retry (failed: may it be tried again?). Absence is never a number: a failed or
               stopped trial has no accuracies (null).
    restart    error, traceback: Ray Tune ended with an error of its own; another one goes on with the open trials
    sweep_end  reason, seconds
    resume     as sweep, where a run folder is resumed; everything but the first line's sweep_id holds from here on
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

from astmoa.errors import RunError, shown
from astmoa.records.event_check import problem
from astmoa.records.journal_events import JournalEvent

FORMAT = 1
NAME = "journal.jsonl"
_MAY_WAIT = ("start", "epoch")
_LONGEST_WAIT = 1.0
_TOLD = {"error", "traceback"}
_LONGEST_TOLD = 8000
_LONGEST_LINE = 1 << 24
_LARGEST = 1 << 29


class Journal:
    """Appends events to `run_dir/journal.jsonl`.

    Each event is handed to the system before `append` returns: another process reads it at once, and nothing is lost
    when this one is killed. It is fsynced, too, but for `start` and `epoch` within a second of the last fsync, which
    then wait for the next event's: a power cut may lose these, and a resumed trial reports such an epoch again, from
    its checkpoint. An fsync takes milliseconds on a busy disk, and a sweep may have hundreds of epochs a second.

    One process writes a journal: raises RunError while another one has it open. A line cut off by a crash is dropped.
    """

    def __init__(self, run_dir: Path):
        self.path = Path(run_dir) / NAME
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: nothing half-written may stay behind in a buffer when the disk is full.
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (open as long as the sweep)
        try:
            _lock(self._file, self.path)
            _drop_unfinished_line(self._file)
            self._end = self._file.seek(0, os.SEEK_END)
            _sync_folder(self.path.parent)  # the new file's name has to survive a power cut, too
        except BaseException:
            self._file.close()
            raise
        self._torn = False
        self._synced, self._synced_at = self._end, time.monotonic()

    def append(self, type: str, **fields: Any) -> dict[str, Any]:
        """Write one event, and return it as a reader will see it. NaN and infinities become null.

        Raises RunError where it cannot be written (the disk is full, say): then the file is as it was before.
        """
        event = _plain({"type": type, "time": time.time(), **fields})
        for key in _TOLD & event.keys():
            event[key] = event[key] and str(event[key])[:_LONGEST_TOLD]
        line = json.dumps(event, allow_nan=False)
        wrong = problem(event) if len(line) < _LONGEST_LINE else f"it would be {len(line):,} bytes long"
        if wrong:  # nobody could read it, nor what comes after it
            raise RunError(f"{self.path}: no {type} event of this kind can be written ({wrong})")
        rest = memoryview(line.encode() + b"\n")
        end = self._end + len(rest)
        try:
            if self._torn:
                self._take_back()
            while rest:  # a disk that is nearly full takes a part
                rest = rest[self._file.write(rest) :]
            if type not in _MAY_WAIT or time.monotonic() - self._synced_at >= _LONGEST_WAIT:
                self._sync(end)
        except OSError as error:
            self._torn = True
            with contextlib.suppress(OSError):  # tried again before the next line, and by whoever opens it next
                self._take_back()
            raise self._not_written(error) from None
        self._end = end
        return json.loads(line)

    def close(self) -> None:
        """Raises RunError where lines that wait for their fsync do not get it."""
        try:
            if not self._file.closed and self._synced < self._end:
                self._sync(self._end)
        except OSError as error:
            raise self._not_written(error) from None
        finally:
            self._file.close()

    def _sync(self, end: int) -> None:
        os.fsync(self._file.fileno())
        self._synced, self._synced_at = end, time.monotonic()

    def _take_back(self) -> None:
        """Half a line helps nobody."""
        self._file.truncate(self._end)
        self._torn = False

    def _not_written(self, error: OSError) -> RunError:
        why = error.strerror or str(error)
        return RunError(
            f"{self.path}: cannot be written ({why}): make room, then go on with --resume {self.path.parent}"
        )


def read_journal(run_dir: Path) -> list[JournalEvent]:
    """All whole lines of a run folder's journal, oldest first, each as `events` has it. A last line cut off by a crash
    is left out.

    Raises RunError if there is no journal, if another line is damaged or says something impossible, or if a newer
    version wrote it.
    """
    return read_journal_from(run_dir, 0)[0]


def read_journal_from(run_dir: Path, offset: int) -> tuple[list[JournalEvent], int]:
    """The whole lines after byte `offset`, and the offset to go on from: follows a journal while it grows."""
    path, end = Path(run_dir) / NAME, offset
    if not path.is_file():
        raise RunError(f"{run_dir}: no {NAME} there; give the folder that a sweep wrote (its --out)")
    if path.stat().st_size > _LARGEST:
        raise RunError(f"{path}: {path.stat().st_size:,} bytes, which no sweep's journal has; restore the file")
    events: list[JournalEvent] = []
    with open(path, "rb") as file:
        file.seek(offset)
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), 1):
            if not line.endswith(b"\n") and len(line) <= _LONGEST_LINE:  # cut off by a crash, or being written
                break
            event, wrong = _parse(line)
            if end == 0 and isinstance(event, dict):
                _check_format(path, event)
            if wrong := wrong or problem(event):
                where = f"{path}:{number}" if offset == 0 else f"{path}, line {number} after byte {offset}"
                raise RunError(f"{where}: damaged line {line[:60]!r} ({wrong}); restore the file or remove this line")
            events.append(event)
            end += len(line)
    return events, end


def _check_format(path: Path, first: dict[str, Any]) -> None:
    written = first.get("format", FORMAT)
    if type(written) is not int or written > FORMAT:
        raise RunError(f"{path}: written by a newer astmoa (format {shown(written)}, this one reads {FORMAT}); upgrade")


def _parse(line: bytes) -> tuple[Any, str | None]:
    """What a line says, and why it says nothing."""
    if len(line) > _LONGEST_LINE:
        return None, "it is too long"
    try:
        return json.loads(line, parse_constant=_refuse), None
    except RecursionError:
        return None, "it is nested too deep"
    except ValueError as error:
        return None, str(error).partition(":")[0]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"{path}: another sweep is writing it; wait for its end or give another --out") from None
    except OSError:
        pass  # some network file systems have no locks: then one writer is up to the user


def _drop_unfinished_line(file: BinaryIO) -> None:
    file.seek(0)
    text = file.read()
    keep = text.rfind(b"\n") + 1
    if keep != len(text):
        file.truncate(keep)


def unfinished_line(run_dir: Path) -> bytes:
    """What a crash in the middle of a write left after the last whole line; empty as a rule."""
    text = (Path(run_dir) / NAME).read_bytes()
    return text[text.rfind(b"\n") + 1 :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(value: Any) -> Any:
    """JSON's own types: numpy's and torch's scalars as numbers, paths as text, no NaN: absence is never a number."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
