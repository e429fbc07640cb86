"""A storm of SIGKILL: workers die and stop at random moments, hundreds of times, and nothing is
lost, doubled or stranded.

A storm is repeated with DOMAINSCHED_STORM_SEED=<the seed that a failure shows>. The long one,
`pytest -m soak -n0 tests/test_storm.py`, lasts DOMAINSCHED_SOAK_MINUTES (60) over
DOMAINSCHED_SOAK_ROWS (500) domains, each visited again and again.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from threading import Event
from typing import Any

import psycopg
import pytest
from fleet import Fleet, Worker, fleet
from history import SUPERVISOR, History, Step, install, violations
from programs import EXECUTED, PATIENCE, descendants, has_ended, with_proc
from sites import Behaviour, Exchange, Received, never, page, redirect, sequence
from world import World, behind

from domainsched import __version__

SEED = int(os.environ.get("DOMAINSCHED_STORM_SEED") or Random().randrange(1_000_000))  # noqa: S311
SOAK_MINUTES = float(os.environ.get("DOMAINSCHED_SOAK_MINUTES") or 60)
SOAK_ROWS = int(os.environ.get("DOMAINSCHED_SOAK_ROWS") or 500)
# Read here: the tests' own surroundings have none of the user's variables.

pytestmark = [with_proc, pytest.mark.direct(reason="sessions are told apart by their names")]

# --- the sites --------------------------------------------------------------------------------

BIG = b"<p>" + b"x" * 2_000_000
POISON = b"<dl a=</dl>" * 180_000
"""Two megabytes whose extraction would take a minute, and is ended after some seconds."""


@dataclass(frozen=True)
class Sort:
    """A sort of site: how many there are, how they behave, how their rows may end."""

    share: int
    """So many of a hundred, besides one."""
    behaviour: Callable[[str, Random, Fleet], Behaviour]
    ends: frozenset[str]
    """`completed`, or an error's kind. Any may end as `crashed`, when its workers were killed."""


def titled(name: str, more: bytes = b"") -> Behaviour:
    return page(f"<title>This is {name}</title>".encode() + more)


def slowly(behaviour: Behaviour, seconds: float) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.stopping.wait(seconds)
        behaviour(exchange)

    return behave


def deadly(ships: Fleet) -> Behaviour:
    """Kill the visitor, known by the name it gives itself."""

    def behave(exchange: Exchange) -> None:
        ships.kill(exchange.received.headers["user-agent"])
        exchange.wait_until_closed()

    return behave


COMPLETED = frozenset({"completed"})

SORTS: Mapping[str, Sort] = {
    "quick": Sort(43, lambda name, *_: titled(name), COMPLETED),
    "slow": Sort(
        24, lambda name, chance, _: slowly(titled(name), chance.uniform(0.01, 0.4)), COMPLETED
    ),
    "moved": Sort(10, lambda name, *_: redirect(f"https://www.{name}/"), COMPLETED),
    "flaky": Sort(10, lambda name, *_: sequence(page(status=503), titled(name)), COMPLETED),
    "missing": Sort(7, lambda *_: page(status=404), frozenset({"http_4xx"})),
    "big": Sort(2, lambda name, *_: titled(name, BIG), COMPLETED),
    "never": Sort(1, lambda *_: never(), frozenset({"timeout"})),
    "poison": Sort(0, lambda name, *_: titled(name, POISON), frozenset({"crashed"})),
    "killer": Sort(3, lambda _, __, ships: deadly(ships), frozenset({"crashed"})),
}
COSTLY = frozenset({"never", "poison", "killer"})
"""Sorts that use up five workers or many seconds: they come first, and once."""
UNTITLED = frozenset({"missing", "never", "poison", "killer"})


def sort_of(name: str) -> str:
    return name.partition("-")[0]


def drawn(number: int, chance: Random) -> list[str]:
    """Draw so many names: one of each sort, the others by their shares."""
    shares = {name: sort.share for name, sort in SORTS.items()}
    others = chance.choices(list(shares), list(shares.values()), k=number - len(shares))
    return [f"{sort}-{index}.test" for index, sort in enumerate([*shares, *others])]


