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
    """The text without its secrets, each replaced by stars: what stands before the @ of a URI, values of parameters,
    variables and fields whose name says that they are secret, and keys that are known by their form.

    In doubt too much is replaced, never too little.
    """
    text = _without_spaced_user(text)
    text = _WORD.sub(_without_user, text)
    for secret, shown in ((_ENCODED, r"\1***%40"), (_ASSIGNED, r"\1***"), (_FIELD, r"\1***"), (_HEADER, r"\1***")):
        text = secret.sub(shown, text)
    return _KNOWN.sub("***", text)


_URI = re.compile(r"(?:[\w-]{1,60}=)?([a-z][\w+.-]{0,30})://", re.I)
_PORT = re.compile(r"(\[[^\]]*\]|[^:@]*):\d{1,5}")
_WORD = re.compile(r"[^\s\"]+")
_ENCODED = re.compile(r"(%3A%2F%2F)[^\s\"&]{0,1000}%40", re.I)
_LONG = (
    "passw(?:or)?d|passphrase|pwd|secret|token|signature|credentials?|"
    "(?:api|access|secret|private|account|auth|encryption)[-_.]?key(?:[-_.]?id)?"
)
_SHORT = "pass|pw|sig|sas|auth|jwt"
_NAME = rf"(?:[\w.-]*(?:{_LONG})|(?:[\w.-]*[-_.])?(?:{_SHORT})|(?<=[?&])key)"
_ASSIGNED = re.compile(rf"((?<![\w.-]){_NAME}=)(?:\"[^\"]+\"|'[^']+'|(?:[^&;\s\"']|'(?=\w))+)", re.I)
_FIELD = re.compile(rf"((\\?[\"']){_NAME}\2\s?:\s?(\\?[\"']))(?:(?!\3).)+", re.I)
_HEADER = re.compile(r"(\bauthorization\\?[\"']?\s?[:=]\s?\\?[\"']?(?:(?:bearer|basic|token)\s)?)[^\s\"',\\]+", re.I)
_KNOWN = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bhf_\w{20,}|\bsk-(?:proj-|ant-)?[\w-]{20,}|\bgh[pousr]_\w{20,}|"
    r"\bgithub_pat_\w{20,}|\bxox[abpr]-[\w-]{10,}|\bAIza[\w-]{30,}|\beyJ[\w-]{10,2000}\.[\w-]{10,}\.[\w-]*"
)


def _without_spaced_user(text: str) -> str:
    """The same for a text that is a URI as a whole, as words of a command line are: then a password may hold blanks and
    quotes, too. In a longer text nobody knows where such a one begins."""
    begin = _URI.match(text)
    if begin is None:
        return text
    user, at, rest = text[begin.end() :].rpartition("@")
    name = re.split(r"[/\s@]", user, maxsplit=1)[0]
    if not at or ":" not in name or re.search(r"\s", rest) or (_is_web(begin[1]) and _PORT.fullmatch(name)):
        return text
    return f"{begin[0]}***@{rest}"


def _without_user(found: re.Match[str]) -> str:
    """A word, without what stands before the @ of a URI in it. A password may hold slashes, and more of @ and ://."""
    word, at, rest = found[0].rpartition("@")
    for scheme in re.finditer("://", word) if at else ():
        begin, slash = scheme.end(), word.find("/", scheme.end())
        host = word[begin:] if slash < 0 else word[begin:slash]
        port = slash > 0 and _is_web(word[: scheme.start()]) and _PORT.fullmatch(host)  # http://host:5000/a@b
        if slash < 0 or (":" in host and not port):
            return f"{word[:begin]}***@{rest}"
        if "@" in host:
            return f"{word[:begin]}***{word[begin + host.rindex('@') :]}@{rest}"
    return found[0]


def _is_web(text: str) -> bool:
    return text[-5:].lower().endswith(("http", "https"))


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
