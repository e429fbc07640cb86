"""Poolers in between: that no statement depends on a session, and that the double would notice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from conftest import Database as Place
from conftest import reachable_directory
from legacy import TENANT
from pgbouncer import PGBOUNCER, running_pgbouncer
from pooler import Pooler, pooling

from domainsched.database.adding import Order
from domainsched.database.catalogue import usable_table
from domainsched.database.connection import Database
from domainsched.database.queue import Queue
from domainsched.database.schema import init
from domainsched.database.selection import Selection
from domainsched.database.store import Store
from domainsched.database.table import TableName
from domainsched.dburl import DatabaseUrl
from domainsched.models import Complete

pytestmark = pytest.mark.direct("it has poolers of its own")

LEASE = timedelta(minutes=5)


@pytest.fixture
def pooler(database: Place) -> Iterator[Pooler]:
    with pooling(database.keywords) as running:
        yield running


def connected(
    pooler: Pooler, *, prepare_threshold: int | None = None, **keywords: str
) -> psycopg.Connection:
    place: dict[str, Any] = pooler.keywords | keywords
    return psycopg.connect(**place, autocommit=True, prepare_threshold=prepare_threshold)


def value(client: psycopg.Connection, query: str) -> object:
    row = client.execute(query).fetchone()
    assert row is not None
    return row[0]


# --- no statement depends on a session --------------------------------------------------------


async def everything(keywords: dict[str, str], names: list[str]) -> None:
    """Do once, or more often, all that is done with a table of domains."""
    async with Database(DatabaseUrl(keywords)) as client:
        await init(client, TableName("domains"), LEASE)
        table = await usable_table(client, TableName("domains"))
        store, queue = Store(client, table), Queue(client, table)
        assert (await store.add(names, Order(UUID(TENANT)))).added == len(names)
        for _ in range(10):  # often enough for psycopg to prepare, were it allowed to
            claimed = await queue.claim(
                2, token=uuid4(), worker="host:1:run", lease=LEASE, max_attempts=3
            )
            held = {claim.id for claim in claimed.claims}
            assert await queue.extend(claimed.claims, LEASE) == held
            endings = [(claim, Complete({"title": claim.domain})) for claim in claimed.claims]
            assert (await queue.settle(endings)).keys() == held
        assert (await store.glance()).statuses == {"completed": len(names)}
        assert (await store.check()).rows == len(names)
        ended, _ = await store.rows(Selection(), limit=None)
        assert sorted(row["domain"] for row in ended) == sorted(names)
        assert await store.reset(Selection(), force=False, clear_metadata=True) == len(names)


NAMES = [f"ü{number}.test" for number in range(20)]
HOSTILE = (
    "SET search_path = nowhere",
    "SET TimeZone = 'Pacific/Chatham'",
    "SET statement_timeout = '1d'",
    "SET lock_timeout = '1d'",
    "SET default_transaction_isolation = 'serializable'",
    "SET bytea_output = 'escape'",
    "SET application_name = 'theirs'",
)


async def test_nothing_depends_on_a_session_or_leaves_something_in_it(pooler: Pooler) -> None:
    await everything(pooler.keywords, NAMES)
    assert pooler.violations == []
    assert pooler.transactions > 30, "three for each round, each on another backend"


async def test_what_others_left_in_a_session_harms_nobody(pooler: Pooler) -> None:
    """Behind Supavisor, whoever shares the pool can leave it so."""
    with connected(pooler) as one, connected(pooler) as another:
        for statement in HOSTILE:
            one.execute("BEGIN")
            another.execute(statement)
            one.execute(f"{statement}; COMMIT")
    assert len(pooler.violations) == 2 * len(HOSTILE), "both backends were spoilt"
    await everything(pooler.keywords, NAMES)
    assert len(pooler.violations) == 2 * len(HOSTILE)


@pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer")
async def test_everything_works_through_pgbouncer(database: Place) -> None:
    with (
        reachable_directory() as directory,
        running_pgbouncer(directory, database.keywords) as bouncer,
        bouncer.through(database.keywords) as keywords,
    ):
        await everything(dict(keywords), NAMES)


# --- the double notices -----------------------------------------------------------------------

LEFT_BEHIND = {
    "SET statement_timeout = '1min'": "setting statement_timeout = 60000",
    "SET ROLE pg_read_all_data": "role pg_read_all_data",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": "setting default_transaction_read_only",
    "SELECT set_config('lock_timeout', '9', false)": "setting lock_timeout = 9",
    "PREPARE again AS SELECT 1": "prepared statement again",
    "LISTEN news": "channel news",
    "SELECT pg_advisory_lock(42)": "advisory lock 42",
    "CREATE TEMPORARY TABLE mine ()": "temporary mine",
    "DECLARE later CURSOR WITH HOLD FOR SELECT 1": "cursor later",
}


@pytest.mark.parametrize("statement", LEFT_BEHIND)
def test_what_is_left_in_a_session_is_a_violation(pooler: Pooler, statement: str) -> None:
    with connected(pooler) as client:
        client.execute(statement)
        client.execute("SELECT 1")
    (violation,) = pooler.violations
    assert violation.startswith(LEFT_BEHIND[statement])
    assert violation.endswith(f" was left by {statement!r}")


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL statement_timeout = '1min'",
        "SELECT set_config('lock_timeout', '9', true)",
        "SELECT pg_advisory_xact_lock(42)",
        "CREATE TEMPORARY TABLE mine () ON COMMIT DROP",
        "DECLARE now CURSOR FOR SELECT 1",
        "SET TRANSACTION READ ONLY",
    ],
)
def test_what_ends_with_its_transaction_is_none(pooler: Pooler, statement: str) -> None:
    with connected(pooler) as client, client.transaction():
        client.execute(statement)
    assert pooler.violations == []


def test_each_transaction_has_another_backend_than_the_one_before(pooler: Pooler) -> None:
    with connected(pooler) as client:
        pids = [value(client, "SELECT pg_backend_pid()") for _ in range(6)]
        with client.transaction():
            within = [value(client, "SELECT pg_backend_pid()") for _ in range(3)]
        told = client.info.backend_pid
    assert all(pid != following for pid, following in pairwise(pids))
    assert len(set(within)) == 1
    assert told not in pids


def test_who_depends_on_a_session_fails(pooler: Pooler) -> None:
    with connected(pooler) as client:
        client.execute("PREPARE mine AS SELECT 1")
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            client.execute("EXECUTE mine")


def test_a_client_that_prepares_is_refused(pooler: Pooler) -> None:
    with (
        connected(pooler, prepare_threshold=0) as client,
        pytest.raises(psycopg.errors.FeatureNotSupported),
    ):
        client.execute("SELECT %s", [1])
    assert pooler.violations == ["a named prepared statement: b'_pg3_0'"]


def test_a_client_that_pipelines_is_refused(pooler: Pooler) -> None:
    with connected(pooler) as client:
        with suppress(psycopg.OperationalError):
            client.cursor().executemany("SELECT %s::int", [(1,), (2,)])
        with pytest.raises(psycopg.OperationalError):  # at the latest now
            client.execute("SELECT 3")
    assert pooler.violations == ["a pipeline (Flush)"]


def test_a_client_that_does_not_wait_for_its_answer_is_refused(pooler: Pooler) -> None:
    query = b"Q" + (13).to_bytes(4, "big") + b"SELECT 1\0"
    with connected(pooler) as client:
        os.write(client.fileno(), query * 2)
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            client.execute("SELECT 3")
    assert pooler.violations == ["a pipeline of several requests"]


def test_a_client_that_wants_options_is_refused(pooler: Pooler) -> None:
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        connected(pooler, options="-c statement_timeout=1000")
    assert pooler.violations == ["options -c statement_timeout=1000"]


def test_an_error_is_passed_on_and_ends_nothing(pooler: Pooler) -> None:
    with connected(pooler) as client:
        with pytest.raises(psycopg.errors.UndefinedTable):
            client.execute("TABLE nowhere")
        assert value(client, "SELECT 1") == 1


def test_a_database_that_is_not_there_is_said_so(pooler: Pooler) -> None:
    with pytest.raises(psycopg.OperationalError, match='database "nowhere" does not exist'):
        connected(pooler, dbname="nowhere")


def test_a_backend_that_was_ended_is_replaced(database: Place, pooler: Pooler) -> None:
    with connected(pooler) as client, database.connect() as superuser:
        before = {value(client, "SELECT pg_backend_pid()") for _ in range(4)}
        for pid in before:
            superuser.execute("SELECT pg_terminate_backend(%s, 30000)", [pid])
        assert value(client, "SELECT pg_backend_pid()") not in before


def test_a_client_that_vanishes_in_a_transaction_frees_its_locks(
    database: Place, pooler: Pooler
) -> None:
    with database.connect() as superuser:
        superuser.execute("CREATE TABLE t ()")
        with closing(connected(pooler)) as client:
            client.execute("BEGIN; LOCK TABLE t")
        superuser.execute("SET lock_timeout = '30s'")
        superuser.execute("DROP TABLE t")
