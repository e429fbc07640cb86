"""The table domainsched needs: what the catalogue says is there, what is missing, and `init`.

The catalogue is the truth about names and types. An existing table only ever gains columns and one
index; nothing it has is changed or dropped.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import resources
from typing import Any, LiteralString

import psycopg
from psycopg import errors as pg_errors
from psycopg import sql

from domainsched.database.connection import PATIENCE, Cursor, Database
from domainsched.errors import ConfigError, DatabaseError, SchemaMismatch
from domainsched.models import Status

ADDED_COLUMNS: Mapping[str, str] = {
    "attempts": "integer NOT NULL DEFAULT 0",
    "due_at": "timestamptz NOT NULL DEFAULT now()",
    "claim_token": "uuid",
    "claimed_by": "text",
    "last_error": "text",
    "last_error_kind": "text",
    "title": "text",
    "description": "text",
    "language": "text",
    "favicon_url": "text",
    "logo_url": "text",
    "email_addresses": "text[]",
    "phone_numbers": "text[]",
    "facebook_url": "text",
    "twitter_url": "text",
    "linkedin_url": "text",
    "instagram_url": "text",
    "youtube_url": "text",
    "is_wordpress": "boolean",
    "wordpress_version": "text",
    "has_elementor": "boolean",
    "tech_stack": "jsonb",
    "domain_metadata": "jsonb",
}
"""What `init` adds to an existing table. None of it rewrites the table: `now()` is evaluated once,
when the column is added (PostgreSQL documentation, ALTER TABLE, Notes)."""

OPTIONAL_COLUMNS: Mapping[str, str] = {"batch_id": "text"}
"""What `init` adds as well, and a table may do without, or have in a type of its own."""

LONGEST: Mapping[str, int] = {
    "domain": 253,
    "status": 10,
    "claimed_by": 100,
    "last_error": 300,
    "last_error_kind": 20,
    "title": 1000,
    "description": 5000,
    "language": 35,
    "favicon_url": 2000,
    "logo_url": 2000,
    "email_addresses": 254,
    "phone_numbers": 16,
    "facebook_url": 200,
    "twitter_url": 200,
    "linkedin_url": 200,
    "instagram_url": 200,
    "youtube_url": 200,
    "wordpress_version": 30,
    "elementor_version": 30,
    "wordpress_theme": 100,
    "server_type": 300,
    "ssl_issuer": 100,
    "ssl_version": 7,
    "ip_address": 39,
    "google_analytics_id": 18,
    "google_tag_manager_id": 14,
    "copyright_year": 9,
}
"""Characters that a text may have which we store: what the column should have room for."""

KEY_COLUMNS = ("id", "domain", "status")
"""What `init` cannot add: without these it is not a table of domains."""

INDEX_PREDICATE = sql.SQL("status IN ('pending', 'processing')")
READING = ("SELECT",)
RIGHTS = (*READING, "INSERT", "UPDATE")
INDEX_PATIENCE = timedelta(minutes=5)
"""How long we wait for another process that builds the index of a large table."""
_INDEX_TRIES = 10
_LONGEST_NAME = 63
"""Bytes; PostgreSQL cuts longer names without a word."""

_GENERATED = " (generated)"
"""Added to the type of a column that nobody can write."""

_TEXT = frozenset({"text", "character varying", "citext"})
_WHOLE = frozenset({"smallint", "integer", "bigint"})
_MOMENT = frozenset({"timestamp with time zone", "timestamp without time zone"})
_TYPES_OF: Mapping[str, frozenset[str]] = {
    "integer": _WHOLE,
    "timestamptz": frozenset({"timestamp with time zone"}),
    "uuid": frozenset({"uuid"}),
    "text": _TEXT,
    "text[]": frozenset({"text[]", "character varying[]"}),
    "boolean": frozenset({"boolean"}),
    "jsonb": frozenset({"jsonb", "json"}),
    "list": frozenset({"text[]", "character varying[]", "jsonb", "json"}),
}
"""Which types of an existing column serve where one of the type on the left is meant."""

# Storage options for a table we made: claims leave dead entries at the head of the index, which
# autovacuum's proportional thresholds would let pile up. Not every engine knows them.
_STORAGE = sql.SQL(
    "ALTER TABLE {table} SET (fillfactor = 80, toast_tuple_target = 256,"
    " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,"
    " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,"
    " vacuum_index_cleanup = on)"
)
_LIMITED = re.compile(r"character varying\((\d+)\)")
_SHORT = re.compile(r"character(?: varying)?\((\d+)\)(?:\[\])?")


@dataclass(frozen=True)
class TableName:
    """A table's name, with its schema where one was given."""

    table: str
    schema: str | None = None

    @classmethod
    def parse(cls, text: str, *, schema: str | None = None) -> TableName:
        """Read `table` or `schema.table`; `schema` serves where `text` names none."""
        *given, table = text.split(".")
        if len(given) > 1 or not all(map(_is_plain, (*given, table))):
            raise ConfigError(
                "DOMAINSCHED_TABLE is not the name of a table",
                why=f"{text!r} is neither table nor schema.table",
                hint="write DOMAINSCHED_TABLE=domains, or schema.domains",
            )
        return cls(table, given[0] if given else schema)

    @property
    def identifier(self) -> sql.Identifier:
        """For statements; without a schema, the search path decides."""
        return (
            sql.Identifier(self.schema, self.table) if self.schema else sql.Identifier(self.table)
        )


