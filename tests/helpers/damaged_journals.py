"""Journals of two small runs, and everything that reads one."""

from __future__ import annotations

from astmoa.errors import AstmoaError
from astmoa.records.journal import read_journal
from tests.helpers.journals import Trial, config, search_events, sweep_events
from tests.helpers.mutations import dumps, mutate

TRIALS = [
    Trial("a", config(1, 2), 9000, 0.7),
    Trial("b", config(2, 1), 20_000, 0.8, paper={"esc50": 80.0}),
    Trial("c", config(2, 1, seed=1), 20_000, 0.9, "failed"),
    Trial("d", config(4, 1), 40_000, 0.9, "stopped"),
    Trial("e", config(4, 2), 40_000, 0.9, "running"),
]


CONFIRMING = [Trial("f", config(1, 2, seed=1), 9000, 0.71, phase="confirm")]


ENUMERATED = sweep_events(TRIALS)


SEARCHED = search_events(TRIALS + CONFIRMING)


def readers(run_dir):
    """All that reads a run folder, and needs no tracker, no Ray and no weights."""
    from astmoa.bundles.export import pick_point
    from astmoa.records.load import load_sweep
    from astmoa.records.standing import front_probabilities, standing
    from astmoa.report.tables import rich_table, write_tables
    from astmoa.study.resume import stored_options
    from astmoa.study.search_options import SearchOptions
    from astmoa.tracking import rows
    from astmoa.tracking.sorted_events import Progress

    events = read_journal(run_dir)
    sweep = load_sweep(run_dir)
    write_tables(sweep, run_dir)
    rich_table(sweep)
    standing(sweep), front_probabilities(sweep), sweep.hypervolume_trace(), sweep.device_seconds()
    progress = Progress(sweep.header, str(run_dir))
    progress.add(events)
    rows.sweep_params(sweep.header), rows.provenance(sweep.header)
    for trial in sweep.trials:
        rows.trial_params(trial), rows.trial_tags(trial, trial.state, events)
    list(progress.rows_after(0))
    refused(lambda: pick_point(sweep, "knee"))
    refused(lambda: stored_options(sweep.study, SearchOptions, run_dir))


def refused(read) -> bool:
    """In one line; or was it read?"""
    try:
        read()
    except AstmoaError as error:
        line = str(error)
    else:
        return False
    assert "\n" not in line
    return True


def written(events) -> bytes:
    return b"".join(dumps(event) + b"\n" for event in events)


def mutated_one(events, rng):
    """One event alone, so that the first one does not get all the attention."""
    place = rng.randrange(len(events))
    return [*events[:place], mutate(events[place], rng), *events[place + 1 :]]
