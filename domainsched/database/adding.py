"""Puts names into the table within one transaction, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from psycopg import sql

from domainsched.database.connection import Cursor
from domainsched.database.selection import LEASED, check_batch, has_foreign, odd_forms, same_tenant
from domainsched.database.table import Table
from domainsched.errors import UsageError
from domainsched.models import Added
from domainsched.names import spellings

CHUNK = 5000
"""Names a statement: past it a larger chunk gained nothing when it was measured."""

# Names have no white space: as one text they are sent in a fifth less time than as an array.
_ADD = sql.SQL("""
INSERT INTO {table} ({columns})
SELECT {values}
FROM unnest(string_to_array(%(names)s, ' ')) WITH ORDINALITY AS i(name, n) ORDER BY n
ON CONFLICT DO NOTHING
""")

_PRESENT = sql.SQL("""
SELECT DISTINCT i.name FROM unnest(%(of)s::text[], %(spelled)s::text[]) AS i(name, spelling)
JOIN {table} AS d ON d.domain = i.spelling{tenant}
""")

# Older programs left rows without a tenant; to a unique index they are nobody's twins.
_NOBODY_S = sql.SQL(
    "SELECT count(*) FROM (SELECT FROM {table} WHERE tenant_id IS NULL LIMIT 1) AS n"
)

# All are due at once, yet fall due in the order of the input, also where keys are random.
_IN_ORDER = sql.SQL("statement_timestamp() - (%(count)s - i.n) * interval '1 microsecond'")

# Rows that this transaction wrote: if not just now, their name stood in an earlier chunk.
_OURS = sql.SQL("xmin = pg_current_xact_id()::xid")

_WRITTEN = sql.SQL("SELECT count(*) FROM {table} WHERE domain = ANY(%(names)s) AND {ours}")

# A row that is due already keeps its place in the queue.
_REQUEUE = sql.SQL("""
UPDATE {table} AS d SET
    status = 'pending', attempts = 0, claim_token = NULL, claimed_by = NULL,
    due_at = CASE WHEN status = 'pending' THEN least(due_at, statement_timestamp())
                  ELSE statement_timestamp() END,
    last_error = NULL, last_error_kind = NULL{also}
