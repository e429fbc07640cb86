"""What a page runs on, by what it loads, declares and contains, never by a mere word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainsched.extract.document import Document
from domainsched.extract.technology.index import Index, index
from domainsched.extract.technology.match import Hit, hits
from domainsched.extract.technology.resolve import Found, resolve
from domainsched.extract.technology.signs import Page
from domainsched.extract.technology.table import CATEGORIES, Sign, Technology, own_table
from domainsched.extract.wordpress import WordPress

if TYPE_CHECKING:
    from domainsched.extract.technology.wappalyzer import Fingerprints

_LISTS = ("cms", "frameworks", "analytics", "widgets")
"""The four lists that older readers of `tech_stack` expect."""

_FOLDER = re.compile(r"/(?:plugins|themes|uploads)/")
"""Where a WordPress keeps what was added to it."""


@dataclass(frozen=True, slots=True)
class Technologies:
    """What a page runs on."""

    stack: dict[str, Any]
    """The `tech_stack` column: four lists by kind, and every technology with its version."""
    evidence: dict[str, dict[str, Any]]
    """By name: the surest sign, what of the page it is, and what implied the technology."""


def technologies(
    document: Document, wordpress: WordPress | None, fingerprints: str = ""
) -> Technologies:
    """Give what a page runs on; `fingerprints` is the path of a user's own."""
    table = load(fingerprints)
    shown = [*_special(wordpress), *hits(Page(document), table)]
    if wordpress is None:
        shown = [hit for hit in shown if not _is_elsewheres(hit, table)]
    found = resolve(shown, table.technologies)
    names = sorted(found, key=str.lower)
    return Technologies(
        stack=_stack(found, names, table.technologies),
        evidence={name: _evidence(found[name]) for name in names},
    )


@cache
def load(fingerprints: str) -> Index:
    """Read our table and, if there are any, a user's own fingerprints beside it; once a process.

    Raises:
        ConfigError: the user's cannot be used.
    """
    return index(_fingerprints(fingerprints).technologies if fingerprints else own_table())


def refused(fingerprints: str) -> list[str]:
    """Give the patterns of a user's fingerprints that cannot be used.

    Raises:
        ConfigError: none can.
    """
    return _fingerprints(fingerprints).refused()


def _fingerprints(path: str) -> Fingerprints:
    from domainsched.extract.technology import wappalyzer  # few have any

    return wappalyzer.read(Path(path), own_table())


def _special(site: WordPress | None) -> Iterator[Hit]:
    """Yield what the columns' own rules found: the two must not disagree."""
    if site:
        sign = Sign("WordPress", "wordpress", "page")
        yield Hit(sign, "is_wordpress", site.version or "")
    if site and site.elementor:
        sign = Sign("Elementor", "wordpress", "page")
        yield Hit(sign, "has_elementor", site.elementor_version or "")


def _is_elsewheres(hit: Hit, table: Index) -> bool:
    """Tell whether a file lies in another site's WordPress, given that the site is none itself."""
    is_file = hit.sign.kind == "files" and _FOLDER.search(hit.where)
    return bool(is_file) and "WordPress" in _ground(hit.sign.technology, table)


def _ground(name: str, table: Index) -> set[str]:
    """Give all that a technology implies or requires, and what that does."""
    ground, waiting = set[str](), [name]
    while waiting:
        row = table.technologies.get(waiting.pop())
        below = {*row.implies, *row.requires} - ground if row else set()
        ground |= below
        waiting += below
    return ground


def _stack(
    found: Mapping[str, Found], names: list[str], table: Mapping[str, Technology]
) -> dict[str, Any]:
    stack: dict[str, Any] = {
        group: [name for name in names if group in map(CATEGORIES.get, table[name].categories)]
        for group in _LISTS
    }
    stack["technologies"] = {
        name: {
            "version": found[name].version or None,
            "categories": list(table[name].categories),
            "confidence": found[name].confidence,
        }
        for name in names
    }
    return stack


def _evidence(found: Found) -> dict[str, Any]:
    return {"sign": found.sign, "where": found.where, "implied_by": found.implied_by}