def _is_plain(name: str) -> bool:
    """Tell a name that nobody needs to quote, but for capitals, which are taken as they are."""
    return bool(re.fullmatch(r"[^\W\d][\w$]*", name)) and len(name.encode()) <= _LONGEST_NAME


@dataclass(frozen=True)
class Table:
    """A table as the catalogue has it."""

    oid: int
    schema: str
    name: str
    columns: Mapping[str, str]
    """Name to type, as `format_type` writes it: "character varying(10)"."""
    has_index: bool
    has_broken_index: bool
    """A build that was killed half-way left the index behind, invalid."""
    lacks_rights: tuple[str, ...]
    role: str
    unique_per_tenant: bool
    """A tenant's domain may be another's, too; otherwise a domain is unique in the whole table."""
    is_unique: bool
    """The database itself keeps a domain from standing there twice."""

    @property
    def identifier(self) -> sql.Identifier:
        """Its qualified name, for statements."""
        return sql.Identifier(self.schema, self.name)

    @property
    def missing(self) -> tuple[str, ...]:
        """What `init` would add, in words: "claim_token uuid"."""
        columns = [f"{n} {d.split()[0]}" for n, d in ADDED_COLUMNS.items() if n not in self.columns]
        return (*columns, *(() if self.has_index else ("the index of the claim",)))

    def is_aware(self, column: str) -> bool:
        """Whether a column of times knows their zone; those in others are UTC."""
        return not self.columns.get(column, "").endswith("without time zone")

    def now(self, column: str) -> sql.SQL:
        """Write "now" as `column` wants it: UTC where its type has no time zone."""
        if not self.is_aware(column):
            return sql.SQL("timezone('UTC', statement_timestamp())")
        return sql.SQL("statement_timestamp()")

    def can_hold(self, column: str, kind: str) -> bool:
        """Whether the table has the column, for values of this kind; "any" is told by no type."""
        written = self.columns.get(column, _GENERATED)
        if kind == "any":
            return not written.endswith(_GENERATED)
        return _plain_type(written) in _TYPES_OF[kind]

    def type_of(self, column: str) -> sql.SQL:
        """Write a column's type, for casts."""
        return sql.SQL(self.columns[column].replace("%", "%%"))

    @property
    def lengths(self) -> dict[str, int]:
        """Which columns hold only short texts, and how many characters."""
        limits = {name: _LIMITED.fullmatch(kind) for name, kind in self.columns.items()}
        return {name: int(limit[1]) for name, limit in limits.items() if limit}

    @property
    def too_short(self) -> dict[str, str]:
        """Which columns cannot hold all that is stored in them, with their types."""
        limits = {name: _SHORT.fullmatch(self.columns.get(name, "")) for name in LONGEST}
        return {
            name: self.columns[name]
            for name, limit in limits.items()
            if limit and int(limit[1]) < LONGEST[name]
        }

    def stamp(self, *columns: str) -> list[sql.Composable]:
        """Write `column = now` for those of `columns` that the table has."""
        return [
            sql.SQL("{} = {}").format(sql.Identifier(column), self.now(column))
            for column in columns
            if _plain_type(self.columns.get(column, "")) in _MOMENT
        ]


