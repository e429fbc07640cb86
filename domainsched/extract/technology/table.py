"""The table of technologies: each with the signs by which it shows itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Protocol

from domainsched.extract.technology import literals
from domainsched.extract.technology.literals import Needs

CATEGORIES: Mapping[str, str] = {
    "A/B testing": "analytics",
    "Accessibility": "widgets",
    "Advertising": "analytics",
    "Affiliate": "analytics",
    "Analytics": "analytics",
    "Authentication": "",
    "Blog": "cms",
    "Booking": "widgets",
    "Build tool": "",
    "Cache": "",
    "Captcha": "widgets",
    "CDN": "",
    "CMS": "cms",
    "Comments": "widgets",
    "Cookie consent": "widgets",
    "CRM": "",
    "Customer support": "widgets",
    "Database": "",
    "Documentation": "cms",
    "Ecommerce": "cms",
    "Editor": "",
    "Font": "",
    "Form": "widgets",
    "Forum": "cms",
    "Hosting": "",
    "JavaScript framework": "frameworks",
    "JavaScript library": "frameworks",
    "Learning": "cms",
    "Live chat": "widgets",
    "Loyalty": "",
    "Maps": "widgets",
    "Marketing": "analytics",
    "Membership": "",
    "Monitoring": "",
    "Newsletter": "",
    "Operating system": "",
    "Page builder": "",
    "Payment": "widgets",
    "Personalisation": "analytics",
    "Popup": "widgets",
    "Programming language": "",
    "Push notifications": "",
    "Reviews": "widgets",
    "Search": "",
    "Security": "",
    "SEO": "",
    "Session recording": "analytics",
    "Social": "widgets",
    "Static site generator": "frameworks",
    "Survey": "widgets",
    "Tag manager": "analytics",
    "Translation": "",
    "Transport": "",
    "UI framework": "frameworks",
    "Video": "widgets",
    "Web framework": "frameworks",
    "Web server": "",
    "Website builder": "cms",
    "Widget": "widgets",
    "WordPress plugin": "",
    "WordPress theme": "",
}
"""Every category, and which of the four lists of `tech_stack` its technologies stand in."""

CONFIDENCE: Mapping[str, int] = {
    "hosts": 100,
    "links": 50,
    "files": 100,
    "generator": 100,
    "metas": 100,
    "headers": 100,
    "cookies": 100,
    "inline": 90,
    "code": 90,
    "select": 90,
    "comment": 100,
}
"""The kinds of signs, and how sure each is, in percent."""


_FLAGS = {"files": re.NOFLAG, "code": re.NOFLAG}
"""Ignoring the case of letters costs `re` its fast way to a pattern's literal beginning."""


class Match(Protocol):
    """What the verifiers of regexes have in common: `re` for our table, RE2 for a user's."""

    def group(self) -> str | None:
        """Give what matched."""

    def groups(self) -> tuple[str | None, ...]:
        """Give what each group matched."""


class Pattern(Protocol):
    """A regex that can be looked for."""

    def search(self, text: str, /) -> Match | None:
        """Give the first place that matches."""


class Regex:
    """A regex of our own table; compiled when it is first needed, which most never are."""

    def __init__(self, text: str, flags: re.RegexFlag = re.IGNORECASE) -> None:
        self.text = text
        self._flags = flags

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.text, self._flags)

    def search(self, text: str) -> Match | None:
        """Give the first place that matches."""
        return self._compiled.search(text)


def first_group(match: Match | None) -> str:
    """Give the version as our table marks it: the first group that matched something."""
    return next((group for group in match.groups() if group), "") if match else ""


@dataclass(frozen=True, slots=True)
class Sign:
    """One way in which a technology shows."""

    technology: str
    kind: str
    """Its field in the table; what the evidence calls it."""
    place: str
    """What of a page it is compared with, see `signs.Page`."""
    key: str = ""
    """A host or `host/path`; the name of a header, meta or cookie; a selector."""
    pattern: Pattern | None = None
    """Of the value or the text there; without it, being there is enough."""
    part: str = ""
    """What of a selected element must be there: "" nothing more, "text", or an "@attribute"."""
    version: Callable[[Match | None], str] = first_group
    confidence: int = 100
    needs: Needs = frozenset()
    """Texts of which one must be there; none: it is compared with every page."""
    is_foreign: bool = False
    """Of a user's table: its versions yield to those of ours."""


@dataclass(frozen=True, slots=True)
class Technology:
    """One row of the table; any sign will do."""

    name: str
    categories: tuple[str, ...]
    signs: tuple[Sign, ...]
    implies: Mapping[str, int] = field(default_factory=dict)
    """Names, and how sure the conclusion is, in percent."""
    excludes: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    requires_categories: frozenset[str] = frozenset()


@cache
def own_table() -> Mapping[str, Technology]:
    """Read our own table, file by file; its README describes the format."""
    return {name: entry(name, row) for name, row in _rows()}


def _rows() -> Iterator[tuple[str, Mapping[str, Any]]]:
    folder = files("domainsched.extract").joinpath("technologies")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            yield from json.loads(file.read_text("utf-8")).items()


def entry(name: str, row: Mapping[str, Any]) -> Technology:
    """Read one entry of our own format."""
    return Technology(
        name=name,
        categories=tuple(row["categories"]),
        signs=tuple(_signs(name, row)),
        implies=dict.fromkeys(row.get("implies", ()), 100),
        excludes=frozenset(row.get("excludes", ())),
        requires=frozenset(row.get("requires", ())),
    )


def _signs(name: str, row: Mapping[str, Any]) -> Iterator[Sign]:
    weights = CONFIDENCE | row.get("confidence", {})
    for kind, place, key, regex in (*_facts(row), *_texts(row)):
        yield Sign(
            technology=name,
            kind=kind,
            place=place,
            key=key,
            pattern=Regex(regex, _FLAGS.get(kind, re.IGNORECASE)) if regex else None,
            confidence=weights[kind],
            needs=literals.of_regex(regex),
        )
    for text in row.get("inline", ()):
        pattern = Regex(re.escape(text), re.NOFLAG)
        needs = frozenset({text.lower()})
        yield Sign(name, "inline", "inline", "", pattern, confidence=weights["inline"], needs=needs)
    for selector in row.get("select", ()):
        needs = literals.of_selector(selector)
        yield Sign(name, "select", "select", selector, confidence=weights["select"], needs=needs)


_Row = tuple[str, str, str, str]
"""Kind, place, key, regex."""


def _facts(row: Mapping[str, Any]) -> Iterator[_Row]:
    """Yield the signs that are looked up by a name: of a host, a header, ..."""
    for kind, place in (("hosts", "host"), ("links", "link"), ("cookies", "cookie")):
        yield from ((kind, place, key, "") for key in row.get(kind, ()))
    for kind, place in (("metas", "meta"), ("headers", "header")):
        yield from ((kind, place, key, regex) for key, regex in row.get(kind, {}).items())
    if regex := row.get("generator"):
        yield "generator", "meta", "generator", regex


def _texts(row: Mapping[str, Any]) -> Iterator[_Row]:
    """Yield the regexes that a text is searched for."""
    yield from (("files", "file", "", regex) for regex in row.get("files", ()))
    yield from (("code", "inline", "", regex) for regex in row.get("code", ()))
    if regex := row.get("comment"):
        yield "comment", "comment", "", regex
