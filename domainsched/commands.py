"""What each command does: opens the database, has the work done, and reports."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

from domainsched.config import shown
from domainsched.connect import Opened, opened, opened_table, remarks
from domainsched.database import schema
from domainsched.database.adding import Order
from domainsched.database.catalogue import columns_of, find_table, qualified, usable_table
from domainsched.database.connection import Database
from domainsched.database.selection import Selection, check_tenant, in_ascii
from domainsched.database.store import Store
from domainsched.database.table import OPTIONAL_COLUMNS, READING, Table, grant
from domainsched.errors import DatabaseError, DomainschedError, UsageError
from domainsched.intake import Intake
from domainsched.models import BatchProgress, Kind, Status
from domainsched.names import canonical
from domainsched.reporting import answers
from domainsched.reporting.formats import Format
from domainsched.reporting.record import evidence
from domainsched.reporting.report import Report
from domainsched.reporting.wording import count, held, site
from domainsched.session import Session

LISTED = 20
"""Domains that a list shows, unless --limit says otherwise."""


@dataclass(frozen=True)
class Add:
    """What an add was asked to do, beyond its names."""

    batch: str
    requeue: bool
    dry_run: bool


async def add(session: Session, intake: Intake, how: Add) -> None:
    """Put checked names into the queue.

    Raises:
        UsageError: a batch's label that no line could show as it is.
    """
    if not how.batch.isprintable():
        raise UsageError(
            f"--batch: unusable value {shown(how.batch)!r}", why="it holds a control character"
        )
    settings, report = session.settings, session.report
    order = Order(settings.tenant or settings.default_tenant, how.batch, how.requeue)
    async with opened_table(session, may_be_new=True) as (database, table):
        names = report.counted(intake.names(), "adding", intake.accepted)
        with closing(names):
            store = Store(database, table, tenant=settings.tenant)
            added = await store.add(names, order, dry_run=how.dry_run)
    report.show(answers.added(added, intake, dry_run=how.dry_run))
    if added.added + added.requeued and not (how.dry_run or report.style.json):
        report.info("next: domainsched process --limit 10")


@dataclass(frozen=True)
class Chosen:
    """Which domains the command line names and describes, as it was written."""

    domains: list[str] | None = None
    status: list[str] | None = None
    kind: list[str] | None = None
    like: str | None = None
    batch: str | None = None
    technology: str | None = None
    expired: bool = False
    since: timedelta | None = None
    older_than: timedelta | None = None

    def selection(self) -> Selection:
        """Say which rows are meant; names may be in any spelling.

        Raises:
            UsageError: a kind that there is none of.
        """
        unknown = [word for word in self.kind or () if word not in set(Kind)]
        if unknown:
            why = f"there are {', '.join(Kind)}"
            raise UsageError(f"no such kind: {', '.join(unknown)}", why=why)
        return Selection(
            tuple(dict.fromkeys(map(canonical, self.domains or ()))),
            tuple(self.status or ()),
            tuple(self.kind or ()),
            like=self.like or "",
            batch=self.batch or "",
            technology=self.technology or "",
            expired=self.expired,
            since=self.since,
            older_than=self.older_than,
        )


@dataclass(frozen=True)
class Look:
    """What an inspect was asked to show."""

    selection: Selection
    limit: int | None
    sort: str | None

    @property
    def is_glance(self) -> bool:
        """Whether nothing was asked for but the queue."""
        return self.selection.is_empty and self.limit is None and self.sort is None

    @property
    def is_batch(self) -> bool:
        """Whether nothing was asked for but how far a batch is."""
        alone = self.selection == Selection(batch=self.selection.batch)
        return alone and self.limit is None and self.sort is None


async def inspect(session: Session, look: Look) -> None:
    """Show the glance, how far a batch is, a list, or named domains in full.

    Raises:
        DomainschedError: a domain that was named, or any of a batch, is not there.
    """
    settings, show = session.settings, session.report.show
    _check_like(session.report, look.selection.like)
    async with opened_table(session, rights=READING) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        if look.is_glance:
            show(answers.glance(await store.glance(), settings.limit))
        elif look.is_batch:
            show(answers.batch(await _existing(store, look.selection.batch)))
        elif look.selection.names:
            await _in_full(session, store, look.selection.names)
        else:
            await _check_statuses(session.report, store, look.selection)
            most = LISTED if look.limit is None else look.limit or None
            rows, total = await store.rows(look.selection, limit=most, sort=look.sort)
            show(answers.rows(rows, total))
            if look.limit is None and total > len(rows) and not session.report.is_attended:
                cut = f"the list ends after {len(rows)} of {total:,} domains"
                session.report.warning(cut, "--limit 0 lists all")


async def _check_statuses(report: Report, store: Store, selection: Selection) -> None:
    """Warn of a status that was misspelt; other programs' own are in the table."""
    foreign = [word for word in selection.statuses if word not in set(Status)]
    odd = await store.unused_statuses(foreign) if foreign else []
    if odd:
        ours = ", ".join(Status)
        report.warning(f"no domain has the status {', '.join(odd)}", f"ours are {ours}")


