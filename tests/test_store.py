"""What an operator's statements add, reset and show, on every shape of table."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from conftest import Database as Place
from conftest import Way
from legacy import TENANT, Generation
from proxy import Link, proxied
from tables import (
    LEASE,
    SHAPES,
    Bench,
    Maker,
    benched,
    emptied,
    install_old,
    made_once,
    stranger,
    url,
)

from domainsched.columns import LISTED
from domainsched.database import adding
from domainsched.database.adding import Order
from domainsched.database.catalogue import usable_table
from domainsched.database.connection import Database
from domainsched.database.queue import RESULT_COLUMNS, Queue
from domainsched.database.selection import Selection
from domainsched.database.store import SORTS, Reach, Store
from domainsched.database.table import TableName
from domainsched.errors import DatabaseError, SchemaMismatch, UsageError
from domainsched.models import Added, Complete, Failed, Kind, Lapse, Retry, Transition

OURS = UUID(TENANT)
THEIRS = uuid4()
PATIENCE = 30.0


@pytest.fixture(scope="module")
def shaped(server: dict[str, str], way: Way) -> Iterator[Maker]:
    with made_once(server, way) as make:
        yield make


@pytest.fixture
async def bench(shaped: Maker) -> AsyncIterator[Bench]:
    """A table of our own: unique per tenant."""
    async with emptied(shaped("ours")) as bench:
        yield bench


@pytest.fixture
async def old(shaped: Maker) -> AsyncIterator[Bench]:
    """The newest of the old tables: unique on the domain alone."""
    async with emptied(shaped("november")) as bench:
        yield bench


@pytest.fixture(params=["ours", "november"])
async def either(shaped: Maker, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with emptied(shaped(request.param)) as bench:
        yield bench


@pytest.fixture(params=SHAPES)
async def any_shape(shaped: Maker, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with emptied(shaped(request.param)) as bench:
        yield bench


def store_of(bench: Bench, tenant: UUID | None = None) -> Store:
    return Store(bench.database, bench.table, tenant=tenant)


async def add(bench: Bench, *names: str, tenant: UUID = OURS) -> Added:
    return await store_of(bench).add(names, Order(tenant))


def in_queue(bench: Bench) -> list[str]:
    """The domains in the order in which they will be claimed."""
    return [name for (name,) in bench.execute("SELECT domain FROM domains ORDER BY due_at, id")]


# --- add --------------------------------------------------------------------------------------


async def test_ten_thousand_names_are_added_in_their_order(either: Bench) -> None:
    names = [f"{number}.test" for number in random.sample(range(10**6), 10_000)]
    either.execute("ALTER TABLE domains SET (autovacuum_enabled = off)")
    assert await add(either, *names) == Added(10_000, 0, 0)
    assert in_queue(either) == names
    statistics = "SELECT reltuples FROM pg_class WHERE oid = 'domains'::regclass"
    assert either.execute(statistics) == [(10_000,)], "ANALYZE was left out"


async def test_an_added_domain_is_pending_due_and_new(any_shape: Bench) -> None:
    start = datetime.now(UTC)
    assert await add(any_shape, "a.test", "b.test") == Added(2, 0, 0)
    row = any_shape.row("b.test")
    assert (row["status"].strip(), row["attempts"], row["tenant_id"]) == ("pending", 0, OURS)
    assert start - timedelta(seconds=1) < row["due_at"] <= datetime.now(UTC)
    for column in ("created_at", "updated_at"):
        assert start <= row[column].replace(tzinfo=UTC) <= datetime.now(UTC)
    claims = (await any_shape.claim()).claims
    assert {(claim.domain, claim.attempt) for claim in claims} == {("a.test", 1), ("b.test", 1)}


async def test_adding_again_changes_nothing(either: Bench) -> None:
    names = [f"{number}.test" for number in range(20)]
    await add(either, *names)
    before = either.rows()
    assert await add(either, *names) == Added(0, 20, 0)
    assert either.rows() == before


@pytest.mark.parametrize("shape", ["ours", "integer"])
async def test_what_is_there_uses_up_no_keys(
    database: Place, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nightly addition of a million known names would end a serial in six years."""
    generation, statement = SHAPES[shape]
    if generation is not None:
        install_old(database, generation, statement)
    async with benched(database) as bench:
        monkeypatch.setattr(adding, "CHUNK", 7)
        names = [f"{number}.test" for number in range(50)]
        assert await add(bench, *names) == Added(50, 0, 0)
        for order in (Order(OURS), Order(OURS, requeue=True)):
            again = await store_of(bench).add(names, order)
            assert (again.added, again.present) == (0, 50)
        assert await add(bench, *names, "new.test") == Added(1, 50, 0)
        assert bench.row("new.test")["id"] == 51


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
async def test_repeated_names_are_counted_whatever_lies_between(
    either: Bench, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "CHUNK", chunk)
    await add(either, "old.test")
    names = ("a.test", "b.test", "a.test", "a.test", "old.test", "c.test", "b.test")
    assert await add(either, *names) == Added(added=3, present=1, repeated=3)
    assert in_queue(either) == ["old.test", "a.test", "b.test", "c.test"]


async def test_adding_nothing_is_no_error(bench: Bench) -> None:
    assert await add(bench) == Added()


