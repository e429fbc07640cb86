"""One run on a real queue: what is begun when, and what becomes of each claim."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from conftest import Database as Place
from programs import rows
from proxy import Link, proxied

from domainsched import dburl
from domainsched.database.connection import Database
from domainsched.database.queue import Queue
from domainsched.database.schema import init
from domainsched.database.selection import Selection
from domainsched.database.store import Store
from domainsched.database.table import Table, TableName
from domainsched.errors import DatabaseError, DomainschedError, NetworkDown
from domainsched.models import (
    Claim,
    Complete,
    Fail,
    Failed,
    Found,
    Kind,
    NotTried,
    Outcome,
    Release,
    Retry,
    RunSummary,
    Settled,
    Transition,
)
from domainsched.retry import Policy, backoff
from domainsched.worker import Plan, Run, Stop, Visit, decide

GiveWay = Callable[[], None]

FOUND = Found({"title": "A site", "domain_metadata": {"version": 1}})
TIMEOUT = Failed(Kind.TIMEOUT, "no page within 30 s")
GONE = Failed(Kind.HTTP_4XX, "410 gone")
UNREACHABLE = Failed(Kind.DNS, "temporary failure in name resolution", unreachable=True)
UNKNOWN = Failed(Kind.DNS, "no such host")

LONG = timedelta(seconds=20)
"""Longer than any test waits when all is well."""
PLAN = Plan(limit=None, concurrency=4, lease=timedelta(minutes=1), grace=LONG)
EXPIRED = {"status": "'processing'", "due_at": "now() - interval '1 second'", "attempts": "1"}


# --- decide -----------------------------------------------------------------------------------

POLICY = Policy(max_attempts=3)


def claim_of(attempt: int) -> Claim:
    return Claim(1, "a.test", attempt, uuid4())


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", Kind)
def test_a_transient_failure_is_retried_until_the_attempts_are_used_up(
    kind: Kind, attempt: int
) -> None:
    failure = Failed(kind, "why")
    expected: Transition = Fail(failure)
    if kind.is_transient and attempt < POLICY.max_attempts:
        expected = Retry(failure, backoff(attempt, failure, POLICY, 0.5))
    assert decide(claim_of(attempt), failure, POLICY, 0.5) == expected


def test_the_transient_kinds_are_these() -> None:
    assert {kind.value for kind in Kind if kind.is_transient} == {
        *("dns", "connect", "tls", "timeout", "protocol", "http_5xx", "rate_limited", "challenge"),
        *("empty", "crashed"),
    }


@pytest.mark.parametrize("attempt", [1, 3, 4])
def test_a_page_completes_and_what_was_not_tried_is_released_at_any_attempt(attempt: int) -> None:
    assert decide(claim_of(attempt), FOUND, POLICY, 0.5) == Complete(FOUND.columns)
    assert decide(claim_of(attempt), NotTried(), POLICY, 0.5) == Release()


# --- the bench --------------------------------------------------------------------------------


class Bench:
    """A queue in a database, and what a run over it said."""

    def __init__(self, place: Place, database: Database, table: Table) -> None:
        self._place = place
        self.database, self.table = database, table
        self.queue = Queue(database, table)
        self.stop = Stop()
        self.begun: list[str] = []
        self.settled: list[Settled] = []
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[RunSummary]] = []

    def add(self, *domains: str, **columns: str) -> None:
        """Insert rows, in this order; `columns` are SQL expressions."""
        names = ", ".join(["domain", *columns])
        with self._place.connect() as connection:
            for domain in domains:
                values = ", ".join(["%s", *columns.values()])
                connection.execute(f"INSERT INTO domains ({names}) VALUES ({values})", [domain])

    def execute(self, statement: str) -> None:
        with self._place.connect() as connection:
            connection.execute(statement)

    def rows(self) -> dict[str, dict[str, Any]]:
        return rows(self._place)

    def column(self, name: str) -> dict[str, Any]:
        return {domain: row[name] for domain, row in self.rows().items()}

    def run(self, visit: Visit, **changes: Any) -> asyncio.Task[RunSummary]:  # noqa: ANN401 - as replace
        run = Run(
            self.queue,
            visit,
            replace(PLAN, **changes),
            worker="host:1:test",
            run_id="test",
            stop=self.stop,
            on_begin=lambda claim: self._note(self.begun, claim.domain),
            on_settled=lambda settled: self._note(self.settled, settled),
        )
        self._tasks.append(asyncio.create_task(run.run()))
        return self._tasks[-1]

    async def close(self) -> None:
        """End the runs that a failed test left behind."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note(self, notes: list[Any], what: object) -> None:
        notes.append(what)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was said makes `condition` true."""
        async with asyncio.timeout(LONG.total_seconds()):
            while not condition():
                await self._changed.wait()
                self._changed.clear()


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[Bench]:
    async with Database(dburl.parse(database.url)) as client:
        table = await init(client, TableName.parse("domains"), timedelta(minutes=1))
        ready = Bench(database, client, table)
        yield ready
        await ready.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a run leaves no task behind"


class Gate:
    """A visit that ends when it is let: then with `outcome`."""

    def __init__(self, *held: str, outcome: Outcome = FOUND, gives_way: bool = False) -> None:
        self._held = held
        self._outcome = outcome
        self._gives_way = gives_way
        self.open = asyncio.Event()

    def open_soon(self) -> None:
        """Open when whoever else was woken by the same event has had a turn."""
        asyncio.get_running_loop().call_later(0.1, self.open.set)

    async def __call__(self, claim: Claim, give_way: GiveWay) -> Outcome:
        if not self._held or claim.domain in self._held:
            if self._gives_way:
                give_way()
            await self.open.wait()
        return self._outcome


def giving(outcome: Outcome) -> Visit:
    async def visit(_: Claim, _way: GiveWay) -> Outcome:
        return outcome

    return visit


def giving_each(outcomes: dict[str, Outcome]) -> Visit:
    async def visit(claim: Claim, _way: GiveWay) -> Outcome:
        return outcomes[claim.domain]

    return visit


def names(number: int, prefix: str = "n") -> list[str]:
    return [f"{prefix}{index:03}.test" for index in range(number)]


# --- how far a run goes -----------------------------------------------------------------------


async def test_a_run_ends_when_the_queue_is_drained(bench: Bench) -> None:
    bench.add(*names(5))
    bench.add("later.test", due_at="now() + interval '1 hour'")
    summary = await bench.run(giving(FOUND))
    assert (summary.claimed, summary.completed) == (5, 5)
    assert bench.column("status") == dict.fromkeys(names(5), "completed") | {
        "later.test": "pending"
    }
    assert set(bench.column("title").values()) == {"A site", None}


async def test_an_empty_queue_is_no_work(bench: Bench) -> None:
    summary = await bench.run(giving(FOUND))
    assert (summary.claimed, summary.kinds, bench.begun) == (0, {}, [])


async def test_one_slow_domain_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.add("slow.test", *names(20))
    gate = Gate("slow.test")
    run = bench.run(gate, concurrency=2)
    await bench.until(lambda: len(bench.settled) == 20)
    assert bench.column("status") == dict.fromkeys(names(20), "completed") | {
        "slow.test": "processing"
    }
    gate.open.set()
    assert (await run).completed == 21


async def test_visits_that_give_way_hold_up_nobody(bench: Bench) -> None:
    silent = names(10, "s")
    bench.add(*silent, *names(20))
    gate = Gate(*silent, gives_way=True)
    run = bench.run(gate, concurrency=2)
    await bench.until(lambda: len(bench.settled) == 20)
    assert Counter(bench.column("status").values()) == {"completed": 20, "processing": 10}
    gate.open.set()
    assert (await run).completed == 30


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (2, 12), (3, 23)])
async def test_no_more_than_so_many_give_way_and_a_lone_visit_does_not(
    bench: Bench, concurrency: int, most: int
) -> None:
    bench.add(*names(30))
    gate = Gate(gives_way=True)
    run = bench.run(gate, concurrency=concurrency)
    await bench.until(lambda: len(bench.begun) == most)
    assert Counter(bench.column("status").values()) == {"processing": most, "pending": 30 - most}
    gate.open_soon()
    assert (await run).completed == 30


async def test_what_ends_within_a_moment_is_written_in_one_transaction(bench: Bench) -> None:
    bench.add("slow.test", *names(10))
    gate = Gate("slow.test")
    delays = {name: number * 0.008 for number, name in enumerate(["slow.test", *names(10)])}

    async def visit(claim: Claim, way: GiveWay) -> Outcome:
        await asyncio.sleep(delays[claim.domain])
        return await gate(claim, way)

    run = bench.run(visit, concurrency=20)
    await bench.until(lambda: len(bench.settled) == 10)
    moments = bench.column("updated_at")
    del moments["slow.test"]
    assert len(set(moments.values())) <= 6  # on a busy machine; alone there are two
    gate.open.set()
    assert (await run).completed == 11


async def test_no_more_visits_are_in_flight_than_the_concurrency_says(bench: Bench) -> None:
    bench.add(*names(30))
    flying = most = 0

    async def visit(_: Claim, _way: GiveWay) -> Outcome:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        flying -= 1
        return FOUND

    await bench.run(visit, concurrency=7)
    assert most == 7


async def test_rows_are_claimed_only_as_places_fall_free(bench: Bench) -> None:
    bench.add(*names(10))
    gate = Gate()
    run = bench.run(gate, concurrency=3)
    await bench.until(lambda: len(bench.begun) == 3)
    assert Counter(bench.column("status").values()) == {"processing": 3, "pending": 7}
    gate.open.set()
    await run


@pytest.mark.parametrize(("limit", "concurrency"), [(7, 3), (7, 20), (1, 4), (16, 16), (20, 20)])
async def test_the_limit_is_honoured_exactly(bench: Bench, limit: int, concurrency: int) -> None:
    bench.add(*names(20))
    bench.add(*names(5, "expired"), **EXPIRED)
    summary = await bench.run(giving(FOUND), limit=limit, concurrency=concurrency)
    assert summary.claimed == summary.completed == limit == len(bench.begun)
    assert Counter(bench.column("status").values())["completed"] == limit
    untouched = [row for row in bench.rows().values() if row["status"] == "pending"]
    assert {row["attempts"] for row in untouched} <= {0}


DEADLINE = timedelta(seconds=15)
"""Real time that no test needs: it passes when `pass_time` is called."""


@pytest.fixture
async def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Let time pass at once, by the clock of the event loop."""
    loop = asyncio.get_running_loop()
    real, passed = loop.time, timedelta()

    def pass_time(span: timedelta) -> None:
        nonlocal passed
        passed += span

    monkeypatch.setattr(loop, "time", lambda: real() + passed.total_seconds())
    return pass_time


