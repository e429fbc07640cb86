"""A model of the queue in plain Python, and a machine that compares it with PostgreSQL.

Hypothesis composes histories of workers, crashes, lost answers, operators and passing time; after
each step the whole table must be what the model says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import cycle
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from legacy import TENANT
from psycopg.rows import TupleRow
from tables import LEASE, Bench, Maker, benched, made_once, stranger, take, url

from domainsched.database.adding import Order
from domainsched.database.connection import Database
from domainsched.database.queue import Claimed, Queue
from domainsched.database.selection import Selection
from domainsched.database.store import Store
from domainsched.models import (
    Claim,
    Complete,
    Fail,
    Failed,
    Kind,
    Release,
    Retry,
    RowId,
    Transition,
)

T = TypeVar("T")

MOST = 3
"""Attempts, as `tables.take` allows them."""
NAMES = tuple(f"{letter}.test" for letter in "abcdefgh")
TENANTS = (None, None, UUID(TENANT))
"""Of the workers. One asks for the tenant's rows, which are all of them; how to find them is left
to the planner."""
WORKERS = len(TENANTS)
HOUR = timedelta(hours=1)
NOW = timedelta()
A_MOMENT = timedelta(milliseconds=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TIMEOUT = Failed(Kind.TIMEOUT, "no page within 30 s")
GONE = Failed(Kind.HTTP_4XX, "410 gone")


# --- the model --------------------------------------------------------------------------------


@dataclass
class Row:
    """What the queue knows of a row."""

    due: datetime | timedelta = NOW
    """A duration where the last step has just set it: so long after that step's statement."""
    id: RowId | None = None
    """Unknown until the table has been read."""
    status: str = "pending"
    attempts: int = 0
    token: UUID | None = None
    kind: str | None = None
    errors: int = 0
    title: str | None = None

    def is_held_by(self, claim: Claim) -> bool:
        return self.status == "processing" and self.token == claim.token


@dataclass
class Model:
    """The rules of the queue, one method for each thing that can happen to it."""

    rows: dict[str, Row] = field(default_factory=dict)
    now: datetime = LONG_AGO

    def is_due(self, row: Row) -> bool:
        unfinished = row.status in {"pending", "processing"}
        return unfinished and isinstance(row.due, datetime) and row.due <= self.now

    def is_leased(self, row: Row) -> bool:
        return row.status == "processing" and not self.is_due(row)

    def add(self, names: Iterable[str]) -> int:
        new = [name for name in names if name not in self.rows]
        self.rows |= {name: Row() for name in new}
        return len(new)

    def claim(self, limit: int, token: UUID, locked: Iterable[str]) -> Claimed:
        due = [n for n, row in self.rows.items() if self.is_due(row) and n not in locked]
        picked = sorted(due, key=lambda name: (self.rows[name].due, self.rows[name].id))[:limit]
        suspects = [name for name in picked if self.rows[name].status == "processing"]
        if suspects:
            return self._reclaim(suspects[0], token)
        claims = [self._begin(name, token) for name in picked]
        return Claimed(tuple(sorted(claims, key=lambda claim: claim.id)))

    def _begin(self, name: str, token: UUID) -> Claim:
        row = self.rows[name]
        anew = row.kind is None or row.attempts >= MOST
        row.attempts = 1 if anew else row.attempts + 1
        row.status, row.token, row.due = "processing", token, LEASE
        return given(name, row)

    def _reclaim(self, name: str, token: UUID) -> Claimed:
        row = self.rows[name]
        row.kind, row.token = "crashed", token
        if row.attempts >= MOST:
            row.status, row.due, row.errors = "error", NOW, row.errors + 1
            return Claimed((), (given(name, row, reclaimed=True),))
        row.attempts, row.due = row.attempts + 1, LEASE
        return Claimed((given(name, row, reclaimed=True),))

    def claimed(self, token: UUID) -> Claimed:
        """Say what a worker finds that asks whether its claim was committed."""
        mine = [
            n for n, row in self.rows.items() if (row.status, row.token) == ("processing", token)
        ]
        claims = [
            given(name, self.rows[name], reclaimed=self.rows[name].kind == "crashed")
            for name in mine
        ]
        return Claimed(tuple(sorted(claims, key=lambda claim: claim.id)))

    def extend(self, claims: Iterable[Claim]) -> set[RowId]:
        held = [claim for claim in claims if self.rows[claim.domain].is_held_by(claim)]
        for claim in held:
            self.rows[claim.domain].due = LEASE
        return {claim.id for claim in held}

    def settle(self, endings: Iterable[tuple[Claim, Transition]]) -> set[RowId]:
        ended = set()
        for claim, transition in endings:
            row = self.rows[claim.domain]
            if row.is_held_by(claim):
                end(row, transition)
                ended.add(claim.id)
        return ended

    def ended(self, claims: Iterable[Claim]) -> set[RowId]:
        """Say which claims a worker finds ended that asks whether its settlement was committed."""
        return {
            claim.id
            for claim in claims
            if self.rows[claim.domain].token == claim.token
            and self.rows[claim.domain].status != "processing"
        }

    def reset(self, names: Iterable[str], *, force: bool) -> int:
        rows = [row for name, row in self.rows.items() if name in names]
        free = [row for row in rows if force or not self.is_leased(row)]
        for row in free:
            row.status, row.attempts, row.due, row.token, row.kind = "pending", 0, NOW, None, None
        return len(free)


