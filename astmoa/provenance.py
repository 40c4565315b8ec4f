"""Where a result came from: versions, source revision, machine. Nothing from the environment's variables."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_PACKAGES = ("astmoa", "torch", "torchaudio", "transformers", "ray", "mlflow", "optuna", "numpy")


def versions() -> dict[str, str]:
    """Installed versions of what decides results; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def package_hash() -> str:
    """Of the package's own files: equal on two machines where they run the same code."""
    folder, digest = Path(__file__).resolve().parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def program(name: str) -> str:
    """How to call a program of this environment from here: by name, or with its path where that is another one."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() and shutil.which(name) != str(beside) else name


def redact(text: str) -> str:
    """The text with user:password@ of its URIs, and passwords among their parameters, replaced by stars."""
    text = re.sub(r"(?<=://)[^/\s\"']*@", "***@", text)
    return re.sub(r"([?&;](?:password|passwd|pwd|token|access_token|api_key)=)[^&\s\"']+", r"\1***", text, flags=re.I)


def git_commit() -> str | None:
    """The revision of the sources, with -dirty where they were changed since; None where they are no checkout."""
    folder = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> str:
    """Processor, cores and GPUs in one line."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{os.cpu_count()} x {model}" + "".join(f", {gpu}" for gpu in gpus)
