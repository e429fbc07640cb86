"""Sites that make the processes that visit them die: they are charged, and nobody else."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, SIGSEGV, SIGSTOP, Signals
from threading import Event
from typing import Any

import pytest
from programs import PATIENCE, Program, readers, with_proc
from sites import Behaviour, Exchange, never, page, sequence
from world import World, behind, names

from domainsched.database.queue import CRASHED

pytestmark = [with_proc, pytest.mark.direct("is about other processes than the database's")]

POISON = b"<dl a=</dl>" * 180_000
"""Takes the parser over a minute; a page is given 5 s."""

GREEDY = b"<p>x" * 250_000
"""Takes the parser 125 MB."""

ROOM = 24 * 1024 * 1024
"""Bytes that the reading of a page may take, for lack of pages that would take half a gigabyte."""


# --- the process that reads pages -------------------------------------------------------------


def reader_of(program: Program) -> int:
    (reader,) = readers(program.pid)
    return reader


def spent(pid: int) -> int:
    """Processor time, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def let_read(reader: int, gate: Event) -> None:
    """Have the site behind `gate` answer; return when its page is being read."""
    began, end = spent(reader), time.monotonic() + PATIENCE
    gate.set()
    while spent(reader) < began + 10:
        assert time.monotonic() < end, "nobody reads the page"
        time.sleep(0.01)


Attack = Callable[[int, Event], None]


def signalled(number: Signals) -> Attack:
    """Send a signal to the reader in the midst of the page."""

    def attack(reader: int, gate: Event) -> None:
        let_read(reader, gate)
        os.kill(reader, number)

    return attack


