"""`process --domain`: this one now, due or not, by a claim like any other; and what it shows."""

from __future__ import annotations

import json
from threading import Event
from typing import Any

import pytest
from sites import page
from test_cli import in_terminal, masked
from world import World, behind

from domainsched.database.queue import CRASHED

TITLED = page("<title>Acme Plumbing</title>")
IN_AN_HOUR, AN_HOUR_AGO = "now() + interval '1 hour'", "now() - interval '1 hour'"
STATES: dict[str, tuple[dict[str, str], int]] = {
    "due": ({}, 1),
    "not due yet": ({"due_at": IN_AN_HOUR, "attempts": "1", "last_error_kind": "'dns'"}, 2),
    "completed": ({"status": "'completed'", "attempts": "1"}, 1),
    "failed for good": ({"status": "'error'", "attempts": "1", "last_error_kind": "'robots'"}, 2),
    "attempts used up": ({"status": "'error'", "attempts": "3", "last_error_kind": "'dns'"}, 1),
    "of another program": ({"status": "'scanned'"}, 1),
    "its worker died": (
        {
            "status": "'processing'",
            "attempts": "1",
            "due_at": AN_HOUR_AGO,
            "claim_token": "gen_random_uuid()",
        },
        2,
    ),
}
LEASED = {
    "status": "'processing'",
    "attempts": "1",
    "due_at": IN_AN_HOUR,
    "claimed_by": "'web1:4711:7f3a'",
    "claim_token": "gen_random_uuid()",
}


def put(world: World, columns: dict[str, str], domain: str = "a.test") -> None:
    if "'scanned'" in columns.values():
        world.execute("ALTER TABLE domains DROP CONSTRAINT domains_status_check")
    assignments = ", ".join(f"{name} = {value}" for name, value in columns.items())
    if assignments:
        world.execute(f"UPDATE domains SET {assignments} WHERE domain = '{domain}'")


def kept(world: World, domain: str = "a.test") -> dict[str, Any]:
    row = world.rows()[domain]
    return {name: row[name] for name in ("status", "attempts", "claim_token", "due_at")}


@pytest.mark.parametrize("state", STATES)
def test_a_named_domain_is_visited_whatever_its_state(world: World, state: str) -> None:
    world.add("a.test", behaviour=TITLED)
    world.add("due.test")
    columns, attempt = STATES[state]
    put(world, columns)
    ended = world.run("process", "--domain", "https://www.A.test/about", "--json")
    assert (ended.code, ended.err) == (0, "")
    domain, record, summary = ended.records
    assert (domain["type"], domain["outcome"], domain["attempt"]) == (
        "domain",
        "completed",
        attempt,
    )
    assert (record["type"], record["record"]["title"]) == ("record", "Acme Plumbing")
    assert "claim_token" not in record["record"]
    assert (summary["type"], summary["claimed"], summary["due"]) == ("summary", 1, 1)
    row = world.rows()["a.test"]
    assert (row["status"], row["attempts"], row["last_error_kind"]) == ("completed", attempt, None)
    assert world.visits() == {"a.test": 1}
    assert world.column("status")["due.test"] == "pending"


def test_one_whose_result_the_table_refuses_failed_whoever_is_told(world: World) -> None:
    world.add("a.test", behaviour=TITLED)
    world.execute("ALTER TABLE domains ADD CHECK (title IS NULL)")
    ended = world.run("process", "--domain", "a.test", "--strict", "--json")
    domain, record, summary = ended.records
    assert (domain["outcome"], domain["kind"]) == ("error", "unstorable")
    assert (record["record"]["status"], record["record"]["last_error_kind"]) == (
        "error",
        "unstorable",
    )
    assert (summary["completed"], summary["error"]) == (0, 1)
    assert summary["kinds"] == {"unstorable": 1}
    assert ended.code == 5


def test_one_that_another_worker_has_is_refused_and_untouched(world: World) -> None:
    world.add("a.test", "b.test")
    put(world, LEASED)
    before = kept(world)
    ended = world.run("process", "--domain", "a.test")
    assert ended.code == 1
    assert masked(ended.err) == (
        "error: 1 domain being processed by another worker: left alone\n"
        "  a.test: held by web1:4711:7f3a until TIME\n"
        "hint: wait; or take over: domainsched reset --force a.test\n"
    )
    assert kept(world) == before
    assert not world.visits()


def test_the_hint_names_only_what_was_refused_and_whose_it_is(world: World) -> None:
    world.add("a.test", "b.test")
    put(world, LEASED)
    put(world, STATES["its worker died"][0], "b.test")
    world.execute("INSERT INTO domains (domain) VALUES ('https://A.test/')")
    put(world, LEASED, "https://A.test/")
    tenant = "550e8400-e29b-41d4-a716-446655440000"
    ended = world.run("process", *("--domain", "a.test", "--domain", "b.test"), "--tenant", tenant)
    assert world.visits() == {"b.test": 1}
    assert "b.test" not in ended.err
    assert ended.err.endswith(f"take over: domainsched reset --force --tenant {tenant} a.test\n")


