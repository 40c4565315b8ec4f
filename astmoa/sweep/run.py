"""One call of a sweep: join Ray, look at its machines, bring back what the journal holds, run what is left."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from astmoa.backbone import Backbone
from astmoa.errors import RunError
from astmoa.journal import NAME as JOURNAL
from astmoa.journal import Journal, read_journal
from astmoa.lock import holding
from astmoa.methods.params import count_params
from astmoa.provenance import package_hash
from astmoa.storage import Store
from astmoa.sweep.autoscaler import wait_for_all
from astmoa.sweep.budget import Budget, check_failures
from astmoa.sweep.cluster import plan_resources, start_ray, stop_ray
from astmoa.sweep.display import Display
from astmoa.sweep.doctor import require_fit
from astmoa.sweep.driver import Driver
from astmoa.sweep.halving import EarlyStopping
from astmoa.sweep.proposals import Proposal
from astmoa.sweep.search import FixedProposals, Proposer, difference
from astmoa.sweep.space import Space, space_difference
from astmoa.sweep.tuning import run_trials
from astmoa.sweep.worker import WorkerSetup
from astmoa.training.inputs import Inputs

_MANY = 10**6  # trials of a search without a bound
# What must be equal in the header when a run folder is gone on with.
_HEADER_IDENTITY = ("study", "methods", "data", "backbone", "search")


@holding  # before its journal is read: Ray takes up to a minute to start, and that would be acting on the past
def run_sweep(
    run_dir: Path,
    header: dict[str, Any],
    proposer: Proposer | Sequence[Proposal],
    inputs: Inputs,
    backbone: Backbone,
    trials_at_once: int | None = None,
    gpus_per_trial: float | None = None,
    scheduler: EarlyStopping | None = None,
    budget: Budget | None = None,
    confirm: Callable[[Driver], Sequence[Proposal]] | None = None,
    store: Store | None = None,
    device: str | None = None,
) -> str:
    """Run what `run_dir`'s journal does not already hold as completed. Returns why the sweep ended.

    header: the fields of the `sweep` event. proposer: an enumerated study's proposals, or a search. store: where trials
    are kept, if not in `run_dir`. device: what trials train on; cuda where they hold a GPU. Raises RunError if
    `run_dir` was written by another study, search space, data set, backbone or set of trials, and where the sweep
    cannot go on (the disk is full, one trial after another fails), or another process has `run_dir`. An interrupted
    call is continued by the same call.
    """
    events = check_run_dir(run_dir, header)
    enumerated = None if isinstance(proposer, Proposer) else list(proposer)
    if enumerated is not None:
        proposer = FixedProposals(enumerated)
        if _all_completed(events, enumerated):
            _close_journal(run_dir)
            return "nothing left to run: every trial of this sweep is in the journal"
    packed = backbone.pack()
    shared = inputs.features.nbytes + sum(array.nbytes for array in packed.state.values())
    start_ray(shared)
    try:
        wait_for_all(tell=functools.partial(print, file=sys.stderr))
        most = len(enumerated) if enumerated is not None else _MANY
        resources = plan_resources(most, trials_at_once, gpus_per_trial)
        setup = WorkerSetup(
            inputs=inputs,
            backbone=packed,
            run_dir=str(run_dir.resolve()),
            device=device or ("cuda" if resources.gpus else "cpu"),
            cpu_threads=max(1, int(resources.cpus)),
            device_share=resources.gpus or resources.cpus,
            package=package_hash(),
            store=store,
        )
        kept = store.address if store else setup.run_dir
        for note in require_fit(kept, shared, with_torch=setup.device == "cuda"):
            print(note, file=sys.stderr)
        journal = Journal(run_dir)
        with contextlib.closing(journal):
            driver = Driver(
                journal,
                proposer,
                lambda p: count_params(p.config.method, backbone.shape, len(inputs.label_names)).to_dict(),
                scheduler=scheduler,
                budget=budget,
                confirm=confirm,
                objectives=(header.get("search") or {}).get("objectives", ("params", "accuracy")),
                num_val_clips={fold: len(splits.val) for fold, splits in inputs.splits.items()},
                device=setup.device,
                share=setup.device_share,
                shared_device=resources.shared_device,
            )
            with _one_line_for(run_dir):
                driver.restore(events)
            journal.append("resume" if events else "sweep", **header)
            with Display(driver, enumerated) as display:
                driver.watch(display.changed)
                interrupted = run_trials(setup, resources, driver, renew=lambda: start_ray(shared))
            reason = driver.close(interrupted)
            check_failures(driver)
            return reason
    finally:
        stop_ray()


def _all_completed(events: Sequence[dict[str, Any]], proposals: Sequence[Proposal]) -> bool:
    if not events:
        return False
    check = FixedProposals(proposals)
    states: dict[str, str] = {}
    for event in events:
        if event["type"] == "proposal":
            check.restore(event)
        if event["type"] in ("start", "end"):
            states[event["trial_id"]] = event.get("state", "running")
    return all(states.get(p.trial_id) == "completed" for p in proposals)


def _close_journal(run_dir: Path) -> None:
    """Write the end that a crash right after the last trial kept from being written."""
    if read_journal(run_dir)[-1]["type"] != "sweep_end":
        with contextlib.closing(Journal(run_dir)) as journal:
            journal.append("sweep_end", reason="every trial ended", seconds=None)


@contextlib.contextmanager
def _one_line_for(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except RunError as error:
        raise RunError(f"{run_dir}: {error}") from None


def check_run_dir(
    run_dir: Path, header: dict[str, Any], keys: Sequence[str] = _HEADER_IDENTITY
) -> list[dict[str, Any]]:
    """The events that an earlier run left, if there was one. Raises RunError if it was a run of something else.

    keys: what of the header is compared, for what is known before the rest.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise RunError(f"{run_dir} is a file; give --out a folder, or a new name")
    events = read_journal(run_dir) if (run_dir / JOURNAL).exists() else []
    if (run_dir / JOURNAL).exists() and not os.access(run_dir / JOURNAL, os.W_OK):
        raise RunError(f"{run_dir / JOURNAL}: cannot be written: correct its rights, or choose another --out")
    if events and not {"sweep_id", "study"} <= events[0].keys():
        raise RunError(f"{run_dir}: its journal begins with no sweep; choose another --out")
    for key in keys if events else ():
        before, now = _identity(events[0].get(key)), _identity(header.get(key))
        if key == "methods":
            _check_sources(run_dir, before or {}, now or {})
        elif before != now:
            changed = _search_difference(before, now) if key == "search" else difference(before, now)
            raise RunError(f"{run_dir}: written with another {key}: {changed}; choose another --out")
    return events


def _check_sources(run_dir: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """Raises RunError where a method from outside is another one by now. Others may join, if the study says so."""
    for name, source in now.items():
        if before.get(name, source) != source:
            raise RunError(
                f"{run_dir}: {name} has changed since this run began: bring its old source back (it is in the "
                "journal's first line), or choose another --out"
            )


def _search_difference(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    """Readable also where spaces of hundreds of choices differ in one."""
    if before is None or now is None:
        return "one lists its points, the other searches"
    spaces = (Space.from_json(search["space"]) for search in (before, now))
    rest = ({key: value for key, value in search.items() if key != "space"} for search in (before, now))
    return "; ".join(part for part in (space_difference(*spaces), difference(*rest)) if part)


def _identity(value: Any) -> Any:
    """Without the sizes of the folds that were asked for: more folds may join a sweep. All are in the fingerprint."""
    return {k: v for k, v in value.items() if k != "splits"} if isinstance(value, dict) else value
