"""What PostgreSQL itself may do to a run: end, refuse, run out of something, lock, fall behind."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from threading import Event, Lock, Thread

import psycopg
import pytest
from conftest import Database, fresh_database, reachable_directory
from programs import PATIENCE, Ended, Program, with_proc
from sites import Behaviour, Exchange, Sites, page
from world import PrivateServer, World, behind, cut_off, names

from domainsched.database.connection import PATIENCE as PATIENCE_WITH_A_DATABASE

PASSWORD = "correct-horse-battery"

BEYOND = 4 * PATIENCE_WITH_A_DATABASE.total_seconds()
"""Seconds in which a run whose database stays away has ended, however loaded this machine is."""

pytestmark = pytest.mark.direct("does things to the server that no pooler has a part in")


def until(condition: Callable[[], object], what: str) -> None:
    """Return when it is so; for states that send no event."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it never came to this: {what}"
        time.sleep(0.05)


def is_logged(server: PrivateServer, *parts: str) -> bool:
    """Whether the server has logged a line with all these parts."""
    logs = [log.read_text(errors="replace") for log in server.home.glob("log/*.log")]
    lines = "".join(logs).splitlines()
    return any(all(part in line for part in parts) for line in lines)


def assert_in_words(ended: Ended, what: str) -> None:
    """A database's failure is told in one paragraph that holds no secret."""
    assert (ended.code, ended.out) == (3, "")
    assert ended.but_of_trouble.startswith("error: ")
    assert what in ended.but_of_trouble
    assert ended.err.count("trying again") <= 1
    assert "hint: " in ended.err
    assert "Traceback" not in ended.err
    assert PASSWORD not in ended.err


# --- a server that ends -----------------------------------------------------------------------


def postmaster(server: PrivateServer) -> int:
    return int((server.home / "data" / "postmaster.pid").read_text().split()[0])


@with_proc
def test_a_run_outlives_every_way_in_which_its_server_may_end(
    private_server: PrivateServer, sites: Sites, tmp_path: Path
) -> None:
    """Fast, immediate, killed, and a crash of one backend: one after the other in one run."""
    gates = [Event() for _ in range(4)]
    with ExitStack() as stack:
        for gate in gates:
            stack.callback(gate.set)
        world = World(sites, stack.enter_context(private_server.running()), tmp_path)
        pairs = [names(2, prefix) for prefix in "abcd"]
        for pair, gate in zip(pairs, gates, strict=True):
            world.add(*pair, behaviour=behind(gate))
        program = stack.enter_context(world.start("process", "--concurrency", "2", "--limit", "0"))
        for number, pair, gate in zip((SIGINT, SIGQUIT, SIGKILL), pairs, gates, strict=False):
            wait_for_all(sites, pair)
            private_server.end(number)
            gate.set()
            stack.enter_context(private_server.running())
        wait_for_all(sites, pairs[3])
        kill_a_backend(world)
        gates[3].set()
        ended = program.end()
        assert (ended.code, ended.out, ended.but_of_trouble) == (0, "", "")
        assert set(world.column("status").values()) == {"completed"}
        assert set(world.column("attempts").values()) == {1}
        assert world.visits() == dict.fromkeys(chain(*pairs), 1)


def wait_for_all(sites: Sites, hosts: list[str]) -> None:
    for host in hosts:
        sites.wait_for_requests(host)


def kill_a_backend(world: World) -> None:
    """Crash the server; its postmaster lives on, and refuses everybody until it has recovered."""
    with world.database.connect() as victim, suppress(psycopg.OperationalError):
        os.kill(victim.info.backend_pid, SIGKILL)
        while True:
            victim.execute("SELECT pg_sleep(0.01)")


def test_each_row_is_completed_once_though_each_visit_ends_all_connections(world: World) -> None:
    one_at_a_time = Lock()  # else they would end one another

    def behave(exchange: Exchange) -> None:
        with one_at_a_time:
            cut_off(world)
        page()(exchange)

    world.add(*names(12), behaviour=behave)
    ended = world.run("process", "--limit", "0", "--concurrency", "3")
    assert (ended.code, ended.out, ended.but_of_trouble) == (0, "", "")
    assert set(world.column("status").values()) == {"completed"}
    assert set(world.column("attempts").values()) == {1}
    assert world.visits() == dict.fromkeys(names(12), 1)


# --- a server that refuses, or is in trouble --------------------------------------------------


