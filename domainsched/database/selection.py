"""Which rows are meant: what an operator says of them, and the SQL condition for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import idna
import psycopg
from psycopg import sql

from domainsched.database.catalogue import kept_as
from domainsched.database.connection import Cursor
from domainsched.database.table import Table
from domainsched.errors import ConfigError, InvalidName, SchemaMismatch, UsageError
from domainsched.names import canonical, spellings

# Any form but a canonical name: written by an older program.
_FOREIGN = sql.SQL("(domain !~ '^[a-z0-9.-]*[a-z0-9]$' OR domain LIKE 'www.%%')")
# The foreign forms that `spellings()` may not list (upper case, paths, ports, Unicode): few, and
# only found by reading every name.
_ODD = sql.SQL("(domain !~ '^([a-z0-9.-]*[a-z0-9]|https?://[a-z0-9.-]*[a-z0-9]/?)$')")

_KNOWN = sql.SQL("status IN ('pending', 'processing', 'completed', 'error')")
WORD = sql.SQL("coalesce(status::text, 'null')")
"""A row's status as lists name it; other programs may leave it empty."""
LEASED = sql.SQL("coalesce(status = 'processing' AND due_at > statement_timestamp(), false)")
EXPIRED = sql.SQL("(status = 'processing' AND due_at <= statement_timestamp())")

_LIKE = sql.SQL("domain ILIKE %(like)s ESCAPE ''")
# Older programs stored international names as they are written.
_LIKE_EITHER = sql.SQL("(domain ILIKE %(like)s ESCAPE '' OR domain ILIKE %(like_ascii)s ESCAPE '')")

# Ours are the keys of `technologies`; older programs have only the lists beside it.
_RUNS_ON = sql.SQL("""EXISTS (
    SELECT FROM jsonb_path_query(
        tech_stack::jsonb, 'lax $.technologies.keyvalue().key', '{{}}', true) AS named(v)
    WHERE lower(v #>> '{{}}') = lower(%(technology)s)
    UNION ALL
    SELECT FROM jsonb_path_query(tech_stack::jsonb, 'lax $.*[*]') AS listed(v)
    WHERE lower(v #>> '{{}}') = lower(%(technology)s)
)""")


_OLDER = sql.SQL("({column} < {now} - %(older_than)s::interval OR ({column} IS NULL AND {other}))")

_SIGNS = frozenset("*?%_")


@dataclass(frozen=True)
class Selection:
    """Which rows are meant. All given conditions must hold."""

    names: tuple[str, ...] = ()
    """Canonical names; a row matches in any spelling."""
    statuses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    like: str = ""
    """A pattern for the stored name, in SQL's or the shell's signs; without any, a part of it."""
    batch: str = ""
    technology: str = ""
    expired: bool = False
    """Only rows whose lease has run out."""
    since: timedelta | None = None
    """Only rows updated within this time."""
    older_than: timedelta | None = None
    """Only rows not visited for so long."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing narrows it: it means every row of a known status."""
        return self == Selection()


