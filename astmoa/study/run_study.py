"""A study from its options to its run folder: the plumbing that every file in sweeps/ shares.

A file in sweeps/ says only what it sweeps: a function from the options and the backbone's shape to labelled methods.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astmoa.config.own_code import sources
from astmoa.config.proposals import Point
from astmoa.errors import RunError, tell
from astmoa.methods.shape import BackboneShape
from astmoa.provenance import redact
from astmoa.records import own_runs
from astmoa.records.journal import NAME as JOURNAL
from astmoa.records.journal import unfinished_line
from astmoa.records.lock import hold
from astmoa.records.storage import Store, Upload, check_same_run
from astmoa.search.space import Space
from astmoa.study.also import with_methods
from astmoa.study.finish import finish
from astmoa.study.header import sweep_header
from astmoa.study.options import SOFT_MOA_SETTING, StudyOptions
from astmoa.study.plans import Own, listed_or_searched
from astmoa.study.resume import own_code, tracker

if TYPE_CHECKING:
    from astmoa.engine.judging import EarlyStopping
    from astmoa.search.sampler import MakeSampler

Planner = Callable[[Any, BackboneShape], "list[Point] | Space"]


@dataclass(frozen=True)
class Ended:
    """What a study has come to."""

    out: Path
    """Run folder of the study."""
    tracker: str
    """Address of the tracker that its runs are in."""
    interrupted: bool
    tracking_error: str | None
    """Why the tracker is behind, if it is."""


def run(
    study: str,
    options: StudyOptions,
    points: Planner,
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
    out, kept = options.place(f"{study}-{_slug(options.data)}-{datetime.now():%Y%m%d-%H%M%S}")
    with hold(out):  # before libraries are imported that take seconds
        return _run(study, options, points, paper, argv, out, kept, (sampler, early_stopping))


def _run(
    study: str,
    options: StudyOptions,
    points: Planner,
    paper: str | None,
    argv: list[str],
    out: Path,
    kept: str | None,
    own: Own,
) -> Ended:
    from astmoa.backbone.frozen import load_backbone
    from astmoa.backend.cluster import check_cluster
    from astmoa.backend.run_sweep import run_sweep
    from astmoa.records.earlier_run import check_run_dir  # ray is imported when a sweep runs, not by `--help`
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
    plan = listed_or_searched(study, planned, options, backbone.shape, own)
    before = {"study": study, "search": plan.search, **sources()}
    check_run_dir(out, before, keys=("study", "methods", "layouts", "search"))  # before all sounds are read
    tell(f"{study}: {plan.told}, in {out}")
    inputs = open_inputs(template.data, plan.folds, all_folds=plan.all_folds)
    tell(f"{plan.replicates(inputs)}{inputs.name}, {len(inputs.labels):,} clips")
    backbone.fit_positions(inputs.num_frames)  # clips too short for it are better found before anything starts
    if inputs.bad_clips:
        tell(f"{len(inputs.bad_clips)} unreadable clips left out (see bad_clips in the journal)")
    uri, another = tracker(out, options.tracking_uri)
    if another:
        tell(another)
    header = sweep_header(study, argv, options, inputs, template, backbone)
    parts = plan.parts(inputs, template)
    header |= plan.header
    if paper is not None:
        header["paper"] = {"source": paper, "setting": SOFT_MOA_SETTING, "changed": options.changed()}
    earlier = check_run_dir(out, header)  # before the tracker hears of it
    first: Mapping[str, Any] = earlier[0] if earlier else header
    if kept:
        header["storage"] = redact(kept)
    header["tracker"] = redact(uri)
    upload = Upload(out, store, warn=tell) if store else contextlib.nullcontext()
    code = {f"code.{key}": words for key, words in own_code(vars(options)).items()}
    own_runs.note(first["sweep_id"], storage=kept, tracking_uri=uri, **code)
    with upload as uploaded, LiveMirror(out, uri) as mirror:
        reason = run_sweep(
            out,
            header,
            inputs=inputs,
            backbone=backbone,
            trials_at_once=options.trials_at_once,
            gpus_per_trial=options.gpus_per_trial,
            store=store,
            **parts,
        )
        finish(out, kept)
    tell(f"Ended: {reason}.")
    if uploaded is not None and uploaded.error:
        tell(f"Storage is behind: {uploaded.error}")
    return Ended(out, uri, reason == "interrupted", mirror.error)


def check_any_completed(out: Path) -> None:
    """Raises RunError, with the first trial's error, where all have failed."""
    from astmoa.records.load import load_sweep

    sweep = load_sweep(out)
    if not sweep.states["completed"] and sweep.states["failed"]:
        first = next(trial.error for trial in sweep.trials if trial.error)
        raise RunError(f"no trial completed; the first failed with: {first}")


def tell_of_cut_line(out: Path) -> None:
    """A crash in the middle of a write leaves half a line, which the journal drops: say so."""
    lost = unfinished_line(out) if (out / JOURNAL).is_file() else b""
    if lost:
        shown = lost[:60].decode(errors="replace")
        tell(f"{out / JOURNAL}: its last line was cut off by a crash and is dropped: {shown}")


def _slug(name: object) -> str:
    """A layout's name as a part of a folder's: of a file from outside what is in it."""
    return re.sub(r"[^\w-]+", "-", str(name).rpartition(":")[2])