def test_the_others_are_processed_all_the_same(world: World) -> None:
    world.add("a.test", "b.test", "c.test")
    put(world, LEASED, "b.test")
    names = ("--domain", "a.test", "--domain", "b.test", "--domain", "c.test", "--domain", "A.test")
    ended = world.run("process", *names, "--json")
    assert ended.code == 1
    assert json.loads(ended.err)["code"] == 1
    assert world.visits() == {"a.test": 1, "c.test": 1}
    assert ended.records[-1]["claimed"] == 2


def test_one_is_refused_while_another_run_has_it(world: World, gate: Event) -> None:
    world.add("a.test", behaviour=behind(gate))
    with world.start("process") as program:
        world.sites.wait_for_requests("a.test")
        assert world.run("process", "--domain", "a.test").code == 1
        gate.set()
        assert program.end().code == 0
    assert world.column("attempts") == {"a.test": 1}
    assert world.visits() == {"a.test": 1}


def test_one_that_killed_its_every_worker_ends_as_any_claim_would_end_it(world: World) -> None:
    world.add("a.test")
    put(world, {**STATES["its worker died"][0], "attempts": "3"})
    ended = world.run("process", "--domain", "a.test", "--strict")
    assert (ended.code, ended.err) == (5, "error: 1 domain failed for good\n")
    row = world.rows()["a.test"]
    assert (row["status"], row["attempts"], row["last_error"]) == ("error", 3, CRASHED)
    assert not world.visits()
    assert world.run("process", "--domain", "a.test").code == 0
    assert world.column("status") == {"a.test": "completed"}
    assert world.visits() == {"a.test": 1}


def test_one_that_is_not_there_is_told_and_nothing_is_done(world: World) -> None:
    world.add("a.test")
    ended = world.run("process", "--domain", "a.test", "--domain", "nowhere.test")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: not in the table: nowhere.test\nhint: domainsched add nowhere.test\n"
    )
    assert not world.visits()
    assert world.run("process", "--domain", "no name").code == 2


def test_a_tenant_sees_only_its_own(world: World) -> None:
    world.add("a.test")
    stranger = "00000000-0000-0000-0000-000000000001"
    assert world.run("process", "--domain", "a.test", "--tenant", stranger).code == 1
    assert not world.visits()


def test_every_row_of_a_site_is_taken_in_any_spelling_past_the_limit(world: World) -> None:
    world.add("a.test", behaviour=TITLED)
    world.execute("INSERT INTO domains (domain) VALUES ('https://A.test/'), ('www.a.test')")
    assert world.run("process", "--domain", "a.test", "--limit", "1").code == 0
    assert set(world.column("status").values()) == {"completed"}


def test_a_failure_is_shown_and_counted_like_any_other(world: World) -> None:
    world.add("a.test", behaviour=page(status=503))
    ended = world.run("process", "--domain", "a.test")
    assert (ended.code, ended.err) == (0, "")
    assert "error\thttp_5xx: " in ended.out
    row = world.rows()["a.test"]
    assert (row["status"], row["attempts"]) == ("pending", 1)


def test_a_person_sees_what_was_found(world: World) -> None:
    world.add("a.test", behaviour=TITLED)
    shown = in_terminal(world.domainsched(), "process", "--domain", "a.test")
    assert shown.code == 0
    assert shown.out.startswith("a.test\n  status      completed\n  attempts    1 of 3\n")
    assert "  title       Acme Plumbing\n" in shown.out
    assert masked(shown.err) == "1 domain in SPAN: 1 completed.\n"


def test_a_dry_run_says_what_it_would_do(world: World) -> None:
    world.add("a.test", "b.test")
    put(world, LEASED, "b.test")
    before = kept(world), kept(world, "b.test")
    command = ("process", "--domain", "a.test", "--domain", "b.test", "--dry-run")
    shown = in_terminal(world.domainsched(), *command)
    assert masked(shown.out) == (
        "  a.test  would be visited: attempt 1 of 3, now pending\n"
        "  b.test  left alone: held by web1:4711:7f3a until TIME\n"
        "nothing was claimed or contacted\n"
    )
    piped = world.run(*command)
    assert (piped.code, masked(piped.out)) == (0, "a.test\t1\tTIME\n")
    assert world.run(*command, "--json").records == [{"would_claim": ["a.test"], "due": None}]
    assert (kept(world), kept(world, "b.test")) == before
    assert not world.visits()
