"""A Ray for one sweep alone, on this machine: private, small, and waited for.

Left to itself Ray puts logs, sockets and spilled features where every user may read and write them (folders of mode
0777 in /tmp/ray), leaves its token readable to all, and listens on every interface. Here all of it lies in a folder of
the sweep's own, and what listens does so on loopback.

Its node gives up where its agents are not there after 15 s, and no setting changes that: on a busy machine no sweep
would start. So what a sweep has no use for is not started: the autoscaler, the dashboard and its agent, what brings
workers' output to the terminal, and a worker for every CPU before the first trial. What is left takes a fortieth of the
CPU seconds, and none of it has to be in time.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import ray

from astmoa.backend.ray_folder import Folder, base_folder, check_room, closed_to_others, make_folder, remove_stale
from astmoa.errors import RunError

TRIES = 4
PAUSES = (5.0, 15.0, 30.0)
"""Seconds between the starts of Ray that are tried."""
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
_PATIENT = {
    # For the GCS, seconds; for the agent that sets up environments, ms; for a worker to come up, seconds.
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_enable_metrics_collection": "0",
    # Not a worker for every CPU before the sweep may go on: those that it needs come up when it needs them.
    "RAY_prestart_worker_first_driver": "0",
}


_folder: Folder | None = None
"""Folder of the Ray that runs."""


def start(object_store_memory: int) -> None:
    """Start it, with patience. object_store_memory: bytes. Raises RunError, and then nothing of it is left running."""
    global _folder
    base = base_folder()
    remove_stale(base)
    for number in range(1, TRIES + 1):
        check_room(base)
        made = make_folder(base)
        try:
            # The last time as Ray does it by itself: in case that it is another Ray, which does not bear the rest.
            why = _try(made, object_store_memory, _light() if number < TRIES else contextlib.nullcontext())
        except BaseException:
            made.remove()
            raise
        if why is None:
            _folder = made
            return
        why += f"; load {os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs"
        if number < TRIES:
            made.remove()
            pause = PAUSES[number - 1]
            again = f"waiting {pause:.0f} s, then try {number + 1} of {TRIES}"
            print(f"Ray did not start ({why}): {again}", file=sys.stderr, flush=True)
            time.sleep(pause)
    raise RunError(
        f"Ray did not start in {TRIES} tries ({why}): end other programs, or try again when the machine is less busy; "
        f"its logs are in {made.keep_logs()}"
    )


def stop(keep_logs: bool = False) -> Path | None:
    """End it, or leave the cluster that was joined. Returns where Ray's logs are, if they are kept."""
    global _folder
    ray.shutdown()
    _forget_token()
    made, _folder = _folder, None
    if made is None:
        return None
    _end_processes(made.path, patience=30.0)  # a worker may just be saving what it has trained
    if keep_logs:
        return made.keep_logs()
    made.remove()
    return None


def folder() -> Path | None:
    """Of the Ray that runs, if it is one of ours: removed with it."""
    return _folder.path if _folder is not None else None


def is_disk_full(error: BaseException | None) -> bool:
    """Was it the disk where Ray works, that had no room?"""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _folder is not None
        error = error.__cause__ or error.__context__
    return False


def _try(folder: Folder, object_store_memory: int, light: contextlib.AbstractContextManager) -> str | None:
    """Why it did not start; None where it runs. Raises RunError where another try would end like this one."""
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": object_store_memory}
    # Under `uv run` Ray would pack the whole checkout for its workers, who see it anyway.
    own |= {"_temp_dir": str(folder.ray), "_skip_env_hook": True}
    started = False
    try:
        with closed_to_others(), _environment(_settings(folder)), _on_loopback(), light:
            ray.init(address="local", **own, **QUIET)
        started = True
        return None
    except Exception as error:  # Ray raises bare Exceptions here, and whatever else it meets
        why = " ".join(str(error).split())[:200] or type(error).__name__
        in_vain = isinstance(error, OSError) and error.errno in _LASTING
    finally:
        if not started:  # where the user interrupts it, too
            ray.shutdown()
            _end_processes(folder.path, patience=0.0)
    if in_vain:
        raise RunError(f"Ray cannot be started in {folder.path.parent} ({why}): make room there, or set RAY_TMPDIR")
    return why


_LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


def _settings(folder: Folder) -> dict[str, str]:
    """Ray's, as variables: its processes inherit them. The user's own win."""
    found = {name: value for name, value in _PATIENT.items() if name not in os.environ}
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        found["RAY_AUTH_TOKEN_PATH"] = str(folder.token())
    return found


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    _forget_token()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _forget_token() -> None:
    """Ray keeps the first one that it has read in this process."""
    loader = getattr(ray._raylet, "AuthenticationTokenLoader", None)  # an older Ray has none
    if loader is not None:
        loader.instance().reset_cache()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray's own way to have a node there, made for systems whose firewalls would ask otherwise. Given as an address,
    127.0.0.1 becomes one of the network."""
    from ray._private import ray_constants

    variable = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # for its processes
    with _environment(variable), replaced(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


@contextlib.contextmanager
def _light() -> Iterator[None]:
    """While a node starts: without what a sweep has no use for. Where another Ray is made otherwise, that is left."""
    from ray._private import node, ray_constants, services

    class Light(node.Node):
        def __init__(self, ray_params: Any, *arguments: Any, **options: Any):
            less = {"no_monitor": True, "include_log_monitor": False, "runtime_env_agent_port": _free_port()}
            ray_params.update(**{name: value for name, value in less.items() if hasattr(ray_params, name)})
            super().__init__(ray_params, *arguments, **options)

        def start_api_server(self, **options: Any) -> None:
            self._webui_url = ""  # as Ray has it where there is no dashboard

    name = "_build_python_executable_command_memory_profileable"
    command = getattr(services, name, None)

    def build(component: str, *arguments: Any, **options: Any) -> list[str]:
        # Where the agent tells of its ports in files, and the node waits for those: an older Ray knows them beforehand.
        if component == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT and hasattr(ray._raylet, "persist_port"):
            return [sys.executable, "-IS", str(Path(__file__).with_name("agent.py"))]
        assert command is not None  # or nothing calls this one
        nice = ["nice"] if component == ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT and shutil.which("nice") else []
        return [*nice, *command(component, *arguments, **options)]  # no trial asks it for anything

    with contextlib.ExitStack() as stack:
        # Nor is anything of the dashboard's imported to see whether it is there.
        stack.enter_context(
            replaced(ray._private.utils, "get_dashboard_dependency_error", lambda: ImportError("unused"))
        )
        stack.enter_context(replaced(node, "Node", Light))
        stack.enter_context(replaced(services, name, build))
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Something of Ray's, for a while. Where another Ray has no such thing, nothing is."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _free_port() -> int:
    """With a port that it is told, the node does not wait for the agent behind it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _end_processes(folder: Path, patience: float) -> None:
    """Those of the Ray in this folder, of which a failed start leaves many: agents and workers go by other names."""
    ours = [process for process in psutil.process_iter() if _is_of(process, f"{folder}/")]
    _, alive = psutil.wait_procs(ours, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5.0)


def _is_of(process: psutil.Process, folder: str) -> bool:
    """Is it named with the folder, or does it write there? Ray's are all in this process's session."""
    try:
        if process.pid == os.getpid() or os.getsid(process.pid) != os.getsid(0):
            return False
        return any(folder in word for word in process.cmdline()) or any(
            file.path.startswith(folder) for file in process.open_files()
        )
    except (psutil.Error, OSError):
        return False
