"""What a page runs on, by what it loads, declares and contains, never by a mere word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from domainsched.extract.document import Document, split
from domainsched.extract.encoding import clean
from domainsched.extract.wordpress import WordPress

_LISTS = {
    "cms": ("CMS", "Ecommerce", "Website builder", "Blog"),
    "frameworks": (
        "JavaScript framework",
        "JavaScript library",
        "UI framework",
        "Web framework",
        "Static site generator",
    ),
    "analytics": ("Analytics", "Tag manager", "Advertising", "Marketing"),
    "widgets": ("Live chat", "Widget", "Captcha", "Maps", "Video", "Cookie consent", "Payment"),
}
"""The four lists that older readers of `tech_stack` expect, and the categories each holds."""

_MAX_SCRIPT = 200_000
"""Characters of inline script that are looked at."""

_VERSION = re.compile(r"\d+(?:\.\d+){0,3}(?:-?(?:alpha|beta|rc)\.?\d*)?", re.IGNORECASE)

Evidence = tuple[str, int]
"""A version, "" if it does not show, and how sure the sign is, in percent."""


@dataclass(frozen=True, slots=True)
class Technology:
    """One row of the table: the signs by which a technology shows itself; any one will do."""

    name: str
    categories: tuple[str, ...]
    hosts: tuple[str, ...]
    """`host` or `host/path` of anything the page loads; sub-domains count."""
    files: tuple[re.Pattern[str], ...]
    """Of the URL's path and query, in lower case: that way the literal beginning of a pattern is
    found fast. The first group that matches is the version."""
    generator: re.Pattern[str] | None
    headers: Mapping[str, re.Pattern[str]]
    cookies: tuple[str, ...]
    """Beginnings of names."""
    inline: tuple[str, ...]
    """Literally in an inline script."""
    select: str
    """CSS selectors, joined."""
    comment: re.Pattern[str] | None
    implies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Signs:
    """What of a page is compared with the table."""

    document: Document
    hosts: frozenset[str]
    """Each host loaded from and each of its parents; with every leading part of the path too."""
    loaded: str
    """Path and query, in lower case, of what the page loads, one a line."""
    generators: list[str]
    cookies: tuple[str, ...]
    inline: str


def technologies(document: Document, wordpress: WordPress | None) -> dict[str, Any]:
    """Give the `tech_stack` column: four lists by kind, and every technology with its version."""
    found: dict[str, Evidence] = {}
    signs = _signs(document)
    for technology in _table().values():
        evidence = _evidence(technology, signs, wordpress)
        if evidence:
            _add(found, technology.name, evidence)
    return _stack(found)


def _add(found: dict[str, Evidence], name: str, evidence: Evidence) -> None:
    version, confidence = found.get(name, ("", 0))
    found[name] = (version or evidence[0], max(confidence, evidence[1]))
    for implied in _table()[name].implies:
        if implied not in found:
            _add(found, implied, ("", evidence[1]))


def _stack(found: Mapping[str, Evidence]) -> dict[str, Any]:
    names = sorted(found, key=str.lower)
    stack: dict[str, Any] = {
        group: [name for name in names if set(_table()[name].categories) & set(categories)]
        for group, categories in _LISTS.items()
    }
    stack["technologies"] = {
        name: {
            "version": found[name][0] or None,
            "categories": list(_table()[name].categories),
            "confidence": found[name][1],
        }
        for name in names
    }
    return stack


def _evidence(
    technology: Technology, signs: _Signs, wordpress: WordPress | None
) -> Evidence | None:
    found = list(_special(technology, wordpress)) + list(_shown(technology, signs))
    if not found:
        return None
    version = next((version for version, _ in found if version), "")
    return version, max(confidence for _, confidence in found)


def _special(technology: Technology, wordpress: WordPress | None) -> Iterator[Evidence]:
    """Yield what the columns' own rules found: the two must not disagree."""
    if wordpress and technology.name == "WordPress":
        yield wordpress.version or "", 100
    if wordpress and wordpress.elementor and technology.name == "Elementor":
        yield wordpress.elementor_version or "", 100