def given(name: str, row: Row, *, reclaimed: bool = False) -> Claim:
    assert row.id is not None
    assert row.token is not None
    return Claim(row.id, name, row.attempts, row.token, reclaimed)


def end(row: Row, transition: Transition) -> None:
    match transition:
        case Complete(columns):
            row.status, row.kind, row.due, row.title = "completed", None, NOW, columns["title"]
        case Retry(failure, delay):
            row.status, row.kind, row.due = "pending", failure.kind, delay
        case Fail(failure):
            row.status, row.kind, row.due, row.errors = "error", failure.kind, NOW, row.errors + 1
        case Release():
            row.status, row.attempts, row.due = "pending", max(row.attempts - 1, 0), NOW


# --- the workers ------------------------------------------------------------------------------


class AnswerLost(psycopg.OperationalError):
    """The connection broke around a COMMIT."""


class Loss(Enum):
    """What became of the transaction whose answer was lost."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


class Lossy(Database):
    """A database that can lose an answer; what was asked is then asked again at once."""

    loss: Loss | None = None

    async def at_once(self, *arguments: Any, **options: Any) -> list[TupleRow]:  # noqa: ANN401 - handed on
        loss, self.loss = self.loss, None
        if loss is Loss.ROLLED_BACK:
            raise AnswerLost
        rows = await super().at_once(*arguments, **options)
        if loss is Loss.COMMITTED:
            raise AnswerLost
        return rows

    async def run(
        self, operation: Callable[[], Awaitable[T]], *, patience: timedelta | None = None
    ) -> T:
        async def repeated() -> T:
            while True:
                try:
                    return await operation()
                except AnswerLost:
                    continue

        return await super().run(repeated, patience=patience)


class Worker:
    """A process with a connection and a queue of its own, and the claims that it believes in."""

    def __init__(self, database: Lossy, bench: Bench, tenant: UUID | None) -> None:
        self.database, self.queue = database, Queue(database, bench.table, tenant=tenant)
        self.claims: list[Claim] = []

    def choose(self, numbers: Iterable[int]) -> list[Claim]:
        """Pick claims, one of a row; the numbers go round and round."""
        chosen = (self.claims[number % len(self.claims)] for number in numbers)
        return list({claim.domain: claim for claim in chosen}.values())


# Random keys would make histories differ that Hypothesis takes for the same: rows that fall due
# together are claimed by their keys.
SAME_KEYS = """
    DROP SEQUENCE IF EXISTS numbers CASCADE;
    CREATE SEQUENCE numbers;
    ALTER TABLE domains ALTER id SET DEFAULT md5(nextval('numbers')::text)::uuid
"""


class Room:
    """What all histories share, since it takes long to make: a table, and workers' connections."""

    def __init__(self, loop: asyncio.Runner, bench: Bench, workers: list[Worker]) -> None:
        self.loop, self.bench, self.workers = loop, bench, workers
        self.store = Store(bench.database, bench.table)

    def clear(self) -> None:
        self.bench.execute("TRUNCATE domains CASCADE")
        if self.bench.table.columns["id"] == "uuid":
            self.bench.execute(SAME_KEYS)
        for worker in self.workers:
            worker.claims, worker.database.loss = [], None


@contextmanager
def furnished(make: Maker, shape: str) -> Iterator[Room]:
    with asyncio.Runner() as loop:
        stack = AsyncExitStack()
        bench = loop.run(stack.enter_async_context(benched(make(shape))))
        workers = []
        for tenant in TENANTS:
            database = loop.run(stack.enter_async_context(Lossy(url(bench.place))))
            workers.append(Worker(database, bench, tenant))
        try:
            yield Room(loop, bench, workers)
        finally:
            loop.run(stack.aclose())


# --- the machine ------------------------------------------------------------------------------

