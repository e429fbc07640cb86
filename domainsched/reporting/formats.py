"""The forms of an answer: a table for people; whole lines, JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from domainsched.errors import UsageError
from domainsched.reporting.wording import Row, json_text, jsonable, printable

_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""With one of these a spreadsheet's formula begins; the last four are its full-width forms."""


class Format(StrEnum):
    """How to write an answer to stdout."""

    TABLE = "table"
    PLAIN = "plain"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"

    @property
    def is_json(self) -> bool:
        """Whether a program reads along that wants its errors in JSON, too."""
        return self in {Format.JSON, Format.JSONL}


def asked_format(options: Mapping[str, Any]) -> Format | None:
    """Find the format among a command's options: `--format F`, or a shorthand such as `--json`.

    Raises:
        UsageError: two are asked for, or one that there is none of.
    """
    asked = {each: f"--{each}" for each in Format if options.get(each) is True}
    if word := options.get("format"):
        if word not in set(Format):
            raise UsageError(f"no such format: {word}", why=f"there are {', '.join(Format)}")
        asked[Format(word)] = f"--format {word}"
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked.values())} exclude each other")
    return next(iter(asked), None)


@dataclass(frozen=True)
class Answer:
    """What was found or done, ready to be written in any format."""

    document: object
    """All of it, as one JSON value."""
    records: Sequence[Row]
    """Its parts: for JSON Lines an object each."""
    head: Sequence[str]
    """The names of the columns in CSV."""
    sheet: Iterable[Sequence[object]]
    """The rows in CSV."""
    plain: Iterable[Sequence[object]]
    """The cells of each line for a pipe."""
    table: Callable[[int], Iterable[str]]
    """Draws it for a terminal of so many columns."""
    remark: str = ""
    """What a person is told besides."""
    deed: str = ""
    """What was done, in a line: without a terminal only who follows is told, and on stderr, unless
    a format was asked for."""

    def lines(self, form: Format, columns: int) -> Iterator[str]:
        """Write it in one form; every line is harmless, and whole but for a table's."""
        match form:
            case Format.TABLE:
                yield from self.table(columns)
            case Format.PLAIN:
                yield from ("\t".join(map(_plain, cells)) for cells in self.plain)
            case Format.JSON:
                yield json_text(self.document)
            case Format.JSONL:
                yield from map(json_text, self.records)
            case Format.CSV:
                yield csv_line(self.head)
                yield from map(csv_line, self.sheet)


def _plain(value: object) -> str:
    return printable(_text(value))


def csv_line(values: Iterable[object]) -> str:
    """Write a line of CSV (RFC 4180), without its end; lists are joined by semicolons.

    No cell is a formula to a spreadsheet: what would be one has an apostrophe before it.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([_cell(value) for value in values])
    return line.getvalue()


def _cell(value: object) -> str:
    """Write a cell; numbers cannot be formulas."""
    text = _text(value)
    return text if isinstance(value, int | float) else defused(text)


def defused(text: str) -> str:
    """Make text harmless for a terminal and for a spreadsheet; harmless text stays as it is."""
    shown = printable(text)
    # a tab or a line's end before it has become a space, and some programs cut spaces off
    is_formula = text[:1] in {"\t", "\r", "\n"} or shown.lstrip()[:1] in _FORMULA
    return f"'{shown}" if is_formula else shown


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case date():
            return str(jsonable(value))
        case list() if not any(isinstance(item, list | dict) for item in value):
            return "; ".join(map(_text, value))
        case list() | dict():
            return json_text(value)
        case _:
            return str(value)