def _shown(technology: Technology, signs: _Signs) -> Iterator[Evidence]:
    yield from _declared(technology, signs)
    yield from _loaded(technology, signs)
    yield from _contained(technology, signs)


def _declared(technology: Technology, signs: _Signs) -> Iterator[Evidence]:
    """Yield what the generator, the headers and the cookies say."""
    texts = [(technology.generator, text) for text in signs.generators]
    headers = signs.document.headers
    texts += [(pattern, headers.get(name, "")) for name, pattern in technology.headers.items()]
    for pattern, text in texts:
        if pattern is not None and (match := pattern.search(text)):
            yield _version(match), 100
    if technology.cookies and any(name.startswith(technology.cookies) for name in signs.cookies):
        yield "", 100


def _loaded(technology: Technology, signs: _Signs) -> Iterator[Evidence]:
    """Yield what scripts, style sheets and frames say; of several files one may bear a version."""
    for pattern in technology.files:
        versions = [_version(match) for match in pattern.finditer(signs.loaded)]
        if versions:
            yield next(filter(None, versions), ""), 100
    if not signs.hosts.isdisjoint(technology.hosts):
        yield "", 100


def _contained(technology: Technology, signs: _Signs) -> Iterator[Evidence]:
    """Yield what the markup, the inline scripts and the comments say."""
    if any(text in signs.inline for text in technology.inline):
        yield "", 90
    if technology.select and signs.document.tree.css_first(technology.select):
        yield "", 90
    if technology.comment and (match := technology.comment.search(signs.document.comments)):
        yield _version(match), 100


def _version(match: re.Match[str]) -> str:
    text = next((group for group in match.groups() if group), "") if match.groups() else ""
    return text if _VERSION.fullmatch(text) else ""


def _signs(document: Document) -> _Signs:
    forms = [document.resolve(node.attributes.get("action")) for node in document.all("form")]
    urls = document.assets + [url for url in forms if url]
    return _Signs(
        document=document,
        hosts=frozenset(key for url in urls for key in _keys(url)),
        loaded="\n".join(f"{parts.path}?{parts.query}" for parts in map(split, urls)).lower(),
        generators=document.metas.get("generator", []),
        cookies=_cookies(document.headers.get("set-cookie", "")),
        inline="\n".join(document.scripts)[:_MAX_SCRIPT],
    )


def _keys(url: str) -> Iterator[str]:
    parts = split(url)
    labels = (parts.hostname or "").split(".")
    segments = (parts.path or "/").split("/")[1:3]
    for start in range(len(labels) - 1):
        host = ".".join(labels[start:])
        yield host
        yield f"{host}/{segments[0]}"
        yield f"{host}/{'/'.join(segments)}"


def _cookies(header: str) -> tuple[str, ...]:
    """Give the cookies' names; several fields may be joined by a newline, or by a comma."""
    names = (part.partition("=")[0].strip() for part in re.split(r"\n|,(?=[^;,]+=)", header))
    return tuple(name for name in names if name)


@cache
def _table() -> dict[str, Technology]:
    text = files("domainsched.extract").joinpath("technologies.json").read_text("utf-8")
    return {name: _technology(name, row) for name, row in json.loads(text).items()}


def _technology(name: str, row: Mapping[str, Any]) -> Technology:
    return Technology(
        name=clean(name),
        categories=tuple(row["categories"]),
        hosts=tuple(row.get("hosts", ())),
        files=tuple(re.compile(text) for text in row.get("files", ())),
        generator=_pattern(row.get("generator")),
        headers={
            key: re.compile(text, re.IGNORECASE) for key, text in row.get("headers", {}).items()
        },
        cookies=tuple(row.get("cookies", ())),
        inline=tuple(row.get("inline", ())),
        select=", ".join(row.get("select", ())),
        comment=_pattern(row.get("comment")),
        implies=tuple(row.get("implies", ())),
    )


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text, re.IGNORECASE) if text else None
