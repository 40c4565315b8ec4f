"""Every journal is read or refused in one line: by all that reads one, whatever its bytes and values are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.errors import AstmoaError
from astmoa.journal import NAME, read_journal
from tests.damage import damage
from tests.journals import Trial, config, search_events, sweep_events
from tests.mutations import dumps, mutate

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
    from astmoa.records import front_probabilities, load_sweep, standing
    from astmoa.report.tables import rich_table, write_tables
    from astmoa.resume import stored_options
    from astmoa.search_options import SearchOptions
    from astmoa.tracking import rows
    from astmoa.tracking.progress import Progress

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


def check(run_dir, content: bytes) -> bool:
    """Was it read?"""
    (run_dir / NAME).write_bytes(content)
    return not refused(lambda: readers(run_dir))


def written(events) -> bytes:
    return b"".join(dumps(event) + b"\n" for event in events)


@pytest.mark.parametrize("events", [ENUMERATED, SEARCHED], ids=["enumerated", "searched"])
def test_a_whole_one_is_read(tmp_path, events):
    assert check(tmp_path, written(events))


@settings(max_examples=60)
@given(st.sampled_from([ENUMERATED, SEARCHED]), st.integers(0, 10**9))
def test_damaged_bytes(tmp_path_factory, events, seed):
    check(tmp_path_factory.mktemp("run"), damage(written(events), random.Random(seed)))


@settings(max_examples=150)
@given(st.sampled_from([ENUMERATED, SEARCHED]), st.integers(0, 10**9))
def test_values_that_somebody_got_wrong(tmp_path_factory, events, seed):
    rng = random.Random(seed)
    check(
        tmp_path_factory.mktemp("run"), written(mutate(events, rng) if rng.random() < 0.5 else mutated_one(events, rng))
    )


def mutated_one(events, rng):
    """One event alone, so that the first one does not get all the attention."""
    place = rng.randrange(len(events))
    return [*events[:place], mutate(events[place], rng), *events[place + 1 :]]
