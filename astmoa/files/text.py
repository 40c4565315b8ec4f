"""Text that came from somewhere else (a file's labels, names, errors), made fit to be shown."""

from __future__ import annotations

import sys

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