def serve(world: World, ships: Fleet, names: list[str], chance: Random) -> None:
    for name in sorted(names, key=lambda name: sort_of(name) not in COSTLY):
        world.add(name, behaviour=SORTS[sort_of(name)].behaviour(name, chance, ships))
        if sort_of(name) == "moved":
            world.sites.add(f"www.{name}", behaviour=titled(name))


# --- the storm --------------------------------------------------------------------------------

TICK = 0.03
STANDSTILL = 120
"""Seconds without any row's end after which no more will end, however loaded the machine is."""
LEASE, SHORT_LEASE = 900, 9
HEARTBEAT = SHORT_LEASE / 3
Script = Iterator[float]
"""What befalls one worker: does a deed, yields the seconds until the next."""


@dataclass(frozen=True)
class Weather:
    """How hard it blows."""

    seed: int
    max_attempts: int = 5
    workers: int = 6
    timeout: float = 30
    """Seconds for one visit."""
    stop_every: int = 0
    """Each so many-th worker is stopped for a while instead of killed; 0 for none."""
    kills: int = 0
    """Rows that ended are made pending again until so many workers were killed."""
    least: float = 0
    """And until so many seconds have passed."""

    def befalls_stop(self, number: int) -> bool:
        return self.stop_every > 0 and number % self.stop_every == 6


