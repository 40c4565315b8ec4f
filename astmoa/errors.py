"""Our own exceptions, and text fit to be shown.

Each message is one line: what is wrong, where, and how to fix it. The command line prints it bare.
"""

import contextlib
import io
import sys
from collections.abc import Iterator


class AstmoaError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(AstmoaError):
    """A configuration names an unknown key or an impossible value."""


def require(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raises ConfigError for an impossible value: the key, the value, what is allowed."""
    if not ok:
        raise ConfigError(f"{key}={shown(value)} is not possible: {allowed}")


def shown(value: object) -> str:
    """A value as it may be quoted: one from a file can be of any size and depth."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits has no text, a deep list neither
        return f"<a very large {type(value).__name__}>"
    return text if len(text) <= 200 else f"{text[:196]} ..."


class DataError(AstmoaError):
    """A data set is missing, incomplete or inconsistent."""


class ClipError(DataError):
    """One audio file cannot be used. `path` and `reason` are kept apart so that many can be listed."""

    def __init__(self, path: object, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self):  # it crosses process borders: rebuild it from both parts
        return type(self), (self.path, self.reason)


class BackboneError(AstmoaError):
    """A backbone cannot be loaded or is not an Audio Spectrogram Transformer."""


class RunError(AstmoaError):
    """A run folder is missing, damaged, or was written by another configuration."""


class TrackingError(AstmoaError):
    """The tracking server cannot be reached or refuses."""


class NonFiniteLossError(AstmoaError):
    """Training diverged: the loss is not a finite number."""


class Interrupted(Exception):
    """A trial stopped because it was told to: no AstmoaError, which would be taken for the trial's failure."""


@contextlib.contextmanager
def exit_in_one_line(interrupted: str) -> Iterator[None]:
    """For entry points: a user's error, a path's, or Ctrl-C ends the program with one line instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot encode is spelled out, and ends no program
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except AstmoaError as error:
        _exit(f"error: {error}", 2)
    except BrokenPipeError:  # astmoa ... | head
        sys.stderr.close()
    except OSError as error:
        _exit(f"error: {error.filename or ''}: {error.strerror or error}; check the path and your rights", 2)
    except KeyboardInterrupt:
        _exit(f"interrupted; {interrupted}", 130)


def _exit(line: str, code: int) -> None:
    print(printable(line), file=sys.stderr)  # it may quote a file's words
    sys.exit(code)


# Scripts and emoji are written with these two, and they move nothing.
_JOINERS = "\u200c\u200d"
LONGEST = 2000


def printable(text: object, most: int = LONGEST) -> str:
    """One line without anything that a terminal obeys: escape sequences, line ends and marks that turn the direction of
    writing are spelled out (\\x1b), as are bytes of a name that are no UTF-8. Longer than `most` characters: cut."""
    text = str(text)
    shown = text if len(text) <= most else f"{text[: most - 4]} ..."
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() or c in _JOINERS else _escape(c) for c in shown)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def tell(line: str) -> None:
    """One line on stderr, with names as they are: no style, no markup, no control characters."""
    print(printable(line), file=sys.stderr, flush=True)