FORMS = {
    "example.com": (
        *("example.com", "www.example.com", "http://example.com", "https://example.com"),
        *("https://example.com/", "https://www.example.com/", "http://www.example.com"),
        *("https://Example.com/path", "EXAMPLE.COM", "Www.Example.Com", "example.com."),
        *("example.com/", "//example.com", "https://example.com:443", " example.com\n"),
        *("https://example.com/?q=1#f", "HTTPS://EXAMPLE.COM", "https://example.com."),
    ),
    "xn--mnchen-3ya.de": (
        *("xn--mnchen-3ya.de", "münchen.de", "MÜNCHEN.DE", "https://www.münchen.de/"),
        *("https://XN--MNCHEN-3YA.de", "mu\u0308nchen.de", "www.münchen.de", "münchen.de/über"),
    ),
}
SPELLINGS = [(name, form) for name, forms in FORMS.items() for form in forms]


@pytest.mark.parametrize(("name", "form"), SPELLINGS)
async def test_a_site_is_recognised_in_any_spelling(old: Bench, name: str, form: str) -> None:
    old.add("other.test", form, "not a domain", "")
    before = old.rows()
    assert await add(old, "new.test", name) == Added(added=1, present=1)
    assert {domain: row for domain, row in old.rows().items() if domain != "new.test"} == before
    assert (await store_of(old).named([name, "gone.test"]))[1] == ["gone.test"]
    assert [row["domain"] for row in (await store_of(old).named([name]))[0]] == [form]


async def test_names_that_only_look_alike_are_added(old: Bench) -> None:
    old.add("https://notexample.com", "EXAMPLE.com.evil.test", "https://evil.test/example.com")
    old.add("https://example.com@evil.test/", "example_com", "mail@example.com")
    assert await add(old, "example.com") == Added(added=1)


async def test_where_domains_are_unique_per_tenant_each_may_have_its_own(bench: Bench) -> None:
    bench.add("HTTPS://Odd.test/x", "https://plain.test", "same.test")
    names = ("odd.test", "plain.test", "same.test")
    assert await add(bench, *names, tenant=THEIRS) == Added(added=3)
    assert await add(bench, *names, tenant=OURS) == Added(present=3)
    assert await add(bench, *names, tenant=THEIRS) == Added(present=3)


async def test_where_domains_are_unique_alone_the_first_tenant_has_them(old: Bench) -> None:
    old.add("HTTPS://Odd.test/x", "https://plain.test", "same.test")
    names = ("odd.test", "plain.test", "same.test")
    assert await add(old, *names, tenant=THEIRS) == Added(present=3)
    assert {row["tenant_id"] for row in old.rows().values()} == {OURS}


TWINS = "UNIQUE (tenant_id, domain)", "UNIQUE (domain, tenant_id)", "CHECK (true)"


@pytest.mark.parametrize("odd", ["https://Odd.test/x", "odd.test"])
@pytest.mark.parametrize("unique", TWINS)
async def test_a_row_without_a_tenant_is_there_unless_one_tenant_alone_is_meant(
    database: Place, unique: str, odd: str
) -> None:
    """To a unique index a NULL is nobody's twin, so the site would stand there twice."""
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE domains (id serial PRIMARY KEY, tenant_id uuid, domain text,"
            f" status text, {unique})"
        )
    async with benched(database) as bench:
        names = ("plain.test", "odd.test")
        bench.add("plain.test", odd, tenant_id="NULL", status="'completed'")
        assert await add(bench, *names, "new.test", "new.test") == Added(1, 2, 1)
        requeued = await store_of(bench).add(names, Order(OURS, requeue=True))
        assert requeued == Added(present=2, requeued=2)
        assert {row["status"] for row in bench.rows().values()} == {"pending"}
        limited = store_of(bench, THEIRS)
        assert await limited.add(names, Order(THEIRS)) == Added(added=2)
        assert await limited.add(names, Order(THEIRS, requeue=True)) == Added(0, 2, 0, 2)


async def test_a_dry_run_counts_the_same_and_changes_nothing(either: Bench) -> None:
    either.add("there.test", "https://Odd.test/")
    before = either.rows()
    names = ["there.test", "odd.test", "a.test", "a.test"]
    counted = await store_of(either).add(names, Order(OURS), dry_run=True)
    assert counted == Added(added=1, present=2, repeated=1)
    assert either.rows() == before
    assert await add(either, *names) == counted


async def test_names_that_break_off_add_nothing(bench: Bench) -> None:
    def names() -> Iterator[str]:
        yield from (f"{number}.test" for number in range(adding.CHUNK + 1))
        raise OSError("the pipe broke")

    with pytest.raises(OSError, match="the pipe broke"):
        await store_of(bench).add(names(), Order(OURS))
    assert bench.rows() == {}
    assert await add(bench, "a.test") == Added(1)


async def test_two_may_add_the_same_at_once(either: Bench) -> None:
    names = [f"{number}.test" for number in range(3000)]
    async with Database(url(either.place)) as other:
        counts = await asyncio.gather(
            add(either, *names), Store(other, either.table).add(names, Order(OURS))
        )
    assert sorted((each.added, each.present) for each in counts) == [(0, 3000), (3000, 0)]
    assert in_queue(either) == names


@pytest.mark.parametrize(
    ("text", "time"), [("updated_at", "last_scan"), ("last_scan", "updated_at")]
)
async def test_an_age_goes_by_the_column_that_tells_times(
    database: Place, text: str, time: str
) -> None:
    async with benched(database) as bench:
        bench.add("old.test", status="'completed'")
        bench.execute(f"ALTER TABLE domains DROP {text}, ADD {text} text DEFAULT 'yesterday'")
        bench.execute(f"UPDATE domains SET {time} = now() - interval '2 days'")
        store = Store(bench.database, await usable_table(bench.database, TableName("domains")))
        for age, number in ((timedelta(days=1), 1), (timedelta(days=3), 0)):
            assert await store.reach(Selection(older_than=age)) == Reach(number, 0)
            assert await store.reach(Selection(since=age)) == Reach(1 - number, 0)


