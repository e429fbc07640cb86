"""Every fault at every exact phase of a run: the real program, its network to the database held."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, SIGTERM, getsignal, signal
from threading import BoundedSemaphore, Event
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import pytest
from conftest import Database
from programs import PATIENCE, Ended, Program, descendants, has_ended, readers, with_proc
from proxy import Hold, Point, held_up
from sites import Behaviour, page
from world import World, behind

from domainsched.worker import Stop

pytestmark = [with_proc, pytest.mark.direct("holds up a network of its own")]

PLAIN = {"sslmode": "disable", "gssencmode": "disable"}

POISON = b"<dl a=</dl>" * 180_000
"""Takes the parser over a minute; a page is given 5 s."""

CLAIMED = ("WITH picked",)
SETTLED = ("jsonb_to_recordset",)


# --- phases -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """One moment of a run, how it is reached, and what is true then."""

    name: str
    point: Point
    """Where the network to the database is held up; never, for the phases of the web."""
    status: str
    """Of the row, when the program is killed then."""
    stopped: str = "pending"
    """Of the row, when the program is stopped by one signal then, and ends in peace."""
    visits: int = 0
    """So far."""
    arguments: tuple[str, ...] = ("process", "--limit", "1")
    reached: Callable[[Staged], None] | None = None
    """Blocks until the phase is; None: until the network holds the program up."""
    behaviour: Callable[[Event], Behaviour] = field(default=lambda _: page())
    is_opening: bool = False
    """Signals are not caught yet; nothing has begun, and a lost database is not waited for."""

    @property
    def domain(self) -> str:
        return f"{self.name}.test"

    @property
    def tenant(self) -> str:
        """Who alone has the domain: programs that run side by side take no other's."""
        return str(uuid5(NAMESPACE_DNS, self.domain))


class Staged:
    """A program in one phase of its run."""

    def __init__(
        self, phase: Phase, world: World, hold: Hold, gate: Event, program: Program
    ) -> None:
        self.phase, self.world, self.hold = phase, world, hold
        self.gate, self.program = gate, program

    @property
    def row(self) -> dict[str, Any]:
        return self.world.rows()[self.phase.domain]

    def state(self) -> tuple[str, int, int]:
        row = self.row
        return row["status"], row["attempts"], self.world.visits()[self.phase.domain]

    def stop(self) -> None:
        """Send the first signal; return when it was taken notice of."""
        self.program.send(SIGTERM)
        if not self.phase.is_opening:
            self.program.wait_for("finishing what is in flight")

    def stop_twice(self) -> float:
        """Send two signals, each when the one before was taken notice of; say when."""
        if self.phase.name != "releasing":
            self.stop()
        self.program.send(SIGTERM)
        return time.monotonic()


@contextmanager
def staged(phase: Phase, world: World) -> Iterator[Staged]:
    """Start a program, and bring it to the phase."""
    with ExitStack() as stack:
        gate, target = Event(), world.database.direct or world.database.keywords
        world.add(phase.domain, behaviour=phase.behaviour(gate))
        world.execute(
            "UPDATE domains SET tenant_id = %s WHERE domain = %s", phase.tenant, phase.domain
        )
        hold = stack.enter_context(held_up(target, phase.point))
        place = {"host": "127.0.0.1", "port": str(hold.port)}
        url = Database({**target, **PLAIN, **place}).url
        arguments = (*phase.arguments, "--tenant", phase.tenant, "-v")
        program = stack.enter_context(world.start(*arguments, DATABASE_URL=url))
        stack.callback(gate.set)
        scene = Staged(phase, world, hold, gate, program)
        (phase.reached or until_held)(scene)
        yield scene


def until_held(scene: Staged) -> None:
    scene.hold.wait()


def until_fetching(scene: Staged) -> None:
    scene.world.sites.wait_for_requests(scene.phase.domain, timeout=STARTED)


def until_extracting(scene: Staged) -> None:
    """Until there is an extraction process; it is stopped before it can have an answer."""
    end = time.monotonic() + PATIENCE
    while not (children := readers(scene.program.pid)):
        assert time.monotonic() < end, "no extraction process was started"
        time.sleep(0.01)
    for child in children:
        os.kill(child, SIGSTOP)


