"""One call of a sweep: join Ray, look at its machines, bring back what the journal holds, run what is left."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from astmoa.backbone.frozen import Backbone
from astmoa.backend.autoscaler import wait_for_all
from astmoa.backend.cluster import plan_resources, start_ray, stop_ray
from astmoa.backend.display import Display
from astmoa.backend.doctor import require_fit
from astmoa.backend.tune import run_trials
from astmoa.backend.worker import WorkerSetup
from astmoa.config.proposals import Proposal
from astmoa.engine.budgets import Budget
from astmoa.engine.confirmation import Confirm
from astmoa.engine.driver import Driver
from astmoa.engine.judging import EarlyStopping
from astmoa.engine.ledger import Event
from astmoa.engine.proposers import FixedProposals, Proposer
from astmoa.errors import RunError
from astmoa.methods.params import count_params
from astmoa.provenance import package_hash
from astmoa.records.earlier_run import check_run_dir
from astmoa.records.journal import Journal, read_journal
from astmoa.records.lock import holding
from astmoa.records.storage import Store
from astmoa.training.inputs import Inputs

_MANY = 10**6  # trials of a search without a bound


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
    confirm: Confirm | None = None,
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
    enumerated: list[Proposal] | None = None
    if not isinstance(proposer, Proposer):
        enumerated = list(proposer)
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
                num_val_clips=inputs.num_val_clips,
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
            driver.check_failures()
            return reason
    finally:
        stop_ray()


def _all_completed(events: Sequence[Event], proposals: Sequence[Proposal]) -> bool:
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
