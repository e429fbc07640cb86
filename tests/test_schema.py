"""What `init` makes, adds, and leaves alone; what is said about a table that does not serve."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from conftest import Database as Place
from legacy import TENANT, Generation, install
from programs import Surroundings
from proxy import Link, proxied

import domainsched
from domainsched.columns import PURPOSES
from domainsched.database import schema
from domainsched.database.adding import Adding, Order
from domainsched.database.catalogue import find_table, usable_table
from domainsched.database.connection import Database
from domainsched.database.queue import RESULT_COLUMNS
from domainsched.database.schema import init
from domainsched.database.store import Store
from domainsched.database.table import (
    ADDED_COLUMNS,
    KEY_COLUMNS,
    OPTIONAL_COLUMNS,
    Table,
    TableName,
)
from domainsched.dburl import DatabaseUrl, parse
from domainsched.errors import ConfigError, DatabaseError, SchemaMismatch
from domainsched.models import Added

NAME = TableName("domains")
LEASE = timedelta(minutes=15)
PATIENCE = timedelta(seconds=30)
"""Longer than any test waits when all is well."""

generations = pytest.mark.parametrize("generation", Generation, ids=lambda g: g.name)


# --- the bench --------------------------------------------------------------------------------


@asynccontextmanager
async def opened(place: Place, **settings: str) -> AsyncIterator[Database]:
    async with Database(DatabaseUrl(place.keywords, settings=settings)) as database:
        yield database


async def init_in(place: Place, name: TableName = NAME) -> Table:
    async with opened(place) as database:
        return await init(database, name, LEASE)


async def checked_in(place: Place, name: TableName = NAME) -> Table:
    async with opened(place) as database:
        return await usable_table(database, name)


async def refusal_in(place: Place, name: TableName = NAME) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        await checked_in(place, name)
    return caught.value


def execute(place: Place, statement: str) -> None:
    with place.connect() as connection:
        connection.execute(statement)


def query(place: Place, statement: str) -> list[Any]:
    """The rows, or if they have but one column, what stands in it."""
    with place.connect() as connection:
        rows = connection.execute(statement).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


async def until(place: Place, condition: str) -> None:
    """Return when the server is busy with what `condition` says."""
    activity = f"SELECT FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while not await asyncio.to_thread(query, place, activity):  # noqa: ASYNC110 - a server's activity has no event
            await asyncio.sleep(0.01)


WAITING = "wait_event_type = 'Lock' AND query LIKE '{}%'"


# --- the old tables, as they are and after ----------------------------------------------------

COLUMNS = """
    SELECT attnum, attname, format_type(atttypid, atttypmod), attnotnull, attstorage,
        pg_get_expr(adbin, adrelid)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = 'domains'::regclass AND attnum > 0 ORDER BY attnum
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE 'domains'::regclass IN (conrelid, confrelid) AND contype <> 'n' ORDER BY 1, 2
"""
INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index
    WHERE indrelid = 'domains'::regclass ORDER BY 1
"""
ENUMS = "SELECT enumtypid::regtype::text, enumlabel FROM pg_enum ORDER BY 1, enumsortorder"
FILE = "SELECT pg_relation_filenode('domains'), pg_relation_filepath('domains')"
ADDED_INDEX_DEFINITION = (
    "CREATE INDEX domains_due_idx ON public.domains USING btree (due_at, id) WHERE ((status)::text"
    " = ANY ((ARRAY['pending'::character varying, 'processing'::character varying])::text[]))"
)
ADDED_INDEX = ("domains_due_idx", ADDED_INDEX_DEFINITION, True)
VALUES = {
    "uuid": "gen_random_uuid()",
    "text": "'some text'",
    "character varying": "'some text'",
    "boolean": "true",
    "integer": "7",
    "numeric(5,2)": "99.5",
    "jsonb": """'{"a": [1, 2]}'""",
    "text[]": "'{one,two}'",
    "timestamp with time zone": "'2025-03-01 12:00+02'",
    "timestamp without time zone": "'2025-03-01 12:00'",
}
WORDS = ("pending", "processing", "completed", "error", "active", "scanned", "test-1")
"""What stands in `status` of old tables, and how the domains are called here."""


def install_with_rows(place: Place, generation: Generation) -> None:
    """Make the tables of a generation, with a row for each status whose every column is filled."""
    with place.connect() as connection:
        install(connection, generation)
        keys = ("local_business_id",)
        columns = [row for row in query(place, COLUMNS) if row[1] not in keys]
        names = ", ".join(name for _, name, *_ in columns)
        for word in WORDS:
            values = [_value(name, kind, word) for _, name, kind, *_ in columns]
            connection.execute(f"INSERT INTO domains ({names}) VALUES ({', '.join(values)})")
            connection.execute(
                "INSERT INTO jobs (job_id, domain_id)"
                " SELECT gen_random_uuid(), id FROM domains WHERE domain = %s",
                [f"{word}.test"],
            )


def _value(name: str, kind: str, word: str) -> str:
    special = {"domain": f"'{word}.test'", "status": f"'{word}'", "tenant_id": f"'{TENANT}'"}
    return special.get(name) or VALUES.get(kind) or f"enum_last(NULL::{kind})"


@generations
async def test_nothing_of_an_old_table_is_lost_or_changed(
    database: Place, generation: Generation
) -> None:
    install_with_rows(database, generation)
    whole = dict(query(database, "SELECT domain, to_jsonb(d) FROM domains d"))
    before = [query(database, each) for each in (COLUMNS, CONSTRAINTS, INDEXES, ENUMS, FILE)]
    columns, constraints, indexes, enums, file = before
    assert len(columns) == generation

    await init_in(database)

    assert query(database, COLUMNS)[: len(columns)] == columns
    assert query(database, CONSTRAINTS) == constraints
    assert query(database, INDEXES) == sorted([*indexes, ADDED_INDEX])
    assert query(database, ENUMS) == enums
    assert query(database, FILE) == file, "the table was rewritten"
    after = dict(query(database, "SELECT domain, to_jsonb(d) FROM domains d"))
    assert {name: {k: row[k] for k in whole[name]} for name, row in after.items()} == whole