def go_on(family: list[int]) -> None:
    """Let processes that were stopped notice what happened."""
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGCONT)


def until_releasing(scene: Staged) -> None:
    scene.world.sites.wait_for_requests(scene.phase.domain, timeout=STARTED)
    scene.stop()
    scene.hold.wait()


def until_retrying(scene: Staged) -> None:
    """Until it has given up a connection and makes another, for nothing."""
    scene.hold.wait()
    scene.hold.swallow()
    scene.hold.wait_for_connection(2)


def until_pausing(scene: Staged) -> None:
    scene.program.wait_for("1 completed")


def visited(name: str, point: Point, **more: Any) -> Phase:  # noqa: ANN401 - of Phase
    """A phase in which the site was asked, and the answer is not stored."""
    return Phase(name, point, "processing", "completed", visits=1, **more)


def done(name: str, point: Point, **more: Any) -> Phase:  # noqa: ANN401 - of Phase
    """A phase in which the answer is stored."""
    return Phase(name, point, "completed", "completed", visits=1, **more)


STARTED = 60.0
"""Seconds for a program to start in, and to come to its visit, where many do."""
NEVER = Point(("never sent",))
BEATING = ("process", "--limit", "1", "--lease", "36s", "--timeout", "18s")
BRIEF = ("process", "--limit", "1", "--grace", "500ms")

PHASES = (
    Phase("connecting", Point(), "pending", is_opening=True),
    Phase("opening", Point(("BEGIN",)), "pending", is_opening=True),
    Phase("claim-sent", Point(CLAIMED), "pending"),
    Phase("claim-committed", Point(CLAIMED, committed=True), "processing"),
    visited("fetching", NEVER, behaviour=behind, reached=until_fetching),
    Phase(
        "extracting", NEVER, "processing", visits=1, arguments=BRIEF,
        behaviour=lambda _: page(POISON), reached=until_extracting,
    ),
    visited("settle-sent", Point(SETTLED)),
    done("settle-committed", Point(SETTLED, committed=True)),
    visited("heartbeat", Point(("SET due_at",)), arguments=BEATING, behaviour=behind),
    Phase(
        "releasing", Point(("greatest(d.attempts",)), "processing", visits=1,
        arguments=BRIEF, behaviour=behind, reached=until_releasing,
    ),
    done("closing", Point((*SETTLED, "BEGIN"))),
    done("pausing", NEVER, arguments=("watch", "--interval", "1h"), reached=until_pausing),
)  # fmt: skip


def but(*names: str) -> pytest.MarkDecorator:
    """Every phase but these."""
    chosen = [phase for phase in PHASES if phase.name not in names]
    return pytest.mark.parametrize("phase", chosen, ids=lambda phase: phase.name)


def the(name: str) -> Phase:
    return next(phase for phase in PHASES if phase.name == name)


# --- what is looked at ------------------------------------------------------------------------


def attempts(status: str) -> int:
    """The attempts of a row that was visited once at most, after the claim's own account."""
    return 0 if status == "pending" else 1


def until_nothing_is_open(world: World) -> None:
    """Until the server has noticed who is gone: what they had locked, nobody could claim."""
    query = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND xact_start IS NOT NULL"
    )
    end = time.monotonic() + PATIENCE
    with world.database.connect() as connection:
        while connection.execute(query).fetchall():
            assert time.monotonic() < end, "a transaction stays open"
            time.sleep(0.01)


def next_run(world: World) -> Ended:
    until_nothing_is_open(world)
    world.execute("UPDATE domains SET due_at = now() WHERE status = 'processing'")
    return world.run("process", "--limit", "0")


def expected_after_next_run(phase: Phase) -> tuple[str, int, int]:
    """A visit more, unless the last one had been stored; an attempt more, if one was counted."""
    if phase.status == "completed":
        return "completed", 1, 1
    return "completed", attempts(phase.status) + 1, phase.visits + 1


def assert_sound(row: dict[str, Any]) -> None:
    """Nothing of what happened is left in a row that is completed."""
    assert (row["title"], row["last_error"], row["last_error_kind"]) == ("A site", None, None)


def assert_in_words(ended: Ended) -> None:
    for trace in ("Traceback", "Task ", "psycopg", "asyncio", "lost the lease"):
        assert trace not in ended.err


