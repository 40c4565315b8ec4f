"""Is every machine of the cluster fit for a sweep? Asked by `astmoa doctor`, and by every sweep before its first trial.

Each machine is asked by a task of its own, all at once. What is wrong comes back as findings, one line each: which
machine, what, and how to mend it. Machines that the autoscaler starts later are looked at by their first worker.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from astmoa.backend import probe
from astmoa.backend.autoscaler import WHY, missing, wait_for
from astmoa.backend.cluster import plan_resources, start_ray, stop_ray
from astmoa.backend.ray_folder import LEAST_DISK
from astmoa.errors import RunError
from astmoa.provenance import package_hash, redact
from astmoa.records.storage import Store, is_address, join, split

LEAST_MEMORY = 1 << 30
SHARED = "give --storage a folder that all machines share, or s3://..."
PATIENCE = 25.0
"""Seconds that a machine has to answer."""


@dataclass(frozen=True)
class Finding:
    machine: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.machine}: {self.problem}; {self.fix}"


@dataclass(frozen=True)
class Machine:
    """One machine: Ray's view of it, and its own facts (see `probe.facts`; empty where it did not answer)."""

    node_id: str
    name: str
    gpus: float
    cpus: float
    object_store: int
    facts: dict[str, Any] = field(default_factory=dict)


def examine(
    storage: str | None, bytes_to_share: int = 0, with_torch: bool = True
) -> tuple[list[Machine], list[Finding]]:
    """Look at every machine that is up. Ray must be up.

    storage: a folder, or an address. bytes_to_share: what every machine will hold in its object store.
    with_torch: where Ray has GPUs, ask torch whether it sees them.
    """
    name = f".astmoa-doctor-{uuid.uuid4().hex[:12]}"
    nodes = [node for node in ray.nodes() if node["Alive"]]
    place = join(storage, name) if storage is not None else None
    findings: list[Finding] = []
    with _folder(place, findings):
        machines, late = _ask(nodes, place, with_torch)
        findings += [
            Finding(
                m.name,
                f"no answer within {PATIENCE:.0f} s, or what was to answer died",
                f"restart Ray there; {m.node_id}",
            )
            for m in late
        ]
        if place is not None and not findings:
            findings += _unseen(machines, place)
    for machine in machines:
        findings += _judge(machine, bytes_to_share)
    return machines + late, findings


def examine_cluster(
    storage: str | None, num_nodes: int, wait: float, gpus_per_trial: float | None
) -> tuple[list[Machine], list[str]]:
    """Join the cluster (or start Ray on this machine), wait until `num_nodes` are up, look at all, and leave it.

    Raises RunError where no cluster answers or too few machines come up.
    """
    start_ray(0)
    try:
        up = wait_for(num_nodes, wait)
        if up < num_nodes:
            raise RunError(
                f"{up} of {num_nodes} machines are up after {wait:.0f} s; look at the logs of those that are missing"
            )
        machines, found = examine(storage)
        findings = [str(finding) for finding in found]
        if (told := missing()) is not None:
            findings.append(f"{told}; wait for them (--nodes). {WHY}")
        try:
            plan_resources(1, None, gpus_per_trial)
        except RunError as error:
            findings.append(str(error))
        return machines, findings
    finally:
        stop_ray()


def require_fit(storage: str, bytes_to_share: int, with_torch: bool) -> list[str]:
    """For a sweep. Returns what is worth saying; raises RunError with the first finding, and how many there are."""
    machines, findings = examine(storage, bytes_to_share, with_torch)
    if findings:
        more = f" (and {len(findings) - 1} more: astmoa doctor lists them)" if len(findings) > 1 else ""
        raise RunError(f"{findings[0]}{more}")
    return notes(machines, bytes_to_share)


def _ask(nodes: Sequence[dict[str, Any]], place: str | None, with_torch: bool) -> tuple[list[Machine], list[Machine]]:
    """All machines that answered, and those that did not."""
    known = [_machine(node) for node in nodes]
    if len(known) == 1:  # this one: no process has to be started for it
        told = probe.facts(place, known[0].node_id, with_torch and known[0].gpus > 0)
        if nodes[0]["NodeManagerAddress"].startswith("127."):  # a Ray of one's own: nobody reaches it from outside
            told["public"] = []
        return [_with_facts(known[0], told)], []
    ray.cloudpickle.register_pickle_by_value(probe)  # it has to run where astmoa cannot be imported
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(probe.facts)
        asked = {_on(ask, m).remote(place, m.node_id, with_torch and m.gpus > 0): m for m in known}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
        machines, late = [], [m for ref, m in asked.items() if ref not in answered]
        for ref in answered:
            try:
                machines.append(_with_facts(asked[ref], ray.get(ref)))
            except ray.exceptions.RayError:
                late.append(asked[ref])
        return machines, late
    finally:
        ray.cloudpickle.unregister_pickle_by_value(probe)


