"""The queue's statements: claim, extend, settle, release. Who lost the lease can do none of them.

`due_at` is one clock for both states: for a pending row the time from which it may be claimed, for
a processing row the end of its lease. So a lease that ran out is simply due again, one partial
index serves every claim, and no reaper is needed. All times are the database's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb

from domainsched.database.connection import PATIENCE, Database
from domainsched.database.table import Table
from domainsched.errors import DatabaseError, Refused
from domainsched.models import (
    Claim,
    Complete,
    Fail,
    Failed,
    Kind,
    Release,
    Retry,
    RowId,
    Status,
    Transition,
)

logger = logging.getLogger(__name__)

RESULT_COLUMNS: Mapping[str, str] = {
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
    "wordpress_theme": "text",
    "has_elementor": "boolean",
    "elementor_version": "text",
    "has_divi": "boolean",
    "has_woocommerce": "boolean",
    "has_contact_form7": "boolean",
    "has_yoast_seo": "boolean",
    "has_wpforms": "boolean",
    "google_analytics_id": "text",
    "google_tag_manager_id": "text",
    "copyright_year": "text",
    "content_language": "list",
    "feed_urls": "list",
    "security_headers": "jsonb",
    "tech_stack": "jsonb",
    "has_ssl": "any",
    "ssl_issuer": "any",
    "ssl_version": "any",
    "ssl_expiry_date": "any",
    "server_type": "any",
    "ip_address": "any",
    "server_response_time": "any",
    "domain_metadata": "jsonb",
}
"""Name to kind; filled where the table has them, with a type that can hold them. One that came out
empty keeps its old value: good data is never erased by a poorer visit; only `domain_metadata`
always holds the latest visit as it was."""

# The empty value of a list, which says "looked, and found none" where there was nothing before.
_EMPTY = {"email_addresses": "'{}'", "phone_numbers": "'{}'"}

MOST_REFUSED = 10
"""Rows that a run puts up with whose claim or end is refused, or locked; with more, it is the
table."""

CRASHED = (
    "its worker died, or was cut off from the database, before it could say how the visit ended"
)

# The locking SELECT stands in a CTE, and so runs once; as a sub-select it may run once for each
# row, and LIMIT then means nothing. Statuses are literals: with a parameter the partial index could
# not serve. NO KEY, so that a stranger's foreign-key check on the row does not hide it from us.
_PICK_DUE = sql.SQL("""
    SELECT id, status, due_at FROM {table}
    WHERE status IN ('pending', 'processing') AND due_at <= statement_timestamp(){tenant}
        AND id <> ALL(%(refused)s::{id_type}[])
    ORDER BY due_at, id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
""")

# One row that somebody named, due or not, whatever its status; but not while another has it.
_PICK_WANTED = sql.SQL("""
    SELECT id, status, due_at FROM {table}
    WHERE id = %(wanted)s::{id_type}{tenant}
        AND NOT (status = 'processing' AND due_at > statement_timestamp())
    FOR NO KEY UPDATE SKIP LOCKED
""")

# A row whose lease ran out may be what killed its worker: it is claimed alone, so that it cannot
# use up the attempts of its neighbours.
_CLAIM = sql.SQL("""
WITH picked AS MATERIALIZED ({picked}), chosen AS MATERIALIZED (
    SELECT id, status = 'processing' AS reclaimed FROM picked
    ORDER BY status = 'processing' DESC, due_at, id
    LIMIT (SELECT 1 FROM picked WHERE status = 'processing' LIMIT 1)
)
UPDATE {table} AS d SET
    status = CASE WHEN c.reclaimed AND d.attempts >= %(max_attempts)s
                  THEN 'error' ELSE 'processing' END::{status_type},
    attempts = CASE WHEN c.reclaimed THEN least(coalesce(d.attempts, 0) + 1, %(max_attempts)s)
                    WHEN d.attempts >= %(max_attempts)s OR d.last_error_kind IS NULL THEN 1
                    ELSE coalesce(d.attempts, 0) + 1 END,
    last_error = CASE WHEN c.reclaimed THEN %(crashed)s::{error_type} ELSE d.last_error END,
    last_error_kind = CASE WHEN c.reclaimed THEN 'crashed'::{kind_type}
                           ELSE d.last_error_kind END,
    due_at = CASE WHEN c.reclaimed AND d.attempts >= %(max_attempts)s
                  THEN statement_timestamp() ELSE statement_timestamp() + %(lease)s END,
    claim_token = %(token)s,
    claimed_by = %(worker)s::{worker_type}{also}
