"""What the catalogue says of the table, and whether its rows can be claimed there.

The catalogue is the truth about names and types.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import errors as pg_errors
from psycopg import sql

from domainsched.database.connection import Cursor, Database
from domainsched.database.table import (
    ADDED_COLUMNS,
    KEY_COLUMNS,
    RIGHTS,
    Table,
    TableName,
    grant,
    index_of,
    is_misfit,
)
from domainsched.errors import DatabaseError, SchemaMismatch
from domainsched.models import Status

_ANY_LENGTH = frozenset({"text", "character varying", "citext"})
"""Types that cut nothing, and have no functions of their own."""


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
        like = await database.run(lambda: _spelt_otherwise(database, name))
        raise SchemaMismatch(
            f'table {where} does not exist in database "{_dbname(database)}"',
            hint=f"is it DOMAINSCHED_TABLE={like}?"
            if like
            else "check DOMAINSCHED_TABLE, or create it: domainsched init",
        )
    where = table.written
    if table.missing:
        raise SchemaMismatch(
            f"table {where} lacks {len(table.missing)} of the things that domainsched needs",
            why=", ".join(table.missing),
            hint=table.init_hint,
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
        return await find(cursor, name)


async def _spelt_otherwise(database: Database, name: TableName) -> str:
    """Find a table whose name differs in capitals only, which count in quoted names."""
    async with database.transaction(read_only=True) as cursor:
        row = await _one(
            cursor,
            "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE nspname || '.' END || relname"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE lower(relname) = lower(%(table)s) AND relkind = 'r'"
            " AND nspname NOT IN ('pg_catalog', 'information_schema') AND CASE"
            "   WHEN %(schema)s::text IS NULL THEN pg_table_is_visible(c.oid)"
            "   ELSE lower(nspname) = lower(%(schema)s) END",
            {"table": name.table, "schema": name.schema},
        )
    return str(row[0]) if row else ""


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
        "   AND i.indpred IS NULL AND i.indexprs IS NULL),"
        " pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE'),"
        " quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
        " has_schema_privilege(n.oid, 'USAGE')"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %(table)s AND CASE WHEN %(schema)s::text IS NULL"
        "   THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END",
        {"rights": list(RIGHTS), "table": name.table, "schema": name.schema},
    )


async def qualified(database: Database, name: TableName) -> str:
    """Write the name that `init` will give the table: with its schema."""

    async def operation() -> str:
        async with database.transaction(read_only=True) as cursor:
            row = await _one(
                cursor,
                "SELECT quote_ident(coalesce(%s, current_schema(), 'public'))"
                " || '.' || quote_ident(%s)",
                [name.schema, name.table],
            )
            return str(row and row[0])

    return await database.run(operation)


async def find(cursor: Cursor, name: TableName) -> Table | None:
    """Look the table up within a transaction; nothing where nothing has its name.

    Raises:
        SchemaMismatch: rows cannot be claimed in what has the name.
        DatabaseError: the role may not use its schema.
    """
    row = await _located(cursor, name)
    if row is None:
        return None
    oid, schema, table, kind, role, lacks, uniques, owner, is_owned, written, may_enter = row
    if not may_enter:
        raise no_entry(role, schema, "USAGE", f"table {written} is in it")
    _check_kind(written, kind)
    columns = await _columns(cursor, oid)
    _check_key_columns(written, columns)
    _check_types(written, columns)
    await _check_status(cursor, oid, written)
    await _check_constraints(cursor, oid, written)
    await _check_words(cursor, written, columns["status"])
    await _check_domain(cursor, oid, written)
    await _check_identity(cursor, oid, written)
    return Table(
        oid,
        schema,
        table,
        written,
        columns,
        has_index=await _has_claim_index(cursor, oid),
        has_broken_index=await _has_broken_index(cursor, oid, table),
        lacks_rights=tuple(lacks or ()),
        role=role,
        owner=owner,
        is_owned=is_owned,
        uniques=frozenset(uniques),
    )


def no_entry(role: str, schema: str, rights: str, why: str) -> DatabaseError:
    """Say which rights on a schema a role lacks."""
    whole = sql.SQL("{} TO {};").format(sql.Identifier(schema), sql.Identifier(role)).as_string()
    what = f'role "{role}" may not do anything in the schema {schema}'
    if "USAGE" not in rights:
        what = f'role "{role}" may not create anything in the schema {schema}'
    return DatabaseError(what, why=why, hint=f"GRANT {rights} ON SCHEMA {whole}")


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
        f"{column} is {columns[column]}, not {kind}"
        for column, kind in (("status", "writable"), *ADDED_COLUMNS.items())
        if column in columns and is_misfit(column, columns[column])
    ]
    if odd:
        raise _mistaken(name, odd)


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
            where = f"ALTER DOMAIN {domain}" if domain else f"ALTER TABLE {name}"
            words = ", ".join(f"'{word}'" for word in Status)
            wider = f"{expression} OR {'VALUE' if domain else 'status'} IN ({words})"
            raise SchemaMismatch(
                f"the column status of table {name} cannot be {', '.join(refused)}",
                why=f"its constraint {constraint} refuses that: {definition}",
                hint=f"let our words pass, too: {where} DROP CONSTRAINT {constraint};"
                f" {where} ADD CONSTRAINT {constraint} CHECK ({wider});",
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


async def _check_words(cursor: Cursor, name: str, kind: str) -> None:
    """Refuse a status whose type does not keep our words: no statement would find a row again.

    Who may not name the type cannot try; our statements do not name it.
    """
    try:
        kept = await kept_as(cursor, kind, list(Status))
    except pg_errors.InsufficientPrivilege:
        return
    except (psycopg.DataError, psycopg.IntegrityError, pg_errors.RaiseException) as error:
        lost, why = list(Status), f"refuses them: {error.diag.message_primary}"
    else:
        wrong = {word: text for word, text in zip(Status, kept, strict=True) if word != text}
        lost, why = list(wrong), f"would keep them as {', '.join(map(str, wrong.values()))}"
    if lost:
        raise SchemaMismatch(
            f"the column status of table {name} cannot be {', '.join(lost)}",
            why=f"its type {kind} {why}",
            hint=f"if the column is for our statuses: ALTER TABLE {name} ALTER status TYPE text;",
        )


async def kept_as(cursor: Cursor, kind: str, texts: Sequence[str]) -> list[str | None]:
    """Say what a type makes of texts: what is too long for it is cut by a cast, without a word.

    Raises psycopg's errors where the type refuses one; whatever its functions do is undone.
    """
    if kind in _ANY_LENGTH:
        return list(texts)
    query = sql.SQL("SELECT text::{}::text FROM unnest(%s::text[]) AS t(text)")
    async with cursor.connection.transaction(force_rollback=True):
        await cursor.execute(query.format(sql.SQL(kind.replace("%", "%%"))), [list(texts)])
        return [text for (text,) in await cursor.fetchall()]


async def _check_domain(cursor: Cursor, oid: int, name: str) -> None:
    """Refuse names that are no texts."""
    row = await _one(
        cursor,
        "SELECT format_type(atttypid, atttypmod)"
        " FROM pg_attribute JOIN pg_type t ON t.oid = atttypid"
        " WHERE attrelid = %s AND attname = 'domain' AND typcategory <> 'S'",
        [oid],
    )
    if row is not None:
        raise _mistaken(name, [f"domain is {row[0]}, not text"])


def _mistaken(name: str, odd: Sequence[str]) -> SchemaMismatch:
    return SchemaMismatch(
        f"table {name} has columns of its own where domainsched needs others",
        why="\n".join(odd),
        hint="rename them, or alter them to that; and then: domainsched init",
    )


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
        [oid, index_of(table)],
    )
    return row is not None


async def _one(
    cursor: Cursor, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]
) -> tuple[Any, ...] | None:
    await cursor.execute(query, parameters)
    return await cursor.fetchone()


def _dbname(database: Database) -> str:
    return database.url.keywords.get("dbname", "postgres")
