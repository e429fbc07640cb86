"""What `watch` asks of the table: what is due, who has what, and what has changed."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import sql

from domainsched.database.connection import Cursor, Database
from domainsched.database.queue import IN_ORDER
from domainsched.database.table import Table
from domainsched.models import Change, Flight, RowId, Status

FLIGHTS = 100
"""Rows under a lease that are told of at most."""
PAGE = 5000
"""Changes read at a time."""
KNOWN = 30_000
"""Rows whose last state is remembered."""
AHEAD = 10_000
"""Rows whose state is learnt before they change; again when half as many have changed."""
OVERLAP = timedelta(seconds=5)
"""A row bears the time of its statement, and shows when that is committed: later by so much."""

# Bounded: a due_at of infinity leaves no number.
_HEAD = sql.SQL("""
SELECT least(greatest(due_at, statement_timestamp()), statement_timestamp() + interval '1 day')
    - statement_timestamp() FROM {table}
WHERE status IN ('pending', 'processing'){tenant} ORDER BY due_at, id LIMIT 1
""")

# A range of the claim's index: what is leased falls due later.
_FLIGHTS = sql.SQL("""
SELECT domain, coalesce(claimed_by, ''), {since},
    least(due_at, statement_timestamp() + interval '1000 years') - statement_timestamp()
FROM {table}
WHERE status IN ('pending', 'processing') AND status = 'processing'
    AND due_at > statement_timestamp(){tenant}
ORDER BY due_at, id LIMIT %(limit)s
""")

_CHANGES = sql.SQL("""
SELECT id, {changed}, domain, status::text, coalesce(attempts, 0), coalesce(last_error_kind, ''),
    coalesce(last_error, ''), coalesce(title, '')
FROM {table}
WHERE ({changed} > %(since)s OR ({changed} = %(since)s AND id > %(after)s::{id_type}))
    AND {changed} <= {now}{tenant}
ORDER BY {changed}, id LIMIT %(limit)s
""")

# A range of the claim's index: in this order rows will change.
_NEXT = sql.SQL("""
SELECT id, status::text, coalesce(attempts, 0), coalesce(last_error_kind, '') FROM {table}
WHERE status IN ('pending', 'processing'){tenant} ORDER BY due_at, id LIMIT %(limit)s
""")

_SINCE = sql.SQL("CASE WHEN isfinite({changed}) THEN {now} - {changed} END")

State = tuple[str, int, str]


class Lookout:
    """The statements of `watch`, on one table; it remembers what it saw."""

    def __init__(self, database: Database, table: Table, *, tenant: UUID | None = None) -> None:
        self._database = database
        self._tenant = tenant
        changed = next((c for c in ("updated_at", "last_scan") if table.stamp(c)), None)
        self._tells_changes = changed is not None
        column = sql.Identifier(changed or "due_at")
        now = table.now(changed or "due_at")
        self._names = {
            "table": table.identifier,
            "id_type": table.type_of("id"),
            "tenant": sql.SQL("" if tenant is None else " AND tenant_id = %(tenant)s"),
            "changed": column,
            "now": now,
            "since": _SINCE.format(now=now, changed=column) if changed else sql.SQL("NULL"),
        }
        self._now = sql.SQL("SELECT {}").format(now)
        self._since: datetime | None = None
        self._after: RowId | None = None
        self._known: dict[RowId, State] = {}
        self._changed = 0

    async def until_due(self) -> timedelta | None:
        """Say when the next row falls due, zero if one is due; None if none is unfinished.

        It reads one entry of the claim's index.
        """

        async def operation() -> timedelta | None:
            settings = IN_ORDER if self._tenant is None else ""
            async with self._database.transaction(read_only=True, settings=settings) as cursor:
                row = await self._row(cursor, _HEAD)
                return max(row[0], timedelta()) if row else None

        return await self._database.run(operation)

    async def flights(self, cursor: Cursor) -> list[Flight]:
        """List the rows under a live lease, the longest held first, as a transaction sees them."""
        values = {"tenant": self._tenant, "limit": FLIGHTS}
        await cursor.execute(_FLIGHTS.format(**self._names), values)
        return [Flight(*row) for row in await cursor.fetchall()]

    async def changes(self) -> list[Change]:
        """List what changed since the last call, in its order; nothing at the first call.

        By the time of the last update, which no index serves: it reads the table.
        """
        if not self._tells_changes:
            return []

        async def operation() -> list[tuple[Any, ...]]:
            async with self._database.transaction(read_only=True) as cursor:
                if self._since is None:
                    self._since = (await self._row(cursor, self._now) or (None,))[0]
                    await self._look_ahead(cursor)
                    return []
                rows = await self._pages(cursor, self._since)
                if self._changed >= AHEAD // 2:
                    await self._look_ahead(cursor, but={row[0] for row in rows})
                return rows

        return list(self._news(await self._database.run(operation)))

    async def _look_ahead(self, cursor: Cursor, but: Container[RowId] = ()) -> None:
        """Learn the states of the rows that will change next, so that a change has a before.

        Not of those that are just to be told of.
        """
        values = {"tenant": self._tenant, "limit": AHEAD}
        await cursor.execute(_NEXT.format(**self._names), values)
        ahead = {row[0]: row[1:] for row in await cursor.fetchall() if row[0] not in but}
        self._known |= ahead
        self._changed = 0

    async def _pages(self, cursor: Cursor, since: datetime) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        position: tuple[datetime, RowId | None] = since, None
        while True:
            after = None if position[1] is None else str(position[1])
            values: dict[str, object] = {"tenant": self._tenant, "limit": PAGE}
            values |= {"since": position[0], "after": after}
            await cursor.execute(_CHANGES.format(**self._names), values)
            page = await cursor.fetchall()
            rows += page
            if len(page) < PAGE:
                break
            position = page[-1][1], page[-1][0]
        if rows:
            self._since = max(since, rows[-1][1] - OVERLAP)
        return rows

    async def _row(self, cursor: Cursor, query: sql.SQL | sql.Composed) -> tuple[Any, ...] | None:
        composed = query.format(**self._names) if isinstance(query, sql.SQL) else query
        await cursor.execute(composed, {"tenant": self._tenant})
        return await cursor.fetchone()

    def _news(self, rows: list[tuple[Any, ...]]) -> Iterator[Change]:
        """Pass on what was not seen before; the overlap shows most of it twice."""
        for row_id, at, domain, status, attempts, kind, error, title in rows:
            state = (status, attempts, kind)
            former = self._known.pop(row_id, None)
            self._known[row_id] = state
            if former == state:
                continue
            self._changed += 1
            detail = title if status == Status.COMPLETED else error
            yield Change(at, domain, former[0] if former else "", status, kind, detail)
        while len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