async def usable_table(
    database: Database, name: TableName, rights: Sequence[LiteralString] = RIGHTS
) -> Table:
    """Find the table and check, once and completely, that it has what is needed.

    Only these `rights` must be there; the table knows all that the role lacks.

    Raises:
        SchemaMismatch: it is not there, or lacks something; all of it in one error.
        DatabaseError: a right is missing, or the database is away.
    """
    table = await database.run(lambda: find_table(database, name))
    if table is None:
        where = f"{name.schema or 'public'}.{name.table}"
        raise SchemaMismatch(
            f'table {where} does not exist in database "{_dbname(database)}"',
            hint="check DOMAINSCHED_TABLE, or create it: domainsched init",
        )
    where = f"{table.schema}.{table.name}"
    if table.missing:
        raise SchemaMismatch(
            f"table {where} lacks {len(table.missing)} of the things that domainsched needs",
            why=", ".join(table.missing),
            hint="domainsched init",
        )
    if lacking := [right for right in table.lacks_rights if right in rights]:
        raise DatabaseError(
            f'role "{table.role}" may not {", ".join(lacking)} {where}',
            hint=grant(table, rights),
        )
    return table


async def find_table(database: Database, name: TableName) -> Table | None:
    """Read the catalogue. Without a schema, the search path decides, as it would in a statement."""
    async with database.transaction() as cursor:
        return await _find(cursor, name)


async def columns_of(database: Database, name: TableName) -> dict[str, str]:
    """Read the columns of whatever has this name, name to type; none where nothing has it."""

    async def operation() -> dict[str, str]:
        async with database.transaction(read_only=True) as cursor:
            row = await _located(cursor, name)
            return await _columns(cursor, row[0]) if row else {}

    return await database.run(operation)


async def _located(cursor: Cursor, name: TableName) -> tuple[Any, ...] | None:
    return await _one(
        cursor,
        "SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, current_user,"
        " (SELECT array_agg(r) FROM unnest(%(rights)s::text[]) r"
        "   WHERE NOT has_table_privilege(c.oid, r)),"
        " ARRAY(SELECT array_to_string(ARRAY(SELECT attname FROM pg_attribute"
        "     WHERE attrelid = c.oid AND attnum = ANY(i.indkey[0:i.indnkeyatts - 1])"
        "     ORDER BY attname), ' ')"
        "   FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid"
        "   AND i.indpred IS NULL AND i.indexprs IS NULL)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %(table)s AND CASE WHEN %(schema)s::text IS NULL"
        "   THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END",
        {"rights": list(RIGHTS), "table": name.table, "schema": name.schema},
    )


async def qualified(database: Database, name: TableName) -> str:
    """Write the name that `init` will give the table: with its schema."""

    async def operation() -> str:
        async with database.transaction(read_only=True) as cursor:
            row = await _one(cursor, "SELECT current_schema()", ())
            return f"{name.schema or (row and row[0]) or 'public'}.{name.table}"

    return await database.run(operation)


async def _find(cursor: Cursor, name: TableName) -> Table | None:
    row = await _located(cursor, name)
    if row is None:
        return None
    oid, schema, table, kind, role, lacks, uniques = row
    _check_kind(f"{schema}.{table}", kind)
    columns = await _columns(cursor, oid)
    _check_key_columns(f"{schema}.{table}", columns)
    _check_types(f"{schema}.{table}", columns)
    await _check_status(cursor, oid, f"{schema}.{table}")
    await _check_constraints(cursor, oid, f"{schema}.{table}")
    await _check_identity(cursor, oid, f"{schema}.{table}")
    return Table(
        oid,
        schema,
        table,
        columns,
        has_index=await _has_claim_index(cursor, oid),
        has_broken_index=await _has_broken_index(cursor, oid, table),
        lacks_rights=tuple(lacks or ()),
        role=role,
        unique_per_tenant="tenant_id" in columns and "domain" not in uniques,
        is_unique=not {"domain", "domain tenant_id"}.isdisjoint(uniques),
    )


def _check_kind(name: str, kind: str) -> None:
    if kind != "r":
        raise SchemaMismatch(
            f"{name} is not an ordinary table",
            why="rows are claimed in a table, not in a view, a partitioned table or the like",
            hint="point DOMAINSCHED_TABLE at the table itself",
        )


def _check_key_columns(name: str, columns: Mapping[str, str]) -> None:
    lacking = [column for column in KEY_COLUMNS if column not in columns]
    if lacking:
        raise SchemaMismatch(
            f"table {name} is not a table of domains",
            why=f"it has no column {', '.join(lacking)}",
            hint="point DOMAINSCHED_TABLE at another table, or at a new name for init to create",
        )


def _check_types(name: str, columns: Mapping[str, str]) -> None:
    """Refuse a table whose columns of our names are for something else: no statement would hold."""
    odd = [
        f"{column} {columns[column]}"
        for column, definition in ADDED_COLUMNS.items()
        if column in columns
        and _plain_type(columns[column]) not in _TYPES_OF[definition.split()[0]]
    ]
    if odd:
        raise SchemaMismatch(
            f"table {name} has columns of its own where domainsched needs others",
            why=", ".join(odd),
            hint="rename them, or drop what restricts them, and then: domainsched init",
        )


