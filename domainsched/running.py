"""The command `process`: one run, or named domains now; and the rounds of `watch`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from domainsched import batch
from domainsched.config import Settings
from domainsched.connect import opened_table
from domainsched.credit import CreditBudget
from domainsched.database.connection import Database
from domainsched.database.store import Row, Store
from domainsched.database.table import READING, Table
from domainsched.errors import DomainschedError, ExitCode, Incomplete
from domainsched.job import Job
from domainsched.models import RowId, RunSummary, Settled, Upcoming
from domainsched.names import canonical
from domainsched.reporting import answers, metrics
from domainsched.reporting.wording import count, held, public, setting, site
from domainsched.session import Session
from domainsched.worker import Stop


class Rounds:
    """The runs of one command: they share its connection, its wish to end, and its budget."""

    def __init__(
        self,
        session: Session,
        database: Database,
        table: Table,
        stop: Stop,
        until: float | None = None,
    ) -> None:
        self._session, self._stop, self._until = session, stop, until
        self._database, self._table = database, table
        self._store = Store(database, table, tenant=session.settings.tenant)
        self._budget = CreditBudget(session.settings.scraper_budget)
        self._tally = metrics.Tally()
        self._metrics = metrics_file(session.settings)

    async def once(self) -> tuple[RunSummary, Upcoming]:
        """Do one run, and say how it went."""
        summary = await self.run()
        return summary, await self.conclude(summary)

    async def run(self, wanted: Sequence[RowId] | None = None) -> RunSummary:
        """Do one run over what is due, or over the `wanted` rows."""
        report = self._session.report
        with report.running(await self._total(wanted)):
            return await batch.process(
                self._database,
                self._table,
                self._session.settings,
                Job(self._session.run_id, self._budget, wanted, until=self._until),
                stop=self._stop,
                on_begin=report.begun,
                on_settled=self._settled,
            )

    async def conclude(self, summary: RunSummary, *, silent: bool = False) -> Upcoming:
        """Say how a run went, to people unless `silent`, to Prometheus, and what is left to do."""
        upcoming = await self._store.upcoming()
        if not silent:
            self._session.report.summary(summary, upcoming.due, upcoming.next_due)
        if self._metrics is not None and not self._stop.is_set:
            await self._write_metrics(self._metrics, summary)
        return upcoming

    async def _total(self, wanted: Sequence[RowId] | None) -> int | None:
        """Say how many domains the run is about to take, where somebody wants to know."""
        if wanted is not None:
            return len(wanted)
        limit = self._session.settings.limit
        if not self._session.report.shows_progress:
            return limit or None
        due = (await self._store.upcoming()).due
        self._session.report.starting(due, limit)
        return min(limit or due, due)

    def _settled(self, settled: Settled) -> None:
        self._tally.add(settled)
        self._session.report.settled(settled, self._session.settings.max_attempts)

    async def _write_metrics(self, path: Path, summary: RunSummary) -> None:
        glance = await self._store.glance()
        try:
            metrics.write(path, self._tally, summary, glance)
        except OSError as error:
            self._session.report.warning(
                f"cannot write the metrics to {path}: {error.strerror or error}",
                "the work itself is done",
            )


def metrics_file(settings: Settings) -> Path | None:
    """Find out where the metrics go, and whether they can: before a database is opened, too.

    Raises:
        ConfigError: they cannot.
    """
    if not settings.metrics_file:
        return None
    path = Path(settings.metrics_file)
    metrics.check(path)
    return path


async def process(session: Session, names: Sequence[str], *, strict: bool) -> int:
    """Do one run; the exit code tells a signal, and with `strict` a failed domain.

    With `names` it takes these domains, due or not, and shows what was found.

    Raises:
        DomainschedError: a named domain is not in the table, or another worker has it.
        Incomplete: with `strict`, a domain failed for good.
    """
    settings, domains = session.settings, _canonical(names)
    metrics_file(settings)
    async with opened_table(session) as (database, table):
        store, stop = Store(database, table, tenant=settings.tenant), Stop()
        rows = await _named(store, domains) if domains else None
        left: list[Row] = []
        with stopping(session, stop):
            rounds = Rounds(session, database, table, stop)
            wanted = None if rows is None else [row["id"] for row in rows]
            summary = await rounds.run(wanted)
            refused = rows is not None and not summary.claimed and not session.report.style.json
            if rows is not None:
                left, _ = await store.named(domains)
                if not refused:
                    _show(session, left, alone=len(domains) == 1)
            await rounds.conclude(summary, silent=refused)
    if stop.signal is not None:
        return 128 + stop.signal
    if rows is not None and summary.claimed < len(rows):
        raise _refused(left, len(rows) - summary.claimed, settings.tenant)
    if strict and summary.failed:
        raise Incomplete(f"{count(summary.failed, 'domain')} failed for good")
    return ExitCode.OK


def _canonical(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(canonical(name) for name in names))


async def _named(store: Store, domains: Sequence[str]) -> list[Row]:
    """Find the rows of named domains.

    Raises:
        DomainschedError: there is none for one of them.
    """
    rows, missing = await store.named(domains)
    if missing:
        hint = f"domainsched add {missing[0]}"
        raise DomainschedError(f"not in the table: {', '.join(missing)}", hint=hint)
    return rows


def _show(session: Session, rows: Sequence[Row], *, alone: bool) -> None:
    """Show the named domains as they are now."""
    if session.report.style.json:
        for row in rows:
            session.report.document({"type": "record", "record": public(row)})
        return
    most = session.settings.max_attempts
    session.report.show(answers.records(rows, alone=alone, max_attempts=most))


def _refused(rows: Sequence[Row], number: int, tenant: UUID | None) -> DomainschedError:
    """Say which of the rows were not claimed: nobody but another worker can be why.

    The rows are those after the run: it has taken over what had an expired lease before.
    """
    theirs = [row for row in rows if held(row)]
    names = " ".join(dict.fromkeys(canonical(row["domain"]) for row in theirs)) or "DOMAIN"
    whose = f"--tenant {tenant} " if tenant else ""
    return DomainschedError(
        f"{count(number, 'domain')} being processed by another worker: left alone",
        why="\n".join(f"{site(row['domain'])}: {held(row)}" for row in theirs),
        hint=f"wait; or take over: domainsched reset --force {whose}{names}",
    )


async def preview(session: Session, names: Sequence[str]) -> None:
    """Show what `process` would claim."""
    settings, domains = session.settings, _canonical(names)
    async with opened_table(session, rights=READING) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        if domains:
            rows = await _named(store, domains)
            now = (await store.upcoming()).now
            session.report.preview_named(rows, now, settings.max_attempts)
            return
        due = await store.due(settings.limit or None)
        upcoming = await store.upcoming()
    session.report.preview(due, upcoming, settings.max_attempts)


@contextmanager
def stopping(session: Session, stop: Stop, *, flies: bool = True) -> Iterator[None]:
    """Finish on the first signal, within the grace time; leave on the second.

    Nobody is told what is waited for, or left, where nothing `flies`.
    """
    task, settings = asyncio.current_task(), session.settings

    def announce() -> None:
        if flies:
            told = f"finishing what is in flight, up to {setting(settings.grace)}"
            session.report.info(f"{told}; once more to leave now")

    def leave() -> None:
        if task is None:
            return
        is_first = not task.cancelling()
        task.cancel()
        if flies and is_first:
            told = "left at once; what was in flight stays claimed until its lease runs out"
            session.report.info(f"{told}, within {setting(settings.lease)}")

    with stop.on_signals(announce, leave):
        try:
            yield
        except asyncio.CancelledError:
            if stop.signal is None:
                raise
            raise SystemExit(128 + stop.signal) from None
