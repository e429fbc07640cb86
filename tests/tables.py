"""Tables of every shape to test on, with our view of each and the superuser's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import psycopg
from conftest import Database as Place
from conftest import Way, fresh_database
from legacy import TENANT, Generation, install
from psycopg.rows import dict_row

from domainsched.database.connection import Database
from domainsched.database.queue import Claimed, Queue
from domainsched.database.schema import init
from domainsched.database.table import Table, TableName
from domainsched.dburl import DatabaseUrl
from domainsched.models import Claim

LEASE = timedelta(minutes=15)
PATIENCE = 30.0
"""Seconds; longer than any test waits when all is well."""
DUE = "now() - interval '1 minute'"
Row = dict[str, Any]


class Bench:
    """A table, our view of it, and the superuser's."""

    def __init__(
        self, place: Place, superuser: psycopg.Connection, database: Database, table: Table
    ) -> None:
        self.place, self.superuser = place, superuser
        self.database, self.table = database, table
        self.queue = Queue(database, table)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self.superuser.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    def add(self, *domains: str, **columns: str) -> None:
        """Insert rows that are due, in this order; `columns` are SQL expressions."""
        columns = {"status": "'pending'", "due_at": DUE, "tenant_id": f"'{TENANT}'"} | columns
        names, values = ", ".join(columns), ", ".join(columns.values())
        for domain in domains:
            self.execute(f"INSERT INTO domains (domain, {names}) VALUES (%s, {values})", domain)

    def rows(self) -> dict[str, Row]:
        cursor = self.superuser.cursor(row_factory=dict_row).execute("SELECT * FROM domains")
        return {row["domain"]: row for row in cursor.fetchall()}

    def row(self, domain: str = "a.test") -> Row:
        return self.rows()[domain]

    async def claim(self, limit: int = 10) -> Claimed:
        return await take(self.queue, limit)

    async def one(self) -> Claim:
        """Claim the only row that is due."""
        (only,) = (await self.claim()).claims
        return only

    async def claimed(self, domain: str = "a.test", **columns: str) -> Claim:
        """Add a row and claim it."""
        self.add(domain, **columns)
        return await self.one()


async def take(queue: Queue, limit: int = 10, token: UUID | None = None) -> Claimed:
    async with asyncio.timeout(PATIENCE):
        return await queue.claim(
            limit, token=token or uuid4(), worker="host:1:run", lease=LEASE, max_attempts=3
        )


def url(place: Place) -> DatabaseUrl:
    return DatabaseUrl(place.keywords)


@asynccontextmanager
async def benched(place: Place) -> AsyncIterator[Bench]:
    """A bench on what is in the database, or else on a new table."""
    with place.connect() as superuser:
        async with Database(url(place)) as database:
            table = await init(database, TableName("domains"), LEASE)
            yield Bench(place, superuser, database, table)


@asynccontextmanager
async def emptied(place: Place) -> AsyncIterator[Bench]:
    """A bench on an empty table."""
    async with benched(place) as bench:
        bench.execute("DELETE FROM domains")
        yield bench


# --- shapes -----------------------------------------------------------------------------------

SHAPES: Mapping[str, tuple[Generation | None, str]] = {
    "ours": (None, ""),
    "march": (Generation.MARCH_2025, ""),
    "may": (Generation.MAY_2025, ""),
    "november": (Generation.NOVEMBER_2025, ""),
    "enum": (
        Generation.NOVEMBER_2025,
        """
        ALTER TABLE domains ALTER status DROP DEFAULT;
        ALTER TABLE domains ALTER status TYPE domain_status USING 'pending'
        """,
    ),
    "varchar": (
        Generation.NOVEMBER_2025,
        "ALTER TABLE domains ALTER status TYPE varchar(10), ALTER domain TYPE varchar(90)",
    ),
    "char": (Generation.NOVEMBER_2025, "ALTER TABLE domains ALTER status TYPE char(12)"),
    "integer": (
        Generation.NOVEMBER_2025,
        "ALTER TABLE domains DROP id CASCADE; ALTER TABLE domains ADD id serial PRIMARY KEY",
    ),
}
"""Each generation, and columns of other types that mean the same."""

Maker = Callable[[str], Place]


def install_old(place: Place, generation: Generation, statement: str = "") -> None:
    with place.connect() as connection:
        install(connection, generation)
        connection.execute(statement)


@contextmanager
def made_once(server: Mapping[str, str], way: Way = nullcontext) -> Iterator[Maker]:
    """A database for each shape: not for tests that change more than rows."""
    with ExitStack() as stack:

        @cache
        def make(shape: str) -> Place:
            place = stack.enter_context(fresh_database(server, way))
            generation, statement = SHAPES[shape]
            if generation is not None:
                install_old(place, generation, statement)
            return place

        yield make


# --- others -----------------------------------------------------------------------------------


@contextmanager
def stranger(place: Place, statement: str, *values: object) -> Iterator[None]:
    """Somebody else's transaction, which stays open."""
    with place.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(statement, values or None)
        yield


ACTIVITY = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"


def until(superuser: psycopg.Connection, condition: str) -> None:
    """Return when the server is busy with what `condition` says."""
    end = time.monotonic() + PATIENCE
    while not superuser.execute(f"{ACTIVITY} AND {condition}").fetchall():
        assert time.monotonic() < end, f"it never came to: {condition}"
        time.sleep(0.01)
