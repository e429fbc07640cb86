"""From one page's bytes to the columns of its row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from domainsched.extract import head
from domainsched.extract.answer import security_headers
from domainsched.extract.contact_pages import contact_pages
from domainsched.extract.contacts import Evidence, email_addresses
from domainsched.extract.document import Document, parse
from domainsched.extract.encoding import clean
from domainsched.extract.language import Languages, languages
from domainsched.extract.logo import Logo, logo
from domainsched.extract.notice import copyright_year
from domainsched.extract.phones import phone_numbers
from domainsched.extract.placeholder import Standing, standing
from domainsched.extract.social import Profile, social_links
from domainsched.extract.technology import technologies
from domainsched.extract.tracking import Tracking, tracking
from domainsched.extract.wordpress import WordPress, wordpress

METADATA_VERSION = 1
"""Of the shape of `domain_metadata`; the README documents it."""

_FLAGS = {
    "has_divi": "Divi",
    "has_woocommerce": "WooCommerce",
    "has_contact_form7": "Contact Form 7",
    "has_yoast_seo": "Yoast SEO",
    "has_wpforms": "WPForms",
}
"""Columns that say whether `tech_stack` holds a technology."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def extract_page(
    body: bytes, url: str, headers: Mapping[str, str] = _NO_HEADERS, *, fingerprints: str = ""
) -> dict[str, Any]:
    """Give what a visit would store for a page: column name to JSON value.

    `url` is the final one; `headers` may be in any case. Nothing found is None or []. Never
    raises; a page beyond the parser's guard is read up to there, and `domain_metadata` says so.
    `fingerprints` is the path of a user's own, in Wappalyzer's format: if that cannot be used, it
    is a ConfigError.
    """
    document = parse(body, url, headers)
    spoken = languages(document)
    lang = spoken.language
    page = standing(document)
    owner = _read_owner(document, lang) if page.speaks_for_owner else _Owner()
    site = wordpress(document)
    runs_on = technologies(document, site, fingerprints)
    columns: dict[str, Any] = {
        "title": head.title(document),
        "description": head.description(document),
        "language": lang,
        "favicon_url": head.favicon_url(document),
        "logo_url": owner.logo.url,
        "email_addresses": list(owner.emails),
        "phone_numbers": list(owner.phones),
    }
    networks = ("facebook", "twitter", "linkedin", "instagram", "youtube")
    columns |= {f"{network}_url": owner.links.get(network) for network in networks}
    columns |= {
        "is_wordpress": "WordPress" in runs_on.stack["technologies"],
        "wordpress_version": runs_on.stack["technologies"].get("WordPress", {}).get("version"),
        "has_elementor": "Elementor" in runs_on.stack["technologies"],
        "tech_stack": runs_on.stack,
    }
    columns |= _further(document, owner, site, runs_on.stack["technologies"]) | {
        "content_language": list(spoken.declared) or None,
    }
    columns["domain_metadata"] = _metadata(document, columns, owner, site) | {
        "languages": _languages(spoken),
        "technologies": runs_on.evidence,
        "page": str(page),
        "parked": page is Standing.PARKED,
        "cut": document.cut,
    }
    return columns if _is_safe(columns) else _safe(columns)


@dataclass(frozen=True, slots=True)
class _Owner:
    """What a page says of whose site it is: nothing, if it is a registrar's or a host's."""

    site_name: str | None = None
    logo: Logo = field(default_factory=Logo)
    copyright_year: str | None = None
    tracking: Tracking = field(default_factory=Tracking)
    emails: dict[str, Evidence] = field(default_factory=dict)
    phones: dict[str, Evidence] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    contact_pages: list[str] = field(default_factory=list)

    @property
    def links(self) -> dict[str, str]:
        """The profiles' URLs, by network."""
        return {network: profile.url for network, profile in self.profiles.items()}


def _read_owner(document: Document, lang: str | None) -> _Owner:
    return _Owner(
        site_name=head.site_name(document),
        logo=logo(document),
        copyright_year=copyright_year(document),
        tracking=tracking(document),
        emails=email_addresses(document),
        phones=phone_numbers(document, lang),
        profiles=social_links(document),
        contact_pages=contact_pages(document),
    )


def _further(
    document: Document, owner: _Owner, site: WordPress | None, runs_on: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the columns that older tables have, and ours have not; nothing found is None."""
    accounts = owner.tracking
    feeds = [feed["url"] for feed in head.feeds(document)]
    return {
        "wordpress_theme": site.theme if site else None,
        "elementor_version": runs_on.get("Elementor", {}).get("version"),
        **{column: name in runs_on for column, name in _FLAGS.items()},
        "google_analytics_id": next(iter(accounts.analytics), None),
        "google_tag_manager_id": next(iter(accounts.containers), None),
        "copyright_year": owner.copyright_year,
        "feed_urls": feeds or None,
        "security_headers": security_headers(document) or None,
    }


def _languages(spoken: Languages) -> dict[str, Any]:
    return {"declared": list(spoken.declared), "detected": spoken.detected}


def _metadata(
    document: Document, columns: Mapping[str, Any], owner: _Owner, site: WordPress | None
) -> dict[str, Any]:
    same = ("title", "description", "language", "favicon_url", "logo_url")
    return {
        "version": METADATA_VERSION,
        **{name: columns[name] for name in same},
        "canonical_url": head.canonical_url(document),
        "site_name": owner.site_name,
        "emails": list(owner.emails),
        "phones": list(owner.phones),
        "social_links": owner.links,
        "contacts": _contacts(owner),
        "contact_pages": owner.contact_pages,
        "feeds": head.feeds(document),
        "social_cards": head.social_cards(document),
        "copyright_year": owner.copyright_year,
        "google_analytics_ids": owner.tracking.analytics,
        "google_tag_manager_ids": owner.tracking.containers,
        "favicon_source": "declared" if head.declared_icon(document) else "default",
        "logo": {"evidence": owner.logo.evidence, "points": owner.logo.points},
        "wordpress": asdict(site) if site else None,
        "charset": document.charset,
    }


def _contacts(owner: _Owner) -> dict[str, Any]:
    """Give, for each contact, the rule that found it and where on the page it stands."""
    return {
        "emails": owner.emails,
        "phones": owner.phones,
        "social_links": {
            network: {"rule": profile.rule, "where": profile.where}
            for network, profile in owner.profiles.items()
        },
    }


def _is_safe(columns: dict[str, Any]) -> bool:
    """Whether nothing needs to be cleaned, from one glance at all of it: most pages are so."""
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
    return text.isprintable() and not any(sign in text for sign in _UNCLEAN)


_UNCLEAN = ("\\", "  ", ' "', '" ')
"""Of JSON: an escape, and blanks that are too many, or at either end of a string."""


def _safe(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Make every string, keys too, fit for a database and a terminal."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    return value
