"""A study from its command line to its table: the plumbing that every file in sweeps/ shares.

A file in sweeps/ says only what it sweeps: a function from the options and the backbone's shape to labelled methods.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from astmoa import command_line, own_runs
from astmoa.config import TrialConfig
from astmoa.errors import ConfigError, RunError, exit_in_one_line
from astmoa.journal import FORMAT, unfinished_line
from astmoa.journal import NAME as JOURNAL
from astmoa.lock import hold
from astmoa.methods.outside import sources
from astmoa.provenance import git_commit, machine, package_hash, program, redact, versions
from astmoa.resume import check_unchanged, joined, plain, stored_options, tracker
from astmoa.shape import BackboneShape
from astmoa.storage import VARIABLE as STORAGE_VARIABLE
from astmoa.storage import Store, Upload, bring_run, check_same_run, folder_of, is_address, split
from astmoa.study_options import SOFT_MOA_SETTING, StudyOptions
from astmoa.sweep.also import with_methods
from astmoa.sweep.budget import Budget
from astmoa.sweep.proposals import Point, replicate
from astmoa.sweep.space import Space
from astmoa.text import printable

if TYPE_CHECKING:
    from astmoa.backbone import Backbone
    from astmoa.sweep.halving import EarlyStopping
    from astmoa.sweep.sampler import MakeSampler
    from astmoa.training.inputs import Inputs

Plan = Callable[[Any, BackboneShape], "list[Point] | Space"]


def main(
    study: str,
    options_type: type[StudyOptions],
    points: Plan,
    description: str,
    paper: str | None = None,
    then: Callable[[Path], None] | None = None,
) -> None:
    """Parse the command line and run the study. A user's error ends it with one line and exit code 2.

    points: what the study runs: a list of points, or a Space for a search (then its options are SearchOptions).
    then: what this study makes of its run folder besides table and picture.
    paper: where the points' `paper` figures come from, such as "Table 3 of arXiv 2402.00828".
    """
    told = exit_in_one_line("the same command with the same --out goes on from here")
    with told, contextlib.ExitStack() as held:
        out = run_and_show(study, parse(study, options_type, description, held), points, paper)
        if then is not None:
            then(out)


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
    also_given = _after("--also", sys.argv[1:]) is not None
    stored = stored_options(study, options_type, run_dir, bool(storage_given), also_given)
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


def run_and_show(study: str, options: StudyOptions, points: Plan, paper: str | None = None) -> Path:
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


@dataclass(frozen=True)
class Ended:
    """What a study has come to."""

    out: Path
    """Its run folder."""
    tracker: str
    """Address of the tracker that its runs are in."""
    interrupted: bool
    tracking_error: str | None
    """Why the tracker is behind, if it is."""


def run(
    study: str,
    options: StudyOptions,
    points: Plan,
    paper: str | None,
    argv: list[str],
    sampler: MakeSampler | None = None,
    early_stopping: EarlyStopping | None = None,
) -> Ended:
    """Run all points of a study, mirror them to MLflow, and leave table, picture and best bundle in the run folder.

    argv: how the study was called, for the journal. sampler, early_stopping: a search's, in place of those that its
    options name. Raises RunError where another process has the run folder, before
    anything of it is read.
    """
    out, kept = options.place(f"{study}-{options.data}-{datetime.now():%Y%m%d-%H%M%S}")
    with hold(out):  # before libraries are imported that take seconds
        return _run(study, options, points, paper, argv, out, kept, (sampler, early_stopping))


def _run(
    study: str,
    options: StudyOptions,
    points: Plan,
    paper: str | None,
    argv: list[str],
    out: Path,
    kept: str | None,
    own: tuple[MakeSampler | None, EarlyStopping | None],
) -> Ended:
    from astmoa.backbone import load_backbone
    from astmoa.sweep.cluster import check_cluster
    from astmoa.sweep.run import check_run_dir, run_sweep  # ray is imported when a sweep runs, not by `--help`
    from astmoa.tracking import LiveMirror
    from astmoa.training.inputs import open_inputs

    store = Store(kept) if kept else None
    if store is not None:  # better found out before all sounds are read
        store.check()
        check_same_run(out, store)
    tell_of_cut_line(out)
    check_cluster()
    template = options.template()
    backbone = load_backbone(options.backbone)
    planned = with_methods(points(options, backbone.shape), options.also)
    if not isinstance(planned, Space) and not planned:
        raise ConfigError(f"{study} has no points with these options: name fewer restrictions")
    seeds, folds, all_folds = options.seed_range(), options.folds, options.cross_validate
    search = options.described(planned, *own) if isinstance(planned, Space) else None
    before = {"study": study, "search": search, "methods": sources()}
    check_run_dir(out, before, keys=("study", "methods", "search"))  # before all sounds are read
    if isinstance(planned, Space):
        parts = options.parts(planned, backbone.shape, *own)  # wrong names are better found before all sounds are read
        confirmation = options.confirmation()
        if confirmation:
            folds, all_folds = (*folds, *(confirmation.folds or ())), "if any" if confirmation.folds is None else False
        num_candidates = len(planned.candidates(backbone.shape, options.max_params))
        tell(f"{study}: {num_candidates:,} candidates, in {out}")
    else:
        tell(f"{study}: {len(planned)} points in {out}")
    inputs = open_inputs(template.data, tuple(dict.fromkeys(folds)), all_folds=all_folds)
    folds = tuple(inputs.splits)
    replicates = "" if isinstance(planned, Space) else f"{len(seeds)} seeds x {len(folds)} folds of "
    tell(f"{replicates}{inputs.name}, {len(inputs.labels):,} clips")
    backbone.fit_positions(inputs.num_frames)  # clips too short for it are better found before anything starts
    if inputs.bad_clips:
        tell(f"{len(inputs.bad_clips)} unreadable clips left out (see bad_clips in the journal)")
    uri, another = tracker(out, options.tracking_uri)
    if another:
        tell(another)
    header = sweep_header(study, argv, options, inputs, template, backbone)
    if isinstance(planned, Space):
        header["search"] = search
        parts["confirm"] = confirmation.of(inputs) if confirmation else None
    else:
        proposals = replicate(planned, template, seeds, folds)
        header["num_trials"] = len(proposals)
        parts = {"proposer": proposals, "budget": Budget(max_failures=options.max_failures)}
    if paper is not None:
        header["paper"] = {"source": paper, "setting": SOFT_MOA_SETTING, "changed": options.changed()}
    earlier = check_run_dir(out, header)  # before the tracker hears of it
    sweep_id = earlier[0]["sweep_id"] if earlier else header["sweep_id"]
    if store is not None:
        header["storage"] = redact(kept)
    header["tracker"] = redact(uri)
    upload = Upload(out, store, warn=tell) if store else contextlib.nullcontext()
    own_runs.note(sweep_id, storage=kept, tracking_uri=uri, also=joined(options.also))
    with upload as uploaded, LiveMirror(out, uri) as mirror:
        at_once = {"trials_at_once": options.trials_at_once, "gpus_per_trial": options.gpus_per_trial}
        reason = run_sweep(out, header, inputs=inputs, backbone=backbone, store=store, **at_once, **parts)
        finish(out, kept)
    tell(f"Ended: {reason}.")
    if uploaded is not None and uploaded.error:
        tell(f"Storage is behind: {uploaded.error}")
    return Ended(out, uri, reason == "interrupted", mirror.error)


def check_any_completed(out: Path) -> None:
    """Raises RunError, with the first trial's error, where all have failed."""
    from astmoa.records import load_sweep

    sweep = load_sweep(out)
    if not sweep.states["completed"] and sweep.states["failed"]:
        first = next(trial.error for trial in sweep.trials if trial.error)
        raise RunError(f"no trial completed; the first failed with: {first}")


