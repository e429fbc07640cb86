"""What `watch` asks of the table: a little, and of any table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from conftest import Database as Place

from domainsched import dburl
from domainsched.database import lookout
from domainsched.database.catalogue import usable_table
from domainsched.database.connection import Database
from domainsched.database.lookout import Lookout
from domainsched.database.queue import IN_ORDER, Queue
from domainsched.database.schema import init
from domainsched.database.store import Store
from domainsched.database.table import Table, TableName
from domainsched.models import Complete, Fail, Failed, Flight, Kind

LEASE = timedelta(minutes=15)
TENANT = UUID("00000000-0000-0000-0000-000000000001")


@dataclass
class Bench:
    place: Place
    database: Database
    table: Table

    def lookout(self, tenant: UUID | None = None) -> Lookout:
        return Lookout(self.database, self.table, tenant=tenant)

    async def flights(self, look: Lookout) -> list[Flight]:
        async with self.database.transaction(read_only=True) as cursor:
            return await look.flights(cursor)

    def execute(self, statement: str) -> None:
        with self.place.connect() as connection:
            connection.execute(statement)

    async def process(self, *, fails: bool = False) -> None:
        """Claim and settle all that is due."""
        queue = Queue(self.database, self.table)
        claimed = await queue.claim(99, token=uuid4(), worker="w:1:r", lease=LEASE, max_attempts=3)
        how = Fail(Failed(Kind.DNS, "no such host")) if fails else Complete({"title": "A site"})
        await queue.settle([(claim, how) for claim in claimed.claims])


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[Bench]:
    async with Database(dburl.parse(database.url)) as client:
        yield Bench(database, client, await init(client, TableName.parse("domains"), LEASE))


def add(*names: str, due: str = "now()", status: str = "pending") -> str:
    values = ", ".join(f"('{name}', '{status}', {due})" for name in names)
    return f"INSERT INTO domains (domain, status, due_at) VALUES {values}"


async def test_a_time_that_never_comes_holds_up_no_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "PAGE", 1)
    look = bench.lookout()
    await look.changes()
    bench.execute(add("never.test", due="'infinity'"))
    until = await look.until_due()
    assert until is not None
    assert until > timedelta(hours=1)
    bench.execute(add("held.test", due="'infinity'", status="processing"))
    bench.execute("UPDATE domains SET updated_at = 'infinity'")
    (flight,) = await bench.flights(look)
    assert (flight.domain, flight.since) == ("held.test", None)
    assert flight.lease_left > timedelta(days=365)
    bench.execute(add("always.test", due="'-infinity'"))
    assert await look.until_due() == timedelta()
    for expected in (["always.test"], []):
        assert [change.domain for change in await look.changes()] == expected


async def test_when_the_next_row_falls_due(bench: Bench) -> None:
    look = bench.lookout()
    assert await look.until_due() is None
    bench.execute(add("done.test", status="completed"))
    assert await look.until_due() is None
    bench.execute(add("later.test", due="now() + interval '1 hour'"))
    until = await look.until_due()
    assert until is not None
    assert timedelta(minutes=59) < until <= timedelta(hours=1)
    bench.execute(add("now.test"))
    assert await look.until_due() == timedelta()
    assert await bench.lookout(TENANT).until_due() is None


async def test_who_has_what(bench: Bench) -> None:
    bench.execute(add("a.test", "b.test", due="now() - interval '1 s'"))
    queue = Queue(bench.database, bench.table)
    await queue.claim(1, token=uuid4(), worker="web1:4711:7f3a", lease=LEASE, max_attempts=3)
    bench.execute(add("dead.test", due="now() - interval '1 h'", status="processing"))
    (flight,) = await bench.flights(bench.lookout())
    assert (flight.domain, flight.worker) == ("a.test", "web1:4711:7f3a")
    assert flight.since is not None
    assert timedelta() <= flight.since < timedelta(minutes=1)
    assert LEASE - timedelta(minutes=1) < flight.lease_left <= LEASE
    assert await bench.flights(bench.lookout(TENANT)) == []


async def test_each_change_is_told_once_in_its_order(bench: Bench) -> None:
    look = bench.lookout()
    bench.execute(add("old.test", status="completed"))
    assert await look.changes() == []
    bench.execute(add("a.test"))
    told = [(change.domain, change.former, change.status) for change in await look.changes()]
    assert told[-1] == ("a.test", "", "pending")
    assert await look.changes() == []
    await bench.process(fails=True)
    (change,) = await look.changes()
    assert (change.domain, change.former, change.status) == ("a.test", "pending", "error")
    assert (change.kind, change.detail) == ("dns", "no such host")
    bench.execute("UPDATE domains SET status = 'pending', updated_at = now()")
    await bench.process()
    changes = {change.domain: change for change in await look.changes()}
    assert changes["a.test"].former == "error"
    assert (changes["a.test"].status, changes["a.test"].detail) == ("completed", "A site")
    assert await look.changes() == []


async def test_each_change_has_a_before_also_when_more_rows_wait_than_are_remembered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "AHEAD", 4)
    monkeypatch.setattr(lookout, "KNOWN", 30)
    bench.execute(add(*(f"n{number:02}.test" for number in range(20))))
    look, queue = bench.lookout(), Queue(bench.database, bench.table)
    await look.changes()
    told: list[tuple[str, str]] = []
    for _ in range(10):
        await queue.claim(2, token=uuid4(), worker="w:1:r", lease=LEASE, max_attempts=3)
        told += [(change.former, change.status) for change in await look.changes()]
    assert told == [("pending", "processing")] * 20


async def test_a_row_is_new_though_it_is_looked_ahead_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "AHEAD", 0)
    look = bench.lookout()
    await look.changes()
    monkeypatch.setattr(lookout, "AHEAD", 9)
    look._changed = 9  # noqa: SLF001 - as after many changes
    bench.execute(add("new.test"))
    (change,) = await look.changes()
    assert (change.domain, change.former, change.status) == ("new.test", "", "pending")


async def test_a_change_that_is_committed_late_is_told_all_the_same(bench: Bench) -> None:
    look = bench.lookout()
    await look.changes()
    with bench.place.connect() as slow, slow.transaction():
        slow.execute(add("late.test"))
        bench.execute(add("quick.test"))
        assert [change.domain for change in await look.changes()] == ["quick.test"]
    assert [change.domain for change in await look.changes()] == ["late.test"]


async def test_many_changes_of_one_moment_come_in_pages_and_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "PAGE", 7)
    look = bench.lookout()
    await look.changes()
    names = [f"n{number:02}.test" for number in range(50)]
    bench.execute(add(*names))
    assert [change.domain for change in await look.changes()] == names
    assert await look.changes() == []


async def test_what_it_remembers_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "KNOWN", 5)
    look = bench.lookout()
    await look.changes()
    bench.execute(add(*(f"n{number:02}.test" for number in range(50))))
    assert len(await look.changes()) == 50
    assert len(look._known) == 5  # noqa: SLF001 - nothing else shows it


@pytest.mark.parametrize("types", ["timestamp", "timestamptz"])
async def test_a_table_with_local_times_is_looked_at_as_well(bench: Bench, types: str) -> None:
    bench.execute(f"ALTER TABLE domains ALTER updated_at TYPE {types} USING now()")
    bench.table = await usable_table(bench.database, TableName.parse("domains"))
    look = bench.lookout()
    await look.changes()
    bench.execute(add("a.test"))
    bench.execute(
        "UPDATE domains SET updated_at = timezone('UTC', statement_timestamp())"
        if types == "timestamp"
        else "UPDATE domains SET updated_at = now()"
    )
    assert [change.domain for change in await look.changes()] == ["a.test"]
    queue = Queue(bench.database, bench.table)
    await queue.claim(1, token=uuid4(), worker="w", lease=LEASE, max_attempts=3)
    (flight,) = await bench.flights(look)
    assert flight.since is not None
    assert timedelta() <= flight.since < timedelta(minutes=1)


async def test_a_table_that_does_not_tell_when_it_changed_has_no_changes(bench: Bench) -> None:
    bench.execute("ALTER TABLE domains DROP updated_at, DROP last_scan")
    bench.table = await usable_table(bench.database, TableName.parse("domains"))
    bench.execute(add("a.test"))
    look = bench.lookout()
    assert await look.changes() == []
    await bench.process()
    assert await look.changes() == []
    bench.execute(add("b.test", due="now() + interval '1 h'", status="processing"))
    (flight,) = await bench.flights(look)
    assert flight.since is None


async def test_looking_for_due_rows_reads_the_head_of_the_claim_s_index(bench: Bench) -> None:
    bench.execute(
        "INSERT INTO domains (domain, due_at) SELECT n || '.test', now() + n * interval '1 s'"
        " FROM generate_series(1, 20000) AS n"
    )
    async with bench.database.transaction() as cursor:
        await cursor.execute(IN_ORDER)
        names = bench.lookout()._names  # noqa: SLF001 - its plan is what is looked at
        query = lookout._HEAD.format(**names).as_string()  # noqa: SLF001 - as above
        await cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}")
        ((plan,),) = (await cursor.fetchone() or ((),),)
    buffers = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
    assert buffers < 20


async def test_the_numbers_of_the_store_and_the_lookout_agree(bench: Bench) -> None:
    bench.execute(add("a.test", due="now() + interval '1 h'"))
    upcoming = await Store(bench.database, bench.table).upcoming()
    until = await bench.lookout().until_due()
    assert upcoming.next_due is not None
    assert until is not None
    assert abs(upcoming.next_due - upcoming.now - until) < timedelta(minutes=1)