FROM chosen AS c
WHERE d.id = c.id
RETURNING d.id, d.domain, d.attempts, d.status::text, c.reclaimed
""")

# After a lost connection: did the claim with this token commit? A bounded range of the index.
_CLAIMED = sql.SQL("""
SELECT id, domain, attempts, status::text, coalesce(last_error_kind = 'crashed', false)
FROM {table}
WHERE status IN ('pending', 'processing') AND status = 'processing' AND claim_token = %(token)s
    AND due_at BETWEEN statement_timestamp() AND statement_timestamp() + %(lease)s
""")

_FIRST_DUE = sql.SQL("""
SELECT id, domain FROM {table}
WHERE status IN ('pending', 'processing') AND due_at <= statement_timestamp(){tenant}
    AND id <> ALL(%(refused)s::{id_type}[])
ORDER BY due_at, id LIMIT 1
""")

# A planner without statistics takes due rows for few: it would collect all of them and sort them
# (40,000 rows read for a claim of 10 in an old table of so many). So it is told to read them in the
# index's order. The price that it puts on what is off must not bring in its compiler. Not where a
# tenant is meant, whose few rows may lie behind many of others: then it has a choice to make.
IN_ORDER: LiteralString = (
    "SET LOCAL enable_seqscan TO off; SET LOCAL enable_bitmapscan TO off;"
    " SET LOCAL enable_sort TO off; SET LOCAL jit TO off"
)

# The row is still leased, and to us. A CASE, which no index can serve, so that rows are found by
# their keys: a bare `status = 'processing'` looks rare to a planner with old statistics, who then
# reads the whole index of unfinished rows (41,000 buffers among a million of them; now 160).
_FENCE = sql.SQL("CASE WHEN d.status = 'processing' THEN d.claim_token = i.token ELSE false END")

# What follows leaves out rows that somebody else locks: one of them would otherwise keep all its
# neighbours waiting.
_EXTEND = sql.SQL("""
WITH held AS MATERIALIZED (
    SELECT d.id FROM {table} AS d
    JOIN unnest(%(ids)s::{id_type}[], %(tokens)s::uuid[]) AS i(id, token)
        ON d.id = i.id AND {fence}
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE {table} AS d SET due_at = statement_timestamp() + %(lease)s
FROM held WHERE d.id = held.id
RETURNING d.id
""")

_RELEASE = sql.SQL("""
WITH held AS MATERIALIZED (
    SELECT d.id FROM {table} AS d
    JOIN unnest(%(ids)s::{id_type}[], %(tokens)s::uuid[]) AS i(id, token)
        ON d.id = i.id AND {fence}
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE {table} AS d SET
    status = 'pending', attempts = greatest(d.attempts - 1, 0), due_at = statement_timestamp()
FROM held WHERE d.id = held.id
RETURNING d.id
""")

# The token stays in the row, so that after a lost connection "settled by me" can be told from
# "lost". A settled row's due_at lies in the past: whoever sets it to pending finds it due.
_SETTLE = sql.SQL("""
WITH i AS MATERIALIZED (
    SELECT i.* FROM {table} AS d
    JOIN jsonb_to_recordset(%(rows)s) AS i(
        id {id_type}, token uuid, status {status_type}, delay interval,
        last_error text, last_error_kind text{definitions})
        ON d.id = i.id AND {fence}
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE {table} AS d SET
    status = i.status, due_at = statement_timestamp() + i.delay,
    last_error = i.last_error::{error_type},
    last_error_kind = i.last_error_kind::{kind_type}{assignments}
FROM i WHERE d.id = i.id
RETURNING d.id
""")

_HELD = sql.SQL("""
SELECT d.id FROM {table} AS d
JOIN unnest(%(ids)s::{id_type}[], %(tokens)s::uuid[]) AS i(id, token)
    ON d.id = i.id AND {fence}
""")

_ENDED = sql.SQL("""
SELECT d.id FROM {table} AS d
JOIN unnest(%(ids)s::{id_type}[], %(tokens)s::uuid[]) AS i(id, token)
    ON d.id = i.id AND d.claim_token = i.token
WHERE d.status <> 'processing'
""")

Ending = tuple[Claim, Transition]


@dataclass(frozen=True)
class Claimed:
    """What one claim brought."""

    claims: tuple[Claim, ...] = ()
    exhausted: tuple[Claim, ...] = ()
    """Rows whose every attempt ended with their worker's death: settled as `error`, unvisited."""


class Queue:
    """The statements of a worker, on one table.

    With `wanted`, its claims take these rows, one at a time, due or not; else those that are due.
    """

    def __init__(
        self,
        database: Database,
        table: Table,
        *,
        tenant: UUID | None = None,
        wanted: Sequence[RowId] | None = None,
    ) -> None:
        self._database = database
        self._tenant = tenant
        self._wanted = None if wanted is None else list(wanted)
        self._refused: list[RowId] = []
        self._unsettled = 0
        self._reading = IN_ORDER if tenant is None else ""
        names: dict[str, sql.Composable] = {
            "table": table.identifier,
            "id_type": table.type_of("id"),
            "status_type": table.type_of("status"),
            "worker_type": table.type_of("claimed_by"),  # a cast cuts what is too long
            "error_type": table.type_of("last_error"),
            "kind_type": table.type_of("last_error_kind"),
            "fence": _FENCE,
            "tenant": sql.SQL("" if tenant is None else " AND tenant_id = %(tenant)s"),
        }
        also = [*table.stamp("updated_at"), *_on_exhausted(table)]
        picked = (_PICK_DUE if wanted is None else _PICK_WANTED).format(**names)
        # As bytes: to put one together takes longer than to execute it.
        self._claim = _CLAIM.format(**names, picked=picked, also=_after_comma(also)).as_bytes()
        self._settlement = _Settlement(table, names)
        self._lengths = table.lengths
        self._claimed = _CLAIMED.format(**names).as_bytes()
        self._first_due = _FIRST_DUE.format(**names).as_bytes()
        self._extend = _EXTEND.format(**names).as_bytes()
        self._release = _RELEASE.format(**names).as_bytes()
        self._held = _HELD.format(**names).as_bytes()
        self._ended = _ENDED.format(**names).as_bytes()

    async def claim(
        self, limit: int, *, token: UUID, worker: str, lease: timedelta, max_attempts: int
    ) -> Claimed:
        """Take up to `limit` due rows, or one row alone whose lease ran out.

        `token` is made by the caller: after a lost connection it tells whether the claim was
        committed, so the rows are neither lost for a lease nor taken twice. A row that the table
        itself refuses to have claimed (a trigger of its owner's) is left out, and said so.
        """
        values = {
            "token": token,
            "worker": worker,
            "lease": lease,
            "max_attempts": max_attempts,
            "tenant": self._tenant,
            "crashed": CRASHED,
        }
        if self._wanted is not None:
            return _claimed(await self._claim_wanted(values, self._wanted), token)
        while True:
            try:
                rows = await self._claim_rows({**values, "limit": limit})
            except Refused as error:
                limit = await self._leave_out(error, limit)
            else:
                return _claimed(rows, token)

    async def _claim_wanted(
        self, values: dict[str, Any], wanted: list[RowId]
    ) -> list[tuple[Any, ...]]:
        """Claim the next of the wanted rows that can be had, and ask for none of them again."""
        rows: list[tuple[Any, ...]] = []
        while wanted and not rows:
            rows = await self._claim_rows({**values, "wanted": str(wanted.pop(0))})
        return rows

    async def _claim_rows(self, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        unsure, values["refused"] = False, [str(row_id) for row_id in self._refused]
        execute = partial(
            self._database.at_once, values=values, settings=self._reading, after=values["token"]
        )

        async def operation() -> list[tuple[Any, ...]]:
            nonlocal unsure
            if unsure and (rows := await execute(self._claimed)):
                return rows
            unsure = True
            return await execute(self._claim)

        return await self._database.run(operation, patience=PATIENCE)

    async def _leave_out(self, error: Refused, limit: int) -> int:
        """After a refused claim: find the row it is about, by claiming one; say how many next."""
        if limit > 1:
            return 1
        if len(self._refused) >= MOST_REFUSED:
            raise error
        values = {"refused": [str(row) for row in self._refused], "tenant": self._tenant}

        rows = await self._database.run(
            lambda: self._database.at_once(self._first_due, values, settings=self._reading),
            patience=PATIENCE,
        )
        if not rows:
            raise error
        ((row_id, domain),) = rows
        self._refused.append(row_id)
        logger.warning("the table refuses the claim of %s, left out: %s", domain, error.why)
        return 1

    async def extend(self, claims: Iterable[Claim], lease: timedelta) -> set[RowId]:
        """Give held claims a new lease from now.

        Those not returned are held no more, or locked by somebody at the moment: then nobody else
        can claim them either, and the next extension is soon enough.
        """
        values = {**_pairs(claims), "lease": lease}
        return await self._database.run(lambda: self._ids(self._extend, values), patience=PATIENCE)

    async def release(self, claims: Iterable[Claim]) -> set[RowId]:
        """End claims without counting the attempt; the rows are due at once."""
        held = list(claims)
        return await self._end(self._release, held, _pairs(held))

    async def settle(self, endings: Sequence[Ending]) -> dict[RowId, Transition]:
        """Write outcomes and end their claims, in one statement; say how each row ended.

        A row that is not returned had lost its lease: its result was dropped. One that somebody
        locks is waited for, and then left to its lease; its neighbours are not. A batch that the
        database refuses is repeated row by row, so that one poison row harms only itself: it ends
        as `error`, kind `unstorable`; if the table refuses even that, it is left to its lease.
        """
        wanted = {claim.id: transition for claim, transition in endings}
        released = [claim for claim, transition in endings if isinstance(transition, Release)]
        kept = {row: wanted[row] for row in await self.release(released)} if released else {}
        visited = [ending for ending in endings if not isinstance(ending[1], Release)]
        try:
            return kept | {row: wanted[row] for row in await self._settle_together(visited)}
        except Refused:
            for ending in visited:
                kept |= await self._settle_alone(ending)
            return kept

    async def _settle_alone(self, ending: Ending) -> dict[RowId, Transition]:
        claim, transition = ending
        try:
            return dict.fromkeys(await self._settle_together([ending]), transition)
        except Refused as error:
            detail = f"the database refused the result: {error.why}"
            unstorable = Fail(Failed(Kind.UNSTORABLE, detail))
        try:
            return dict.fromkeys(await self._settle_together([(claim, unstorable)]), unstorable)
        except Refused as error:
            self._leave(claim, error)
            return {}

    def _leave(self, claim: Claim, error: DatabaseError) -> None:
        """Leave a row to its lease; with too many of them, it is the table."""
        self._unsettled += 1
        if self._unsettled > MOST_REFUSED:
            raise error
        logger.warning("cannot end %s, left to its lease: %s", claim.domain, error.why)

    async def _settle_together(self, endings: Sequence[Ending]) -> set[RowId]:
        if not endings:
            return set()
        claims = [claim for claim, _ in endings]
        records = [_record(claim, transition, self._lengths) for claim, transition in endings]
        values = {**_pairs(claims), "rows": Jsonb(records)}
        return await self._end(self._settlement.of(records), claims, values)

    async def _end(
        self, query: bytes, claims: Sequence[Claim], values: dict[str, object]
    ) -> set[RowId]:
        """End claims, and again those that somebody locks; if they stay so, leave them.

        Repeated, it finds also those that had been ended after all.
        """
        ended: set[RowId] = set()
        locked: set[RowId] = set()
        unsure = False

        async def operation() -> None:
            nonlocal ended, locked, unsure
            locked, repeated, unsure = set(), unsure, True
            ended, locked = await self._fates(query, claims, values, repeated=repeated)
            if locked:  # what is not has been committed
                raise LockNotAvailable("an open transaction of somebody else's locks the row")

        try:
            await self._database.run(operation, patience=PATIENCE)
        except DatabaseError as error:
            if not locked:
                raise
            for claim in claims:
                if claim.id in locked:
                    self._leave(claim, error)
        return ended

    async def _fates(
        self,
        query: bytes,
        claims: Sequence[Claim],
        values: dict[str, object],
        *,
        repeated: bool,
    ) -> tuple[set[RowId], set[RowId]]:
        """End claims; say which are ended, and which are still held, for somebody locks them.

        In this order: while a commit of ours is still under way, its rows are locked and held; then
        they are seen as ended.
        """
        ended = await self._ids(query, values)
        if len(ended) == len(claims):
            return ended, set()
        held = await self._ids(self._held, values)
        if repeated:
            ended |= await self._ids(self._ended, values)
        return ended, held

    async def _ids(self, query: bytes, values: dict[str, object]) -> set[RowId]:
        return {row[0] for row in await self._database.at_once(query, values)}


class _Settlement:
    """The statement that settles."""

    def __init__(self, table: Table, names: Mapping[str, sql.Composable]) -> None:
        mark = sql.SQL("\0")
        also = [*table.stamp("updated_at", "last_scan"), *_on_success(table), *_on_error(table)]
        whole = _SETTLE.format(**names, definitions=mark, assignments=mark + _after_comma(also))
        self._head, self._middle, self._tail = whole.as_bytes().split(b"\0")
        self._definitions = {
            column: sql.SQL(", {} {}")
            .format(sql.Identifier(column), table.type_of(column))
            .as_bytes()
            for column in filled_columns(table)
        }
        self._assignments = {
            column: _after_comma([_assignment(column)]).as_bytes() for column in self._definitions
        }

    def of(self, records: Sequence[Mapping[str, Any]]) -> bytes:
        """Write only the columns of which something was found.

        The others keep what they hold; to have them parsed takes longer than to write the rows.
        """
        present = {
            name for record in records for name, value in record.items() if value is not None
        }
        found = [column for column in self._definitions if column in present]
        return b"".join((
            self._head, *(self._definitions[column] for column in found),
            self._middle, *(self._assignments[column] for column in found), self._tail,
        ))  # fmt: skip


def filled_columns(table: Table) -> list[str]:
    """Give the result columns that are written: a table may use a name for something of its own."""
    return [name for name, kind in RESULT_COLUMNS.items() if table.can_hold(name, kind)]


def _assignment(column: str) -> sql.Composed:
    template = "{0} = coalesce(i.{0}, d.{0})"
    if column in _EMPTY:
        template = "{0} = coalesce(nullif(i.{0}, {1}), d.{0}, i.{0})"
    return sql.SQL(template).format(sql.Identifier(column), sql.SQL(_EMPTY.get(column, "")))


def _on_success(table: Table) -> list[sql.Composable]:
    if "last_successful_scan" not in table.columns:
        return []
    template = sql.SQL(
        "last_successful_scan ="
        " CASE WHEN i.status = 'completed' THEN {} ELSE d.last_successful_scan END"
    )
    return [template.format(table.now("last_successful_scan"))]


def _on_exhausted(table: Table) -> list[sql.Composable]:
    if "error_count" not in table.columns:
        return []
    return [
        sql.SQL(
            "error_count = coalesce(d.error_count, 0)"
            " + (c.reclaimed AND d.attempts >= %(max_attempts)s)::integer"
        )
    ]


def _after_comma(assignments: Iterable[sql.Composable]) -> sql.Composed:
    return sql.Composed([sql.SQL(", ") + assignment for assignment in assignments])


def _on_error(table: Table) -> list[sql.Composable]:
    if "error_count" not in table.columns:
        return []
    return [
        sql.SQL("error_count = coalesce(d.error_count, 0) + (i.status = 'error')::integer"),
    ]


def _record(claim: Claim, transition: Transition, lengths: Mapping[str, int]) -> dict[str, Any]:
    record = {"id": _json_id(claim.id), "token": str(claim.token), "delay": "0"}
    match transition:
        case Complete(columns):
            return {**_fitted(columns, lengths), **record, "status": Status.COMPLETED}
        case Retry(failure, delay):
            seconds = f"{delay.total_seconds():.3f} seconds"
            return {**record, **_failure(failure), "status": Status.PENDING, "delay": seconds}
        case Fail(failure):
            return {**record, **_failure(failure), "status": Status.ERROR}
        case Release():
            raise TypeError("a released claim has no record to write")


_PROSE = frozenset({"title", "description"})
"""Half of it says half as much; half an address says something else."""


def _fitted(columns: Mapping[str, Any], lengths: Mapping[str, int]) -> dict[str, Any]:
    """Cut what a column is too short for, or leave it out: the rest is worth storing."""
    fitted = dict(columns)
    for column, length in lengths.items():
        value = fitted.get(column)
        if isinstance(value, str) and len(value) > length:
            fitted[column] = f"{value[: length - 1]}…" if column in _PROSE else None
    return fitted


def _json_id(row_id: RowId) -> int | str:
    return row_id if isinstance(row_id, int) else str(row_id)


def _failure(failure: Failed) -> dict[str, str]:
    return {"last_error": failure.detail, "last_error_kind": failure.kind}


def _claimed(rows: Iterable[tuple[Any, ...]], token: UUID) -> Claimed:
    """Sort what came back; RETURNING has no order, but keys made by us grow with time."""
    claims: list[Claim] = []
    exhausted: list[Claim] = []
    for row_id, domain, attempts, status, reclaimed in sorted(rows, key=itemgetter(0)):
        claim = Claim(row_id, domain or "", attempts, token, reclaimed)
        (claims if status == Status.PROCESSING else exhausted).append(claim)
    return Claimed(tuple(claims), tuple(exhausted))


def _pairs(claims: Iterable[Claim]) -> dict[str, object]:
    held = list(claims)
    return {
        "ids": [str(claim.id) for claim in held],
        "tokens": [str(claim.token) for claim in held],
    }
