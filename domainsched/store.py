"""The operator's statements on the table of domains: add, reset, inspect."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import Rollback, sql
from psycopg.rows import dict_row, tuple_row

from domainsched.database import PATIENCE, Cursor, Database
from domainsched.errors import InvalidName, UsageError
from domainsched.models import Added, Check, Glance, Lapse, Upcoming
from domainsched.names import canonical, spellings
from domainsched.queue import filled_columns
from domainsched.schema import ADDED_COLUMNS, KEY_COLUMNS, RIGHTS, Table

CHUNK = 5000
"""Names a statement: past it a larger chunk gained nothing when it was measured."""
ANALYZE_FROM = 1000
"""Added rows after which the planner's statistics are refreshed at once."""

# Any form but a canonical name: written by an older program.
_FOREIGN = sql.SQL("(domain !~ '^[a-z0-9.-]*[a-z0-9]$' OR domain LIKE 'www.%%')")
# The foreign forms that `spellings()` may not list (upper case, paths, ports, Unicode): few, and
# only found by reading every name.
_ODD = sql.SQL("(domain !~ '^([a-z0-9.-]*[a-z0-9]|https?://[a-z0-9.-]*[a-z0-9]/?)$')")

_ADD = sql.SQL("""
WITH added AS (
    INSERT INTO {table} ({columns})
    SELECT {values} FROM unnest(%(names)s::text[]) WITH ORDINALITY AS i(name, n) ORDER BY n
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM added
""")

_PRESENT = sql.SQL("""
SELECT DISTINCT i.name FROM unnest(%(of)s::text[], %(spelled)s::text[]) AS i(name, spelling)
JOIN {table} AS d ON d.domain = i.spelling{tenant}
""")

# All are due at once, yet fall due in the order of the input, also where keys are random.
_IN_ORDER = sql.SQL(
    "statement_timestamp() - (cardinality(%(names)s::text[]) - i.n) * interval '1 microsecond'"
)

# Rows of our own transaction: the name stood in an earlier chunk of the same input.
_REPEATED = sql.SQL("""
SELECT count(*) FROM {table}
WHERE domain = ANY(%(names)s) AND xmin = pg_current_xact_id()::xid
""")

_RESET = sql.SQL("""
UPDATE {table} SET
    status = 'pending', attempts = 0, due_at = statement_timestamp(),
    claim_token = NULL, claimed_by = NULL, last_error = NULL, last_error_kind = NULL{also}
WHERE {condition}
""")

_UPCOMING = sql.SQL("""
SELECT count(*), count(*) FILTER (WHERE due_at <= statement_timestamp()),
    count(*) FILTER (WHERE due_at <= statement_timestamp() AND status = 'processing'),
    min(due_at) FILTER (WHERE due_at <= statement_timestamp() AND status = 'pending'),
    min(due_at) FILTER (WHERE due_at > statement_timestamp()), statement_timestamp()
FROM {table} WHERE status IN ('pending', 'processing'){tenant}
""")

_LAPSES = sql.SQL("""
SELECT coalesce(claimed_by, ''), count(*), min(due_at) FROM {table}
WHERE status IN ('pending', 'processing') AND {expired}{tenant}
GROUP BY 1 ORDER BY 3, 1 LIMIT 10
""")

_KNOWN = sql.SQL("status IN ('pending', 'processing', 'completed', 'error')")
_LEASED = sql.SQL("(status = 'processing' AND due_at > statement_timestamp())")
_EXPIRED = sql.SQL("(status = 'processing' AND due_at <= statement_timestamp())")

_RECENT = sql.SQL(
    "status = 'completed' AND last_successful_scan > statement_timestamp() - interval '24 hours'"
)
_DAY = timedelta(days=1)

Values = Mapping[str, Any]
Row = dict[str, Any]

LONG = timedelta(minutes=10)
"""The limit for a statement that may touch every row."""


@dataclass(frozen=True)
class Selection:
    """Which rows are meant. All given conditions must hold."""

    names: tuple[str, ...] = ()
    """Canonical names; a row matches in any spelling."""
    statuses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    expired: bool = False
    """Only rows whose lease has run out."""
    older_than: timedelta | None = None
    """Only rows not updated for so long."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing narrows it: it means every row of a known status."""
        return self == Selection()


@dataclass(frozen=True)
class Reach:
    """Which rows a `reset` would take."""

    free: int
    leased: int
    """Under a live lease: left alone unless forced."""


