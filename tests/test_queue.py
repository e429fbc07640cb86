"""The worker's statements against a real server: what is claimed, settled, refused and kept."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import uuid4

import pytest
from conftest import Database as Place
from conftest import Way
from legacy import Generation
from proxy import COMMIT, Link, Proxy, proxied
from tables import (
    LEASE,
    SHAPES,
    Bench,
    Maker,
    Row,
    benched,
    emptied,
    install_old,
    made_once,
    stranger,
    take,
    until,
    url,
)

from domainsched.database.connection import Database
from domainsched.database.queue import CRASHED, MOST_REFUSED, Claimed, Queue
from domainsched.database.selection import Selection
from domainsched.database.store import Store
from domainsched.database.table import Table
from domainsched.errors import DatabaseError
from domainsched.models import Claim, Complete, Fail, Failed, Kind, Release, Retry, Transition

TIMEOUT = Failed(Kind.TIMEOUT, "no page within 30 s")
GONE = Failed(Kind.HTTP_4XX, "410 gone")
PAGE = {"title": "A site", "domain_metadata": {"version": 1}}


# --- the bench --------------------------------------------------------------------------------


def domains(claimed: Claimed) -> list[str]:
    return [claim.domain for claim in claimed.claims]


@pytest.fixture(scope="module")
def shaped(server: dict[str, str], way: Way) -> Iterator[Maker]:
    with made_once(server, way) as make:
        yield make


@pytest.fixture
async def bench(shaped: Maker) -> AsyncIterator[Bench]:
    """A table of our own: bigint, text."""
    async with emptied(shaped("ours")) as bench:
        yield bench


@pytest.fixture
async def old(shaped: Maker) -> AsyncIterator[Bench]:
    """The newest of the old tables: uuid, varchar, 114 columns."""
    async with emptied(shaped("november")) as bench:
        yield bench


@pytest.fixture(params=SHAPES)
async def any_shape(shaped: Maker, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Each generation, and columns of other types that mean the same."""
    async with emptied(shaped(request.param)) as bench:
        yield bench


# --- what a claim takes -----------------------------------------------------------------------


async def test_rows_are_claimed_in_the_order_in_which_they_fell_due(any_shape: Bench) -> None:
    minutes = {f"{number}.test": number for number in range(1, 9)}
    for domain in random.sample(sorted(minutes), len(minutes)):
        any_shape.add(domain, due_at=f"now() - interval '{60 - minutes[domain]} minutes'")
    taken = [domains(await any_shape.claim(1)) for _ in minutes]
    assert taken == [[domain] for domain in minutes]
    assert await any_shape.claim() == Claimed()


async def test_rows_that_fell_due_together_are_claimed_by_key(bench: Bench) -> None:
    names = [f"{number}.test" for number in range(6)]
    bench.add(*reversed(names), due_at="'2026-01-01'")
    assert domains(await bench.claim(2)) == ["5.test", "4.test"]
    assert domains(await bench.claim(9)) == ["3.test", "2.test", "1.test", "0.test"]


async def test_a_claim_takes_no_more_than_its_limit_whatever_the_statistics_say(
    any_shape: Bench,
) -> None:
    """With a sub-select in place of the CTE, all rows are updated: it is run again for each row.

    The planner must believe that the table holds one row, and so all rows must fit on one page.
    """
    any_shape.execute("ALTER TABLE domains SET (autovacuum_enabled = off)")
    any_shape.execute("TRUNCATE domains CASCADE")  # dead rows would make it look large
    any_shape.add("first.test")
    any_shape.execute("ANALYZE domains")
    any_shape.add(*(f"{number}.test" for number in range(20)))
    assert any_shape.execute("SELECT pg_relation_size('domains') / 8192") == [(1,)]
    assert len((await any_shape.claim(5)).claims) == 5
    assert any_shape.execute("SELECT count(*) FROM domains WHERE status = 'processing'") == [(5,)]


async def test_rows_that_somebody_locks_are_skipped_without_waiting(any_shape: Bench) -> None:
    any_shape.add("locked.test", "free.test")
    lock = "SELECT FROM domains WHERE domain = 'locked.test' FOR UPDATE"
    with stranger(any_shape.place, lock):
        assert domains(await any_shape.claim()) == ["free.test"]
    assert domains(await any_shape.claim()) == ["locked.test"]


async def test_a_reference_that_is_being_made_does_not_hide_a_row(old: Bench) -> None:
    old.add("a.test")
    reference = "INSERT INTO jobs (job_id, domain_id) VALUES (%s, %s)"
    with stranger(old.place, reference, uuid4(), old.row()["id"]):
        assert domains(await old.claim()) == ["a.test"]


async def test_rows_of_another_status_are_never_claimed(old: Bench) -> None:
    for status in ("active", "scanned", "completed", "error", "PENDING", "test-1", ""):
        old.add(f"is-{status.lower()}{len(status)}.test", status=f"'{status}'", attempts="1")
    before = old.rows()
    assert await old.claim() == Claimed()
    assert old.rows() == before


async def test_rows_are_claimed_from_when_they_fall_due(any_shape: Bench) -> None:
    any_shape.add("now.test", due_at="now()")
    any_shape.add("later.test", due_at="now() + interval '1 hour'")
    assert domains(await any_shape.claim()) == ["now.test"]
    any_shape.execute("UPDATE domains SET due_at = now() WHERE domain = 'later.test'")
    assert domains(await any_shape.claim()) == ["later.test"]


