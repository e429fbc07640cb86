"""The one connection: what it survives, how long it waits, what it says and never says."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from conftest import Database as Place
from conftest import reachable_directory
from proxy import Link, Proxy, proxied
from psycopg.sql import SQL, Identifier
from tables import stranger, until, url

from domainsched import dburl
from domainsched.database import connection
from domainsched.database.connection import Database
from domainsched.dburl import DatabaseUrl
from domainsched.embedded import EmbeddedServer
from domainsched.errors import DatabaseError, Refused

pytestmark = pytest.mark.direct("it cuts, blocks and watches its own sessions")

PASSWORD = "correct horse/battery?staple"
PATIENCE = timedelta(seconds=30)
"""Longer than any test waits when all is well."""
SOON = timedelta(seconds=0.3)
SHORT = timedelta(seconds=8)
"""Shorter than what would be waited for otherwise: the driver's own waits last 10 s and more."""


@pytest.fixture
async def ours(database: Place) -> AsyncIterator[Database]:
    async with Database(url(database)) as ours:
        yield ours


async def ask(ours: Database, query: str = "SELECT 1", **limits: timedelta) -> object:
    async with ours.transaction(**limits) as cursor:  # type: ignore[arg-type] # durations only
        await cursor.execute(query)
        return (await cursor.fetchone() or [None])[0]


async def error_of(
    ours: Database,
    query: str = "SELECT 1",
    *,
    patience: timedelta | None = None,
    **limits: timedelta,
) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        await ours.run(lambda: ask(ours, query, **limits), patience=patience)
    return caught.value


@contextmanager
def within(limit: timedelta) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < limit.total_seconds()


def end_sessions(place: Place, but: psycopg.Connection | None = None) -> None:
    """What an administrator or a failover does to whoever is connected."""
    spared = [but.info.backend_pid] if but else []
    with place.connect() as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> ALL(%s::int[] || pg_backend_pid())",
            [spared],
        )


# --- a connection that is lost ----------------------------------------------------------------


async def test_a_connection_that_was_ended_is_opened_again(database: Place, ours: Database) -> None:
    first = await ask(ours, "SELECT pg_backend_pid()")
    end_sessions(database)
    second = await ours.run(lambda: ask(ours, "SELECT pg_backend_pid()"), patience=PATIENCE)
    assert first != second


async def test_without_patience_a_lost_connection_is_an_error_in_words(
    database: Place, ours: Database
) -> None:
    end_sessions(database)
    error = await error_of(ours)
    assert error.what in {
        "the database server is shutting down",
        f"lost the connection to PostgreSQL at {ours.url.safe}",
    }
    assert error.hint.startswith("run the command again")
    assert await ask(ours) == 1, "the next operation connects again"


async def test_a_transaction_that_is_cut_off_is_rolled_back(
    database: Place, ours: Database
) -> None:
    with database.connect() as superuser:
        superuser.execute("CREATE TABLE t (i int)")

        async def operation() -> None:
            async with ours.transaction() as cursor:
                await cursor.execute("INSERT INTO t VALUES (1)")
                end_sessions(database, but=superuser)
                await cursor.execute("INSERT INTO t VALUES (2)")

        with pytest.raises(DatabaseError):
            await ours.run(operation)
        await ours.run(lambda: ask(ours, "INSERT INTO t VALUES (3) RETURNING 1"))
        assert superuser.execute("SELECT i FROM t").fetchall() == [(3,)]


@dataclass
class Private:
    """A server of the test's own, which may go away."""

    stack: ExitStack
    keywords: dict[str, str]

    def stop(self) -> None:
        self.stack.close()


@contextmanager
def private_server() -> Iterator[Private]:
    with reachable_directory() as home, ExitStack() as stack:
        settings = {"fsync": "off", "autovacuum": "off"}
        server = EmbeddedServer.at(home, os.environ, settings=settings)
        private = Private(stack, stack.enter_context(server).connection_keywords)
        yield private


