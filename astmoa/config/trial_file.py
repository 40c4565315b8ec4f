"""A trial from a YAML file, which may be anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from astmoa.config.trial_config import TrialConfig
from astmoa.errors import ConfigError
from astmoa.files.reading import first_line, read_bytes

_MOST_BYTES = 1 << 16  # a trial is a kilobyte
_MOST_VALUES = 10_000


def read_config(path: Path) -> TrialConfig:
    """The trial in a config.yaml. Raises ConfigError in one line where there is no such file or it holds no trial."""
    try:
        return load_config(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give a config.yaml, as in an exported bundle") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give a config.yaml") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no YAML file of a trial ({error}): give a config.yaml") from None


def load_config(path: Path) -> TrialConfig:
    """As `read_config`. Raises ConfigError for a wrong value alone, OSError and ValueError where the file is wrong."""
    return TrialConfig.from_dict(_parse(read_bytes(path, _MOST_BYTES)))


def code_named(path: Path, section: str) -> tuple[str, str]:
    """Name of the part in a section of a file (`method`, `data`), and hash of its source.

    Raises OSError, and ValueError where there are none.
    """
    values = _parse(read_bytes(path, _MOST_BYTES))
    part = values.get(section) if isinstance(values, dict) else None
    name, code = (part.get("name"), part.get("code")) if isinstance(part, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(code, str):
        raise ValueError(f"config.yaml names no {section} from outside")
    return name, code


def _parse(text: bytes) -> Any:
    """Raises ValueError alone."""
    loader = None
    # PyYAML raises whatever Python does with a value that does not fit its tag (!!int "", !!timestamp x), beside errors
    # of its own and RecursionError: here only it is called.
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None and _size(node, {}) <= _MOST_VALUES:
            return loader.construct_document(node)
    except Exception as error:
        raise ValueError(_reason(error)) from None
    finally:
        if loader is not None:
            loader.dispose()
    raise ValueError("it is empty" if node is None else f"it has more than {_MOST_VALUES:,} values")


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return first_line(error)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values in a tree whose aliases are written out: a few lines of them can stand for more than any memory holds."""
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1  # met again inside of itself: it would never end
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in nodes)
    return known[id(node)]