@dataclass
class Scene:
    """A program on a database of a server that others share, and the road between."""

    name: str
    server: PrivateServer
    world: World
    database: Database
    """As the program knows it: by a role that is no superuser, by a road that can be closed."""
    gate: Event = field(default_factory=Event)

    @property
    def socket(self) -> Path:
        return Path(self.database.keywords["host"]) / ".s.PGSQL.5432"

    @property
    def role(self) -> str:
        return self.database.keywords["user"]

    @property
    def hosts(self) -> list[str]:
        return names(3, self.name)

    def start(self) -> AbstractContextManager[Program]:
        return self.world.start("process", "--concurrency", "2", DATABASE_URL=self.database.url)

    def column(self, name: str) -> list[object]:
        """One column of the table, in the order of the hosts."""
        return list(map(self.world.column(name).get, self.hosts))

    def send_away(self) -> None:
        """End the program's sessions, and nobody else's."""
        sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        self.world.execute(sessions, self.role)

    def wait_until_logged(self, text: str) -> None:
        """Block until the server has refused this scene's program with these words."""
        name = self.world.database.keywords["dbname"]
        until(lambda: is_logged(self.server, name, text), f"{self.name}: {text}")


Lasting = Callable[[Scene], AbstractContextManager[object]]


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a run from its database for a while, or for ever."""

    lasting: Lasting
    felt: str
    """What the server logs when it has refused the run."""
    what: str
    """How the run puts it into words when it has waited long enough."""

    @contextmanager
    def after_two_visits_began(self, scene: Scene) -> Iterator[None]:
        """Begin with two visits in flight, and one still to come."""
        wait_for_all(scene.world.sites, scene.hosts[:2])
        with self.lasting(scene):
            scene.gate.set()
            yield


def between(begin: str, end: str) -> Lasting:
    """Do two things to the role of the program, and end its sessions after the first."""

    @contextmanager
    def lasting(scene: Scene) -> Iterator[None]:
        scene.world.execute(f"ALTER ROLE {scene.role} {begin}")
        scene.send_away()
        yield
        scene.world.execute(f"ALTER ROLE {scene.role} {end}")

    return lasting


def upon_writing(statement: str) -> Lasting:
    """Have the server do something else when a row is to be changed."""

    @contextmanager
    def lasting(scene: Scene) -> Iterator[None]:
        body = f"BEGIN {statement}; RETURN NEW; END"
        scene.world.execute(
            f"CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"
        )
        scene.world.execute(
            "CREATE TRIGGER trouble BEFORE UPDATE ON domains"
            " FOR EACH ROW EXECUTE FUNCTION trouble()"
        )
        yield
        scene.world.execute("DROP TRIGGER trouble ON domains")

    return lasting


def failing(sqlstate: str, text: str) -> Trouble:
    """Send what the server sends when its system refuses it something."""
    words = {"53100": "disk is full", "53200": "out of memory", "58030": "could not go on"}
    raising = f"RAISE EXCEPTION '{text}' USING ERRCODE = '{sqlstate}'"
    return Trouble(upon_writing(raising), text, words[sqlstate])


@contextmanager
def table_locked(scene: Scene) -> Iterator[None]:
    with scene.world.database.connect() as stranger, stranger.transaction():
        stranger.execute("LOCK TABLE domains IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def road_closed(scene: Scene) -> Iterator[None]:
    """Let nobody through to the server, and nobody answer for it."""
    there = scene.socket.readlink()
    scene.socket.unlink()
    scene.send_away()
    yield
    scene.socket.unlink(missing_ok=True)
    scene.socket.symlink_to(there)


STARTING_UP = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


@contextmanager
def starting_up(scene: Scene) -> Iterator[None]:
    """Answer as a server does that cannot take connections yet."""
    with road_closed(scene), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(scene.socket))
        listener.listen()
        thread = Thread(target=refuse_all, args=(listener, scene), daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def refuse_all(listener: socket.socket, scene: Scene) -> None:
    message = b"E" + (len(STARTING_UP) + 4).to_bytes(4, "big") + STARTING_UP
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(message)
            scene.world.execute("DO $$ BEGIN RAISE WARNING 'is starting up'; END $$")


TROUBLES = {
    "readonly": Trouble(
        between("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
        "in a read-only transaction",
        "the database is read-only",
    ),
    "nologin": Trouble(between("NOLOGIN", "LOGIN"), "permitted to log in", "cannot connect"),
    "noplace": Trouble(
        between("CONNECTION LIMIT 0", "CONNECTION LIMIT -1"), "too many connections", "too many"
    ),
    "nodisk": failing("53100", "could not extend file: No space left on device"),
    "nomemory": failing("53200", "out of memory"),
    "badio": failing("58030", "could not read block 0: Input/output error"),
    "locked": Trouble(table_locked, "due to lock timeout", "holds a lock on the table"),
    "slow": Trouble(
        upon_writing("PERFORM pg_sleep(2)"), "due to statement timeout", "a statement took too long"
    ),
    "starting": Trouble(starting_up, "is starting up", "the database system is starting up"),
}


LASTING = ("readonly", "noplace", "nodisk", "locked", "slow", "starting")
"""One of each sort."""
AT_START = {
    "readonly": "the database is read-only",
    "noplace": "too many connections for role",
    "starting": "the database system is starting up",
    "slow": "a statement took too long",
}


@pytest.fixture(scope="module")
def busy_server() -> Iterator[tuple[PrivateServer, Database]]:
    """A server that may be harmed a little, whose log tells which database a line is about."""
    with reachable_directory() as directory:
        server = PrivateServer(directory / "home")
        with server.running() as maintenance:
            with maintenance.connect() as connection:
                connection.execute("ALTER SYSTEM SET log_line_prefix = '%d '")
                connection.execute("SELECT pg_reload_conf()")
            yield server, maintenance


@contextmanager
def staged(
    name: str, place: tuple[PrivateServer, Database], sites: Sites, directory: Path
) -> Iterator[Scene]:
    server, maintenance = place
    with fresh_database(maintenance.keywords) as database, reachable_directory() as road:
        world = World(sites, database, directory)
        real = Path(maintenance.keywords["host"]) / ".s.PGSQL.5432"
        (road / real.name).symlink_to(real)
        role = database.keywords["dbname"]
        for statement in (
            f"CREATE ROLE {role} LOGIN",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
            # Our own limits are set in each transaction; what an operator sets for a role, or in
            # the URL, is to be no trap: see "slow".
            f"ALTER ROLE {role} SET lock_timeout = '1ms'",
        ):
            world.execute(statement)
        own = {"host": str(road), "user": role, "password": PASSWORD}
        if name == "slow":
            own["options"] = "-c statement_timeout=500"
        with ExitStack() as stack:
            scene = Scene(name, server, world, Database(database.keywords | own))
            stack.callback(scene.gate.set)
            world.add(*scene.hosts, behaviour=behind(scene.gate))
            yield scene
        world.execute(f"DROP OWNED BY {role}")
        world.execute(f"DROP ROLE {role}")


Staging = Callable[[str], AbstractContextManager[Scene]]


@pytest.fixture
def stage(busy_server: tuple[PrivateServer, Database], sites: Sites, tmp_path: Path) -> Staging:
    return lambda name: staged(name, busy_server, sites, tmp_path)


def side_by_side(
    play: Callable[[Scene, str], None], stage: Staging, troubles: Iterable[str], at_once: int
) -> None:
    """Have several runs on databases of their own, each with a trouble of its own."""

    def alone(name: str) -> None:
        with stage(name) as scene:
            play(scene, name)

    with ThreadPoolExecutor(at_once) as pool:
        for each in [pool.submit(alone, name) for name in troubles]:
            each.result()


@pytest.mark.timeout(300)
def test_trouble_that_passes_is_waited_for_and_nothing_is_lost(stage: Staging) -> None:
    def play(scene: Scene, name: str) -> None:
        with scene.start() as program:
            with TROUBLES[name].after_two_visits_began(scene):
                scene.wait_until_logged(TROUBLES[name].felt)
            assert_unharmed(scene, program.end())

    side_by_side(play, stage, TROUBLES, at_once=3)


def assert_unharmed(scene: Scene, ended: Ended) -> None:
    assert (ended.code, ended.out, ended.but_of_trouble) == (0, "", "")
    assert set(scene.world.column("status").values()) == {"completed"}
    assert set(scene.world.column("attempts").values()) == {1}
    assert visits(scene) == [1, 1, 1]


def visits(scene: Scene) -> list[int]:
    """How often each of this scene's sites was asked for."""
    return [scene.world.visits()[host] for host in scene.hosts]


