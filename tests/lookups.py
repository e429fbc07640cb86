"""Visits sites by what a name server says; the process and its network are a test's own.

Run by test_lookups.py in a network namespace, with a resolv.conf that names 127.0.0.1. Prints one
JSON object: for each name how the visit ended, and what strangers' servers saw of it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from contextlib import ExitStack, suppress
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from threading import Thread
from typing import Any

import dns.rcode
from nameserver import Name, NameServer, always
from sites import Sites, page, redirect, running_sites, sequence
from visits import home, limits

from domainsched.addresses import AddressPolicy
from domainsched.fetch import Fetcher
from domainsched.models import Page

HERE = {"A": "127.0.0.1"}
"""Where the sites are: the one address that may be contacted."""
CANARY = "127.66.0.1"
"""Where nobody may come."""


def once(first: dict[str, str], then: dict[str, str]) -> Name:
    """Answer differently after the first time, as a rebinding attack does."""
    return lambda number: first if number == 0 else then


NAMES: dict[str, Name] = {
    "fine.test": always(HERE),
    "alias.test": always({"CNAME": "fine.test."}),
    "some.test": always({"A": f"{CANARY} 127.0.0.1"}),
    "none.test": always(dns.rcode.NXDOMAIN),
    "broken.test": always(dns.rcode.SERVFAIL),
    "refused.test": always(dns.rcode.REFUSED),
    "silent.test": always(None),
    "empty.test": always({}),
    "private.test": always({"A": "10.0.0.1"}),
    "inside.test": always({"CNAME": "inner.test."}),
    "inner.test": always({"A": CANARY}),
    "mapped.test": always({"AAAA": "::ffff:127.0.0.1"}),
    "metadata.test": always({"A": "169.254.169.254"}),
    "rebound.test": once(HERE, {"A": CANARY}),
    "returning.test": once(HERE, {"A": CANARY}),
    "only.test": always(dns.rcode.NXDOMAIN),
    "www.only.test": always(HERE),
}


class Canary:
    """Counts who connects to an address where nobody may come."""

    def __init__(self, ports: tuple[int, ...]) -> None:
        self.visitors = 0
        for port in ports:
            listening = socket.create_server((CANARY, port))
            Thread(target=self._count, args=(listening,), daemon=True).start()

    def _count(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listening.accept()[0].close()
                self.visitors += 1


async def visit(sites: Sites, name: str) -> dict[str, Any]:
    settings = limits(
        sites,
        addresses=AddressPolicy(allowed=(ip_network("127.0.0.1/32"),)),
        connect_to=sites.connect_to_ports,
        ignore_robots=True,
        timeout=timedelta(seconds=60),
    )
    async with Fetcher(settings) as fetcher:
        outcome = await home(fetcher, name)
    if isinstance(outcome, Page):
        return {"url": outcome.url, "ip_address": outcome.ip_address}
    return {
        "kind": outcome.kind,
        "detail": outcome.detail,
        "unreachable": outcome.unreachable,
    }


async def visited(sites: Sites) -> dict[str, dict[str, Any]]:
    """Visit one after the other: all at once, on a busy machine, would wait too long for answers.

    The server that is silent is waited for beside the others.
    """
    names = [name for name in NAMES if not name.startswith(("www.", "inner.", "silent."))]
    silent = asyncio.create_task(visit(sites, "silent.test"))
    ended = {name: await visit(sites, name) for name in names}
    return {**ended, "silent.test": await silent}


def main() -> None:
    """Visit every name, each once."""
    with ExitStack() as stack:
        sites = stack.enter_context(running_sites())
        sites.add("fine.test", "alias.test", "rebound.test", "www.only.test")
        back = redirect("http://returning.test/again")
        sites.add("returning.test", behaviour=sequence(back, page()))
        canary = Canary((sites.http_port, sites.https_port))
        server = stack.enter_context(NameServer(NAMES))
        outcomes = asyncio.run(visited(sites))
        asked = {name: count for (name, kind), count in server.asked.items() if kind == "A"}
        json.dump({"visits": outcomes, "canary": canary.visitors, "asked": asked}, sys.stdout)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = str(Path(folder))
        main()