@generations
async def test_an_old_table_gains_what_it_lacks_and_times_without_zone_stay_so(
    database: Place, generation: Generation
) -> None:
    install_with_rows(database, generation)
    lacking = set(ADDED_COLUMNS) - {name for _, name, *_ in query(database, COLUMNS)}
    table = await init_in(database)
    assert lacking == {"attempts", "due_at", "claim_token", "claimed_by", "last_error_kind"}
    assert set(table.columns) >= set(ADDED_COLUMNS)
    assert len(table.columns) == generation + len(lacking)
    assert table.columns["created_at"] == table.columns["updated_at"]
    assert table.columns["created_at"] == "timestamp without time zone"
    assert table == await checked_in(database)
    assert not table.unique_per_tenant


@generations
async def test_rows_of_a_status_that_is_not_ours_are_not_touched(
    database: Place, generation: Generation
) -> None:
    install_with_rows(database, generation)
    versions = "SELECT domain, xmin::text, ctid::text FROM domains WHERE status <> 'processing'"
    before = query(database, versions)
    await init_in(database)
    assert query(database, versions) == before


async def test_rows_left_processing_get_a_lease_from_now_and_only_once(database: Place) -> None:
    install_with_rows(database, Generation.MARCH_2025)
    end = "SELECT due_at FROM domains WHERE status = 'processing'"
    (before,) = query(database, "SELECT now()")
    await init_in(database)
    (after,) = query(database, "SELECT now()")
    (lease_end,) = query(database, end)
    assert before + LEASE <= lease_end <= after + LEASE

    execute(database, "DROP INDEX domains_due_idx")
    await init_in(database)
    assert query(database, end) == [lease_end]


async def test_rows_of_other_states_are_due_at_once(database: Place) -> None:
    install_with_rows(database, Generation.NOVEMBER_2025)
    await init_in(database)
    late = "SELECT domain FROM domains WHERE due_at > statement_timestamp()"
    assert query(database, late) == ["processing.test"]
    assert query(database, "SELECT DISTINCT attempts FROM domains") == [0]


# --- a table of our own -----------------------------------------------------------------------


async def test_an_empty_database_gets_a_table_that_serves(database: Place) -> None:
    table = await init_in(database)
    assert (table.schema, table.name, table.missing) == ("public", "domains", ())
    assert table.unique_per_tenant
    assert table == await checked_in(database)
    execute(database, "INSERT INTO domains (domain) VALUES ('a.test')")
    assert query(database, "SELECT status, attempts, tenant_id::text FROM domains") == [
        ("pending", 0, TENANT)
    ]
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(database, "INSERT INTO domains (domain, status) VALUES ('b.test', 'paused')")


async def test_only_a_table_that_we_made_gets_storage_options(database: Place) -> None:
    options = "SELECT reloptions FROM pg_class WHERE oid = '{}'::regclass"
    with database.connect() as connection:
        connection.execute("CREATE SCHEMA old; SET search_path = old")
        install(connection, Generation.MARCH_2025)
    await init_in(database, TableName("domains", "old"))
    await init_in(database, TableName("domains", "public"))
    (ours,) = query(database, options.format("public.domains"))
    assert "vacuum_index_cleanup=on" in ours
    assert query(database, options.format("old.domains")) == [None]


@pytest.mark.parametrize(
    "text", ["domains", "app.domains", "Domains", "app.Sites_2", "straßen", "d" * 63]
)
async def test_a_table_gets_the_name_that_was_asked_for(database: Place, text: str) -> None:
    execute(database, "CREATE SCHEMA app")
    name = TableName.parse(text)
    table = await init_in(database, name)
    assert (table.schema, table.name) == (name.schema or "public", name.table)
    assert await init_in(database, name) == table == await checked_in(database, name)


@pytest.mark.parametrize("name", ["d" * 63, "ß" * 31, "d" * 55])
async def test_the_index_of_a_table_with_a_long_name_is_found_again(
    database: Place, name: str
) -> None:
    execute(database, f'CREATE TABLE "{name}" (id int PRIMARY KEY, domain text, status text)')
    assert (await init_in(database, TableName(name))).has_index
    indexes = query(database, f"SELECT count(*) FROM pg_indexes WHERE tablename = '{name}'")
    await init_in(database, TableName(name))
    assert indexes == [2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a.b.c",
        "my-domains",
        'do"mains',
        "a b",
        "1st",
        "d" * 64,
        "a;b",
        'a"b"c',
    ],
)
def test_a_name_that_would_need_quotes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a table") as caught:
        TableName.parse(text)
    assert (repr(text) in caught.value.why, caught.value.exit_code) == (True, 2)
    assert "letters, digits, _ and $, no digit first" in caught.value.why
    assert caught.value.hint == "write DOMAINSCHED_TABLE=domains, or schema.domains"


def test_quotes_around_a_name_mean_what_it_means_without() -> None:
    assert TableName.parse('app."Domains"') == TableName("Domains", "app")
    assert TableName.parse('"Domains"') == TableName.parse("Domains")


def test_the_url_s_schema_serves_where_the_name_has_none() -> None:
    assert TableName.parse("domains", schema="app") == TableName("domains", "app")
    assert TableName.parse("own.domains", schema="app") == TableName("domains", "own")


def test_the_search_path_of_the_url_says_where_the_table_is(
    database: Place, tmp_path: Path
) -> None:
    execute(database, "CREATE SCHEMA app")
    url = f"{database.url}&options=-csearch_path%3Dapp"
    made = Surroundings(tmp_path, {"DATABASE_URL": url}).run("init")
    assert (made.code, made.err) == (0, "")
    assert query(database, "SELECT schemaname FROM pg_tables WHERE tablename = 'domains'") == [
        "app"
    ]


# --- again, dry, and together -----------------------------------------------------------------

PREPARATIONS = {
    "empty": "",
    "march": "march",
    "no index": "DROP INDEX domains_due_idx",
    "broken index": "UPDATE pg_index SET indisvalid = false"
    " WHERE indexrelid = 'domains_due_idx'::regclass",
    "two columns": "ALTER TABLE domains DROP title, DROP claim_token",
    "complete": "SELECT",
}
READING = (
    "SELECT",
    "SET LOCAL",
    "BEGIN",
    "COMMIT",
    "LOCK",
    "SAVEPOINT",
    "RELEASE",
    '"',
    "ROLLBACK",
)


