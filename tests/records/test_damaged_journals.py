"""Every journal is read or refused in one line: by all that reads one, whatever its bytes and values are."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.records.earlier_run import check_run_dir
from astmoa.records.journal import NAME
from tests.helpers.damage import damage
from tests.helpers.damaged_journals import (
    ENUMERATED,
    SEARCHED,
    mutated_one,
    readers,
    refused,
    written,
)
from tests.helpers.mutations import mutate


def check(run_dir, content: bytes) -> bool:
    """Was it read?"""
    (run_dir / NAME).write_bytes(content)
    return not refused(lambda: readers(run_dir))


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


def changed(events, kind, **fields):
    """The same with other fields in the first event of a kind, or with one of that kind at the end."""
    copy = [dict(event) for event in events]
    found = next((event for event in copy if event["type"] == kind), None)
    if found is None:
        found = {"type": kind, "time": copy[-1]["time"]}
        copy.append(found)
    found |= fields
    return copy


@pytest.mark.parametrize(
    ("events", "is_read"),
    [
        (changed(SEARCHED, "end", state="completed", val_accuracy=None), False),
        (changed(SEARCHED, "restart", trial_id=[1]), False),
        (changed(SEARCHED, "restart", trial_id=None), True),
        (changed(ENUMERATED, "sweep", paper={"source": "Table 1", "setting": {"data": 5}}), False),
        (changed(ENUMERATED, "sweep", paper={"source": "Table 1", "setting": {"data": "esc50"}}), False),
        (changed(ENUMERATED, "sweep", paper={"source": "Table 1", "setting": {"data": None}}), True),
        (changed(SEARCHED, "sweep", search={}), True),
        (changed(SEARCHED, "sweep", search={"space": [{}]}), True),
        (changed(SEARCHED, "sweep", layouts=5, methods={"a.py:A": 3}), False),
        (changed(SEARCHED, "sweep", layouts=None, methods=None), True),
    ],
)
def test_what_reads_as_an_event_and_is_none(tmp_path, events, is_read):
    assert check(tmp_path, written(events)) == is_read
    for other in (ENUMERATED, SEARCHED):
        refused(functools.partial(check_run_dir, tmp_path, other[0]))
