"""Damaged journals and recorded curves, for damaged_files.py."""

from __future__ import annotations

import functools
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import astmoa.bundles.export
import astmoa.replay.simulation
import astmoa.report.pictures  # noqa: F401 (what a case imports would count as its time)
from astmoa.records.journal import NAME, read_journal
from tests.helpers.damage import damage
from tests.helpers.damaged_journals import ENUMERATED, SEARCHED, mutated_one, readers, written
from tests.helpers.mutations import dumps, mutate
from tests.helpers.synthetic import curves, driver, run


@functools.cache
def _searched() -> list[dict]:
    """A search that can be resumed."""
    return [
        event for event in run(stop=lambda driver: len(driver.ledger.trials) > 20).events if event["type"] != "sweep"
    ]


def _resumed(run_dir: Path) -> Callable[[], object]:
    return lambda: driver().restore(read_journal(run_dir))


def journal(folder: Path, rng: random.Random):
    """One run folder: bytes damaged, or values that somebody got wrong; for the commands, the readers, or --resume."""
    resume = rng.random() < 0.3
    events = _searched() if resume else rng.choice((ENUMERATED, SEARCHED))
    if rng.random() < 0.4:
        content = damage(written(events), rng)
    else:
        content = written(mutate(events, rng) if rng.random() < 0.3 else mutated_one(events, rng))
    (folder / NAME).write_bytes(content)
    commands = (["frontier", str(folder)], ["frontier", str(folder), "--json"])
    export = ["export", str(folder), "--pick", "best", "--out", str(folder / "out")]
    if resume:
        return _resumed(folder)
    return rng.choice((*commands, export, lambda: readers(folder)))


@functools.cache
def _recorded() -> dict:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        curves(epochs=4).save(Path(folder) / "curves.gz")
        return json.loads(gzip.decompress((Path(folder) / "curves.gz").read_bytes()))


def grid(folder: Path, rng: random.Random):
    """Recorded curves, for `astmoa replay`: the compressed bytes, the text, or values in it."""
    whole, way = dumps(_recorded()), rng.random()
    if way < 0.25:
        content = damage(gzip.compress(whole), rng)
    elif way < 0.5:
        content = gzip.compress(damage(whole, rng))
    else:
        content = gzip.compress(dumps(mutate(_recorded(), rng)))
    (folder / "curves.gz").write_bytes(content)
    return ["replay", str(folder / "curves.gz"), "--sampler", "random", "--max-trials", "3"]


KINDS = {"journal": journal, "grid": grid}