async def test_a_server_that_stops_is_waited_for_and_then_given_up() -> None:
    with private_server() as server:
        async with Database(DatabaseUrl(server.keywords)) as ours:
            await asyncio.to_thread(server.stop)
            with within(timedelta(seconds=10)):
                error = await error_of(ours, patience=SOON)
    assert error.what == f"cannot connect to PostgreSQL at {ours.url.safe}"
    assert error.hint == "is the server up and reachable from here?  pg_isready tells"


async def test_a_server_that_comes_back_is_used_again() -> None:
    with reachable_directory() as home, ExitStack() as stack:

        def start() -> DatabaseUrl:
            server = stack.enter_context(EmbeddedServer.at(home, os.environ))
            return DatabaseUrl(server.connection_keywords)

        async with Database(await asyncio.to_thread(start)) as ours:
            await asyncio.to_thread(stack.close)
            operation = asyncio.create_task(ours.run(lambda: ask(ours), patience=PATIENCE))
            await asyncio.to_thread(start)
            assert await operation == 1


# --- waits have an end ------------------------------------------------------------------------


@asynccontextmanager
async def half_open(place: Place) -> AsyncIterator[tuple[Proxy, Database]]:
    """A connection over a network that swallows everything and closes nothing."""
    async with proxied(place.keywords) as proxy, Database(proxy.url) as ours:
        await ask(ours)
        proxy.silent = True
        yield proxy, ours


async def test_on_a_half_open_connection_a_transaction_ends_within_its_bound(
    database: Place,
) -> None:
    async with half_open(database) as (_, ours):
        with within(SHORT):
            error = await error_of(ours, bound=SOON)
        assert error.what == f"lost the connection to PostgreSQL at {ours.url.safe}"


