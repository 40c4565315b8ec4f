"""Which way to search finds the frontier in the fewest epochs? Replays over a recorded grid of learning curves.

    python benchmarks/search_quality.py                 all ways x 20 seeds; results go to benchmarks/results/
    python benchmarks/search_quality.py --seeds 3 --only tpe

The grid (benchmarks/record_grid.py) holds every candidate of a space, trained to its end. A search sees one training
seed of it; what it found is measured by the accuracy averaged over all seeds, as the share of the whole grid's
hypervolume, from the grid's largest size and its smallest one's accuracy: what parameters are worth. (From accuracy 0
and 100 M parameters, as the hypervolume of a sweep is, the linear probe alone would have nearly all of it.) All that
completed counts as found, as a confirmation would look at what is near the front too; "named" is the share of the
search's own front alone. Lost front points are those of the grid's front that a search began to train and stopped.
Four workers at once, epochs counted as they are spent, stopped trials included. Intervals are over search seeds: what
another data set would say they do not hold.

Beside our own there is what one would put together from Ray's parts: OptunaSearch, told of stopped trials as it is by
Ray, with ASHA on accuracy. Where it proposes what it has proposed before it is told the same result again, at no cost;
after three such proposals in a row a candidate is drawn at random for it. Ray itself would train them all anew.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import tyro
from _common import table
from ray.tune.search.optuna import OptunaSearch
from scipy import stats

from astmoa.config.proposals import Proposal
from astmoa.engine.driver import Driver
from astmoa.engine.ledger import DrivenTrial, Event
from astmoa.errors import RunError
from astmoa.provenance import machine
from astmoa.replay.curves import Curves
from astmoa.replay.simulation import GridMeasure, Policy
from astmoa.search.curve_model import predicted_end
from astmoa.search.encoding import Encoding
from astmoa.search.pool import Pool
from astmoa.search.searcher import proposal_of
from astmoa.search.space import Candidate

HERE = Path(__file__).parent
MOST_REPEATS = 3
OURS = Policy("ehvi")
WAYS: dict[str, Policy] = {
    **{f"{sampler} alone": Policy(sampler, "none") for sampler in ("random", "nsga2", "tpe", "gp", "ehvi")},
    **{f"{sampler} + pareto_asha": Policy(sampler) for sampler in ("random", "nsga2", "tpe", "ehvi")},
    # The tells that differ: nsga2 and ehvi leave pruned trials out as failed ones, ehvi knows no constraints.
    **{f"tpe + pareto_asha, {tell}": Policy("tpe", tell_stopped=tell) for tell in ("failed", "pruned", "infeasible")},
    **{
        f"{s} + pareto_asha, {tell}": Policy(s, tell_stopped=tell)
        for s in ("nsga2", "ehvi")
        for tell in ("failed", "truncated")
    },
    "tpe + pareto_asha, truncated": Policy("tpe", tell_stopped="truncated"),
    "tpe + asha": Policy("tpe", "asha"),
    "ehvi + pareto_hyperband": Policy("ehvi", "pareto_hyperband"),
    "Ray: OptunaSearch on accuracy + ASHA": Policy("ray", "asha"),
    "Ray: OptunaSearch on both + ASHA": Policy("ray2", "asha"),
}
"""Stopped trials are told as predicted where nothing else is said."""
VARIANTS: dict[str, Policy] = {
    "ehvi + asha": Policy("ehvi", "asha"),
    **{f"ehvi + pareto_asha, margin {m:g}": dataclasses.replace(OURS, margin=m) for m in (0.0, 2.0)},
    **{f"ehvi + pareto_asha, grace {g}": dataclasses.replace(OURS, grace_period=g) for g in (1, 2, 6)},
    "ehvi + pareto_asha, factor 2": dataclasses.replace(OURS, reduction_factor=2),
    "ehvi + pareto_asha, 16 at random": dataclasses.replace(OURS, num_startup=16),
    "ehvi + pareto_asha, crowding": dataclasses.replace(OURS, spread="crowding"),
}
"""Of the winner, one change each."""
EVERY = WAYS | VARIANTS
SHARES = (0.9, 0.95, 0.99)
SPENT = (0.05, 0.1, 0.2, 0.3, 0.4)


@dataclass(frozen=True)
class Options:
    curves: Path = HERE / "grids" / "fsdd60.json.gz"
    out: Path = HERE / "results" / "search_quality.jsonl"
    """A line per way and seed; what is there of this grid is not run again."""
    seeds: int = 20
    variant_seeds: int = 6
    """Seeds for the variants of the winner."""
    gp_seeds: int = 3
    """Seeds for Optuna's Gaussian process, which takes a second or more per proposal."""
    gp_until: float = 0.21
    """And `until` for it."""
    only: str = ""
    """Run only the ways that have this in their name."""
    workers: int = 4
    processes: int = 2
    until: float = 0.4
    """Share of the grid's epochs after which a search is over."""