async def test_a_tenant_s_worker_sees_only_its_own(any_shape: Bench) -> None:
    tenant = uuid4()
    any_shape.add("theirs.test")
    any_shape.add("expired.test", status="'processing'")
    any_shape.add("ours.test", tenant_id=f"'{tenant}'")
    queue = Queue(any_shape.database, any_shape.table, tenant=tenant)
    assert domains(await take(queue)) == ["ours.test"]
    assert await take(queue) == Claimed()


async def test_a_claim_is_a_lease_with_a_token_and_a_name(any_shape: Bench) -> None:
    token = uuid4()
    any_shape.add("a.test")
    before = any_shape.row()
    ((start,),) = any_shape.execute("SELECT now()")
    (claim,) = (await take(any_shape.queue, token=token)).claims
    ((end,),) = any_shape.execute("SELECT now()")
    assert claim == Claim(before["id"], "a.test", 1, token)
    after = any_shape.row()
    assert start + LEASE <= after.pop("due_at") <= end + LEASE
    assert any_shape.execute("SELECT status::text FROM domains") == [("processing",)]
    assert {name for name, value in after.items() if value != before[name]} == {
        *("status", "attempts", "claim_token", "claimed_by", "updated_at")
    }
    assert (after["claim_token"], after["claimed_by"]) == (token, "host:1:run")


async def test_a_live_lease_protects_its_row(any_shape: Bench) -> None:
    await any_shape.claimed()
    assert await any_shape.claim() == Claimed()


# --- attempts ---------------------------------------------------------------------------------


async def test_an_attempt_is_counted_when_it_begins(any_shape: Bench) -> None:
    claim = await any_shape.claimed()
    assert (claim.attempt, any_shape.row()["attempts"]) == (1, 1)
    for attempt in (2, 3):
        await any_shape.queue.settle([(claim, Retry(TIMEOUT, timedelta()))])
        claim = await any_shape.one()
        assert (claim.attempt, any_shape.row()["attempts"]) == (attempt, attempt)


@pytest.mark.parametrize(
    ("attempts", "kind", "attempt"),
    [
        (0, "NULL", 1),
        (2, "NULL", 1),
        (1, "'timeout'", 2),
        (2, "'timeout'", 3),
        (3, "'timeout'", 1),
        (9, "'timeout'", 1),
    ],
)
async def test_who_sets_pending_and_nothing_else_asks_for_a_new_start(
    old: Bench, attempts: int, kind: str, attempt: int
) -> None:
    claim = await old.claimed(attempts=str(attempts), last_error_kind=kind)
    assert (claim.attempt, old.row()["attempts"]) == (attempt, attempt)


@pytest.mark.parametrize("ending", [Complete(PAGE), Fail(GONE)])
async def test_a_settled_row_that_is_set_to_pending_is_due_and_starts_anew(
    any_shape: Bench, ending: Transition
) -> None:
    claim = await any_shape.claimed(attempts="2", last_error_kind="'timeout'")
    await any_shape.queue.settle([(claim, ending)])
    any_shape.execute("UPDATE domains SET status = 'pending'")
    assert (await any_shape.one()).attempt == 1


# --- leases that ran out ----------------------------------------------------------------------

EXPIRED = {"status": "'processing'", "attempts": "1", "due_at": "now() - interval '1 second'"}


async def test_a_row_whose_lease_ran_out_is_claimed_alone(any_shape: Bench) -> None:
    """It may be what killed its worker: its neighbours must not pay for it."""
    others = [f"{number}.test" for number in range(20)]
    any_shape.add(*others)
    any_shape.add("suspect.test", **EXPIRED)
    (claim,) = (await any_shape.claim(25)).claims
    assert (claim.domain, claim.attempt, claim.reclaimed) == ("suspect.test", 2, True)
    suspect = any_shape.row("suspect.test")
    assert (suspect["last_error"], suspect["last_error_kind"]) == (CRASHED, "crashed")
    assert sorted(domains(await any_shape.claim(25))) == sorted(others)


async def test_rows_whose_leases_ran_out_are_claimed_one_at_a_time(any_shape: Bench) -> None:
    names = [f"{number}.test" for number in range(20)]
    any_shape.add(*names, **EXPIRED)
    taken = [domains(await any_shape.claim(20)) for _ in names]
    assert [len(each) for each in taken] == [1] * 20
    assert sorted(chain(*taken)) == sorted(names)


async def test_a_row_that_used_up_its_attempts_in_crashes_ends_as_error_unvisited(
    any_shape: Bench,
) -> None:
    any_shape.add("killer.test", **EXPIRED | {"attempts": "3", "claim_token": f"'{uuid4()}'"})
    any_shape.add("a.test")
    before = any_shape.row("killer.test")
    claimed = await any_shape.claim()
    assert (claimed.claims, [claim.domain for claim in claimed.exhausted]) == ((), ["killer.test"])
    after = any_shape.row("killer.test")
    assert (after["status"].strip(), after["last_error_kind"]) == ("error", "crashed")
    assert (after["last_error"], after["attempts"]) == (CRASHED, 3)
    assert after["error_count"] == (before["error_count"] or 0) + 1
    assert after["last_scan"] == before["last_scan"], "it was not visited"
    assert after["updated_at"] > before["updated_at"]
    assert domains(await any_shape.claim()) == ["a.test"]
    assert await any_shape.claim() == Claimed()


