"""Names in files and streams: one a line, CSV with a column of names, or JSON Lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from json import JSONDecodeError
from shlex import quote

from domainsched.config import shown
from domainsched.errors import UsageError
from domainsched.names import (
    HIDDEN,
    MAX_LINE,
    TOO_LONG,
    RejectedLine,
    SourcedName,
    beginning,
    read_lines,
    read_name,
)

Entry = SourcedName | RejectedLine

KEYS = ("domain", "url", "website")
"""Columns of CSV and keys of JSON that hold a name; of several that are filled the first counts."""
_DELIMITERS = ",;\t|"
_ENDINGS = (".csv", ".tsv")
_ARRAY = re.compile(r"[\s\ufeff]*+\[\s*+(?:[\[{\"]|\]?\s*+$)")
"""Its beginning; an IPv6 address stands in brackets, too."""
_UTF16 = ("\udcff\udcfe", "\udcfe\udcff")
"""Its byte order marks, as the surrogates that bytes become which are not UTF-8."""


def read_source(lines: Iterator[str], source: str) -> Iterator[Entry]:
    """Read names from lines; their first says what they are. Lazy, like `read_lines`.

    A line that begins with a brace makes it JSON Lines, a header with one of `KEYS` makes it CSV.

    Raises:
        UsageError: a header without such a column in what is called .csv, or CSV that is broken; or
            it is a JSON array, or UTF-16.
    """
    skipped, first = _first(lines)
    if first.startswith(_UTF16):
        raise _foreign(source, "it is UTF-16; UTF-8 is read", "iconv -f UTF-16 -t UTF-8")
    if _ARRAY.match(first):
        raise _foreign(source, "it is a JSON array; one object a line is read", "jq -c '.[]'")
    rest = chain([first], lines)
    if beginning(first) == "{":
        yield from _read_json_lines(rest, source, skipped)
    elif header := _header(first, source):
        yield from _read_csv(lines, source, header, skipped + 1)
    else:
        yield from read_lines(chain(repeat("\n", skipped), rest), source)


def _foreign(source: str, why: str, reader: str) -> UsageError:
    """Refuse what another program can make readable."""
    file = "" if source == "stdin" else f" {quote(shown(source))}"
    hint = f"{reader}{file} | domainsched add -"
    return UsageError(f"cannot read {shown(source)}", why=why, hint=hint)


def _first(lines: Iterator[str]) -> tuple[int, str]:
    """Find the first line that says something; also count those before it."""
    skipped = 0
    for line in lines:
        if beginning(line) not in {"", "#"}:
            return skipped, line
        skipped += 1
    return skipped, ""


# --- JSON Lines ------------------------------------------------------------------------------


def _read_json_lines(lines: Iterable[str], source: str, skipped: int) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=skipped + 1):
        if beginning(line) not in {"", "#"}:
            yield from _json_entry(line, f"{source}:{number}")


def _json_entry(line: str, source: str) -> Iterator[Entry]:
    """Read one line; nothing of one that is no object is shown, for a password may stand in it."""
    if len(line) > MAX_LINE:
        yield RejectedLine(source, HIDDEN, TOO_LONG)
        return
    try:
        value = json.loads(line.lstrip("\ufeff").rstrip())
    except (ValueError, RecursionError) as error:
        place = f" from character {error.pos + 1} on" if isinstance(error, JSONDecodeError) else ""
        yield RejectedLine(source, HIDDEN, f"not JSON{place}")
        return
    if not isinstance(value, dict):
        yield RejectedLine(source, HIDDEN, "not a JSON object")
        return
    fields = {key.strip().lower(): field for key, field in value.items()}
    if not fields.keys() & set(KEYS):
        yield RejectedLine(source, HIDDEN, f"none of the keys {', '.join(KEYS)}")
        return
    yield from _named(fields, source)


def _named(fields: Mapping[str, object], source: str) -> Iterator[Entry]:
    """Read the first field that is filled; nothing, if none is, as an empty line has none."""
    for key in KEYS:
        field = fields.get(key)
        if isinstance(field, str) and beginning(field):
            yield read_name(field, source)
            return
        if field is not None and not isinstance(field, str):
            yield RejectedLine(source, HIDDEN, f"its {key} is not a text")
            return


# --- CSV -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    """How the lines under a header are to be read."""

    delimiter: str
    columns: Mapping[str, int]
    """The keys that there are, and where."""


def _header(line: str, source: str) -> _Header | None:
    delimiter = max(_DELIMITERS, key=line.count)
    cells = _split(line.lstrip("\ufeff").strip(), delimiter)
    names = [cell.strip().lower() for cell in cells]
    columns = {key: names.index(key) for key in KEYS if key in names}
    if columns:
        return _Header(delimiter, columns)
    if delimiter in line and source.lower().endswith(_ENDINGS):
        raise UsageError(
            f"cannot read {shown(source)}",
            why=f"its first line names no column {', '.join(KEYS)}",
            hint=_naming(cells, delimiter, source),
        )
    return None


def _naming(cells: Sequence[str], delimiter: str, source: str) -> str:
    """Say how to name the column of the sites: the first line may hold names, or sites already."""
    sites = [isinstance(read_name(cell, ""), SourcedName) for cell in cells]
    if not any(sites):
        return f"call the column of the sites {KEYS[0]}"
    names = [str(number) for number in range(1, len(cells) + 1)]
    names[sites.index(True)] = KEYS[0]
    head = delimiter.join(names).replace("\t", r"\t")
    return (
        f"name its columns: (printf '{head}\\n'; cat < {quote(shown(source))}) | domainsched add -"
    )


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a line of names, then, each of which is told
        return []


def _read_csv(lines: Iterable[str], source: str, header: _Header, skipped: int) -> Iterator[Entry]:
    for number, cells in _rows(_bounded(lines, source, skipped), source, header, skipped):
        fields = {key: _cell(cells, place) for key, place in header.columns.items()}
        if not _is_comment(cells, header):
            yield from _named(fields, f"{source}:{number}")


def _rows(
    lines: Iterable[str], source: str, header: _Header, skipped: int
) -> Iterator[tuple[int, list[str]]]:
    """Take rows apart, each with the number of its first line.

    Quotes are taken as they come, but for a row of several lines: one in the wrong place may have
    swallowed its neighbours.
    """
    row: list[str] = []
    reader = csv.reader(_followed(lines, row), delimiter=header.delimiter)
    start = skipped + 1
    try:
        for cells in reader:
            if len(row) > 1 or any(cell.endswith("\n") for cell in cells[-1:]):
                next(csv.reader(row, delimiter=header.delimiter, strict=True))
            yield start, cells
            row.clear()
            start = skipped + reader.line_num + 1
    except csv.Error:  # or a field is longer than lines are: a quote, too
        why = f"a quote in the row that begins in line {start} is not closed where its field ends"
        hint = "close it; one that is part of the text is written twice"
        raise UsageError(f"cannot read {shown(source)}", why=why, hint=hint) from None


def _followed(lines: Iterable[str], row: list[str]) -> Iterator[str]:
    """Pass lines on, and keep them until the row is cleared."""
    for line in lines:
        row.append(line)
        yield line


def _is_comment(cells: Sequence[str], header: _Header) -> bool:
    """Whether a name would begin with `#`; firms are called so, too (#1 Plumbing)."""
    return 0 in header.columns.values() and beginning(_cell(cells, 0)) == "#"


def _cell(cells: Sequence[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""


def _bounded(lines: Iterable[str], source: str, skipped: int) -> Iterator[str]:
    """Refuse a line too long: where its quotes end is not known, nor where the next row begins."""
    for number, line in enumerate(lines, start=skipped + 1):
        if len(line) > MAX_LINE:
            why = f"line {number} is {TOO_LONG}"
            raise UsageError(f"cannot read {shown(source)}", why=why)
        yield line