# --- killed -----------------------------------------------------------------------------------


@but()
def test_killed_at_any_moment_it_neither_loses_nor_doubles_anything(
    world: World, phase: Phase
) -> None:
    with staged(phase, world) as scene:
        family = descendants(scene.program.pid)
        scene.program.send(SIGKILL)
        assert scene.program.end().code == 137
        go_on(family)
        assert all(has_ended(pid) for pid in family)
        scene.hold.cut()
        scene.gate.set()
        assert scene.state() == (phase.status, attempts(phase.status), phase.visits)
        world.sites.add(phase.domain)
        ended = next_run(world)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        assert scene.state() == expected_after_next_run(phase)
        assert_sound(scene.row)


# --- stopped ----------------------------------------------------------------------------------

SOON = 15.0
"""Seconds that what happens at once takes on a machine that is busy."""


@but()
def test_a_signal_at_any_moment_leaves_nothing_held(world: World, phase: Phase) -> None:
    with staged(phase, world) as scene:
        family = descendants(scene.program.pid)
        if phase.name == "pausing":
            scene.program.send(SIGTERM)
        elif phase.name != "releasing":
            scene.stop()
        if not phase.is_opening:
            scene.hold.let_go()
            scene.gate.set()
        began = time.monotonic()
        ended = scene.program.end()
        if phase.is_opening:
            assert time.monotonic() - began < SOON
            assert scene.hold.connections == 1, "a server that does not answer is asked nothing"
        assert (ended.code, ended.out) == (0 if phase.name == "pausing" else 143, "")
        assert_in_words(ended)
        assert all(has_ended(pid) for pid in family)
        assert scene.state() == (phase.stopped, attempts(phase.stopped), phase.visits)
        if phase.stopped == "completed":
            assert_sound(scene.row)


@but("connecting", "opening", "pausing")
def test_a_second_signal_at_any_moment_ends_it_at_once(world: World, phase: Phase) -> None:
    with staged(phase, world) as scene:
        family = descendants(scene.program.pid)
        began = scene.stop_twice()
        ended = scene.program.end()
        assert time.monotonic() - began < SOON
        assert (ended.code, ended.out) == (143, "")
        assert_in_words(ended)
        assert all(has_ended(pid) for pid in family)
        scene.hold.cut()
        assert scene.state() == (phase.status, attempts(phase.status), phase.visits)


async def test_after_a_run_signals_do_what_they_did_before() -> None:
    """So that one that comes while all is closed still has, say, the embedded server closed."""
    numbers = (SIGTERM, SIGINT)
    before = [signal(number, lambda *_: None) for number in numbers]
    try:
        found = [getsignal(number) for number in numbers]
        with Stop().on_signals(lambda: None, lambda: None):
            assert [getsignal(number) for number in numbers] != found
        assert [getsignal(number) for number in numbers] == found
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal(number, handler)


# --- overtaken --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["settle-sent", "releasing"])
def test_who_lost_its_lease_does_nothing_to_the_row_of_another(world: World, name: str) -> None:
    phase = the(name)
    with staged(phase, world) as scene:
        gate = Event()
        world.sites.add(phase.domain, behaviour=behind(gate))
        world.execute("UPDATE domains SET due_at = now()")
        with world.start("process") as other:
            world.sites.wait_for_requests(phase.domain, 2)
            taken = scene.row
            scene.hold.let_go()
            ended = scene.program.end()
            assert f"lost the lease on {phase.domain}" in ended.err
            assert scene.row == taken
            gate.set()
            assert other.end().code == 0
        assert scene.state() == ("completed", 2, 2)
        assert_sound(scene.row)


# --- cut --------------------------------------------------------------------------------------


@but("connecting", "opening", "extracting", "pausing")
def test_a_connection_that_is_cut_at_any_moment_is_made_anew(world: World, phase: Phase) -> None:
    with staged(phase, world) as scene:
        scene.hold.cut()
        scene.gate.set()
        ended = scene.program.end()
        assert_in_words(ended)
        if phase.name == "releasing":
            assert (ended.code, scene.state()) == (143, ("pending", 0, 1))
        else:
            assert (ended.code, scene.state()) == (0, ("completed", 1, 1))
            assert_sound(scene.row)


