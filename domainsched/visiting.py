"""What visits are made with, put together from the settings: fetcher, ways, extraction processes.

Imported only when there is a domain to visit: a run with nothing due pays for none of it.
"""

from __future__ import annotations

import gc
import resource
from contextlib import AsyncExitStack, suppress

from domainsched.addresses import AddressPolicy
from domainsched.attempt import Visitor
from domainsched.config import Settings, scraper_api_key
from domainsched.credit import CreditBudget
from domainsched.extract.pool import ExtractionPool
from domainsched.fetch import ConnectTo, Fetcher, FetchSettings
from domainsched.fetch.scraperapi import Mode, ScraperApi, ScraperSettings, ViaScraperApi
from domainsched.fetch.way import Fetches
from domainsched.job import Job, Surroundings

_COLLECTED_AFTER = 10_000
"""New objects; Python's 700 are those of two visits."""


def visitor(settings: Settings, job: Job, stack: AsyncExitStack) -> Visitor:
    """Put it together; `stack` ends the extraction processes.

    Raises:
        ConfigError: the certificate authorities cannot be read, or ScraperAPI cannot be used.
    """
    _raise_limit_of_files()
    _spare_the_collector()
    fetcher = Fetcher(fetch_settings(settings, job.surroundings), job.surroundings.resolve)
    ways = _ways(fetcher, settings, job.surroundings, job.credit_budget)
    extractor = ExtractionPool(settings.processes, fingerprints=settings.fingerprints)
    stack.push_async_exit(extractor)
    return Visitor(ways, extractor, run_id=job.run_id, contact_pages=settings.contact_pages)


def _raise_limit_of_files() -> None:
    """Let a visit have its connections, up to four: the usual 1,024 descriptors are soon used."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _spare_the_collector() -> None:
    """Have it look at what visits leave, and less often: it took a tenth of their CPU time.

    Nearly all of it goes by reference counts; the libraries, once loaded, stay.
    """
    if not gc.get_freeze_count():
        gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER)


def fetch_settings(settings: Settings, surroundings: Surroundings) -> FetchSettings:
    """Say how sites are visited."""
    return FetchSettings(
        timeout=settings.timeout,
        user_agent=settings.user_agent,
        addresses=AddressPolicy(settings.allow_private, settings.allow_network),
        verify=not settings.insecure,
        trust=surroundings.trust,
        connect_to=tuple(ConnectTo.parse(rule) for rule in settings.connect_to),
        ignore_robots=settings.ignore_robots,
        per_address=settings.per_address,
    )


def _ways(
    fetcher: Fetcher, settings: Settings, surroundings: Surroundings, budget: CreditBudget
) -> Fetches:
    """Say by which ways pages are had."""
    if settings.scraper_api == "off":
        return fetcher
    api = ScraperApi(scraper_settings(settings, surroundings), budget, surroundings.resolve)
    return ViaScraperApi(fetcher, api, Mode(settings.scraper_api))


def scraper_settings(settings: Settings, surroundings: Surroundings) -> ScraperSettings:
    """Say how ScraperAPI is asked.

    Raises:
        ConfigError: its key cannot be read, or is none.
    """
    return ScraperSettings(
        key=scraper_api_key(settings),
        endpoint=settings.scraper_api_url,
        render=settings.scraper_render,
        premium=settings.scraper_premium,
        ultra_premium=settings.scraper_ultra_premium,
        country=settings.scraper_country,
        retries=settings.scraper_retries,
        timeout=settings.scraper_timeout,
        addresses=AddressPolicy(settings.allow_private, settings.allow_network),
        trust=surroundings.trust,
    )