async def test_a_plain_table_without_tenants_and_times_serves(database: Place) -> None:
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status text)"
        )
    async with benched(database) as bench:
        bench.execute("ALTER TABLE domains DROP last_scan, DROP updated_at")
        bench.table = await usable_table(bench.database, TableName("domains"))
        bench.queue = Queue(bench.database, bench.table)
        assert await add(bench, "a.test", "b.test", "a.test") == Added(2, 0, 1)
        assert await add(bench, "a.test") == Added(present=1)
        claim, _ = (await bench.claim()).claims
        await bench.queue.settle([(claim, Complete({"title": "A"}))])
        glance = await store_of(bench).glance()
        assert glance.statuses == {"completed": 1, "processing": 1}
        with pytest.raises(UsageError, match="--older-than"):
            await store_of(bench).reach(Selection(older_than=LEASE))
        done = await store_of(bench).reset(Selection(), force=True, clear_metadata=True)
        assert done == 2


# --- add, of what is there already --------------------------------------------------------------

THERE: Mapping[str, Mapping[str, str]] = {
    "pending.test": {"attempts": "2", "last_error_kind": "'dns'"},
    "later.test": {"due_at": "now() + interval '1 hour'", "attempts": "1"},
    "live.test": {"status": "'processing'", "due_at": "now() + interval '1 minute'"},
    "expired.test": {"status": "'processing'", "attempts": "1"},
    "completed.test": {"status": "'completed'", "title": "'kept'"},
    "https://Odd.test/x": {"status": "'error'", "last_error": "'no such host'"},
    "untouched.test": {"status": "'completed'"},
}


async def test_requeued_rows_are_pending_and_due_but_those_under_a_lease(old: Bench) -> None:
    for domain, columns in THERE.items():
        old.add(domain, **columns)
    before = old.rows()
    names = ["new.test", *(domain for domain in THERE if domain[0] not in "hu"), "odd.test"]
    added = await store_of(old).add(names, Order(OURS, requeue=True))
    assert added == Added(added=1, present=6, requeued=5, held=1)
    after = old.rows()
    for domain in ("untouched.test", "live.test"):
        assert after[domain] == before[domain]
    for domain in THERE.keys() - {"untouched.test", "live.test"}:
        row = after[domain]
        assert (row["status"], row["attempts"]) == ("pending", 0)
        assert (row["last_error"], row["last_error_kind"], row["claim_token"]) == (None,) * 3
        assert row["due_at"] <= datetime.now(UTC)
    assert after["pending.test"]["due_at"] == before["pending.test"]["due_at"], "it lost its place"
    assert after["completed.test"]["due_at"] > before["completed.test"]["due_at"]
    assert after["completed.test"]["title"] == "kept"


@pytest.mark.parametrize("chunk", [1, 2, 100])
async def test_a_name_that_comes_twice_is_requeued_once(
    either: Bench, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "CHUNK", chunk)
    either.add("old.test", status="'completed'")
    names = ["old.test", "a.test", "old.test", "a.test"]
    added = await store_of(either).add(names, Order(OURS, requeue=True))
    assert added == Added(added=1, present=1, repeated=2, requeued=1)


async def test_a_trigger_that_writes_new_rows_anew_is_not_taken_for_a_requeue(
    either: Bench,
) -> None:
    either.add("old.test", status="'completed'")
    either.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " BEGIN UPDATE domains SET title = 'new' WHERE id = NEW.id;"
        " EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN NULL; END $$"
    )
    either.execute(
        "CREATE TRIGGER touched AFTER INSERT ON domains FOR EACH ROW EXECUTE FUNCTION touch()"
    )
    names = ["old.test", "a.test", "b.test"]
    added_first = await add(either, *names)
    either.execute("DELETE FROM domains WHERE domain <> 'old.test'")
    added = await store_of(either).add(names, Order(OURS, requeue=True))
    either.execute("DROP FUNCTION touch CASCADE")
    assert added_first == Added(added=2, present=1, repeated=0)
    assert added == Added(added=2, present=1, repeated=0, requeued=1)


async def test_requeueing_touches_no_other_tenant_s_rows(either: Bench) -> None:
    either.add("a.test", status="'error'", tenant_id=f"'{THEIRS}'")
    added = await store_of(either, OURS).add(["a.test"], Order(OURS, requeue=True))
    assert added.requeued == 0
    theirs = "SELECT status FROM domains WHERE tenant_id = %s"
    assert either.execute(theirs, THEIRS) == [("error",)]


async def test_a_dry_run_requeues_nothing(either: Bench) -> None:
    either.add("a.test", status="'error'")
    before = either.rows()
    order = Order(OURS, batch="b", requeue=True)
    assert (await store_of(either).add(["a.test"], order, dry_run=True)).requeued == 1
    assert either.rows() == before


# --- batches ----------------------------------------------------------------------------------


async def test_a_batch_is_what_was_added_or_requeued_under_its_label(any_shape: Bench) -> None:
    any_shape.add("there.test", status="'completed'", batch_id="'first'")
    names = ["a.test", "b.test", "there.test"]
    await store_of(any_shape).add(names, Order(OURS, batch="second"))
    labels = {domain: row["batch_id"] for domain, row in any_shape.rows().items()}
    assert labels == {"a.test": "second", "b.test": "second", "there.test": "first"}
    await store_of(any_shape).add(names, Order(OURS, batch="third", requeue=True))
    assert {row["batch_id"] for row in any_shape.rows().values()} == {"third"}