@pytest.mark.parametrize("preparation", PREPARATIONS)
async def test_a_dry_run_writes_out_what_is_then_executed(
    database: Place, preparation: str
) -> None:
    if preparation == "march":
        install_with_rows(database, Generation.MARCH_2025)
    elif statement := PREPARATIONS[preparation]:
        await init_in(database)
        execute(database, statement)
    async with proxied(database.keywords) as proxy, Database(proxy.url) as ours:
        found = await find_table(ours, NAME)
        announced = [each.as_string() for each in schema.statements(found, NAME, LEASE)]
        heard = len(proxy.statements)
        await init(ours, NAME, LEASE)
        executed = [each for each in proxy.statements[heard:] if not each.startswith(READING)]
        assert executed == announced
        assert bool(announced) == (preparation != "complete")
        assert schema.statements(await find_table(ours, NAME), NAME, LEASE) == []


def test_a_dry_run_changes_nothing(database: Place, tmp_path: Path) -> None:
    install_with_rows(database, Generation.MARCH_2025)
    before = query(database, COLUMNS)
    program = Surroundings(tmp_path, {"DATABASE_URL": database.url})
    dry = program.run("init", "--dry-run")
    assert (dry.code, "ALTER TABLE" in dry.out + dry.err) == (0, True)
    assert query(database, COLUMNS) == before


RACER = f"""
import asyncio, json, sys
sys.path[:0] = {[str(Path(domainsched.__file__).parents[1])]!r}
from datetime import timedelta
from domainsched.database.connection import Database
from domainsched.dburl import DatabaseUrl
from domainsched.database.catalogue import usable_table
from domainsched.database.schema import init
from domainsched.database.table import TableName

async def main():
    async with Database(DatabaseUrl(json.loads(sys.argv[1]))) as database:
        print("ready", flush=True)
        sys.stdin.readline()
        await init(database, TableName("domains"), timedelta(minutes=15))
        await usable_table(database, TableName("domains"))

asyncio.run(main())
"""


@contextmanager
def racers(place: Place, number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are connected, and wait for a line."""
    import json

    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, json.dumps(place.keywords)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(number)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield processes


def race(place: Place) -> None:
    """Six processes do it at once; none of them notices the others."""
    with racers(place, 6) as processes:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ends = [process.communicate(timeout=PATIENCE.total_seconds()) for process in processes]
        assert [
            (process.returncode, *end) for process, end in zip(processes, ends, strict=True)
        ] == [(0, "", "")] * 6


@pytest.mark.parametrize("preparation", ["empty", "march", "broken index"])
async def test_six_processes_may_race(database: Place, preparation: str) -> None:
    if preparation == "march":
        install_with_rows(database, Generation.MARCH_2025)
    elif statement := PREPARATIONS[preparation]:
        await init_in(database)
        execute(database, statement)
    await asyncio.to_thread(race, database)
    table = await checked_in(database)
    assert set(table.columns) >= set(ADDED_COLUMNS)
    led_by_due = [each for each in query(database, INDEXES) if "(due_at, id)" in each[1]]
    assert [valid for *_, valid in led_by_due] == [True]
    if preparation == "march":
        assert query(database, "SELECT count(*) FROM domains") == [len(WORDS)]


# --- what comes in between --------------------------------------------------------------------


@asynccontextmanager
async def stranger(place: Place, *statements: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A session with an open transaction."""
    connection = await psycopg.AsyncConnection.connect(**place.keywords)  # type: ignore[arg-type] # are strings
    async with connection:
        for statement in statements:
            await connection.execute(statement)
        yield connection


@asynccontextmanager
async def building(place: Place) -> AsyncIterator[tuple[asyncio.Task[Any], Any]]:
    """An index that is being built, and cannot end before the session that is returned does."""
    await init_in(place)
    execute(place, "DROP INDEX domains_due_idx")
    insert = "INSERT INTO domains (domain) VALUES ('a.test')"
    async with stranger(place, insert) as writer, opened(place) as database:
        table = await find_table(database, NAME)
        (statement,) = schema.statements(table, NAME, LEASE)
        builder = asyncio.create_task(database.outside_transaction(statement))
        await until(place, WAITING.format("CREATE INDEX CONCURRENTLY"))
        yield builder, writer


async def test_that_it_builds_an_index_is_said_before_that_waits_for_others(
    database: Place,
) -> None:
    said: list[str] = []
    async with opened(database) as ours:
        await init(ours, NAME, LEASE, said.append)
        await init(ours, NAME, LEASE, said.append)
        assert not said, "a new table, and one that has all it needs"
        execute(database, "DROP INDEX domains_due_idx")
        insert = "INSERT INTO domains (domain) VALUES ('a.test')"
        async with stranger(database, insert):
            init_again = asyncio.create_task(init(ours, NAME, LEASE, said.append))
            await until(database, WAITING.format("CREATE INDEX CONCURRENTLY"))
            assert said == [
                "building the index, which waits for all transactions that are open now"
            ]
        assert (await init_again).has_index


async def test_an_invalid_index_left_by_a_killed_build_is_replaced(database: Place) -> None:
    async with building(database) as (builder, _):
        execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'CREATE INDEX%'",
        )
        with pytest.raises(psycopg.OperationalError):
            await builder
    broken = query(database, "SELECT indisvalid FROM pg_index WHERE NOT indisvalid")
    assert broken == [False], "the build left nothing behind"
    assert (await refusal_in(database)).why == "the index of the claim"

    table = await init_in(database)
    assert (table.has_index, table.has_broken_index) == (True, False)
    assert query(database, "SELECT indisvalid FROM pg_index WHERE NOT indisvalid") == []


