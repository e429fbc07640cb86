"""Several machines on one queue, as network namespaces whose cables can be pulled out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Event

import pytest
from conftest import Database, reachable_directory
from programs import Ended, Program, Surroundings
from sites import Behaviour, Exchange, Sites, page, running_sites
from world import World, names

from domainsched.embedded import EmbeddedServer

IP = shutil.which("ip", path=f"{os.defpath}:/usr/sbin:/sbin")
WORKERS = 2
"""On each machine; each visits two sites at a time."""


def ip(*arguments: str) -> None:
    assert IP is not None
    subprocess.run([IP, *arguments], check=True, capture_output=True, text=True, timeout=30)


# --- machines ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """A switch; this process is connected to it, and so are machines.

    Its addresses are of the range that is kept for such tests (RFC 2544), its names are the
    process's own: test runs side by side do not meet.
    """

    name: str = f"ds{os.getpid()}"
    prefix: str = f"198.{18 + os.getpid() // 256 % 2}.{os.getpid() % 256}"

    @property
    def address(self) -> str:
        """Where this process is found."""
        return f"{self.prefix}.1"

    @property
    def everybody(self) -> str:
        return f"{self.prefix}.0/24"

    @contextmanager
    def switched_on(self) -> Iterator[Network]:
        try:
            ip("link", "add", self.name, "type", "bridge")
            ip("addr", "add", f"{self.address}/24", "dev", self.name)
            ip("link", "set", self.name, "up")
            yield self
        finally:
            with suppress(subprocess.CalledProcessError):
                ip("link", "del", self.name)


@dataclass(frozen=True)
class Machine:
    """A network namespace and the cable to the switch."""

    network: Network
    number: int

    @property
    def name(self) -> str:
        return f"{self.network.name}-{self.number}"

    @property
    def wrapper(self) -> tuple[str, ...]:
        """What a command begins with that is to run there."""
        return (str(IP), "netns", "exec", self.name)

    @contextmanager
    def installed(self) -> Iterator[Machine]:
        address = f"{self.network.prefix}.{self.number + 1}/24"
        try:
            ip("netns", "add", self.name)
            ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            ip("link", "set", self.name, "master", self.network.name, "up")
            ip("-n", self.name, "addr", "add", address, "dev", "eth0")
            ip("-n", self.name, "link", "set", "eth0", "up")
            yield self
        finally:
            with suppress(subprocess.CalledProcessError):
                ip("link", "del", self.name)
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", self.name)

    def pull_the_cable(self) -> None:
        """Let nothing come or go any more; nobody is told."""
        ip("link", "set", self.name, "down")

    def plug_the_cable_in(self) -> None:
        ip("link", "set", self.name, "up")


@pytest.fixture
def network() -> Iterator[Network]:
    if IP is None or os.geteuid() != 0:
        pytest.skip("only root makes network namespaces, by the program ip")
    network = Network()
    with ExitStack() as stack:
        try:
            stack.enter_context(network.switched_on())
            stack.enter_context(Machine(network, 99).installed())
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield network


@pytest.fixture
def machines(network: Network) -> Iterator[list[Machine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Machine(network, number).installed()) for number in (1, 2, 3)]


# --- what they work on ------------------------------------------------------------------------


@pytest.fixture
def database(network: Network) -> Iterator[Database]:
    """A database that is reached over the network; a connection that is cut is noticed soon."""
    settings = {"listen_addresses": network.address, "fsync": "off"}
    with (
        reachable_directory() as directory,
        EmbeddedServer.at(directory / "home", os.environ, settings=settings) as server,
    ):
        straight = Database(server.connection_keywords)
        with (server.home / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"\nhost all all {network.everybody} trust\n")
        with straight.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
        far = {"host": network.address, "connect_timeout": "2", "tcp_user_timeout": "3000"}
        yield Database(server.connection_keywords | far, server.connection_keywords)


@pytest.fixture
def sites(network: Network) -> Iterator[Sites]:
    with running_sites(network.address) as running:
        yield running


@pytest.fixture
def surroundings(world: World, network: Network) -> Surroundings:
    return world.domainsched(DOMAINSCHED_ALLOW_NETWORK=network.everybody)


def first_behind(gate: Event) -> Behaviour:
    """Answer the first visitor when the gate opens, later ones at once; each page says which."""
    visits: dict[str, int] = {}

    def behave(exchange: Exchange) -> None:
        host = exchange.received.host
        visits[host] = visits.get(host, 0) + (exchange.received.path == "/")
        number = visits[host]
        if number == 1:
            gate.wait(120)
        page(f"<title>Visit {number}</title>")(exchange)

    return behave


CONCURRENCY = 2
PLACES = WORKERS * CONCURRENCY
"""Of a machine."""
OPTIONS = f"--limit 0 --concurrency {CONCURRENCY} --lease 90s --timeout 45s"
PROCESS = ("process", *OPTIONS.split())


# --- the test ---------------------------------------------------------------------------------


@contextmanager
def working(surroundings: Surroundings, machines: list[Machine]) -> Iterator[list[list[Program]]]:
    """Run the workers of each machine."""
    with ExitStack() as stack:
        yield [
            [
                stack.enter_context(surroundings.start(*PROCESS, wrapper=machine.wrapper))
                for _ in range(WORKERS)
            ]
            for machine in machines
        ]


def hosts_of(world: World, programs: list[Program]) -> set[str]:
    """Whose rows these processes hold."""
    pids = {str(program.pid) for program in programs}
    return {
        domain
        for domain, row in world.rows().items()
        if row["status"] == "processing" and row["claimed_by"].split(":")[1] in pids
    }


def statuses(world: World) -> Counter[str]:
    return Counter(world.column("status").values())


def refused(ended: list[Ended]) -> list[str]:
    """Whose results were dropped, as the programs say."""
    return sorted(re.findall(r"lost the lease on (\S+); this result was dropped", str(ended)))


BOUND = 180
"""Seconds; a run gives a lost database up after 30, and notices within 30 that it is lost: so long
have others, on a busy machine, to do what it held. And as much for slow machines."""


@pytest.mark.timeout(600)
@pytest.mark.direct("it has a server of its own, reached over a network of its own")
def test_what_a_machine_held_that_is_cut_off_is_done_by_others_and_its_results_are_refused(
    world: World, surroundings: Surroundings, machines: list[Machine], gate: Event
) -> None:
    everything = names(18)
    world.add(*everything, behaviour=first_behind(gate))
    cut, returning, staying = machines
    with working(surroundings, machines) as (of_cut, of_returning, of_staying):
        for name in everything:  # silent sites give way, so that nothing is left to be claimed
            world.sites.wait_for_requests(name, timeout=60)
        lost, stale = hosts_of(world, of_cut), hosts_of(world, of_returning)
        assert min(len(lost), len(stale)) >= PLACES
        cut.pull_the_cable()
        returning.pull_the_cable()
        gate.set()
        assert [program.end(BOUND) for program in of_staying] == [Ended(0, "", "")] * WORKERS
        assert statuses(world)["processing"] == len(lost | stale)

        world.execute("UPDATE domains SET due_at = now() WHERE status = 'processing'")
        assert surroundings.run(*PROCESS, wrapper=staying.wrapper) == Ended(0, "", "")
        done = world.rows()
        assert statuses(world) == {"completed": 18}
        assert {done[name]["title"] for name in lost | stale} == {"Visit 2"}
        assert {done[name]["attempts"] for name in lost | stale} == {2}

        returning.plug_the_cable_in()
        back = [program.end(BOUND) for program in of_returning]
        assert [each.code for each in back] == [0] * WORKERS
        assert refused(back) == sorted(stale)

        gone = [program.end(BOUND) for program in of_cut]
        assert [(each.code, each.out) for each in gone] == [(3, "")] * WORKERS
        assert all(each.but_of_trouble.startswith("error: ") for each in gone)
        assert world.rows() == done, "no stale result was written"

        cut.plug_the_cable_in()
        world.add("later.test")
        assert surroundings.run(*PROCESS, wrapper=cut.wrapper) == Ended(0, "", "")
        assert statuses(world) == {"completed": 19}