async def test_after_the_deadline_nothing_new_is_begun(
    bench: Bench, pass_time: Callable[[timedelta], None]
) -> None:
    bench.add(*names(10))

    async def outlasting(_: Claim, _way: GiveWay) -> Outcome:
        pass_time(DEADLINE)
        return FOUND

    summary = await bench.run(outlasting, concurrency=2, deadline=DEADLINE)
    assert (summary.claimed, summary.completed, summary.released) == (2, 2, 0)
    assert Counter(bench.column("attempts").values()) == {1: 2, 0: 8}


async def test_a_claim_that_waited_past_the_deadline_is_given_back(
    bench: Bench, pass_time: Callable[[timedelta], None]
) -> None:
    bench.add("a.test", "b.test")
    added = asyncio.Event()

    async def visit(claim: Claim, _way: GiveWay) -> Outcome:
        if claim.domain == "b.test":
            bench.add("suspect.test", **EXPIRED)
            added.set()
        else:
            await added.wait()
            await claimed(bench, "suspect.test")
            pass_time(DEADLINE)
        return FOUND

    summary = await bench.run(visit, concurrency=2, deadline=DEADLINE)
    assert (summary.completed, summary.released) == (2, 1)
    assert bench.begun == ["a.test", "b.test"]


# --- endings ----------------------------------------------------------------------------------


