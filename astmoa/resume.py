"""`--resume RUN_DIR`: a study's options from the journal that it wrote, and what may be changed on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from astmoa import own_runs
from astmoa.config.strict import build
from astmoa.errors import ConfigError, RunError
from astmoa.journal import read_journal
from astmoa.storage import is_address, join
from astmoa.study_options import StudyOptions

Options = TypeVar("Options", bound=StudyOptions)

# What may be told anew: bounds, replicates, where and on what a sweep runs. All else decides its results.
_MAY_CHANGE = {
    *("resume", "out", "storage", "data_root", "tracking_uri", "trials_at_once", "gpus_per_trial"),
    *("seeds", "folds", "cross_validate", "confirm"),
    *("max_trials", "max_hours", "max_device_hours", "patience", "min_growth", "max_failures"),
}


def plain(options: StudyOptions) -> dict[str, Any]:
    """The options as JSON values, for the journal. Not where a run was resumed from: an address may hold a password."""
    values = {key: v for key, v in dataclasses.asdict(options).items() if key != "resume"}
    return {key: str(v) if isinstance(v, Path) else v for key, v in values.items()}


def stored_options(study: str, options_type: type[Options], run_dir: Path, storage_given: bool = False) -> Options:
    """The options that `run_dir` was last run with.

    storage_given: is it told anew where the run is kept? Raises RunError for another study's or an older version's, and
    for an address that neither is nor was given by this user (see `own_runs`).
    """
    events = read_journal(run_dir)
    header = [event for event in events if event["type"] in ("sweep", "resume")][-1:]
    if not header:
        raise RunError(f"{run_dir}: its journal begins with no sweep: give the folder that a sweep wrote (its --out)")
    if header[0].get("study") != study:
        raise RunError(f"{run_dir}: a run of {header[0].get('study')}, and this is {study}: resume it by its own file")
    values = {k: v for k, v in (header[0].get("options") or {}).items() if k not in ("resume", "out")}
    # What was left to a default is what the default was then: another version may have another.
    written = header[0].get("search") or {}
    values |= {key: written[key] for key in values if values[key] is None and key in written}
    for key in ("tracking_uri", "storage"):
        if "***" in str(values.get(key)):  # its password is in no journal
            values[key] = None
    storage = values.get("storage")
    if storage_given:
        values["storage"] = None
    elif is_address(storage) and not own_runs.follows(events[0], "storage", join(storage, run_dir.name)):
        raise RunError(
            f"{run_dir}: it names {storage}, which this user has not given it on this machine: add --storage {storage} "
            f"where you trust that address, or --storage {run_dir.parent} to go on without it"
        )
    try:
        options = build(options_type, values, "--")
    except ConfigError as error:
        raise RunError(f"{run_dir}: its options are another version's ({error}); resume it by that version") from None
    return dataclasses.replace(options, out=run_dir, resume=run_dir)


def check_unchanged(stored: StudyOptions, now: StudyOptions) -> None:
    """Raises RunError with the difference where something is told anew that decides a sweep's results."""
    before, after = plain(stored), plain(now)
    changed = [
        f"--{key.replace('_', '-')} {before[key]} there, {after[key]} now"
        for key in before
        if key not in _MAY_CHANGE and before[key] != after[key]
    ]
    if changed:
        raise RunError(f"{stored.out}: cannot go on with {', '.join(changed)}: leave that out, or choose another --out")
