"""What starting a sweep's Ray takes on a busy machine, and what it opens, against plain `ray.init`.

    python benchmarks/ray_start.py                    5 starts each way on the machine as it is, 2 minutes
    python benchmarks/ray_start.py --busy 20          beside 20 processes that compute

Both are started in a process of their own, in turns, with the object store and the quiet logging that a sweep asks for.
A start ends with the first answer of a worker. Counted while it runs: its processes, and the sockets that listen, all
of them and those that other machines reach; after its end: the processes that are still there (they are killed).
Linux only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, Literal

import psutil
import torch
import tyro
from _common import Goals, finish, table

GOALS: Goals = {"ours_failed": ("<=", 0), "ours_left": ("<=", 0), "ours_reachable": ("<=", 0)}
WAYS = ("plain", "ours")
STORE = 500_000_000
"""Bytes of the object store."""


@dataclass(frozen=True)
class Options:
    rounds: int = 5
    """Starts each way."""
    busy: int = 0
    """Processes that compute meanwhile."""
    limit: float = 300.0
    """Seconds after which a start has failed."""
    start: Literal["", "plain", "ours"] = ""
    """Not by hand: start Ray once in this way, and tell of it in a line of JSON."""
    json: bool = False
    """Print everything once more as one last line of JSON."""


def start_once(way: str) -> dict[str, Any]:
    """Seconds, processes and sockets of one start, or why there was none."""
    import ray

    from astmoa.backend import cluster

    begin = time.monotonic()
    try:
        if way == "ours":
            cluster.start_ray(STORE)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=STORE,
                log_to_driver=False,
                logging_level="ERROR",
            )
        init = time.monotonic() - begin
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        seconds = time.monotonic() - begin
        children = psutil.Process().children(recursive=True)
        cpu = sum(child.cpu_times().user + child.cpu_times().system for child in children)
        return {
            "init": init,
            "seconds": seconds,
            "cpu": cpu,
            "processes": len(children),
            **listening([os.getpid(), *(child.pid for child in children)]),
        }
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"}
    finally:
        cluster.stop_ray() if way == "ours" else ray.shutdown()


def listening(pids: list[int]) -> dict[str, int]:
    """TCP sockets of these processes that listen, and how many of them not on loopback."""
    found = [
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    return {"listening": len(found), "reachable": sum(not loopback(ip) for ip in found)}


def loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def run_once(way: str, limit: float) -> dict[str, Any]:
    """`start_once` in a session of its own, so that what is left of it can be found, counted and ended."""
    command = [sys.executable, __file__, "--start", way]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=limit)
        told = json.loads(output.splitlines()[-1]) if output else {"failed": f"exit {process.returncode}, nothing said"}
    except subprocess.TimeoutExpired:
        told = {"failed": f"not there after {limit:g} s"}
    process_left = process.poll() is None  # where the limit was passed, it is still at it
    left = [pid for pid in psutil.pids() if pid != process.pid and session_of(pid) == process.pid]
    for pid in [*left, *([process.pid] if process_left else [])]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()
    return told | {"left": len(left)}


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


@contextlib.contextmanager
def busy(number: int):
    """That many processes that compute, each in a session of its own: Linux shares the cores out between those."""
    command = [sys.executable, "-S", "-c", "while True: pass"]
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(number)]
    try:
        time.sleep(min(number, 5))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(options: Options) -> dict[str, Any]:
    told: dict[str, list[dict]] = {way: [] for way in WAYS}
    loads = []
    with busy(options.busy):
        for number in range(options.rounds):
            for way in WAYS:
                told[way].append(run_once(way, options.limit))
                loads.append(os.getloadavg()[0])
                print(f"{number + 1} of {options.rounds}, {way}: {told[way][-1]}; load {loads[-1]:.0f}", flush=True)
    result: dict[str, Any] = {"load": [min(loads), max(loads)]}
    rows = []
    for way in WAYS:
        good = [one for one in told[way] if "failed" not in one]
        result[f"{way}_failed"], result[f"{way}_left"] = len(told[way]) - len(good), sum(o["left"] for o in told[way])
        row: list[object] = [way, len(told[way]), result[f"{way}_failed"], result[f"{way}_left"]]
        for key in ("init", "seconds", "cpu", "processes", "listening", "reachable"):
            result[f"{way}_{key}"] = statistics.median(one[key] for one in good) if good else None
            row.append(float(result[f"{way}_{key}"]) if good else "-")
        rows.append(row)
    print(
        f"medians of the starts that did not fail; load {min(loads):.0f} to {max(loads):.0f} on {os.cpu_count()} CPUs"
    )
    table(
        ["way", "starts", "failed", "left", "init s", "first answer s", "CPU s", "processes", "listening", "reachable"],
        rows,
    )
    return {**result, "settings": {k: v for k, v in dataclasses.asdict(options).items() if k not in ("json", "start")}}


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.start:
        print(json.dumps(start_once(options.start)), flush=True)
        return
    result = measure(options)
    finish(
        result, {key: goal for key, goal in GOALS.items() if result[key] is not None}, torch.device("cpu"), options.json
    )


if __name__ == "__main__":
    main()
