"""One run, put together from the settings: fetcher, extraction processes, queue, worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from domainsched.addresses import AddressPolicy
from domainsched.attempt import Visitor
from domainsched.config import Settings, scraper_api_key
from domainsched.database import Database
from domainsched.extract.pool import ExtractionPool
from domainsched.fetch import ConnectTo, Fetcher, FetchSettings, Resolve
from domainsched.fetch.scraperapi import (
    CreditBudget,
    Mode,
    ScraperApi,
    ScraperSettings,
    ViaScraperApi,
)
from domainsched.fetch.way import Fetches
from domainsched.models import Claim, RowId, RunSummary, Settled
from domainsched.queue import Queue
from domainsched.retry import Policy
from domainsched.schema import Table
from domainsched.worker import Plan, Run, Stop


@dataclass(frozen=True)
class Surroundings:
    """What the demo puts in the place of the internet."""

    resolve: Resolve | None = None
    """Names to addresses; the machine's resolver when None."""
    trust: tuple[Path, ...] = ()
    """Further certificate authorities, PEM."""


INTERNET = Surroundings()


@dataclass(frozen=True)
class Job:
    """What a run is for; the runs of one command share `run_id` and `credit_budget`."""

    run_id: str
    credit_budget: CreditBudget
    wanted: Sequence[RowId] | None = None
    """The rows to take, all of them; those that are due when None."""
    surroundings: Surroundings = INTERNET


async def process(
    database: Database,
    table: Table,
    settings: Settings,
    job: Job,
    *,
    stop: Stop,
    on_begin: Callable[[Claim], None],
    on_settled: Callable[[Settled], None],
) -> RunSummary:
    """Do one run as the settings say.

    Raises:
        ConfigError: ScraperAPI cannot be used, or refuses to serve us and is always to be asked.
        DatabaseError: the database stayed away.
        NetworkDown: nothing outside could be reached.
    """
    surroundings, budget, spent_before = (
        job.surroundings,
        job.credit_budget,
        job.credit_budget.spent,
    )
    async with (
        Fetcher(fetch_settings(settings, surroundings), surroundings.resolve) as fetcher,
        ExtractionPool(settings.processes, fingerprints=settings.fingerprints) as extractor,
    ):
        run = Run(
            Queue(database, table, tenant=settings.tenant, wanted=job.wanted),
            Visitor(
                _ways(fetcher, settings, surroundings, budget),
                extractor,
                run_id=job.run_id,
                contact_pages=settings.contact_pages,
            ),
            plan(settings) if job.wanted is None else replace(plan(settings), limit=None),
            worker=f"{socket.gethostname()}:{os.getpid()}:{job.run_id}",
            run_id=job.run_id,
            stop=stop,
            on_begin=on_begin,
            on_settled=on_settled,
        )
        summary = await run.run()
    summary.credits = budget.spent - spent_before
    return summary


def plan(settings: Settings) -> Plan:
    """Say how much a run does."""
    return Plan(
        limit=settings.limit or None,
        concurrency=settings.concurrency,
        lease=settings.lease,
        grace=settings.grace,
        deadline=settings.deadline,
        policy=Policy(max_attempts=settings.max_attempts),
    )


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
