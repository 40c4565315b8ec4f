"""One register for each kind of part that a user may bring: methods, layouts of data, samplers, early stopping.

The package's own parts are there by name. Others' are `my_adapters.py:Scaled`, an object of an installed module, or the
name of an entry point, and are loaded where a user names them: on a command line, in a study's file, in Python. What a
file names (a journal's configuration, a bundle's) is not: that would run a stranger's code. The source of what came
from outside is kept, for it travels with a sweep to its workers and with a bundle to whoever trusts it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from astmoa.errors import AstmoaError, ConfigError, shown

LARGEST = 1 << 20
"""Largest source, in bytes."""
_reading: ContextVar[bool] = ContextVar("reading", default=False)


class Part(Protocol):
    code: str | None
    """Hash of its source; None where it is the package's own."""


P = TypeVar("P", bound=Part)


@contextlib.contextmanager
def nothing_is_loaded() -> Iterator[None]:
    """While a file's words become a configuration."""
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def is_outside(name: object) -> bool:
    """Has the name the form of a part from outside, FILE.py:NAME or MODULE:NAME?"""
    return isinstance(name, str) and ":" in name


def digest(source: str) -> str:
    """Hash of a source, as it stands in a trial's configuration."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


class Register(Generic[P]):
    """All parts of one kind, by name.

    kind: what they are called in messages. key: how a configuration names them. flag: how a command line does. group:
    of entry points. example: how one of your own begins. is_one: is an object of a module such a part? adopt: from the
    name, the object (no abstract class) and the hash of its source to the part.
    """

    def __init__(
        self,
        kind: str,
        key: str,
        flag: str,
        example: str,
        is_one: Callable[[object], bool],
        adopt: Callable[[str, object, str], P],
    ):
        self._kind, self._key, self._flag, self._example = kind, key, flag, example
        self._is_one, self._adopt, self._group = is_one, adopt, f"astmoa.{kind.replace(' ', '_')}s"
        self._known: dict[str, P] = {}
        self._sources: dict[str, str] = {}

    def add(self, name: str, part: P) -> None:
        """Make one of the package's known. Raises ConfigError where another one has the name."""
        if name in self._known:
            raise ConfigError(f"two {self._kind}s are called {name}: give one of them another name")
        self._known[name] = part

    def known(self, name: object) -> P | None:
        """The part of this name, if there is one: a run of another version may have had others."""
        return self._known.get(name) if isinstance(name, str) else None

    def names(self) -> tuple[str, ...]:
        """Of all that the package has, in the order in which they are described."""
        return tuple(name for name, part in self._known.items() if part.code is None)

    def find(self, name: object, code: str | None = None) -> P:
        """The part of this name: the package's, or one from outside, loaded if need be.

        code: the hash of its source, where that is known already: then it must be this one, and nothing is loaded. A
        file that has changed is loaded anew where none is given. Raises ConfigError in one line where there is no such
        part, file or module.
        """
        part = self.known(name)
        if part is None or (code is None and part.code is not None and not _reading.get()):
            part = self._load(name, named_by_file=_reading.get() or code is not None)
        if code not in (None, part.code):
            raise ConfigError(
                f"{self._key}={name!r}: its source is another one ({part.code}) than that of this trial ({code}): "
                "bring the old source back, or begin a new run"
            )
        return part

    def receive(self, name: str, source: str) -> P:
        """The part from its source, which came with a sweep or a trusted bundle. Raises ConfigError as `find`."""
        if self._sources.get(name) == source:
            return self._known[name]
        place, attribute = self._place(name)
        if place and not place.endswith(".py"):
            with contextlib.suppress(Exception):  # not installed here, or another version: then the source has to do
                module = importlib.import_module(place)
                if inspect.getsource(module) == source:
                    return self._take(name, module, attribute, source)
        module = types.ModuleType(f"astmoa_outside_{digest(source)}")
        module.__file__ = place or f"{name}.py"  # for tracebacks, and for who inspects it
        sys.modules[module.__name__] = module  # where pickle and dataclasses look for it
        with self._one_line(name):
            exec(compile(source, module.__file__, "exec"), module.__dict__)
        if not place:  # an entry point's name, where the package that declares it is not installed
            attribute = next(iter(self._there(module)), attribute)
        return self._take(name, module, attribute, source)

    def receive_all(self, them: Mapping[str, str]) -> None:
        """The same for several, by name."""
        for name, source in them.items():
            self.receive(name, source)

    def sources(self) -> dict[str, str]:
        """What other machines and bundles need: the source of all that came from outside, by name."""
        return dict(self._sources)

    def _load(self, name: object, named_by_file: bool) -> P:
        if not is_outside(name) and not (isinstance(name, str) and entry_points(group=self._group, name=name)):
            there = f"one of {', '.join(self.names())}"
            raise ConfigError(f"{self._key}={shown(name)} is not possible: {there}, or yours as FILE.py:NAME")
        if named_by_file:
            raise ConfigError(
                f"{self._key}={shown(name)} is code from outside, which is not run because a file names it: name it "
                f"yourself ({self._flag}), or give --trust-code for what a bundle carries"
            )
        assert isinstance(name, str)
        place, attribute = self._place(name)
        if place.endswith(".py"):
            return self.receive(name, self._read(name, Path(place)))
        with self._one_line(name):
            module = importlib.import_module(place)
            source = inspect.getsource(module)
        return self._take(name, module, attribute, source)

    def _place(self, name: str) -> tuple[str, str]:
        """File or module, and object, as the name or an entry point of it says; of neither the name alone."""
        for entry in entry_points(group=self._group, name=name):
            return entry.module, entry.attr
        place, _, attribute = name.rpartition(":")
        return place, attribute

    def _read(self, name: str, path: Path) -> str:
        try:
            if path.stat().st_size > LARGEST:
                raise ConfigError(
                    f"{self._key}={name!r}: {path} is larger than {LARGEST >> 20} MiB: give a source file"
                )
            return path.read_text()
        except OSError as error:
            raise ConfigError(f"{self._key}={name!r}: {path} cannot be read ({error.strerror}): give a file") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self._key}={name!r}: {path} is no Python file") from None

    def _take(self, name: str, module: types.ModuleType, attribute: str, source: str) -> P:
        value = module.__dict__.get(attribute)
        if not self._is_one(value):
            there = self._there(module)
            found = f"it has {', '.join(there)}" if there else f"nothing there is one ({self._example})"
            raise ConfigError(f"{self._key}={name!r} is no {self._kind}: {found}")
        missing = sorted(getattr(value, "__abstractmethods__", ()))
        if missing:
            says = ", ".join(missing)
            raise ConfigError(f"{self._key}={name!r} does not say {says}: define that in class {attribute}")
        with self._one_line(name):
            part = self._adopt(name, value, digest(source))
        self._known[name], self._sources[name] = part, source
        return part

    def _there(self, module: types.ModuleType) -> list[str]:
        """Names of such parts that the module itself defines."""
        own = (key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
        return [key for key in own if not key.startswith("_") and self._is_one(vars(module)[key])]

    @contextlib.contextmanager
    def _one_line(self, name: str) -> Iterator[None]:
        """Whatever somebody's code raises."""
        with one_line(f"{self._key}={name!r} cannot be loaded"):
            yield


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Whatever somebody's code raises as a ConfigError: what, the exception, the line of the code, its words."""
    try:
        yield
    except AstmoaError:
        raise
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a module may even exit
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        line = f", line {last.tb_lineno}" if last is not None else ""
        if isinstance(error, SyntaxError):
            line = f", line {error.lineno}"
        text = " ".join(str(error).split())[:200]
        raise ConfigError(f"{what}: {type(error).__name__}{line}: {text}") from error