class Conditions:
    """Turns selections into conditions on the rows of one table."""

    def __init__(self, table: Table, tenant: UUID | None) -> None:
        self._table = table
        self._tenant = tenant

    async def of(
        self, cursor: Cursor, selection: Selection
    ) -> tuple[sql.Composable, dict[str, Any]]:
        """Write a condition, and the values it needs.

        Raises:
            UsageError: it asks for what the table does not hold.
        """
        if selection.batch:
            await check_batch(cursor, self._table, selection.batch)
        parts = [*self._parts(selection), *self._ages(selection)]
        if self._tenant is not None:
            parts.append(sql.SQL("tenant_id = %(tenant)s"))
        values = {
            "domains": await self._stored(cursor, selection.names),
            "statuses": list(selection.statuses),
            "kinds": list(selection.kinds),
            "like": _pattern(selection.like),
            "like_ascii": _pattern(in_ascii(selection.like)),
            "batch": selection.batch,
            "technology": selection.technology,
            "since": selection.since,
            "older_than": selection.older_than,
            "tenant": self._tenant,
        }
        return sql.SQL(" AND ").join(parts), values

    def _parts(self, selection: Selection) -> list[sql.Composable]:
        named = sql.SQL("{} = ANY(%(statuses)s)").format(WORD)
        either = named if selection.statuses else _KNOWN
        narrow = selection.statuses or not selection.names
        parts: tuple[tuple[object, sql.Composable], ...] = (
            (selection.names, sql.SQL("domain = ANY(%(domains)s)")),
            (narrow, either),
            (selection.kinds, sql.SQL("last_error_kind = ANY(%(kinds)s)")),
            (selection.like, _LIKE if selection.like.isascii() else _LIKE_EITHER),
            (selection.technology, _RUNS_ON.format()),
            (selection.expired, EXPIRED),
        )
        chosen = [part for wanted, part in parts if wanted]
        return [*chosen, batch_is(self._table)] if selection.batch else chosen

    def _ages(self, selection: Selection) -> list[sql.Composable]:
        parts: list[sql.Composable] = []
        if selection.since is not None:
            column, now = self._age("--since", "updated_at", "last_scan")
            parts.append(sql.SQL("{} >= {} - %(since)s::interval").format(column, now))
        if selection.older_than is not None:
            parts.append(self._older("--older-than", "last_scan", "updated_at"))
        return parts

    def _age(self, option: str, *columns: str) -> tuple[sql.Identifier, sql.SQL]:
        """Choose the first of the columns that tells times; also write "now" for it."""
        check_moment(self._table, option)
        column = self._table.moments(*columns)[0]
        return sql.Identifier(column), self._table.now(column)

    def _older(self, option: str, *columns: str) -> sql.Composable:
        """Go by the first of the columns; where it is empty in a row, by the next."""
        check_moment(self._table, option)
        written: sql.Composable = sql.SQL("false")
        for column in reversed(self._table.moments(*columns)):
            written = _OLDER.format(
                column=sql.Identifier(column), now=self._table.now(column), other=written
            )
        return written

    async def _stored(self, cursor: Cursor, names: Iterable[str]) -> list[str]:
        """Expand canonical names to every form in which the table may have them."""
        wanted = set(names)
        if not wanted:
            return []
        forms = [form for name in sorted(wanted) for form in spellings(name)]
        if await has_foreign(cursor, self._table, self._tenant):
            odd = await odd_forms(cursor, self._table, self._tenant)
            forms += [form for name in sorted(wanted & odd.keys()) for form in odd[name]]
        return forms


def _pattern(text: str) -> str:
    """Write a pattern for LIKE: * and ? mean what % and _ do; no site's name holds any of them."""
    signs = text.replace("*", "%").replace("?", "_")
    return signs if _SIGNS & set(signs) else f"%{signs}%"


def in_ascii(pattern: str) -> str:
    """Write a pattern's international labels as names have them; one with a sign inside stays."""
    return ".".join(map(_label_in_ascii, pattern.split(".")))


def _label_in_ascii(label: str) -> str:
    if not label.isascii() and not _SIGNS & set(label):
        with contextlib.suppress(idna.IDNAError):
            return idna.alabel(idna.uts46_remap(label)).decode("ascii")
    return label


def batch_is(table: Table) -> sql.Composable:
    """Write the condition that a row belongs to the batch, whose label is a parameter."""
    return sql.SQL("batch_id = %(batch)s::{}").format(table.type_of("batch_id"))


