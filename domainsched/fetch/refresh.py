"""A page that only sends its visitor elsewhere: `<meta http-equiv=refresh>`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from html import unescape

import httpx

from domainsched.fetch.failure import VisitError
from domainsched.fetch.redirect import web_target

_SCANNED_BYTES = 16 * 1024
_AT_ONCE = 1
"""Seconds in which nobody reads a page: whatever it holds, it is a redirect."""
_SOON = 10
_SHORT_BYTES = 8 * 1024
"""A page that grants time to be read is one in its own right, unless it hardly says a thing."""

# Quantifiers are possessive: no text makes them try twice.
_NAME = re.compile(r"[a-z][^\s/>]*+", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"""[\s/]*+([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>][^\s>]*+)))?+"""
)
_OPAQUE = frozenset({"title", "style", "script", "noscript", "template"})
"""What is between their tags is not the page's markup, to a browser that runs scripts."""
_HEAD = _OPAQUE | {"html", "head", "meta", "link", "base", "basefont", "bgsound"}

# WHATWG HTML, "shared declarative refresh steps".
_CONTENT = re.compile(
    r"[\t\n\f\r ]*+(?:([0-9]++)|(?=\.))[0-9.]*+(?=[;,\t\n\f\r ])"
    r"[\t\n\f\r ]*+[;,]?+[\t\n\f\r ]*+(?:url[\t\n\f\r ]*+=[\t\n\f\r ]*+)?+(.+)",
    re.IGNORECASE | re.DOTALL,
)

_Tag = tuple[str, Mapping[str, str]]


def refresh_target(url: httpx.URL, body: bytes) -> httpx.URL | None:
    """Say where the page at `url` sends its visitor by itself within ten seconds.

    None if nowhere, to itself, or to what is no web page; and if it grants time to read it and is
    long enough to be read. Only the head is looked at, in so far as it is in the first 16 KiB.
    """
    head = body[:_SCANNED_BYTES]
    if b"refresh" not in head.lower().replace(b"\0", b""):  # most pages; UTF-16 has NULs
        return None
    text = _decoded(head)
    base = url
    target = None
    for name, attributes in _head(text):
        if name == "base" and base is url:
            base = _resolved(url, attributes.get("href", "")) or url
        elif name == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            target = target or _place(attributes.get("content", ""), len(body))
    found = _resolved(base, target) if target else None
    return None if found == url else found


def _decoded(data: bytes) -> str:
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if is_wide else "utf-8-sig", "replace")


def _resolved(base: httpx.URL, text: str) -> httpx.URL | None:
    with suppress(VisitError):
        return web_target(base, text.strip())
    return None


def _place(content: str, page_bytes: int) -> str | None:
    """Read the URL of a refresh; None if it has none or is no redirect."""
    match = _CONTENT.match(content)
    if match is None:
        return None
    digits = (match[1] or "").lstrip("0")
    seconds = int(digits or 0) if len(digits) <= len(str(_SOON)) else _SOON + 1
    if seconds > (_SOON if page_bytes <= _SHORT_BYTES else _AT_ONCE):
        return None
    place = match[2]
    return place[1:].partition(place[0])[0] if place[0] in "\"'" else place


def _head(text: str) -> Iterator[_Tag]:
    """Yield the start tags of a page's head; they end where anything of the body begins."""
    lower, position = text.lower(), 0
    while (start := text.find("<", position)) >= 0 and not text[position:start].strip():
        name, end = _name_at(text, start + 1), -1
        if name is None:
            end = _after(text, "-->" if text.startswith("<!--", start) else ">", start)
        elif name in _HEAD:
            attributes, end = _attributes(text, start + 1 + len(name))
            if end >= 0:
                yield name, attributes
            if name in _OPAQUE and end >= 0:
                end = _after(lower, f"</{name}", end)
        if end < 0 or lower.startswith("</head", start):
            return
        position = end


def _name_at(text: str, position: int) -> str | None:
    """Read the name of a start tag; None at end tags, comments and declarations."""
    match = _NAME.match(text, position)
    return match[0].lower() if match else None


def _after(text: str, mark: str, position: int) -> int:
    """Find the end of `mark`, and of the tag that it may begin; -1 if there is none."""
    found = text.find(mark, position)
    if found < 0 or mark.endswith(">"):
        return found + len(mark) if found >= 0 else -1
    return _after(text, ">", found)


def _attributes(text: str, position: int) -> tuple[Mapping[str, str], int]:
    """Read the attributes of a tag and find the end of it; -1 if there is none."""
    found: dict[str, str] = {}
    while match := _ATTRIBUTE.match(text, position):
        value = match[2] or match[3] or match[4] or ""
        found.setdefault(match[1].lower(), unescape(value))
        position = match.end()
    return found, _after(text, ">", position)
