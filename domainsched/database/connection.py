"""One pooler-safe connection: opened when needed, opened again when lost, bounded in every wait.

Whether a transaction pooler stands in between cannot be known from here, so the rules hold always:
no prepared statements, no session state, no `options`, short transactions, settings by `SET LOCAL`
inside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache, partial
from typing import Any, LiteralString, Self, TypeVar
from uuid import UUID

import psycopg
from psycopg import conninfo, sql
from psycopg import errors as pg_errors
from psycopg.abc import Buffer
from psycopg.rows import TupleRow
from psycopg.types.string import TextLoader

from domainsched.database.moments import read_any_time
from domainsched.dburl import DatabaseUrl, redact
from domainsched.errors import DatabaseError, Refused
from domainsched.retry import Outage, repeated

T = TypeVar("T")
Cursor = psycopg.AsyncCursor[TupleRow]
Query = LiteralString | sql.SQL | sql.Composed

STATEMENT_TIMEOUT = timedelta(seconds=15)
LOCK_TIMEOUT = timedelta(seconds=3)
IDLE_TIMEOUT = timedelta(seconds=15)
"""A client that is cut off inside a transaction keeps its row locks until the server notices:
before we do, so that what we had locked is free when we are back."""
GRACE = timedelta(seconds=5)
"""How much longer than the server's own limit we wait before the socket is cut from this side."""
PATIENCE = timedelta(seconds=30)
"""For how long a lost database is asked again before a run gives up."""
BUILD_TIMEOUT = timedelta(hours=1)
"""For building an index: the server is left to finish it when we no longer wait."""

_READ_WRITE = "READ COMMITTED"
_READ_ONLY = "REPEATABLE READ READ ONLY"

# SQLSTATEs after which the same operation may succeed: connection exceptions, the server going
# down or coming up or being in want of anything (disk, memory, places) or in trouble with its
# system, a standby after a failover, a pooler's mixed-up statement names, conflicts with others.
_PASSING = re.compile(
    r"08...|57P0[1-5]|53...|58...|25006|25P0[34]|26000|42P05|40001|40P01|55P03|57014"
)


# ProgramLimitExceeded: a value too large for an index that the table's owner made.
_REFUSALS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    pg_errors.ProgramLimitExceeded,
    pg_errors.StatementTooComplex,
)
AGAIN = "run the command again; claims that were cut off expire by themselves"
"""A hint that says of claims already what is to be said of them."""
_EXPLANATIONS = {
    "25006": ("the database is read-only", "is it a standby? point DATABASE_URL at the primary"),
    "3F000": ("the table's schema does not exist", "create it, or correct DOMAINSCHED_TABLE"),
    "40P01": ("another program locked the same rows in another order", "run it again"),
    "42501": (
        "the database refuses for want of a right",
        "the table's owner can grant it; `add` may need USAGE on the sequence of its id, too",
    ),
    "53100": ("the database server's disk is full", "free space there; then run it again"),
    "53200": ("the database server is out of memory", "run it again when others have ended"),
    "53300": ("the database has no connection to spare", "run it again when others have ended"),
    "55P03": ("somebody else holds a lock on the table", "run it again when they have ended"),
    "57014": ("a statement took too long", "is the database overloaded? run it again later"),
    "57P01": ("the database server is shutting down", AGAIN),
    "57P03": ("the database server is starting up", AGAIN),
}


class _Connection(psycopg.AsyncConnection[TupleRow]):
    """A connection that is given up at once when its wait is cancelled."""

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - psycopg's
        """Cut the connection; psycopg would ask the server to cancel, and wait twice 5 s."""
        del timeout
        _cut(self)


class _Unpadded(TextLoader):
    """Reads a char(n) without the blanks that fill it up; to PostgreSQL they mean nothing."""

    def load(self, data: Buffer) -> bytes | str:
        return super().load(bytes(data).rstrip(b" "))