async def test_a_site_that_kills_each_worker_ends_as_error_after_all_attempts(bench: Bench) -> None:
    bench.add("killer.test")
    attempts = []
    while claims := (await bench.claim()).claims:
        attempts.append([claim.attempt for claim in claims])
        bench.execute("UPDATE domains SET due_at = now()")
    assert (attempts, bench.row("killer.test")["status"]) == ([[1], [2], [3]], "error")


async def test_a_reclaimed_row_completes_as_any_other(any_shape: Bench) -> None:
    claim = await any_shape.claimed(**EXPIRED)
    await any_shape.queue.settle([(claim, Complete(PAGE))])
    row = any_shape.row()
    assert (row["status"].strip(), row["last_error"], row["last_error_kind"]) == (
        *("completed", None, None),
    )


# --- the fence --------------------------------------------------------------------------------


async def reset(bench: Bench) -> None:
    await Store(bench.database, bench.table).reset(Selection(), force=True, clear_metadata=False)


async def reclaim(bench: Bench) -> None:
    bench.execute("UPDATE domains SET due_at = now()")
    await bench.one()


async def reset_and_claim(bench: Bench) -> None:
    await reset(bench)
    await bench.one()


async def settle(bench: Bench) -> None:
    row = bench.row()
    claim = Claim(row["id"], "a.test", 1, row["claim_token"])
    await bench.queue.settle([(claim, Retry(TIMEOUT, timedelta()))])


MEANWHILE = (reset, reclaim, reset_and_claim, settle)


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("ending", [Complete(PAGE), Retry(TIMEOUT, LEASE), Fail(GONE), Release()])
async def test_who_lost_the_lease_can_end_nothing(
    bench: Bench, meanwhile: Callable[[Bench], Awaitable[None]], ending: Transition
) -> None:
    claim = await bench.claimed()
    await meanwhile(bench)
    before = bench.row()
    assert not await bench.queue.settle([(claim, ending)])
    assert bench.row() == before


@pytest.mark.parametrize("meanwhile", MEANWHILE)
async def test_who_lost_the_lease_cannot_extend_it(
    bench: Bench, meanwhile: Callable[[Bench], Awaitable[None]]
) -> None:
    claim = await bench.claimed()
    await meanwhile(bench)
    before = bench.row()
    assert await bench.queue.extend([claim], LEASE) == set()
    assert bench.row() == before


async def test_the_successor_settles_what_the_former_worker_could_not(any_shape: Bench) -> None:
    stale = await any_shape.claimed()
    any_shape.execute("UPDATE domains SET due_at = now()")
    fresh = await any_shape.one()
    kept = (await any_shape.queue.settle([(stale, Fail(GONE)), (fresh, Complete(PAGE))])).keys()
    assert kept == {fresh.id}
    assert any_shape.row()["title"] == "A site"


async def test_of_a_batch_only_the_lost_rows_are_dropped(any_shape: Bench) -> None:
    any_shape.add("a.test", "b.test", "c.test")
    claims = {claim.domain: claim for claim in (await any_shape.claim()).claims}
    any_shape.execute("UPDATE domains SET claim_token = NULL WHERE domain = 'b.test'")
    kept = (
        await any_shape.queue.settle([(claim, Complete(PAGE)) for claim in claims.values()])
    ).keys()
    assert kept == {claims["a.test"].id, claims["c.test"].id}


# --- what an ending writes --------------------------------------------------------------------

VISITED = {"last_scan", "updated_at"}
FULL: Mapping[str, Any] = {
    "title": "Ein Käse 🧀",
    "description": "über alles",
    "language": "de",
    "favicon_url": "https://a.test/favicon.ico",
    "logo_url": "https://a.test/logo.png",
    "email_addresses": ["a@a.test", 'quote"comma,@a.test'],
    "phone_numbers": ["+4930123456"],
    "facebook_url": "https://facebook.com/a",
    "twitter_url": "https://x.com/a",
    "linkedin_url": "https://linkedin.com/company/a",
    "instagram_url": "https://instagram.com/a",
    "youtube_url": "https://youtube.com/@a",
    "is_wordpress": True,
    "wordpress_version": "6.8.1",
    "has_elementor": True,
    "tech_stack": {"cms": ["WordPress"], "technologies": {"WordPress": {"version": "6.8.1"}}},
    "domain_metadata": {"version": 1, "title": "Ein Käse 🧀"},
}
POOR: Mapping[str, Any] = {
    **dict.fromkeys(FULL),
    "email_addresses": [],
    "phone_numbers": [],
    "domain_metadata": {"version": 1, "title": None},
}


async def changed_by(bench: Bench, ending: Transition, **columns: str) -> tuple[Row, Row]:
    """Claim a row and end it: the columns that the ending changed, before and after."""
    claim = await bench.claimed(**columns)
    before = bench.row()
    assert (await bench.queue.settle([(claim, ending)])).keys() == {claim.id}
    after = bench.row()
    different = [name for name in after if after[name] != before[name]]
    return {name: before[name] for name in different}, {name: after[name] for name in different}