def _unseen(machines: Sequence[Machine], place: str) -> list[Finding]:
    """What one machine wrote, all others must see."""
    wrote = {m.node_id: m.name for m in machines if m.facts["storage"] is None}
    if len(machines) == 1 or len(wrote) < len(machines):
        return []
    ray.cloudpickle.register_pickle_by_value(probe)
    try:
        look = ray.remote(num_cpus=0, max_retries=0)(probe.sees)
        asked = {_on(look, m).remote(place, list(wrote)): m for m in machines}
        ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
        findings, folder = [], redact(split(place)[0] if is_address(place) else str(Path(place).parent))
        for ref, machine in asked.items():
            try:
                missing = ray.get(ref, timeout=0)
            except (ray.exceptions.RayError, RunError) as error:
                why = " ".join(str(error).split("\n")[-1].split())[:200] or type(error).__name__
                findings.append(Finding(machine.name, f"cannot read in {folder} what others wrote ({why})", SHARED))
                continue
            if missing:
                told = f"does not see in {folder} what {wrote[missing[0]]} wrote there"
                findings.append(Finding(machine.name, told, SHARED))
        return findings
    finally:
        ray.cloudpickle.unregister_pickle_by_value(probe)


def _judge(machine: Machine, bytes_to_share: int) -> list[Finding]:
    told, here = machine.facts, []

    def found(problem: str, fix: str) -> None:
        here.append(Finding(machine.name, problem, fix))

    if told["ray"] != ray.__version__:
        found(f"Ray {told['ray']}, here {ray.__version__}", "install the same everywhere (ray up does)")
    if _release(told["python"]) != _release(platform.python_version()):
        found(f"Python {told['python']}, here {platform.python_version()}", "install the same everywhere (ray up does)")
    if told["error"] is not None:
        found(f"astmoa does not work there ({told['error']})", "install it there as here (ray up does)")
    elif told["package"] != package_hash():
        found(f"its astmoa is {told['package']}, here {package_hash()}", "install the same everywhere (ray up does)")
    if told["gpus"] is not None and told["gpus"] < int(machine.gpus):
        found(
            f"Ray has {machine.gpus:g} GPUs there, torch sees {told['gpus']}",
            "look at nvidia-smi and the driver's version there, or start Ray with --num-gpus=0",
        )
    if told["memory"] < LEAST_MEMORY + bytes_to_share:
        need = _gib(LEAST_MEMORY + bytes_to_share)
        found(f"{_gib(told['memory'])} of memory are free, {need} are needed", "end other programs there")
    if told["disk"] < LEAST_DISK:
        found(f"{_gib(told['disk'])} are free on its temporary disk", "make room there, or set RAY_TMPDIR")
    if told["storage"] == probe.UNSEEN:
        found("does not see the storage's folder that was made here", f"mount it there, or {SHARED}")
    elif told["storage"] is not None:
        found(f"cannot write to the storage ({told['storage']})", "mount it there, or give --storage another place")
    return here


def notes(machines: Sequence[Machine], bytes_to_share: int = 0) -> list[str]:
    """What is no obstacle to a sweep, and worth saying."""
    told = []
    least = min(machine.object_store for machine in machines)
    if bytes_to_share > 0.8 * least:
        told.append(
            f"features and weights take {_gib(bytes_to_share)} of every machine's object store, the smallest has "
            f"{_gib(least)}: Ray will spill to disk; start Ray with a larger --object-store-memory"
        )
    public = [(machine.name, address) for machine in machines for address in machine.facts.get("public", ())[:1]]
    if public:
        (name, address), more = public[0], f" (and {len(public) - 1} more)" if len(public) > 1 else ""
        told.append(
            f"{name}{more}: Ray listens on {address} too, an address of the internet's, and its token alone keeps "
            "others out; let a firewall do so as well (cluster/README.md, Watch)"
        )
    return told


@contextlib.contextmanager
def _folder(place: str | None, findings: list[Finding]):
    """An empty folder in the storage, for the machines' files: seen by nobody before, so that no cache misleads."""
    if place is None or is_address(place):
        try:
            yield
        finally:
            if place is not None:
                with contextlib.suppress(RunError):
                    Store(place).clear()
        return
    parent = Path(place).parent
    new = not parent.exists()
    try:
        Path(place).mkdir(parents=True)
    except OSError as error:
        fix = "give --storage a folder that can be written to"
        findings.append(Finding(socket.gethostname(), f"{parent} cannot be written ({error.strerror})", fix))
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _machine(node: dict[str, Any]) -> Machine:
    own = node["Resources"]
    name = f"{node.get('NodeManagerHostname') or '?'} ({node['NodeManagerAddress']})"
    return Machine(node["NodeID"], name, own.get("GPU", 0), own.get("CPU", 0), int(own.get("object_store_memory", 0)))


def _with_facts(machine: Machine, told: dict[str, Any]) -> Machine:
    return Machine(machine.node_id, machine.name, machine.gpus, machine.cpus, machine.object_store, told)


def _on(task: Any, machine: Machine) -> Any:
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node_id, soft=False))


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
