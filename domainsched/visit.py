"""One attempt at one domain: its name, its page, what the page says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from domainsched.errors import InvalidName
from domainsched.models import Claim, Failed, Found, Kind, Outcome, Page
from domainsched.names import canonical


class Fetches(Protocol):
    """Gets a site's own page, or says why not."""

    async def visit(self, name: str) -> Page | Failed:
        """Visit the site with this canonical name."""


class Extracts(Protocol):
    """Reads a page where a stall or a crash can do no harm."""

    async def extract(self, page: Page) -> dict[str, Any] | Failed:
        """Return the columns that the page fills."""


class Visitor:
    """Takes a claim through name, page and extraction; every failure becomes an outcome."""

    def __init__(self, fetcher: Fetches, extractor: Extracts, *, run_id: str) -> None:
        self._fetcher = fetcher
        self._extractor = extractor
        self._run_id = run_id

    async def __call__(self, claim: Claim) -> Outcome:
        """Attempt the claim's domain. Does not raise for anything a name or a site does."""
        try:
            name = canonical(claim.domain)
        except InvalidName as error:
            return Failed(Kind.INVALID_DOMAIN, f"{error.what}: {error.why}")
        page = await self._fetcher.visit(name)
        if isinstance(page, Failed):
            return page
        columns = await self._extractor.extract(page)
        if isinstance(columns, Failed):
            return columns
        return Found(self._with_facts(columns, page))

    def _with_facts(self, columns: dict[str, Any], page: Page) -> dict[str, Any]:
        """Add what the connection, and not the page, tells."""
        tls = page.tls or {}
        return {
            **columns,
            "has_ssl": page.tls is not None,
            "ssl_issuer": tls.get("issuer"),
            "ssl_version": tls.get("version"),
            "ssl_expiry_date": tls.get("expires"),
            "server_type": page.headers.get("server"),
            "ip_address": page.ip_address,
            "server_response_time": _milliseconds(page.elapsed),
            "domain_metadata": {**columns["domain_metadata"], "visit": self._visit(page)},
        }

    def _visit(self, page: Page) -> dict[str, Any]:
        return {
            "run_id": self._run_id,
            "fetched_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "url": page.url,
            "status": page.status,
            "redirects": list(page.redirects),
            "elapsed_ms": _milliseconds(page.elapsed),
            "bytes": len(page.body),
            "truncated": page.truncated,
            "ip_address": page.ip_address,
            "tls": dict(page.tls) if page.tls is not None else None,
            "notes": list(page.notes),
        }


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
