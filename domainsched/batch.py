"""One run, put together from the settings: fetcher, extraction processes, queue, worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from domainsched.addresses import AddressPolicy
from domainsched.config import Settings
from domainsched.database import Database
from domainsched.extract.pool import ExtractionPool
from domainsched.fetch import ConnectTo, Fetcher, FetchSettings, Resolve
from domainsched.models import Claim, RunSummary, Settled
from domainsched.queue import Queue
from domainsched.retry import Policy
from domainsched.schema import Table
from domainsched.visit import Visitor
from domainsched.worker import Plan, Run, Stop


@dataclass(frozen=True)
class Surroundings:
    """What the demo puts in the place of the internet."""

    resolve: Resolve | None = None
    """Names to addresses; the machine's resolver when None."""
    trust: tuple[Path, ...] = ()
    """Further certificate authorities, PEM."""


INTERNET = Surroundings()


async def process(
    database: Database,
    table: Table,
    settings: Settings,
    *,
    stop: Stop,
    on_begin: Callable[[Claim], None],
    on_settled: Callable[[Settled], None],
    surroundings: Surroundings = INTERNET,
) -> RunSummary:
    """Do one run as the settings say.

    Raises:
        DatabaseError: the database stayed away.
        NetworkDown: nothing outside could be reached.
    """
    run_id = uuid4().hex[:8]
    async with (
        Fetcher(fetch_settings(settings, surroundings), surroundings.resolve) as fetcher,
        ExtractionPool(settings.processes) as extractor,
    ):
        run = Run(
            Queue(database, table, tenant=settings.tenant),
            Visitor(fetcher, extractor, run_id=run_id),
            plan(settings),
            worker=f"{socket.gethostname()}:{os.getpid()}:{run_id}",
            run_id=run_id,
            stop=stop,
            on_begin=on_begin,
            on_settled=on_settled,
        )
        return await run.run()


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
    )
