"""A run folder's files: which of them are sent, and whose turn it is to mirror it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from astmoa.provenance import redact
from astmoa.records.journal import NAME as JOURNAL_NAME

REPORT = ("table.md", "table.json", "frontier.png")
ARTIFACTS = (JOURNAL_NAME, *REPORT)


def changed_files(
    run_dir: Path, names: Collection[str], digests: Mapping[str, str]
) -> Iterator[tuple[str, bytes, str]]:
    """Name, content without passwords, and digest of the files that are there and differ from `digests`."""
    for name in names:
        path = run_dir / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix != ".png":
            # What is no text stays as it is: somebody may have put another file there.
            content = redact(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        digest = hashlib.sha256(content).hexdigest()[:16]
        if digests.get(name) != digest:
            yield name, content, digest


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One pass at a time over a run folder, on one machine: two at once would both create the runs that are missing."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