@dataclass
class Storm:
    """A supervisor that harms its workers, replaces them, and lets the leases of the dead run out.

    The seed decides what befalls each worker, and when; not how far it has come by then.
    """

    ships: Fleet
    connection: psycopg.Connection
    weather: Weather
    tell: Callable[[str], None]
    """Is told once a minute how it goes."""
    stopped: set[str] = field(default_factory=set)
    """The workers that ever were."""
    _away: set[str] = field(default_factory=set)
    """Those whose leases have to run out though they live."""
    _scripts: dict[str, tuple[float, Script]] = field(default_factory=dict)
    _alive: list[Worker] = field(default_factory=list)
    _reported: float = 0
    _progress: tuple[int, float] = (0, 0)
    """How much there was to do, and since when it is so much."""
    _began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    @property
    def kills(self) -> int:
        return sum(self.ships.code(worker) == -SIGKILL for worker in self.ships.workers)

    def run(self, befall: Callable[[Storm, Worker, Random], Script]) -> None:
        """Blow until the queue is drained; `befall` writes a worker's script."""
        with self._gathering():
            self._man(befall, self.weather.workers)
        while (unfinished := self._unfinished()) and not self._stands_still(unfinished):
            self._man(befall, min(self.weather.workers, unfinished))
            self._perform()
            self._let_fall_due()
            self._report()
            self.ships.wait(self._pause())
        for worker in self._alive:
            self.ships.send(worker, SIGKILL if unfinished else SIGCONT)
            self.ships.end(worker)

    @contextmanager
    def _gathering(self) -> Iterator[None]:
        """Keep the claims of those who start waiting, so that they are made at the same time."""
        waiting = (
            "SELECT count(*) FROM pg_locks WHERE relation = 'domains'::regclass AND NOT granted"
        )
        with self.connection.transaction():
            self.connection.execute("LOCK TABLE domains IN EXCLUSIVE MODE")
            yield
            while _number(self.connection.execute(waiting)) < len(self._alive):
                assert self.elapsed < PATIENCE, "they never came to claim"
                self.ships.wait(TICK)

    def _man(self, befall: Callable[[Storm, Worker, Random], Script], wanted: int) -> None:
        """Replace the dead; more workers than there are rows would only come and go."""
        self._alive = [worker for worker in self._alive if self.ships.code(worker) is None]
        while len(self._alive) < wanted:
            number = len(self.ships.workers) + 1
            chance = Random(f"{self.weather.seed}:{number}")  # noqa: S311 - has to be repeatable
            lease = SHORT_LEASE if self.weather.befalls_stop(number) else LEASE
            limits = ("--max-attempts", str(self.weather.max_attempts), "--lease", f"{lease}s")
            worker = self.ships.start("process", "--limit", "0", "--json", *limits)
            self._alive.append(worker)
            self._scripts[worker.name] = (time.monotonic(), befall(self, worker, chance))

    def _perform(self) -> None:
        """Go on with the scripts whose time has come."""
        for worker in self._alive:
            at, script = self._scripts[worker.name]
            if at <= time.monotonic():
                pause = next(script, float("inf"))
                self._scripts[worker.name] = (time.monotonic() + pause, script)

    def _pause(self) -> float:
        soonest = min(self._scripts[worker.name][0] for worker in self._alive)
        return min(max(soonest - time.monotonic(), 0), TICK)

    def _let_fall_due(self) -> None:
        """End the leases of the dead and of those who count as dead, and nobody else's.

        Again and again: what the dead had sent may be committed after their death.
        """
        codes = {each.name: self.ships.code(each) for each in self.ships.workers}
        self._expire([name for name, code in codes.items() if code is not None])
        self._expire(list(self._away), ago="1 day")  # the first to be claimed by others
        self.connection.execute(
            "UPDATE domains SET due_at = statement_timestamp()"
            " WHERE status = 'pending' AND due_at > now()"
        )

    def _expire(self, names: list[str], ago: str = "0") -> None:
        self.connection.execute(
            "UPDATE domains SET due_at = statement_timestamp() - %s::interval WHERE id IN ("
            " SELECT id FROM domains AS d WHERE status = 'processing' AND due_at > now()"
            " AND EXISTS (SELECT FROM history AS h"
            "  WHERE h.claim_token = d.claim_token AND h.session = ANY(%s))"
            " FOR NO KEY UPDATE SKIP LOCKED)",  # a stopped worker may hold a lock
            [ago, names],
        )

    def _report(self) -> None:
        if self.elapsed >= self._reported + 60:
            self._reported = self.elapsed
            deeds = f"{len(self.ships.workers)} workers, {self.kills} killed"
            stopped = f"{len(self.stopped)} stopped, {self._progress[0]} rows to do"
            self.tell(f"seed {self.weather.seed}, {self.elapsed:.0f} s: {deeds}, {stopped}")

    def _unfinished(self) -> int:
        """Say how much there is to do, after making sure that there is enough."""
        count = "SELECT count(*) FROM domains WHERE status IN ('pending', 'processing')"
        number, enough = _number(self.connection.execute(count)), self.weather.workers * 4
        if self._is_abating() or number >= enough:
            return number
        again = (
            "UPDATE domains SET status = 'pending' WHERE id IN (SELECT id FROM domains"
            " WHERE status IN ('completed', 'error') AND split_part(domain, '-', 1) <> ALL(%s)"
            " ORDER BY last_scan NULLS FIRST LIMIT %s)"
        )
        return number + self.connection.execute(again, [list(COSTLY), enough]).rowcount

    def _stands_still(self, unfinished: int) -> bool:
        if unfinished != self._progress[0]:
            self._progress = (unfinished, self.elapsed)
        return self.elapsed > self._progress[1] + STANDSTILL

    def _is_abating(self) -> bool:
        return self.kills >= self.weather.kills and self.elapsed >= self.weather.least

    # What may befall a worker

    def kill(self, worker: Worker, *, deeds: int, after: float) -> Script:
        """Kill it `after` so many seconds from its so many-th change of a row."""
        while self._deeds_of(worker) < deeds:  # by deeds and not by the clock: a machine under
            yield TICK  # load would else have its workers killed before any of them has done one
        yield after
        self.ships.send(worker, SIGKILL)

    def stop(self, worker: Worker, chance: Random) -> Script:
        """Stop it in its work until others have taken its rows; in the end have it leave."""
        while not (held := self._held_by(worker)):
            yield chance.uniform(0.01, 0.1)
        self.stopped.add(worker.name)
        self.ships.send(worker, SIGSTOP)
        yield HEARTBEAT + 0.2  # so that it wakes with a heartbeat that is overdue
        self._away.add(worker.name)
        for _ in range(200):
            if self._has_changed_hands(held):
                break
            yield TICK
        self._away.remove(worker.name)
        self.ships.send(worker, SIGCONT)
        yield chance.uniform(0.5, 2)
        self.ships.send(worker, SIGTERM)

    def _deeds_of(self, worker: Worker) -> int:
        query = "SELECT count(*) FROM history WHERE session = %s"
        return _number(self.connection.execute(query, [worker.name]))

    def _held_by(self, worker: Worker) -> list[Any]:
        found = self.connection.execute(
            "SELECT DISTINCT d.claim_token FROM domains AS d JOIN history USING (claim_token)"
            " WHERE d.status = 'processing' AND session = %s",
            [worker.name],
        )
        return [token for (token,) in found]

    def _has_changed_hands(self, tokens: list[Any]) -> bool:
        """Whether a row that was held with one of `tokens` is in the work of somebody else."""
        found = self.connection.execute(
            "SELECT FROM domains AS d JOIN history AS h ON h.row_id = d.id::text"
            " WHERE d.status = 'processing' AND h.claim_token = ANY(%(tokens)s)"
            " AND d.claim_token <> ALL(%(tokens)s) LIMIT 1",
            {"tokens": tokens},
        )
        return bool(found.fetchall())