async def test_each_outcome_is_written_and_counted(bench: Bench) -> None:
    outcomes: dict[str, Outcome] = {
        "a.test": FOUND,
        "b.test": TIMEOUT,
        "c.test": GONE,
        "d.test": NotTried(),
    }
    bench.add(*outcomes)
    summary = await bench.run(giving_each(outcomes), limit=4)
    counts = (summary.completed, summary.retried, summary.failed, summary.released, summary.lost)
    assert counts == (1, 1, 1, 1, 0)
    assert summary.kinds == {Kind.TIMEOUT: 1, Kind.HTTP_4XX: 1}
    assert bench.column("status") == {
        "a.test": "completed",
        "b.test": "pending",
        "c.test": "error",
        "d.test": "pending",
    }
    assert bench.column("attempts") == {"a.test": 1, "b.test": 1, "c.test": 1, "d.test": 0}
    assert bench.column("last_error_kind")["b.test"] == "timeout"
    assert sorted(settled.claim.domain for settled in bench.settled) == sorted(outcomes)


async def test_a_bug_in_a_visit_is_logged_and_charged_to_its_domain_alone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.add(*names(8), "bug.test")

    async def visit(claim: Claim, _way: GiveWay) -> Outcome:
        if claim.domain == "bug.test":
            raise ZeroDivisionError
        return FOUND

    summary = await bench.run(visit)
    assert (summary.completed, summary.retried, summary.kinds) == (8, 1, {Kind.CRASHED: 1})
    assert bench.rows()["bug.test"]["last_error"] == "a bug in domainsched: ZeroDivisionError"
    (record,) = caplog.records
    assert "bug.test" in record.getMessage()
    assert record.exc_info is not None


