"""A study's file as a program: its command line, its run, and what stands on the terminal in the end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astmoa.errors import ConfigError, RunError, exit_in_one_line, tell
from astmoa.provenance import program, redact
from astmoa.records.lock import hold
from astmoa.records.storage import VARIABLE as STORAGE_VARIABLE
from astmoa.records.storage import bring_run, folder_of, is_address, split
from astmoa.study import command_line
from astmoa.study.finish import show
from astmoa.study.options import StudyOptions
from astmoa.study.resume import check_unchanged, stored_options
from astmoa.study.run_study import Planner, check_any_completed, run


def main(
    study: str,
    options_type: type[StudyOptions],
    points: Planner,
    description: str,
    paper: str | None = None,
    then: Callable[[Path, Any], None] | None = None,
    instead: Callable[[Any], bool] | None = None,
) -> None:
    """Parse the command line and run the study. A user's error ends it with one line and exit code 2.

    points: what the study runs: a list of points, or a Space for a search (then its options are SearchOptions).
    then: what this study makes of its run folder, with its options, besides table and picture.
    instead: what it does with options that run nothing; whether it did.
    paper: where the points' `paper` figures come from, such as "Table 3 of arXiv 2402.00828".
    """
    told = exit_in_one_line("the same command with the same --out goes on from here")
    with told, contextlib.ExitStack() as held:
        options = parse(study, options_type, description, held)
        if instead is not None and instead(options):
            return
        out = run_and_show(study, options, points, paper)
        if then is not None:
            then(out, options)


def parse(
    study: str, options_type: type[StudyOptions], description: str, held: contextlib.ExitStack | None = None
) -> StudyOptions:
    """The command line's options; with --resume, those that the run folder was started with are the defaults.

    held: what the folder is kept in, so that nobody else goes on with it between its journal's reading and the sweep.
    """
    for flag, instead in options_type.refused.items():
        if any(argument.split("=", 1)[0].replace("_", "-") == flag for argument in sys.argv[1:]):
            raise ConfigError(f"{flag} is not for {study}: {instead}")
    named = _after("--resume", sys.argv[1:])
    if named is None or {"--help", "-h"} & set(sys.argv):
        return command_line.parse(options_type, sys.argv[1:], sys.argv[0], description)
    run_dir = folder_of(named) if is_address(named) else Path(named)
    if held is not None and (is_address(named) or run_dir.is_dir()):
        held.enter_context(hold(run_dir))
    if is_address(named):
        bring_run(named)
    storage_given = is_address(named) or _after("--storage", sys.argv[1:]) or os.environ.get(STORAGE_VARIABLE)
    given = {key for key in ("also", "data", "sampler", "scheduler") if _after(f"--{key}", sys.argv[1:]) is not None}
    stored = stored_options(study, options_type, run_dir, bool(storage_given), given)
    if is_address(named):
        stored = dataclasses.replace(stored, storage=split(named)[0])
    options = command_line.parse(options_type, sys.argv[1:], sys.argv[0], description, default=stored)
    check_unchanged(stored, options)
    if options.out != stored.out:
        raise RunError(f"--resume {run_dir} writes into that folder: leave --out {options.out} out")
    return dataclasses.replace(options, out=stored.out)


def _after(flag: str, arguments: list[str]) -> str | None:
    given = [argument.split("=", 1)[1] for argument in arguments if argument.startswith(f"{flag}=")]
    return given[-1] if given else arguments[arguments.index(flag) + 1] if flag in arguments[:-1] else None


def run_and_show(study: str, options: StudyOptions, points: Planner, paper: str | None = None) -> Path:
    """Run a study as a program: with its table on the terminal, and exit code 130 where it was interrupted.

    Returns the run folder. Raises RunError as `run`, and where no trial completed.
    """
    ended = run(study, options, points, paper, [redact(argument) for argument in sys.argv])
    show(ended.out, ended.tracker, tracking_error=ended.tracking_error)
    if ended.interrupted:
        again = shlex.join([program("python"), redact(sys.argv[0]), "--resume", str(ended.out)])
        tell(f"Go on with: {again}")
        sys.exit(130)
    check_any_completed(ended.out)
    return ended.out