def test_a_database_that_stays_away_for_a_while_is_told_once_and_that_it_is_back(
    stage: Staging,
) -> None:
    """A claim waits for it, and a settlement."""
    with stage("away") as scene, scene.start() as program:
        wait_for_all(scene.world.sites, scene.hosts[:2])
        with road_closed(scene):
            scene.gate.set()
            program.wait_for("; trying again for up to 30 s")
        ended = program.end()
        assert_unharmed(scene, ended)
    away, back = ended.err.splitlines()
    assert away.startswith("warning: cannot connect to PostgreSQL at ")
    assert "connection failed" not in away, "in our words"
    assert PASSWORD not in away
    assert back == "warning: the trouble is over; going on"


def test_a_watch_tells_it_once_however_often_it_tries(stage: Staging) -> None:
    """It goes on when the patience of a run has ended."""
    with stage("watched") as scene:
        arguments = ("watch", "--concurrency", "2", "--timeout", "36s")
        with scene.world.start(*arguments, DATABASE_URL=scene.database.url) as program:
            wait_for_all(scene.world.sites, scene.hosts[:2])
            with road_closed(scene):
                scene.gate.set()
                ended = program.end()
    away, *others = ended.err.splitlines()
    assert away.endswith("; trying again")
    assert others == ["error: the time is up, and the database is still away"]


