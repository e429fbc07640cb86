"""From one page's bytes to the columns of its row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from domainsched.extract import head
from domainsched.extract.contacts import email_addresses
from domainsched.extract.document import Document, parse
from domainsched.extract.encoding import clean
from domainsched.extract.language import language
from domainsched.extract.logo import logo_url
from domainsched.extract.phones import phone_numbers
from domainsched.extract.social import social_links
from domainsched.extract.technology import technologies
from domainsched.extract.wordpress import WordPress, wordpress

METADATA_VERSION = 1
"""Of the shape of `domain_metadata`; the README documents it."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_PARKING = re.compile(
    r"(?:^|\.)(?:sedoparking\.com|parkingcrew\.net|bodis\.com|parklogic\.com|above\.com|"
    r"afternic\.com|dan\.com|hugedomains\.com|sedo\.com|parking\.\w+\.\w+|domainmarket\.com)$"
)
_FOR_SALE = re.compile(
    r"domain(?: name)? [\w.-]+ (?:is|may be) (?:for sale|available)|domain (?:is )?park(?:ed|ing)"
    r"|this domain (?:name )?(?:is|may be) for sale|buy this domain|parked free"
    r"|diese domain (?:steht zum verkauf|kaufen)",
    re.IGNORECASE,
)
_SHORT = 3_000
"""Characters of text; a page that offers its own domain says little else."""


def extract_page(body: bytes, url: str, headers: Mapping[str, str] = _NO_HEADERS) -> dict[str, Any]:
    """Give what a visit would store for a page: column name to JSON value.

    `url` is the final one; `headers` may be in any case. Nothing found is None or []. Never
    raises; a page beyond the parser's guard is read up to there, and `domain_metadata` says so.
    """
    document = parse(body, url, headers)
    lang = language(document)
    site = wordpress(document)
    columns: dict[str, Any] = {
        "title": head.title(document),
        "description": head.description(document),
        "language": lang,
        "favicon_url": head.favicon_url(document),
        "logo_url": logo_url(document),
        "email_addresses": email_addresses(document),
        "phone_numbers": phone_numbers(document, lang),
    }
    links = social_links(document)
    networks = ("facebook", "twitter", "linkedin", "instagram", "youtube")
    columns |= {f"{network}_url": links.get(network) for network in networks}
    columns |= {
        "is_wordpress": site is not None,
        "wordpress_version": site.version if site else None,
        "has_elementor": bool(site and site.elementor),
        "tech_stack": technologies(document, site),
    }
    columns["domain_metadata"] = _metadata(document, columns, links, site)
    return {name: _safe(value) for name, value in columns.items()}


def _metadata(
    document: Document, columns: Mapping[str, Any], links: dict[str, str], site: WordPress | None
) -> dict[str, Any]:
    same = ("title", "description", "language", "favicon_url", "logo_url")
    return {
        "version": METADATA_VERSION,
        **{name: columns[name] for name in same},
        "canonical_url": head.canonical_url(document),
        "site_name": head.site_name(document),
        "emails": columns["email_addresses"],
        "phones": columns["phone_numbers"],
        "social_links": links,
        "wordpress": site
        and {"version": site.version, "theme": site.theme, "plugins": site.plugins},
        "charset": document.charset,
        "parked": _is_parked(document),
        "cut": document.cut,
    }


def _is_parked(document: Document) -> bool:
    """Whether the page only keeps the domain's place, or offers it."""
    frames = (
        document.resolve(node.attributes.get("src"))
        for node in document.all("script", "iframe", "frame")
    )
    if any(_PARKING.search((url or "").split("/")[2]) for url in frames if url):
        return True
    return len(document.text) < _SHORT and bool(
        _FOR_SALE.search(f"{head.title(document) or ''} {document.text}")
    )


def _safe(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Make every string, keys too, fit for a database and a terminal."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    return value
