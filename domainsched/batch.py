"""One run, put together from the settings: queue, worker, and what visits the sites."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

from domainsched.config import Settings
from domainsched.database.connection import Database
from domainsched.database.queue import Queue
from domainsched.database.table import Table
from domainsched.job import Job
from domainsched.models import Claim, NotTried, Outcome, RunSummary, Settled
from domainsched.retry import Policy
from domainsched.worker import Plan, Run, Stop, Visit


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
    spent_before = job.credit_budget.spent
    async with AsyncExitStack() as stack:
        run = Run(
            Queue(database, table, tenant=settings.tenant, wanted=job.wanted),
            _Visits(settings, job, stack),
            _plan_for(settings, job),
            worker=f"{socket.gethostname()}:{os.getpid()}:{job.run_id}",
            run_id=job.run_id,
            stop=stop,
            on_begin=on_begin,
            on_settled=on_settled,
        )
        summary = await run.run()
    summary.credits = job.credit_budget.spent - spent_before
    return summary


class _Visits:
    """Visits domains; what that needs is loaded with the first: 0.25 s of CPU time.

    Where ScraperAPI is to be used it is there at once, since its settings may be wrong.
    """

    def __init__(self, settings: Settings, job: Job, stack: AsyncExitStack) -> None:
        self._settings, self._job, self._stack = settings, job, stack
        self._visit = None if settings.scraper_api == "off" else self._loaded()

    async def __call__(self, claim: Claim, give_way: Callable[[], None]) -> Outcome:
        if self._visit is None:
            self._visit = self._loaded()
        limit = asyncio.timeout_at(self._job.until)
        try:
            async with limit:
                return await self._visit(claim, give_way)
        except TimeoutError:
            if not limit.expired():
                raise
            return NotTried()

    def _loaded(self) -> Visit:
        from domainsched.visiting import visitor

        return visitor(self._settings, self._job, self._stack)


def _plan_for(settings: Settings, job: Job) -> Plan:
    """Say how much a run does that is for all `wanted` rows, or must have ended by a time."""
    usual = replace(plan(settings), until=job.until)
    return usual if job.wanted is None else replace(usual, limit=None)


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