@pytest.mark.timeout(300)
def test_trouble_that_stays_ends_the_run_in_words_and_the_next_run_completes_each_row(
    stage: Staging,
) -> None:
    def play(scene: Scene, name: str) -> None:
        with scene.start() as program, TROUBLES[name].after_two_visits_began(scene):
            assert_in_words(program.end(BEYOND), TROUBLES[name].what)
        assert scene.column("status") == ["processing", "processing", "pending"]
        scene.world.execute("UPDATE domains SET due_at = now()")
        with scene.start() as program:
            assert program.end().code == 0
        assert scene.column("status") == ["completed"] * 3
        assert scene.column("attempts") == visits(scene) == [2, 2, 1]

    side_by_side(play, stage, LASTING, at_once=len(LASTING))


@pytest.mark.timeout(300)
def test_trouble_at_the_start_ends_the_run_in_words_and_nothing_is_touched(stage: Staging) -> None:
    def play(scene: Scene, name: str) -> None:
        with TROUBLES[name].lasting(scene), scene.start() as program:
            assert_in_words(program.end(BEYOND), AT_START[name])
        assert scene.column("status") == ["pending"] * 3
        assert scene.column("attempts") == visits(scene) == [0, 0, 0]

    side_by_side(play, stage, AT_START, at_once=len(AT_START))


def test_limits_of_the_role_are_not_the_run_s(stage: Staging) -> None:
    """A statement of ours takes longer than the role's own sessions may take."""
    with stage("patient") as scene:
        scene.world.execute(f"ALTER ROLE {scene.role} SET statement_timeout = '200ms'")
        scene.gate.set()
        with upon_writing("PERFORM pg_sleep(0.3)")(scene), scene.start() as program:
            assert_unharmed(scene, program.end())


def test_a_failover_first_refuses_then_reads_only_then_goes_on(
    busy_server: tuple[PrivateServer, Database], stage: Staging
) -> None:
    """The old primary is fenced off, the new one is a standby for a while."""
    server, maintenance = busy_server
    with (
        stage("failover") as scene,
        maintenance.connect() as superuser,
        scene.start() as program,
    ):
        wait_for_all(scene.world.sites, scene.hosts[:2])
        with fenced_off(server, superuser, scene):
            scene.gate.set()
            scene.wait_until_logged("pg_hba.conf rejects")
            superuser.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        scene.wait_until_logged("in a read-only transaction")
        superuser.execute("SET default_transaction_read_only = off")
        superuser.execute("ALTER SYSTEM RESET default_transaction_read_only")
        superuser.execute("SELECT pg_reload_conf()")
        assert_unharmed(scene, program.end())


@contextmanager
def fenced_off(
    server: PrivateServer, superuser: psycopg.Connection, scene: Scene
) -> Iterator[None]:
    rules = server.home / "data" / "pg_hba.conf"
    kept = rules.read_text()
    rules.write_text(f"local all {scene.role} reject\n{kept}")
    superuser.execute("SELECT pg_reload_conf()")
    scene.send_away()
    yield
    rules.write_text(kept)
    superuser.execute("SELECT pg_reload_conf()")


# --- rows that a stranger locks ---------------------------------------------------------------


@contextmanager
def locked(world: World, domain: str) -> Iterator[None]:
    """Hold a lock on one row, as somebody does who forgot to commit."""
    with world.database.connect() as stranger, stranger.transaction():
        stranger.execute("SELECT FROM domains WHERE domain = %s FOR UPDATE", [domain])
        yield