async def test_who_builds_the_index_is_waited_for_and_not_disturbed(database: Place) -> None:
    """Whoever waits for the builder's lock is waited for by the builder: one would be killed."""
    async with (
        building(database) as (builder, writer),
        proxied(database.keywords) as proxy,
        Database(proxy.url) as ours,
    ):
        tries = asyncio.Semaphore(0)

        async def heard(statement: str, _: Link) -> None:
            if statement.startswith("LOCK"):
                tries.release()

        proxy.on_statement = heard
        waiting = asyncio.create_task(init(ours, NAME, LEASE))
        await tries.acquire()
        with suppress(TimeoutError):  # longer than PostgreSQL waits before it looks for deadlocks
            await asyncio.wait_for(tries.acquire(), 1.5)
        (built,) = query(database, "SELECT 'domains_due_idx'::regclass::oid::int")
        await writer.rollback()
        await builder
        assert (await waiting).has_index
    assert query(database, "SELECT 'domains_due_idx'::regclass::oid::int") == [built]


async def test_a_stranger_s_lock_is_waited_for(database: Place) -> None:
    install_with_rows(database, Generation.MARCH_2025)
    async with stranger(database, "LOCK TABLE domains IN ACCESS SHARE MODE") as other:
        waiting = asyncio.create_task(init_in(database))
        await until(database, WAITING.format("ALTER TABLE"))
        await other.rollback()
        assert (await waiting).missing == ()


@pytest.mark.parametrize("preparation", ["march", "no index"])
async def test_a_stranger_s_lock_that_stays_ends_in_a_clear_error(
    database: Place, preparation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if preparation == "march":
        install_with_rows(database, Generation.MARCH_2025)
    else:
        await init_in(database)
        execute(database, PREPARATIONS[preparation])
    columns, indexes = query(database, COLUMNS), query(database, INDEXES)
    for patience in ("PATIENCE", "INDEX_PATIENCE"):
        monkeypatch.setattr(schema, patience, timedelta(seconds=0.3))
    async with (
        stranger(database, "LOCK TABLE domains IN ACCESS EXCLUSIVE MODE"),
        opened(database, lock_timeout="100ms") as ours,
    ):
        with pytest.raises(DatabaseError, match="somebody else holds a lock") as caught:
            await init(ours, NAME, LEASE)
    assert "55P03" in caught.value.why
    assert (query(database, COLUMNS), query(database, INDEXES)) == (columns, indexes)


# --- what does not serve ----------------------------------------------------------------------


async def test_one_error_names_everything_that_is_missing(database: Place) -> None:
    install_with_rows(database, Generation.MARCH_2025)
    execute(database, "ALTER TABLE domains DROP phone_numbers, DROP tech_stack")
    error = await refusal_in(database)
    assert isinstance(error, SchemaMismatch)
    assert "public.domains lacks 8 of the things" in error.what
    assert error.why.split(", ") == [
        "attempts integer",
        "due_at timestamptz",
        "claim_token uuid",
        "claimed_by text",
        "last_error_kind text",
        "phone_numbers text[]",
        "tech_stack jsonb",
        "the index of the claim",
    ]
    assert error.hint.endswith("domainsched init")
    await init_in(database)
    assert (await checked_in(database)).missing == ()


def test_it_is_known_what_each_of_our_columns_is_for() -> None:
    ours = {*KEY_COLUMNS, *ADDED_COLUMNS, *OPTIONAL_COLUMNS, *RESULT_COLUMNS}
    state = {"tenant_id", "error_count", "last_scan", "last_successful_scan"}
    assert set(PURPOSES) == ours | state | {"created_at", "updated_at"}


async def test_a_table_may_do_without_some_columns_and_init_gives_it_them(database: Place) -> None:
    await init_in(database)
    execute(database, "INSERT INTO domains (domain) VALUES ('a.test')")
    dropped = ", ".join(f"DROP {column}" for column in OPTIONAL_COLUMNS)
    execute(database, f"ALTER TABLE domains {dropped}")
    file = query(database, FILE)
    assert (await checked_in(database)).missing == ()
    assert {*(await init_in(database)).columns} >= {*OPTIONAL_COLUMNS}
    assert query(database, FILE) == file, "the table was rewritten"
    known = "updated_at BETWEEN now() - interval '1 minute' AND now()"
    assert query(database, f"SELECT batch_id, last_scan, {known} FROM domains") == [
        (None, None, True)
    ]


async def test_a_table_that_is_not_there_is_said_so(database: Place) -> None:
    error = await refusal_in(database, TableName("sites"))
    assert isinstance(error, SchemaMismatch)
    assert "public.sites does not exist" in error.what
    assert database.keywords["dbname"] in error.what
    assert error.hint.endswith("domainsched init")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW v AS SELECT 1 AS id",
        "CREATE MATERIALIZED VIEW v AS SELECT 1 AS id",
        "CREATE SEQUENCE v",
        "CREATE TABLE v (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    ],
)
async def test_only_a_table_serves(database: Place, statement: str) -> None:
    execute(database, statement)
    for attempt in (checked_in, init_in):
        with pytest.raises(SchemaMismatch, match=r"public\.v is not an ordinary table$"):
            await attempt(database, TableName("v"))


async def test_a_table_of_something_else_is_not_made_one_of_domains(database: Place) -> None:
    execute(database, "CREATE TABLE domains (id int PRIMARY KEY, name text)")
    for attempt in (checked_in, init_in):
        with pytest.raises(SchemaMismatch, match="is not a table of domains") as caught:
            await attempt(database)
        assert caught.value.why == "it has no column domain, status"
    assert len(query(database, COLUMNS)) == 2


async def test_columns_of_the_same_name_for_another_purpose_are_not_used(database: Place) -> None:
    execute(
        database,
        "CREATE TABLE domains (id int PRIMARY KEY, domain text, status text,"
        " due_at date, attempts bigint, claim_token text, email_addresses integer,"
        " title text GENERATED ALWAYS AS (domain) STORED)",
    )
    for attempt in (checked_in, init_in):
        with pytest.raises(SchemaMismatch, match="columns of its own") as caught:
            await attempt(database)
        assert caught.value.why == (
            "due_at is date (may be null), not timestamptz NOT NULL DEFAULT now()\n"
            "claim_token is text, not uuid\n"
            "title is text (generated), not text\n"
            "email_addresses is integer, not text[]"
        )


async def test_a_status_that_is_computed_is_none_that_we_could_write(database: Place) -> None:
    execute(
        database,
        "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, word text,"
        " status text GENERATED ALWAYS AS (coalesce(word, 'pending')) STORED)",
    )
    for attempt in (checked_in, init_in):
        with pytest.raises(SchemaMismatch, match="columns of its own") as caught:
            await attempt(database)
        assert caught.value.why == "status is text (generated), not writable"