class RayProposer:
    """Ray's OptunaSearch over the same encoding of the same space."""

    exhausted = "every candidate of the space was proposed"

    def __init__(self, curves: Curves, seed: int, both: bool):
        self._curves, self._both = curves, both
        self._template = dataclasses.replace(curves.template, seed=curves.seeds[seed % len(curves.seeds)])
        self._encoding, self._told, self._number = Encoding(curves.space), {}, 0
        self._ray_ids: dict[str, str] = {}
        self._pool, self._rng = Pool(curves.space, curves.shape, None), np.random.default_rng(seed)
        self._drawn: dict[str, Any] = {}
        metric, mode = (["params", "accuracy"], ["min", "max"]) if both else ("accuracy", "max")
        self._search = OptunaSearch(space=self._define, metric=metric, mode=mode, seed=seed)

    def next(self) -> Proposal | None:
        for _ in range(MOST_REPEATS):
            ray_id = f"trial_{self._number}"
            self._number += 1
            self._search.suggest(ray_id)
            proposal = self._proposal(self._drawn)
            if proposal.trial_id in self._told:  # proposed before: the same again, or not known yet
                result = self._told[proposal.trial_id]
                self._search.on_trial_complete(ray_id, result, error=result is None)
                continue
            self._ray_ids[proposal.trial_id] = ray_id
            return self._begin(self._pool.row(self._drawn), proposal)
        if not len(self._pool):
            return None
        row = self._pool.at_random(self._rng)
        return self._begin(row, self._proposal(self._pool.candidates[row]))

    def _begin(self, row: int, proposal: Proposal) -> Proposal:
        self._pool.take(row)
        self._told[proposal.trial_id] = None
        return proposal

    def _proposal(self, candidate: Candidate) -> Proposal:
        return proposal_of(candidate, self._curves.space, self._curves.shape, self._template)

    def restore(self, event: Event) -> Proposal:
        raise RunError("a replay begins anew: there is no journal to go on with")

    def ended(self, trial: DrivenTrial) -> None:
        """Ray tells the last result of every trial, stopped or not (here its best so far)."""
        result = {"params": math.log10(trial.size), "accuracy": trial.curve[-1]}
        self._told[trial.proposal.trial_id] = result
        if trial.proposal.trial_id in self._ray_ids:
            self._search.on_trial_complete(self._ray_ids[trial.proposal.trial_id], result)

    def _define(self, trial: optuna.Trial) -> None:
        self._drawn = self._encoding.draw(trial)


