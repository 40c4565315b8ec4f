"""Command lines out of dataclasses, by tyro, with help texts that fit the terminal."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import tyro

Options = TypeVar("Options")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def parse(
    kind: type[Options], args: list[str], prog: str, description: str | None = None, default: Options | None = None
) -> Options:
    """The options in `args`. Prints the help text, or what is wrong, and exits where there are none.

    description: of the program; default: the docstring of `kind`. default: the options that `args` change.
    """
    with _fitted(args):
        if default is None:
            return tyro.cli(kind, args=args, prog=prog, description=description)
        return tyro.cli(kind, args=args, prog=prog, description=description, default=default)


def parse_command(commands: Mapping[str, type], args: list[str], prog: str, description: str) -> Any:
    """The same with the first of `args` as the name of one of `commands`."""
    with _fitted(args):
        return tyro.extras.subcommand_cli_from_dict(dict(commands), args=args, prog=prog, description=description)


@contextlib.contextmanager
def _fitted(args: list[str]) -> Iterator[None]:
    """What is printed when help is asked for comes out in the width of the terminal: tyro fits its boxes alone."""
    if not {"-h", "--help"}.intersection(args) and args:
        yield
        return
    printed = _Printed(io.BytesIO(), encoding=getattr(sys.stdout, "encoding", None) or "utf-8", errors="replace")
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        width = max(20, shutil.get_terminal_size().columns)
        printed.seek(0)
        for line in printed.read().splitlines():
            print(fit(line, width))


class _Printed(io.TextIOWrapper):
    """What is written, for tyro the terminal that it will come out on."""

    def isatty(self) -> bool:
        return sys.__stdout__ is not None and sys.__stdout__.isatty()


def fit(line: str, width: int) -> str:
    """A line in the given width: a usage's list of commands gives way to a word, text is wrapped, an example (indented)
    goes on in further lines as a shell reads them, and boxes are left alone."""
    plain = _COLOUR.sub("", line)
    if len(plain) <= width or plain[0] in "╭│╰":
        return line
    line = plain
    if line.startswith("usage: "):
        line = re.sub(r"\{[^}]*\}", "COMMAND", line)
    indent = line[: len(line) - len(line.lstrip())]
    example = len(indent) >= 4
    lines = textwrap.wrap(
        line.strip(),
        width - (2 if example else 0),
        initial_indent=indent,
        subsequent_indent=indent + ("    " if example else ""),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (" \\\n" if example else "\n").join(lines)