WHERE domain = ANY(%(forms)s) AND NOT {leased} AND NOT {ours}{mine}
""")

_HELD = sql.SQL("""
SELECT count(*) FROM {table} AS d WHERE domain = ANY(%(forms)s) AND {leased}{mine}
""")


@dataclass(frozen=True)
class Order:
    """What is asked of an `add` beyond its names."""

    tenant: UUID
    """Of new rows."""
    batch: str = ""
    """A label that new and requeued rows get."""
    requeue: bool = False
    """Rows that are there become pending and due, unless they are under a live lease."""


@dataclass
class Adding:
    """One `add`, in an open transaction."""

    cursor: Cursor
    table: Table
    order: Order
    limited: UUID | None
    """The only tenant whose rows may be touched, if there is such a one."""
    _odd: Mapping[str, list[str]] = field(default_factory=dict)
    _foreign: bool = False
    """What is there must be looked for: in other forms, or as the database does not mind twins."""

    async def all(self, names: Iterable[str]) -> Added:
        """Add canonical names; memory stays constant however many there are."""
        if self.order.batch:
            await check_batch(self.cursor, self.table, self.order.batch)
        self._foreign = await self._may_have_twins()
        if self._foreign:
            self._odd = await odd_forms(
                self.cursor, self.table, self.order.tenant, or_nobody=self.limited is None
            )
        total = Added()
        for chunk in _chunks(names, CHUNK):
            total += await self._some(chunk)
        return total

    async def _may_have_twins(self) -> bool:
        """Whether a site may be there in a row that no unique index holds against a new one."""
        if not self.table.is_unique or await has_foreign(self.cursor, self.table, self.limited):
            return True
        if self.limited is not None or not self.table.unique_per_tenant:
            return False
        return bool(await self._scalar(_NOBODY_S.format(table=self.table.identifier), {}))

    def _check_lengths(self, names: Iterable[str]) -> None:
        """Refuse what the column is too short for, before PostgreSQL does without a name."""
        limit = self.table.lengths.get("domain")
        long = [] if limit is None else [name for name in names if len(name) > limit]
        if long:
            where = f"{self.table.schema}.{self.table.name}"
            raise UsageError(
                f"{long[0]} is too long for the table; nothing was added",
                why=f"the column domain of {where} holds {limit} characters, the name has"
                f" {len(long[0])}",
                hint=f"leave it out, or: ALTER TABLE {where} ALTER domain TYPE text;",
            )

    async def _some(self, chunk: list[str]) -> Added:
        unique = list(dict.fromkeys(chunk))
        self._check_lengths(unique)
        present = self._odd.keys() & set(unique)
        if self._foreign:
            present |= await self._present(unique)
        repeated, requeued, held = len(chunk) - len(unique), 0, 0
        if self.order.requeue:
            repeated += await self._ours(unique)
            requeued, held = await self._requeue(unique)
        added = await self._insert([name for name in unique if name not in present])
        if added < len(unique) and not self.order.requeue:
            repeated += max(0, await self._ours(unique) - added)  # a trigger may write the row anew
        return Added(added, len(chunk) - added - repeated, repeated, requeued, held)

    async def _ours(self, names: list[str]) -> int:
        """Count the rows of these names that this transaction has written."""
        query = _WRITTEN.format(table=self.table.identifier, ours=_OURS)
        return await self._scalar(query, {"names": names})

    async def _insert(self, names: list[str]) -> int:
        values: dict[str, sql.Composable] = {
            "domain": sql.SQL("i.name"),
            "status": sql.SQL("'pending'"),
            "due_at": _IN_ORDER,
        }
        if "tenant_id" in self.table.columns:
            values["tenant_id"] = sql.SQL("%(tenant)s")
        if self.order.batch:
            values["batch_id"] = self._label()
        for column in ("created_at", "updated_at"):
            if column in self.table.columns:
                values[column] = self.table.now(column)
        query = _ADD.format(
            table=self.table.identifier,
            columns=sql.SQL(", ").join(map(sql.Identifier, values)),
            values=sql.SQL(", ").join(values.values()),
        )
        words = {"names": " ".join(names), "count": len(names)}
        await self.cursor.execute(query, self._values(words))
        return self.cursor.rowcount

    async def _requeue(self, names: list[str]) -> tuple[int, int]:
        """Requeue what is there; say how many rows, and how many a worker has."""
        also = self.table.stamp("updated_at")
        if self.order.batch:
            also.append(sql.SQL("batch_id = ") + self._label())
        query = _REQUEUE.format(
            table=self.table.identifier,
            leased=LEASED,
            ours=_OURS,
            mine=self._mine(),
            also=sql.Composed([sql.SQL(", ") + assignment for assignment in also]),
        )
        forms = {"forms": self._forms(names)}
        await self.cursor.execute(query, self._values(forms))
        requeued = self.cursor.rowcount
        held = _HELD.format(table=self.table.identifier, leased=LEASED, mine=self._mine())
        return requeued, await self._scalar(held, forms)

    def _mine(self) -> sql.Composable:
        limited = sql.SQL(" AND d.tenant_id = %(limited)s" if self.limited else "")
        return self._same() + limited

    def _same(self) -> sql.SQL:
        """Look at the tenant's rows; and at nobody's, unless only the tenant's may be touched."""
        return same_tenant(self.table, self.order.tenant, or_nobody=self.limited is None)

    def _label(self) -> sql.Composed:
        return sql.SQL("%(batch)s::{}").format(self.table.type_of("batch_id"))

    def _forms(self, names: list[str]) -> list[str]:
        """Expand names to what the table may have instead."""
        if not self._foreign:
            return names
        odd = [form for name in names for form in self._odd.get(name, ())]
        return [form for name in names for form in spellings(name)] + odd

    async def _present(self, names: list[str]) -> set[str]:
        pairs = [(name, spelling) for name in names for spelling in spellings(name)]
        query = _PRESENT.format(table=self.table.identifier, tenant=self._same())
        forms = {"of": [name for name, _ in pairs], "spelled": [form for _, form in pairs]}
        await self.cursor.execute(query, self._values(forms))
        return {name for (name,) in await self.cursor.fetchall()}

    async def _scalar(self, query: sql.Composed, values: Mapping[str, Any]) -> int:
        await self.cursor.execute(query, self._values(values))
        return int((await self.cursor.fetchone() or (0,))[0])

    def _values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"tenant": self.order.tenant, "limited": self.limited, "batch": self.order.batch}
        return {**values, **ours}


def _chunks(names: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(names)
    while chunk := list(islice(iterator, size)):
        yield chunk
