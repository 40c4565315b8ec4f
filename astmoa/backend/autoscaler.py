"""What `ray up` told the autoscaler of the cluster that this process has joined: machines that may still come.

Ray itself tells nobody. So it is read where the autoscaler reads it, from the file that its process was started with;
both run on the head, where `ray submit` runs a sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
import yaml

PATIENCE = 300.0
"""Seconds from the autoscaler's start within which machines are waited for that are to be up at all times."""
WHY = "ray monitor CLUSTER_FILE tells why"
_OPTION = "--autoscaling-config="
_MANY = 1000


@dataclass(frozen=True)
class Autoscaler:
    """Machines that it may have up at the same time, by their resources, and how many it keeps up, the head included.

    Machines whose resources it does not know before they are up are not among the former.
    """

    most: list[dict[str, float]]
    least: int
    since: float
    """When it began, as `time.time` has it."""


def autoscaler() -> Autoscaler | None:
    """Of this cluster; None where it has none, or where its head is another machine. Ray must be up."""
    address = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    for process in psutil.process_iter(["cmdline", "create_time"]):
        command = process.info["cmdline"] or []
        path = next((word.removeprefix(_OPTION) for word in command if word.startswith(_OPTION)), None)
        if path and address in command and any(word.endswith("monitor.py") for word in command):
            return _read(Path(path).expanduser(), process.info["create_time"])
    return None


def _read(path: Path, since: float = 0.0) -> Autoscaler | None:
    try:
        config = yaml.safe_load(path.read_text())
        types, in_all = config["available_node_types"], min(config.get("max_workers", _MANY), _MANY)
        head = types[config["head_node_type"]]["resources"]
        workers = [t["resources"] for t in types.values() for _ in range(min(t.get("max_workers", in_all), in_all))]
        least = sum(t.get("min_workers", 0) for t in types.values())
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None  # not as Ray writes it today: then what is up has to do
    return Autoscaler([head, *(w for w in workers if w)][: in_all + 1], 1 + min(least, in_all), since)


def wait_for(num_machines: int, seconds: float) -> int:
    """Until this many are up, or the time is. Returns how many are. Ray must be up."""
    deadline = time.monotonic() + seconds
    while (up := sum(node["Alive"] for node in ray.nodes())) < num_machines and time.monotonic() < deadline:
        time.sleep(min(1.0, seconds))
    return up


def missing() -> str | None:
    """Are fewer machines up than the autoscaler keeps up? Then which, in one line."""
    known = autoscaler()
    return _missing(known) if known is not None else None


def wait_for_all(tell: Callable[[str], object]) -> None:
    """For machines that `ray up` is still starting; without those that do not come. Ray must be up."""
    known = autoscaler()
    if known is None or (told := _missing(known)) is None:
        return
    seconds = known.since + PATIENCE - time.time()
    if seconds > 0:
        tell(f"{told}; waiting {seconds:.0f} s at most for the others")
        wait_for(known.least, seconds)
    if (told := _missing(known)) is not None:
        tell(f"{told}; going on with these. {WHY}")


def _missing(known: Autoscaler) -> str | None:
    up = wait_for(1, 0)
    return f"{up} of {known.least} machines are up that the cluster file asks for" if up < known.least else None