class Trace:
    """Follows a replay: the share of the grid's hypervolume after every completed trial."""

    def __init__(self, curves: Curves):
        self._grid = GridMeasure(curves)
        self.front = self._grid.front
        self.grid_epochs = len(curves.candidates) * curves.max_epochs
        self.epochs = 0
        self._found: list[str] = []
        self.rows: list[tuple[int, float]] = []
        self.named: list[tuple[int, float]] = []
        """The same of the front that the search itself would name."""
        self.begun = self.lost = 0
        """Points of the grid's front that a search began to train, and of these those that it stopped."""

    def __call__(self, driver: Driver, what: str, trial: DrivenTrial) -> None:
        self.epochs += what == "epoch"
        self.begun += what == "start" and trial.proposal.config.point() in self.front
        point = trial.proposal.config.point() if what == "end" else None
        if what == "end" and trial.state == "stopped":
            self.lost += point in self.front
        if what == "end" and trial.state == "completed":
            self._found.append(point)
            self.rows.append((self.epochs, self._grid.share(self._found)))
            front = [trial.proposal.config.point() for trial in driver.ledger.front()]
            self.named.append((self.epochs, self._grid.share(front)))


@functools.cache
def _load(path: Path) -> Curves:
    return Curves.load(path)


def one_replay(way: str, seed: int, options: Options) -> dict[str, Any]:
    """One search, and what it found when."""
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = _load(options.curves)
    policy, trace, start = EVERY[way], Trace(curves), time.perf_counter()
    ray = policy.sampler.startswith("ray")
    proposer = RayProposer(curves, seed, both=policy.sampler == "ray2") if ray else None
    until = options.gp_until if policy.sampler == "gp" else options.until
    most = until * trace.grid_epochs
    driver = policy.replay(
        curves, seed, options.workers, watch=trace, stop=lambda driver: trace.epochs >= most, proposer=proposer
    )
    at = {str(s): next((epochs for epochs, share in trace.rows if share >= s), None) for s in SHARES}
    return {
        "way": way,
        "seed": seed,
        "grid_epochs": trace.grid_epochs,
        "epochs_to": at,
        "setting": setting(options),
        "until": until,
        "share_at": {f"{f:g}": _share_at(trace.rows, f * trace.grid_epochs) for f in SPENT if f <= until},
        "named_at": {f"{f:g}": _named_at(trace.named, f * trace.grid_epochs) for f in SPENT if f <= until},
        "front": len(trace.front),
        "begun": trace.begun,
        "lost": trace.lost,
        "trials": driver.ledger.num_searched,
        "stopped": len(driver.ledger.searched("stopped")),
        "seconds": round(time.perf_counter() - start, 2),
    }


def _share_at(rows: list[tuple[int, float]], epochs: float) -> float:
    return max((share for spent, share in rows if spent <= epochs), default=0.0)


def _named_at(rows: list[tuple[int, float]], epochs: float) -> float:
    return next((share for spent, share in reversed(rows) if spent <= epochs), 0.0)


def setting(options: Options) -> str:
    """What makes rows comparable."""
    return f"{hashlib.sha256(options.curves.read_bytes()).hexdigest()[:12]}, {options.workers} workers"


def main(options: Options) -> None:
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = {}
    if options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
        done = {(row["way"], row["seed"]): row for row in rows if row["setting"] == setting(options)}
    seeds = {way: min(options.seeds, options.variant_seeds if way in VARIANTS else options.seeds) for way in EVERY}
    seeds |= {way: min(options.seeds, options.gp_seeds) for way in EVERY if way.startswith("gp")}
    todo = [
        (way, seed)
        for seed in range(max(seeds.values()))
        for way in EVERY
        if options.only in way and (way, seed) not in done and seed < seeds[way]
    ]
    started = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(options.processes) as pool, open(options.out, "a") as file:
        running = [pool.submit(one_replay, way, seed, options) for way, seed in todo]
        for number, future in enumerate(concurrent.futures.as_completed(running), 1):
            row = future.result()
            done[row["way"], row["seed"]] = row
            print(json.dumps(row), file=file, flush=True)
            left = (time.monotonic() - started) / number * (len(todo) - number)
            print(f"\r{number}/{len(todo)} replays, about {left:.0f} s left", end="", flush=True)
    print()
    show([row for (way, _), row in done.items() if options.only in way])
    show_grid(Curves.load(options.curves))


