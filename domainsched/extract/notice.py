"""The year of a page's copyright notice."""

from __future__ import annotations

import re

from ahocorasick_rs import BytesAhoCorasick

from domainsched.extract.document import Document

_YEAR = r"(?<![\d.,/-])(?:19[89]|20[0-9])\d(?!\d|[.,]\d)"
_RANGE = rf"({_YEAR})(?:\s?[-–—/]\s?((?:19[89]\d|20[0-9]\d|\d\d)(?!\d)))?"  # noqa: RUF001 - dashes
_SIGN = r"(?:©|\(c\)|\bcopyright\b|\bcopyleft\b|℗)"
_NOTICE = re.compile(
    rf"{_SIGN}[^\n\d]{{0,80}}?{_RANGE}|{_RANGE}[^\w\n]{{0,3}}{_SIGN}", re.IGNORECASE
)
_MAYBE = BytesAhoCorasick(
    [sign.encode() for sign in ("©", "(c)", "opyright", "OPYRIGHT", "(C)", "opyleft", "℗")]
)
_LINES = 400
"""Lines looked at from the page's end, where notices stand."""


def copyright_year(document: Document) -> str | None:
    """Give the year up to which the page claims its copyright; the last notice that has one counts.

    A year that a script writes is not there to be read.
    """
    lines = document.lines
    for number in reversed(document.lines_with(_MAYBE)):
        if number >= len(lines) - _LINES and (year := _year(lines[number][0])):
            return year
    return _year(f"© {document.meta('copyright', 'dcterms.rights', 'rights') or ''}")


def _year(line: str) -> str | None:
    years: list[str] = []
    for found in _NOTICE.finditer(line):
        first, last = next(pair for pair in (found.group(1, 2), found.group(3, 4)) if pair[0])
        years += [first, first[: -len(last or "")] + last if last else first]
    return max(years, default=None)