def _plain_type(written: str) -> str:
    return re.sub(r"\(\d+\)", "", written)


async def _check_status(cursor: Cursor, oid: int, name: str) -> None:
    """Refuse an enumeration without our words: every result would be lost."""
    await cursor.execute(
        "SELECT enumtypid::regtype::text, enumlabel::text FROM pg_enum"
        " WHERE enumtypid = (SELECT atttypid FROM pg_attribute"
        "   WHERE attrelid = %s AND attname = 'status')",
        [oid],
    )
    labels = await cursor.fetchall()
    lacking = [status for status in Status if status not in {label for _, label in labels}]
    if labels and lacking:
        raise SchemaMismatch(
            f"the column status of table {name} cannot be {', '.join(lacking)}",
            why=f"its type {labels[0][0]} has no such value",
            hint=" ".join(f"ALTER TYPE {labels[0][0]} ADD VALUE '{word}';" for word in lacking),
        )


async def _check_constraints(cursor: Cursor, oid: int, name: str) -> None:
    """Refuse a CHECK on the status alone that our words do not pass; so may a domain's type be."""
    await cursor.execute(
        "SELECT quote_ident(c.conname), pg_get_expr(c.conbin, c.conrelid),"
        " pg_get_constraintdef(c.oid), CASE WHEN c.conrelid = 0 THEN c.contypid::regtype::text END,"
        " format_type(coalesce(nullif(t.typbasetype, 0), t.oid), -1)"
        " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_constraint c"
        " ON c.contypid = t.oid OR (c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum])"
        " WHERE a.attrelid = %s AND a.attname = 'status' AND c.contype = 'c' ORDER BY 1",
        [oid],
    )
    for constraint, expression, definition, domain, kind in await cursor.fetchall():
        if definition.endswith(" NOT ENFORCED"):  # PostgreSQL 18: a mere remark
            continue
        if refused := await _refused(cursor, expression, kind):
            where = f"DOMAIN {domain}" if domain else f"TABLE {name}"
            raise SchemaMismatch(
                f"the column status of table {name} cannot be {', '.join(refused)}",
                why=f"its constraint {constraint} refuses that: {definition}",
                hint=f"add it anew with these words: ALTER {where} DROP CONSTRAINT {constraint};",
            )


async def _refused(cursor: Cursor, expression: str, kind: str) -> list[str]:
    """Say which of our words a constraint refuses; what cannot be tried out refuses none.

    Whatever its functions do is undone: nobody asked for it.
    """
    query = "SELECT status::text FROM unnest(%s::{}[]) AS t(status) WHERE NOT ({})"
    tried = re.sub(r"\bVALUE\b", "status", expression)  # as a domain's constraint names it
    composed = query.format(kind, tried.replace("%", "%%"))
    refused: list[str] = []
    with contextlib.suppress(psycopg.Error):
        async with cursor.connection.transaction(force_rollback=True):
            await cursor.execute(composed.encode(), [list(Status)])
            refused = [word.rstrip() for (word,) in await cursor.fetchall()]
    return refused


async def _check_identity(cursor: Cursor, oid: int, name: str) -> None:
    row = await _one(
        cursor,
        "SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
        " AND a.attname = 'id' AND a.attnotnull AND i.indkey[0] = a.attnum"
        " WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1"
        " AND i.indpred IS NULL",
        [oid],
    )
    if row is None:
        raise SchemaMismatch(
            f"the rows of table {name} cannot be told apart",
            why="its column id is neither a primary key, nor unique and NOT NULL",
            hint=f"ALTER TABLE {name} ADD PRIMARY KEY (id);",
        )


async def _columns(cursor: Cursor, oid: int) -> dict[str, str]:
    await cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod)"
        " || CASE WHEN attgenerated <> '' THEN ' (generated)'"
        "         WHEN attname = 'due_at' AND NOT attnotnull THEN ' (may be null)' ELSE '' END"
        " FROM pg_attribute"
        " WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    )
    return dict(await cursor.fetchall())


async def _has_claim_index(cursor: Cursor, oid: int) -> bool:
    """Look for a valid index with our predicate that leads with due_at, whatever its name."""
    row = await _one(
        cursor,
        "SELECT FROM pg_index i WHERE i.indrelid = %s AND i.indisvalid"
        " AND pg_get_expr(i.indpred, i.indrelid) LIKE %s"
        " AND i.indkey[0] = (SELECT attnum FROM pg_attribute"
        "   WHERE attrelid = i.indrelid AND attname = 'due_at')",
        [oid, "%status%'pending'%'processing'%"],
    )
    return row is not None


