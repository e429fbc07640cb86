"""The real program, in real processes, over a real database and sites on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from threading import Event
from typing import Any

import psycopg
import pytest
from conftest import Database, reachable_directory
from legacy import TENANT, Generation, install
from programs import EXECUTED, Surroundings, descendants, has_ended, to_sites, with_proc
from psycopg.pq import PGconn, Ping
from sites import Sites, never, page, redirect
from world import PrivateServer, World, behind, cut_off, meeting, meeting_of, names, run_together

from domainsched.database.queue import RESULT_COLUMNS
from domainsched.database.table import ADDED_COLUMNS
from domainsched.embedded import EmbeddedServer

PASSWORD = "correct-horse-battery"

ACME = """<!doctype html><html lang="en-US"><head><title>Acme Plumbing</title>
<meta name="description" content="Licensed plumbers for Austin, Texas. Within the hour.">
<meta name="generator" content="WordPress 6.8.1"><link rel="icon" href="/favicon.png">
</head><body><p>Call <a href="tel:+15125550100">us</a>.</p>
<a href="https://www.facebook.com/acmeplumbing">Facebook</a></body></html>"""


# --- what it does -----------------------------------------------------------------------------


def test_what_is_added_is_visited_stored_and_shown(
    sites: Sites, database: Database, tmp_path: Path
) -> None:
    """Unattended, and so without a word."""
    sites.add("acme.test", behaviour=redirect("https://www.acme.test/"))
    sites.add("www.acme.test", behaviour=page(ACME, headers={"Server": "nginx"}))
    program = Surroundings(tmp_path, {"DATABASE_URL": database.url, **to_sites(sites)})
    for command in (["init"], ["add", "https://www.ACME.test/about"], ["process"]):
        ended = program.run(*command)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    ended = program.run("inspect", "acme.test", "--json")
    assert (ended.code, ended.err) == (0, "")
    (row,) = ended.records
    expected = {
        "domain": "acme.test",
        "status": "completed",
        "attempts": 1,
        "last_error": None,
        "title": "Acme Plumbing",
        "description": "Licensed plumbers for Austin, Texas. Within the hour.",
        "language": "en-US",
        "favicon_url": "https://www.acme.test/favicon.png",
        "phone_numbers": ["+15125550100"],
        "facebook_url": "https://www.facebook.com/acmeplumbing",
        "is_wordpress": True,
        "wordpress_version": "6.8.1",
        "has_elementor": False,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["tech_stack"]["cms"] == ["WordPress"]
    assert row["domain_metadata"]["version"] == 1
    visit = row["domain_metadata"]["visit"]
    assert (visit["url"], visit["redirects"]) == ("https://www.acme.test/", ["https://acme.test/"])
    assert (visit["status"], visit["ip_address"]) == (200, "127.0.0.1")
    assert visit["tls"]["version"].startswith("TLSv1.")
    with database.connect() as connection:
        types = "SELECT jsonb_typeof(tech_stack), jsonb_typeof(domain_metadata) FROM domains"
        assert connection.execute(types).fetchone() == ("object", "object")


def test_with_json_each_domain_is_a_line_and_the_run_the_last(world: World) -> None:
    world.add("a.test")
    world.add("b.test", behaviour=page(status=404))
    world.add("c.test", behaviour=page(status=503))
    ended = world.run("process", "--json")
    assert (ended.code, ended.err) == (0, "")
    *domains, summary = ended.records
    assert all(record.pop("elapsed_ms") >= 0 for record in [*domains, summary])
    by_name = {record["domain"]: record for record in domains}
    assert 60 <= by_name["c.test"].pop("retry_in_s") <= 240
    for name in ("b.test", "c.test"):
        assert by_name[name].pop("detail") == world.rows()[name]["last_error"]
    ordinary = {"type": "domain", "attempt": 1}
    assert [by_name[name] for name in ("a.test", "b.test", "c.test")] == [
        {"domain": "a.test", "outcome": "completed", "http_status": 200, **ordinary},
        {"domain": "b.test", "outcome": "error", "kind": "http_4xx", **ordinary},
        {"domain": "c.test", "outcome": "retry", "kind": "http_5xx", **ordinary},
    ]
    workers = world.column("claimed_by").values()
    assert {worker.split(":")[-1] for worker in workers} == {summary.pop("run_id")}
    assert summary == {
        "type": "summary",
        "claimed": 3,
        "completed": 1,
        "retry": 1,
        "error": 1,
        "released": 0,
        "lost": 0,
        "credits": 0,
        "kinds": {"http_4xx": 1, "http_5xx": 1},
        "due": 0,
    }


def test_a_domain_that_failed_for_good_is_a_failure_only_with_strict(world: World) -> None:
    world.add("a.test")
    world.add("b.test", behaviour=page(status=410))
    assert world.run("process").code == 0
    world.execute("UPDATE domains SET status = 'pending'")
    ended = world.run("process", "--strict")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err == "error: 1 domain failed for good\n"


def test_what_is_stored_and_no_name_fails_for_good_and_contacts_nobody(world: World) -> None:
    world.add("a.test")
    world.execute("INSERT INTO domains (domain) VALUES ('no name at all'), (''), ('a..test')")
    assert world.run("process").code == 0
    assert Counter(world.column("last_error_kind").values()) == {"invalid_domain": 3, None: 1}
    assert world.visits() == {"a.test": 1}


def test_a_page_that_is_poison_costs_only_its_domain(world: World) -> None:
    size = 2 * 1024 * 1024
    poisons = {
        "divs.test": b"<div>" * (size // 5),
        "formatting.test": b"<a><b><p>" * (size // 9),
        "attributes.test": b"<p " + b"".join(b"a%d " % i for i in range(size // 8)) + b">",
    }
    for name, body in poisons.items():
        world.add(name, behaviour=page(body))
    world.add(*names(10))
    ended = world.run("process", "--limit", "0")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    statuses = world.column("status")
    assert {statuses[name] for name in names(10)} == {"completed"}
    assert {statuses[name] for name in poisons} <= {"completed", "pending"}
    assert world.visits() == dict.fromkeys([*poisons, *names(10)], 1)


# --- side by side -----------------------------------------------------------------------------


def test_two_runs_at_once_share_the_domains(world: World) -> None:
    world.add(*names(15), behaviour=meeting(12))  # one of them alone has at most 10
    ended = run_together(world, 2, "process", "--limit", "10")
    assert [(each.code, each.out, each.err) for each in ended] == [(0, "", "")] * 2
    assert world.visits() == dict.fromkeys(names(15), 1)
    assert set(world.column("status").values()) == {"completed"}


def test_four_runs_at_once_visit_each_of_eighty_domains_once(world: World) -> None:
    """Three of them, with three places each and ten times two beside, can have but 69."""
    world.add(*names(80), behaviour=meeting_of(4))
    ended = run_together(world, 4, "process", "--limit", "0", "--concurrency", "3", "--json")
    assert [(each.code, each.err) for each in ended] == [(0, "")] * 4
    assert world.visits() == dict.fromkeys(names(80), 1)
    assert set(world.column("status").values()) == {"completed"}
    assert set(world.column("attempts").values()) == {1}
    completed = [each.records[-1]["completed"] for each in ended]
    assert (sum(completed), min(completed) > 0) == (80, True)


# --- killed -----------------------------------------------------------------------------------


@with_proc
def test_after_kill_9_the_next_run_takes_what_was_held_and_no_process_is_left(
    world: World,
) -> None:
    world.add("done.test")
    world.add(*names(3), behaviour=never())
    with world.start("process", "--json") as program:
        program.wait_for("done.test")
        for name in names(3):
            world.sites.wait_for_requests(name)
        family = descendants(program.pid)
        assert family, "the extraction has a process of its own"
        program.send(SIGKILL)
        assert program.end().code == 137
    assert all(has_ended(pid) for pid in family)
    assert Counter(world.column("status").values()) == {"completed": 1, "processing": 3}
    world.sites.add(*names(3))
    world.execute("UPDATE domains SET due_at = now() WHERE status = 'processing'")
    assert world.run("process").code == 0
    assert set(world.column("status").values()) == {"completed"}
    assert world.column("attempts") == {"done.test": 1, **dict.fromkeys(names(3), 2)}


@pytest.mark.parametrize(("number", "code"), [(SIGTERM, 143), (SIGINT, 130)])
def test_a_signal_lets_what_is_in_flight_end(
    world: World, gate: Event, number: Signals, code: int
) -> None:
    world.add(*names(6), behaviour=behind(gate))
    with world.start("process", "--concurrency", "2", "-v") as program:
        world.sites.wait_for_requests("n01.test")
        world.sites.wait_for_requests("n00.test")
        program.send(number)
        program.wait_for("finishing what is in flight")
        gate.set()
        assert program.end().code == code
    assert Counter(world.column("status").values()) == {"completed": 2, "pending": 4}
    assert Counter(world.column("attempts").values()) == {1: 2, 0: 4}


@pytest.mark.parametrize(("number", "code"), [(SIGTERM, 143), (SIGINT, 130)])
def test_what_does_not_end_within_the_grace_time_is_released(
    world: World, number: Signals, code: int
) -> None:
    world.add("endless.test", behaviour=never())
    with world.start("process", "--grace", "100ms") as program:
        world.sites.wait_for_requests("endless.test")
        program.send(number)
        ended = program.end()
    assert (ended.code, ended.out, ended.err) == (code, "", "")
    row = world.rows()["endless.test"]
    assert (row["status"], row["attempts"], row["last_error"]) == ("pending", 0, None)


@with_proc
@pytest.mark.parametrize(("number", "code"), [(SIGTERM, 143), (SIGINT, 130)])
def test_the_second_signal_ends_it_at_once(world: World, number: Signals, code: int) -> None:
    world.add("done.test")
    world.add("endless.test", behaviour=never())
    with world.start("process", "--grace", "1h", "--json", "-v") as program:
        program.wait_for('"done.test"')
        world.sites.wait_for_requests("endless.test")
        family = descendants(program.pid)
        program.send(number)
        program.wait_for("finishing")
        program.send(number)
        ended = program.end()
    assert ended.code == code
    assert "Traceback" not in ended.err
    left = "left at once; what was in flight stays claimed until its lease runs out, within 15m"
    assert ended.err.splitlines()[-1] == left
    assert all(has_ended(pid) for pid in family)
    assert world.column("status") == {"done.test": "completed", "endless.test": "processing"}


def test_a_result_whose_lease_was_lost_is_dropped_and_told(world: World, gate: Event) -> None:
    world.add("a.test", behaviour=behind(gate))
    with world.start("process") as program:
        world.sites.wait_for_requests("a.test")
        assert world.run("reset", "a.test", "--force").code == 0
        gate.set()
        ended = program.end()
    assert (ended.code, ended.out) == (0, "")
    assert "warning: lost the lease on a.test; this result was dropped" in ended.err
    row = world.rows()["a.test"]
    assert (row["status"], row["attempts"], row["title"]) == ("pending", 0, None)


# --- a database that goes away ----------------------------------------------------------------


def test_a_run_whose_connection_is_ended_makes_another(world: World, gate: Event) -> None:
    world.add(*names(6), behaviour=behind(gate))
    with world.start("process", "--concurrency", "2") as program:
        world.sites.wait_for_requests("n00.test")
        world.sites.wait_for_requests("n01.test")
        cut_off(world)
        gate.set()
        ended = program.end()
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert set(world.column("status").values()) == {"completed"}
    assert world.visits() == dict.fromkeys(names(6), 1)


@contextmanager
def renamed(server: Mapping[str, str], world: World) -> Iterator[None]:
    """Let nobody find the database; nobody comes back before it is away."""
    name = world.database.keywords["dbname"]
    sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(**server, autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        is_renamed = False
        while not is_renamed:
            connection.execute(sessions, [name])
            with suppress(psycopg.errors.ObjectInUse):  # somebody takes long to leave
                connection.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
                is_renamed = True
        connection.execute(f"ALTER DATABASE {name}_away ALLOW_CONNECTIONS true")
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")


def test_a_run_whose_database_is_gone_says_so_and_loses_nothing(
    world: World, gate: Event, server: dict[str, str]
) -> None:
    world.add(*names(3), behaviour=behind(gate))
    with world.start("process") as program:
        world.sites.wait_for_requests("n02.test")
        with renamed(server, world):
            gate.set()
            ended = program.end()
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("error: cannot connect to PostgreSQL at ")
    assert "does not exist" in ended.err
    assert ended.err.endswith("; what was claimed is taken again when its lease has run out\n")
    assert set(world.column("status").values()) == {"processing"}
    world.execute("UPDATE domains SET due_at = now()")
    assert world.run("process").code == 0
    assert set(world.column("status").values()) == {"completed"}


def test_watch_outlives_a_restart_of_its_server_and_ends_well_on_sigterm(
    private_server: PrivateServer, sites: Sites, tmp_path: Path
) -> None:
    with ExitStack() as running:
        first = running.enter_context(ExitStack())
        world = World(sites, first.enter_context(private_server.running()), tmp_path)
        world.add("before.test")
        watch = running.enter_context(world.start("watch", "--interval", "500ms", "--json"))
        watch.wait_for('"before.test"')
        first.close()
        running.enter_context(private_server.running())
        world.add("after.test")
        watch.wait_for('"after.test"')
        watch.send(SIGTERM)
        assert watch.end().code == 0
        assert set(world.column("status").values()) == {"completed"}


def test_watch_waits_for_a_database_that_is_gone_and_says_so(
    world: World, server: dict[str, str]
) -> None:
    with world.start("watch", "--interval", "200ms", "--json") as watch:
        watch.wait_for('"summary"')
        with renamed(server, world):
            watch.wait_for('"warning", "message": "cannot connect to PostgreSQL at ')
            watch.wait_for('; trying again", ')
        world.add("after.test")
        watch.wait_for('"after.test"')
        watch.send(SIGTERM)
        assert watch.end().code == 0
    assert world.column("status") == {"after.test": "completed"}


# --- watch ------------------------------------------------------------------------------------


def test_watch_until_idle_waits_for_what_falls_due_and_ends(world: World) -> None:
    world.add("now.test", "soon.test")
    world.execute("UPDATE domains SET due_at = now() + interval '1 s' WHERE domain = 'soon.test'")
    ended = world.run("watch", "--until-idle", "--interval", "2s")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert set(world.column("status").values()) == {"completed"}


@pytest.mark.parametrize(("number", "code"), [(SIGTERM, 0), (SIGINT, 130)])
def test_a_signal_ends_watch_in_its_pause(world: World, number: Signals, code: int) -> None:
    world.add("a.test")
    with world.start("watch", "--interval", "1h", "--json") as watch:
        watch.wait_for('"summary"')
        watch.send(number)
        ended = watch.end()
    assert (ended.code, ended.err) == (code, "")


def test_watch_gives_up_when_it_was_told_to(world: World) -> None:
    world.add("later.test")
    world.execute("UPDATE domains SET due_at = now() + interval '1 hour'")
    ended = world.run("watch", "--until-idle", "--timeout", "500ms")
    assert (ended.code, ended.out) == (1, "")


# --- our own network --------------------------------------------------------------------------


def without_network() -> tuple[str, ...]:
    """Find the command that runs another one where there is none, if this system lets us."""
    for wrapper in (("unshare", "--net"), ("unshare", "--map-root-user", "--net")):
        found = shutil.which(wrapper[0])
        if (
            found
            and not subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode
        ):
            return wrapper
    pytest.skip("this system lets us take no network away")


def test_without_network_claims_are_released_uncounted(world: World) -> None:
    world.add(*names(4))
    surroundings = world.domainsched(DOMAINSCHED_CONNECT_TO="", DOMAINSCHED_ALLOW_NETWORK="")
    ended = surroundings.run("process", wrapper=without_network())
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("error: no network: all 4 visits failed before anything answered\n")
    assert set(world.column("status").values()) == {"pending"}
    assert set(world.column("attempts").values()) == {0}


# --- secrets ----------------------------------------------------------------------------------


@with_proc
def test_the_password_of_the_database_is_nowhere_to_be_seen(world: World, gate: Event) -> None:
    place = replace(world.database, keywords=world.database.keywords | {"password": PASSWORD})
    world.add("done.test")
    world.add("held.test", behaviour=behind(gate))
    surroundings = world.domainsched(DATABASE_URL=place.url)
    with surroundings.start("process", "--json", "-vv", wrapper=EXECUTED) as program:
        program.wait_for('"done.test"')
        world.sites.wait_for_requests("held.test")
        children = descendants(program.pid)
        assert children
        seen = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [program.pid, *children]]
        seen += [Path(f"/proc/{pid}/environ").read_bytes() for pid in children]
        gate.set()
        ended = program.end()
    assert ended.code == 0
    assert PASSWORD in place.url
    assert not [text for text in seen if PASSWORD.encode() in text]
    assert PASSWORD not in ended.out + ended.err


@pytest.mark.parametrize("command", ["process", "watch"])
def test_an_error_of_the_database_does_not_show_its_password(
    server: dict[str, str], tmp_path: Path, command: str
) -> None:
    place = Database(server | {"dbname": "nowhere", "password": PASSWORD})
    program = Surroundings(tmp_path, {"DATABASE_URL": place.url})
    ended = program.run(command, "-vv")
    assert (ended.code, ended.out) == (3, "")
    assert "nowhere" in ended.err
    assert "Traceback" in ended.err
    assert PASSWORD not in ended.err


# --- the embedded database --------------------------------------------------------------------


def test_without_a_database_url_overlapping_processes_share_the_embedded_one(
    sites: Sites, tmp_path: Path
) -> None:
    sites.add(*names(6), behaviour=meeting(6))
    with reachable_directory() as directory, ExitStack() as stack:
        home = directory / "home"
        variables = {"DOMAINSCHED_HOME": str(home), **to_sites(sites)}
        program = Surroundings(tmp_path, variables)
        assert program.run("add", *names(6)).code == 0
        command = ("process", "--limit", "3", "--json")
        runs = [stack.enter_context(program.start(*command)) for _ in range(2)]
        ended = [run.end() for run in runs]
        assert [(each.code, each.err) for each in ended] == [(0, "")] * 2
        assert [each.records[-1]["completed"] for each in ended] == [3, 3]
        glance = program.run("inspect", "--json").records[0]
        assert glance["statuses"] == {"completed": 6}
        assert PGconn.ping(f"host={home}/run port=5432".encode()) == Ping.NO_RESPONSE


# --- the predecessor's tables, on the oldest server at hand ---------------------------------------

POSTGRESQL_15 = Path("/usr/lib/postgresql/15/bin")
STATE_COLUMNS = {"status", "error_count", "updated_at", "last_scan", "last_successful_scan"}
OUR_COLUMNS = {*ADDED_COLUMNS, *RESULT_COLUMNS, *STATE_COLUMNS}


@pytest.fixture(scope="module")
def postgresql_15() -> Iterator[dict[str, str]]:
    """Keywords of a server that is reached over TCP."""
    if not POSTGRESQL_15.exists():
        pytest.skip(f"there is no {POSTGRESQL_15}")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = str(holder.getsockname()[1])
    settings = {"listen_addresses": "127.0.0.1", "port": port, "fsync": "off"}
    environ = {**os.environ, "DOMAINSCHED_PG_BIN": str(POSTGRESQL_15)}
    with (
        reachable_directory() as directory,
        EmbeddedServer.at(directory / "home", environ, settings=settings) as server,
    ):
        yield server.connection_keywords | {"host": "127.0.0.1"}


@contextmanager
def legacy(server: dict[str, str], generation: Generation) -> Iterator[psycopg.Connection]:
    """Connect to a database with the tables of a generation, and rows of their time."""
    name = generation.name.lower()
    with Database(server).connect() as maintenance:
        maintenance.execute(f"DROP DATABASE IF EXISTS {name}")
        maintenance.execute(f"CREATE DATABASE {name}")
    with Database(server | {"dbname": name}).connect() as connection:
        install(connection, generation)
        connection.execute(
            "INSERT INTO domains (tenant_id, domain, status, notes, meta_json, domain_metadata)"
            " VALUES (%(tenant)s, 'https://www.Old.test/', 'pending', 'a note', '[1]', NULL),"
            "  (%(tenant)s, 'scanned.test', 'scanned', NULL, '{}', '{\"old\": true}')",
            {"tenant": TENANT},
        )
        yield connection


def pasted_url(connection: psycopg.Connection) -> str:
    """The form in which the predecessor was given its database."""
    info = connection.info
    place = f"127.0.0.1:{info.port}/{info.dbname}"
    return f"postgresql+asyncpg://postgres:{PASSWORD}@{place}?ssl=disable"


def shape(connection: psycopg.Connection) -> dict[str, str]:
    """Every column, constraint and index of every table there is, and what it is like."""
    found = connection.execute(
        "SELECT 'column ' || table_name || '.' || column_name,"
        "  concat_ws(' ', data_type, is_nullable, column_default)"
        " FROM information_schema.columns WHERE table_schema = 'public' UNION ALL"
        " SELECT 'constraint ' || conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE connamespace = 'public'::regnamespace UNION ALL"
        " SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    )
    return dict(found.fetchall())


def strangers(connection: psycopg.Connection) -> dict[str, dict[str, Any]]:
    """What the rows hold that is none of our business."""
    found = connection.execute("SELECT domain, to_jsonb(d) FROM domains d").fetchall()
    return {
        domain: {name: value for name, value in row.items() if name not in OUR_COLUMNS}
        for domain, row in found
    }


@pytest.mark.parametrize("generation", Generation)
def test_a_table_of_the_predecessor_is_taken_over_and_nothing_of_it_changed(
    postgresql_15: dict[str, str], generation: Generation, sites: Sites, tmp_path: Path
) -> None:
    sites.add("old.test", "new.test", behaviour=page(ACME))
    with legacy(postgresql_15, generation) as connection:
        before, rows_before = shape(connection), strangers(connection)
        program = Surroundings(tmp_path, {"DATABASE_URL": pasted_url(connection)} | to_sites(sites))
        for command in ("init --yes", "add new.test old.test", "process"):
            ended = program.run(*command.split())
            assert (ended.code, ended.out, ended.err) == (0, "", "")

        after, rows_after = shape(connection), strangers(connection)
        assert before.items() <= after.items()
        added = {f"column domains.{name}" for name in ADDED_COLUMNS} | {"index domains_due_idx"}
        assert after.keys() - before.keys() <= added
        assert rows_after.pop("new.test")["tenant_id"] == TENANT
        assert rows_after == rows_before
        found = connection.execute(
            "SELECT title, status, jsonb_typeof(tech_stack), jsonb_typeof(domain_metadata),"
            " phone_numbers, domain_metadata ? 'old' FROM domains ORDER BY domain"
        ).fetchall()
        done = ("Acme Plumbing", "completed", "object", "object", ["+15125550100"], False)
        assert found == [done, done, (None, "scanned", None, "object", None, True)]


def test_a_table_of_the_predecessor_is_asked_for_inspected_and_reset(
    postgresql_15: dict[str, str], sites: Sites, tmp_path: Path
) -> None:
    sites.add("old.test")
    with legacy(postgresql_15, Generation.NOVEMBER_2025) as connection:
        before = shape(connection)
        program = Surroundings(tmp_path, {"DATABASE_URL": pasted_url(connection)} | to_sites(sites))
        unprepared, refused = program.run("process"), program.run("init")
        assert (unprepared.code, refused.code) == (3, 2)
        assert "hint: domainsched init" in unprepared.err
        assert "ALTER TABLE" in refused.err
        assert shape(connection) == before

        assert program.run("init", "--yes").code == 0
        assert program.run("process").code == 0
        (row,) = program.run("inspect", "old.test", "--json").records
        assert (row["domain"], row["status"]) == ("https://www.Old.test/", "completed")
        assert program.run("reset", "--status", "completed", "--yes").code == 0
        statuses = connection.execute("SELECT status, attempts FROM domains ORDER BY domain")
        assert statuses.fetchall() == [("pending", 0), ("scanned", 0)]