async def check_batch(cursor: Cursor, table: Table, label: str) -> None:
    """Refuse a label that the table cannot keep: cut, it would be another batch's.

    Raises:
        SchemaMismatch: the table keeps no batches.
        UsageError: it keeps them by UUID, and the label is none; or the label is too long.
    """
    where, kind = table.written, table.columns.get("batch_id")
    if kind is None:
        raise SchemaMismatch(
            f"table {where} has no column for --batch",
            why="batch_id text",
            hint=f"{table.init_hint}, or: ALTER TABLE {where} ADD COLUMN batch_id text;",
        )
    what, why = "--batch: unusable value", f"the column batch_id of {where} is {kind}"
    try:
        (kept,) = await kept_as(cursor, kind, [label])
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise UsageError(what, why=f"{why}: {error.diag.message_primary}") from None
    if kept != label and label.startswith(kept or ""):
        raise UsageError(
            what,
            why=f"{why}, and would keep {len(kept or '')} of its {len(label)} characters",
            hint=f"a shorter one, or: ALTER TABLE {where} ALTER batch_id TYPE text;",
        )


def check_moment(table: Table, option: str) -> None:
    """Refuse an option that goes by the time of a visit where the table does not tell it.

    Raises:
        UsageError: it has no column for that.
    """
    if not table.moments("last_scan", "updated_at"):
        where = table.written
        raise UsageError(
            f"{option} needs a column that says when a domain was last visited",
            why="the table has neither last_scan nor updated_at, of a type for times",
            hint=f"{table.init_hint}, or: ALTER TABLE {where} ADD COLUMN last_scan timestamptz;",
        )


def check_tenant(table: Table, tenant: UUID | None) -> None:
    """Refuse a tenant where no column says whose a row is: statements would fail, or take them all.

    Raises:
        ConfigError: there is no such column, or it holds no UUIDs.
    """
    if tenant is None or table.has_tenants:
        return
    where, kind = table.written, table.columns.get("tenant_id")
    lack = f"the column tenant_id of table {where} is {kind}, not uuid"
    raise ConfigError(
        lack if kind else f"table {where} has no column tenant_id",
        why="so --tenant, or DOMAINSCHED_TENANT, has nothing to choose by",
        hint="leave the tenant out"
        if kind
        else f"leave the tenant out, or: ALTER TABLE {where} ADD COLUMN tenant_id uuid;",
    )


# --- names that older programs wrote ---------------------------------------------------------


async def has_foreign(cursor: Cursor, table: Table, tenant: UUID | None) -> bool:
    """Say whether any row holds a name that is not in our form."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {foreign}{tenant})").format(
        table=table.identifier,
        foreign=_FOREIGN,
        tenant=sql.SQL(" AND tenant_id = %(tenant)s" if tenant is not None else ""),
    )
    await cursor.execute(query, {"tenant": tenant})
    return bool((await cursor.fetchone() or (False,))[0])


async def odd_forms(
    cursor: Cursor, table: Table, tenant: UUID | None, *, or_nobody: bool = False
) -> dict[str, list[str]]:
    """Find the rows in odd spellings: canonical name to the forms that are stored."""
    query = sql.SQL("SELECT domain FROM {table} AS d WHERE {odd}{same}").format(
        table=table.identifier, odd=_ODD, same=same_tenant(table, tenant, or_nobody=or_nobody)
    )
    await cursor.execute(query, {"tenant": tenant})
    found: dict[str, list[str]] = {}
    for (stored,) in await cursor.fetchall():
        with contextlib.suppress(InvalidName):
            found.setdefault(canonical(stored), []).append(stored)
    return found


def same_tenant(table: Table, tenant: UUID | None, *, or_nobody: bool = False) -> sql.Composable:
    """Look only at the tenant's rows, where another's may have the same name.

    Rows without a tenant may count as the tenant's.
    """
    if tenant is None or not table.unique_per_tenant:
        return sql.SQL("")
    if or_nobody:
        return sql.SQL(" AND (d.tenant_id = %(tenant)s OR d.tenant_id IS NULL)")
    return sql.SQL(" AND d.tenant_id = %(tenant)s")