async def _has_broken_index(cursor: Cursor, oid: int, table: str) -> bool:
    row = await _one(
        cursor,
        "SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = %s AND c.relname = %s AND NOT i.indisvalid",
        [oid, _index_of(table)],
    )
    return row is not None


def statements(table: Table | None, name: TableName, lease: timedelta) -> list[sql.Composed]:
    """Write out what `init` will execute; nothing when nothing is missing.

    Rows that an older system left `processing` have no claim token; they get a lease from now, so
    that whoever still works on them can end, and are then reclaimed.
    """
    return [*_transactional(table, name, lease), *_for_index(table)]


def _transactional(table: Table | None, name: TableName, lease: timedelta) -> list[sql.Composed]:
    if table is None:
        return [_creation(name), _storage(name)]
    wanted = {**ADDED_COLUMNS, **OPTIONAL_COLUMNS}
    added = {name: kind for name, kind in wanted.items() if name not in table.columns}
    result = [_addition(table, added)] if added else []
    if "claim_token" in added:
        result.append(_adoption(table, lease))
    return result


def _for_index(table: Table | None) -> list[sql.Composed]:
    if table is None or table.has_index:
        return []
    return [*([_removal(table)] if table.has_broken_index else []), _index(table)]


async def init(database: Database, name: TableName, lease: timedelta) -> Table:
    """Create the table, or add what an existing one lacks. Idempotent; processes may race.

    Raises:
        DatabaseError: a right is missing, a stranger's lock did not go away, the database is away.
    """
    table = await database.run(lambda: _make(database, name, lease), patience=PATIENCE)
    for _ in range(_INDEX_TRIES):
        if table.has_index:
            return table
        clear = partial(_without_broken_index, database, name, table)
        table = await database.run(clear, patience=INDEX_PATIENCE)
        build = partial(_build_index, database, name, table)
        table = await database.run(build, patience=PATIENCE)
    raise DatabaseError(
        f"the index of the claim on {table.schema}.{table.name} did not become valid",
        why="another process keeps dropping it, or something else has its name",
        hint=f"see what {_index_name(table).as_string()} is, rename it, and then: domainsched init",
    )


async def _make(database: Database, name: TableName, lease: timedelta) -> Table:
    """Do all that can be done in one transaction, one process at a time."""
    async with database.transaction() as cursor:
        await cursor.execute("SELECT pg_advisory_xact_lock(hashtext('domainsched init'))")
        table = await _find(cursor, name)
        for statement in _transactional(table, name, lease):
            if statement == _storage(name):
                await _attempt(cursor, statement)
            else:
                await cursor.execute(statement)
        found = await _find(cursor, name)
    if found is None:
        raise SchemaMismatch(
            f"table {name.table} was created but is not on the search path",
            hint="name its schema: DOMAINSCHED_TABLE=schema.table",
        )
    return found


async def _attempt(cursor: Cursor, statement: sql.Composed) -> None:
    """Execute it, or do without on an engine that does not know it."""
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
        current = await _find(cursor, name) or table
        if current.has_broken_index and not current.has_index:
            await cursor.execute(_removal(table))
        return current


def _creation(name: TableName) -> sql.Composed:
    """Fill in schema.sql, which stands for new tables only."""
    text = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    index = sql.Identifier(_index_of(name.table))
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
        sql.Identifier(_index_of(table.name)), table.identifier, INDEX_PREDICATE
    )


def _index_name(table: Table) -> sql.Identifier:
    return sql.Identifier(table.schema, _index_of(table.name))


def _index_of(table: str) -> str:
    """Name the index as PostgreSQL would cut it, so that it can be found again."""
    suffix = "_due_idx"
    room = _LONGEST_NAME - len(suffix)
    return table.encode()[:room].decode(errors="ignore") + suffix


def grant(table: Table, rights: Sequence[LiteralString] = RIGHTS) -> str:
    """Write the statement that gives the role these rights."""
    listed, role = sql.SQL(", ").join(map(sql.SQL, rights)), sql.Identifier(table.role)
    return sql.SQL("GRANT {} ON {} TO {};").format(listed, table.identifier, role).as_string()


async def _one(
    cursor: Cursor, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]
) -> tuple[Any, ...] | None:
    await cursor.execute(query, parameters)
    return await cursor.fetchone()


def _dbname(database: Database) -> str:
    return database.url.keywords.get("dbname", "postgres")
