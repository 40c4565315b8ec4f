"""Where trials run: joining or starting Ray, and sharing out what it has."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import socket
from dataclasses import dataclass
from typing import Any

import ray

from astmoa.errors import RunError
from astmoa.sweep.autoscaler import autoscaler


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
        return tuple(sum(machine.get(key, 0) for machine in machines) for key in ("GPU", "CPU"))

    return max(up, known.most if known else [], key=size)


def start_ray(bytes_to_share: int) -> None:
    """Join the cluster that this machine belongs to (RAY_ADDRESS, or `ray start`), or start a local one for this
    process."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what went wrong with a trial is in the journal
    if ray.is_initialized():
        return
    _check_ray_address()
    # Not address="auto": it also finds the private Ray of another program on this machine, and dies with it.
    own = {"include_dashboard": False, "object_store_memory": max(200_000_000, int(1.3 * bytes_to_share))}
    try:
        with contextlib.suppress(ValueError):  # Ray's answer to a size for the store of a cluster that is there already
            ray.init(**own, **quiet)
            return
        ray.init(**quiet)
    except (RuntimeError, ConnectionError, ray.exceptions.RayError) as error:
        raise RunError(_why_not_joined(" ".join(str(error).split()))) from None


def _why_not_joined(text: str) -> str:
    versions = re.findall(r"Ray: (\S+) Python: (\S+)", text)
    if len(versions) == 2:
        (ray_there, python_there), (ray_here, python_here) = versions
        return (
            f"the cluster runs Ray {ray_there} with Python {python_there}, here are Ray {ray_here} and Python "
            f"{python_here}: run the sweep on the cluster (ray submit), or install the same here"
        )
    if "Failed to connect" in text:
        return (
            "the Ray cluster does not let us in: does it want its token? Set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH as on its head, or unset RAY_ADDRESS to run here alone"
        )
    return f"Ray cannot be joined or started ({text[:200]}): ray status tells more; unset RAY_ADDRESS to run here alone"


def _check_ray_address() -> None:
    """Ray itself waits for minutes for a cluster that is not there."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError:
            raise RunError(f"no Ray answers at RAY_ADDRESS={address}: start it, or unset the variable") from None
