"""Many workers on one queue: each row is one worker's at a time, whatever their clocks say."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from signal import SIGCONT, SIGSTOP
from threading import Event

import pytest
from programs import PATIENCE, Ended, readers, with_proc
from sites import page, sequence
from world import World, behind, meeting_of, names, run_together

WORKERS = 8
ROWS = 200


def totals(runs: list[Ended], name: str) -> list[int]:
    return [run.records[-1][name] for run in runs]


@pytest.mark.timeout(600)
def test_eight_workers_share_a_queue_and_each_row_is_visited_and_completed_once(
    world: World,
) -> None:
    hosts = [f"n{index:03}.test" for index in range(ROWS)]
    world.add(*hosts, behaviour=meeting_of(WORKERS))
    runs = run_together(world, WORKERS, "process", "--limit", "0", "--concurrency", "3", "--json")
    assert [(run.code, run.err) for run in runs] == [(0, "")] * WORKERS
    assert world.visits() == dict.fromkeys(hosts, 1)
    assert set(world.column("status").values()) == {"completed"}
    assert set(world.column("attempts").values()) == {1}
    told = Counter(record["domain"] for run in runs for record in run.records[:-1])
    assert told == dict.fromkeys(hosts, 1)
    assert sum(totals(runs, "claimed")) == sum(totals(runs, "completed")) == ROWS
    assert min(totals(runs, "completed")) >= 1
    assert sum(totals(runs, "lost")) == sum(totals(runs, "released")) == 0
    by_worker = Counter(world.column("claimed_by").values())
    assert sorted(by_worker.values()) == sorted(totals(runs, "completed"))


# --- leases -----------------------------------------------------------------------------------

LIMITS = {"DOMAINSCHED_LEASE": "12s", "DOMAINSCHED_TIMEOUT": "6s"}
"""Heartbeats come every third of the lease."""
EAGER = ("watch", "--until-idle", "--interval", "200ms")


def due(world: World) -> dict[str, datetime]:
    """When leases end, and rows fall due."""
    return {name: datetime.fromisoformat(at) for name, at in world.column("due_at").items()}


def now(world: World) -> datetime:
    """The database's clock."""
    with world.database.connect() as connection:
        (moment,) = connection.execute("SELECT clock_timestamp()").fetchone() or ()
    return moment  # type: ignore[no-any-return]


def sessions(world: World) -> int:
    """How many others are connected to the database."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with world.database.connect() as connection:
        (number,) = connection.execute(query).fetchone() or ()
    return int(number)


def until(condition: Callable[[], object], what: str) -> None:
    """Return when it is so; for states that send no event."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it never came to this: {what}"
        time.sleep(0.02)


@with_proc
def test_a_visit_longer_than_its_lease_stays_its_worker_s_while_another_looks_for_work(
    world: World,
) -> None:
    """The process that is to read the page is held up while it starts, for longer than a lease."""
    world.add("slow.test")
    with ExitStack() as stack:
        visitor = stack.enter_context(world.start("process", "--json", **LIMITS))
        world.sites.wait_for_requests("slow.test")
        until(lambda: readers(visitor.pid), "a process that reads pages")
        (reader,) = readers(visitor.pid)
        os.kill(reader, SIGSTOP)
        end = due(world)["slow.test"]
        rival = stack.enter_context(world.start(*EAGER, **LIMITS))
        world.execute(
            "SELECT pg_sleep(extract(epoch FROM %s::timestamptz - clock_timestamp()) + 3)", end
        )
        os.kill(reader, SIGCONT)
        ended, idle = visitor.end(), rival.end()
    assert (ended.code, ended.err, ended.records[-1]["completed"]) == (0, "", 1)
    assert (idle.code, idle.out, idle.err) == (0, "", "")
    assert world.visits() == {"slow.test": 1}
    row = world.rows()["slow.test"]
    assert (row["status"], row["attempts"]) == ("completed", 1)


