"""What each command does: opens the database, has the work done, and reports."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domainsched import batch, schema
from domainsched.connect import opened, opened_table
from domainsched.database import Database
from domainsched.errors import (
    DatabaseError,
    DomainschedError,
    ExitCode,
    Incomplete,
    NetworkDown,
    UsageError,
)
from domainsched.fetch.scraperapi import CreditBudget
from domainsched.intake import Intake
from domainsched.models import Kind, RunSummary, Upcoming
from domainsched.names import canonical
from domainsched.report import Report
from domainsched.schema import Table
from domainsched.session import Session
from domainsched.store import Selection, Store
from domainsched.wording import count, span
from domainsched.worker import Stop

LISTED = 20
"""Domains that a list shows, unless --limit says otherwise."""


async def add(session: Session, intake: Intake, *, dry_run: bool) -> None:
    """Put checked names into the queue."""
    settings = session.settings
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        tenant = settings.tenant or settings.default_tenant
        added = await store.add(intake.names(), tenant=tenant, dry_run=dry_run)
    session.report.added(added, intake.rejected, dry_run=dry_run)


async def preview(session: Session) -> None:
    """Show what `process` would claim."""
    settings = session.settings
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        rows = await store.due(settings.limit or None)
        upcoming = await store.upcoming()
    session.report.preview(rows, upcoming.due, settings.max_attempts)


async def process(session: Session, *, strict: bool) -> int:
    """Do one run; the exit code tells a signal, and with `strict` a failed domain."""
    settings = session.settings
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        stop = Stop()
        with _stopping(session, stop):
            budget = CreditBudget(settings.scraper_budget)
            summary = await _round(session, database, table, stop, budget)
    if stop.signal is not None:
        return 128 + stop.signal
    if strict and summary.failed:
        raise Incomplete(f"{count(summary.failed, 'domain')} failed for good")
    return ExitCode.OK


async def watch(
    session: Session, patience: timedelta | None, *, until_idle: bool, observe: bool
) -> int:
    """Do rounds until stopped; a database that is away is waited for.

    With `until_idle` also until nothing is left to do; after `patience` it is a failure.
    """
    settings = session.settings
    end = None if patience is None else time.monotonic() + patience.total_seconds()
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        stop, budget = Stop(), CreditBudget(settings.scraper_budget)
        with _stopping(session, stop):
            while not stop.is_set and session.report.loss is None:
                upcoming = await _tick(session, database, table, stop, budget, observe=observe)
                if until_idle and upcoming is not None and not upcoming.unfinished:
                    break
                if end is not None and time.monotonic() > end:
                    raise _still_busy(upcoming)
                await stop.wait(_pause(settings.interval, upcoming, end))
    return ExitCode.INTERRUPTED if stop.signal == signal.SIGINT else ExitCode.OK


def _still_busy(upcoming: Upcoming | None) -> DomainschedError:
    if upcoming is None:
        return DomainschedError("the time is up, and the database is still away")
    left = count(upcoming.unfinished, "domain")
    why = f"{left} pending or processing, {upcoming.due:,} of them due"
    return DomainschedError(
        "the time is up", why=why, hint="give --timeout more, or a higher --limit"
    )


async def _tick(
    session: Session,
    database: Database,
    table: Table,
    stop: Stop,
    budget: CreditBudget,
    *,
    observe: bool,
) -> Upcoming | None:
    """Do one round of `watch`, and say what there is to do next; None when that is not known."""
    store = Store(database, table, tenant=session.settings.tenant)
    try:
        if observe:
            session.report.glimpse(await store.glance())
        else:
            await _round(session, database, table, stop, budget)
        return await store.upcoming()
    except (DatabaseError, NetworkDown) as error:
        session.report.warning(f"{error.what}: {error.why}", "trying again")
        return None


async def _round(
    session: Session, database: Database, table: Table, stop: Stop, budget: CreditBudget
) -> RunSummary:
    """Do one run, and say how it went."""
    settings, report = session.settings, session.report
    with report.running(settings.limit or None):
        summary = await batch.process(
            database,
            table,
            settings,
            stop=stop,
            on_begin=report.begun,
            on_settled=lambda settled: report.settled(settled, settings.max_attempts),
            credit_budget=budget,
        )
    upcoming = await Store(database, table, tenant=settings.tenant).upcoming()
    report.summary(summary, upcoming.due, upcoming.next_due)
    return summary


@contextmanager
def _stopping(session: Session, stop: Stop) -> Iterator[None]:
    """Finish on the first signal, within the grace time; leave on the second."""
    task = asyncio.current_task()

    def announce() -> None:
        grace = span(session.settings.grace)
        session.report.info(f"finishing what is in flight, up to {grace}; once more to leave now")

    def leave() -> None:
        if task is not None:
            task.cancel()

    with stop.on_signals(announce, leave):
        try:
            yield
        except asyncio.CancelledError:
            if stop.signal is None:
                raise
            raise SystemExit(128 + stop.signal) from None


def _pause(interval: timedelta, upcoming: Upcoming | None, end: float | None) -> timedelta:
    """Say how long to sleep: until a row falls due, at most one interval, never past the end."""
    pause = interval
    if upcoming is not None and upcoming.next_due is not None:
        pause = min(pause, max(upcoming.next_due - upcoming.now, timedelta(seconds=1)))
    if end is not None:
        pause = min(pause, timedelta(seconds=max(end - time.monotonic(), 0) + 0.01))
    return pause


def selection(
    domains: list[str] | None,
    status: list[str] | None,
    kind: list[str] | None,
    **more: Any,  # noqa: ANN401 - the other fields of a selection
) -> Selection:
    """Say which rows are meant; names may be in any spelling.

    Raises:
        UsageError: a kind that there is none of.
    """
    unknown = [word for word in kind or () if word not in set(Kind)]
    if unknown:
        raise UsageError(f"no such kind: {', '.join(unknown)}", why=f"there are {', '.join(Kind)}")
    names = tuple(dict.fromkeys(canonical(domain) for domain in domains or ()))
    return Selection(names, tuple(status or ()), tuple(kind or ()), **more)


async def inspect(
    session: Session, selection: Selection, limit: int | None, *, check: bool
) -> None:
    """Show the glance, a list, named domains in full, or that all is well (`check`)."""
    settings, report = session.settings, session.report
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        if check:
            report.checked(await store.check())
        elif selection.names:
            found, missing = await store.named(selection.names)
            alone = len(selection.names) == 1
            report.records(found, alone=alone, max_attempts=settings.max_attempts)
            if missing:
                raise _absent(missing)
        elif selection.is_empty and limit is None:
            report.glance(await store.glance(), settings.limit)
        else:
            report.rows(*await store.rows(selection, limit=limit or LISTED))


@dataclass(frozen=True)
class Reset:
    """What a reset was asked to do."""

    selection: Selection
    force: bool
    clear: bool
    yes: bool
    dry_run: bool


async def reset(session: Session, how: Reset) -> None:
    """Make rows pending again, after asking where that is called for.

    Raises:
        DomainschedError: a domain that was named is not there; the others are reset all the same.
    """
    settings, report = session.settings, session.report
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        _, missing = await store.named(how.selection.names)
        reach = await store.reach(how.selection)
        number = reach.free + (reach.leased if how.force else 0)
        skipped = 0 if how.force else reach.leased
        if number and not how.dry_run:
            if not how.yes and not how.selection.names:
                _confirm_reset(report, how, number, skipped)
            number = await store.reset(how.selection, force=how.force, clear_metadata=how.clear)
    report.reset(number, skipped, dry_run=how.dry_run, by_name=bool(how.selection.names))
    if missing:
        raise _absent(missing)


def _absent(names: list[str]) -> DomainschedError:
    hint = f"domainsched add {names[0]}"
    return DomainschedError(f"not in the table: {', '.join(names)}", hint=hint)


def _confirm_reset(report: Report, how: Reset, number: int, skipped: int) -> None:
    """Ask in proportion to what is at stake: y for a filter, the number itself for all."""
    kept = "What was found is forgotten." if how.clear else "Their metadata is kept."
    lines = [f"{count(number, 'domain')} will be pending again, with attempts set to 0. {kept}"]
    if skipped:
        lines.append(f"{count(skipped, 'domain')} being processed now: left alone (--force)")
    if how.selection.is_empty:
        wanted = str(number)
        lines.append("Every site will be visited again.")
        report.ask("\n".join(lines), f"Type {wanted} to go on: ", wanted)
    else:
        report.ask("\n".join(lines), "Go on? [y/N] ", "y", "yes")


async def init(session: Session, *, dry_run: bool, yes: bool) -> None:
    """Create or complete the table; an existing one only after asking."""
    settings, report = session.settings, session.report
    async with opened(settings, session.environ, session.announce) as place:
        found = await place.database.run(lambda: schema.find_table(place.database, place.name))
        wanted = schema.statements(found, place.name, settings.lease)
        texts = [f"{statement.as_string().strip()};" for statement in wanted]
        if dry_run or not wanted:
            report.initialised(place.name.table, texts, done=False)
            return
        if found is not None and not yes:
            where = f"{found.schema}.{found.name}"
            report.ask("\n".join(texts), f"Execute this on {where}? [y/N] ", "y", "yes")
        table = await schema.init(place.database, place.name, settings.lease)
    report.initialised(f"{table.schema}.{table.name}", texts, done=True)