async def test_a_due_time_that_may_be_null_would_hide_rows_for_ever(database: Place) -> None:
    execute(
        database,
        "CREATE TABLE domains (id int PRIMARY KEY, domain text, status text, due_at timestamptz)",
    )
    with pytest.raises(SchemaMismatch) as caught:
        await init_in(database)
    assert caught.value.why.startswith("due_at is timestamp with time zone (may be null)")


@pytest.mark.parametrize(("length", "serves"), [(17, False), (18, True)])
async def test_a_kind_of_failure_is_never_cut(
    database: Place, length: int, *, serves: bool
) -> None:
    """Cut, `--kind` would not find it, and it might be taken for another one."""
    await init_in(database)
    execute(database, f"ALTER TABLE domains ALTER last_error_kind TYPE varchar({length})")
    if serves:
        assert (await checked_in(database)).missing == ()
        return
    for attempt in (checked_in, init_in):
        with pytest.raises(SchemaMismatch, match="columns of its own") as caught:
            await attempt(database)
        assert caught.value.why == "last_error_kind is character varying(17), not text"


async def test_rows_must_be_told_apart(database: Place) -> None:
    execute(database, "CREATE TABLE domains (id bigint, domain text, status text)")
    with pytest.raises(SchemaMismatch, match="cannot be told apart") as caught:
        await init_in(database)
    assert caught.value.hint == "ALTER TABLE public.domains ADD PRIMARY KEY (id);"


async def test_times_and_numbers_of_another_precision_serve(database: Place) -> None:
    execute(
        database,
        "CREATE TABLE domains (id int PRIMARY KEY, domain varchar(90), status char(12),"
        " due_at timestamptz(3) NOT NULL DEFAULT now(), attempts smallint DEFAULT 0,"
        " updated_at timestamp(3))",
    )
    table = await init_in(database)
    assert table.now("updated_at").as_string() == "timezone('UTC', statement_timestamp())"
    assert table.now("due_at").as_string() == "statement_timestamp()"


@pytest.mark.parametrize(
    "index",
    [
        "(due_at)",
        "(due_at, id) WHERE status = 'completed'",
        "(id) WHERE status IN ('pending', 'processing')",
    ],
)
async def test_an_index_that_does_not_serve_the_claim_is_not_taken_for_its_own(
    database: Place, index: str
) -> None:
    await init_in(database)
    execute(database, f"DROP INDEX domains_due_idx; CREATE INDEX other ON domains {index}")
    assert (await refusal_in(database)).why == "the index of the claim"
    assert (await init_in(database)).has_index


async def test_an_index_that_serves_is_used_whatever_its_name(database: Place) -> None:
    await init_in(database)
    execute(database, "ALTER INDEX domains_due_idx RENAME TO by_hand")
    assert (await checked_in(database)).has_index


async def test_an_index_name_that_is_taken_is_said_so(database: Place) -> None:
    await init_in(database)
    execute(database, "DROP INDEX domains_due_idx; CREATE INDEX domains_due_idx ON domains (title)")
    with pytest.raises(DatabaseError, match="did not become valid") as caught:
        await init_in(database)
    assert "something else has its name" in caught.value.why
    assert '"public"."domains_due_idx"' in caught.value.hint


@pytest.mark.parametrize("kind", ["integer", "jsonb"])
async def test_names_that_are_no_texts_are_refused(database: Place, kind: str) -> None:
    execute(database, f"CREATE TABLE domains (id serial PRIMARY KEY, domain {kind}, status text)")
    with pytest.raises(SchemaMismatch, match="columns of its own") as caught:
        await init_in(database)
    assert caught.value.why == f"domain is {kind}, not text"


async def test_hints_quote_a_name_that_needs_it(database: Place) -> None:
    name = TableName("Domains", "public")
    execute(database, 'CREATE TABLE "Domains" (id int, domain text, status text)')
    with pytest.raises(SchemaMismatch, match="cannot be told apart") as caught:
        await init_in(database, name)
    execute(database, caught.value.hint)
    assert (await init_in(database, name)).written == 'public."Domains"'


# --- rights -----------------------------------------------------------------------------------