def _number(cursor: psycopg.Cursor) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def wild(storm: Storm, worker: Worker, chance: Random) -> Script:
    """Kill at a random moment: while it starts, claims, visits, settles; or stop it for a while."""
    if storm.weather.befalls_stop(worker.number):
        return storm.stop(worker, chance)
    if chance.random() < 0.55:  # most of a worker's cost is the start of its extraction process
        return storm.kill(worker, deeds=0, after=chance.uniform(0, 0.3))
    return storm.kill(worker, deeds=chance.randint(1, 10), after=chance.uniform(0, 0.2))


def mild(*_: object) -> Script:
    """Harm nobody: the sites do."""
    return iter(())


# --- the audit --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Aftermath:
    """What a storm left: the history, the table, what the sites saw, and how the workers ended."""

    history: History
    rows: Mapping[str, dict[str, Any]]
    received: tuple[Received, ...]
    codes: Mapping[str, int | None]
    stopped: frozenset[str]
    summaries: Mapping[str, dict[str, Any]]

    @cached_property
    def harmed(self) -> frozenset[str]:
        return self.stopped | {name for name, code in self.codes.items() if code == -SIGKILL}

    @cached_property
    def visits(self) -> Counter[tuple[str, str]]:
        """How often a worker asked for a domain's home page. By https: it is tried first."""
        return Counter(
            (each.host, each.headers["user-agent"])
            for each in self.received
            if each.scheme == "https" and not each.host.startswith("www.")
        )

    @cached_property
    def timeouts(self) -> Counter[tuple[str, str]]:
        """How often a worker's time for a domain was up, on a busy machine even before it asked."""
        return Counter(
            (change.domain, change.session)
            for change in self.history.steps(Step.SETTLED)
            if change.after.last_error_kind == "timeout"
        )

    def count(self, *steps: Step) -> Counter[tuple[str, str]]:
        """How often a worker did one of these things to a domain."""
        return Counter((change.domain, change.session) for change in self.history.steps(*steps))


Check = Callable[[Aftermath], Iterator[str]]


def every_row_has_ended(left: Aftermath) -> Iterator[str]:
    for name, row in left.rows.items():
        if row["status"] not in {"completed", "error"}:
            yield f"{name} is {row['status']} by {row['claimed_by']}"


def each_site_ends_as_its_sort_may(left: Aftermath) -> Iterator[str]:
    for name, row in left.rows.items():
        end = row["last_error_kind"] or row["status"]
        used_up = row["attempts"] == left.history.max_attempts
        hindered = used_up and end in {"crashed", "timeout"}  # killed, or on a machine under load
        if end not in SORTS[sort_of(name)].ends and not hindered:
            yield f"{name} ended as {end} after {row['attempts']} attempts: {row['last_error']}"


