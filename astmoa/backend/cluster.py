"""Where trials run: joining or starting Ray, and sharing out what it has."""

from __future__ import annotations

import contextlib
import logging
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

from astmoa.backend import joining, own_ray
from astmoa.backend.autoscaler import autoscaler
from astmoa.errors import RunError
from astmoa.provenance import redact


@dataclass(frozen=True)
class Resources:
    """What one trial holds, and how many run at once."""

    cpus: float
    gpus: float
    at_once: int

    @property
    def shared_device(self) -> bool:
        """Do trials share a GPU, so that one alone would have more memory?"""
        return 0 < self.gpus < 1

    def of(self, alone: bool) -> dict[str, float]:
        """As Ray asks for them. alone: with a whole GPU."""
        return {"CPU": self.cpus, "GPU": 1.0 if alone and self.shared_device else self.gpus}


def plan_resources(num_trials: int, trials_at_once: int | None, gpus_per_trial: float | None) -> Resources:
    """Share out what Ray sees, and what its autoscaler may start. Ray must be up. Raises RunError when a GPU is asked
    for and no machine has one."""
    machines = _machines()
    most_gpus = max((m.get("GPU", 0) for m in machines), default=0)
    gpus = gpus_per_trial if gpus_per_trial is not None else (0.25 if most_gpus else 0)
    if gpus > most_gpus:
        raise RunError(
            f"--gpus-per-trial {gpus:g}: no machine here has that many GPUs (most: {most_gpus:g}); "
            "lower it, or use 0 to run on CPUs"
        )
    # A trial must fit on one machine, and on one device of it where it holds a part.
    fitting = [(m.get("CPU", 0), _places(m, gpus)) for m in machines if m.get("CPU", 0) and _places(m, gpus)]
    if not fitting:
        raise RunError("no machine here has a CPU core for a trial: start Ray there with --num-cpus")
    places = sum(places for _, places in fitting)
    at_once = min(trials_at_once or places, num_trials)
    busiest = [(cpus, math.ceil(at_once * places_here / places)) for cpus, places_here in fitting]
    cpus = min(cpus / trials for cpus, trials in busiest)
    return Resources(cpus=int(cpus) if cpus >= 1 else cpus, gpus=gpus, at_once=at_once)


def _places(machine: dict[str, float], gpus: float) -> int:
    """Trials that a machine takes at once, with one CPU core each where they hold no GPU."""
    if not gpus:
        return int(machine.get("CPU", 0))
    whole = int(machine.get("GPU", 0))
    return whole // int(gpus) if gpus >= 1 else whole * int(1 / gpus + 1e-9)


def _machines() -> list[dict[str, float]]:
    """The resources of every machine that is up, or that the autoscaler may start."""
    up, known = [node["Resources"] for node in ray.nodes() if node["Alive"]], autoscaler()

    def size(machines: list[dict[str, float]]) -> tuple[float, float]:
        gpus, cpus = (sum(machine.get(key, 0) for machine in machines) for key in ("GPU", "CPU"))
        return gpus, cpus

    return max(up, known.most if known else [], key=size)


def check_cluster() -> None:
    """Raises RunError where this machine should belong to a cluster that does not answer: better found out before all
    sounds are read."""
    joining.joinable()


def start_ray(bytes_to_share: int) -> None:
    """Join the cluster that this machine belongs to (RAY_ADDRESS, or `ray start`), or start a local one for this
    process. Raises RunError where neither can be."""
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what went wrong with a trial is in the journal
    if ray.is_initialized():
        return
    _close_token()
    with _command_without_secrets():
        # Not address="auto": it also finds the private Ray of another program on this machine, and dies with it.
        if joining.joinable():
            joining.join()
        else:
            own_ray.start(max(200_000_000, int(1.3 * bytes_to_share)))


def stop_ray(keep_logs: bool = False) -> Path | None:
    """Leave the cluster, or end the Ray of one's own. Returns where its logs are, if they are kept."""
    return own_ray.stop(keep_logs)


def _close_token() -> None:
    """Ray leaves the token that it makes readable to all users of the machine."""
    token = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):  # there is none, or nobody can change it
        if token.stat().st_mode & 0o077:
            token.chmod(0o600)


@contextlib.contextmanager
def _command_without_secrets() -> Iterator[None]:
    """Ray writes the command line of who joins it into its logs, and shows it in its dashboard."""
    words = [redact(word) for word in psutil.Process().cmdline()]
    with own_ray.replaced(ray._private.utils, "get_entrypoint_name", lambda: subprocess.list2cmdline(words)):
        yield
