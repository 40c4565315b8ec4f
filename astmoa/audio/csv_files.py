"""Lists of clips as people write them: CSV files and lists of names, read without losing or bending a row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from astmoa.audio.plain_files import NotAFileError, is_plain, read_plain
from astmoa.errors import DataError, printable

_QUOTES = "put text that has commas in it between quotation marks"
_SHOWN = 200  # characters of a file's own words in a message


class Row(dict[str, str]):
    """One row of a table by its columns' names; `line` is the number of its (first) line, for messages."""

    line: int = 0


def shown(text: object) -> str:
    """A file's words in a message: on one line, and not too many."""
    return printable(text, _SHOWN)


def read_rows(table: Path, *columns: str, path: str | None = None) -> list[Row]:
    """The rows of a CSV file; every one of `columns` ("a|b": one of them) is there and filled.

    Raises DataError with the line for everything that would lose or bend a row: another number of fields than the
    header's, a quotation mark that is not closed, a column that is there twice, text that is not UTF-8 (but for a
    column `path` with names of files that are there, byte for byte).
    """
    text = _text(table)
    rows = _parsed(table, text)
    if len(rows) < 2:
        raise DataError(f"{table} lists no clips: give a header line and one line per clip")
    header = [name.strip() for name in rows[0][1]]
    named = [name for name in header if name]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{table} has two columns {shown(twice)}: rename or remove one")
    present = [_present(table, column.split("|"), named, rows[0][1]) for column in columns]
    found = [_row(table, line, fields, header) for line, fields in rows[1:]]
    for row in found:
        for name in present:
            if not row[name].strip():
                raise DataError(f"{table} line {row.line} has no {name}: fill it or remove the line")
            if "\n" in row[name] or "\r" in row[name]:
                raise DataError(f"{table} line {row.line}: {name} has a line break in it: {_QUOTES}, and close them")
    _check_encoding(table, found, path)
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of an official list that are not empty, at least one, without the space around them."""
    try:
        text = read_plain(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read ({reason}): restore it from the data set's archive") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} lists no clips: restore it from the data set's archive")
    return lines


def integer(row: Row, column: str, table: Path) -> int:
    """A whole number from a row. Raises DataError."""
    try:
        return int(row[column])
    except ValueError:
        raise DataError(
            f"{table} line {row.line}: {column} {shown(repr(row[column]))} is no whole number: correct it"
        ) from None


def _text(table: Path) -> str:
    """With bytes that are not UTF-8 as lone surrogates, as Python has them in names of files."""
    try:
        content = read_plain(table)
    except FileNotFoundError:
        raise DataError(f"{table} does not exist: set data.root to the folder that holds it, or restore it") from None
    except NotAFileError as error:
        raise DataError(f"{table} cannot be read, {error.strerror}: give a CSV file") from None
    except OSError as error:
        raise DataError(f"{table} cannot be read ({error.strerror or error}): correct its rights or the path") from None
    zero = content.find(b"\0")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or (0 <= zero < 4 and len(content) > 4):
        raise DataError(f"{table} is text in UTF-16: save it as a CSV file in UTF-8")
    if zero >= 0:
        raise DataError(f"{table} line {_line(content, zero)} has a zero byte: it is damaged or no text; restore it")
    return content.decode("utf-8-sig", errors="surrogateescape")


def _line(content: bytes, place: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", content[:place])) + 1


def _parsed(table: Path, text: str) -> list[tuple[int, list[str]]]:
    """Every row that is not blank, with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, line = [], 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((line, fields))
                if reader.line_num > line:
                    _check_lines_swallowed(table, line, fields, len(rows[0][1]))
            line = reader.line_num + 1
    except csv.Error as error:
        what = "a quotation mark is not closed" if "unexpected end" in str(error) else str(error)
        raise DataError(f"{table} line {line}: {what}: close or double quotation marks, and {_QUOTES}") from None
    return rows


def _check_lines_swallowed(table: Path, line: int, fields: Sequence[str], count: int) -> None:
    """A field of several lines may be a comment; one with whole rows in it begins where a mark was not closed."""
    inside = [part for field in fields for part in re.split(r"\r\n|\r|\n", field)[1:]]
    if count > 1 and any(part.count(",") == count - 1 for part in inside):
        raise DataError(f"{table} line {line}: a field goes on over the next rows: close its quotation mark")


def _present(table: Path, alternatives: Sequence[str], named: Sequence[str], header: Sequence[str]) -> str:
    found = next((name for name in alternatives if name in named), None)
    if found is None:
        wrong = {";": "semicolons", "\t": "tabs"}
        for mark, name in wrong.items():
            if len(header) < 3 and any(mark in field for field in header):
                raise DataError(f"{table} line 1: fields are separated by {name}: save it with commas between them")
        what = f"{' or '.join(alternatives)}: it has {shown(', '.join(named))}"
        raise DataError(f"{table} has no column {what}; name its columns in the first line")
    return found


def _row(table: Path, line: int, fields: list[str], header: Sequence[str]) -> Row:
    if len(fields) > len(header) and any(field.strip() for field in fields[len(header) :]):
        what = f"line {line} has {len(fields)} fields, the header {len(header)}"
        raise DataError(f"{table} {what}: {_QUOTES}, or remove what is too much")
    if len(fields) < len(header):
        what = f"line {line} has {len(fields)} fields, the header {len(header)}"
        raise DataError(f"{table} {what}: give every row all fields, empty ones too")
    row = Row(zip(header, fields, strict=False))
    row.line = line
    return row


def _check_encoding(table: Path, rows: Sequence[Row], path: str | None) -> None:
    for row in rows:
        for name, value in row.items():
            if value.isascii() or not any("\udc80" <= character <= "\udcff" for character in value):
                continue
            if name != path or not is_plain(table.parent / value):
                read = value.encode(errors="surrogateescape").decode("cp1252", errors="replace")
                what = f"{table} line {row.line}: {name} is not UTF-8 (as Windows-1252 it reads {shown(read)})"
                raise DataError(f"{what}: save the file as CSV in UTF-8")