def each_row_holds_what_its_own_site_says(left: Aftermath) -> Iterator[str]:
    completed = {change.domain for change in left.history.steps(Step.SETTLED)
                 if change.after.status == "completed"}  # fmt: skip
    for name, row in left.rows.items():
        expected = f"This is {name}" if name in completed else None
        if row["title"] != expected or (name in completed and sort_of(name) in UNTITLED):
            yield f"{name} has the title {row['title']!r}"


def the_table_is_as_the_history_left_it(left: Aftermath) -> Iterator[str]:
    for name, state in left.history.last.items():
        row = left.rows[name]
        seen = (row["status"], row["attempts"], row["last_error_kind"], row["claimed_by"])
        told = (state.status, state.attempts, state.last_error_kind, state.claimed_by)
        if seen != told:
            yield f"{name}: {seen} in the table, {told} in the history"


def what_was_settled_was_visited_by_the_same_worker(left: Aftermath) -> Iterator[str]:
    for pair, settled in left.count(Step.SETTLED).items():
        if left.visits[pair] < settled - left.timeouts[pair]:
            yield f"{pair}: {settled} settled, {left.visits[pair]} visits"


def nothing_is_visited_without_a_claim(left: Aftermath) -> Iterator[str]:
    claims = left.count(Step.CLAIMED)
    for pair, visits in left.visits.items():
        if visits > claims[pair]:
            yield f"{pair}: {visits} visits, {claims[pair]} claims"


def only_the_harmed_do_not_visit_what_they_claimed(left: Aftermath) -> Iterator[str]:
    released = left.count(Step.RELEASED)
    for (name, worker), claims in left.count(Step.CLAIMED).items():
        pair = (name, worker)
        excused = released[pair] + left.timeouts[pair]
        if worker not in left.harmed and left.visits[pair] < claims - excused:
            yield f"{pair}: {claims} claims, {left.visits[pair]} visits"


def only_the_harmed_leave_a_claim_to_its_lease(left: Aftermath) -> Iterator[str]:
    ended = left.count(Step.SETTLED, Step.RELEASED)
    for (name, worker), claims in left.count(Step.CLAIMED).items():
        if worker not in left.harmed and ended[name, worker] < claims:
            yield f"{worker} left {name}, and was not harmed"


def a_killer_is_visited_once_an_attempt_and_kills_each_visitor(left: Aftermath) -> Iterator[str]:
    ends = Counter(change.domain for change in left.history.steps(Step.EXHAUSTED))
    visits: Counter[str] = Counter()
    for (name, worker), number in left.visits.items():
        if sort_of(name) == "killer":
            visits[name] += number
            if left.codes[worker] != -SIGKILL:
                yield f"{worker} visited {name} and lives: {left.codes[worker]}"
    for name, number in visits.items():
        if number > ends[name] * left.history.max_attempts:
            yield f"{name} was visited {number} times and ended {ends[name]} times"


def who_lives_tells_what_the_history_tells(left: Aftermath) -> Iterator[str]:
    """Also of what was lost: claims that somebody else took over, and results refused."""
    for worker, said in left.summaries.items():
        told = _told(left.history, worker)
        if {word: said[word] for word in told} != told:
            yield f"{worker} says {said}, the history {told}"


def _told(history: History, worker: str) -> dict[str, int]:
    own = [change for change in history.changes if change.session == worker]
    ends = Counter(
        change.after.status for change in own if change.step in {Step.SETTLED, Step.EXHAUSTED}
    )
    steps = Counter(change.step for change in own)
    claimed = steps[Step.CLAIMED] + steps[Step.EXHAUSTED]
    released = steps[Step.RELEASED]
    return {
        "claimed": claimed,
        "completed": ends["completed"],
        "retry": ends["pending"],
        "error": ends["error"],
        "released": released,
        "lost": claimed - released - ends.total(),
    }


CHECKS: tuple[Check, ...] = (
    every_row_has_ended,
    each_site_ends_as_its_sort_may,
    each_row_holds_what_its_own_site_says,
    the_table_is_as_the_history_left_it,
    what_was_settled_was_visited_by_the_same_worker,
    nothing_is_visited_without_a_claim,
    only_the_harmed_do_not_visit_what_they_claimed,
    only_the_harmed_leave_a_claim_to_its_lease,
    a_killer_is_visited_once_an_attempt_and_kills_each_visitor,
    who_lives_tells_what_the_history_tells,
)


