"""One attempt at one domain: its name, its pages, what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from domainsched.errors import InvalidName
from domainsched.fetch.failure import clean_text
from domainsched.fetch.places import Crowded
from domainsched.fetch.way import Fetches, Visits, nobody_waits
from domainsched.models import Claim, Failed, Found, Kind, NotTried, Outcome, Page
from domainsched.names import canonical

_SOCIAL = ("facebook_url", "twitter_url", "linkedin_url", "instagram_url", "youtube_url")

_MAX_URL = 2048
"""Characters that are kept of each redirect: ten of 60 KB made a row of 662 KB."""

Columns = dict[str, Any]


class Extracts(Protocol):
    """Reads a page where a stall or a crash can do no harm."""

    @property
    def is_busy(self) -> bool:
        """Whether so many pages wait that more of them would not be read any sooner."""

    async def extract(self, page: Page) -> Columns | Failed:
        """Return the columns that the page fills."""


class Visitor:
    """Takes a claim through name, pages and extraction; every failure becomes an outcome.

    Where the home page tells no e-mail address or no telephone, up to `contact_pages` more are read
    of those that `domain_metadata.contact_pages` names.
    """

    def __init__(
        self, fetcher: Fetches, extractor: Extracts, *, run_id: str, contact_pages: int = 2
    ) -> None:
        self._fetcher = fetcher
        self._extractor = extractor
        self._run_id = run_id
        self._contact_pages = contact_pages

    async def __call__(
        self, claim: Claim, give_way: Callable[[], object] = nobody_waits
    ) -> Outcome:
        """Attempt the claim's domain. Does not raise for anything a name or a site does.

        `give_way` is called once where the site is slow and others could use the time.
        """
        try:
            name = canonical(claim.domain)
        except InvalidName as error:
            return Failed(Kind.INVALID_DOMAIN, f"{error.what}: {error.why}")
        try:
            async with self._fetcher.site(name, lambda: self._let_go_first(give_way)) as site:
                return await self._visit(site)
        except Crowded:
            return NotTried()

    def _let_go_first(self, give_way: Callable[[], object]) -> bool:
        """Give way, unless pages wait already: 1,100 of them, where 500 visits were wished for."""
        if self._extractor.is_busy:
            return False
        give_way()
        return True

    async def _visit(self, site: Visits) -> Outcome:
        page = await site.home()
        if isinstance(page, Failed):
            return page
        columns = await self._extractor.extract(page)
        if isinstance(columns, Failed):
            return columns
        columns = self._with_facts(columns, page)
        told = {"url": page.url, "status": page.status}
        del page  # it may be large, and others wait
        columns, further = await self._with_contacts(site, columns)
        return Found(_with_visit(columns, pages=[told, *further]))

    async def _with_contacts(
        self, site: Visits, columns: Columns
    ) -> tuple[Columns, list[dict[str, Any]]]:
        """Fill in what contact pages tell; also says which pages were read, or why not."""
        pages: list[dict[str, Any]] = []
        left = self._contact_pages
        for url in columns["domain_metadata"].get("contact_pages", ()):
            if not left or not _lacks_contacts(columns):
                break
            page = await site.page(url)
            kind = page.kind if isinstance(page, Failed) else None
            if kind is not Kind.BAD_REDIRECT:  # not even asked for, if it is another site's
                left -= 1
            found, told = await self._contacts(page, url)
            columns = _merged(columns, found, told["url"])
            pages.append(told)
            if kind is Kind.RATE_LIMITED:
                break
        return columns, pages

    async def _contacts(self, page: Page | Failed, url: str) -> tuple[Columns, dict[str, Any]]:
        if isinstance(page, Failed):
            return {}, {"url": url, "error": page.detail}
        told = {"url": page.url, "status": page.status}
        found = await self._extractor.extract(page)
        if isinstance(found, Failed):
            return {}, {**told, "error": found.detail}
        return found, told

    def _with_facts(self, columns: Columns, page: Page) -> Columns:
        """Add what the connection, and not the page, tells."""
        tls = page.tls or {}
        return {
            **_with_visit(columns, **self._facts(page)),
            "has_ssl": page.tls is not None if page.credits is None else None,
            "ssl_issuer": tls.get("issuer"),
            "ssl_version": tls.get("version"),
            "ssl_expiry_date": tls.get("expires"),
            "server_type": clean_text(page.headers.get("server", "")) or None,
            "ip_address": page.ip_address or None,
            "server_response_time": _milliseconds(page.elapsed),
        }

    def _facts(self, page: Page) -> dict[str, Any]:
        return {
            "run_id": self._run_id,
            "fetched_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "url": page.url,
            "status": page.status,
            "redirects": [url[:_MAX_URL] for url in page.redirects],
            "elapsed_ms": _milliseconds(page.elapsed),
            "bytes": len(page.body),
            "truncated": page.truncated,
            "ip_address": page.ip_address or None,
            "tls": dict(page.tls) if page.tls is not None else None,
            "notes": list(page.notes),
            "via": "direct" if page.credits is None else "scraperapi",
            "credits": page.credits or 0,
        }


def _with_visit(columns: Columns, **facts: Any) -> Columns:  # noqa: ANN401 - JSON
    metadata = columns["domain_metadata"]
    visit = {**metadata.get("visit", {}), **facts}
    return {**columns, "domain_metadata": {**metadata, "visit": visit}}


def _lacks_contacts(columns: Columns) -> bool:
    """Whether a page may be asked for more; one that only keeps a domain's place has none."""
    if columns["domain_metadata"].get("parked"):
        return False
    return not (columns.get("email_addresses") and columns.get("phone_numbers"))


def _merged(columns: Columns, found: Columns, url: str) -> Columns:
    """Add the contacts of the further page at `url`, behind those there are; nothing else of it."""
    metadata, further = columns["domain_metadata"], found.get("domain_metadata", {})
    return {
        **columns,
        **_both(columns, found, "email_addresses", "phone_numbers"),
        **{name: columns.get(name) or found.get(name) for name in _SOCIAL},
        "domain_metadata": {
            **metadata,
            **_both(metadata, further, "emails", "phones"),
            "social_links": _first(metadata, further, "social_links"),
            "contacts": _evidence(metadata.get("contacts") or {}, further.get("contacts"), url),
        },
    }


def _evidence(
    known: Mapping[str, Any], further: Mapping[str, Any] | None, url: str
) -> dict[str, Any]:
    """Join the evidence of the contacts; what the further page alone tells names that page."""
    told = {
        kind: {value: {**evidence, "page": url} for value, evidence in contacts.items()}
        for kind, contacts in (further or {}).items()
    }
    return {kind: _first(known, told, kind) for kind in {**known, **told}}


def _first(known: Mapping[str, Any], further: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Join two mappings of that name: the known first, where both have a key and in the order."""
    first, second = known.get(name) or {}, further.get(name) or {}
    return {**first, **{key: value for key, value in second.items() if key not in first}}


def _both(first: Mapping[str, Any], second: Mapping[str, Any], *names: str) -> dict[str, list[str]]:
    """Join the lists of these names, without doubles."""
    return {
        name: list(dict.fromkeys([*(first.get(name) or ()), *(second.get(name) or ())]))
        for name in names
    }


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
