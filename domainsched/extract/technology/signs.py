"""What of a page is compared with the table of technologies; bounded, whatever the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from domainsched.extract.document import Document

_MAX_MARKUP = 1_000_000
_MAX_SCRIPTS = 200_000
_MAX_TEXT = 100_000
"""Characters that are looked at."""
_MAX_VALUE = 2_000
_MAX_COOKIE_NAME = 60

_URL = re.compile(r"(?:[hH][tT][tT][pP][sS]?:)?//(?:[^/?#@]*+@)?([^/?#:\\]++)[^/?#]*+([^#]*+)")
_COOKIES = re.compile(r"\n|,(?=[^;,]+=)")

Addresses = Mapping[str, list[str]]
"""By host, the paths with their queries; all in lower case."""


@dataclass(frozen=True)
class Page:
    """One page as the table sees it."""

    document: Document

    @cached_property
    def markup(self) -> str:
        """The markup, as written."""
        return self.document.markup[:_MAX_MARKUP]

    @cached_property
    def folded(self) -> bytes:
        """The markup, its ASCII letters in lower case; of the longest pages a little less."""
        return self.document.folded[:_MAX_MARKUP]

    @cached_property
    def inline(self) -> str:
        """The inline scripts."""
        return "\n".join(self.document.scripts)[:_MAX_SCRIPTS]

    @cached_property
    def text(self) -> str:
        """What a reader sees."""
        return self.document.text[:_MAX_TEXT]

    @cached_property
    def loaded(self) -> list[str]:
        """The URLs of what the page loads, and of what its forms are sent to."""
        document = self.document
        forms = (document.resolve(node.attributes.get("action")) for node in document.all("form"))
        return [*document.assets, *filter(None, forms)]

    @cached_property
    def hosts(self) -> Addresses:
        """Where what the page loads lies."""
        return _addresses(self.loaded)

    @cached_property
    def files(self) -> list[str]:
        """Path and query of what the page loads."""
        return [path for paths in self.hosts.values() for path in paths]

    @cached_property
    def links(self) -> Addresses:
        """Where the page's links lead, as far as they name a host."""
        return _addresses(href for href, _ in self.document.anchors)

    @cached_property
    def script_urls(self) -> list[str]:
        """The URLs of the page's scripts."""
        document = self.document
        urls = (document.resolve(node.attributes.get("src")) for node in document.all("script"))
        return [url for url in urls if url]

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """The cookies that came with the page; several fields may be joined by a comma."""
        fields = _COOKIES.split(self.document.headers.get("set-cookie", ""))
        pairs = (field.partition(";")[0].partition("=") for field in fields)
        named = ((name.strip()[:_MAX_COOKIE_NAME], value) for name, _, value in pairs)
        return {name: value.strip()[:_MAX_VALUE] for name, value in named if name}


def _addresses(urls: Iterable[str]) -> Addresses:
    found: dict[str, list[str]] = {}
    for match in map(_URL.match, urls):
        if match:
            found.setdefault(match[1].lower(), []).append(match[2].lower()[:_MAX_VALUE])
    return found