def faults(left: Aftermath) -> list[str]:
    named = ((check.__name__.replace("_", " "), check) for check in CHECKS)
    return violations(left.history) + [
        f"{name}: {fault}" for name, check in named for fault in check(left)
    ]


def survey(world: World, storm: Storm) -> Aftermath:
    """Look at everything once all workers have ended."""
    ships = storm.ships
    codes = {worker.name: ships.code(worker) for worker in ships.workers}
    enders = [worker for worker in ships.workers if codes[worker.name] in {0, 128 + SIGTERM}]
    history = History.read(storm.connection, max_attempts=storm.weather.max_attempts)
    return Aftermath(
        history,
        world.rows(),
        world.sites.received,
        codes,
        frozenset(storm.stopped),
        {worker.name: worker.records[-1] for worker in enders if worker.records},
    )


@contextmanager
def storm_over(
    world: World, directory: Path, weather: Weather, tell: Callable[[str], None] = print
) -> Iterator[Storm]:
    limits = {"CONCURRENCY": "4", "PROCESSES": "1", "TIMEOUT": f"{weather.timeout}s", "GRACE": "1s"}
    variables = {f"DOMAINSCHED_{name}": value for name, value in limits.items()}
    surroundings = world.domainsched(**variables)
    with (
        world.database.connect() as connection,
        fleet(directory, surroundings.environment) as ships,
    ):
        connection.execute(f"SET application_name = '{SUPERVISOR}'")
        install(connection)
        yield Storm(ships, connection, weather, tell)
        assert all(has_ended(pid) for pid in descendants(ships.pid)), "a child outlived its worker"


def account(left: Aftermath, storm: Storm) -> str:
    """Say in one line what happened."""
    steps = Counter(change.step.name.lower() for change in left.history.changes)
    facts = {
        "seed": storm.weather.seed,
        "seconds": round(storm.elapsed),
        "workers": len(left.codes),
        "killed": storm.kills,
        "stopped": len(left.stopped),
        "visits": left.visits.total(),
        "lost": sum(said["lost"] for said in left.summaries.values()),
        **steps,
    }
    return "storm: " + ", ".join(f"{name} {value}" for name, value in facts.items())


# --- tests ------------------------------------------------------------------------------------


def blow(
    world: World,
    directory: Path,
    weather: Weather,
    rows: int,
    tell: Callable[[str], None] = print,
) -> Aftermath:
    """Have a wild storm over so many rows, and tell everything that is wrong after it."""
    chance = Random(weather.seed)  # noqa: S311 - has to be repeatable
    with storm_over(world, directory, weather, tell) as storm:
        serve(world, storm.ships, drawn(rows, chance), chance)
        storm.run(wild)
        return judged(world, storm)


def judged(world: World, storm: Storm) -> Aftermath:
    left = survey(world, storm)
    found = faults(left)
    assert not found, "\n".join([account(left, storm), *found[:50]])
    return left


@pytest.mark.timeout(1200)
def test_through_a_storm_of_kills_no_row_is_lost_doubled_or_stranded(
    world: World, tmp_path: Path
) -> None:
    left = blow(world, tmp_path, Weather(SEED, timeout=4.4, stop_every=15, kills=200), rows=100)
    assert list(left.codes.values()).count(-SIGKILL) >= 200
    assert sum(said["lost"] for said in left.summaries.values()), "nothing was refused"