def test_a_connection_that_is_cut_before_anything_began_is_an_error(world: World) -> None:
    with staged(the("opening"), world) as scene:
        scene.hold.cut()
        ended = scene.program.end()
        assert (ended.code, ended.out) == (3, "")
        assert ended.err.startswith("error: lost the connection to PostgreSQL at ")
        assert_in_words(ended)
        assert scene.state() == ("pending", 0, 0)


# --- half open --------------------------------------------------------------------------------

BOUND = 90.0
"""Seconds: a statement's 20, 30 of patience, a last connection's 10; and as much for slow machines.
"""

patient = pytest.mark.timeout(300)


def side_by_side(
    world: World, phases: Sequence[Phase], act: Callable[[Staged], Ended]
) -> dict[str, int]:
    """Bring programs to their phases, a few at a time; wait for all together; say how they end."""
    starting = BoundedSemaphore(2)

    def play(phase: Phase) -> int:
        with ExitStack() as stack:
            with starting:
                scene = stack.enter_context(staged(phase, world))
            ended = act(scene)
        assert_in_words(ended)
        assert ended.out == ""
        assert ended.err.count("error: ") == (ended.code == 3), ended
        return ended.code

    with ThreadPoolExecutor(len(phases)) as pool:
        return dict(zip([phase.name for phase in phases], pool.map(play, phases), strict=True))


def assert_next_run_completes_all(world: World, phases: Sequence[Phase]) -> None:
    ended = next_run(world)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    rows, visits = world.rows(), world.visits()
    found = {
        phase.name: (row["status"], row["attempts"], visits[phase.domain])
        for phase in phases
        for row in [rows[phase.domain]]
    }
    assert found == {phase.name: expected_after_next_run(phase) for phase in phases}


def in_the_network(*but: str) -> list[Phase]:
    """The phases in which, or soon after which, the database is needed."""
    return [phase for phase in PHASES if phase.name not in {*but, "extracting", "pausing"}]


@patient
def test_a_network_that_is_half_open_for_ever_ends_a_run_in_every_phase(world: World) -> None:
    """The server does not notice either, and keeps what was open until its own limit."""

    def swallow(scene: Staged) -> Ended:
        scene.hold.swallow()
        scene.gate.set()
        return scene.program.end(BOUND)

    phases = in_the_network()
    assert side_by_side(world, phases, swallow) == {phase.name: 3 for phase in phases}
    assert_next_run_completes_all(world, phases)


RETRYING = Phase("retrying", Point(CLAIMED), "pending", reached=until_retrying)


@patient
def test_a_signal_on_a_half_open_network_has_an_end_too(world: World) -> None:
    def swallow(scene: Staged) -> Ended:
        scene.hold.swallow()
        scene.stop()
        scene.gate.set()
        return scene.program.end(BOUND)

    phases = [*map(the, ("opening", "claim-sent", "fetching", "settle-sent")), RETRYING]
    expected = {phase.name: 143 if phase.is_opening else 3 for phase in phases}
    assert side_by_side(world, phases, swallow) == expected
    assert_next_run_completes_all(world, phases)


@patient
def test_a_second_signal_on_a_half_open_network_ends_it_at_once(world: World) -> None:
    def swallow(scene: Staged) -> Ended:
        scene.hold.swallow()
        began = scene.stop_twice()
        ended = scene.program.end()
        assert time.monotonic() - began < SOON
        scene.hold.cut()
        return ended

    names = ("claim-sent", "fetching", "settle-sent", "heartbeat", "closing")
    phases = [*map(the, names), RETRYING]
    assert side_by_side(world, phases, swallow) == {phase.name: 143 for phase in phases}
    assert_next_run_completes_all(world, phases)


@patient
def test_a_network_that_heals_is_used_again_in_every_phase(world: World) -> None:
    """Connections that there were stay half open, and the server keeps what they hold locked."""

    def forget(scene: Staged) -> Ended:
        scene.hold.forget()
        scene.gate.set()
        return scene.program.end(BOUND)

    phases = in_the_network("connecting", "opening", "releasing")
    assert side_by_side(world, phases, forget) == {phase.name: 0 for phase in phases}
    assert set(world.column("status").values()) == {"completed"}
    assert set(world.column("attempts").values()) == {1}
    assert world.visits() == {phase.domain: 1 for phase in phases}
