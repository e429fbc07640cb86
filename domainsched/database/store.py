"""The operator's statements on the table of domains: add, reset, inspect."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Rollback, sql
from psycopg import errors as pg_errors
from psycopg.rows import dict_row, tuple_row

from domainsched.columns import LISTED
from domainsched.database.adding import Adding, Obstacle, Order, obstacles
from domainsched.database.connection import PATIENCE, Cursor, Database
from domainsched.database.queue import filled_columns
from domainsched.database.selection import (
    EXPIRED,
    LEASED,
    WORD,
    Conditions,
    Selection,
    batch_is,
    check_batch,
)
from domainsched.database.table import ADDED_COLUMNS, KEY_COLUMNS, OPTIONAL_COLUMNS, RIGHTS, Table
from domainsched.errors import DatabaseError, UsageError
from domainsched.models import Added, BatchProgress, Check, Glance, Lapse, Upcoming
from domainsched.names import canonical

ANALYZE_FROM = 1000
"""Added rows after which the planner's statistics are refreshed at once."""

_RESET = sql.SQL("""
UPDATE {table} SET
    status = 'pending', attempts = 0, due_at = statement_timestamp(),
    claim_token = NULL, claimed_by = NULL, last_error = NULL, last_error_kind = NULL{also}
WHERE {condition}
""")

# A subquery that locks is run once, whatever the planner thinks, if it stands as an array.
_OLDEST = sql.SQL("""id = ANY (ARRAY (
    SELECT id FROM {table} WHERE {condition}
    ORDER BY {age} NULLS FIRST, id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
))""")