@pytest.mark.timeout(1200)
def test_sites_that_kill_their_visitors_end_as_crashed_and_their_neighbours_are_completed(
    world: World, tmp_path: Path
) -> None:
    """An innocent row is charged for each of the two at most once, and has three attempts."""
    weather = Weather(SEED, workers=2, max_attempts=3)
    killers, innocent = ["killer-0.test", "killer-1.test"], [f"quick-{n}.test" for n in range(30)]
    with storm_over(world, tmp_path, weather) as storm:
        names = [*killers, *innocent]
        Random(SEED).shuffle(names)  # noqa: S311 - has to be repeatable
        serve(world, storm.ships, names, Random(SEED))  # noqa: S311
        storm.run(mild)
        left = judged(world, storm)
    statuses = {name: row["status"] for name, row in left.rows.items()}
    assert statuses == dict.fromkeys(innocent, "completed") | dict.fromkeys(killers, "error")
    visits = Counter(name for name, _ in left.visits.elements())
    assert all(visits[name] in {2, 3} for name in killers), "each may be charged for the other"
    assert {left.rows[name]["attempts"] for name in killers} == {3}


@pytest.mark.soak
@pytest.mark.timeout(SOAK_MINUTES * 60 + 1200)
def test_a_storm_that_does_not_abate_for_an_hour(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell(line: str) -> None:
        with capsys.disabled():  # an hour without a word would be too long
            print(line, flush=True)  # noqa: T201 - that is what it is for

    weather = Weather(SEED, timeout=4.4, stop_every=15, least=SOAK_MINUTES * 60)
    blow(world, tmp_path, weather, SOAK_ROWS, tell)


# --- the fleet --------------------------------------------------------------------------------


def test_a_worker_of_the_fleet_is_as_one_that_a_shell_starts(
    world: World, tmp_path: Path, gate: Event
) -> None:
    """In what it obeys and ignores, says, reads from its environment, and ends with."""
    world.add("a.test", "b.test", behaviour=behind(gate))
    surroundings = world.domainsched(DOMAINSCHED_LIMIT="1")
    with (
        fleet(tmp_path, surroundings.environment) as ships,
        surroundings.start("process", "--json", wrapper=EXECUTED) as program,
    ):
        worker = ships.start("process", "--json")
        for name in ("a.test", "b.test"):
            world.sites.wait_for_requests(name, timeout=PATIENCE)
        assert nature(ships.pid_of(worker)) == nature(program.pid)
        gate.set()
        assert (ships.end(worker), program.end().code) == (0, 0)
        agents = {each.headers["user-agent"] for each in world.sites.received}
        assert agents == {worker.name, f"domainsched/{__version__}"}
        said = [record["type"] for record in worker.records]
        assert (said, worker.err.read_text()) == (["domain", "summary"], "")


def nature(pid: int) -> dict[str, str]:
    """What the kernel knows of a process that its making decides: signals, threads, rights."""
    told = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().split("\n") if line
    )
    return {name: told[name] for name in ("SigBlk", "SigIgn", "SigCgt", "Threads", "Uid", "Umask")}


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--version"], {}),
        (["process", "--help"], {"COLUMNS": "90"}),
        (["process", "--no-such"], {}),
        (["process"], {"DOMAINSCHED_TIMEOUT": "soon"}),
        (["process"], {"DATABASE_URL": "postgresql:///none?host=/nowhere"}),
        (["inspect", "absent.test"], {}),
    ],
    ids=["version", "help", "flag", "setting", "database", "absent"],
)
def test_a_worker_of_the_fleet_ends_and_speaks_as_one_that_a_shell_starts(
    world: World, tmp_path: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    surroundings = world.domainsched(**variables)
    ended = surroundings.run(*arguments, wrapper=EXECUTED)
    with fleet(tmp_path, surroundings.environment) as ships:
        worker = ships.start(*arguments)
        code = ships.end(worker)
    assert (code, worker.out.read_text(), worker.err.read_text()) == (
        ended.code,
        ended.out,
        ended.err,
    )


def test_a_fleet_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    world.add("a.test", "b.test")
    world.add("c.test", "d.test", behaviour=never())
    with fleet(tmp_path, world.domainsched().environment) as ships:
        worker = ships.start("process", "--json")
        for name in ("c.test", "d.test"):
            world.sites.wait_for_requests(name, timeout=PATIENCE)
        family = [ships.pid, *descendants(ships.pid)]
        assert ships.pid_of(worker) in family
    assert all(has_ended(pid) for pid in family)