async def test_without_a_bound_of_its_own_it_ends_soon_after_the_server_s(
    database: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GRACE", SOON)
    async with half_open(database) as (_, ours):
        with within(SHORT):
            error = await error_of(ours, statement_timeout=SOON)
        assert error.what.startswith("lost the connection")


async def test_a_half_open_network_is_given_up_when_patience_ends(database: Place) -> None:
    async with half_open(database) as (proxy, ours):
        impatient = DatabaseUrl({**proxy.url.keywords, "connect_timeout": "2"})
        async with asyncio.timeout(10):
            other = Database(impatient)
            error = await error_of(other, patience=SOON)
        assert error.what.startswith("cannot connect")
        assert "timeout" in error.why
        with within(SHORT):
            await ours.close()


async def test_a_connection_recovers_when_the_network_does(database: Place) -> None:
    async with half_open(database) as (proxy, ours):

        async def operation() -> object:
            try:
                return await ask(ours, bound=SOON)
            finally:
                proxy.silent = False

        assert await ours.run(operation, patience=PATIENCE) == 1


async def test_what_stands_outside_a_transaction_has_an_end_too(
    database: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUILD_TIMEOUT", SOON)
    async with half_open(database) as (_, ours):
        with (
            within(SHORT),
            pytest.raises(DatabaseError, match="lost the connection"),
        ):
            await ours.run(lambda: ours.outside_transaction("SELECT 1"))


async def test_a_commit_whose_answer_does_not_come_has_an_end(database: Place) -> None:
    async with proxied(database.keywords) as proxy, Database(proxy.url) as ours:

        async def swallow(statement: str, _: Link) -> None:
            proxy.silent = statement == "COMMIT"

        proxy.on_statement = swallow
        with within(SHORT):
            error = await error_of(ours, bound=SOON)
        assert error.what.startswith("lost the connection")


async def test_cancelling_leaves_the_connection_to_others(database: Place, ours: Database) -> None:
    waiting = asyncio.create_task(ask(ours, "SELECT pg_sleep(60)"))
    with database.connect() as superuser:
        await asyncio.to_thread(until, superuser, "wait_event = 'PgSleep'")
    waiting.cancel()
    with within(timedelta(seconds=10)):
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await ask(ours) == 1


async def greeted(listener: socket.socket) -> socket.socket:
    """Let a client in as PostgreSQL does, and then hear no more of it."""
    loop = asyncio.get_running_loop()
    session, _ = await loop.sock_accept(listener)
    await loop.sock_recv(session, 1000)
    await loop.sock_sendall(session, b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
    return session


async def test_what_is_unsent_when_a_wait_is_given_up_never_comes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)  # noqa: FBT003 - the socket's own method
        place = {"host": "127.0.0.1", "port": str(listener.getsockname()[1])}
        plain = {"user": "u", "dbname": "d", "sslmode": "disable", "gssencmode": "disable"}
        ours = Database(DatabaseUrl({**place, **plain}))
        text = {"text": "x" * 30_000_000}
        sent = asyncio.create_task(ours.at_once(b"SELECT %(text)s", text))
        with await greeted(listener) as session:
            assert await asyncio.get_running_loop().sock_recv(session, 1) == b"Q"
            sent.cancel()
            await asyncio.wait([sent])
            await ours.close()
            with pytest.raises(ConnectionResetError):
                await to_the_end(session)


async def to_the_end(session: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(session, 1 << 20):
        pass


async def test_closing_leaves_no_session_behind(database: Place) -> None:
    async with Database(url(database)) as ours:
        await ask(ours)
    with database.connect() as superuser:
        alone = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        here = f"{alone} AND datname = current_database() AND backend_type = 'client backend'"
        until(superuser, f"NOT EXISTS ({here})")


# --- the server's own limits ------------------------------------------------------------------


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(ours: Database) -> None:
    error = await error_of(ours, "SELECT pg_sleep(60)", statement_timeout=SOON)
    assert error.what == "a statement took too long"
    assert "57014" in error.why
    assert await ask(ours) == 1


async def test_a_lock_that_stays_is_not_waited_for_longer_than_said(
    database: Place, ours: Database
) -> None:
    with database.connect() as superuser:
        superuser.execute("CREATE TABLE t (i int)")
    with stranger(database, "LOCK TABLE t"):
        error = await error_of(ours, "SELECT count(*) FROM t", lock_timeout=SOON)
    assert (error.what, "55P03" in error.why) == ("somebody else holds a lock on the table", True)


async def test_the_url_s_own_limits_come_first(database: Place) -> None:
    wanted = {
        "statement_timeout": "61s",
        "lock_timeout": "62s",
        "idle_in_transaction_session_timeout": "63s",
    }
    async with Database(DatabaseUrl(database.keywords, settings=wanted)) as ours:
        found = {name: await ask(ours, f"SHOW {name}") for name in wanted}
        assert found == wanted


async def test_limits_end_with_their_transaction(ours: Database) -> None:
    assert await ask(ours, "SHOW statement_timeout", statement_timeout=PATIENCE) == "30s"
    assert await ask(ours, "SHOW statement_timeout") == "15s"


async def test_a_read_only_transaction_refuses_writes_and_sees_one_moment(
    database: Place, ours: Database
) -> None:
    with database.connect() as superuser:
        superuser.execute("CREATE TABLE t (i int)")
        async with ours.transaction(read_only=True) as cursor:
            counts = []
            for _ in range(2):
                await cursor.execute("SELECT count(*) FROM t")
                counts.append(await cursor.fetchone())
                superuser.execute("INSERT INTO t VALUES (1)")
            assert counts == [(0,), (0,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with ours.transaction(read_only=True) as cursor:
                await cursor.execute("INSERT INTO t VALUES (1)")
        assert await ask(ours, "INSERT INTO t VALUES (1) RETURNING 1") == 1
        assert await ask(ours, "SHOW transaction_isolation") == "read committed"


async def test_times_are_read_however_the_database_is_set_to_write_them(database: Place) -> None:
    with database.connect() as connection:
        connection.execute(
            SQL("ALTER DATABASE {} SET datestyle = 'German, DMY'").format(
                Identifier(connection.info.dbname)
            )
        )
    async with Database(dburl.parse(database.url)) as late:
        assert await ask(late, "SELECT timestamptz '2026-11-22 12:00Z'") == datetime(
            2026, 11, 22, 12, tzinfo=UTC
        )


async def test_transactions_take_turns_on_the_one_connection(ours: Database) -> None:
    pids = await asyncio.gather(
        *(ask(ours, "SELECT pg_backend_pid() FROM pg_sleep(0.01)") for _ in range(5))
    )
    assert len(set(pids)) == 1


async def test_an_error_inside_rolls_back_and_the_connection_serves_on(
    database: Place, ours: Database
) -> None:
    with database.connect() as superuser:
        superuser.execute("CREATE TABLE t (i int)")
    error = await error_of(ours, "INSERT INTO t SELECT 1 / (i - 1) FROM generate_series(0, 1) i")
    assert isinstance(error, Refused)
    assert error.why == "division by zero (SQLSTATE 22012)"
    assert await ask(ours, "SELECT count(*) FROM t") == 0


# --- words ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[DatabaseUrl]:
    """A server that asks for passwords; the superuser's is PASSWORD."""
    with reachable_directory() as home, EmbeddedServer.at(home, os.environ) as server:
        keywords = server.connection_keywords
        with psycopg.connect(**keywords, autocommit=True) as superuser:  # type: ignore[arg-type] # are strings
            user = keywords["user"]
            superuser.execute(f"ALTER ROLE {user} PASSWORD '{PASSWORD}'")
            superuser.execute("CREATE ROLE one LOGIN CONNECTION LIMIT 0 PASSWORD 'one password'")
            superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'known'")
            (server.home / "data" / "pg_hba.conf").write_text(
                "local all stranger reject\nlocal all all scram-sha-256\n"
            )
            superuser.execute("SELECT pg_reload_conf()")
        yield DatabaseUrl({**keywords, "password": PASSWORD})


async def failure(keywords: dict[str, str], **change: str) -> DatabaseError:
    ours = Database(DatabaseUrl({**keywords, **change}))
    with pytest.raises(DatabaseError) as caught:
        async with ours:
            pass
    return caught.value


REFUSALS = {
    "wrong password": (
        {"password": "wrong"},
        "password authentication failed for user",
        "check the user and password in DATABASE_URL, or in ~/.pgpass",
    ),
    "no password": (
        {"password": ""},
        "no password supplied",
        "check the user and password in DATABASE_URL, or in ~/.pgpass",
    ),
    "no such user": (
        {"user": "nobody_here"},
        'password authentication failed for user "nobody_here"',
        "check the user and password in DATABASE_URL, or in ~/.pgpass",
    ),
    "no such database": (
        {"dbname": "nowhere"},
        'database "nowhere" does not exist',
        "check the database and user names in DATABASE_URL",
    ),
    "no place": (
        {"user": "one", "password": "one password"},
        'too many connections for role "one"',
        "run it again when others have ended",
    ),
    "not let in": (
        {"user": "stranger", "password": "known"},
        "pg_hba.conf rejects connection",
        "is the server up and reachable from here?  pg_isready tells",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refused_connection_is_explained(guarded: DatabaseUrl, refusal: str) -> None:
    change, why, hint = REFUSALS[refusal]
    error = await failure(dict(guarded.keywords), **change)
    assert error.what.startswith("cannot connect to PostgreSQL at ")
    assert (why in error.why, error.hint) == (True, hint)
    assert "\n" not in error.why
    assert "fe_sendauth" not in error.why
    for secret in (PASSWORD, "wrong", "one password", "known"):
        assert secret not in f"{error.what} {error.why}"


@pytest.mark.parametrize("refusal", ["wrong password", "no password", "no such database"])
async def test_what_no_waiting_mends_is_not_waited_for(guarded: DatabaseUrl, refusal: str) -> None:
    ours = Database(DatabaseUrl({**guarded.keywords, **REFUSALS[refusal][0]}))
    with within(SHORT):
        await error_of(ours, patience=PATIENCE)


async def test_a_server_without_tls_is_not_waited_for_to_have_it() -> None:
    async def decline(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer as a PostgreSQL without TLS does (manual, "SSL Session Encryption")."""
        with suppress(ConnectionError):
            while await reader.read(8):
                writer.write(b"N")
        writer.close()
        declined.set()

    declined = asyncio.Event()
    async with await asyncio.start_server(decline, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        keywords = {"host": "127.0.0.1", "port": port, "user": "app", "dbname": "sites"}
        ours = Database(DatabaseUrl({**keywords, "sslmode": "require"}))
        with within(SHORT):
            error = await error_of(ours, patience=PATIENCE)
        await declined.wait()
    assert error.why.startswith("server does not support SSL")


async def test_a_right_password_is_right(guarded: DatabaseUrl) -> None:
    async with Database(guarded) as ours:
        assert await ask(ours) == 1
    assert PASSWORD not in repr(guarded)


async def test_a_port_where_nobody_listens_is_said_to_refuse() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        parsed = dburl.parse(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/db")
        error = await failure(dict(parsed.keywords))
    assert error.what == f"cannot connect to PostgreSQL at 127.0.0.1:{port}/db as me"
    assert error.why == "connection refused"
    assert error.hint == "is the server up and reachable from here?  pg_isready tells"


@pytest.mark.parametrize(
    "host",
    ["db..example.test", f"{'a' * 64}.test", f"{'a.' * 130}test"],
    ids=["empty label", "long label", "long name"],
)
async def test_a_host_that_cannot_be_found_is_said_so(host: str) -> None:
    """These names are refused before any server is asked."""
    error = await failure({"host": host, "user": "me", "password": PASSWORD})
    assert error.why.startswith("failed to resolve host")
    assert error.hint == "check the host name in DATABASE_URL"


async def test_a_socket_that_is_not_there_is_said_so() -> None:
    error = await failure({"host": "/nowhere/run", "user": "me"})
    assert error.what == "cannot connect to PostgreSQL at /nowhere/run:5432 as me"
    assert "no such file or directory" in error.why


STATES = {
    "22P05": ("PostgreSQL refused a statement", False),
    "23505": ("PostgreSQL refused a statement", False),
    "42703": ("PostgreSQL refused a statement", False),
    "42501": ("the database refuses for want of a right", False),
    "3F000": ("the table's schema does not exist", False),
    "54000": ("PostgreSQL refused a statement", False),
    "54001": ("PostgreSQL refused a statement", False),
    "P0001": ("PostgreSQL refused a statement", False),
    "53100": ("the database server's disk is full", True),
    "53200": ("the database server is out of memory", True),
    "53300": ("the database has no connection to spare", True),
    "25006": ("the database is read-only", True),
    "25P03": ("PostgreSQL could not go on", True),
    "26000": ("PostgreSQL could not go on", True),
    "40001": ("PostgreSQL could not go on", True),
    "40P01": ("another program locked the same rows in another order", True),
    "55P03": ("somebody else holds a lock on the table", True),
    "57014": ("a statement took too long", True),
    "57P01": ("the database server is shutting down", True),
    "57P02": ("PostgreSQL could not go on", True),
    "57P03": ("the database server is starting up", True),
    "08006": ("PostgreSQL could not go on", True),
    "58030": ("PostgreSQL could not go on", True),
    "XX000": ("PostgreSQL could not go on", False),
}


@pytest.mark.parametrize("state", STATES)
async def test_each_state_is_put_into_words_and_repeated_only_if_it_may_pass(
    ours: Database, state: str
) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'as {uuid4()} said' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(psycopg.Error) as caught:
        await ask(ours, raising)
    what, passes = STATES[state]
    error = ours.explain(caught.value)
    assert (error.what, ours.is_passing(caught.value)) == (what, passes)
    assert error.why.endswith(f"said (SQLSTATE {state})")
    assert isinstance(error, Refused) == (what == "PostgreSQL refused a statement")
    assert error.exit_code == 3


async def test_what_the_driver_itself_refuses_is_no_lost_connection(ours: Database) -> None:
    async def operation() -> None:
        async with ours.transaction() as cursor:
            await cursor.execute("SELECT %s", ["a\0b"])

    with pytest.raises(Refused) as caught:
        await ours.run(operation, patience=PATIENCE)
    assert "NUL" in caught.value.why


async def test_an_explanation_repeats_no_password(database: Place) -> None:
    secret = DatabaseUrl({**database.keywords, "password": PASSWORD})
    error = psycopg.OperationalError(f"cannot use password={PASSWORD!r} or {PASSWORD}\nmore")
    explained = Database(secret).explain(error)
    for part in PASSWORD.split("/"):
        assert part not in f"{explained.what} {explained.why} {explained.hint}"