async def test_how_far_a_batch_is(old: Bench) -> None:
    batch = {"batch_id": "'leads'"}
    states: list[str] = []
    for status in ("pending", "processing", "completed", "error", "error", "active"):
        kind = "'dns'" if status == "error" else "NULL"
        old.add(f"{len(states)}.test", status=f"'{status}'", last_error_kind=kind, **batch)
        states.append((await store_of(old).batch("leads")).state)
    assert states == ["pending", *["processing"] * 5]
    old.add("other.test", batch_id="'other'")
    progress = await store_of(old).batch("leads")
    assert (progress.total, progress.done, progress.failed, progress.unfinished) == (6, 1, 2, 2)
    assert progress.share == 0.5
    assert progress.kinds == {"dns": 2}
    old.execute("UPDATE domains SET status = 'completed' WHERE status IN ('pending', 'processing')")
    assert (await store_of(old).batch("leads")).state == "completed"
    nothing = await store_of(old, THEIRS).batch("leads")
    assert (nothing.total, nothing.share) == (0, 0.0)


async def test_a_batch_whose_first_attempts_failed_has_begun(old: Bench) -> None:
    old.add("a.test", batch_id="'leads'", attempts="1")
    assert (await store_of(old).batch("leads")).state == "pending", "it is queued anew"
    old.execute("UPDATE domains SET last_error_kind = 'dns'")
    assert (await store_of(old).batch("leads")).state == "processing"
    old.execute("UPDATE domains SET attempts = 0")
    assert (await store_of(old).batch("leads")).state == "pending", "a claim was released"


async def test_a_table_without_batches_says_how_to_have_them(database: Place) -> None:
    async with benched(database) as bench:
        bench.execute("ALTER TABLE domains DROP batch_id")
    async with Database(url(database)) as connected:
        table = await usable_table(connected, TableName("domains"))
        without = Store(connected, table)
        for ask in (
            without.batch("leads"),
            without.reach(Selection(batch="leads")),
            without.add(["a.test"], Order(OURS, batch="leads")),
        ):
            with pytest.raises(SchemaMismatch, match="no column for --batch") as caught:
                await ask
            assert "ALTER TABLE public.domains ADD COLUMN batch_id text;" in caught.value.hint
        assert (await without.rows(Selection(), limit=1))[1] == 0


async def test_a_table_may_hold_batches_by_uuid(database: Place) -> None:
    install_old(
        database,
        Generation.NOVEMBER_2025,
        "ALTER TABLE domains ALTER batch_id TYPE uuid USING NULL",
    )
    label = str(uuid4())
    async with benched(database) as bench:
        await store_of(bench).add(["a.test"], Order(OURS, batch=label))
        assert (await store_of(bench).batch(label)).total == 1
        await store_of(bench).add(["b.test"], Order(OURS, batch=f"{{{label.upper()}}}"))
        assert (await store_of(bench).batch(label)).total == 2
        with pytest.raises(UsageError, match="--batch: unusable value"):
            await store_of(bench).batch("leads")


@pytest.mark.parametrize("kind", ["varchar(5)", "char(5)", "short", '"char"'])
async def test_a_label_that_would_be_cut_is_refused_and_nothing_is_added(
    database: Place, kind: str
) -> None:
    """Cut, two batches would be one."""
    install_old(
        database,
        Generation.NOVEMBER_2025,
        "CREATE DOMAIN short AS varchar(5);"
        f"ALTER TABLE domains ALTER batch_id TYPE {kind} USING batch_id::text::{kind}",
    )
    async with benched(database) as bench:
        store, change = store_of(bench), ""
        for ask in (
            store.add(["a.test"], Order(OURS, batch="leads-2026-11")),
            store.batch("leads-2026-11"),
            store.reach(Selection(batch="leads-2026-11")),
        ):
            with pytest.raises(UsageError, match="--batch: unusable value") as caught:
                await ask
            assert "of its 13 characters" in caught.value.why
            change = caught.value.hint.partition(": ")[2]
        assert bench.rows() == {}
        await store.add(["a.test"], Order(OURS, batch="l"))
        assert (await store.batch("l")).total == 1
        bench.execute(change)
    async with benched(database) as bench:
        await store_of(bench).add(["b.test"], Order(OURS, batch="leads-2026-11"))
        assert (await store_of(bench).batch("leads-2026-11")).total == 1


# --- reset ------------------------------------------------------------------------------------

ROWS: Mapping[str, Mapping[str, str]] = {
    "pending.test": {},
    "later.test": {"due_at": "now() + interval '1 hour'", "last_error_kind": "'timeout'"},
    "live.test": {"status": "'processing'", "due_at": "now() + interval '1 minute'"},
    "expired.test": {"status": "'processing'", "last_error_kind": "'timeout'"},
    "completed.test": {"status": "'completed'", "last_scan": "now() - interval '40 days'"},
    "dns.test": {"status": "'error'", "last_error_kind": "'dns'"},
    "https://Gone.test/x": {"status": "'error'", "last_error_kind": "'http_4xx'"},
    "theirs.test": {
        "status": "'error'",
        "tenant_id": f"'{THEIRS}'",
        "last_scan": "now() - interval '20 days'",
    },
    "active.test": {"status": "'active'", "last_scan": "now() - interval '99 days'"},
    "scanned.test": {"status": "'scanned'", "last_error_kind": "'dns'"},
}
KNOWN = set(ROWS) - {"active.test", "scanned.test"}