@pytest.fixture
def guest(database: Place) -> Iterator[Place]:
    """The same database, seen by a role that may only look on; its name needs quotes."""
    role, password = f"Guest-{uuid4().hex[:8]}", uuid4().hex
    execute(database, f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{password}'")
    try:
        yield replace(database, keywords=database.keywords | {"user": role, "password": password})
    finally:
        execute(database, f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


async def test_rights_that_are_missing_are_named_and_the_hint_gives_them(
    database: Place, guest: Place
) -> None:
    role = guest.keywords["user"]
    await init_in(database)
    execute(database, f'GRANT SELECT ON domains TO "{role}"')
    error = await refusal_in(guest)
    assert error.what == f'role "{role}" may not INSERT, UPDATE public.domains'
    execute(database, error.hint)
    assert (await checked_in(guest)).lacks_rights == ()


async def test_who_does_not_own_the_table_cannot_add_to_it(database: Place, guest: Place) -> None:
    install_with_rows(database, Generation.MARCH_2025)
    with pytest.raises(DatabaseError, match=r"does not own table public\.domains") as caught:
        await init_in(guest)
    owner = database.keywords["user"]
    assert caught.value.hint == f'have its owner, role "{owner}", do: domainsched init'


async def test_a_member_of_the_owner_is_one_only_if_it_inherits(
    database: Place, guest: Place
) -> None:
    install_with_rows(database, Generation.MARCH_2025)
    owner, role = database.keywords["user"], guest.keywords["user"]
    execute(database, f'ALTER ROLE "{role}" NOINHERIT; GRANT "{owner}" TO "{role}"')
    with pytest.raises(DatabaseError, match=r"does not own table public\.domains"):
        await init_in(guest)
    execute(database, f'REVOKE "{owner}" FROM "{role}"; ALTER ROLE "{role}" INHERIT')
    execute(database, f'GRANT "{owner}" TO "{role}"')
    assert (await init_in(guest)).is_owned


async def test_what_a_table_may_do_without_only_its_owner_adds(
    database: Place, guest: Place
) -> None:
    await init_in(database)
    execute(database, "ALTER TABLE domains DROP last_scan, DROP batch_id")
    assert not {"last_scan", "batch_id"} & (await init_in(guest)).columns.keys()
    assert {"last_scan", "batch_id"} <= (await init_in(database)).columns.keys()


async def test_who_may_not_create_is_told(database: Place, guest: Place) -> None:
    execute(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(DatabaseError, match="may not create anything in the schema") as caught:
        await init_in(guest)
    execute(database, caught.value.hint)
    assert (await init_in(guest)).is_owned


async def test_who_may_not_enter_a_schema_is_told_both_rights_that_init_needs(
    database: Place, guest: Place
) -> None:
    execute(database, "CREATE SCHEMA app")
    name = TableName("domains", "app")
    with pytest.raises(DatabaseError, match="may not do anything in the schema app") as caught:
        await init_in(guest, name)
    assert caught.value.hint.startswith('GRANT USAGE, CREATE ON SCHEMA "app" TO ')
    execute(database, caught.value.hint)
    assert (await init_in(guest, name)).has_index
    execute(database, f'REVOKE USAGE ON SCHEMA app FROM "{guest.keywords["user"]}"')
    error = await refusal_in(guest, name)
    assert (error.why, error.hint[:26]) == (
        "table app.domains is in it",
        'GRANT USAGE ON SCHEMA "app',
    )
    execute(database, error.hint)
    assert (await checked_in(guest, name)).has_index


async def test_a_schema_that_is_not_there_is_made_as_the_hint_says(database: Place) -> None:
    name = TableName("domains", "app")
    with pytest.raises(SchemaMismatch, match="schema does not exist") as caught:
        await init_in(database, name)
    assert caught.value.why == 'there is no schema "app"'
    execute(database, caught.value.hint.partition("; or ")[0])
    assert (await init_in(database, name)).written == "app.domains"


async def test_a_schema_that_one_may_not_look_into_is_not_said_to_be_missing(
    database: Place, guest: Place
) -> None:
    execute(database, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    with pytest.raises(DatabaseError, match="may not do anything in the schema public") as caught:
        await init_in(guest)
    execute(database, caught.value.hint)
    assert (await init_in(guest)).has_index


async def test_a_table_whose_name_has_other_capitals_is_suggested(database: Place) -> None:
    execute(database, 'CREATE SCHEMA app; CREATE TABLE app."Domains" (id int)')
    assert "create it" in (await refusal_in(database)).hint, "it is not on the search path"
    elsewhere = await refusal_in(database, TableName("domains", "app"))
    assert elsewhere.hint == "is it DOMAINSCHED_TABLE=app.Domains?"
    execute(database, 'CREATE TABLE "Domains" (id int)')
    assert (await refusal_in(database)).hint == "is it DOMAINSCHED_TABLE=Domains?"
    assert "create it" in (await refusal_in(database, TableName("PG_CLASS"))).hint


async def test_row_level_security_is_told_unless_it_lets_all_pass(
    database: Place, guest: Place
) -> None:
    role, order = guest.keywords["user"], Order(UUID(TENANT))
    await init_in(database)
    execute(database, f'GRANT SELECT, INSERT, UPDATE ON domains TO "{role}"')
    async with opened(guest) as client:
        store = Store(client, await usable_table(client, NAME))
        assert await store.obstacles() == []
        execute(database, "ALTER TABLE domains ENABLE ROW LEVEL SECURITY")
        execute(database, "CREATE POLICY domainsched ON domains TO CURRENT_USER USING (true)")
        (told,) = await store.obstacles()
        with pytest.raises(DatabaseError, match="for want of a right") as caught:
            await store.add(["a.test"], order)
        assert caught.value.hint == told.hint
        execute(database, told.hint.removeprefix("if that is not all of it: "))
        assert await store.obstacles() == []
        assert await store.add(["a.test"], order) == Added(added=1)
        execute(database, "CREATE POLICY less ON domains AS RESTRICTIVE USING (id > 7)")
        assert await store.obstacles() == [told]
    async with opened(database) as client:
        assert await Store(client, await usable_table(client, NAME)).obstacles() == []


async def test_a_tenant_that_is_not_there_is_asked_for(database: Place) -> None:
    execute(
        database,
        "CREATE TABLE tenants (id uuid PRIMARY KEY);"
        "CREATE TABLE domains (id serial PRIMARY KEY, domain text, status text,"
        " tenant_id uuid NOT NULL REFERENCES tenants)",
    )
    table = await init_in(database)
    async with opened(database) as client:
        with pytest.raises(DatabaseError, match="refused a statement") as caught:
            await Store(client, table).add(["a.test"], Order(UUID(TENANT)))
    assert caught.value.hint == "name a tenant that is there: --tenant, or DEFAULT_TENANT_ID"


async def test_an_owner_who_may_not_create_the_index_is_told(database: Place, guest: Place) -> None:
    role = guest.keywords["user"]
    await init_in(database)
    execute(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC; DROP INDEX domains_due_idx")
    execute(database, f'ALTER TABLE domains OWNER TO "{role}"')
    with pytest.raises(DatabaseError, match="may not create anything in the schema") as caught:
        await init_in(guest)
    assert caught.value.why == "the index of the claim is to be made there"
    execute(database, caught.value.hint)
    assert (await init_in(guest)).has_index


async def test_a_read_only_server_is_said_to_be_one(
    database: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PATIENCE", timedelta(seconds=0.1))
    install_with_rows(database, Generation.MARCH_2025)
    execute(
        database,
        "ALTER DATABASE {} SET default_transaction_read_only = on".format(
            database.keywords["dbname"]
        ),
    )
    with pytest.raises(DatabaseError, match="the database is read-only") as caught:
        await init_in(database)
    assert "point DATABASE_URL at the primary" in caught.value.hint
    error = await refusal_in(database)
    assert "lacks" in error.what, "the catalogue can be read all the same"


async def test_a_table_that_allows_twins_is_looked_through_for_what_is_there(
    database: Place,
) -> None:
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE domains (id serial PRIMARY KEY, tenant_id uuid, domain text, status text)"
        )
    await init_in(database)
    async with Database(parse(database.url)) as client:
        table = await usable_table(client, TableName.parse("domains"))
        assert not table.is_unique
        store, order = Store(client, table), Order(UUID(TENANT))
        assert await store.add(["a.test"], order) == Added(added=1)
        assert await store.add(["a.test", "b.test"], order) == Added(added=1, present=1)


async def test_a_site_is_there_once_where_tenants_are_texts(database: Place) -> None:
    execute(
        database,
        "CREATE TABLE domains (id serial PRIMARY KEY, tenant_id varchar(36), domain text,"
        " status text, UNIQUE (tenant_id, domain))",
    )
    table = await init_in(database)
    async with opened(database) as client:
        store, order = Store(client, table), Order(UUID(TENANT))
        assert await store.add(["a.test"], order) == Added(added=1)
        execute(database, "UPDATE domains SET tenant_id = 'the gardeners'")
        assert await store.add(["a.test", "b.test"], order) == Added(added=1, present=1)
        assert query(database, "SELECT tenant_id FROM domains ORDER BY id") == [
            "the gardeners",
            None,
        ]
        again = await store.add(["a.test"], Order(UUID(TENANT), requeue=True))
        assert again == Added(present=1, requeued=1)


async def test_what_no_index_serves_is_not_looked_up_name_by_name(database: Place) -> None:
    """A `citext` or `char(n)` is compared as text: each name would read the whole table."""
    execute(
        database,
        "CREATE TABLE domains (id serial PRIMARY KEY, domain char(63) UNIQUE, status text)",
    )
    table = await init_in(database)
    names = [f"{number}.test" for number in range(50)]
    async with opened(database) as client, client.transaction() as cursor:
        assert (await Adding(cursor, table, Order(UUID(TENANT)), None).all(names)).added == 50
        await cursor.execute(
            "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'domains'"
        )
        (scans,) = await cursor.fetchone() or (None,)
        assert scans < 10


UNFIT_TO_ADD = {
    "id int PRIMARY KEY, domain text": 1,
    "id smallint PRIMARY KEY, domain text": 1,
    "id uuid PRIMARY KEY, domain text": 1,
    "id number PRIMARY KEY, domain text": 1,
    'id serial PRIMARY KEY, domain text, "Own er" text NOT NULL, score int NOT NULL': 2,
    "id serial PRIMARY KEY, domain text, owner text NOT NULL DEFAULT '', n int": 0,
    "id serial PRIMARY KEY, domain text, owner nobody NOT NULL": 0,
    "id serial PRIMARY KEY, domain text, owner somebody": 1,
    "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, domain text NOT NULL": 0,
}


@pytest.mark.parametrize("columns", UNFIT_TO_ADD)
async def test_what_keeps_add_from_filling_a_row_is_known_and_how_to_mend_it(
    database: Place, columns: str
) -> None:
    execute(database, "CREATE DOMAIN nobody AS text DEFAULT 'nobody'")
    execute(database, "CREATE DOMAIN somebody AS text NOT NULL; CREATE DOMAIN number AS int")
    execute(database, f'CREATE TABLE "Do mains" ({columns}, status text)')
    name, order = TableName("Do mains"), Order(UUID(TENANT))
    await init_in(database, name)
    key = "gen_random_uuid()" if "uuid" in columns else "7"
    if UNFIT_TO_ADD[columns] == 1 and not re.search("somebody|number", columns):
        execute(database, f"INSERT INTO \"Do mains\" (id, domain) VALUES ({key}, 'old.test')")
    async with opened(database) as client:
        store = Store(client, await usable_table(client, name))
        found = await store.obstacles()
        assert len(found) == UNFIT_TO_ADD[columns]
        if found:
            with pytest.raises(DatabaseError, match="refused") as caught:
                await store.add(["a.test"], order)
            assert "23502" in caught.value.why
            assert caught.value.hint == "\n".join(obstacle.hint for obstacle in found)
        for obstacle in found:
            mend = re.sub("^give it a default(, or)?: ", "", obstacle.hint)
            execute(database, mend.replace("...", "'7'"))
        assert await store.obstacles() == []
        assert await store.add(["a.test"], order) == Added(added=1)


async def test_what_a_trigger_may_fill_keeps_nobody_from_adding(database: Place) -> None:
    execute(
        database,
        "CREATE TABLE domains (id int PRIMARY KEY, domain text, status text);"
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.id = 1; RETURN NEW; END';"
        "CREATE TRIGGER fill BEFORE INSERT ON domains FOR EACH ROW EXECUTE FUNCTION fill()",
    )
    table = await init_in(database)
    async with opened(database) as client:
        assert await Store(client, table).obstacles() == []


async def test_the_right_to_a_sequence_is_asked_for_where_it_is_lacking(
    database: Place, guest: Place
) -> None:
    execute(database, "CREATE TABLE domains (id serial PRIMARY KEY, domain text, status text)")
    await init_in(database)
    execute(
        database,
        f'GRANT SELECT, INSERT, UPDATE ON domains TO "{guest.keywords["user"]}"',
    )
    async with opened(guest) as client:
        store = Store(client, await usable_table(client, NAME))
        (found,) = await store.obstacles()
        with pytest.raises(DatabaseError, match="for want of a right") as caught:
            await store.add(["a.test"], Order(UUID(TENANT)))
        assert caught.value.hint == found.hint
        assert found.hint.startswith('GRANT USAGE ON SEQUENCE "public"."domains_id_seq" TO ')
        execute(database, found.hint)
        assert await store.obstacles() == []
        assert await store.add(["a.test"], Order(UUID(TENANT))) == Added(added=1)


async def test_an_enumeration_without_our_words_is_refused(database: Place) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TYPE word AS ENUM ('pending', 'processing', 'done')")
        connection.execute(
            "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status word)"
        )
    with pytest.raises(SchemaMismatch, match="cannot be completed, error") as caught:
        await init_in(database)
    assert caught.value.hint == (
        "ALTER TYPE word ADD VALUE 'completed'; ALTER TYPE word ADD VALUE 'error';"
    )


FIRST_WITH_REMARKS = 180000
OLD_WORDS = "IN ('active', 'pending', 'completed')"
STATUSES = {
    f"status text CHECK (status {OLD_WORDS})": "TABLE public.domains",
    f"status char(12) CONSTRAINT \"a b\" CHECK (status {OLD_WORDS} OR status LIKE 'x%')": "TABLE",
    f"status varchar(20) CHECK (status {OLD_WORDS}), CHECK (status <> '')": "TABLE public.domains",
    "status words": "DOMAIN words",
}


@pytest.mark.parametrize("status", STATUSES)
async def test_a_constraint_that_our_words_do_not_pass_is_told_before_any_row_is_claimed(
    database: Place, status: str
) -> None:
    with database.connect() as connection:
        connection.execute(f"CREATE DOMAIN words AS text CHECK (VALUE {OLD_WORDS})")
        connection.execute(
            f"CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, {status})"
        )
    with pytest.raises(SchemaMismatch, match="cannot be processing, error") as caught:
        await init_in(database)
    assert "refuses that: CHECK (" in caught.value.why
    assert f"ALTER {STATUSES[status]}" in caught.value.hint
    execute(database, caught.value.hint.partition(": ")[2])
    assert (await init_in(database)).missing == ()
    execute(database, "INSERT INTO domains (domain, status) VALUES ('a.test', 'active')")
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(database, "INSERT INTO domains (domain, status) VALUES ('b.test', 'paused')")


@pytest.mark.parametrize(
    "constraint",
    [
        "CHECK (status IN ('active', 'pending', 'processing', 'completed', 'error'))",
        "CHECK (status <> 'error' OR domain <> '')",
        "CHECK (length(status) < 20 AND status NOT LIKE '%;%')",
    ],
)
async def test_a_constraint_that_our_words_pass_or_that_asks_for_more_is_no_hindrance(
    database: Place, constraint: str
) -> None:
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status text,"
            f" {constraint})"
        )
    assert (await init_in(database)).has_index


async def test_a_constraint_that_is_not_enforced_is_no_hindrance(database: Place) -> None:
    with database.connect() as connection:
        if connection.info.server_version < FIRST_WITH_REMARKS:
            pytest.skip("this server enforces every constraint")
        connection.execute(
            "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status text,"
            f" CHECK (status {OLD_WORDS}) NOT ENFORCED)"
        )
    assert (await init_in(database)).has_index


@pytest.mark.parametrize("status", ["text CHECK (see(status))", "seen_text"])
async def test_what_a_constraint_does_when_it_is_tried_out_is_undone(
    database: Place, status: str
) -> None:
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE seen (status text);"
            "CREATE FUNCTION see(status text) RETURNS boolean LANGUAGE sql"
            " AS 'INSERT INTO seen VALUES (status) RETURNING true';"
            "CREATE DOMAIN seen_text AS text CHECK (see(VALUE));"
            f"CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status {status})"
        )
        assert (await init_in(database)).has_index
        assert connection.execute("SELECT count(*) FROM seen").fetchone() == (0,)


TOO_SHORT = {
    "varchar(9)": "processin",
    "varchar(8)": "processi, complete",
    "char(9)": "processin",
    "short": "processin",
    '"char"': "p, p, c, e",
}


@pytest.mark.parametrize("kind", TOO_SHORT)
async def test_a_status_that_is_too_short_for_our_words_is_told_before_one_is_cut(
    database: Place, kind: str
) -> None:
    execute(database, "CREATE DOMAIN short AS varchar(9)")
    execute(
        database, f"CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status {kind})"
    )
    change = ""
    for attempt in (checked_in, init_in):
        with pytest.raises(
            SchemaMismatch, match=r"the column status .* cannot be .*proc"
        ) as caught:
            await attempt(database)
        assert caught.value.why.endswith(f" would keep them as {TOO_SHORT[kind]}")
        change = caught.value.hint.partition(": ")[2]
    execute(database, change)
    assert (await init_in(database)).missing == ()


@pytest.mark.parametrize("kind", ["integer", "boolean", "text[]", "uuid", "point", "strict"])
async def test_a_status_of_a_type_that_our_words_are_none_of_is_no_status_of_ours(
    database: Place, kind: str
) -> None:
    execute(database, "CREATE DOMAIN loose AS text CHECK (length(VALUE) < 5)")
    execute(database, "CREATE DOMAIN strict AS loose")
    execute(
        database, f"CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status {kind})"
    )
    for attempt in (checked_in, init_in):
        with pytest.raises(SchemaMismatch, match="be pending, processing, completed, err") as it:
            await attempt(database)
        assert it.value.why.startswith(f"its type {kind} refuses them: ")


@pytest.mark.parametrize(
    "kind", ["varchar(10)", "varchar", "char(10)", "char(12)", "ten", '"100%s"', "name"]
)
async def test_a_status_with_just_enough_room_serves(database: Place, kind: str) -> None:
    execute(database, 'CREATE DOMAIN ten AS varchar(10); CREATE DOMAIN "100%s" AS ten')
    execute(
        database, f"CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status {kind})"
    )
    assert (await init_in(database)).missing == ()


async def test_a_status_whose_own_check_raises_is_told_as_any_other(database: Place) -> None:
    execute(
        database,
        "CREATE FUNCTION picky(text) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not %', $1; END $$;"
        " CREATE DOMAIN strict AS text CHECK (picky(VALUE));"
        " CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status strict)",
    )
    with pytest.raises(SchemaMismatch, match="the column status of table") as caught:
        await init_in(database)
    assert caught.value.why == "its type strict refuses them: not pending"


async def test_a_status_of_a_type_that_we_may_not_name_serves(
    database: Place, guest: Place
) -> None:
    execute(
        database,
        "CREATE SCHEMA theirs; CREATE TYPE theirs.word AS ENUM ('pending', 'processing',"
        " 'completed', 'error'); CREATE TABLE domains (id uuid PRIMARY KEY DEFAULT"
        " gen_random_uuid(), domain text UNIQUE, status theirs.word)",
    )
    await init_in(database)
    user = guest.keywords["user"]
    execute(database, f'GRANT SELECT, INSERT, UPDATE ON domains TO "{user}"')
    async with opened(guest) as client:
        store = Store(client, await usable_table(client, NAME))
        assert await store.add(["a.test"], Order(UUID(TENANT))) == Added(added=1)
