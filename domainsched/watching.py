"""The command `watch`: rounds of work until stopped, or a look at who does it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from domainsched.connect import opened_table
from domainsched.database.connection import Database
from domainsched.database.lookout import Lookout
from domainsched.database.selection import check_moment
from domainsched.database.store import Store
from domainsched.database.table import READING, RIGHTS, Table
from domainsched.errors import DatabaseError, DomainschedError, ExitCode, NetworkDown
from domainsched.models import RunSummary, Upcoming
from domainsched.reporting.live import View
from domainsched.reporting.wording import count, setting
from domainsched.running import Rounds, metrics_file, stopping
from domainsched.session import Session
from domainsched.worker import Stop

PACE = timedelta(seconds=2)
"""Between two looks at the queue."""
REDRAWN = timedelta(seconds=1)
LAST_LOOK = timedelta(seconds=3)
"""Time for the look that stays on the screen."""
SHARE = 10
"""Looking takes at most one part in so many of the database's time: counting a large table."""
_MOMENT = timedelta(milliseconds=10)
RELEASING = 5.0
"""Seconds after the end of its time in which a watch gives back what it holds."""


@dataclass(frozen=True)
class Wish:
    """What a `watch` was asked to do."""

    patience: timedelta | None
    """After it, it is a failure."""
    until_idle: bool
    observe: bool
    batch: str
    """What is waited for, if not for the whole queue."""
    pace: timedelta | None
    """Between two looks of `observe`."""


async def watch(session: Session, wish: Wish) -> int:
    """Do rounds until stopped, or only look; a database that is away is waited for.

    Raises:
        UsageError: changes are to be told, and the table does not say when there was one.
    """
    settings = session.settings
    if not wish.observe:
        metrics_file(settings)
    rights = READING if wish.observe else RIGHTS
    async with opened_table(session, rights=rights) as (database, table):
        if wish.observe:
            check_moment(table, "--observe")
        stop, database.outage.is_endless = Stop(), True
        with stopping(session, stop, flies=not wish.observe):
            end = _End(session, database, table, wish)
            await end.check()
            command = _observe if wish.observe else _work
            async with end.enforced():
                await command(session, database, table, stop, end)
    return ExitCode.INTERRUPTED if stop.signal == signal.SIGINT else ExitCode.OK