def short_of_memory(reader: int, gate: Event) -> None:
    pages = int(Path(f"/proc/{reader}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.prlimit(reader, resource.RLIMIT_AS, (limit, limit))
    gate.set()


ENDED = "the extraction of the page ended its process"
STOPPED = "the extraction of the page took more than 5 s and was stopped"

ATTACKS: dict[str, tuple[bytes, Attack, str]] = {
    "segfault.test": (POISON, signalled(SIGSEGV), ENDED),
    "oomkill.test": (POISON, signalled(SIGKILL), ENDED),
    "greedy.test": (GREEDY, short_of_memory, ENDED),
    "stopped.test": (POISON, signalled(SIGSTOP), STOPPED),
}


def visit_all(world: World, *, of: int) -> None:
    """Have one run visit all attackers, each after a good site that its reader has read before."""
    gates = {name: Event() for name in ATTACKS}
    for name, (body, _, _) in ATTACKS.items():
        world.sites.add(name, behaviour=behind(gates[name], page(body)))
    limits = ("--max-attempts", str(of), "--concurrency", "1", "--limit", "0")
    with world.start("process", *limits) as program:
        for name, (_, attack, _) in ATTACKS.items():
            visits = len(world.sites.received_by(name))
            world.sites.wait_for_requests(name, visits + 1, PATIENCE)
            attack(reader_of(program), gates[name])
        ended = program.end()
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def outcomes(world: World) -> dict[str, tuple[Any, ...]]:
    wanted = ("status", "attempts", "last_error_kind", "last_error")
    return {name: tuple(map(row.get, wanted)) for name, row in world.rows().items()}


def test_what_kills_its_reader_is_charged_alone_and_ends_as_error(world: World) -> None:
    good = [f"before-{name}" for name in ATTACKS]
    for before, name in zip(good, ATTACKS, strict=True):
        world.add(before)
        world.add(name)
    completed = dict.fromkeys(good, ("completed", 1, None, None))

    visit_all(world, of=2)
    reasons = {name: reason for name, (_, _, reason) in ATTACKS.items()}
    retried = {name: ("pending", 1, "crashed", reason) for name, reason in reasons.items()}
    assert outcomes(world) == completed | retried

    world.execute("UPDATE domains SET status = 'pending', due_at = now()")
    visit_all(world, of=2)
    failed = {name: ("error", 2, "crashed", reason) for name, reason in reasons.items()}
    assert outcomes(world) == completed | failed
    assert world.visits() == dict.fromkeys([*good, *ATTACKS], 2)


def test_pages_that_wait_for_a_reader_that_dies_are_read_by_the_next(
    world: World, gate: Event
) -> None:
    behind_poison = Event()
    world.add("warm.test")
    world.add("poison.test", behaviour=behind(behind_poison, page(POISON)))
    world.add(*names(5), behaviour=behind(gate))
    with world.start("process", "--json") as program:
        program.wait_for('"warm.test"')
        for name in ("poison.test", *names(5)):
            world.sites.wait_for_requests(name)
        reader = reader_of(program)
        let_read(reader, behind_poison)
        gate.set()
        world.sites.wait_until_idle()
        os.kill(reader, SIGSEGV)
        assert program.end().code == 0
    poison = ("pending", 1, "crashed", ENDED)
    others = dict.fromkeys(["warm.test", *names(5)], ("completed", 1, None, None))
    assert outcomes(world) == {"poison.test": poison} | others
    assert set(world.visits().values()) == {1}


DEEP = {
    "elements.test": b"<div>" * 400_000,
    "tables.test": b"<table><tr><td>" * 100_000,
    "arrays.test": b'<script type="application/ld+json">' + b"[" * 500_000,
    "objects.test": b'<script type="application/ld+json">' + b'{"@graph":' * 100_000,
    "references.test": b"&amp;" * 400_000,
}


def test_a_page_as_deep_as_can_be_is_read_all_the_same(world: World) -> None:
    for name, body in DEEP.items():
        world.add(name, behaviour=page(b"<title>Deep</title>" + body))
    for _ in range(5):  # a machine under load may need more than the half second of the deepest
        assert world.run("process").code == 0
        if STOPPED not in world.column("last_error").values():
            break
        again = "UPDATE domains SET due_at = now(), attempts = 0 WHERE last_error = %s"
        world.execute(again, STOPPED)
    assert world.column("title") == dict.fromkeys(DEEP, "Deep")
    assert outcomes(world) == dict.fromkeys(DEEP, ("completed", 1, None, None))


# --- the process that visits ------------------------------------------------------------------


class Killer:
    """A site that ends whoever visits it, when its neighbours are being visited, too."""

    def __init__(self, world: World, *neighbours: str) -> None:
        self._world, self._neighbours = world, neighbours
        self.visitor: Program | None = None

    def __call__(self, _: Exchange) -> None:
        for name in self._neighbours:
            self._world.sites.wait_for_requests(name)
        assert self.visitor is not None
        self.visitor.send(SIGKILL)


def test_what_kills_every_worker_ends_as_error_and_its_neighbours_are_completed(
    world: World,
) -> None:
    """The neighbours are charged once, for nobody can know; those that come later are not."""
    killer = Killer(world, *names(3))
    world.add("killer.test", behaviour=killer)
    world.add(*names(3), behaviour=sequence(never(), never(), never(), page()))
    world.add(*names(3, "later"))
    codes = []
    for _ in range(4):
        with world.start("process", "--concurrency", "4", "--limit", "0") as program:
            killer.visitor = program
            codes.append(program.end().code)
        world.execute("UPDATE domains SET due_at = now() WHERE status = 'processing'")
    assert codes == [137, 137, 137, 0]
    assert outcomes(world) == {
        "killer.test": ("error", 3, "crashed", CRASHED),
        **dict.fromkeys(names(3), ("completed", 2, None, None)),
        **dict.fromkeys(names(3, "later"), ("completed", 1, None, None)),
    }
    assert world.visits() == {
        "killer.test": 3,
        **dict.fromkeys(names(3), 2),
        **dict.fromkeys(names(3, "later"), 1),
    }


def slow(seconds: float) -> Behaviour:
    """Take so long that others would have been visited meanwhile."""

    def behave(exchange: Exchange) -> None:
        exchange.stopping.wait(seconds)
        page()(exchange)

    return behave


def test_after_a_crash_the_suspect_is_visited_when_nobody_else_is(world: World) -> None:
    limits = ("--lease", "12s", "--timeout", "6s")
    world.add("suspect.test", behaviour=never())
    with world.start("process", *limits) as program:
        world.sites.wait_for_requests("suspect.test")
        program.send(SIGKILL)
        assert program.end().code == 137
    world.sites.add("suspect.test", behaviour=slow(1))
    world.add(*names(6))
    world.let_leases_run_out()
    assert world.run("process", *limits).code == 0
    assert set(world.column("status").values()) == {"completed"}
    assert world.column("attempts") == {"suspect.test": 2, **dict.fromkeys(names(6), 1)}
    visits = [each for each in world.sites.received if each.path == "/"][1:]
    begin = next(each.at for each in visits if each.host == "suspect.test")
    assert not [each.host for each in visits if begin < each.at < begin + 1]