class Database:
    """The connection of one process, as an async context manager."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url
        self._connection: psycopg.AsyncConnection[TupleRow] | None = None
        self._turn = asyncio.Lock()
        self.outage = Outage()

    async def __aenter__(self) -> Self:
        await self.run(self._connected)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; nothing is waited for."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @contextlib.asynccontextmanager
    async def transaction(
        self,
        *,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        bound: timedelta | None = None,
        read_only: bool = False,
        settings: str = "",
    ) -> AsyncIterator[Cursor]:
        """Open a short transaction; it is committed on a clean exit and rolled back on an error.

        `statement_timeout` is the server's limit for one statement; `bound` is ours for the
        transaction: then the socket is cut, which ends any wait, also on a connection that is half
        open. A `read_only` transaction sees one snapshot. `settings` are SET LOCALs of its own.
        Raises psycopg's errors: wrap the whole in `run`, which turns them into ours.
        """
        async with self._turn:
            connection = await self._connected()
            level = _READ_ONLY if read_only else _READ_WRITE
            begin = self._begin(level, statement_timeout, lock_timeout, settings)
            with _watchdog(connection, bound or statement_timeout + GRACE):
                async with _transaction(connection, begin) as cursor:
                    yield cursor

    async def at_once(
        self,
        statement: bytes,
        values: Mapping[str, Any],
        *,
        settings: str = "",
        after: UUID | None = None,
    ) -> list[TupleRow]:
        """Execute one statement in a transaction of its own, and return its rows.

        All goes in one message, its values written into it, for each message is a round trip. When
        the connection is lost meanwhile, it may be committed, or yet be: with the same `after`,
        what is sent next begins only when that has ended, if it had begun. What a proxy holds back
        and lets through later is a claim of nobody's, which its lease ends. Raises psycopg's
        errors, as above.
        """
        begin = self._begin(_READ_WRITE, STATEMENT_TIMEOUT, LOCK_TIMEOUT, settings)
        message = b";".join((begin, b"" if after is None else _behind(after), statement, b"COMMIT"))
        async with self._turn:
            connection = await self._connected()
            with _watchdog(connection, STATEMENT_TIMEOUT + GRACE):
                return await _at_once(connection, message, values)

    async def outside_transaction(self, statement: Query) -> None:
        """Execute one statement that may not stand in a transaction (CREATE INDEX CONCURRENTLY)."""
        async with self._turn:
            connection = await self._connected()
            with _watchdog(connection, BUILD_TIMEOUT):
                await connection.execute(statement)

    async def run(
        self, operation: Callable[[], Awaitable[T]], *, patience: timedelta | None = None
    ) -> T:
        """Await `operation`, again for up to `patience` (default: once) while the database is away.

        That it stays away is told.

        Raises:
            DatabaseError: what PostgreSQL or the network said, without secrets.
        """
        try:
            if patience is None:
                return await operation()
            return await repeated(
                partial(self._where_writable, operation),
                self.is_passing,
                patience,
                tell=lambda error: self.outage.tell(self.explain(error), patience),
                over=self.outage.over,
            )
        except psycopg.Error as error:
            raise self.explain(error) from error

    async def _where_writable(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Await `operation`; leave a read-only server: the next try may find the new primary."""
        try:
            return await operation()
        except pg_errors.ReadOnlySqlTransaction:
            async with self._turn:
                await self.close()
            raise

    def is_passing(self, error: BaseException) -> bool:
        """Say whether the same operation may succeed later on a new connection."""
        if isinstance(error, psycopg.Error) and error.sqlstate is not None:
            return _PASSING.fullmatch(error.sqlstate) is not None
        return isinstance(error, psycopg.OperationalError) and not _is_hopeless(str(error))

    def explain(self, error: psycopg.Error) -> DatabaseError:
        """Put a driver's error into words, with what to do next."""
        why = self.redact(_first_line(error))
        if self._connection is None and isinstance(error, psycopg.OperationalError):
            reason = _short_reason(why)
            what = f"cannot connect to PostgreSQL at {self.url.safe}"
            return DatabaseError(what, why=reason, hint=_connect_hint(reason))
        if error.sqlstate is None and not isinstance(error, _REFUSALS):
            what = f"lost the connection to PostgreSQL at {self.url.safe}"
            return DatabaseError(what, why=why, hint=AGAIN)
        state = error.sqlstate or "none"
        why = f"{why} (SQLSTATE {state})"
        if isinstance(error, _REFUSALS) and not (state in _EXPLANATIONS or self.is_passing(error)):
            return Refused("PostgreSQL refused a statement", why=why)
        what, hint = _EXPLANATIONS.get(state, ("PostgreSQL could not go on", AGAIN))
        return DatabaseError(what, why=why, hint=hint)

    def redact(self, text: str) -> str:
        """Take this connection's secrets out of `text`."""
        return redact(text, self.url.secrets)

    async def _connected(self) -> psycopg.AsyncConnection[TupleRow]:
        if self._connection is None or self._connection.closed:
            self._connection = None
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> psycopg.AsyncConnection[TupleRow]:
        # How times are written, whatever a role or database is set to. As a parameter of the
        # start, which libpq takes from here alone, poolers keep it, too.
        os.environ["PGDATESTYLE"] = "ISO"
        try:
            connection = await _Connection.connect(
                conninfo.make_conninfo("", **self.url.keywords),
                autocommit=True,
                prepare_threshold=None,
            )
        except UnicodeError:  # Python's resolver, before it asks: db..example.com
            reason = "failed to resolve host: a part between its dots is empty or too long"
            raise psycopg.OperationalError(reason) from None
        read_any_time(connection)
        connection.adapters.register_loader("bpchar", _Unpadded)
        return connection

    def _begin(self, level: str, statement: timedelta, lock: timedelta, further: str) -> bytes:
        wanted = self.url.settings
        limits = {
            "statement_timeout": _milliseconds(statement),
            "lock_timeout": _milliseconds(lock),
            "idle_in_transaction_session_timeout": _milliseconds(IDLE_TIMEOUT),
        }
        statement_limit, lock_limit, idle_limit = (
            wanted.get(name, limits[name]) for name in limits
        )
        return _beginning(level, (statement_limit, lock_limit, idle_limit), further)


