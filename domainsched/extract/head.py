"""What a page says about itself in its head: title, description, icon, feeds, canonical address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urldefrag

from domainsched.extract.document import Document, join
from domainsched.extract.encoding import clean

_MAX_TITLE = 1_000
_MAX_DESCRIPTION = 5_000
"""Characters; what is longer is not one, and is cut."""

_MAX_FEEDS = 20
"""Feeds kept; a page with more offers one for each of its sections."""

_DESCRIBED = frozenset({"WebSite", "WebPage", "Organization", "LocalBusiness"})
_NAMED = frozenset({"WebSite", "Organization", "LocalBusiness"})
_FEED_TYPES = frozenset(
    f"application/{kind}" for kind in ("rss+xml", "atom+xml", "rdf+xml", "feed+json")
)
_CARDS = {
    "open_graph": ("og:", ("title", "type", "url", "image", "description", "site_name", "locale")),
    "twitter": ("twitter:", ("card", "site", "creator", "title", "description", "image")),
}
"""What the preview of a link is made of (ogp.me; X's "Cards markup"), where the page gives it."""


def title(document: Document) -> str | None:
    """Give the document's title (HTML, section 3.1.5), or what it offers to social networks."""
    texts = (clean(node.text()) for node in document.all("title"))
    offered = document.meta("og:title", "twitter:title", "dc.title", "title")
    text = next(filter(None, texts), offered)
    return text[:_MAX_TITLE] if text else None


def description(document: Document) -> str | None:
    """Give the first description that is not empty; what describes a part of the page comes last.

    A product's `itemprop=description` is one of those.
    """
    others = document.meta("og:description", "twitter:description", "dc.description")
    found = _pages_own(document) or others or _stated(document, _DESCRIBED, "description")
    text = found or document.meta("description")
    return text[:_MAX_DESCRIPTION] if text else None


def _pages_own(document: Document) -> str | None:
    texts = (
        clean(meta.get("content") or "")
        for _, meta in document.read("meta")
        for key in ("name", "property", "http-equiv")
        if (meta.get(key) or "").strip().lower() == "description"
    )
    return next(filter(None, texts), None)


def site_name(document: Document) -> str | None:
    """Give the site's own name, as declared."""
    declared = document.meta("og:site_name", "application-name", "apple-mobile-web-app-title")
    name = declared or _stated(document, _NAMED, "name")
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
    return declared_icon(document) or join(document.url, "/favicon.ico")


def declared_icon(document: Document) -> str | None:
    """Give the icon that the page names; None also where it is written into the page itself."""
    icons = [
        (_icon_rank(link), url)
        for rel, link in document.links
        if "icon" in rel
        and (url := document.resolve(link.get("href")))
        and not _is_here(document, url)
    ]
    if not icons:
        return None
    best = max(rank for rank, _ in icons)
    return [url for rank, url in icons if rank == best][-1]  # among equals the last


def _is_here(document: Document, url: str) -> bool:
    """Whether it is the page itself, which `href="#"` leads to, and no icon."""
    return urldefrag(url).url == urldefrag(document.url).url


def _icon_rank(link: Mapping[str, str | None]) -> int:
    """Those for dark windows, and for paper, only come last."""
    media = (link.get("media") or "").lower()
    return 0 if "dark" in media or media == "print" else 1


def feeds(document: Document) -> list[dict[str, str | None]]:
    """Give the feeds that the page declares: `url`, `type`, `title`; each URL once."""
    found: dict[str, dict[str, str | None]] = {}
    for rel, link in document.links:
        kind = (link.get("type") or "").partition(";")[0].strip().lower()
        if _is_feed(rel, kind) and (url := document.resolve(link.get("href"))):
            title = clean(link.get("title") or "") or None
            found.setdefault(url, {"url": url, "type": kind or None, "title": title})
    return list(found.values())[:_MAX_FEEDS]


def _is_feed(rel: frozenset[str], kind: str) -> bool:
    return "feed" in rel or ("alternate" in rel and kind in _FEED_TYPES)


def social_cards(document: Document) -> dict[str, dict[str, str]]:
    """Give the previews offered to social networks, without what they leave out."""
    cards = {
        name: {key: value for key in keys if (value := document.meta(prefix + key))}
        for name, (prefix, keys) in _CARDS.items()
    }
    for card in cards.values():
        if "image" in card:
            card["image"] = document.resolve(card["image"]) or card["image"][:_MAX_TITLE]
    return {name: card for name, card in cards.items() if card}


def types(item: Mapping[str, Any]) -> Iterator[str]:
    """Yield the types of a JSON-LD object: one or several, as words or as URLs."""
    value = item.get("@type")
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str):
            yield name.rstrip("/").rpartition("/")[2].removeprefix("schema:")


def _stated(document: Document, kinds: frozenset[str], key: str) -> str | None:
    """Give a text of the first JSON-LD object of one of these kinds that has it."""
    for item in document.json_ld:
        text = item.get(key)
        if isinstance(text, str) and not kinds.isdisjoint(types(item)) and (text := clean(text)):
            return text
    return None
