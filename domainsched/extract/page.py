"""From one page's bytes to the columns of its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from domainsched.extract import head
from domainsched.extract.contact_pages import contact_pages
from domainsched.extract.contacts import email_addresses
from domainsched.extract.document import Document, parse
from domainsched.extract.encoding import clean
from domainsched.extract.language import language
from domainsched.extract.logo import logo_url
from domainsched.extract.phones import phone_numbers
from domainsched.extract.placeholder import Standing, standing
from domainsched.extract.social import social_links
from domainsched.extract.technology import technologies
from domainsched.extract.wordpress import WordPress, wordpress

METADATA_VERSION = 1
"""Of the shape of `domain_metadata`; the README documents it."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def extract_page(body: bytes, url: str, headers: Mapping[str, str] = _NO_HEADERS) -> dict[str, Any]:
    """Give what a visit would store for a page: column name to JSON value.

    `url` is the final one; `headers` may be in any case. Nothing found is None or []. Never
    raises; a page beyond the parser's guard is read up to there, and `domain_metadata` says so.
    """
    document = parse(body, url, headers)
    lang = language(document)
    page = standing(document)
    owner = _read_owner(document, lang) if page.speaks_for_owner else _Owner()
    site = wordpress(document)
    columns: dict[str, Any] = {
        "title": head.title(document),
        "description": head.description(document),
        "language": lang,
        "favicon_url": head.favicon_url(document),
        "logo_url": owner.logo_url,
        "email_addresses": owner.emails,
        "phone_numbers": owner.phones,
    }
    networks = ("facebook", "twitter", "linkedin", "instagram", "youtube")
    columns |= {f"{network}_url": owner.links.get(network) for network in networks}
    columns |= {
        "is_wordpress": site is not None,
        "wordpress_version": site.version if site else None,
        "has_elementor": bool(site and site.elementor),
        "tech_stack": technologies(document, site),
    }
    columns["domain_metadata"] = _metadata(document, columns, owner, site) | {
        "page": str(page),
        "parked": page is Standing.PARKED,
        "cut": document.cut,
    }
    return {name: _safe(value) for name, value in columns.items()}


@dataclass(frozen=True, slots=True)
class _Owner:
    """What a page says of whose site it is: nothing, if it is a registrar's or a host's."""

    site_name: str | None = None
    logo_url: str | None = None
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    contact_pages: list[str] = field(default_factory=list)


def _read_owner(document: Document, lang: str | None) -> _Owner:
    return _Owner(
        site_name=head.site_name(document),
        logo_url=logo_url(document),
        emails=email_addresses(document),
        phones=phone_numbers(document, lang),
        links=social_links(document),
        contact_pages=contact_pages(document),
    )


def _metadata(
    document: Document, columns: Mapping[str, Any], owner: _Owner, site: WordPress | None
) -> dict[str, Any]:
    same = ("title", "description", "language", "favicon_url", "logo_url")
    return {
        "version": METADATA_VERSION,
        **{name: columns[name] for name in same},
        "canonical_url": head.canonical_url(document),
        "site_name": owner.site_name,
        "emails": owner.emails,
        "phones": owner.phones,
        "social_links": owner.links,
        "contact_pages": owner.contact_pages,
        "wordpress": site
        and {"version": site.version, "theme": site.theme, "plugins": site.plugins},
        "charset": document.charset,
    }


def _safe(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Make every string, keys too, fit for a database and a terminal."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    return value