def _check_like(report: Report, pattern: str) -> None:
    """Warn of part of an international label: its names are stored encoded, as wholes."""
    parts = [label for label in in_ascii(pattern).split(".") if not label.isascii()]
    if parts:
        report.warning(
            f"--like finds only names that are stored as written by {shown(', '.join(parts))}",
            "others are stored as xn--...; write the whole label, and signs in others: münchen.*",
        )


async def _existing(store: Store, label: str) -> BatchProgress:
    progress = await store.batch(label)
    if not progress.total:
        raise DomainschedError(
            f"no domain in the table is of batch {label}",
            hint=f"domainsched add --batch {label} --file PATH",
        )
    return progress


async def _in_full(session: Session, store: Store, names: tuple[str, ...]) -> None:
    found, missing = await store.named(names)
    most = session.settings.max_attempts
    session.report.show(answers.records(found, alone=len(names) == 1, max_attempts=most))
    session.report.details(line for row in found for line in evidence(row))
    if missing:
        raise _absent(missing)


async def check(session: Session) -> None:
    """Show that database, table and rights are as they should be; warn who may not add."""
    report = session.report
    async with opened_table(session, rights=READING) as (database, table):
        store = Store(database, table, tenant=session.settings.tenant)
        report.show(answers.check(await store.check()))
        _remark(report, database)
        await _warn_of_table(report, database, table)


async def _warn_of_table(report: Report, database: Database, table: Table) -> None:
    """Tell of all with which an otherwise good table would surprise somebody."""
    if "tenant_id" in table.columns and not table.has_tenants:
        kind = table.columns["tenant_id"]
        report.warning(
            f"the column tenant_id of {table.written} is {kind}, not a plain uuid",
            "it is left alone: a site is there once, whoever's it is",
        )
    _warn_of_short(report, table)
    if table.lacks_rights:
        least = "not even" if set(READING) & set(table.lacks_rights) else "only"
        lacking = ", ".join(table.lacks_rights)
        report.warning(f'role "{table.role}" may {least} inspect: no {lacking}', grant(table))
    for obstacle in await Store(database, table).obstacles():
        report.warning(obstacle.what, obstacle.hint)


def _warn_of_short(report: Report, table: Table) -> None:
    """Name the columns that cannot hold all that is stored in them."""
    short = table.too_short
    if not short:
        return
    names = ", ".join(f"{name} {kind}" for name, kind in short.items())
    changes = ", ".join(
        f"ALTER {name} TYPE {'text[]' * kind.endswith('[]') or 'text'}"
        for name, kind in short.items()
    )
    report.warning(
        f"too short for all that is stored: {names}",
        f"what is longer is cut, left out or refused: ALTER TABLE {table.written} {changes};",
    )


def _remark(report: Report, database: Database) -> None:
    """Tell who sets a database up what its URL holds that is of no use; -v told it already."""
    if not report.tells_details:
        for remark in remarks(database.url):
            report.info(remark)


async def show_schema(session: Session) -> None:
    """Show the table as it is, also one that lacks something or cannot serve.

    Raises:
        SchemaMismatch: there is no table, or it is not one of domains.
    """
    report = session.report
    async with opened(session) as place:
        database, name = place.database, place.name
        if columns := await columns_of(database, name):
            report.show(answers.schema(columns))
        table = await database.run(lambda: find_table(database, name))
        if table is None:
            table = await usable_table(database, name)
    if table.missing:
        report.warning(f"it lacks {', '.join(table.missing)}", table.init_hint)


@dataclass(frozen=True)
class Reset:
    """What a reset was asked to do."""

    selection: Selection
    limit: int | None
    force: bool
    clear: bool
    yes: bool
    dry_run: bool


async def reset(session: Session, how: Reset) -> None:
    """Make rows pending again, after asking where that is called for.

    Raises:
        DomainschedError: a domain that was named, or any of a batch, is not there; then nothing is
            reset. Or a worker has one that was named; the others are reset.
    """
    settings, report = session.settings, session.report
    _check_like(report, how.selection.like)
    async with opened_table(session) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        await _check_presence(report, store, how.selection)
        reach = await store.reach(how.selection)
        number = reach.free + (reach.leased if how.force else 0)
        number = number if how.limit is None else min(number, how.limit)
        skipped = 0 if how.force else reach.leased
        if number and not how.dry_run:
            if not how.yes and not how.selection.names:
                _confirm_reset(report, how, number, skipped)
            number = await store.reset(
                how.selection, force=how.force, clear_metadata=how.clear, limit=how.limit
            )
        holders = await _holders(store, how.selection) if skipped else []
    warned = not number and report.threshold <= logging.WARNING
    says_it_all = skipped and not how.dry_run and (holders or warned)
    if not says_it_all or report.style.format not in {None, Format.TABLE}:
        report.show(answers.reset(number, skipped, dry_run=how.dry_run))
    if skipped:
        _tell_skipped(report, number, skipped, holders, dry_run=how.dry_run)


