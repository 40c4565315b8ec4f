"""Where trials run: joining or starting Ray, and sharing out what it has."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

import ray

from astmoa.errors import RunError


@dataclass(frozen=True)
class Resources:
    """What one trial holds, and how many run at once."""

    cpus: float
    gpus: float
    at_once: int


def plan_resources(num_trials: int, trials_at_once: int | None, gpus_per_trial: float | None) -> Resources:
    """Share out what Ray sees. Ray must be up. Raises RunError when a GPU is asked for and no node has one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    num_gpus, most_gpus = sum(n.get("GPU", 0) for n in nodes), max((n.get("GPU", 0) for n in nodes), default=0)
    gpus = gpus_per_trial if gpus_per_trial is not None else (0.25 if num_gpus else 0)
    if gpus > most_gpus:
        raise RunError(
            f"--gpus-per-trial {gpus:g}: no machine here has that many GPUs (most: {most_gpus:g}); "
            "lower it, or use 0 to run on CPUs"
        )
    # A trial must fit on one machine: only those count that have what it needs.
    fitting = [n for n in nodes if n.get("GPU", 0) >= gpus]
    num_cpus, most_cpus = (f(int(n.get("CPU", 1)) for n in fitting) for f in (sum, max))
    at_once = min(trials_at_once or (int(num_gpus / gpus) if gpus else num_cpus), num_trials)
    cpus = min(num_cpus / at_once, most_cpus)
    return Resources(cpus=int(cpus) if cpus >= 1 else cpus, gpus=gpus, at_once=at_once)


def start_ray(bytes_to_share: int) -> None:
    """Join the cluster that this machine belongs to (RAY_ADDRESS, or `ray start`), or start a local one for this
    process."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    _check_ray_address()
    # Not address="auto": it also finds the private Ray of another program on this machine, and dies with it.
    own = {"include_dashboard": False, "object_store_memory": max(200_000_000, int(1.3 * bytes_to_share))}
    with contextlib.suppress(ValueError):  # Ray's answer to a size for the store of a cluster that is there already
        ray.init(**own, **quiet)
        return
    ray.init(**quiet)


def _check_ray_address() -> None:
    """Ray itself waits for minutes for a cluster that is not there."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError:
            raise RunError(f"no Ray answers at RAY_ADDRESS={address}: start it, or unset the variable") from None