async def test_when_we_cannot_visit_at_all_nobody_is_charged(bench: Bench) -> None:
    """Such as: no process can be started for the extraction. That is no site's fault."""
    bench.add(*names(8))

    async def visit(claim: Claim, _way: GiveWay) -> Outcome:
        if claim.domain == "n001.test":
            return FOUND
        raise DomainschedError("cannot start an extraction process")

    with pytest.raises(DomainschedError, match="cannot start an extraction process"):
        await bench.run(visit, concurrency=3)
    assert bench.begun == names(3), "after it, nothing more is begun"
    statuses = bench.column("status")
    assert statuses.pop("n001.test") == "completed"
    assert set(statuses.values()) == {"pending"}
    assert sorted(bench.column("attempts").values()) == [0] * 7 + [1]


# --- leases -----------------------------------------------------------------------------------


async def test_a_visit_may_take_longer_than_its_lease_and_nobody_else_gets_the_row(
    bench: Bench, database: Place
) -> None:
    bench.add("long.test")
    lease, gate = timedelta(seconds=4), Gate()
    run = bench.run(gate, lease=lease)
    await bench.until(lambda: bench.begun == ["long.test"])
    async with Database(dburl.parse(database.url)) as other:
        rival = Queue(other, bench.table)
        for _ in range(5):  # for longer than a lease
            await asyncio.sleep(lease.total_seconds() / 4)
            got = await rival.claim(9, token=uuid4(), worker="rival", lease=lease, max_attempts=3)
            assert not got.claims
    gate.open.set()
    summary = await run
    assert (summary.completed, summary.lost) == (1, 0)
    assert bench.rows()["long.test"]["attempts"] == 1


async def test_a_result_without_a_lease_is_dropped_and_told(bench: Bench) -> None:
    bench.add("reset.test", "kept.test")
    gate = Gate()
    run = bench.run(gate, limit=2)
    await bench.until(lambda: len(bench.begun) == 2)
    store = Store(bench.database, bench.table)
    await store.reset(Selection(names=("reset.test",)), force=True, clear_metadata=False)
    gate.open.set()
    summary = await run
    assert (summary.completed, summary.lost) == (1, 1)
    assert {settled.claim.domain: settled.kept for settled in bench.settled} == {
        "reset.test": False,
        "kept.test": True,
    }
    lost = bench.rows()["reset.test"]
    assert (lost["status"], lost["title"], lost["attempts"]) == ("pending", None, 0)


async def test_what_may_have_killed_its_worker_flies_alone(bench: Bench) -> None:
    bench.add(*names(6))
    bench.add(*names(2, "expired"), **EXPIRED)
    bench.add(*names(6, "m"))
    flying: set[Claim] = set()
    seen: list[set[Claim]] = []

    async def visit(claim: Claim, _way: GiveWay) -> Outcome:
        flying.add(claim)
        seen.append(set(flying))
        await asyncio.sleep(0.05)
        seen.append(set(flying))
        flying.remove(claim)
        return FOUND

    summary = await bench.run(visit, concurrency=4)
    assert summary.completed == 14
    suspects = [together for together in seen if any(claim.reclaimed for claim in together)]
    assert [len(together) for together in suspects] == [1, 1, 1, 1]
    assert max(len(together) for together in seen) == 4


