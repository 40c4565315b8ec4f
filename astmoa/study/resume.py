"""`--resume RUN_DIR`: a study's options from the journal that it wrote, and what may be changed on the way."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from astmoa.audio.layout import LAYOUTS
from astmoa.config.strict import build
from astmoa.errors import ConfigError, RunError
from astmoa.provenance import redact
from astmoa.records import own_runs
from astmoa.records.journal import NAME as JOURNAL
from astmoa.records.journal import read_journal
from astmoa.records.storage import is_address, join
from astmoa.search.samplers import SAMPLERS
from astmoa.search.stopping_rules import STOPPING_RULES
from astmoa.study.options import StudyOptions

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


def own_code(values: Mapping[str, Any]) -> dict[str, str]:
    """What of options is code from outside, by option, as `own_runs` keeps it: methods, a layout, a sampler, a rule."""
    named = {"also": joined(values.get("also") or ())}
    registers = {"data": LAYOUTS.names, "sampler": SAMPLERS.names, "scheduler": STOPPING_RULES.names}
    for key, names in registers.items():
        name = values.get(key)
        if isinstance(name, str) and name not in names():
            named[key] = shlex.quote(name)
    return {key: words for key, words in named.items() if words}


def joined(also: Iterable[object]) -> str:
    """Several on one line, as a shell reads them."""
    return " ".join(shlex.quote(str(method)) for method in also)


def stored_options(
    study: str, options_type: type[Options], run_dir: Path, storage_given: bool = False, given: Collection[str] = ()
) -> Options:
    """The options that `run_dir` was last run with.

    storage_given: is it told anew where the run is kept? given: options that are given anew. Raises RunError for
    another study's or an older version's, and for an address or code from outside that neither is nor was given by this
    user (see `own_runs`).
    """
    events = read_journal(run_dir)
    header = [event for event in events if event["type"] in ("sweep", "resume")][-1:]
    if not header:
        raise RunError(f"{run_dir}: its journal begins with no sweep: give the folder that a sweep wrote (its --out)")
    if header[0].get("study") != study:
        raise RunError(f"{run_dir}: a run of {header[0].get('study')}, and this is {study}: resume it by its own file")
    values = {k: v for k, v in (header[0].get("options") or {}).items() if k not in ("resume", "out")}
    # What was left to a default is what the default was then: another version may have another.
    written: Mapping[str, Any] = header[0].get("search") or {}
    values |= {key: written[key] for key in values if values[key] is None and key in written}
    values["tracking_uri"] = None  # see `tracker`
    if "***" in str(values.get("storage")):  # its password is in no journal
        values["storage"] = None
    storage = values.get("storage")
    if storage_given:
        values["storage"] = None
    elif (
        isinstance(storage, str)
        and is_address(storage)
        and not own_runs.follows(events[0], "storage", join(storage, run_dir.name))
    ):
        raise RunError(
            f"{run_dir}: it names {storage}, which this user has not given it on this machine: add --storage {storage} "
            f"where you trust that address, or --storage {run_dir.parent} to go on without it"
        )
    named = own_code(values).items()
    strange = [f"--{key} {words}" for key, words in named if key not in given and not _followed(events[0], key, words)]
    if strange:
        again = " ".join(strange)
        raise RunError(f"{run_dir}: it runs code that this user has not named on this machine: add {again} to do so")
    try:
        options = build(options_type, values, "--")
    except ConfigError as error:
        raise RunError(f"{run_dir}: its options are another version's ({error}); resume it by that version") from None
    return dataclasses.replace(options, out=run_dir, resume=run_dir)


def _followed(header: Mapping[str, Any], key: str, words: str) -> bool:
    return own_runs.follows(header, f"code.{key}", words)


def tracker(run_dir: Path, given: str | None) -> tuple[str, str | None]:
    """The address of a run's tracker: the one that is given, or that the run had, or $MLFLOW_TRACKING_URI, or a SQLite
    file beside the run folder. And a line to be told where that is not the one that the run had, or the environment's.

    An address that the journal names is followed only where this user gave it (see `own_runs`).
    """
    from astmoa.tracking.address import default_uri, sqlite_file  # the records beside it import scipy: not for --help

    if given:
        return given, None
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    usual = environment or default_uri(run_dir)
    header, before = _tracker_before(run_dir)
    if before in (None, redact(usual)):
        return usual, None
    database, beside = sqlite_file(before), run_dir.resolve().parent / "mlflow.db"
    change = "--tracking-uri says otherwise"
    if "***" in before:
        why = "its password is kept nowhere"
    elif database != beside and not own_runs.follows(header, "tracking_uri", before):
        why = "this user has not given it on this machine"
    elif database is not None and not database.exists():
        why = "it is not there any more"
    elif environment:
        return before, f"{run_dir} goes on in {before}, as before, not in $MLFLOW_TRACKING_URI, unless {change}"
    else:
        return before, None
    return usual, f"the tracker of {run_dir} was {before}: {why}; its runs go to {redact(usual)} now, unless {change}"


def _tracker_before(run_dir: Path) -> tuple[Mapping[str, Any], str | None]:
    """The journal's first event, and the address that the last one of its kind names; None where there is none."""
    if not (run_dir / JOURNAL).is_file():
        return {}, None
    headers = [event for event in read_journal(run_dir) if event["type"] in ("sweep", "resume")]
    if not headers:
        return {}, None
    named = headers[-1].get("tracker") or (headers[-1].get("options") or {}).get("tracking_uri")
    return headers[0], named if isinstance(named, str) else None


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
