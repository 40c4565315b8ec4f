"""Words that came from somewhere else (labels, names, errors), made fit for a table, a page and a picture.

What a label says is shown as its own characters, whoever renders it; the JSON keeps them as they are.
"""

from __future__ import annotations

import re

from astmoa.errors import printable

LONGEST_TITLE = 50  # characters of a name in a picture's title, which has several
# What would act in markdown, and only there: `12_2` and `[2.1, 3.4]` stay as they are.
_ACTS = re.compile(
    r"""
      (?P<punctuation> [`*~|] )
    | (?P<backslash> \\ (?= [!-/:-@\[-`{-~] | $ ) )         # before a letter it is one
    | (?P<underscores> (?<!\w)_++ | (?<!_)_++(?![^\W_]) )   # but those inside a word
    | (?P<bracket> \] (?= \s* [(\[:] ) )                    # a link, or its definition
    | (?P<begin> ^ (?: [#>] | [-+=](?=\s|$) ) )             # a heading, a quotation, a list
    | (?P<number> ^ \d+ [.)] (?=\s|$) )
    | (?P<entity> [<$] | &(?=\#?\w+;) | @(?=\w) | :(?=//) | :(?=[^\s:]+:) )   # tags, formulas, addresses, emoji
    | (?P<www> www (?=\.) )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,  # in some renderers a word has no other letters
)
_ENTITIES = {"<": "&lt;", "&": "&amp;"}


def markdown(text: object, most: int = 2000) -> str:
    """For a line or a table's cell in markdown: shown as these characters by every renderer, HTML and all.

    A word's own underscores, brackets that are no link and the like stay as they are, so that the file is readable.
    """
    return _ACTS.sub(_escaped, " ".join(printable(text, most).split()))


def drawn(text: object, most: int) -> str:
    """For a picture: one short line, no formula between dollars; never empty, nor hidden from a legend by a leading
    underscore."""
    line = printable(text, most).strip() or "–"
    return f"{' ' * line.startswith('_')}{line}".replace("$", r"\$")


def _escaped(found: re.Match[str]) -> str:
    text = found[0]
    if found.lastgroup == "entity":
        return _ENTITIES.get(text, f"&#{ord(text)};")
    if found.lastgroup == "www":
        return f"{text[:-1]}&#{ord(text[-1])};"
    if found.lastgroup == "number":
        return f"{text[:-1]}\\{text[-1]}"
    return "".join(f"\\{character}" for character in text)