# Attempts without a kind of failure are of an earlier time: the next claim counts anew.
_STATUSES = sql.SQL("""
SELECT {word},
    CASE WHEN status = 'error' THEN coalesce(last_error_kind, 'unknown') END,
    count(*),
    count(*) FILTER (WHERE status = 'pending' AND attempts > 0 AND last_error_kind IS NOT NULL),
    {recent}, {settled}
FROM {table} WHERE {condition}{tenant}
GROUP BY 1, 2 ORDER BY 3 DESC, 1
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

_DAY = timedelta(days=1)

Values = Mapping[str, Any]
Row = dict[str, Any]

SORTS: Mapping[str, str] = {
    "domain": "domain",
    "updated": "updated_at",
    "due": "due_at",
    "attempts": "attempts",
    "created": "created_at",
}
"""By what a list may be sorted: the column, which the table may not have."""

LONG = timedelta(minutes=10)
"""The limit for a statement that may touch every row."""


@dataclass(frozen=True)
class Reach:
    """Which rows a `reset` would take."""

    free: int
    leased: int
    """Under a live lease: left alone unless forced."""


@dataclass(frozen=True)
class _Group:
    """Rows of one status, and of one kind where that is `error`."""

    status: str
    kind: str | None
    rows: int
    to_retry: int
    """Of `pending`, those with an attempt that failed."""
    recent: int
    """Of `completed`, those of the last 24 hours; 0 where the table does not tell."""
    settled: datetime | None


class Store:
    """The statements of `add`, `reset` and `inspect`, on one table."""

    def __init__(self, database: Database, table: Table, *, tenant: UUID | None = None) -> None:
        self._database = database
        self._table = table
        self._tenant = tenant
        self._conditions = Conditions(table, tenant)
        limited = tenant is not None
        self._names = {
            "table": table.identifier,
            "tenant": sql.SQL(" AND tenant_id = %(tenant)s" if limited else ""),
        }

    async def add(self, names: Iterable[str], order: Order, *, dry_run: bool = False) -> Added:
        """Insert canonical names as pending and due, in one transaction; memory stays constant.

        A site that is there already, in any spelling, is left as it is, unless the order says
        otherwise. A dry run does the same and rolls it back.

        Raises:
            SchemaMismatch: a batch is named, and the table keeps none.
            UsageError: the batch's label does not fit, or a name is too long for the table.
        """

        async def operation() -> Added:
            total = Added()
            async with self._database.transaction(statement_timeout=LONG, bound=_DAY) as cursor:
                total = await Adding(cursor, self._table, order, self._tenant).all(names)
                if dry_run:
                    raise Rollback
                if total.added >= ANALYZE_FROM:
                    await cursor.execute(sql.SQL("ANALYZE {}").format(self._table.identifier))
            return total

        try:
            return await self._database.run(operation)
        except DatabaseError as error:
            error.hint = await self._mending(error.__cause__) or error.hint
            raise

    async def _mending(self, cause: BaseException | None) -> str:
        """Write what mends a refusal; nothing, if we do not know."""
        match cause:
            case pg_errors.NotNullViolation() | pg_errors.InsufficientPrivilege():
                with contextlib.suppress(DatabaseError):  # gone meanwhile
                    return "\n".join(obstacle.hint for obstacle in await self.obstacles())
            case pg_errors.ForeignKeyViolation() if "tenant" in (cause.diag.constraint_name or ""):
                return "name a tenant that is there: --tenant, or DEFAULT_TENANT_ID"
        return ""

    async def obstacles(self) -> list[Obstacle]:
        """Find what an `add` would stumble over."""
        async with self.reading() as cursor:
            return await obstacles(cursor, self._table)

    async def _scalar(self, cursor: Cursor, query: sql.SQL | sql.Composed, values: Values) -> int:
        composed = query.format(**self._names) if isinstance(query, sql.SQL) else query
        await cursor.execute(composed, {**values, "tenant": self._tenant})
        return int((await cursor.fetchone() or (0,))[0])

    async def is_empty(self) -> bool:
        """Say whether there is no row at all."""
        async with self.reading() as cursor:
            return not await self._scalar(
                cursor, sql.SQL("SELECT count(*) FROM (SELECT FROM {table} LIMIT 1) AS n"), {}
            )

    async def reach(self, selection: Selection) -> Reach:
        """Count what a reset of `selection` would take."""
        async with self.reading() as cursor:
            condition, values = await self._conditions.of(cursor, selection)
            query = sql.SQL(
                "SELECT count(*) FILTER (WHERE NOT {leased}), count(*) FILTER (WHERE {leased})"
                " FROM {table} WHERE {condition}"
            ).format(**self._names, leased=LEASED, condition=condition)
            await cursor.execute(query, values)
            free, leased = await cursor.fetchone() or (0, 0)
            return Reach(free, leased)

    async def reset(
        self,
        selection: Selection,
        *,
        force: bool,
        clear_metadata: bool,
        limit: int | None = None,
    ) -> int:
        """Make rows pending and due again, attempts 0; say how many.

        Rows under a live lease are left alone unless `force`; then the worker that holds one finds
        its token gone, and its result is refused. With a `limit`, those that were visited longest
        ago are taken, and rows that somebody locks are passed over.
        """

        async def operation() -> int:
            async with self._database.transaction(statement_timeout=LONG) as cursor:
                condition, values = await self._conditions.of(cursor, selection)
                if not force:
                    condition = sql.SQL("{} AND NOT {}").format(condition, LEASED)
                if limit is not None:
                    condition = self._oldest(condition)
                query = _RESET.format(
                    **self._names, condition=condition, also=self._also(clear=clear_metadata)
                )
                await cursor.execute(query, {**values, "limit": limit})
                return cursor.rowcount

        return await self._database.run(operation)

    def _oldest(self, condition: sql.Composable) -> sql.Composable:
        ages = [name for name in ("last_scan", "updated_at") if name in self._table.columns]
        return _OLDEST.format(
            **self._names, condition=condition, age=sql.Identifier(*ages[:1] or ["due_at"])
        )

    def _also(self, *, clear: bool) -> sql.Composed:
        assignments = self._table.stamp("updated_at") + (self._cleared() if clear else [])
        return sql.Composed([sql.SQL(", ") + assignment for assignment in assignments])

    def _cleared(self) -> list[sql.Composable]:
        return [
            sql.SQL("{} = NULL").format(sql.Identifier(column))
            for column in filled_columns(self._table)
        ]

    async def glance(self) -> Glance:
        """Count the queue, in one read-only snapshot."""
        async with self.reading() as cursor:
            return await self.counted(cursor)

    async def counted(self, cursor: Cursor) -> Glance:
        """Count the queue as a transaction sees it."""
        groups = await self._groups(cursor, sql.SQL("true"), {})
        settled = [group.settled for group in groups if group.settled]
        return Glance(
            _statuses(groups),
            await self._upcoming(cursor),
            sum(group.recent for group in groups) if self._ended() else None,
            _kinds(groups),
            await self._lapses(cursor),
            max(settled, default=None),
        )

    async def batch(self, label: str) -> BatchProgress:
        """Say how far a batch is.

        Raises:
            SchemaMismatch: the table keeps no batches.
            UsageError: it keeps none of this label.
        """
        async with self.reading() as cursor:
            await check_batch(cursor, self._table, label)
            groups = await self._groups(cursor, batch_is(self._table), {"batch": label})
            to_retry = sum(group.to_retry for group in groups)
            return BatchProgress(label, _statuses(groups), _kinds(groups), to_retry)

    async def _groups(
        self, cursor: Cursor, condition: sql.Composable, values: Values
    ) -> list[_Group]:
        query = _STATUSES.format(
            **self._names,
            condition=condition,
            word=WORD,
            recent=self._recent(),
            settled=self._settled(),
        )
        await cursor.execute(query, {**values, "tenant": self._tenant})
        return [_Group(*row) for row in await cursor.fetchall()]

    def _ended(self) -> str | None:
        """Choose the column that says when a completed row was visited."""
        columns = ("last_successful_scan", "last_scan")
        return next((column for column in columns if self._table.stamp(column)), None)

    def _recent(self) -> sql.Composable:
        column = self._ended()
        if column is None:
            return sql.SQL("0")
        return sql.SQL(
            "count(*) FILTER (WHERE status = 'completed' AND {} > {} - interval '24 hours')"
        ).format(sql.Identifier(column), self._table.now(column))

    def _settled(self) -> sql.Composable:
        """Write when a visit's end was last stored; only our workers leave a token behind.

        A reset takes it away, and leaves `last_scan` to a row that is pending then.
        """
        for column, reset in (("last_scan", "status = 'pending'"), ("updated_at", "false")):
            if self._table.stamp(column):
                zone = "" if self._table.is_aware(column) else " AT TIME ZONE 'UTC'"
                return sql.SQL(
                    "max({moment}) FILTER (WHERE {reset}"
                    " OR claim_token IS NOT NULL AND status <> 'processing'){zone}"
                ).format(moment=sql.Identifier(column), reset=sql.SQL(reset), zone=sql.SQL(zone))
        return sql.SQL("NULL::timestamptz")

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
        query = _LAPSES.format(**self._names, expired=EXPIRED)
        await cursor.execute(query, {"tenant": self._tenant})
        return tuple(Lapse(*row) for row in await cursor.fetchall())

    async def check(self) -> Check:
        """Describe the database and the table; that both can be used was checked on the way."""
        async with self.reading() as cursor:
            await cursor.execute("SELECT current_setting('server_version'), current_user")
            version, role = await cursor.fetchone() or ("", "")
            rows = await self._scalar(cursor, sql.SQL("SELECT count(*) FROM {table}"), {})
        columns = len(self._table.columns), len(ADDED_COLUMNS) + len(KEY_COLUMNS)
        rights = tuple(right for right in RIGHTS if right not in self._table.lacks_rights)
        return Check(
            version, self._database.url.safe, role, self._table.written, rows, *columns, rights
        )

    async def rows(
        self, selection: Selection, *, limit: int | None, sort: str | None = None
    ) -> tuple[list[Row], int]:
        """List what a list shows of rows, and say how many there are in all.

        `sort` is one of `SORTS`, with a hyphen before it for the last or latest first; else it is
        "-updated", or "-due" where the table does not say when.

        Raises:
            UsageError: the table has no column for `sort`.
        """
        columns = [name for name in LISTED if name in self._table.columns]
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        order = self._order(sort or ("-updated" if "updated_at" in columns else "-due"))
        async with self.reading() as cursor:
            condition, values = await self._conditions.of(cursor, selection)
            rows = await self._select(cursor, listed, condition, order, {**values, "limit": limit})
            count = sql.SQL("SELECT count(*) FROM {table} WHERE {condition}")
            await cursor.execute(count.format(**self._names, condition=condition), values)
            (total,) = await cursor.fetchone() or (0,)
            return rows, total

    async def _select(
        self,
        cursor: Cursor,
        columns: sql.Composable,
        condition: sql.Composable,
        order: sql.Composable,
        values: Values,
    ) -> list[Row]:
        query = sql.SQL(
            "SELECT {columns} FROM {table} WHERE {condition} ORDER BY {order}, id LIMIT %(limit)s"
        ).format(**self._names, columns=columns, condition=condition, order=order)
        cursor.row_factory = dict_row  # type: ignore[assignment]
        await cursor.execute(query, values)
        rows = await cursor.fetchall()
        cursor.row_factory = tuple_row
        return rows  # type: ignore[return-value]

    def _order(self, sort: str) -> sql.Composed:
        name = sort.removeprefix("-")
        column = SORTS[name]
        if column not in self._table.columns:
            raise UsageError(
                f"--sort {name}: the table does not say when",
                why=f"it has no column {column}",
                hint=self._table.init_hint if column in OPTIONAL_COLUMNS else "",
            )
        direction = sql.SQL("DESC NULLS LAST" if sort.startswith("-") else "ASC NULLS LAST")
        return sql.SQL("{} {}").format(sql.Identifier(column), direction)

    async def named(self, names: Sequence[str]) -> tuple[list[Row], list[str]]:
        """Find the rows of canonical names, in any spelling; and say which names have none."""
        if not names:
            return [], []
        async with self.reading() as cursor:
            condition, values = await self._conditions.of(cursor, Selection(tuple(names)))
            order = self._order("domain")
            whole = {**values, "limit": None}
            rows = await self._select(cursor, sql.SQL("*"), condition, order, whole)
        there = {canonical(row["domain"]) for row in rows}
        return rows, [name for name in names if name not in there]

    async def unused_statuses(self, words: Sequence[str]) -> list[str]:
        """Say which of these statuses no row has."""
        async with self.reading() as cursor:
            query = sql.SQL(
                "SELECT DISTINCT {word} FROM {table} WHERE {word} = ANY(%(words)s){tenant}"
            ).format(**self._names, word=WORD)
            await cursor.execute(query, {"words": list(words), "tenant": self._tenant})
            used = {word for (word,) in await cursor.fetchall()}
        return [word for word in dict.fromkeys(words) if word not in used]

    async def due(self, limit: int | None) -> list[Row]:
        """List the rows that a claim would take next, all when `limit` is None; none is locked."""
        async with self.reading() as cursor:
            query = sql.SQL(
                "SELECT domain, attempts, due_at, status::text, last_error_kind FROM {table}"
                " WHERE status IN ('pending', 'processing') AND due_at <= statement_timestamp()"
                "{tenant} ORDER BY due_at, id LIMIT %(limit)s"
            ).format(**self._names)
            cursor.row_factory = dict_row  # type: ignore[assignment]
            await cursor.execute(query, {"limit": limit, "tenant": self._tenant})
            return await cursor.fetchall()  # type: ignore[return-value]

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Cursor]:
        """Open a read-only transaction; a driver's error becomes one of ours."""
        try:
            async with self._database.transaction(statement_timeout=LONG, read_only=True) as cursor:
                yield cursor
        except psycopg.Error as error:
            raise self._database.explain(error) from error


def _statuses(groups: Sequence[_Group]) -> dict[str, int]:
    """Count the rows of each status, the commonest first."""
    counts: dict[str, int] = {}
    for group in groups:
        counts[group.status] = counts.get(group.status, 0) + group.rows
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _kinds(groups: Sequence[_Group]) -> dict[str, int]:
    return {group.kind: group.rows for group in groups if group.kind is not None}