class _End:
    """Says when a watch has come to its end."""

    def __init__(self, session: Session, database: Database, table: Table, wish: Wish) -> None:
        self.wish = wish
        self._store = Store(database, table, tenant=session.settings.tenant)
        now, patience = asyncio.get_running_loop().time(), wish.patience
        self._left_of_batch = 0
        self.time = None if patience is None else now + patience.total_seconds()
        """By the event loop's clock."""

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Cut off what does not end in time: it waits for the database."""
        limit = asyncio.timeout_at(self.time and self.time + RELEASING)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise _still_busy(None, self.wish) from None

    async def check(self) -> None:
        """Raise an error if what is waited for cannot come."""
        if self.wish.batch:
            await self._unfinished()

    async def is_idle(self, upcoming: Upcoming) -> bool:
        """Whether nothing is left to wait for."""
        if not self.wish.until_idle:
            return False
        if self.wish.batch:
            return not await self._unfinished()
        return not upcoming.unfinished

    async def _unfinished(self) -> int:
        progress = await self._store.batch(self.wish.batch)
        if not progress.total:
            hint = "domainsched add --batch LABEL puts domains into one"
            raise DomainschedError(f"there is no batch {self.wish.batch}", hint=hint)
        self._left_of_batch = progress.unfinished
        return progress.unfinished

    def check_time(self, upcoming: Upcoming | None) -> None:
        """Raise a failure when the time is up."""
        if self.time is not None and time.monotonic() > self.time:
            raise _still_busy(None if upcoming is None else self._left(upcoming), self.wish)

    def _left(self, upcoming: Upcoming) -> str:
        """Count what is waited for, as it was when somebody last looked."""
        if self.wish.batch:
            number = count(self._left_of_batch, "domain")
            return f"{number} of batch {self.wish.batch} pending or processing"
        number = count(upcoming.unfinished, "domain")
        return f"{number} pending or processing, {upcoming.due:,} of them due"

    def within(self, pause: timedelta) -> timedelta:
        """Cut a pause short that would outlast the time."""
        if self.time is None:
            return pause
        return min(pause, timedelta(seconds=max(self.time - time.monotonic(), 0)) + _MOMENT)


def _still_busy(left: str | None, wish: Wish) -> DomainschedError:
    if left is None:
        return DomainschedError("the time is up, and the database is still away")
    hint = "give --timeout more" if wish.until_idle else "--until-idle ends once nothing is left"
    return DomainschedError("the time is up", why=left, hint=hint)


async def _work(session: Session, database: Database, table: Table, stop: Stop, end: _End) -> None:
    rounds, outage = Rounds(session, database, table, stop, end.time), database.outage
    lookout = Lookout(database, table, tenant=session.settings.tenant)
    async with _shown(session, database, table, stop):
        while not stop.is_set and session.report.loss is None:
            done: tuple[RunSummary, Upcoming] | None = None
            try:
                done = await rounds.once()
                outage.over()
                if await end.is_idle(done[1]):
                    return
            except (DatabaseError, NetworkDown) as error:
                outage.tell(error)
            end.check_time(done and done[1])
            await _rest(lookout, stop, end, done, session.settings.interval)


async def _rest(
    lookout: Lookout,
    stop: Stop,
    end: _End,
    done: tuple[RunSummary, Upcoming] | None,
    interval: timedelta,
) -> None:
    """Wait until there is work, at most for so long; a row that falls due is noticed soon.

    With rows still due there is no pause; but when a round could get none of them, or something is
    away, nothing but time can help.
    """
    pause = end.within(interval)
    if done is None or (done[1].due and done[0].claimed == done[0].released):
        await stop.wait(pause)
        return
    ends = time.monotonic() + pause.total_seconds()
    while not stop.is_set and (left := timedelta(seconds=ends - time.monotonic())) > timedelta():
        try:
            until = await lookout.until_due()
        except DatabaseError:  # the next round tells
            return
        if until == timedelta() or (until is None and end.wish.until_idle):
            return
        await stop.wait(max(min(left, until or PACE, PACE), _MOMENT))


# --- looking --------------------------------------------------------------------------------


class _Observer:
    """Looks at the queue, and shows what it saw."""

    def __init__(self, session: Session, database: Database, table: Table, title: str) -> None:
        self._report = session.report
        self._store = Store(database, table, tenant=session.settings.tenant)
        self._lookout = Lookout(database, table, tenant=session.settings.tenant)
        self._view = View(title)
        self._took = timedelta()
        self._greeted = False

    async def look(self) -> Upcoming:
        """Look once, and say what there is to do.

        Raises:
            DatabaseError: the database is away.
        """
        began = time.monotonic()
        try:
            async with self._store.reading() as cursor:  # one snapshot: the list is what is counted
                glance = await self._store.counted(cursor)
                flights = await self._lookout.flights(cursor)
            changes = await self._lookout.changes()
        except DatabaseError as error:
            self._view.trouble = f"{error.what}: {error.why}"
            raise
        finally:
            self._took = timedelta(seconds=time.monotonic() - began)
        first = self._view.glance is None
        self._view.see(glance, flights, changes)
        self._report.seen(glance if first else None, changes)
        return glance.upcoming

    def greet(self) -> None:
        """Say, once, that changes are told from now on, where no view says so."""
        if not self._greeted and not self._report.can_view:
            self._report.info(f"looking at the queue {self._view.title}")
        self._greeted = True

    def retitle(self, title: str) -> None:
        """Say something else above what is seen."""
        self._view.title = title

    def draw(self) -> None:
        """Draw what is known."""
        self._report.view(self._view)

    async def rest(self, stop: Stop, pause: timedelta) -> None:
        """Wait before the next look; the drawing goes on."""
        ends = time.monotonic() + max(pause, self._took * SHARE).total_seconds()
        self.draw()
        while not stop.is_set and (left := ends - time.monotonic()) > 0:
            await stop.wait(max(min(timedelta(seconds=left), REDRAWN), _MOMENT))
            self.draw()


async def _observe(
    session: Session, database: Database, table: Table, stop: Stop, end: _End
) -> None:
    pace = end.wish.pace or PACE
    observer = _Observer(session, database, table, f"every {setting(pace)}, Ctrl-C to leave")
    with session.report.viewing():
        while not stop.is_set and session.report.loss is None:
            upcoming: Upcoming | None = None
            try:
                upcoming = await observer.look()
                database.outage.over()
                observer.greet()
                if await end.is_idle(upcoming):
                    observer.draw()
                    return
            except DatabaseError as error:
                database.outage.tell(error)
            end.check_time(upcoming)
            await observer.rest(stop, end.within(pace))


@asynccontextmanager
async def _shown(
    session: Session, database: Database, table: Table, stop: Stop
) -> AsyncIterator[None]:
    """Show the queue meanwhile, where there is a terminal; on a connection of the view's own."""
    if not session.report.can_view:
        yield
        return
    title = f"working, at least every {setting(session.settings.interval)}; Ctrl-C to leave"
    with session.report.viewing():
        async with Database(database.url) as own:
            observer = _Observer(session, own, table, title)
            task = asyncio.create_task(_look_on(observer, stop))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])
            if stop.is_set:
                observer.retitle("stopped")
            await _last_look(observer)
    if not task.cancelled() and (bug := task.exception()):
        raise bug


async def _look_on(observer: _Observer, stop: Stop) -> None:
    """Look until cancelled: also at what is still in flight when it is to stop."""
    never = Stop()
    while True:
        with suppress(DatabaseError):  # the view says so
            await observer.look()
        await observer.rest(never if stop.is_set else stop, PACE)
        if stop.is_set:
            observer.retitle("stopping")


async def _last_look(observer: _Observer) -> None:
    """Leave a view that shows how it ended, unless that takes long."""
    with suppress(DatabaseError, TimeoutError):
        async with asyncio.timeout(LAST_LOOK.total_seconds()):
            await observer.look()
    observer.draw()
