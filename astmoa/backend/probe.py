"""What one machine of a cluster says of itself. Sent there as it stands, so that it also runs where astmoa does not:
nothing of this package is imported but inside of `facts`, where its absence is a fact, too.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

UNSEEN = "unseen"
"""What a machine says that does not see a folder made by the machine that asks."""
CLOSED = Path("/run/astmoa/firewall")
"""File that cluster/firewall.sh leaves where it has closed the ports."""


def facts(storage: str | None, name: str, with_torch: bool) -> dict[str, Any]:
    """Versions, package, GPUs, memory and disk of this machine; writes the file `name` into `storage`.

    storage: a folder or an address. with_torch: also ask torch how many GPUs it sees (importing it takes seconds).
    """
    import ray

    found: dict[str, Any] = {
        "host": socket.gethostname(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "ray": ray.__version__,
        "memory": _free_memory(),
        "disk": shutil.disk_usage(tempfile.gettempdir()).free,
        "package": None,
        "error": None,
        "gpus": None,
        "storage": None,
        "public": _public_addresses(),
    }
    try:
        from astmoa.provenance import package_hash

        found["package"] = package_hash()
        if with_torch:
            import torch

            found["gpus"] = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except Exception as error:  # whatever a broken installation raises
        found["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if storage is not None:
        found["storage"] = _write(storage, name)
    return found


def _free_memory() -> int:
    """Bytes. Ray knows the bounds of a pod or a Slurm job, psutil what of the machine's memory is but a cache."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        from ray._common.utils import get_system_memory
        from ray._private.utils import get_used_memory
    except ImportError:  # another Ray's
        return free
    return min(free, get_system_memory() - get_used_memory())


def _public_addresses() -> list[str]:
    """Those of this machine where anybody reaches Ray, which listens on every interface, as far as is known here."""
    import psutil

    if CLOSED.exists():
        return []
    try:
        up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
        listed = [(name, a) for name, addresses in psutil.net_if_addrs().items() for a in addresses]
    except OSError:  # some containers keep that from their users: no sweep is refused for a note
        return []
    found = [a.address for name, a in listed if name in up and a.family in (socket.AF_INET, socket.AF_INET6)]
    return sorted(address for address in found if ipaddress.ip_address(address.partition("%")[0]).is_global)


def _write(storage: str, name: str) -> str | None:
    """Why it cannot be written, or None."""
    try:
        if "://" in storage:
            from astmoa.records.storage import Store

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                path.write_text(name)
                Store(storage).put(path, name)
        else:
            # Not made where it is missing: on a machine where it is not mounted, that would hide it.
            path = Path(storage) / name
            if not path.parent.is_dir():
                return UNSEEN
            path.write_text(name)
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    except Exception as error:
        return " ".join(str(error).split())[:300]
    return None


def sees(storage: str, names: list[str]) -> list[str]:
    """Which of the files that all machines wrote are not to be seen from this one."""
    if "://" in storage:
        from astmoa.records.storage import Store

        store = Store(storage)
        return [name for name in names if not store.has(name)]
    return [name for name in names if not (Path(storage) / name).is_file()]
