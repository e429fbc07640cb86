"""`init`: makes the table, or what an existing one lacks.

An existing table only ever gains columns and one index; nothing it has is changed or dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from importlib import resources

import psycopg
from psycopg import errors as pg_errors
from psycopg import sql

from domainsched.database.catalogue import find, find_table, no_entry
from domainsched.database.connection import PATIENCE, Cursor, Database
from domainsched.database.table import ADDED_COLUMNS, OPTIONAL_COLUMNS, Table, TableName, index_of
from domainsched.errors import DatabaseError, SchemaMismatch

INDEX_PREDICATE = sql.SQL("status IN ('pending', 'processing')")
INDEX_PATIENCE = timedelta(minutes=5)
"""How long we wait for another process that builds the index of a large table."""
_INDEX_TRIES = 10
# Storage options for a table we made: claims leave dead entries at the head of the index, which
# autovacuum's proportional thresholds would let pile up. Not every engine knows them.
_STORAGE = sql.SQL(
    "ALTER TABLE {table} SET (fillfactor = 80, toast_tuple_target = 256,"
    " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,"
    " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,"
    " vacuum_index_cleanup = on)"
)


def statements(table: Table | None, name: TableName, lease: timedelta) -> list[sql.Composed]:
    """Write out what `init` will execute; nothing when nothing is missing.

    Rows that an older system left `processing` have no claim token; they get a lease from now, so
    that whoever still works on them can end, and are then reclaimed. What a table may do without it
    does without where another role owns it, and lacks nothing else.
    """
    return [*_transactional(table, name, lease), *_for_index(table)]


def _transactional(table: Table | None, name: TableName, lease: timedelta) -> list[sql.Composed]:
    if table is None:
        return [_creation(name), _storage(name)]
    optional = OPTIONAL_COLUMNS if table.is_owned or table.missing else {}
    wanted = {**ADDED_COLUMNS, **optional}
    added = {name: kind for name, kind in wanted.items() if name not in table.columns}
    result = [_addition(table, added)] if added else []
    if "claim_token" in added:
        result.append(_adoption(table, lease))
    return result


def _for_index(table: Table | None) -> list[sql.Composed]:
    if table is None or table.has_index:
        return []
    return [*([_removal(table)] if table.has_broken_index else []), _index(table)]


async def init(
    database: Database,
    name: TableName,
    lease: timedelta,
    say: Callable[[str], object] = lambda _: None,
) -> Table:
    """Create the table, or add what an existing one lacks. Idempotent; processes may race.

    What may take long is told by `say`.

    Raises:
        DatabaseError: a right is missing, a stranger's lock did not go away, the database is away.
    """
    table = await database.run(lambda: _make(database, name, lease), patience=PATIENCE)
    if not table.has_index:
        say("building the index, which waits for all transactions that are open now")
    for _ in range(_INDEX_TRIES):
        if table.has_index:
            return table
        clear = partial(_without_broken_index, database, name, table)
        table = await database.run(clear, patience=INDEX_PATIENCE)
        build = partial(_build_index, database, name, table)
        table = await database.run(build, patience=PATIENCE)
    raise DatabaseError(
        f"the index of the claim on {table.written} did not become valid",
        why="another process keeps dropping it, or something else has its name",
        hint=f"see what {_index_name(table).as_string()} is, rename it, and then: domainsched init",
    )


async def _make(database: Database, name: TableName, lease: timedelta) -> Table:
    """Do all that can be done in one transaction, one process at a time."""
    async with database.transaction() as cursor:
        await cursor.execute("SELECT pg_advisory_xact_lock(hashtext('domainsched init'))")
        table = await find(cursor, name)
        if lacking := await hindrance(cursor, name, table):
            raise lacking
        for statement in _transactional(table, name, lease):
            if statement == _storage(name):
                await _attempt(cursor, statement)
            else:
                await cursor.execute(statement)
        found = await find(cursor, name)
    if found is None:
        raise SchemaMismatch(
            f"table {name.table} was created but is not on the search path",
            hint="name its schema: DOMAINSCHED_TABLE=schema.table",
        )
    return found


async def hindrance(cursor: Cursor, name: TableName, table: Table | None) -> DatabaseError | None:
    """Find the right that `init` would miss, if there is anything to do; and whoever can help."""
    if table is not None and not table.is_owned and table.missing:
        return DatabaseError(
            f'role "{table.role}" does not own table {table.written}',
            why=f"it lacks {', '.join(table.missing)}",
            hint=table.init_hint,
        )
    if table is not None and table.has_index:
        return None
    wanted = name.schema if table is None else table.schema
    await cursor.execute(
        "SELECT nspname, current_user, array_to_string(ARRAY(SELECT r FROM"
        "   unnest('{USAGE,CREATE}'::text[]) r WHERE NOT has_schema_privilege(oid, r)), ', ')"
        " FROM pg_namespace WHERE nspname = coalesce(%s, current_schema(), 'public')",
        [wanted],
    )
    row = await cursor.fetchone()
    if row is None:
        schema = sql.Identifier(wanted or "public").as_string()
        return SchemaMismatch(
            "the table's schema does not exist",
            why=f"there is no schema {schema}",
            hint=f"CREATE SCHEMA {schema}; or correct DOMAINSCHED_TABLE",
        )
    what = "the table" if table is None else "the index of the claim"
    return no_entry(row[1], row[0], row[2], f"{what} is to be made there") if row[2] else None


async def _attempt(cursor: Cursor, statement: sql.Composed) -> None:
    """Execute it, or do without: an engine may not know it."""
    with contextlib.suppress(psycopg.Error):
        async with cursor.connection.transaction():
            await cursor.execute(statement)


async def _build_index(database: Database, name: TableName, table: Table) -> Table:
    """Build the index without locking the table."""
    if not table.has_index:
        with contextlib.suppress(pg_errors.UniqueViolation, pg_errors.DuplicateTable):
            await database.outside_transaction(_index(table))  # another may just have begun
    return await find_table(database, name) or table


async def _without_broken_index(database: Database, name: TableName, table: Table) -> Table:
    """Remove what a killed build left, once nobody is building.

    Raises LockNotAvailable if somebody is: to wait for their lock would hold up them, too, who
    wait for all older snapshots to end, and so kill them as one side of a deadlock.
    """
    async with database.transaction() as cursor:
        await cursor.execute(_lock(table))
        current = await find(cursor, name) or table
        if current.has_broken_index and not current.has_index:
            await cursor.execute(_removal(table))
        return current


def _creation(name: TableName) -> sql.Composed:
    """Fill in schema.sql, which stands for new tables only."""
    text = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    index = sql.Identifier(index_of(name.table))
    return sql.SQL(text).format(table=name.identifier, index=index)


def _storage(name: TableName) -> sql.Composed:
    return _STORAGE.format(table=name.identifier)


def _addition(table: Table, columns: Mapping[str, str]) -> sql.Composed:
    definitions = [
        sql.SQL("ADD COLUMN IF NOT EXISTS {} {}").format(
            sql.Identifier(column), sql.SQL(definition)
        )
        for column, definition in columns.items()
    ]
    return sql.SQL("ALTER TABLE {} {}").format(table.identifier, sql.SQL(", ").join(definitions))


def _adoption(table: Table, lease: timedelta) -> sql.Composed:
    return sql.SQL(
        "UPDATE {} SET due_at = statement_timestamp() + {}::interval"
        " WHERE status = 'processing' AND claim_token IS NULL"
    ).format(table.identifier, sql.Literal(f"{lease.total_seconds():.0f} seconds"))


def _removal(table: Table) -> sql.Composed:
    return sql.SQL("DROP INDEX {}").format(_index_name(table))


def _lock(table: Table) -> sql.Composed:
    """Take the lock that whoever builds an index holds."""
    lock = sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
    return lock.format(table.identifier)


def _index(table: Table) -> sql.Composed:
    return sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} (due_at, id) WHERE {}").format(
        sql.Identifier(index_of(table.name)), table.identifier, INDEX_PREDICATE
    )


def _index_name(table: Table) -> sql.Identifier:
    return sql.Identifier(table.schema, index_of(table.name))