def are_completed(world: World, *domains: str) -> bool:
    statuses = world.column("status")
    return {statuses[domain] for domain in domains} == {"completed"}


def test_a_row_that_is_locked_for_a_while_keeps_no_neighbour_from_its_lease_or_its_end(
    world: World, gate: Event
) -> None:
    gate_of_the_locked = Event()

    def ahead_of_the_others(exchange: Exchange) -> None:
        page()(exchange)
        exchange.wait_until_closed()
        gate.set()

    world.add("n00.test", behaviour=behind(gate_of_the_locked, ahead_of_the_others))
    world.add(*names(4)[1:], behaviour=behind(gate))
    limits = ("--lease", "48s", "--timeout", "24s")
    with world.start("process", *limits) as program:
        wait_for_all(world.sites, names(4))
        leases = world.column("due_at")
        with locked(world, "n00.test"):
            until(lambda: leases["n01.test"] < world.column("due_at")["n01.test"], "a heartbeat")
            gate_of_the_locked.set()
            until(lambda: are_completed(world, "n01.test", "n02.test", "n03.test"), "the others")
            assert world.column("status")["n00.test"] == "processing"
        ended = program.end()
    assert (ended.code, ended.out, ended.but_of_trouble) == (0, "", "")
    assert set(world.column("status").values()) == {"completed"}
    assert set(world.column("attempts").values()) == {1}
    assert world.visits() == dict.fromkeys(names(4), 1)


def test_a_row_that_stays_locked_is_left_to_its_lease_and_the_run_goes_on(
    world: World, gate: Event
) -> None:
    world.add(*names(3), behaviour=behind(gate))
    world.add("later.test")
    with world.start("process", "--concurrency", "3") as program:
        wait_for_all(world.sites, names(3))
        with locked(world, "n00.test"):
            gate.set()
            ended = program.end(BEYOND)
    assert (ended.code, ended.out) == (0, "")
    assert "cannot end n00.test, left to its lease: an open transaction of " in ended.err
    others = {"later.test", *names(3)} - {"n00.test"}
    assert are_completed(world, *others)
    row = world.rows()["n00.test"]
    assert (row["status"], row["attempts"], row["title"]) == ("processing", 1, None)
    world.execute("UPDATE domains SET due_at = now() WHERE status = 'processing'")
    assert world.run("process").code == 0
    assert world.column("attempts") == {"n00.test": 2, **dict.fromkeys(others, 1)}
    assert world.visits() == {"n00.test": 2, **dict.fromkeys(others, 1)}


# --- a disk that is full ----------------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system with room for a few pages, for PostgreSQL's user."""
    with reachable_directory() as directory:
        mount = ("mount", "-t", "tmpfs", "-o", "size=512k,mode=777", "none", str(directory))
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this system lets us mount nothing")
        try:
            yield directory
        finally:
            subprocess.run(("umount", "--lazy", str(directory)), check=True)


def large() -> Behaviour:
    """A page whose results do not fit where the claimed row stands."""
    links = "".join(f"<a href='mailto:someone{n}@large.test'>{n}</a>" for n in range(200))
    return page(
        f"<title>Large</title><meta name=description content='{os.urandom(900).hex()}'>{links}"
    )


def test_a_full_disk_is_waited_for_and_nothing_is_lost(
    private_server: PrivateServer, small_disk: Path, sites: Sites, tmp_path: Path, gate: Event
) -> None:
    with private_server.running() as database:
        data = private_server.home / "data"
        os.chown(small_disk, data.stat().st_uid, data.stat().st_gid)
        world = World(sites, database, tmp_path)
        world.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        world.execute("ALTER TABLE domains SET TABLESPACE small")
        world.add(*names(8), behaviour=behind(gate, large()))
        with world.start("process", "--concurrency", "8") as program:
            wait_for_all(sites, names(8))
            filler = small_disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            gate.set()
            until(lambda: is_logged(private_server, "No space left on device"), "a full disk")
            filler.unlink()
            ended = program.end()
        assert (ended.code, ended.out, ended.but_of_trouble) == (0, "", "")
        assert set(world.column("status").values()) == {"completed"}
        assert set(world.column("attempts").values()) == {1}
        assert world.visits() == dict.fromkeys(names(8), 1)
        world.execute("ALTER TABLE domains SET TABLESPACE pg_default")
        world.execute("DROP TABLESPACE small")
