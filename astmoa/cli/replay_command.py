"""`astmoa replay`: another way to search, over recorded learning curves."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Replay:
    """Search recorded curves on a virtual clock: a sweep of 200 trials in seconds, with the parts of a real one."""

    curves: Positional[Path]
    """A file that benchmarks/record_grid.py wrote, such as benchmarks/grids/fsdd60.json.gz"""
    sampler: str | None = None
    """Sampler, by the names of sweeps/frontier.py, or yours as FILE.py:NAME. Default: ehvi; with --step-time tpe."""
    scheduler: str = "pareto_asha"
    """Rule of early stopping: pareto_asha, asha, pareto_hyperband, hyperband, none, or yours as FILE.py:NAME."""
    tell_stopped: str = "predicted"
    """What the sampler hears of a stopped trial: predicted, failed, pruned, infeasible, truncated."""
    grace_period: int | None = None
    """Epochs that every trial gets. Default: a quarter of them."""
    reduction_factor: int = 3
    """One in this many goes on from milestone to milestone."""
    margin: float | None = None
    """pareto_...: standard errors by which a trial must lead another to dominate it. Default: 1."""
    spread: Literal["epsilon_net", "crowding"] = "epsilon_net"
    """What decides inside a front, for the rules pareto_..."""
    max_params: int | None = None
    """Try only what trains at most this many parameters, without the head."""
    step_time: bool = False
    """A third objective: the recorded time of one training step."""
    num_startup: int | None = None
    """Results of candidates at random before the sampler's model is asked. Default: 8 for ehvi, 16 for others."""
    max_trials: int = 200
    """Number of candidates to try."""
    workers: int = 4
    """Number of trials that run side by side."""
    seed: int = 0
    """Seed of the search; modulo their number it also says which of the recorded training seeds is seen."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from astmoa.replay.curves import Curves
        from astmoa.replay.simulation import Policy, shares
        from astmoa.search.samplers import default_sampler

        curves = Curves.load(self.curves)
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(Policy)}
        policy = Policy(**told | {"sampler": self.sampler or default_sampler(self.step_time)})
        driver = policy.replay(curves, self.seed, self.workers, self.max_trials)
        states = {state: len(driver.ledger.searched(state)) for state in ("completed", "stopped")}
        epochs, every = (
            sum(trial.epoch for trial in driver.ledger.trials.values()),
            len(curves.scores()) * curves.max_epochs,
        )
        share = shares(curves, [trial.proposal for trial in driver.ledger.searched("completed")])
        if self.json:
            front = [
                {"label": t.proposal.label, "params": t.size, "val_accuracy": t.final} for t in driver.ledger.front()
            ]
            facts = {"reason": driver.reason, **states, "epochs": epochs, "grid_epochs": every}
            print(json.dumps({**facts, "hours": driver.elapsed / 3600, "hypervolume_share": share, "front": front}))
            return
        print(f"{'with head':>12}  {'val':>7}")
        for trial in driver.ledger.front():
            print(f"{trial.size:>12,}  {100 * trial.accuracy:5.1f} %  {trial.proposal.label}")
        print(f"{driver.reason}: {states['completed']} completed, {states['stopped']} stopped")
        print(f"{epochs:,} epochs, {100 * epochs / every:.1f} % of the grid's; {driver.elapsed / 3600:.2f} hours")
        where = "from its largest size and its smallest one's accuracy, over all seeds"
        print(f"{100 * share:.1f} % of the grid's hypervolume ({where})")