def tell(line: str) -> None:
    """One line on stderr, with names as they are: no style, no markup, no control characters."""
    print(printable(line), file=sys.stderr, flush=True)


def tell_of_cut_line(out: Path) -> None:
    """A crash in the middle of a write leaves half a line, which the journal drops: say so."""
    lost = unfinished_line(out) if (out / JOURNAL).is_file() else b""
    if lost:
        shown = lost[:60].decode(errors="replace")
        tell(f"{out / JOURNAL}: its last line was cut off by a crash and is dropped: {shown}")


def sweep_header(
    study: str,
    argv: list[str],
    options: StudyOptions,
    inputs: Inputs,
    template: TrialConfig,
    backbone: Backbone,
) -> dict[str, Any]:
    """The fields of the journal's first event: what was run, on what, with what."""
    splits = {
        fold: {"train": len(s.train), "val": len(s.val), "test": len(s.test)} for fold, s in inputs.splits.items()
    }
    return {
        "format": FORMAT,
        "sweep_id": uuid.uuid4().hex[:12],
        "study": study,
        "command": shlex.join(["python", *argv]),
        "options": {key: redact(v) if isinstance(v, str) else v for key, v in plain(options).items()},
        "data": {
            "name": inputs.name,
            "fingerprint": inputs.fingerprint,
            "clips": len(inputs.labels),
            "splits": {str(fold): sizes for fold, sizes in splits.items()},
            "labels": list(inputs.label_names),
            "seconds": inputs.seconds,
            "metric": inputs.metric,
            "bad_clips": inputs.bad_clips,
        },
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint, **dataclasses.asdict(backbone.shape)},
        "machine": machine(),
        "versions": versions(),
        "package": package_hash(),
        "git_commit": git_commit(),
        "methods": sources(),
    }


