"""What a page says about itself in its head: title, description, icon, canonical address."""

from __future__ import annotations

from collections.abc import Mapping

from domainsched.extract.document import Document, join
from domainsched.extract.encoding import clean

_MAX_TITLE = 1_000
_MAX_DESCRIPTION = 5_000
"""Characters; what is longer is not one, and is cut."""

_DESCRIBED = ("WebSite", "WebPage", "Organization", "LocalBusiness")


def title(document: Document) -> str | None:
    """Give the document's title (HTML, section 3.1.5), or what it offers to social networks."""
    texts = (clean(node.text()) for node in document.all("title"))
    offered = document.meta("og:title", "twitter:title", "dc.title", "title")
    text = next(filter(None, texts), offered)
    return text[:_MAX_TITLE] if text else None


def description(document: Document) -> str | None:
    """Give the first description that is not empty."""
    names = ("description", "og:description", "twitter:description", "dc.description")
    text = document.meta(*names) or _described(document)
    return text[:_MAX_DESCRIPTION] if text else None


def site_name(document: Document) -> str | None:
    """Give the site's own name, as declared."""
    name = document.meta("og:site_name", "application-name", "apple-mobile-web-app-title")
    return name[:_MAX_TITLE] if name else None


def canonical_url(document: Document) -> str | None:
    """Give the address the page prefers for itself (RFC 6596)."""
    hrefs = (link.get("href") for rel, link in document.links if "canonical" in rel)
    urls = (document.resolve(href) for href in hrefs)
    return next((url for url in urls if url), None) or join(
        document.base, document.meta("og:url") or ""
    )


def favicon_url(document: Document) -> str | None:
    """Give the icon a browser would show (HTML, section 4.6.7.8): declared, or /favicon.ico."""
    icons = [
        (_icon_rank(link), url)
        for rel, link in document.links
        if "icon" in rel and (url := document.resolve(link.get("href")))
    ]
    if not icons:
        return join(document.url, "/favicon.ico")
    best = max(rank for rank, _ in icons)
    return [url for rank, url in icons if rank == best][-1]  # among equals the last


def _icon_rank(link: Mapping[str, str | None]) -> int:
    """Those for dark windows only come last."""
    return 0 if "dark" in (link.get("media") or "").lower() else 1


def _described(document: Document) -> str | None:
    for item in document.json_ld:
        text = item.get("description")
        if item.get("@type") in _DESCRIBED and isinstance(text, str) and clean(text):
            return clean(text)
    return None
