"""Machines to lose: Ray's nodes, each in a session of its own that can be killed as one. A sweep on them, in a process
of its own, whose trials tell where they run and do what trials may not do.

Not Ray's test cluster: it tells every Ray program on this computer to join it (/tmp/ray/ray_current_cluster), kills a
raylet but not the raylet's workers. Hosts with networks of their own: tests/helpers/hosts.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pickle
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astmoa.training.inputs import Inputs
from tests.helpers import ROOT

PATIENCE = 300.0


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for it, and return what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
    return found


# -- machines


class Session:
    """A process, and all that it starts."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path):
        self.log = log
        with open(log, "ab") as out:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **streams)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def pids(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                # "pid (name) state parent group session": a name may hold spaces and brackets
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state not in "ZX":
                    found.append(int(folder.name))
        return found

    def send(self, number: int) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """Until SIGCONT."""
        self.send(signal.SIGSTOP)
        until(lambda: all(stopped(pid) for pid in self.pids()), "all processes of a machine to stop")

    def kill(self) -> None:
        """As when the power goes: none of its processes does anything more."""

        def gone() -> bool:
            self.send(signal.SIGKILL)  # again, for those that were just being started
            return not self.pids()

        self.send(signal.SIGSTOP)
        until(gone, "the end of all processes of a machine")
        self.process.wait()


class Cluster:
    """A head without a GPU, and machines as asked for. Its Ray is nobody else's: it has its own token."""

    def __init__(self, head_cpus: int = 1):
        self.folder = Path(tempfile.mkdtemp(prefix="astmoa-"))  # short: the paths of sockets are bounded
        self._numbers = itertools.count()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A machine whose port is closed is given up after five of these. One that is slow still has 50 s.
            "RAY_health_check_period_ms": "500",
            # A worker that is cut off closes its connections after 20 s. Its driver, which only listens, does not hear
            # of that, and waits for five minutes before it asks.
            "RAY_grpc_keepalive_timeout_ms": "120000",
        }
        self.machines: list[Session] = []
        ports = [f"--{name}-port={free_port()}" for name in ("dashboard", "ray-client-server")]
        self.head = self._start(["--head", "--port=0", "--include-dashboard=false", *ports], head_cpus, gpus=0)

    @functools.cached_property
    def address(self) -> str:
        file = self.folder / "0" / "ray_current_cluster"
        return until(lambda: self._up(self.head) and file.is_file() and file.read_text(), "the head")

    def add(self, cpus: int = 1, gpus: int = 1, within: Sequence[str] = (), options: Sequence[str] = ()) -> Session:
        """within: a command that runs another one, with another disk say."""
        machine = self._start([f"--address={self.address}", *options], cpus, gpus, within)
        self.machines.append(machine)
        return machine

    def have(self, number: int) -> list[Session]:
        """At least so many machines beside the head; returns all, once they have joined."""
        for _ in range(number - len(self.machines)):
            self.add()
        for machine in self.machines:
            until(lambda m=machine: self._up(m), "a machine to join")
        return self.machines

    def lose(self, *machines: Session) -> None:
        _kill(machines)
        self.machines = [machine for machine in self.machines if machine not in machines]

    def close(self) -> None:
        _kill([self.head, *self.machines])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, arguments: Sequence[str], cpus: int, gpus: int, within: Sequence[str] = ()) -> Session:
        # Ports are what is free: the usual ones may be another Ray's. And a folder of its own: machines that start at
        # the same moment in the same folder take each other's sockets.
        folder = self.folder / str(next(self._numbers))
        own = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", f"--temp-dir={folder}"]
        own += [f"--num-cpus={cpus}", f"--num-gpus={gpus}", "--object-store-memory=150000000"]
        own += ["--include-log-monitor=false"]  # nobody reads its lines
        command = [*within, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *own, *arguments]
        return Session(command, self.environment, folder.with_suffix(".log"))

    @staticmethod
    def _up(machine: Session) -> bool:
        text = machine.log.read_text()
        assert machine.alive, text
        return "Ray runtime started" in text


def _kill(sessions: Sequence[Session]) -> None:
    for session in sessions:
        session.send(signal.SIGSTOP)  # all at the same moment
    for session in sessions:
        session.kill()