SELECTIONS: Mapping[str, tuple[Selection, set[str]]] = {
    "all": (Selection(), KNOWN),
    "a name": (Selection(("dns.test",)), {"dns.test"}),
    "names": (
        Selection(("gone.test", "active.test", "missing.test")),
        {"https://Gone.test/x", "active.test"},
    ),
    "a status": (Selection(statuses=("completed",)), {"completed.test"}),
    "statuses": (
        Selection(statuses=("pending", "scanned")),
        {"pending.test", "later.test", "scanned.test"},
    ),
    "a kind": (Selection(kinds=("dns",)), {"dns.test"}),
    "kinds": (
        Selection(kinds=("timeout", "http_4xx")),
        {"later.test", "expired.test", "https://Gone.test/x"},
    ),
    "expired": (Selection(expired=True), {"expired.test"}),
    "older": (Selection(older_than=timedelta(days=30)), {"completed.test"}),
    "a little older": (
        Selection(older_than=timedelta(days=10)),
        {"completed.test", "theirs.test"},
    ),
    "like, in SQL": (Selection(like="%s.test"), {"dns.test", "theirs.test"}),
    "like, as in a shell": (Selection(like="??s.*"), {"dns.test"}),
    "like a part": (Selection(like="GONE"), {"https://Gone.test/x"}),
    "a pattern that ends in a backslash": (Selection(like="*dns\\"), set()),
    "a batch": (Selection(batch="leads"), {"completed.test", "dns.test"}),
    "what runs on something": (Selection(technology="WORDPRESS"), {"completed.test", "dns.test"}),
    "what runs on nothing": (Selection(technology="Word"), set()),
    "lately": (Selection(since=timedelta(hours=2)), {"later.test"}),
    "together": (
        Selection(statuses=("error", "pending"), kinds=("dns", "timeout")),
        {
            *("dns.test", "later.test"),
        },
    ),
    "none": (Selection(("dns.test",), statuses=("completed",)), set()),
}
selections = pytest.mark.parametrize("selected", SELECTIONS)


STACKS = {
    "completed.test": '{"cms": [], "technologies": {"WordPress": {"version": "6.8"}}}',
    "dns.test": '{"cms": ["WordPress"]}',
    "pending.test": '"WordPress"',
    "later.test": '["WordPress"]',
    "live.test": '{"technologies": ["WordPressish", 5], "cms": {"WordPress": 1}}',
    "theirs.test": "null",
}


def fill(bench: Bench) -> None:
    for domain, columns in ROWS.items():
        values = {"last_scan": "now()", "updated_at": "now() - interval '1 day'", **columns}
        bench.add(domain, title="'kept'", attempts="2", error_count="1", **values)
    bench.execute(
        "UPDATE domains SET updated_at = timezone('UTC', now()) WHERE domain LIKE 'later%'"
    )
    bench.execute(
        "UPDATE domains SET batch_id = 'leads' WHERE domain IN ('dns.test', 'completed.test')"
    )
    for domain, stack in STACKS.items():
        bench.execute("UPDATE domains SET tech_stack = %s WHERE domain = %s", stack, domain)


def changed(bench: Bench, before: Mapping[str, Any]) -> set[str]:
    return {domain for domain, row in bench.rows().items() if row != before[domain]}


@selections
async def test_a_reset_takes_the_rows_that_were_selected_but_those_under_a_lease(
    old: Bench, selected: str
) -> None:
    fill(old)
    selection, expected = SELECTIONS[selected]
    before = old.rows()
    reach = await store_of(old).reach(selection)
    assert old.rows() == before
    free, leased = expected - {"live.test"}, expected & {"live.test"}
    assert reach == Reach(len(free), len(leased))
    assert await store_of(old).reset(selection, force=False, clear_metadata=False) == len(free)
    assert changed(old, before) == free


@selections
async def test_a_forced_reset_takes_all_that_were_selected(old: Bench, selected: str) -> None:
    fill(old)
    selection, expected = SELECTIONS[selected]
    before = old.rows()
    assert await store_of(old).reset(selection, force=True, clear_metadata=False) == len(expected)
    assert changed(old, before) == expected


@selections
async def test_what_is_listed_is_what_was_selected(old: Bench, selected: str) -> None:
    fill(old)
    selection, expected = SELECTIONS[selected]
    rows, total = await store_of(old).rows(selection, limit=None)
    assert {row["domain"] for row in rows} == expected
    assert total == len(expected)


@selections
async def test_a_tenant_s_reset_takes_only_its_own(old: Bench, selected: str) -> None:
    fill(old)
    selection, expected = SELECTIONS[selected]
    before = old.rows()
    theirs = store_of(old, THEIRS)
    assert await theirs.reach(selection) == Reach(len(expected & {"theirs.test"}), 0)
    await theirs.reset(selection, force=True, clear_metadata=True)
    assert changed(old, before) == expected & {"theirs.test"}


async def test_a_limited_reset_takes_what_was_visited_longest_ago(any_shape: Bench) -> None:
    for days in random.sample(range(1, 10), 9):
        scanned = f"now() - interval '{days} days'"
        any_shape.add(f"{days}.test", status="'completed'", last_scan=scanned)
    selection = Selection(statuses=("completed",), older_than=timedelta(days=2, hours=12))
    reset = store_of(any_shape).reset(selection, force=False, clear_metadata=False, limit=3)
    assert await reset == 3
    taken = {row["domain"] for row in any_shape.rows().values() if "pend" in row["status"]}
    assert taken == {"9.test", "8.test", "7.test"}
    again = store_of(any_shape).reset(selection, force=False, clear_metadata=False, limit=100)
    assert await again == 4


