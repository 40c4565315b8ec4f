"""Every journal is read or refused in one line: by all that reads one, whatever its bytes and values are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