@cache
def _beginning(level: str, limits: tuple[str, str, str], further: str) -> bytes:
    """Put into one message what begins a transaction: each of its own costs a round trip.

    Supavisor resets nothing: another client's search path, left in the session, would hide our
    table or show us another (DEFAULT is as the role and the database have it), and its isolation
    would fail statements.
    """
    statement, lock, idle = (sql.Literal(limit).as_string() for limit in limits)
    return (
        f"BEGIN ISOLATION LEVEL {level}; SET LOCAL search_path TO DEFAULT;"
        f" SET LOCAL statement_timeout TO {statement}; SET LOCAL lock_timeout TO {lock};"
        f" SET LOCAL idle_in_transaction_session_timeout TO {idle}; {further}"
    ).encode()


@contextlib.asynccontextmanager
async def _transaction(
    connection: psycopg.AsyncConnection[TupleRow], begin: bytes
) -> AsyncIterator[Cursor]:
    """Commit on a clean exit; on any other, roll back, if there is still somebody to tell.

    psycopg.Rollback, raised inside, does that and nothing else.
    """
    async with connection.cursor() as cursor:
        try:
            await cursor.execute(begin)
            yield cursor
        except BaseException as error:
            with contextlib.suppress(psycopg.Error):
                await connection.rollback()
            if not isinstance(error, psycopg.Rollback):
                raise
        else:
            await connection.commit()


async def _at_once(
    connection: psycopg.AsyncConnection[TupleRow], message: bytes, values: Mapping[str, Any]
) -> list[TupleRow]:
    """Send what ends in a COMMIT; after an error that is not reached."""
    async with psycopg.AsyncClientCursor(connection) as cursor:
        try:
            await cursor.execute(message, values)
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                await connection.rollback()
            raise
        await cursor.set_result(-2)
        return await cursor.fetchall()


def _behind(key: UUID) -> bytes:
    """Wait for the transactions that share a key; this one has it until it ends."""
    return b"SELECT pg_advisory_xact_lock(%d)" % int.from_bytes(key.bytes[8:], signed=True)


@contextlib.contextmanager
def _watchdog(connection: psycopg.AsyncConnection[TupleRow], bound: timedelta) -> Iterator[None]:
    """Cut the connection after `bound`.

    A socket that is shut down ends every wait at once, with an error of the connection's.
    """
    timer = asyncio.get_running_loop().call_later(bound.total_seconds(), _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


_AT_ONCE = struct.pack("ii", 1, 0)


def _cut(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """End every wait; when it is closed, forget what is unsent.

    The system would try on to send it, and a claim that comes when it has been made once more takes
    rows that nobody visits.
    """
    if connection.closed:
        return
    with contextlib.suppress(OSError), socket.socket(fileno=connection.fileno()) as raw:
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            raw.shutdown(socket.SHUT_RDWR)
        finally:
            raw.detach()  # the descriptor belongs to libpq


def _milliseconds(duration: timedelta) -> str:
    return str(round(duration.total_seconds() * 1000))


# Not "pg_hba.conf rejects": so a primary is fenced off before a failover.
_NO_TLS = "does not support SSL"
_HOPELESS = ("authentication failed", "does not exist", "no password supplied", _NO_TLS)


def _is_hopeless(text: str) -> bool:
    """Tell a refusal that no waiting mends; a failed connect has no SQLSTATE, only its text."""
    return any(word in text for word in _HOPELESS)


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")


def _short_reason(text: str) -> str:
    """Cut libpq's preamble: 'connection to server at "h", port 5432 failed: FATAL:  ...'."""
    reason = re.split(r"failed: |FATAL: +|fe_sendauth: ", text)[-1].strip()
    return reason[:1].lower() + reason[1:] if reason else text


def _connect_hint(reason: str) -> str:
    if "authentication failed" in reason or "no password supplied" in reason:
        return "check the user and password in DATABASE_URL, or in ~/.pgpass"
    if "does not exist" in reason:
        return "check the database and user names in DATABASE_URL"
    if "translate host name" in reason or "resolve host" in reason:
        return "check the host name in DATABASE_URL"
    if _NO_TLS in reason:
        return "it has no TLS, which sslmode in DATABASE_URL, or PGSSLMODE, asks for"
    if "too many" in reason:
        return "run it again when others have ended"
    return "is the server up and reachable from here?  pg_isready tells"