def born(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; None where there is none. Process ids come again within minutes."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def stopped(pid: int) -> bool:
    """Are all its threads? On a busy machine some go on for a while after SIGSTOP. True also where there is none."""
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if thread.read_text().rpartition(")")[2].split()[0] not in "TtZX":
                return False
    return True


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# -- a sweep whose trials tell, and misbehave


@dataclass(frozen=True)
class Rig:
    """What trials do beside training, by their ids. It comes to every worker with the inputs."""

    folder: Path
    gated: Sequence[str] = ()
    """Wait before their last epoch for the file `gate`: as long as it is not there, the sweep cannot end."""
    slow: Sequence[str] = ()
    """Take an additional tenth of a second for every training step, until there is a file `hurry`."""
    deadly: Sequence[str] = ()
    """Kill their worker at the end of the second epoch, and at the end of every second one after that. The driver hears
    of the first time as if Ray had done it, because the machine ran out of memory."""
    warned: Sequence[str] = ()
    """Get a SIGTERM while they are being opened for the first time."""
    large: Sequence[str] = ()
    """Are out of memory after an epoch, unless they have a whole device."""
    too_large: Sequence[str] = ()
    """Are out of memory after an epoch."""

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    @property
    def hurry(self) -> Path:
        return self.folder / "hurry"

    def told(self) -> list[dict[str, Any]]:
        """What trials did, in order: trial, pid, born, time, event (open, epoch, close), epoch; of an opening also the
        epochs and steps that it resumes, gpus and share that it holds."""
        path = self.folder / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class RiggedInputs(Inputs):
    """Inputs whose arrival in a worker rigs its trials."""

    rig: Rig

    def __reduce__(self) -> Any:
        return _arrive, (_fields(self), self.rig)


def rigged(inputs: Inputs, rig: Rig) -> RiggedInputs:
    result = RiggedInputs(**_fields(inputs))
    object.__setattr__(result, "rig", rig)
    return result


def _fields(inputs: Inputs) -> dict[str, Any]:
    return {field.name: getattr(inputs, field.name) for field in dataclasses.fields(Inputs)}


def _arrive(fields: dict[str, Any], rig: Rig) -> Inputs:
    _install(rig)
    return Inputs(**fields)


def _install(rig: Rig) -> None:
    """Patch the trials of this process, which is a worker."""
    import ray
    import torch

    from astmoa.training import trial as module
    from astmoa.training.trial import Trial

    begin, epochs, close, augment = Trial.__init__, Trial.epochs, Trial.close, module.spec_augment
    slow = False

    me = {"pid": os.getpid(), "born": born(os.getpid())}

    def tell(trial: Trial, event: str, **more: Any) -> None:
        line = {"trial": trial.config.hash(), **me, "time": time.time(), "event": event, **more}
        with open(rig.folder / "told", "ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")  # in one piece: lines of several workers do not mix

    def share() -> float:
        return ray.get_runtime_context().get_assigned_resources().get("GPU", 0)

    def rigged_begin(self: Trial, *arguments: Any) -> None:
        nonlocal slow
        begin(self, *arguments)
        slow = self.config.hash() in rig.slow
        steps = self._unfinished.steps if self._unfinished else 0
        first = self.config.hash() not in {told["trial"] for told in rig.told()}
        tell(self, "open", epochs=self.resumed_epochs, steps=steps, gpus=ray.get_gpu_ids(), share=share())
        if first and self.config.hash() in rig.warned:
            os.kill(os.getpid(), signal.SIGTERM)

    def rigged_epochs(self: Trial) -> Iterator[dict[str, Any]]:
        trial_id, last = self.config.hash(), self.config.optim.epochs
        for record in epochs(self):
            tell(self, "epoch", epoch=record["epoch"])
            fresh = record["epoch"] - self.resumed_epochs
            if trial_id in rig.deadly and fresh == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield record
            if fresh == 1 and (trial_id in rig.too_large or (trial_id in rig.large and share() < 1)):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total ...")
            if trial_id in rig.gated and record["epoch"] == last - 1:
                until(lambda: rig.gate.exists() or self._interrupted, "the gate")

    def rigged_close(self: Trial) -> None:
        close(self)
        tell(self, "close")

    def rigged_augment(*arguments: Any) -> torch.Tensor:
        time.sleep(0.1 if slow and not rig.hurry.exists() else 0)
        return augment(*arguments)

    Trial.__init__, Trial.epochs, Trial.close = rigged_begin, rigged_epochs, rigged_close
    module.spec_augment = rigged_augment


def start_sweep(cluster: Cluster, folder: Path, **options: Any) -> Session:
    """`drive` in a process of its own, whose Ray is the cluster."""
    path = folder / "options.pickle"
    path.write_bytes(pickle.dumps({"num_nodes": 1 + len(cluster.machines), **options}))
    command = [
        sys.executable,
        "-c",
        "import sys; from tests.helpers import machines; machines.drive(sys.argv[1])",
        path,
    ]
    return Session(command, {**cluster.environment, "RAY_ADDRESS": cluster.address}, folder / "driver.log")


def drive(path: str) -> None:
    _drive(**pickle.loads(Path(path).read_bytes()))


def _drive(num_nodes: int, run_dir: Path, trials: Any, rig: Rig, tracker: str | None = None, **options: Any) -> None:
    """Run a sweep as `run_study` does, of rigged trials on the CPU."""
    from astmoa.backend.run_sweep import run_sweep
    from astmoa.records.storage import Upload
    from astmoa.tracking import LiveMirror
    from tests.helpers.sweeps import HEADER, backbone
    from tests.helpers.tiny import make_inputs

    if rig.deadly:
        _mistake_first_death()
    until(lambda: _num_alive() == num_nodes, "Ray to notice all machines that were lost")
    with contextlib.ExitStack() as stack:
        if options.get("store") is not None:
            stack.enter_context(Upload(run_dir, options["store"], print, interval=0.5))
        if tracker is not None:
            stack.enter_context(LiveMirror(run_dir, tracker, interval=2, warn=print))
        print(run_sweep(run_dir, HEADER, trials, rigged(make_inputs(), rig), backbone(), device="cpu", **options))


def _num_alive() -> int:
    from ray._raylet import GcsClient

    nodes = GcsClient(address=os.environ["RAY_ADDRESS"]).get_all_node_info().values()
    return sum(node.state == node.ALIVE for node in nodes)


def _mistake_first_death() -> None:
    """Tell Ray Tune of the first worker's sudden death what Ray tells where its memory monitor has killed the worker.
    That cannot be had for real without filling the memory of the computer that runs the tests."""
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError

    failed, mistaken = RayActorManager._actor_task_failed, []

    def mistake(self: Any, exception: Exception, **task: Any) -> None:
        if isinstance(exception, RayActorError) and "exit_actor" not in str(exception) and not mistaken:
            mistaken.append(exception)
            exception = OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.\nMemory ...")
        failed(self, exception=exception, **task)

    RayActorManager._actor_task_failed = mistake
