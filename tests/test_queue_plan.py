"""What the queue's statements read among millions of rows, whatever the statistics say of them.

Work is counted in rows scanned and in buffers touched, not in time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

import psycopg
import pytest
from conftest import Database as Place
from conftest import fresh_database
from legacy import TENANT
from psycopg.rows import TupleRow
from tables import LEASE, Bench, Maker, benched, made_once, take, url

from domainsched.database.connection import Database
from domainsched.database.queue import Queue
from domainsched.models import Claim, Complete, Fail, Failed, Kind, Retry

LIMIT = 10
"""Rows that a claim here asks for."""
MILLION = 1_000_000
FAILED = Failed(Kind.TIMEOUT, "no page within 30 s")


# --- plans ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A statement of ours as the server executed it."""

    statement: str
    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        found = [self.root]
        while found:
            node = found.pop()
            found += node.get("Plans", [])
            yield node

    @property
    def scans(self) -> list[str]:
        """How the table was read: "Index Scan domains_pkey"."""
        return [
            f"{node['Node Type']} {node.get('Index Name', '')}".strip()
            for node in self.nodes()
            if _is_scan(node)
        ]

    @property
    def scanned(self) -> float:
        """Rows that were read, those included that a filter then threw away."""
        read = ("Actual Rows", "Rows Removed by Filter")
        scans = [node for node in self.nodes() if _is_scan(node)]
        return float(sum(node.get(key, 0) * node["Actual Loops"] for node in scans for key in read))

    @property
    def buffers(self) -> int:
        return int(self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"])

    def __str__(self) -> str:
        head = " ".join(self.statement.split())[:60]
        return f"{head}: {self.scans}, {self.scanned:.0f} rows, {self.buffers} buffers"


def _is_scan(node: dict[str, Any]) -> bool:
    kind = node["Node Type"]
    return "Scan" in kind and (node.get("Relation Name") == "domains" or "Index Name" in node)


class Explaining(Database):
    """A database that explains what it is told, and can lose an answer.

    Each statement is explained, executed and undone, before it is executed.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(url(place))
        self.plans: list[Plan] = []
        self.loses_next = False

    async def at_once(
        self,
        statement: bytes,
        values: Mapping[str, Any],
        *,
        settings: str = "",
        after: UUID | None = None,
    ) -> list[TupleRow]:
        async with self.transaction(settings=settings) as cursor:
            explaining = psycopg.AsyncClientCursor(cursor.connection)
            await explaining.execute(
                b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, values
            )
            (((explained,),),) = await explaining.fetchall()
            self.plans.append(Plan(statement.decode(), explained["Plan"]))
            raise psycopg.Rollback
        rows = await super().at_once(statement, values, settings=settings, after=after)
        if self.loses_next:
            self.loses_next = False
            raise psycopg.OperationalError("the answer was lost")
        return rows


async def explained(bench: Bench) -> list[Plan]:
    """Claim, extend, release and settle; and ask what became of it, after a lost answer."""
    async with Explaining(bench.place) as database:
        queue = Queue(database, bench.table)
        database.loses_next = True
        claims = (await take(queue, LIMIT)).claims
        assert await queue.extend(claims, LEASE) == {claim.id for claim in claims}
        released, *settled = claims
        assert await queue.release([released]) == {released.id}
        database.loses_next = True
        assert await settle(queue, settled) == {claim.id for claim in settled}
        return database.plans


async def settle(queue: Queue, claims: list[Claim]) -> set[Any]:
    page = Complete({"title": "A site", "domain_metadata": {"version": 1}})
    transitions = (page, Retry(FAILED, LEASE * 2), Fail(FAILED))
    return set(
        await queue.settle(
            [(claim, transitions[number % 3]) for number, claim in enumerate(claims)]
        )
    )


# --- tables -----------------------------------------------------------------------------------

FILL = f"""
    INSERT INTO {{table}} (domain, tenant_id, status, due_at)
    SELECT n || '.test', '{TENANT}', {{status}}, now() - n * interval '1 millisecond'
    FROM generate_series(1, {{rows}}) n
"""
HALF = "CASE WHEN n % 2 = 0 THEN 'completed' ELSE 'pending' END"
INDEXES = """
    SELECT coalesce('DROP CONSTRAINT ' || quote_ident(conname) || ' CASCADE', ''),
        coalesce('ALTER TABLE domains ADD ' || pg_get_constraintdef(c.oid),
                 pg_get_indexdef(indexrelid)), indexrelid::regclass::text
    FROM pg_index i LEFT JOIN pg_constraint c ON conindid = indexrelid AND contype IN ('p', 'u')
    WHERE indrelid = 'domains'::regclass ORDER BY contype = 'p' DESC NULLS LAST, indexrelid
"""


def fill(bench: Bench, each: int) -> None:
    """Have `each` rows pending and due, and as many completed; the statistics know of none."""
    bench.execute("ALTER TABLE domains SET (autovacuum_enabled = off)")
    bench.execute("ANALYZE domains")
    indexes = bench.execute(INDEXES)
    for constraint, _, index in indexes:
        bench.execute(f"ALTER TABLE domains {constraint}" if constraint else f"DROP INDEX {index}")
    bench.execute(FILL.format(table="domains", status=HALF, rows=2 * each))
    for _, definition, _ in indexes:
        bench.execute(definition)


SNAPSHOTS = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def shaped(server: dict[str, str]) -> Iterator[Maker]:
    with made_once(server) as make, fresh_database(server) as small:
        yield lambda shape: small if shape == "small" else make(shape)


@asynccontextmanager
async def filled(place: Place, each: int) -> AsyncIterator[Bench]:
    """A bench on a table with that many rows, made when it is first asked for."""
    async with benched(place) as bench:
        if bench.execute("SELECT FROM domains LIMIT 1") == []:
            fill(bench, each)
        yield bench


def vacuum(bench: Bench) -> None:
    """Remove what is dead. A snapshot that still sees it, an automatic ANALYZE's, would keep it."""
    while bench.execute(SNAPSHOTS):
        pass
    bench.execute("VACUUM domains")


# --- statistics -------------------------------------------------------------------------------

WHEN_ALL = "when all were "
STATISTICS = ("of an empty table", "true", f"{WHEN_ALL}completed", f"{WHEN_ALL}pending")
FORGET = "DELETE FROM pg_statistic WHERE starelid = 'domains'::regclass"
OF_SIBLING = """
    SELECT 'INSERT INTO pg_statistic (starelid, ' || string_agg(attname, ', ')
        || ') SELECT ''domains''::regclass, ' || string_agg(attname, ', ')
        || ' FROM pg_statistic WHERE starelid = ''sibling''::regclass'
    FROM pg_attribute
    WHERE attrelid = 'pg_statistic'::regclass AND attnum > 0 AND attname <> 'starelid'
"""


def believe(bench: Bench, statistics: str) -> None:
    """Have the planner believe what `statistics` says; of its size, it always knows the truth."""
    bench.execute(FORGET)
    if statistics == "true":
        bench.execute("ANALYZE domains")
    elif statistics.startswith(WHEN_ALL):
        bench.execute("CREATE TABLE sibling (LIKE domains INCLUDING DEFAULTS INCLUDING IDENTITY)")
        status = f"'{statistics.removeprefix(WHEN_ALL)}'"
        bench.execute(FILL.format(table="sibling", status=status, rows=10_000))
        bench.execute("ANALYZE sibling")
        ((copy,),) = bench.execute(OF_SIBLING)
        bench.execute(copy)
        bench.execute("DROP TABLE sibling")


async def is_cheap(bench: Bench, *, also: int = 0, statistics: Iterable[str] = STATISTICS) -> None:
    """See every statement read a few rows for each one that it is about, with any statistics.

    `also`: the buffers by which what lies dead in the index may add to them.
    """
    ((indexes,),) = bench.execute(
        "SELECT count(*) FROM pg_index WHERE indrelid = 'domains'::regclass"
    )
    buffers = LIMIT * (12 + 4 * indexes) + also  # a new version of a row is in every index
    for each in statistics:
        believe(bench, each)
        for plan in await explained(bench):
            where = f"statistics {each}: {plan}"
            assert "Seq Scan" not in plan.scans, where
            assert plan.scanned <= 4 * LIMIT, where
            assert plan.buffers <= buffers, where
            if "picked" in plan.statement:
                assert plan.scans.count("Index Scan domains_due_idx") == 1, where


# --- tests ------------------------------------------------------------------------------------

HEAD = """
    SELECT id FROM domains WHERE status IN ('pending', 'processing') AND due_at <= now()
    ORDER BY due_at, id LIMIT {}
"""
VACUUMED_FROM = 5000
"""Changed rows after which autovacuum cleans a table that domainsched made."""


async def test_a_claim_reads_no_more_in_a_table_of_two_million_rows(shaped: Maker) -> None:
    """Such a table takes ten seconds to make: whatever is tried on it is in this one test."""
    async with filled(shaped("ours"), MILLION) as bench:
        await is_cheap(bench)
        assert await growth(bench, shaped("small")) < 1.5
        await a_refused_row_is_left_out_cheaply(bench)
        await is_cheap_beside_run_out_leases(bench)
        await is_cheap_behind_a_dead_head(bench)


async def test_a_claim_reads_no_more_in_an_old_table_whose_every_status_is_indexed(
    shaped: Maker,
) -> None:
    async with filled(shaped("november"), 20_000) as bench:
        await is_cheap(bench)
        await is_cheap_beside_run_out_leases(bench)
        await is_cheap_before_rows_that_wait(bench)


async def growth(large: Bench, place: Place) -> float:
    """Say how many times as many buffers the statements touch as in a table of 20,000 rows."""
    async with filled(place, 10_000) as small:
        touched = []
        for bench in (large, small):
            believe(bench, "true")
            touched.append(sum(plan.buffers for plan in await explained(bench)))
    return touched[0] / touched[1]


async def a_refused_row_is_left_out_cheaply(bench: Bench) -> None:
    ((first,),) = bench.execute(HEAD.format(1))
    refusal = f"CHECK (id <> {first} OR status <> 'processing') NOT VALID"
    bench.execute(f"ALTER TABLE domains ADD CONSTRAINT refusal {refusal}")
    await is_cheap(bench, statistics=STATISTICS[2:])
    bench.execute("ALTER TABLE domains DROP CONSTRAINT refusal")


async def is_cheap_beside_run_out_leases(bench: Bench) -> None:
    lost = f"id = ANY (ARRAY({HEAD.format(VACUUMED_FROM)}))"
    bench.execute(f"UPDATE domains SET status = 'processing', attempts = 1 WHERE {lost}")
    vacuum(bench)
    await is_cheap(bench)


async def is_cheap_before_rows_that_wait(bench: Bench) -> None:
    """Fewer rows are due than a claim asks for: it must not look for more among all the others."""
    others = f"id <> ALL (ARRAY({HEAD.format(LIMIT // 2)}))"
    bench.execute(f"UPDATE domains SET due_at = now() + interval '1 day' WHERE {others}")
    vacuum(bench)
    await is_cheap(bench)


async def is_cheap_behind_a_dead_head(bench: Bench) -> None:
    """What was claimed and settled since the last vacuum lies before what is due."""
    done = f"id = ANY (ARRAY({HEAD.format(VACUUMED_FROM)}))"
    bench.execute(f"UPDATE domains SET status = 'completed' WHERE {done}")
    await is_cheap(bench, also=VACUUMED_FROM // 10)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_claim_takes_no_longer_in_a_table_of_two_million_rows(shaped: Maker) -> None:
    """Prints the ratio of the medians, taken in turns: pytest -m soak -k no_longer -s."""
    async with filled(shaped("ours"), MILLION) as large, filled(shaped("small"), 10_000) as small:
        took: dict[Bench, list[float]] = {large: [], small: []}
        for bench in (large, small):
            bench.execute("VACUUM ANALYZE domains")
        for _ in range(500):
            for bench, times in took.items():
                start = time.perf_counter()
                claims = (await bench.claim(LIMIT)).claims
                times.append(time.perf_counter() - start)
                await bench.queue.release(claims)
        ratio = median(took[large]) / median(took[small])
        print(f"a claim among 2,000,000 rows takes {ratio:.2f} times as long as among 20,000")  # noqa: T201 - what it is run for
        assert ratio < 3