async def test_a_limited_reset_passes_over_what_somebody_locks(bench: Bench) -> None:
    bench.add("a.test", "b.test", status="'error'")
    with stranger(bench.place, "SELECT FROM domains WHERE domain = 'a.test' FOR UPDATE"):
        async with asyncio.timeout(PATIENCE):
            ours = store_of(bench)
            assert await ours.reset(Selection(), force=False, clear_metadata=False, limit=1) == 1
    assert [row["status"] for row in bench.rows().values()].count("pending") == 1
    assert bench.row("a.test")["status"] == "error"


async def test_only_selecting_nothing_is_empty() -> None:
    empty = {name for name, (selection, _) in SELECTIONS.items() if selection.is_empty}
    assert empty == {"all"}


async def test_a_reset_row_is_as_if_it_were_new_and_keeps_what_was_found(
    any_shape: Bench,
) -> None:
    any_shape.add(
        "a.test",
        title="'kept'",
        error_count="4",
        attempts="2",
        last_error_kind="'timeout'",
        last_error="'old'",
        updated_at="'2025-01-01'",
    )
    await any_shape.one()
    before, start = any_shape.row(), datetime.now(UTC)
    reset = store_of(any_shape).reset(Selection(), force=True, clear_metadata=False)
    assert await reset == 1
    after = any_shape.row()
    different = {name: value for name, value in after.items() if value != before[name]}
    assert different.pop("status").strip() == "pending"
    assert start <= different.pop("due_at") <= datetime.now(UTC)
    assert start <= different.pop("updated_at").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert different == {
        "attempts": 0,
        "claim_token": None,
        "claimed_by": None,
        "last_error": None,
        "last_error_kind": None,
    }
    assert (await any_shape.one()).attempt == 1


async def test_clearing_forgets_what_was_found_and_nothing_else(old: Bench) -> None:
    fill(old)
    old.execute(
        "UPDATE domains SET email_addresses = '{a@a.test}', tech_stack = '{}', notes = 'kept',"
        " domain_metadata = '{}', is_wordpress = true, meta_json = '{\"kept\": 1}'"
    )
    await store_of(old).reset(Selection(("dns.test",)), force=False, clear_metadata=True)
    row = old.row("dns.test")
    assert {row[name] for name in RESULT_COLUMNS} == {None}
    assert (row["notes"], row["meta_json"], row["error_count"]) == ("kept", {"kept": 1}, 1)
    assert old.row("pending.test")["title"] == "kept"


@pytest.mark.parametrize(("name", "form"), SPELLINGS)
async def test_a_name_resets_any_spelling(old: Bench, name: str, form: str) -> None:
    old.add(form, "other.test", status="'error'")
    assert await store_of(old).reset(Selection((name,)), force=False, clear_metadata=False) == 1
    assert (old.row(form)["status"], old.row("other.test")["status"]) == ("pending", "error")


async def test_a_worker_that_was_reset_away_cannot_settle(bench: Bench) -> None:
    claim = await bench.claimed()
    await store_of(bench).reset(Selection(), force=True, clear_metadata=False)
    assert not await bench.queue.settle([(claim, Complete({"title": "late"}))])
    assert bench.row()["title"] is None


async def test_times_without_zone_are_compared_as_utc(database: Place) -> None:
    install_old(database, Generation.NOVEMBER_2025, "ALTER TABLE domains DROP last_scan")
    name = database.keywords["dbname"]
    with database.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    async with benched(database) as bench:
        bench.add("a.test", updated_at="timezone('UTC', now()) - interval '2 hours'")
        for hours, number in ((1, 1), (3, 0)):
            selection = Selection(older_than=timedelta(hours=hours))
            assert await store_of(bench).reach(selection) == Reach(number, 0)


# --- what is shown ----------------------------------------------------------------------------


async def test_the_queue_at_a_glance(old: Bench) -> None:
    fill(old)
    old.execute("UPDATE domains SET last_successful_scan = now() WHERE status = 'completed'")
    old.execute("UPDATE domains SET last_error_kind = NULL WHERE domain = 'theirs.test'")
    glance = await store_of(old).glance()
    assert glance.statuses == {
        "error": 3,
        "pending": 2,
        "processing": 2,
        "active": 1,
        "completed": 1,
        "scanned": 1,
    }
    assert next(iter(glance.statuses)) == "error"
    assert glance.kinds == {"dns": 1, "http_4xx": 1, "unknown": 1}
    assert glance.completed_lately == 1
    assert (glance.upcoming.unfinished, glance.upcoming.due, glance.upcoming.expired) == (4, 2, 1)
    theirs = await store_of(old, THEIRS).glance()
    assert (theirs.statuses, theirs.upcoming.unfinished) == ({"error": 1}, 0)


async def test_a_glance_counts_rows_without_a_status(old: Bench) -> None:
    old.execute("ALTER TABLE domains ALTER status DROP NOT NULL")
    old.add("a.test", status="NULL")
    old.add("b.test", status="'active'")
    assert (await store_of(old).glance()).statuses == {"active": 1, "null": 1}
    old.execute("DELETE FROM domains")
    old.execute("ALTER TABLE domains ALTER status SET NOT NULL")