def now(bench: Bench) -> datetime:
    ((moment,),) = bench.execute("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment


async def test_completing_writes_what_was_found_and_nothing_else(any_shape: Bench) -> None:
    failed = {"last_error": "'old'", "last_error_kind": "'timeout'", "attempts": "1"}
    start = now(any_shape)
    _, after = await changed_by(any_shape, Complete(FULL), **failed)
    assert {name: after.pop(name) for name in FULL} == FULL
    assert after.pop("status").strip() == "completed"
    assert start <= after.pop("due_at") <= now(any_shape)
    assert (after.pop("last_error"), after.pop("last_error_kind")) == (None, None)
    assert set(after) == VISITED | {"last_successful_scan"}
    assert start <= after["last_successful_scan"] <= now(any_shape)
    assert any_shape.row()["attempts"] == 2


async def test_retrying_sets_a_later_time_and_says_why(any_shape: Bench) -> None:
    start, delay = now(any_shape), timedelta(minutes=4, seconds=1.5)
    _, after = await changed_by(any_shape, Retry(TIMEOUT, delay), title="'kept'")
    assert start + delay <= after.pop("due_at") <= now(any_shape) + delay
    assert after.pop("status").strip() == "pending"
    assert (after.pop("last_error"), after.pop("last_error_kind")) == (
        *("no page within 30 s", "timeout"),
    )
    assert set(after) == VISITED
    assert any_shape.row()["error_count"] in {0, None}


async def test_failing_counts_an_error_and_says_why(any_shape: Bench) -> None:
    start = now(any_shape)
    before, after = await changed_by(any_shape, Fail(GONE), title="'kept'")
    assert after.pop("error_count") == (before["error_count"] or 0) + 1
    assert start <= after.pop("due_at") <= now(any_shape)
    assert after.pop("status").strip() == "error"
    assert (after.pop("last_error"), after.pop("last_error_kind")) == ("410 gone", "http_4xx")
    assert set(after) == VISITED


async def test_releasing_gives_the_attempt_back_and_the_row_is_due(any_shape: Bench) -> None:
    start = now(any_shape)
    _, after = await changed_by(
        any_shape, Release(), attempts="1", last_error="'before'", last_error_kind="'timeout'"
    )
    assert start <= after.pop("due_at") <= now(any_shape)
    assert (after.pop("status").strip(), after.pop("attempts")) == ("pending", 1)
    assert after == {}
    assert (await any_shape.one()).attempt == 2


async def test_a_first_attempt_that_is_released_stays_the_first(any_shape: Bench) -> None:
    await any_shape.queue.release([await any_shape.claimed()])
    assert any_shape.row()["attempts"] == 0
    assert (await any_shape.one()).attempt == 1


async def test_an_error_count_that_is_null_counts_from_zero(old: Bench) -> None:
    _, after = await changed_by(old, Fail(GONE), error_count="NULL")
    assert after["error_count"] == 1


async def test_endings_of_all_sorts_are_settled_together(any_shape: Bench) -> None:
    endings: list[Transition] = [Complete(PAGE), Retry(TIMEOUT, LEASE), Fail(GONE), Release()]
    any_shape.add(*(f"{number}.test" for number in range(len(endings))))
    claims = sorted((await any_shape.claim()).claims, key=lambda claim: claim.domain)
    kept = (await any_shape.queue.settle(list(zip(claims, endings, strict=True)))).keys()
    assert kept == {claim.id for claim in claims}
    states = [row["status"].strip() for _, row in sorted(any_shape.rows().items())]
    assert states == ["completed", "pending", "error", "pending"]


async def test_settling_nothing_does_nothing(bench: Bench) -> None:
    assert not await bench.queue.settle([])
    assert await bench.queue.extend([], LEASE) == set()
    assert await bench.queue.release([]) == set()


async def test_times_without_zone_are_utc_whatever_the_session_s_zone(database: Place) -> None:
    install_old(database, Generation.NOVEMBER_2025)
    name = database.keywords["dbname"]
    with database.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    async with benched(database) as bench:
        for ending in (Complete(PAGE), Fail(GONE)):
            start = datetime.now(UTC)
            bench.execute("DELETE FROM domains")
            claim = await bench.claimed()
            at_claim = bench.row()["updated_at"].replace(tzinfo=UTC)
            await bench.queue.settle([(claim, ending)])
            at_end = bench.row()["updated_at"].replace(tzinfo=UTC)
            assert start <= at_claim < at_end <= datetime.now(UTC)
            assert start <= bench.row()["last_scan"] <= datetime.now(UTC)


async def test_json_is_stored_as_json_in_every_generation(any_shape: Bench) -> None:
    await any_shape.queue.settle([(await any_shape.claimed(), Complete(FULL))])
    kinds = "SELECT jsonb_typeof(tech_stack), jsonb_typeof(domain_metadata) FROM domains"
    assert any_shape.execute(kinds) == [("object", "object")]
    version = "SELECT tech_stack #>> '{technologies,WordPress,version}' FROM domains"
    assert any_shape.execute(version) == [("6.8.1",)]


async def test_good_data_is_not_erased_by_a_poorer_visit(any_shape: Bench) -> None:
    await any_shape.queue.settle([(await any_shape.claimed(), Complete(FULL))])
    any_shape.execute("UPDATE domains SET status = 'pending'")
    await any_shape.queue.settle([(await any_shape.one(), Complete(POOR))])
    row = any_shape.row()
    kept = {name: row[name] for name in FULL}
    assert kept == {**FULL, "domain_metadata": POOR["domain_metadata"]}


@pytest.mark.parametrize("ending", [Retry(TIMEOUT, LEASE), Fail(GONE), Release()])
async def test_good_data_is_not_erased_by_a_failed_visit(bench: Bench, ending: Transition) -> None:
    await bench.queue.settle([(await bench.claimed(), Complete(FULL))])
    bench.execute("UPDATE domains SET status = 'pending'")
    await bench.queue.settle([(await bench.one(), ending)])
    row = bench.row()
    assert {name: row[name] for name in FULL} == FULL


async def test_a_first_visit_that_finds_no_addresses_says_so(any_shape: Bench) -> None:
    await any_shape.queue.settle([(await any_shape.claimed(), Complete(POOR))])
    row = any_shape.row()
    assert (row["email_addresses"], row["phone_numbers"], row["title"]) == ([], [], None)


async def test_better_data_replaces_what_was_there(any_shape: Bench) -> None:
    await any_shape.queue.settle([(await any_shape.claimed(), Complete(FULL))])
    any_shape.execute("UPDATE domains SET status = 'pending'")
    better = {**FULL, "title": "New", "email_addresses": ["new@a.test"], "is_wordpress": False}
    await any_shape.queue.settle([(await any_shape.one(), Complete(better))])
    row = any_shape.row()
    assert {name: row[name] for name in better} == better


async def test_nothing_but_our_columns_is_changed_in_an_old_table(old: Bench) -> None:
    """Every column is filled, so that one that is emptied shows as one that is set."""
    filled = {"local_business_id": "NULL", "status": "'pending'"}
    samples = {
        "text[]": "'{one,two}'",
        "jsonb": """'{"a": 1}'""",
        "boolean": "false",
        "integer": "7",
        "uuid": "gen_random_uuid()",
    }
    others = [name for name in old.table.columns if name not in ("id", "domain", "due_at")]
    for name in others:
        kind = old.table.columns[name]
        sample = samples.get(kind, "'x'" if kind in {"text", "character varying"} else "")
        sample = "now() - interval '1 day'" if "time zone" in kind else sample
        sample = "1" if "numeric" in kind or name == "attempts" else sample
        filled.setdefault(name, sample or f"enum_last(NULL::{kind})")
    old.add("a.test", **filled)
    before = old.row()
    await old.queue.settle([(await old.one(), Complete(FULL))])
    after = old.row()
    ours = {"status", "attempts", "due_at", "claim_token", "claimed_by", "last_error"}
    ours |= {"last_error_kind", "last_scan", "last_successful_scan", "updated_at", *FULL}
    assert {name for name in after if after[name] != before[name]} == ours


FURTHER: Mapping[str, Any] = {
    "wordpress_theme": "astra",
    "elementor_version": "3.18.3",
    "has_divi": False,
    "has_woocommerce": True,
    "has_contact_form7": True,
    "has_yoast_seo": False,
    "has_wpforms": False,
    "google_analytics_id": "G-ABCDEF1234",
    "google_tag_manager_id": "GTM-ABC123",
    "copyright_year": "2024",
    "content_language": ["de-AT", "en"],
    "feed_urls": ["https://a.test/feed/", 'https://a.test/?a="b",{c}'],
    "security_headers": {"x-frame-options": "DENY"},
}
"""Columns that old tables have, and ours has not."""


async def test_columns_that_only_old_tables_have_are_filled_there_and_not_emptied(
    old: Bench,
) -> None:
    await old.queue.settle([(await old.claimed(), Complete({**FULL, **FURTHER}))])
    row = old.row()
    assert {name: row[name] for name in FURTHER} == FURTHER
    kinds = "SELECT jsonb_typeof(feed_urls), jsonb_typeof(security_headers) FROM domains"
    assert old.execute(kinds) == [("array", "object")]
    old.execute("UPDATE domains SET status = 'pending'")
    poor = {**POOR, **dict.fromkeys(FURTHER)}
    await old.queue.settle([(await old.one(), Complete(poor))])
    row = old.row()
    assert {name: row[name] for name in FURTHER} == FURTHER


async def test_a_list_is_written_as_its_column_wants_it(database: Place) -> None:
    other = "ALTER TABLE domains ALTER feed_urls TYPE text[] USING NULL,"
    other += " ALTER content_language TYPE jsonb USING NULL,"
    other += " ALTER google_analytics_id TYPE varchar(20)"
    install_old(database, Generation.NOVEMBER_2025, other)
    async with benched(database) as bench:
        await bench.queue.settle([(await bench.claimed(), Complete({**FULL, **FURTHER}))])
        row = bench.row()
        assert {name: row[name] for name in FURTHER} == FURTHER


async def test_a_column_of_another_kind_is_its_owners(database: Place) -> None:
    """Else every row of the table would end as one that cannot be stored."""
    other = "ALTER TABLE domains ALTER content_language TYPE varchar(5) USING NULL,"
    other += " ALTER has_divi TYPE integer USING NULL, DROP copyright_year, DROP ssl_issuer,"
    other += " ADD copyright_year text GENERATED ALWAYS AS ('made') STORED,"
    other += " ADD ssl_issuer text GENERATED ALWAYS AS ('made') STORED"
    install_old(database, Generation.NOVEMBER_2025, other)
    async with benched(database) as bench:
        columns = {**FULL, **FURTHER, "ssl_issuer": "An Authority"}
        await bench.queue.settle([(await bench.claimed(), Complete(columns))])
        row = bench.row()
        assert (row["status"], row["wordpress_theme"]) == ("completed", "astra")
        assert (row["content_language"], row["has_divi"]) == (None, None)
        assert (row["copyright_year"], row["ssl_issuer"]) == ("made", "made")


async def test_extending_begins_a_new_lease_and_nothing_else(any_shape: Bench) -> None:
    held = await any_shape.claimed()
    any_shape.execute("UPDATE domains SET due_at = now() + interval '1 second'")
    before, start = any_shape.row(), now(any_shape)
    longer = timedelta(hours=1)
    assert await any_shape.queue.extend([held], longer) == {held.id}
    after = any_shape.row()
    assert start + longer <= after.pop("due_at") <= now(any_shape) + longer
    before.pop("due_at")
    assert after == before


# --- poison -----------------------------------------------------------------------------------

INCOMPRESSIBLE = "".join(random.sample([chr(code) for code in range(0x4E00, 0x9FFF)], 9000))
POISONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "NUL in a text": ("SELECT", {"title": "a\0b"}),
    "NUL deep in JSON": ("SELECT", {"domain_metadata": {"a": [{"b": "\0"}]}}),
    "lone surrogate": ("SELECT", {"description": "\ud800"}),
    "too large for an index": (
        "CREATE INDEX ON domains (description)",
        {"description": INCOMPRESSIBLE},
    ),
    "a number out of range": ("SELECT", {"server_response_time": 10**12}),
    "refused by a constraint": (
        "ALTER TABLE domains ADD CHECK (title <> 'forbidden')",
        {"title": "forbidden"},
    ),
    "refused by a trigger": (
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not on my watch'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON domains FOR EACH ROW
            WHEN (NEW.title = 'forbidden') EXECUTE FUNCTION refuse()
        """,
        {"title": "forbidden"},
    ),
}


@pytest.mark.parametrize("poison", POISONS)
async def test_a_poison_row_harms_only_itself(database: Place, poison: str) -> None:
    statement, page = POISONS[poison]
    install_old(database, Generation.NOVEMBER_2025, statement)
    async with benched(database) as bench:
        bench.add("a.test", "poison.test", "z.test")
        claims = (await bench.claim()).claims
        endings = [
            (claim, Complete(page if claim.domain == "poison.test" else PAGE)) for claim in claims
        ]
        ended = await bench.queue.settle(endings)
        assert {claim.domain: _kind(ended[claim.id]) for claim in claims} == {
            "a.test": None,
            "poison.test": Kind.UNSTORABLE,
            "z.test": None,
        }
        rows = bench.rows()
        assert [rows[name]["status"] for name in ("a.test", "z.test")] == ["completed"] * 2
        assert [rows[name]["title"] for name in ("a.test", "z.test")] == ["A site"] * 2
        bad = rows["poison.test"]
        assert (bad["status"], bad["last_error_kind"]) == ("error", "unstorable")
        assert bad["last_error"].startswith("the database refused the result: ")
        assert (bad["error_count"], bad["title"]) == (1, None)


def _kind(transition: Transition) -> Kind | None:
    return transition.failure.kind if isinstance(transition, Fail) else None


async def test_of_what_is_too_long_for_its_column_prose_is_cut_and_the_rest_left_out(
    database: Place,
) -> None:
    alteration = (
        "ALTER TABLE domains ALTER title TYPE varchar(10), ALTER description TYPE varchar(3),"
        " ALTER favicon_url TYPE varchar(30), ALTER logo_url TYPE varchar(30)"
    )
    install_old(database, Generation.NOVEMBER_2025, alteration)
    near, far = (f"https://a.test/{'x' * length}" for length in (15, 16))
    page = {"title": "Ten charsüüü", "description": "abc", "favicon_url": near, "logo_url": far}
    async with benched(database) as bench:
        claim = await bench.claimed()
        ended = await bench.queue.settle([(claim, Complete(page))])
        assert ended == {claim.id: Complete(page)}
        row = bench.row()
    stored = {name: row[name] for name in ("status", *page)}
    assert stored == {
        "status": "completed",
        "title": "Ten chars…",
        "description": "abc",
        "favicon_url": near,
        "logo_url": None,
    }


async def test_a_reason_too_long_for_its_column_is_cut(database: Place) -> None:
    """It would otherwise stop every claim of a row whose lease ran out."""
    alteration = "ALTER TABLE domains ALTER last_error TYPE varchar(20)"
    install_old(database, Generation.NOVEMBER_2025, alteration)
    async with benched(database) as bench:
        claim = await bench.claimed()
        await bench.queue.settle([(claim, Fail(Failed(Kind.DNS, "x" * 1000)))])
        assert bench.row()["last_error"] == "x" * 20
        bench.execute("UPDATE domains SET status = 'processing'")
        await bench.one()
        assert bench.row()["last_error"] == CRASHED[:20]


async def test_an_end_that_the_table_refuses_is_left_to_its_lease(database: Place) -> None:
    async with benched(database) as bench:
        good, bad = await bench.claimed("good.test"), await bench.claimed("bad.test")
        bench.execute(
            "ALTER TABLE domains ADD CHECK (domain <> 'bad.test' OR status = 'processing')"
        )
        kept = (await bench.queue.settle([(good, Complete(PAGE)), (bad, Complete(PAGE))])).keys()
        assert kept == {good.id}
        assert bench.row("bad.test")["status"] == "processing"


async def test_a_table_that_refuses_everything_is_said_so(database: Place) -> None:
    async with benched(database) as bench:
        claim = await bench.claimed()
        bench.execute("ALTER TABLE domains ADD CHECK (status IN ('pending', 'processing'))")
        for _ in range(MOST_REFUSED):
            assert not await bench.queue.settle([(claim, Complete(PAGE))])
        with pytest.raises(DatabaseError, match="PostgreSQL refused a statement") as caught:
            await bench.queue.settle([(claim, Complete(PAGE))])
    assert "violates check constraint" in caught.value.why


async def test_a_row_whose_claim_the_table_refuses_does_not_stop_the_queue(
    database: Place,
) -> None:
    async with benched(database) as bench:
        bench.add("bad.test")
        bench.add("good.test")
        bench.execute("ALTER TABLE domains ADD CHECK (domain <> 'bad.test' OR status = 'pending')")
        claimed = await bench.claim(5)
        assert [claim.domain for claim in claimed.claims] == ["good.test"]


async def test_what_an_owner_lets_be_null_or_short_is_claimed_all_the_same(
    database: Place,
) -> None:
    async with benched(database) as bench:
        bench.execute(
            "ALTER TABLE domains ALTER attempts DROP NOT NULL, ALTER domain DROP NOT NULL,"
            " ALTER claimed_by TYPE varchar(5), ALTER last_error TYPE varchar(5)"
        )
    async with benched(database) as bench:
        bench.add("a.test", attempts="NULL", last_error_kind="'old'")
        bench.execute("UPDATE domains SET domain = NULL")
        claim = await bench.one()
        assert (claim.domain, claim.attempt) == ("", 1)
        failure = Failed(Kind.INVALID_DOMAIN, "no name")
        assert (await bench.queue.settle([(claim, Fail(failure))])).keys() == {claim.id}


# --- commits whose fate is unknown ------------------------------------------------------------


class Accident:
    """Cuts the connection around the next message with a COMMIT that is sent after it was armed."""

    def __init__(self, proxy: Proxy, *, committed: bool) -> None:
        self.proxy, self.committed, self.happened = proxy, committed, False

    def arm(self) -> None:
        self.proxy.on_statement = self

    async def __call__(self, statement: str, link: Link) -> None:
        if not statement.endswith(COMMIT):
            return
        self.proxy.on_statement, self.happened = None, True
        if self.committed:
            await link.ask(statement)
        raise ConnectionResetError


@asynccontextmanager
async def shaken(bench: Bench, *, committed: bool) -> AsyncIterator[tuple[Queue, Accident]]:
    """A queue whose next message is cut off from its answer, or does not arrive."""
    async with proxied(bench.place.keywords) as proxy, Database(proxy.url) as database:
        accident = Accident(proxy, committed=committed)
        yield Queue(database, bench.table), accident
        assert accident.happened


cut = pytest.mark.parametrize("committed", [True, False], ids=["after", "before"])


@cut
async def test_a_claim_cut_off_at_its_commit_loses_and_doubles_nothing(
    bench: Bench, *, committed: bool
) -> None:
    bench.add("a.test", "b.test", "c.test")
    token = uuid4()
    async with shaken(bench, committed=committed) as (queue, accident):
        accident.arm()
        claimed = await take(queue, 2, token)
    rows = bench.rows()
    processing = {row["id"] for row in rows.values() if row["status"].strip() == "processing"}
    assert {claim.id for claim in claimed.claims} == processing
    assert len(processing) == 2
    assert [claim.attempt for claim in claimed.claims] == [1, 1]
    assert {rows[name]["claim_token"] for name in domains(claimed)} == {token}


@cut
async def test_a_reclaim_cut_off_at_its_commit_stays_alone(
    bench: Bench, *, committed: bool
) -> None:
    bench.add("suspect.test", **EXPIRED)
    bench.add("a.test")
    async with shaken(bench, committed=committed) as (queue, accident):
        accident.arm()
        (claim,) = (await take(queue)).claims
    assert (claim.domain, claim.attempt, claim.reclaimed) == ("suspect.test", 2, True)


@cut
@pytest.mark.parametrize("ending", [Complete(FULL), Retry(TIMEOUT, LEASE), Fail(GONE), Release()])
async def test_a_settlement_cut_off_at_its_commit_is_kept_and_counted_once(
    bench: Bench, ending: Transition, *, committed: bool
) -> None:
    bench.add("a.test", attempts="1", last_error_kind="'timeout'")
    async with shaken(bench, committed=committed) as (queue, accident):
        (claim,) = (await take(queue)).claims
        accident.arm()
        assert (await queue.settle([(claim, ending)])).keys() == {claim.id}
    row = bench.row()
    assert row["status"] != "processing"
    assert row["error_count"] == isinstance(ending, Fail)
    assert row["attempts"] == 2 - isinstance(ending, Release)


@cut
async def test_an_extension_cut_off_at_its_commit_is_made(bench: Bench, *, committed: bool) -> None:
    bench.add("a.test")
    async with shaken(bench, committed=committed) as (queue, accident):
        (claim,) = (await take(queue)).claims
        accident.arm()
        assert await queue.extend([claim], timedelta(days=1)) == {claim.id}
    assert bench.row()["due_at"] > now(bench) + timedelta(hours=23)


@pytest.mark.parametrize("ending", [Complete(PAGE), Release()])
async def test_a_commit_that_arrives_late_is_waited_for(bench: Bench, ending: Transition) -> None:
    """The old session still holds the row when the new one asks what became of it."""
    bench.add("a.test")
    async with proxied(bench.place.keywords) as proxy, Database(proxy.url) as database:
        queue = Queue(database, bench.table)
        (claim,) = (await take(queue)).claims

        async def late(statement: str, link: Link) -> None:
            if not statement.endswith(COMMIT):
                return
            proxy.on_statement = look
            await link.ask(statement.removesuffix(COMMIT))
            link.hang_up()
            await looked.wait()
            await link.ask(COMMIT)
            raise ConnectionResetError

        async def look(statement: str, _: Link) -> None:
            if "d.status <> 'processing'" in statement:
                looked.set()

        looked = asyncio.Event()
        proxy.on_statement = late
        assert (await queue.settle([(claim, ending)])).keys() == {claim.id}
    assert bench.row()["status"] != "processing"


async def test_a_claim_that_is_committed_late_is_waited_for(bench: Bench) -> None:
    """Asked too early what became of it, the database would say: nothing; and claim others."""
    bench.add("a.test", "b.test", "c.test")
    token, looked = uuid4(), asyncio.Event()
    async with proxied(bench.place.keywords) as proxy, Database(proxy.url) as database:

        async def late(statement: str, link: Link) -> None:
            proxy.on_statement = look
            await link.ask(statement.removesuffix(COMMIT))
            link.hang_up()
            await looked.wait()
            await asyncio.to_thread(until, bench.superuser, "wait_event = 'advisory'")
            await link.ask(COMMIT)
            raise ConnectionResetError

        async def look(statement: str, _: Link) -> None:
            assert "WITH picked" not in statement
            looked.set()

        proxy.on_statement = late
        claimed = await take(Queue(database, bench.table), 2, token)
    assert domains(claimed) == ["a.test", "b.test"]
    assert bench.row("c.test")["status"] == "pending"


async def test_who_lost_the_lease_while_cut_off_is_told(bench: Bench) -> None:
    bench.add("a.test")
    async with proxied(bench.place.keywords) as proxy, Database(proxy.url) as database:
        queue = Queue(database, bench.table)
        (claim,) = (await take(queue)).claims

        async def lost(statement: str, _: Link) -> None:
            if not statement.endswith(COMMIT):
                return
            proxy.on_statement = None
            await reset(bench)
            raise ConnectionResetError

        proxy.on_statement = lost
        assert not await queue.settle([(claim, Complete(PAGE))])
    assert bench.row()["title"] is None


# --- many at once -----------------------------------------------------------------------------


def drained(place: Place, table: Table) -> list[str]:
    """Claim and complete until nothing is left; with a connection of one's own."""

    async def drain() -> list[str]:
        taken: list[str] = []
        async with Database(url(place)) as database:
            queue = Queue(database, table)
            while claims := (await take(queue, 7)).claims:
                taken += [claim.domain for claim in claims]
                kept = (await queue.settle([(claim, Complete(PAGE)) for claim in claims])).keys()
                assert kept == {claim.id for claim in claims}
        return taken

    return asyncio.run(drain())


async def test_eight_workers_claim_five_hundred_rows_each_exactly_once(bench: Bench) -> None:
    series = "SELECT n || '.test' FROM generate_series(1, 500) n"
    bench.execute(f"INSERT INTO domains (domain) {series}")
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(drained, bench.place, bench.table) for _ in range(8)]
        taken = [await asyncio.wrap_future(job) for job in jobs]
    counts = Counter(chain.from_iterable(taken))
    assert (len(counts), set(counts.values())) == (500, {1})
    states = "SELECT status, attempts, count(*) FROM domains GROUP BY 1, 2"
    assert bench.execute(states) == [("completed", 1, 500)]
    assert sum(map(bool, taken)) > 1, "one worker had it all to itself"


# --- what it costs, and what it leaves behind -------------------------------------------------


async def test_nothing_is_prepared_and_no_setting_stays_behind(database: Place) -> None:
    async with benched(database) as bench, proxied(database.keywords) as proxy:
        async with Database(proxy.url) as ours:
            (link,) = proxy.links
            settings = "SELECT name, setting FROM pg_settings"
            await link.ask(f"CREATE TABLE fresh AS {settings}")
            mine = Bench(database, bench.superuser, ours, bench.table)
            for number in range(12):
                bench.add(f"{number}.test")
                claim = await mine.one()
                await mine.queue.extend([claim], LEASE)
                await mine.queue.settle([(claim, Complete(PAGE))])
                await Store(ours, bench.table).glance()
            await link.ask(f"CREATE TABLE used AS {settings}")
            await link.ask("CREATE TABLE prepared AS TABLE pg_prepared_statements")
            locks = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            await link.ask(f"CREATE TABLE locks AS {locks}")
        assert proxy.links == [link], "it was one session"
        assert bench.execute("TABLE used EXCEPT TABLE fresh") == []
        assert bench.execute("SELECT count(*) FROM prepared") == [(0,)]
        assert bench.execute("SELECT count(*) FROM locks") == [(0,)]