async def test_a_suspect_waits_until_the_others_have_landed(bench: Bench) -> None:
    bench.add("slow.test", "quick.test")
    slow, quick = Gate(), Gate()

    async def visit(claim: Claim, way: GiveWay) -> Outcome:
        gates = {"slow.test": slow, "quick.test": quick}
        return await gates.get(claim.domain, giving(FOUND))(claim, way)

    run = bench.run(visit, concurrency=2)
    await bench.until(lambda: len(bench.begun) == 2)
    bench.add("suspect.test", **EXPIRED)
    quick.open.set()
    await bench.until(lambda: len(bench.settled) == 1)
    await claimed(bench, "suspect.test")
    assert bench.begun == ["slow.test", "quick.test"]
    slow.open.set()
    assert (await run).completed == 3


async def test_a_suspect_waits_until_what_has_ended_is_written(bench: Bench) -> None:
    """It may take the worker with it, and what is not written yet."""
    bench.add("first.test", "second.test", **EXPIRED)
    seen: list[Any] = []

    async def visit(claim: Claim, _way: GiveWay) -> Outcome:
        if claim.domain == "second.test":
            seen.append(bench.column("status")["first.test"])
        return FOUND

    await bench.run(visit, concurrency=4)
    assert seen == ["completed"]


async def claimed(bench: Bench, domain: str) -> None:
    """Wait until a run has claimed a row; it says nothing before it begins the visit."""
    async with asyncio.timeout(LONG.total_seconds()):
        while bench.rows()[domain]["claimed_by"] is None:  # noqa: ASYNC110 - tables send no events
            await asyncio.sleep(0.01)


async def test_a_domain_that_killed_every_worker_is_not_visited_again(bench: Bench) -> None:
    bench.add("poison.test", **(EXPIRED | {"attempts": "3"}))
    bench.add("good.test")
    summary = await bench.run(giving(FOUND))
    assert (summary.claimed, summary.completed, summary.failed) == (2, 1, 1)
    assert (bench.begun, summary.kinds) == (["good.test"], {Kind.CRASHED: 1})
    poison = bench.rows()["poison.test"]
    assert (poison["status"], poison["last_error_kind"]) == ("error", "crashed")


# --- ending early -----------------------------------------------------------------------------


async def test_after_a_stop_what_is_in_flight_ends_and_nothing_is_begun(bench: Bench) -> None:
    bench.add(*names(10))
    gate = Gate()
    run = bench.run(gate, concurrency=3)
    await bench.until(lambda: len(bench.begun) == 3)
    with bench.stop.on_signals(gate.open_soon, pytest.fail):
        os.kill(os.getpid(), signal.SIGTERM)
        summary = await run
    assert bench.stop.signal is signal.SIGTERM
    assert (summary.claimed, summary.completed, summary.released) == (3, 3, 0)
    assert Counter(bench.column("attempts").values()) == {1: 3, 0: 7}


async def test_a_visit_that_outlasts_the_grace_time_is_released_uncounted(bench: Bench) -> None:
    bench.add("endless.test", "quick.test")
    gate = Gate("endless.test")
    run = bench.run(gate, grace=timedelta(milliseconds=50))
    await bench.until(lambda: len(bench.begun) == 2)
    with bench.stop.on_signals(lambda: None, pytest.fail):
        os.kill(os.getpid(), signal.SIGINT)
        summary = await run
    assert (summary.completed, summary.released) == (1, 1)
    row = bench.rows()["endless.test"]
    assert (row["status"], row["attempts"], row["last_error"]) == ("pending", 0, None)


async def test_what_was_claimed_and_not_begun_is_released_uncounted(bench: Bench) -> None:
    bench.add("slow.test", "quick.test")
    slow, quick = Gate(), Gate()

    async def visit(claim: Claim, way: GiveWay) -> Outcome:
        return await (slow if claim.domain == "slow.test" else quick)(claim, way)

    run = bench.run(visit, concurrency=2)
    await bench.until(lambda: len(bench.begun) == 2)
    bench.add("suspect.test", **EXPIRED)
    quick.open.set()
    await claimed(bench, "suspect.test")
    with bench.stop.on_signals(slow.open_soon, pytest.fail):
        os.kill(os.getpid(), signal.SIGTERM)
        summary = await run
    assert (summary.claimed, summary.completed, summary.released) == (3, 2, 1)
    assert bench.begun == ["slow.test", "quick.test"]
    assert bench.rows()["suspect.test"]["attempts"] == 1
    assert bench.rows()["suspect.test"]["status"] == "pending"