class Store:
    """The statements of `add`, `reset` and `inspect`, on one table."""

    def __init__(self, database: Database, table: Table, *, tenant: UUID | None = None) -> None:
        self._database = database
        self._table = table
        self._tenant = tenant
        limited = tenant is not None
        self._names = {
            "table": table.identifier,
            "tenant": sql.SQL(" AND tenant_id = %(tenant)s" if limited else ""),
        }

    async def add(self, names: Iterable[str], *, tenant: UUID, dry_run: bool = False) -> Added:
        """Insert canonical names as pending and due, in one transaction; memory stays constant.

        A site that is there already, in any spelling, is left as it is. A dry run does the same and
        rolls it back.
        """

        async def operation() -> Added:
            total = Added()
            async with self._database.transaction(statement_timeout=LONG, bound=_DAY) as cursor:
                total = await self._add_all(cursor, names, tenant)
                if dry_run:
                    raise Rollback
                if total.added >= ANALYZE_FROM:
                    await cursor.execute(sql.SQL("ANALYZE {}").format(self._table.identifier))
            return total

        return await self._database.run(operation)

    async def _add_all(self, cursor: Cursor, names: Iterable[str], tenant: UUID) -> Added:
        foreign = await self._has_foreign(cursor)
        odd = frozenset(await self._odd(cursor, tenant)) if foreign else frozenset[str]()
        total = Added()
        for chunk in _chunks(names, CHUNK):
            unique = list(dict.fromkeys(chunk))
            repeated = len(chunk) - len(unique)
            if total.added:
                repeated += await self._scalar(cursor, _REPEATED, {"names": unique})
            present = odd.intersection(unique)
            if foreign:
                present |= await self._present(cursor, unique, tenant)
            new = [name for name in unique if name not in present]
            added = await self._insert(cursor, new, tenant)
            total = Added(
                total.added + added,
                total.present + len(chunk) - added - repeated,
                total.repeated + repeated,
            )
        return total

    async def _insert(self, cursor: Cursor, names: list[str], tenant: UUID) -> int:
        values: dict[str, sql.Composable] = {
            "domain": sql.SQL("i.name"),
            "status": sql.SQL("'pending'"),
            "due_at": _IN_ORDER,
        }
        if "tenant_id" in self._table.columns:
            values["tenant_id"] = sql.SQL("%(tenant)s")
        for column in ("created_at", "updated_at"):
            if column in self._table.columns:
                values[column] = self._table.now(column)
        query = _ADD.format(
            table=self._table.identifier,
            columns=sql.SQL(", ").join(map(sql.Identifier, values)),
            values=sql.SQL(", ").join(values.values()),
        )
        await cursor.execute(query, {"names": names, "tenant": tenant})
        return int((await cursor.fetchone() or (0,))[0])

    async def _has_foreign(self, cursor: Cursor) -> bool:
        query = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {foreign})::integer")
        return bool(await self._scalar(cursor, query.format(**self._names, foreign=_FOREIGN), {}))

    async def _odd(self, cursor: Cursor, tenant: UUID | None) -> dict[str, list[str]]:
        """Find the rows in odd spellings: canonical name to the forms that are stored."""
        query = sql.SQL("SELECT domain FROM {table} AS d WHERE {odd}{same}").format(
            **self._names, odd=_ODD, same=self._same_tenant(tenant)
        )
        await cursor.execute(query, {"tenant": tenant})
        found: dict[str, list[str]] = {}
        for (stored,) in await cursor.fetchall():
            with contextlib.suppress(InvalidName):
                found.setdefault(canonical(stored), []).append(stored)
        return found

    async def _present(self, cursor: Cursor, names: list[str], tenant: UUID) -> set[str]:
        pairs = [(name, spelling) for name in names for spelling in spellings(name)]
        query = _PRESENT.format(table=self._table.identifier, tenant=self._same_tenant(tenant))
        await cursor.execute(
            query,
            {
                "of": [name for name, _ in pairs],
                "spelled": [spelling for _, spelling in pairs],
                "tenant": tenant,
            },
        )
        return {name for (name,) in await cursor.fetchall()}

    def _same_tenant(self, tenant: UUID | None) -> sql.SQL:
        """Look only at the tenant's rows, where another's may have the same name."""
        limited = self._table.unique_per_tenant and tenant is not None
        return sql.SQL(" AND d.tenant_id = %(tenant)s" if limited else "")

    async def _scalar(self, cursor: Cursor, query: sql.SQL | sql.Composed, values: Values) -> int:
        composed = query.format(**self._names) if isinstance(query, sql.SQL) else query
        await cursor.execute(composed, {**values, "tenant": self._tenant})
        return int((await cursor.fetchone() or (0,))[0])

    async def reach(self, selection: Selection) -> Reach:
        """Count what a reset of `selection` would take."""
        async with self._reading() as cursor:
            condition, values = await self._condition(cursor, selection)
            query = sql.SQL(
                "SELECT count(*) FILTER (WHERE NOT {leased}), count(*) FILTER (WHERE {leased})"
                " FROM {table} WHERE {condition}"
            ).format(**self._names, leased=_LEASED, condition=condition)
            await cursor.execute(query, values)
            free, leased = await cursor.fetchone() or (0, 0)
            return Reach(free, leased)

    async def reset(self, selection: Selection, *, force: bool, clear_metadata: bool) -> int:
        """Make rows pending and due again, attempts 0; say how many.

        Rows under a live lease are left alone unless `force`; then the worker that holds one finds
        its token gone, and its result is refused.
        """

        async def operation() -> int:
            async with self._database.transaction(statement_timeout=LONG) as cursor:
                condition, values = await self._condition(cursor, selection)
                if not force:
                    condition = sql.SQL("{} AND NOT {}").format(condition, _LEASED)
                also = self._table.stamp("updated_at")
                if clear_metadata:
                    also += self._cleared()
                query = _RESET.format(
                    **self._names,
                    condition=condition,
                    also=sql.Composed([sql.SQL(", ") + assignment for assignment in also]),
                )
                await cursor.execute(query, values)
                return cursor.rowcount

        return await self._database.run(operation)

    def _cleared(self) -> list[sql.Composable]:
        return [
            sql.SQL("{} = NULL").format(sql.Identifier(column))
            for column in filled_columns(self._table)
        ]

    async def glance(self) -> Glance:
        """Count the queue, in one read-only snapshot."""
        async with self._reading() as cursor:
            statuses = await self._counts(cursor, "status::text", sql.SQL("true"))
            kinds = await self._counts(
                cursor, "coalesce(last_error_kind, 'unknown')", sql.SQL("status = 'error'")
            )
            lately = 0
            if "last_successful_scan" in self._table.columns:
                recent = await self._counts(cursor, "1", _RECENT)
                lately = sum(recent.values())
            upcoming, lapses = await self._upcoming(cursor), await self._lapses(cursor)
            return Glance(statuses, upcoming, lately, kinds, lapses)

    async def upcoming(self) -> Upcoming:
        """Say what there is to do; only unfinished rows are read, at the end of every run."""

        async def operation() -> Upcoming:
            async with self._database.transaction(read_only=True) as cursor:
                return await self._upcoming(cursor)

        return await self._database.run(operation, patience=PATIENCE)

    async def _upcoming(self, cursor: Cursor) -> Upcoming:
        await cursor.execute(_UPCOMING.format(**self._names), {"tenant": self._tenant})
        return Upcoming(*(await cursor.fetchone() or ()))

    async def _lapses(self, cursor: Cursor) -> tuple[Lapse, ...]:
        query = _LAPSES.format(**self._names, expired=_EXPIRED)
        await cursor.execute(query, {"tenant": self._tenant})
        return tuple(Lapse(*row) for row in await cursor.fetchall())

    async def check(self) -> Check:
        """Describe the database and the table; that both can be used was checked on the way."""
        async with self._reading() as cursor:
            await cursor.execute("SELECT current_setting('server_version'), current_user")
            version, role = await cursor.fetchone() or ("", "")
            rows = await self._scalar(cursor, sql.SQL("SELECT count(*) FROM {table}"), {})
        where = f"{self._table.schema}.{self._table.name}"
        columns = len(ADDED_COLUMNS) + len(KEY_COLUMNS)
        return Check(version, self._database.url.safe, role, where, rows, columns, RIGHTS)

    async def _counts(
        self, cursor: Cursor, expression: LiteralString, condition: sql.SQL
    ) -> dict[str, int]:
        query = sql.SQL(
            "SELECT {expression}, count(*) FROM {table} WHERE {condition}{tenant}"
            " GROUP BY 1 ORDER BY 2 DESC, 1"
        ).format(**self._names, expression=sql.SQL(expression), condition=condition)
        await cursor.execute(query, {"tenant": self._tenant})
        return dict(await cursor.fetchall())

    async def rows(self, selection: Selection, *, limit: int | None) -> tuple[list[Row], int]:
        """List rows, last updated first, and say how many there are in all."""
        async with self._reading() as cursor:
            condition, values = await self._condition(cursor, selection)
            order = "updated_at" if "updated_at" in self._table.columns else "due_at"
            query = sql.SQL(
                "SELECT * FROM {table} WHERE {condition} ORDER BY {order} DESC, id LIMIT %(limit)s"
            ).format(**self._names, condition=condition, order=sql.Identifier(order))
            cursor.row_factory = dict_row  # type: ignore[assignment]
            await cursor.execute(query, {**values, "limit": limit})
            rows = await cursor.fetchall()
            cursor.row_factory = tuple_row
            count = sql.SQL("SELECT count(*) FROM {table} WHERE {condition}")
            await cursor.execute(count.format(**self._names, condition=condition), values)
            (total,) = await cursor.fetchone() or (0,)
            return rows, total  # type: ignore[return-value]

    async def named(self, names: Sequence[str]) -> tuple[list[Row], list[str]]:
        """Find the rows of canonical names, in any spelling; and say which names have none."""
        if not names:
            return [], []
        rows, _ = await self.rows(Selection(tuple(names)), limit=None)
        there = {canonical(row["domain"]) for row in rows}
        return rows, [name for name in names if name not in there]

    async def due(self, limit: int | None) -> list[Row]:
        """List the rows that a claim would take next, all when `limit` is None; none is locked."""
        async with self._reading() as cursor:
            query = sql.SQL(
                "SELECT domain, attempts, due_at, status::text, last_error_kind FROM {table}"
                " WHERE status IN ('pending', 'processing') AND due_at <= statement_timestamp()"
                "{tenant} ORDER BY due_at, id LIMIT %(limit)s"
            ).format(**self._names)
            cursor.row_factory = dict_row  # type: ignore[assignment]
            await cursor.execute(query, {"limit": limit, "tenant": self._tenant})
            return await cursor.fetchall()  # type: ignore[return-value]

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[Cursor]:
        """Open a read-only transaction; a driver's error becomes one of ours."""
        try:
            async with self._database.transaction(statement_timeout=LONG, read_only=True) as cursor:
                yield cursor
        except psycopg.Error as error:
            raise self._database.explain(error) from error

    async def _condition(
        self, cursor: Cursor, selection: Selection
    ) -> tuple[sql.Composable, dict[str, Any]]:
        parts: list[sql.Composable] = []
        if selection.names:
            parts.append(sql.SQL("domain = ANY(%(domains)s)"))
        if selection.statuses:
            parts.append(sql.SQL("status::text = ANY(%(statuses)s)"))
        elif not selection.names:
            parts.append(_KNOWN)
        if selection.kinds:
            parts.append(sql.SQL("last_error_kind = ANY(%(kinds)s)"))
        if selection.expired:
            parts.append(_EXPIRED)
        if selection.older_than is not None:
            parts.append(self._older_than())
        if self._tenant is not None:
            parts.append(sql.SQL("tenant_id = %(tenant)s"))
        values = {
            "domains": await self._stored(cursor, selection.names),
            "statuses": list(selection.statuses),
            "kinds": list(selection.kinds),
            "older_than": selection.older_than,
            "tenant": self._tenant,
        }
        return sql.SQL(" AND ").join(parts), values

    def _older_than(self) -> sql.Composable:
        for column in ("last_scan", "updated_at"):
            if column in self._table.columns:
                template = sql.SQL("{} < {} - %(older_than)s::interval")
                return template.format(sql.Identifier(column), self._table.now(column))
        raise UsageError(
            "--older-than needs a column that says when a domain was last visited",
            why="the table has neither last_scan nor updated_at",
        )

    async def _stored(self, cursor: Cursor, names: Iterable[str]) -> list[str]:
        """Expand canonical names to every form in which the table may have them."""
        wanted = set(names)
        if not wanted:
            return []
        forms = [form for name in sorted(wanted) for form in spellings(name)]
        if await self._has_foreign(cursor):
            odd = await self._odd(cursor, self._tenant)
            forms += [form for name in sorted(wanted & odd.keys()) for form in odd[name]]
        return forms


def _chunks(names: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(names)
    while chunk := list(islice(iterator, size)):
        yield chunk
