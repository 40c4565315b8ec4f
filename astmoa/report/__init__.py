"""What a person looks at after a sweep: tables and pictures, made from records only."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write under; it takes its place at the end, or is removed if the writing fails."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename:
            error.filename = str(path)  # nobody has heard of the other name
        raise
    finally:
        unfinished.unlink(missing_ok=True)