READ = """
    SELECT domain, id, trim(status::text), attempts, due_at, claim_token, last_error_kind,
        coalesce(error_count, 0), title
    FROM domains
"""
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple)
all_or_some = st.just(NAMES) | names
numbers = st.frozensets(st.integers(0, 7), min_size=1, max_size=5)
"""Of the claims that a worker believes in, the newest first."""
tokens = st.uuids(version=4)
losses = st.sampled_from((None, None, None, *Loss))
transitions = st.sampled_from(
    (
        Complete({}),
        Retry(TIMEOUT, NOW),
        Retry(TIMEOUT, HOUR),
        Fail(GONE),
        Release(),
    )
)


class QueueMachine(RuleBasedStateMachine):
    """Does one thing after the other to the table and to the model."""

    room: ClassVar[Room]

    def __init__(self) -> None:
        super().__init__()
        self.room.clear()
        self.bench, self.model, self.titles = self.room.bench, Model(), 0

    def run(self, work: Awaitable[T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(60):
                return await work

        return self.room.loop.run(bounded())

    @initialize()
    def begin(self) -> None:
        self.add(NAMES[:6])

    # --- operators and other programs

    @rule(names=names)
    def add(self, names: tuple[str, ...]) -> None:
        added = self.run(self.room.store.add(names, Order(UUID(TENANT))))
        assert added.added == self.model.add(names)

    @rule(name=st.sampled_from(NAMES))
    def another_program_inserts(self, name: str) -> None:
        if self.model.add([name]):
            self.bench.add(name, due_at="clock_timestamp()")

    @rule(names=names)
    def somebody_sets_pending_and_nothing_else(self, names: tuple[str, ...]) -> None:
        update = "UPDATE domains SET status = 'pending' WHERE domain = ANY(%s)"
        self.bench.execute(update, list(names))
        for row in self.rows(names):
            row.status = "pending"

    @rule(names=all_or_some, force=st.booleans())
    def reset(self, names: tuple[str, ...], *, force: bool) -> None:
        done = self.run(self.room.store.reset(Selection(names), force=force, clear_metadata=False))
        assert done == self.model.reset(names, force=force)

    @rule(names=all_or_some, time=st.sampled_from((LEASE + timedelta(minutes=1), 2 * HOUR)))
    def time_passes(self, names: tuple[str, ...], time: timedelta) -> None:
        update = "UPDATE domains SET due_at = due_at - %s WHERE domain = ANY(%s)"
        self.bench.execute(update, time, list(names))
        for row in self.rows(names):
            row.due -= time

    def rows(self, names: Iterable[str]) -> list[Row]:
        return [self.model.rows[name] for name in names if name in self.model.rows]

    # --- workers

    @rule(
        worker=st.integers(0, WORKERS - 1),
        limit=st.integers(1, 5),
        token=tokens,
        locked=st.just(()) | names,
        loss=losses,
    )
    def claim(
        self, worker: int, limit: int, token: UUID, locked: tuple[str, ...], loss: Loss | None
    ) -> None:
        its = self.room.workers[worker]
        its.database.loss = loss
        lock = "SELECT FROM domains WHERE domain = ANY(%s) FOR UPDATE"
        with stranger(self.bench.place, lock, list(locked)) if locked else nullcontext():
            claimed = self.run(take(its.queue, limit, token))
        expected = self.model.claim(limit, token, locked)
        if loss is Loss.COMMITTED:
            found = self.model.claimed(token)
            expected = found if found.claims else self.model.claim(limit, token, locked)
        assert claimed == expected
        its.claims = [*claimed.claims, *its.claims][:8]

    @rule(token=tokens, limit=st.integers(1, 5))
    def somebody_else_claims_when_the_leases_have_run_out(self, token: UUID, limit: int) -> None:
        self.time_passes(NAMES, LEASE + timedelta(minutes=1))
        self.claim(0, limit, token, (), None)

    @property
    def believers(self) -> list[Worker]:
        """Workers that think that they hold something; rightly or wrongly."""
        return [worker for worker in self.room.workers if worker.claims]

    @precondition(lambda self: self.believers)
    @rule(worker=st.integers(0, WORKERS - 1), chosen=numbers)
    def extend(self, worker: int, chosen: frozenset[int]) -> None:
        its = self.believers[worker % len(self.believers)]
        claims = its.choose(chosen)
        assert self.run(its.queue.extend(claims, LEASE)) == self.model.extend(claims)

    @precondition(lambda self: self.believers)
    @rule(
        worker=st.integers(0, WORKERS - 1),
        chosen=numbers,
        ways=st.lists(transitions, min_size=1, max_size=3),
        loss=losses,
        forgets=st.booleans(),
    )
    def settle(
        self,
        worker: int,
        chosen: frozenset[int],
        ways: list[Transition],
        loss: Loss | None,
        *,
        forgets: bool,
    ) -> None:
        its = self.believers[worker % len(self.believers)]
        claims, way = its.choose(chosen), cycle(ways)
        endings = [(claim, self.titled(next(way))) for claim in claims]
        released = [claim for claim, ending in endings if isinstance(ending, Release)]
        its.database.loss = loss
        kept = self.run(its.queue.settle(endings)).keys()
        expected = self.model.settle(endings)
        if loss:  # of the first of its transactions: the releases, if there are any
            expected |= self.model.ended(released or claims)
        assert kept == expected
        if forgets:
            its.claims = [claim for claim in its.claims if claim not in claims]

    def titled(self, way: Transition) -> Transition:
        """Have each page say something else."""
        self.titles += 1
        return Complete({"title": f"page {self.titles}"}) if isinstance(way, Complete) else way

    @precondition(lambda self: self.believers)
    @rule(worker=st.integers(0, WORKERS - 1), way=transitions)
    def settle_all(self, worker: int, way: Transition) -> None:
        self.settle(worker, frozenset(range(8)), [way], None, forgets=True)

    @precondition(lambda self: self.believers)
    @rule(worker=st.integers(0, WORKERS - 1), way=transitions)
    def settle_the_newest_and_remember(self, worker: int, way: Transition) -> None:
        self.settle(worker, frozenset({0}), [way], None, forgets=False)

    @precondition(lambda self: len(self.believers) > 1)
    @rule(worker=st.integers(0, WORKERS - 1))
    def crash(self, worker: int) -> None:
        self.believers[worker % len(self.believers)].claims = []

    # --- what holds at all times

    @invariant()
    def the_table_is_as_the_model_says(self) -> None:
        then, ((self.model.now,),) = self.model.now, self.bench.execute("SELECT clock_timestamp()")
        table = {name: Row(due, *others) for name, due, others in self.read()}
        assert table.keys() == self.model.rows.keys()
        for name, row in self.model.rows.items():
            seen = table[name]
            if isinstance(row.due, timedelta):
                assert isinstance(seen.due, datetime)
                assert then + row.due - A_MOMENT <= seen.due <= self.model.now + row.due
                row.due = seen.due
            row.id = row.id or seen.id
            assert seen == row, name

    def read(self) -> Iterator[tuple[str, datetime, list[Any]]]:
        for domain, row_id, status, attempts, due, *others in self.bench.execute(READ):
            yield domain, due, [row_id, status, attempts, *others]

    @invariant()
    def no_row_is_lost_or_held_by_two(self) -> None:
        beliefs = Counter(claim for worker in self.room.workers for claim in worker.claims)
        for name, row in self.model.rows.items():
            assert row.status in {"pending", "processing", "completed", "error"}
            assert row.attempts in range(MOST + 1)
            assert row.token or row.status != "processing"
            holders = [c for c in beliefs.elements() if c.domain == name and row.is_held_by(c)]
            assert len(holders) <= 1

    def teardown(self) -> None:
        """Whatever happened: whoever goes on until nothing is due has ended every row."""
        queue = self.room.workers[0].queue
        self.bench.execute("UPDATE domains SET due_at = due_at - interval '1 day'")
        while (claimed := self.run(take(queue))) != Claimed():
            endings = [(claim, Complete({"title": "drained"})) for claim in claimed.claims]
            assert self.run(queue.settle(endings)).keys() == {claim.id for claim in claimed.claims}
        statuses = {status for _, _, (_, status, *_) in self.read()}
        assert statuses <= {"completed", "error"}


# --- tests ------------------------------------------------------------------------------------

STEPS = 100
HISTORIES = {"ours": 30, "november": 10, "enum": 10}
"""How many for each shape of the table."""


@pytest.fixture(scope="module")
def shaped(server: dict[str, str]) -> Iterator[Maker]:
    with made_once(server) as make:
        yield make


def try_out(room: Room, histories: int, *, always_the_same: bool) -> None:
    machine = type("Queue", (QueueMachine,), {"room": room})
    kept = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        derandomize=always_the_same,
        database=None,
        print_blob=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=kept)


@pytest.mark.parametrize("shape", HISTORIES)
def test_the_queue_does_what_its_model_says(shaped: Maker, shape: str) -> None:
    """Always the same histories, so that the suite is reliable; the soak tries others."""
    with furnished(shaped, shape) as room:
        try_out(room, HISTORIES[shape], always_the_same=True)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("shape", HISTORIES)
def test_the_queue_does_what_its_model_says_in_a_hundred_times_as_many_histories(
    shaped: Maker, shape: str
) -> None:
    with furnished(shaped, shape) as room:
        try_out(room, 100 * HISTORIES[shape], always_the_same=False)