# --- clocks -----------------------------------------------------------------------------------

TRAVELLER = """
import sys
from datetime import UTC, datetime, timedelta
import time_machine
there = datetime.now(UTC) + timedelta(hours=int(sys.argv[1]))
time_machine.travel(there, tick=True).start()
print(datetime.now(UTC).isoformat(), file=sys.stderr, flush=True)
from domainsched.__main__ import main
sys.argv[1:] = sys.argv[5:]
main()
"""
"""Runs the command that follows, `python -m domainsched ...`, some hours from now."""


LEASE = timedelta(seconds=36)
LONGER = {"DOMAINSCHED_LEASE": "36s", "DOMAINSCHED_TIMEOUT": "18s"}
"""A visit that waits for a heartbeat has time to end."""


def travelling(hours: int) -> tuple[str, ...]:
    return (sys.executable, "-c", TRAVELLER, str(hours))


def test_machines_whose_clocks_are_two_hours_apart_go_by_the_database_s(
    world: World, gate: Event
) -> None:
    world.add(*names(4), behaviour=sequence(*[behind(gate, page(status=503))] * 4, page()))
    world.execute("UPDATE domains SET due_at = now() + interval '1 h'")
    machine = world.domainsched(DOMAINSCHED_CONCURRENCY="2", DOMAINSCHED_LIMIT="2", **LONGER)
    with ExitStack() as stack:
        programs = {
            hours: stack.enter_context(machine.start(*EAGER, wrapper=travelling(hours)))
            for hours in (1, -1)
        }
        until(lambda: sessions(world) == len(programs), "two programs that look for work")
        world.execute("UPDATE domains SET due_at = now()")
        for name in names(4):
            world.sites.wait_for_requests(name)
        assert sorted(Counter(world.column("claimed_by").values()).values()) == [2, 2]
        leases = due(world)
        assert_between(leases, now(world), now(world) + LEASE)
        until(lambda: all(due(world)[name] > leases[name] for name in names(4)), "heartbeats")
        assert_between(due(world), now(world), now(world) + LEASE)

        gate.set()
        until(lambda: set(world.column("status").values()) == {"pending"}, "retries")
        minute = timedelta(minutes=1)
        assert_between(due(world), now(world) + minute / 2, now(world) + 4 * minute)
        assert world.visits() == dict.fromkeys(names(4), 1)

        soon = now(world) + timedelta(seconds=3)
        at = time.monotonic() + (soon - now(world)).total_seconds()
        world.execute("UPDATE domains SET due_at = %s", soon)
        ended = {hours: program.end() for hours, program in programs.items()}
    assert set(world.column("status").values()) == {"completed"}
    assert world.visits() == dict.fromkeys(names(4), 2)
    assert all(world.sites.received_by(name)[-1].at > at - 0.05 for name in names(4))
    for hours, each in ended.items():
        assert_was_elsewhere(each, timedelta(hours=hours))
    assert_between(visited(world), *(now(world) + timedelta(hours=hours) for hours in (-1.2, 1.2)))
    assert not any(abs(at - now(world)) < minute * 30 for at in visited(world).values())


def assert_was_elsewhere(ended: Ended, off: timedelta) -> None:
    """A traveller ended well, and by its own clock began so far from now."""
    assert (ended.code, ended.out) == (0, "")
    (told,) = ended.err.splitlines()
    assert abs(datetime.fromisoformat(told) - datetime.now(UTC) - off) < timedelta(minutes=10)


def assert_between(moments: Mapping[str, datetime], first: datetime, last: datetime) -> None:
    assert all(first < moment <= last for moment in moments.values()), (first, moments, last)


def visited(world: World) -> dict[str, datetime]:
    """When the sites were visited, by the clocks of the machines that did so."""
    visits = {name: data["visit"] for name, data in world.column("domain_metadata").items()}
    return {name: datetime.fromisoformat(visit["fetched_at"]) for name, visit in visits.items()}