def show(rows: list[dict[str, Any]]) -> None:
    """A table, best at 20 % of the grid's epochs first: means with 95 % intervals (Student's t over search seeds), and
    the median share of the grid's epochs until so much of its hypervolume was found; > where it never was."""
    ways = {way: [row for row in rows if row["way"] == way] for way in dict.fromkeys(row["way"] for row in rows)}
    order = sorted(ways, key=lambda way: -np.mean([row["share_at"]["0.2"] for row in ways[way]]))
    cells = []
    for way in order:
        own = ways[way]
        most = 100 * own[0]["until"]
        at = [_mean([row["share_at"][f] for row in own if f in row["share_at"]], 100) for f in ("0.1", "0.2", "0.4")]
        to = []
        for share in SHARES:
            reached = [row["epochs_to"][str(share)] for row in own]
            medians = [math.inf if epochs is None else 100 * epochs / own[0]["grid_epochs"] for epochs in reached]
            median = float(np.median(medians))
            count = sum(epochs is not None for epochs in reached)
            to.append(
                f"{median:.1f} ({count}/{len(own)})" if median < math.inf else f"> {most:.0f} ({count}/{len(own)})"
            )
        named = _mean([row["named_at"]["0.2"] for row in own], 100)
        lost = _mean([row["lost"] / max(1, row["begun"]) for row in own], 100)
        stopped = f"{100 * sum(row['stopped'] for row in own) / sum(row['trials'] for row in own):.0f}"
        cells.append([way, *at, named, *to, lost, stopped])
    head = ["way", "HV % at 10 %", "at 20 %", "at 40 %", "named at 20 %"]
    table([*head, *(f"% epochs to {100 * s:g} %" for s in SHARES), "% front lost", "% stopped"], cells)
    print(f"front of the grid: {rows[0]['front']} points, {rows[0]['grid_epochs']:,} epochs; machine: {machine()}")


def show_grid(curves: Curves, draws: int = 200, num_completed: int = 20) -> None:
    """How much of the grid is noise, and what a curve says early: the rank correlation of one seed's accuracy with the
    mean over seeds at the end; and how wrong predictions of a stopped trial's last accuracy are, in points: root mean
    squares over random trials, after as many others have completed. Beside ours the mean gain of those, and the mean of
    their ends."""
    trials = [[curves.trials[curves.config(c, seed).hash()] for c in curves.candidates] for seed in curves.seeds]
    every = np.maximum.accumulate([[curve.val_accuracy for curve in of_seed] for of_seed in trials], axis=2)
    ends = every[:, :, -1]
    rng, cells = np.random.default_rng(0), []
    for epoch in range(1, curves.max_epochs, 2):
        errors = []
        for draw in range(draws):
            own = every[draw % len(every)]
            curve, *completed = own[rng.permutation(len(own))[: num_completed + 1]].tolist()
            gain = float(np.mean([other[-1] - other[epoch - 1] for other in completed]))
            mean = float(np.mean([other[-1] for other in completed]))
            guesses = predicted_end(curve[:epoch], completed), curve[epoch - 1] + gain, mean
            errors.append([guess - curve[-1] for guess in guesses])
        ranks = np.mean([stats.spearmanr(of_seed[:, epoch - 1], ends.mean(0)).statistic for of_seed in every])
        cells.append(
            [str(epoch), f"{ranks:.2f}", *(f"{100 * e:.2f}" for e in np.sqrt(np.mean(np.square(errors), axis=0)))]
        )
    table(["after epoch", "rank correlation", "error: nearest curves (ours)", "mean gain", "mean end"], cells)
    if len(ends) > 1:
        print(f"the first two seeds' ends correlate by {np.corrcoef(ends)[0, 1]:.3f}")


def _mean(values: list[float], scale: float) -> str:
    """Mean ± half of its 95 % interval."""
    if not values:
        return ""
    mean = scale * float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.1f}"
    half = scale * stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{mean:.1f} ± {half:.1f}"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
