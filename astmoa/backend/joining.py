"""The cluster that a sweep joins: RAY_ADDRESS, or what `ray start` has left on this machine, asked before it is joined.

Ray itself waits for minutes for what is not there, or not a Ray, and then says something else.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import ray

from astmoa.backend.own_ray import QUIET
from astmoa.backend.ray_folder import closed_to_others
from astmoa.errors import RunError
from astmoa.provenance import redact

VARIABLE = "RAY_ADDRESS"
PATIENCE = 10.0
"""Seconds that a cluster's head has to answer."""
_ALONE = f"or unset {VARIABLE} to run here alone"


def joinable() -> bool:
    """Does this machine belong to a cluster? Raises RunError where it should and nobody answers there."""
    told = os.environ.get(VARIABLE, "").strip()
    if told == "local":
        return False
    if told not in ("", "auto"):
        _ask(_checked(told), _shown(told), f"start it, {_ALONE}")
        return True
    address = _started_here()
    if address is None and told:
        raise RunError(f"{VARIABLE}=auto, and no `ray start` was called here: give HOST:PORT of a head, {_ALONE}")
    if address is not None:
        _ask(
            address, f"{address}, where `ray start` was called", f"start it anew, or forget it with ray stop, {_ALONE}"
        )
    return address is not None


def join() -> None:
    """Raises RunError where that cannot be."""
    told = os.environ.get(VARIABLE, "").strip()
    try:
        with closed_to_others(), _variable(None if told in ("", "auto") else told):
            ray.init(**QUIET)
    except Exception as error:  # Ray raises bare Exceptions here, and whatever else it meets
        ray.shutdown()
        raise RunError(_why_not_joined(" ".join(str(error).split()))) from None


def _shown(told: str) -> str:
    """Without what stands before an @, which can only be a user and his password."""
    user, at, rest = told.rpartition("@")
    scheme = user.partition("://")[0] + "://" if "://" in user else ""
    return f"{VARIABLE}={redact(f'{scheme}***@{rest}' if at else told)}"


def _checked(told: str) -> str:
    """HOST:PORT as it was given. Raises RunError for what has another form."""
    shown = _shown(told)
    head = f"give HOST:PORT of the cluster's head, such as 10.0.0.1:6379, {_ALONE}"
    scheme = told.partition("://")[0].lower() if "://" in told else ""
    if scheme in ("http", "https"):
        raise RunError(f"{shown} is where Ray takes jobs (ray job submit), which a sweep cannot join: {head}")
    if scheme == "ray":
        raise RunError(
            f"{shown} is for Ray Client, through which no sweep can be run: run it there (ray submit), {head}"
        )
    try:
        parts = urlsplit(f"//{told}")
        complete = parts.hostname and parts.port and parts.netloc == told and not parts.username
    except ValueError:  # a port that is no number, or none that there is
        complete = False
    if scheme or not complete or re.search(r"\s", told):
        raise RunError(f"{shown} is no address of a cluster: {head}")
    return told


def _started_here() -> str | None:
    """What `ray start` has left where Ray looks for it, if this user or root was it: who joins gives away his token."""
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    file = Path(temporary) / "ray" / "ray_current_cluster"
    try:
        return file.read_text().strip() or None if file.stat().st_uid in (0, os.getuid()) else None
    except OSError:
        return None


def _ask(address: str, shown: str, fix: str) -> None:
    """Is there a Ray, and does it let us in? Raises RunError."""
    from ray._private.gcs_utils import create_gcs_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    channel = create_gcs_channel(address)  # with the token, where one is set, and with TLS
    try:
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        request = gcs_service_pb2.GetClusterIdRequest()  # type: ignore[attr-defined]  # made when it is imported
        head.GetClusterId(request, timeout=PATIENCE)
    except grpc.RpcError as error:
        code, why = error.code(), " ".join((error.details() or "").split())
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise RunError(_why_not_joined("Failed to connect")) from None
        if "DNS resolution failed" in why or "not known" in why:
            raise RunError(f"{shown}: there is no such host: {fix}") from None
        if code == grpc.StatusCode.UNAVAILABLE and "http" not in why.lower():
            raise RunError(f"no Ray answers at {shown}: {fix}") from None
        raise RunError(f"no Ray answers at {shown}, but something else is there ({code.name}): {fix}") from None
    except ray.exceptions.AuthenticationError:  # after a Ray of one's own it wants a token to ask at all
        if not _listens(address):
            raise RunError(f"no Ray answers at {shown}: {fix}") from None
        raise RunError(_why_not_joined("authentication token")) from None
    finally:
        channel.close()


def _listens(address: str) -> bool:
    parts = urlsplit(f"//{address}")
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE):
            return True
    except OSError:
        return False


def _why_not_joined(text: str) -> str:
    versions = re.findall(r"Ray: (\S+) Python: (\S+)", text)
    if len(versions) == 2:
        (ray_there, python_there), (ray_here, python_here) = versions
        return (
            f"the cluster runs Ray {ray_there} with Python {python_there}, here are Ray {ray_here} and Python "
            f"{python_here}: run the sweep on the cluster (ray submit), or install the same here"
        )
    if "Failed to connect" in text or "authentication token" in text:
        return (
            "the Ray cluster does not let us in: does it want its token? Set RAY_AUTH_MODE=token and "
            f"RAY_AUTH_TOKEN_PATH as on its head, {_ALONE}"
        )
    return f"the Ray cluster cannot be joined ({redact(text)[:200]}): ray status tells more; {_ALONE[3:]}"


@contextlib.contextmanager
def _variable(value: str | None) -> Iterator[None]:
    before = os.environ.pop(VARIABLE, None)
    if value is not None:
        os.environ[VARIABLE] = value
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before
