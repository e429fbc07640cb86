"""Visits to the sites of `sites.py`, for the tests of the fetcher."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network

from sites import Sites

from domainsched.addresses import AddressPolicy
from domainsched.fetch import Fetcher, FetchSettings
from domainsched.fetch.failure import clean_text
from domainsched.models import Failed, Page

LOOPBACK = AddressPolicy(allowed=(ip_network("127.0.0.0/8"),))


def limits(sites: Sites, **changes: object) -> FetchSettings:
    """Settings that lead every name to `sites`, with patience for a busy machine."""
    values: dict[str, object] = {
        "timeout": timedelta(seconds=20),
        "connect_timeout": timedelta(seconds=10),
        "robots_timeout": timedelta(seconds=15),
        "addresses": LOOPBACK,
        "trust": (sites.ca_file,),
        "connect_to": sites.connect_to,
        "per_address": 0,
    }
    return FetchSettings(**{**values, **changes})  # type: ignore[arg-type]


async def home(fetcher: Fetcher, name: str) -> Page | Failed:
    """Visit a site for its home page alone."""
    async with fetcher.site(name) as site:
        return await site.home()


async def visit(sites: Sites, name: str, **changes: object) -> Page | Failed:
    """Visit a site with a fetcher of its own."""
    async with Fetcher(limits(sites, **changes)) as fetcher:
        return await home(fetcher, name)


async def fetch(sites: Sites, name: str, **changes: object) -> Page:
    """Visit a site that must have a home page."""
    outcome = await visit(sites, name, **changes)
    assert isinstance(outcome, Page), outcome
    return outcome


async def fail(sites: Sites, name: str, **changes: object) -> Failed:
    """Visit a site that must have none."""
    outcome = await visit(sites, name, **changes)
    assert isinstance(outcome, Failed), outcome
    assert clean_text(outcome.detail) == outcome.detail
    return outcome