def finish(out: Path, storage: str | None = None) -> None:
    """Write table, picture and best bundle, from the journal alone.
    A sweep without a completed trial gets what there is."""
    from astmoa.bundles.export import export
    from astmoa.records import load_sweep
    from astmoa.report.pictures import frontier_picture
    from astmoa.report.tables import write_tables

    sweep = load_sweep(out)
    _report(out, "table", lambda: write_tables(sweep, out))
    _report(out, "picture", lambda: frontier_picture(sweep, out / "frontier.png"))
    if sweep.states["completed"]:
        export(out, "best", out / "best", storage)


def _report(out: Path, what: str, make: Callable[[], object]) -> None:
    """Make a part of the report; where that fails, say so in one line."""
    try:
        make()
    except Exception as error:  # drawing raises what it likes, and no report is worth the bundle that comes after it
        again = shlex.join([program("astmoa"), "frontier", str(out)])
        line = f"No {what} ({type(error).__name__}: {error}); make it again with: {again}"
        print(printable(line), file=sys.stderr)


def show(out: Path, uri: str, tracking_error: str | None) -> None:
    """The end of a study on the terminal: the table, and where everything is."""
    from astmoa.records import load_sweep
    from astmoa.report.tables import rich_table
    from astmoa.tracking import ui_command

    console = Console()
    sweep = load_sweep(out)
    _report(out, "table", lambda: console.print(rich_table(sweep)))
    lines = {"Picture": out / "frontier.png", "Journal": out / "journal.jsonl"}
    if sweep.states["completed"]:
        lines["Best configuration"] = f"{out / 'best'}   ({program('astmoa')} predict {out / 'best'} clip.wav)"
    lines["MLflow UI"] = ui_command(uri)
    for name, value in lines.items():
        console.print(printable(f"{name + ':':<20} {value}"), highlight=False, soft_wrap=True, markup=False)
    if tracking_error:
        text = printable(f"Tracking is behind: {tracking_error}")
        console.print(text, highlight=False, soft_wrap=True, markup=False)