@pytest.mark.parametrize(
    "transition", [Complete({}), Retry(Failed(Kind.DNS, "no such host"), timedelta(hours=1))]
)
async def test_a_glance_tells_when_a_visit_was_last_stored(
    any_shape: Bench, transition: Transition
) -> None:
    any_shape.add("theirs.test", status="'completed'", last_scan="now()")  # by another program
    claim = await any_shape.claimed()
    assert (await store_of(any_shape).glance()).last_settled is None
    start = datetime.now(UTC)
    await any_shape.queue.settle([(claim, transition)])
    settled = (await store_of(any_shape).glance()).last_settled
    assert settled is not None
    assert start <= settled <= datetime.now(UTC)
    await store_of(any_shape).reset(Selection(), force=False, clear_metadata=True)
    assert any_shape.row()["status"].strip() == "pending"
    assert (await store_of(any_shape).glance()).last_settled == settled


async def test_a_glance_tells_whose_leases_ran_out(any_shape: Bench) -> None:
    held = {"status": "'processing'", "claimed_by": "'web1:7:run'", "due_at": "'2026-01-03'"}
    any_shape.add("a.test", **held)
    any_shape.add("b.test", **held | {"due_at": "'2026-01-02'"})
    any_shape.add("c.test", **held | {"due_at": "now() + interval '1 hour'"})
    any_shape.add("d.test", **held | {"claimed_by": "NULL", "due_at": "'2026-01-01'"})
    any_shape.add("e.test", **held | {"status": "'pending'"})
    assert (await store_of(any_shape).glance()).lapses == (
        Lapse("", 1, datetime(2026, 1, 1, tzinfo=UTC)),
        Lapse("web1:7:run", 2, datetime(2026, 1, 2, tzinfo=UTC)),
    )
    assert (await store_of(any_shape, THEIRS).glance()).lapses == ()


async def test_a_glance_tells_of_ten_workers_at_most(bench: Bench) -> None:
    for number in range(11):
        columns = {"claimed_by": f"'web1:{number}:run'", "due_at": f"'2026-01-01 00:{number}'"}
        bench.add(f"{number}.test", status="'processing'", **columns)
    workers = [lapse.worker for lapse in (await store_of(bench).glance()).lapses]
    assert workers == [f"web1:{number}:run" for number in range(10)]


async def test_a_name_too_long_for_its_column_is_named_and_nothing_is_added(
    database: Place,
) -> None:
    install_old(database, Generation.MAY_2025, "ALTER TABLE domains ALTER domain TYPE varchar(30)")
    async with benched(database) as bench:
        long = f"{'x' * 26}.test"
        with pytest.raises(UsageError, match=f"{long} is too long") as caught:
            await add(bench, "a.test", long)
        assert "the column domain of public.domains holds 30 characters" in caught.value.why
        assert bench.rows() == {}
        assert await add(bench, long[1:]) == Added(1)


INTERNATIONAL = (
    "xn--mnchen-3ya.test",
    "www.Münster.test",
    "a.xn--mnchen-3ya.test",
    "muenchen.test",
)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("münchen.test", {"xn--mnchen-3ya.test", "a.xn--mnchen-3ya.test"}),
        ("MÜNCHEN.*", {"xn--mnchen-3ya.test"}),
        ("?.münchen.test", {"a.xn--mnchen-3ya.test"}),
        ("*.münster.test", {"www.Münster.test"}),
        ("*mün*", {"www.Münster.test"}),
        ("☃", set()),
    ],
)
async def test_a_pattern_finds_international_names_by_whole_labels(
    bench: Bench, pattern: str, found: set[str]
) -> None:
    bench.add(*INTERNATIONAL)
    rows, _ = await store_of(bench).rows(Selection(like=pattern), limit=None)
    assert {row["domain"] for row in rows} == found


async def test_only_the_last_day_counts_as_lately(either: Bench) -> None:
    for hours in (1, 23, 25):
        scanned = f"now() - interval '{hours} hours'"
        either.add(f"{hours}.test", status="'completed'", last_successful_scan=scanned)
    assert (await store_of(either).glance()).completed_lately == 2


async def test_what_a_table_without_times_does_not_tell_is_unknown(database: Place) -> None:
    async with benched(database) as bench:
        bench.add("a.test", status="'completed'", last_scan="now()")
        bench.execute("ALTER TABLE domains DROP last_successful_scan")
        for lacking, lately in (("batch_id", 1), ("last_scan", None), ("updated_at", None)):
            bench.execute(f"ALTER TABLE domains DROP {lacking}")
            bench.table = await usable_table(bench.database, TableName("domains"))
            assert (await store_of(bench).glance()).completed_lately == lately
        bench.add("b.test")
        for sort in ("updated", "-updated"):
            with pytest.raises(UsageError, match="--sort updated: the table does not say"):
                await store_of(bench).rows(Selection(), limit=1, sort=sort)
        rows, _ = await store_of(bench).rows(Selection(), limit=None)
        assert [row["domain"] for row in rows] == ["b.test", "a.test"], "by when they are due"


async def test_a_glance_is_one_moment_though_others_write(bench: Bench) -> None:
    """Each row that is counted as pending is counted as unfinished, too."""
    bench.add("a.test", "b.test")
    async with proxied(bench.place.keywords) as proxy, Database(proxy.url) as database:

        async def meanwhile(statement: str, _: Link) -> None:
            if "min(due_at)" in statement:
                bench.execute("UPDATE domains SET status = 'completed'")

        proxy.on_statement = meanwhile
        glance = await Store(database, bench.table).glance()
    assert (glance.statuses, glance.upcoming.unfinished) == ({"pending": 2}, 2)
    assert {row["status"] for row in bench.rows().values()} == {"completed"}