async def _check_presence(report: Report, store: Store, selection: Selection) -> None:
    """Find out whether all that was asked for by its name is there: only then it is reset."""
    _, missing = await store.named(selection.names)
    if missing:
        raise _absent(missing, "; nothing was reset")
    if selection.batch:
        await _existing(store, selection.batch)
    await _check_statuses(report, store, selection)


async def _holders(store: Store, selection: Selection) -> list[str]:
    """Say who has the rows that were named."""
    rows, _ = await store.named(selection.names)
    return [f"{site(row['domain'])}: {held(row)}" for row in rows if held(row)]


def _tell_skipped(
    report: Report, number: int, skipped: int, holders: Sequence[str], *, dry_run: bool
) -> None:
    """Say what was left alone, while `number` were reset; also where nobody reads the answer.

    Raises:
        DomainschedError: somebody named it, and it was to be done.
    """
    theirs = "it too, and refuses its worker's result"
    if skipped > 1:
        theirs = "them too, and refuses their workers' results"
    domains, hint = count(skipped, "domain"), f"--force takes {theirs}"
    left = f"{domains} being processed now: left alone"
    if holders and not dry_run:
        done = f"{count(number, 'domain')} {'was' if number == 1 else 'were'} reset"
        what = f"{left}; {done if number else 'nothing was reset'}"
        raise DomainschedError(what, why="\n".join(holders), hint=hint)
    if holders:
        report.warning(f"{left}: {', '.join(holders)}", hint)
    elif not number:
        report.warning(f"all that matches is being processed now: {domains} left alone", hint)
    else:
        report.info(f"hint: {hint}")


def _absent(names: list[str], so: str = "") -> DomainschedError:
    hint = f"domainsched add {names[0]}"
    return DomainschedError(f"not in the table: {', '.join(names)}{so}", hint=hint)


def _confirm_reset(report: Report, how: Reset, number: int, skipped: int) -> None:
    """Ask in proportion to what is at stake: y for a filter, the number itself for all."""
    kept = f"What was found is {'forgotten' if how.clear else 'kept'}."
    lines = [f"{count(number, 'domain')} will be pending again, with attempts set to 0.", kept]
    if skipped:
        lines.append(f"{count(skipped, 'domain')} being processed now: left alone (--force)")
    if how.selection.is_empty:
        wanted = str(number)
        lines.append("Each of them will be visited again.")
        report.ask("\n".join(lines), f"Type {wanted} to go on: ", wanted)
    else:
        report.ask("\n".join(lines), "Go on? [y/N] ", "y", "yes")


async def init(session: Session, *, dry_run: bool, yes: bool) -> None:
    """Create or complete the table; an existing one only after asking."""
    settings, report = session.settings, session.report
    async with opened(session, may_be_new=True) as place:
        _remark(report, place.database)
        found = await place.database.run(lambda: find_table(place.database, place.name))
        if found is None:
            where = await qualified(place.database, place.name)
        else:
            check_tenant(found, settings.tenant)
            where = found.written
        wanted = schema.statements(found, place.name, settings.lease)
        texts = [f"{statement.as_string().strip()};" for statement in wanted]
        lacking = await _hindrance(place, found) if wanted else None
        if lacking and not dry_run:
            raise lacking
        if found is not None:
            await _warn_of_table(report, place.database, found)
        table = found
        if wanted and not dry_run:
            if found is not None and not yes:
                report.ask("\n".join(texts), f"Execute this on {where}? [y/N] ", "y", "yes")
            table = await schema.init(place.database, place.name, settings.lease, report.info)
            where = table.written
        report.initialised(where, texts, done=not (wanted and dry_run))
        if lacking:
            report.warning(f"this would be refused: {lacking.what}", lacking.hint)
        elif table is not None:
            _warn_of_left(report, table)


async def _hindrance(place: Opened, table: Table | None) -> DatabaseError | None:
    async def operation() -> DatabaseError | None:
        async with place.database.transaction(read_only=True) as cursor:
            return await schema.hindrance(cursor, place.name, table)

    return await place.database.run(operation)


def _warn_of_left(report: Report, table: Table) -> None:
    """Name what `init` would add, but need not, and may not."""
    left = [column for column in OPTIONAL_COLUMNS if column not in table.columns]
    if left and not table.is_owned:
        report.warning(
            f"it stays without {', '.join(left)}, which only its owner may add",
            f"nothing is lost, but for what goes by them; {table.init_hint}",
        )
