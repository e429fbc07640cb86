"""A world for the real program: sites, a database with a table of domains, and fixtures of both."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL, Signals
from threading import Barrier, Event
from typing import Any

import psycopg
import pytest
from conftest import Database, reachable_directory
from programs import PATIENCE, Ended, Program, Surroundings, has_ended, rows, to_sites
from sites import Behaviour, Exchange, Sites, page, running_sites

from domainsched import dburl
from domainsched.database.connection import Database as Client
from domainsched.database.schema import init
from domainsched.database.table import TableName
from domainsched.embedded import EmbeddedServer


class World:
    """Sites, a database with a table of domains, and programs that know of both."""

    def __init__(self, sites: Sites, database: Database, directory: Path) -> None:
        self.sites, self.database, self._directory = sites, database, directory
        with database.connect() as connection:
            make_table(database, connection)

    def add(self, *names: str, behaviour: Behaviour | None = None) -> None:
        """Serve these names, and put them into the queue."""
        self.sites.add(*names, behaviour=behaviour)
        self.execute("INSERT INTO domains (domain) SELECT unnest(%s::text[])", list(names))

    def execute(self, statement: str, *parameters: object) -> None:
        with self.database.connect() as connection:
            connection.execute(statement, parameters)

    def rows(self) -> dict[str, dict[str, Any]]:
        return rows(self.database)

    def column(self, name: str) -> dict[str, Any]:
        return {domain: row[name] for domain, row in self.rows().items()}

    def domainsched(self, **variables: str) -> Surroundings:
        own = {"DATABASE_URL": self.database.url, "DOMAINSCHED_PROCESSES": "1"}
        return Surroundings(self._directory, to_sites(self.sites) | own | variables)

    @contextmanager
    def start(self, *arguments: str, **variables: str) -> Iterator[Program]:
        with self.domainsched(**variables).start(*arguments) as program:
            yield program

    def run(self, *arguments: str, **variables: str) -> Ended:
        return self.domainsched(**variables).run(*arguments)

    def visits(self) -> Counter[str]:
        """How often each home page was asked for."""
        return Counter(each.host for each in self.sites.received if each.path == "/")

    def let_leases_run_out(self) -> None:
        self.execute(
            "SELECT pg_sleep(extract(epoch FROM max(due_at) - clock_timestamp()))"
            " FROM domains WHERE status = 'processing'"
        )


def make_table(database: Database, connection: psycopg.Connection) -> None:
    async def make() -> None:
        async with Client(dburl.parse(database.url)) as client:
            await init(client, TableName.parse("domains"), timedelta(minutes=15))

    asyncio.run(make())
    assert connection.execute("SELECT count(*) FROM domains").fetchone() == (0,)


def cut_off(world: World) -> None:
    """End every connection to the database but this one."""
    world.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


# --- behaviours of sites ----------------------------------------------------------------------


def behind(gate: Event, behaviour: Behaviour | None = None) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        gate.wait(PATIENCE)
        (behaviour or page())(exchange)

    return behave


def names(number: int, prefix: str = "n") -> list[str]:
    return [f"{prefix}{index:02}.test" for index in range(number)]


def meeting(parties: int) -> Behaviour:
    """Keep the first visitors waiting until there are so many: they all run at the same time."""
    barrier, served = Barrier(parties), iter(range(parties))

    def behave(exchange: Exchange) -> None:
        if next(served, None) is not None:
            barrier.wait(PATIENCE)
        page()(exchange)

    return behave


def meeting_of(workers: int) -> Behaviour:
    """Keep all visitors waiting until there is one of each worker.

    They are told apart by their User-Agent and not counted: one whose sites are silent visits more.
    """
    seen, complete = set[str](), Event()

    def behave(exchange: Exchange) -> None:
        seen.add(exchange.received.headers["user-agent"])
        if len(seen) == workers:
            complete.set()
        complete.wait(PATIENCE)
        page()(exchange)

    return behave


def run_together(world: World, number: int, *arguments: str) -> list[Ended]:
    """Run so many, each with a User-Agent of its own."""
    patient = {"DOMAINSCHED_TIMEOUT": "2m"}  # the first may wait for the last to start
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                world.start(*arguments, DOMAINSCHED_USER_AGENT=f"w{index}", **patient)
            )
            for index in range(number)
        ]
        return [program.end(4 * PATIENCE) for program in started]


# --- a server of one's own --------------------------------------------------------------------


@dataclass(frozen=True)
class PrivateServer:
    """A PostgreSQL of one test's own, to be ended and started again."""

    home: Path

    @contextmanager
    def running(self) -> Iterator[Database]:
        with EmbeddedServer.at(self.home, os.environ, settings={"fsync": "off"}) as server:
            yield Database(server.connection_keywords)

    def end(self, number: Signals = SIGKILL) -> None:
        """End the server by a signal; without one, as the kernel does when memory runs out."""
        pid = int((self.home / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, number)
        assert has_ended(pid)


@pytest.fixture
def private_server() -> Iterator[PrivateServer]:
    with reachable_directory() as directory:
        yield PrivateServer(directory / "home")


# --- fixtures ---------------------------------------------------------------------------------


@pytest.fixture
def sites() -> Iterator[Sites]:
    with running_sites() as running:
        yield running


@pytest.fixture
def world(sites: Sites, database: Database, tmp_path: Path) -> World:
    return World(sites, database, tmp_path)


@pytest.fixture
def gate() -> Iterator[Event]:
    """Sites behind it answer when it is set."""
    event = Event()
    yield event
    event.set()
