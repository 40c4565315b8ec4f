"""Paired differences against the numbers that went into the journal."""

import statistics

import pytest

from astmoa.errors import RunError
from astmoa.records.load import sweep_record
from astmoa.report.effects import NAME, effects, effects_table, write_effects
from tests.helpers.journals import Trial, config, sweep_events

BASE, CHANGED = "2/1", "3/1"  # the labels that journals.Trial makes of 2 and 3 experts


def sweep(base, changed):
    """{(seed, fold): accuracy} of two points"""
    trials = [
        Trial(f"{experts}-{seed}-{fold}", config(experts, seed=seed, fold=fold), accuracy=accuracy)
        for experts, values in ((2, base), (3, changed))
        for (seed, fold), accuracy in values.items()
    ]
    return sweep_record(sweep_events(trials))


def effect_of(base, changed):
    (effect,) = effects(sweep(base, changed), [(BASE, CHANGED)])
    return effect


def test_only_common_replicates_are_compared():
    base, changed = {(0, 1): 0.50, (1, 1): 0.60, (2, 1): 0.70}, {(0, 1): 0.52, (1, 1): 0.63, (3, 1): 0.99}
    for spread in (effect_of(base, changed).val, effect_of(base, changed).test):
        assert spread.n == 2
        assert spread.mean == pytest.approx(0.025)
        assert spread.std == pytest.approx(statistics.stdev([0.02, 0.03]))
        assert spread.low < 0.025 < spread.high


def test_a_negative_effect_is_not_cut_at_zero():
    effect = effect_of({(0, 1): 0.9, (1, 1): 0.9}, {(0, 1): 0.1, (1, 1): 0.2})
    assert effect.test.mean == pytest.approx(-0.75)
    assert effect.test.low < -0.75


def test_folds_count_once_each():
    base = {(seed, fold): 0.5 for seed in (0, 1) for fold in (1, 2, 3)}
    effect = effect_of(base, {(seed, fold): 0.5 + fold / 100 for seed in (0, 1) for fold in (1, 2, 3)})
    assert effect.test.n == 3
    assert effect.test.std == pytest.approx(0.01)


def test_the_table_and_its_file(tmp_path):
    two = sweep({(0, 1): 0.5, (1, 1): 0.5}, {(0, 1): 0.51, (1, 1): 0.53})
    found = effects(two, [(BASE, CHANGED)])
    assert f"| {CHANGED} | {BASE} |" in effects_table(found)
    assert "+2.0 [" in effects_table(found)
    assert write_effects(found, tmp_path) == tmp_path / NAME
    assert (tmp_path / NAME).read_text() == effects_table(found)
    with pytest.raises(RunError, match="no points"):
        effects(two, [(BASE, "9/9")])
