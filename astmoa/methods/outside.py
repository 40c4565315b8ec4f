"""Methods that somebody else wrote: `my_adapters.py:Scaled`, or a class of an installed module.

They are loaded where a user names them: on a command line, in a study's file, in Python. What a file names (a journal's
configuration, a bundle's) is not: that would run a stranger's code. The source travels with a sweep to its workers and
with a bundle to whoever trusts it, and its hash is part of the trial's.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from importlib.metadata import entry_points
from pathlib import Path

from astmoa.errors import AstmoaError, ConfigError, shown
from astmoa.methods.method import Method, known, names, put

GROUP = "astmoa.methods"
"""Entry points by which an installed package makes its methods known."""
LARGEST = 1 << 20
"""Bytes of a source."""
_sources: dict[str, str] = {}
"""By method, of those that were loaded."""
_reading: ContextVar[bool] = ContextVar("reading", default=False)


@contextlib.contextmanager
def nothing_is_loaded() -> Iterator[None]:
    """While a file's words become a configuration."""
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def is_outside(name: object) -> bool:
    """Has the name the form of a method from outside, FILE.py:CLASS or MODULE:CLASS?"""
    return isinstance(name, str) and ":" in name


def find_method(name: object, code: str | None = None) -> Method:
    """The method of this name: the package's, or one from outside, loaded if need be.

    code: the hash of its source, where that is known already: then it must be this one. A file that has changed is
    loaded anew where none is given. Raises ConfigError in one line where there is no such method, file, module or
    class.
    """
    method = known(name) if isinstance(name, str) else None
    if method is None or (code is None and method.code is not None and not _reading.get()):
        method = _load(name)
    if code not in (None, method.code):
        raise ConfigError(
            f"method.name={name!r}: its source is another one ({method.code}) than that of this trial ({code}): bring "
            "the old source back, or begin a new run"
        )
    return method


def _load(name: object) -> Method:
    if not is_outside(name) and not (isinstance(name, str) and entry_points(group=GROUP, name=name)):
        known_ones = f"one of {', '.join(names())}"
        raise ConfigError(f"method.name={shown(name)} is not possible: {known_ones}, or yours as FILE.py:CLASS")
    if _reading.get():
        raise ConfigError(
            f"method.name={shown(name)} is code from outside, which is not run because a file names it: name it "
            "yourself (--method.name), or give --trust-code for what a bundle carries"
        )
    place, attribute = _place(name)
    if place.endswith(".py"):
        return receive(name, _read(name, Path(place)))
    with _one_line(name):
        module = importlib.import_module(place)
        source = inspect.getsource(module)
    return _register(name, module, attribute, source)


def _place(name: str) -> tuple[str, str]:
    """File or module, and class, as the name or an entry point of that name says; of neither the name alone."""
    for entry in entry_points(group=GROUP, name=name):
        return entry.module, entry.attr
    place, _, attribute = name.rpartition(":")
    return place, attribute


def receive(name: str, source: str) -> Method:
    """Load a method from its source, which came with a sweep or a trusted bundle. Raises ConfigError as `load`."""
    if _sources.get(name) == source:
        return known(name)
    place, attribute = _place(name)
    if place and not place.endswith(".py"):
        with contextlib.suppress(Exception):  # not installed here, or another version: then the source has to do
            module = importlib.import_module(place)
            if inspect.getsource(module) == source:
                return _register(name, module, attribute, source)
    module = types.ModuleType(f"astmoa_outside_{digest(source)}")
    module.__file__ = place or f"{name}.py"  # for tracebacks, and for who inspects it
    sys.modules[module.__name__] = module  # where pickle and dataclasses look for it
    with _one_line(name):
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    if not place:  # an entry point's name, where the package that declares it is not installed
        attribute = next((key for key, value in vars(module).items() if _is_method_of(value, module)), attribute)
    return _register(name, module, attribute, source)


def sources() -> dict[str, str]:
    """What other machines and bundles need: the source of every method that came from outside, by its name."""
    return dict(_sources)


def receive_all(them: Mapping[str, str]) -> None:
    """The same for several, by name."""
    for name, source in them.items():
        receive(name, source)


def digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def _read(name: str, path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"method.name={name!r}: {path} is larger than {LARGEST >> 20} MiB: give a source file")
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"method.name={name!r}: {path} cannot be read ({error.strerror}): give a file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"method.name={name!r}: {path} is no Python file") from None


def _register(name: str, module: types.ModuleType, attribute: str, source: str) -> Method:
    kind = module.__dict__.get(attribute)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        there = [key for key, value in vars(module).items() if _is_method_of(value, module)]
        found = f"it has {', '.join(there)}" if there else "no class there is one (class Mine(astmoa.Adapter))"
        raise ConfigError(f"method.name={name!r} is no method: {found}")
    if kind.__abstractmethods__:
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise ConfigError(f"method.name={name!r} does not say {missing}: define that in class {attribute}")
    with _one_line(name):
        kind.name, kind.code = name, digest(source)
        method = kind()
    put(name, method)
    _sources[name] = source
    return method


def _is_method_of(value: object, module: types.ModuleType) -> bool:
    return isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Whatever somebody's code raises."""
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
        raise ConfigError(f"method.name={name!r} cannot be loaded: {type(error).__name__}{line}: {text}") from error