async def test_the_second_signal_leaves() -> None:
    said: list[str] = []
    stop, left = Stop(), asyncio.Event()
    with stop.on_signals(lambda: said.append("finishing"), left.set):
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        assert not left.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await left.wait()
    assert (said, stop.signal) == (["finishing"], signal.SIGINT)


async def test_a_pause_ends_in_time_or_with_a_stop() -> None:
    stop = Stop()
    await stop.wait(timedelta(milliseconds=1))
    assert not stop.is_set
    with stop.on_signals(lambda: None, pytest.fail):
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait(timedelta(hours=1))
    assert stop.is_set


# --- a database that goes away ----------------------------------------------------------------


@contextlib.contextmanager
def unreachable(server: dict[str, str], database: Place) -> Iterator[None]:
    """End every connection to the database, and let nobody in."""
    name = database.keywords["dbname"]
    with psycopg.connect(**server, autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domainsched.database.queue.PATIENCE", timedelta(seconds=1))


@pytest.mark.usefixtures("impatience")
async def test_a_database_that_stays_away_ends_the_run_and_nothing_hangs(
    bench: Bench, server: dict[str, str], database: Place
) -> None:
    bench.add(*names(10))
    gate = Gate("n001.test", "n002.test")
    run = bench.run(gate, concurrency=2)
    await bench.until(lambda: len(bench.begun) == 3)
    with unreachable(server, database):
        gate.open.set()
        async with asyncio.timeout(LONG.total_seconds()):
            with pytest.raises(DatabaseError, match=r"PostgreSQL|database server"):
                await run
    statuses = Counter(bench.column("status").values())
    assert statuses["processing"] >= 1
    assert "completed" not in {bench.rows()[name]["status"] for name in ("n001.test", "n002.test")}


@pytest.mark.usefixtures("impatience")
async def test_a_visit_without_end_does_not_keep_a_run_without_database(
    bench: Bench, server: dict[str, str], database: Place
) -> None:
    bench.add("endless.test")
    run = bench.run(Gate(), lease=timedelta(seconds=1))
    await bench.until(lambda: len(bench.begun) == 1)
    with unreachable(server, database):
        async with asyncio.timeout(LONG.total_seconds()):
            with pytest.raises(DatabaseError, match="PostgreSQL"):
                await run


async def test_a_database_that_comes_back_has_lost_nothing(
    bench: Bench, server: dict[str, str], database: Place
) -> None:
    bench.add(*names(10))
    gate = Gate()
    run = bench.run(gate)
    await bench.until(lambda: len(bench.begun) == 4)
    with unreachable(server, database):
        gate.open.set()
        await asyncio.sleep(0.5)  # while it is away, the run knocks
        assert not bench.settled
    summary = await run
    assert (summary.claimed, summary.completed, summary.lost) == (10, 10, 0)
    assert set(bench.column("attempts").values()) == {1}


@pytest.mark.usefixtures("impatience")
async def test_a_stop_without_database_is_bounded(
    bench: Bench, server: dict[str, str], database: Place
) -> None:
    bench.add(*names(4))
    run = bench.run(Gate(), concurrency=2, grace=timedelta(milliseconds=50))
    await bench.until(lambda: len(bench.begun) == 2)
    with unreachable(server, database), bench.stop.on_signals(lambda: None, pytest.fail):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(LONG.total_seconds()):
            with pytest.raises(DatabaseError, match="PostgreSQL"):
                await run
    assert Counter(bench.column("status").values()) == {"processing": 2, "pending": 2}


async def test_a_run_that_is_cancelled_leaves_a_database_that_answers_no_more(
    bench: Bench, database: Place
) -> None:
    """The connection is half open. Psycopg by itself would ask the server to cancel, for 10 s."""
    bench.add("a.test")
    gate, held = Gate(), asyncio.Event()

    async def hold(statement: str, _: Link) -> None:
        proxy.silent = proxy.silent or "jsonb_to_recordset" in statement
        if proxy.silent:
            held.set()

    async with proxied(database.keywords) as proxy, Database(proxy.url) as client:
        bench.queue = Queue(client, bench.table)
        run = bench.run(gate)
        await bench.until(lambda: bench.begun == ["a.test"])
        proxy.on_statement = hold
        gate.open.set()
        await held.wait()
        run.cancel()
        done, _ = await asyncio.wait([run], timeout=10)
        assert done
        assert run.cancelled()
    assert bench.column("status") == {"a.test": "processing"}


# --- our own network --------------------------------------------------------------------------


async def test_when_nothing_can_be_reached_the_claims_are_released_uncounted(bench: Bench) -> None:
    bench.add(*names(9))
    with pytest.raises(NetworkDown) as caught:
        await bench.run(giving(UNREACHABLE), concurrency=3)
    assert "3 visits" in caught.value.what
    assert "n000.test: temporary failure in name resolution" in caught.value.why
    assert len(bench.begun) == 3, "in the dark, nothing more is begun"
    assert set(bench.column("status").values()) == {"pending"}
    assert set(bench.column("attempts").values()) == {0}
    assert set(bench.column("last_error").values()) == {None}


async def test_one_site_that_answers_proves_the_network_and_the_others_are_charged(
    bench: Bench,
) -> None:
    bench.add(*names(9))
    outcomes: dict[str, Outcome] = dict.fromkeys(names(9), UNREACHABLE)
    outcomes["n002.test"] = GONE
    summary = await bench.run(giving_each(outcomes), concurrency=3)
    assert (summary.retried, summary.failed, summary.released) == (8, 1, 0)
    assert set(bench.column("attempts").values()) == {1}


async def test_an_answer_that_comes_late_proves_the_network_too(bench: Bench) -> None:
    """While it is awaited in the dark, nothing is begun; then the run goes on."""
    bench.add("late.test", *names(6))
    gate = Gate(outcome=FOUND)

    async def visit(claim: Claim, way: GiveWay) -> Outcome:
        if claim.domain == "late.test":
            return await gate(claim, way)
        return UNREACHABLE if claim.domain < "n003.test" else FOUND

    run = bench.run(visit, concurrency=4)
    await bench.until(lambda: len(bench.begun) == 4)
    assert not bench.settled
    gate.open.set()
    summary = await run
    assert (summary.completed, summary.retried, summary.released) == (4, 3, 0)


@pytest.mark.parametrize("number", [1, 2])
async def test_one_or_two_that_cannot_be_reached_prove_nothing(bench: Bench, number: int) -> None:
    bench.add(*names(number))
    summary = await bench.run(giving(UNREACHABLE))
    assert (summary.retried, summary.kinds) == (number, {Kind.DNS: number})
    assert set(bench.column("attempts").values()) == {1}


async def test_names_that_do_not_exist_are_not_our_networks_fault(bench: Bench) -> None:
    bench.add(*names(6))
    summary = await bench.run(giving(UNKNOWN))
    assert (summary.retried, summary.released) == (6, 0)


@pytest.mark.parametrize("kind", [Kind.INVALID_DOMAIN])
async def test_what_never_touched_the_network_proves_nothing_about_it(
    bench: Bench, kind: Kind
) -> None:
    bench.add("invalid.test", *names(3))
    outcomes: dict[str, Outcome] = dict.fromkeys(names(3), UNREACHABLE)
    outcomes["invalid.test"] = Failed(kind, "no domain name")
    with pytest.raises(NetworkDown):
        await bench.run(giving_each(outcomes))
    assert bench.column("status") == dict.fromkeys(names(3), "pending") | {"invalid.test": "error"}


async def test_a_stop_in_the_dark_releases_what_is_left(bench: Bench) -> None:
    bench.add("endless.test", *names(3))
    gate = Gate("endless.test", outcome=UNREACHABLE)
    run = bench.run(gate, grace=timedelta(milliseconds=50))
    await bench.until(lambda: len(bench.begun) == 4)
    with bench.stop.on_signals(lambda: None, pytest.fail):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(NetworkDown, match="3 visits"):
            await run
    assert set(bench.column("status").values()) == {"pending"}
    assert set(bench.column("attempts").values()) == {0}