async def test_what_is_upcoming(any_shape: Bench) -> None:
    any_shape.add("a.test", due_at="'2026-01-02 03:04+00'")
    any_shape.add("b.test", due_at="'2026-01-03'", status="'processing'")
    any_shape.add("c.test", due_at="now() + interval '1 hour'", status="'processing'")
    any_shape.add("d.test", due_at="now() + interval '2 hours'")
    any_shape.add("e.test", due_at="'2026-01-01'", status="'completed'")
    upcoming = await store_of(any_shape).upcoming()
    assert (upcoming.unfinished, upcoming.due, upcoming.expired) == (4, 2, 1)
    assert upcoming.waiting_since == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert upcoming.next_due is not None
    assert timedelta(minutes=59) < upcoming.next_due - upcoming.now <= timedelta(hours=1)


async def test_nothing_is_upcoming_in_an_empty_queue(bench: Bench) -> None:
    upcoming = await store_of(bench).upcoming()
    assert (upcoming.unfinished, upcoming.due, upcoming.expired) == (0, 0, 0)
    assert (upcoming.waiting_since, upcoming.next_due) == (None, None)


async def test_rows_are_listed_last_updated_first(any_shape: Bench) -> None:
    for day in random.sample(range(1, 10), 9):
        any_shape.add(f"{day}.test", updated_at=f"'2026-01-0{day}'")
    rows, total = await store_of(any_shape).rows(Selection(), limit=4)
    assert [row["domain"] for row in rows] == ["9.test", "8.test", "7.test", "6.test"]
    assert total == 9
    assert set(rows[0]) == set(LISTED) & set(any_shape.table.columns)


@pytest.mark.parametrize("key", SORTS)
async def test_a_list_may_be_sorted_by_each_key_both_ways(any_shape: Bench, key: str) -> None:
    for number in random.sample(range(1, 6), 5):
        moment = f"'2026-01-0{number}'"
        times = dict.fromkeys(("updated_at", "due_at", "created_at"), moment)
        any_shape.add(f"{number}.test", attempts=str(number), **times)
    ours = store_of(any_shape)
    upward, _ = await ours.rows(Selection(), limit=None, sort=key)
    downward, _ = await ours.rows(Selection(), limit=2, sort=f"-{key}")
    assert [row["domain"] for row in upward] == [f"{number}.test" for number in range(1, 6)]
    assert [row["domain"] for row in downward] == ["5.test", "4.test"]


async def test_what_is_due_is_what_a_claim_would_take(any_shape: Bench) -> None:
    days = {f"{day}.test": f"'2026-01-0{day}'" for day in range(1, 8)}
    for domain in random.sample(sorted(days), len(days)):
        any_shape.add(domain, due_at=days[domain])
    any_shape.add("later.test", due_at="now() + interval '1 minute'")
    any_shape.add("completed.test", status="'completed'")
    ours = store_of(any_shape)
    assert [row["domain"] for row in await ours.due(None)] == sorted(days)
    assert [row["domain"] for row in await ours.due(3)] == sorted(days)[:3]
    assert await store_of(any_shape, THEIRS).due(None) == []
    claims = (await any_shape.claim(3)).claims
    assert sorted(claim.domain for claim in claims) == sorted(days)[:3]
    assert len(await ours.due(None)) == 4


async def test_looking_neither_waits_for_locks_nor_takes_any(bench: Bench) -> None:
    bench.add("a.test")
    with stranger(bench.place, "SELECT FROM domains FOR UPDATE"):
        async with asyncio.timeout(PATIENCE):
            assert len(await store_of(bench).due(None)) == 1
            assert (await store_of(bench).glance()).upcoming.due == 1


async def test_a_check_tells_what_it_saw(old: Bench) -> None:
    old.add("a.test", "b.test")
    check = await store_of(old).check()
    ((version, role),) = old.execute("SELECT current_setting('server_version'), current_user")
    assert (check.version, check.role, check.rows) == (version, role, 2)
    assert (check.table, check.rights) == ("public.domains", ("SELECT", "INSERT", "UPDATE"))
    assert check.server == url(old.place).safe


LOOKING: Mapping[str, Callable[[Store], Awaitable[object]]] = {
    "reach": lambda store: store.reach(Selection()),
    "glance": lambda store: store.glance(),
    "upcoming": lambda store: store.upcoming(),
    "rows": lambda store: store.rows(Selection(), limit=5),
    "named": lambda store: store.named(["a.test"]),
    "due": lambda store: store.due(5),
    "check": lambda store: store.check(),
    "batch": lambda store: store.batch("leads"),
    "a list": lambda store: store.rows(Selection(like="a", technology="b", batch="c"), limit=5),
}


@pytest.mark.parametrize("look", LOOKING)
async def test_looking_is_read_only_and_writing_after_it_is_not(bench: Bench, look: str) -> None:
    bench.add("https://A.test/", "b.test")
    async with proxied(bench.place.keywords) as proxy, Database(proxy.url) as database:
        ours = Store(database, bench.table)
        await LOOKING[look](ours)
        begun = [each.partition(";")[0] for each in proxy.statements if each.startswith("BEGIN")]
        assert begun == ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"]
        assert (await ours.add(["c.test"], Order(OURS))).added == 1


@pytest.mark.parametrize("look", LOOKING)
async def test_a_table_that_has_gone_is_an_error_in_words(database: Place, look: str) -> None:
    async with benched(database) as bench:
        bench.execute("DROP TABLE domains")
        with pytest.raises(DatabaseError, match="PostgreSQL refused a statement") as caught:
            await LOOKING[look](store_of(bench))
    assert "does not exist" in caught.value.why
