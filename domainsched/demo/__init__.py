"""The thirty-second tour: sample sites served on loopback, processed in a database of their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from tempfile import mkdtemp
from typing import Any

from domainsched.addresses import Address
from domainsched.batch import process
from domainsched.config import Settings
from domainsched.credit import CreditBudget
from domainsched.database.adding import Order
from domainsched.database.connection import Database
from domainsched.database.schema import init
from domainsched.database.store import Store
from domainsched.database.table import TableName
from domainsched.dburl import DatabaseUrl
from domainsched.demo.server import Ports, authority, connections, serving
from domainsched.demo.sites import SERVED, SITES, Site
from domainsched.embedded import EmbeddedServer
from domainsched.errors import ExitCode
from domainsched.job import Job, Surroundings
from domainsched.models import Status
from domainsched.names import canonical
from domainsched.reporting.report import Report
from domainsched.worker import Stop

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What came of one sample site, and how it differs from what is right."""

    site: Site
    row: Row
    differences: tuple[str, ...]


async def demonstrate(environ: Mapping[str, str], report: Report) -> int:
    """Add, process and inspect the sample sites; exit code 1 if anything is not as known.

    A signal ends it at once, and nothing is left: the files and the server are for it alone.
    """
    stop, task = Stop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    with stop.on_signals(task.cancel, task.cancel):
        try:
            findings = await _findings(environ, report, stop)
        except asyncio.CancelledError:
            if stop.signal is None:
                raise
            return 128 + stop.signal
    report.demo([_described(finding) for finding in findings])
    return ExitCode.FAILURE if any(finding.differences for finding in findings) else ExitCode.OK


async def _findings(environ: Mapping[str, str], report: Report, stop: Stop) -> list[Finding]:
    async with serving(SERVED) as ports, _database(environ, report) as database:
        settings = Settings.load({}, _variables(SERVED, ports))
        table = await init(database, TableName.parse("domains"), settings.lease)
        store = Store(database, table)
        report.info(f"adding {len(SITES)} sample sites, served on 127.0.0.1 by this program")
        names = [canonical(site.name) for site in SITES]
        await store.add(names, Order(settings.default_tenant))
        with report.running(len(SITES)):
            await process(
                database,
                table,
                settings,
                Job(
                    "demo",
                    CreditBudget(settings.scraper_budget),
                    surroundings=Surroundings(_resolve, (authority(),)),
                ),
                stop=stop,
                on_begin=report.begun,
                on_settled=report.advanced,
            )
        return [_finding(site, await _row(store, site)) for site in SITES]


@asynccontextmanager
async def _database(environ: Mapping[str, str], report: Report) -> AsyncIterator[Database]:
    """Start a database in a directory of its own, which is gone afterwards."""
    report.info("starting a database for the demo alone; yours is not touched")
    with _home() as home, EmbeddedServer.at(home, environ, settings={"fsync": "off"}) as server:
        async with Database(DatabaseUrl(server.connection_keywords)) as database:
            yield database


# Tried again, since a server that has just been told to end, or an initdb, may still be writing.
_SWEEPER = """
cat > /dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
    server=$(head -n 1 "$0/data/postmaster.pid")
    case "$server" in *[!0-9]* | "") ;; *) kill -QUIT "$server" && sleep 1 ;; esac
    rm -rf "$0"
    [ -e "$0" ] || exit 0
    sleep 1
done
"""


@contextmanager
def _home() -> Iterator[Path]:
    """Make a directory that does not outlive us, and no more does the server in it.

    It is cleared away by a process that reads a pipe which ends when we do: even by `kill -9`.
    """
    home = Path(mkdtemp(prefix="domainsched-demo-"))
    with Popen(
        ["/bin/sh", "-c", _SWEEPER, str(home)],
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=DEVNULL,
        cwd="/",
        start_new_session=True,  # Ctrl-C is for us
    ):
        home.chmod(0o711)  # as root, PostgreSQL runs as somebody else, who must get in
        yield home


def _variables(served: Iterable[str], ports: Ports) -> dict[str, str]:
    return {
        **connections(served, ports),
        "DOMAINSCHED_LIMIT": "0",
        "DOMAINSCHED_TIMEOUT": "10s",
        "DOMAINSCHED_MAX_ATTEMPTS": "1",
        "DOMAINSCHED_PER_ADDRESS": "0",
    }


async def _resolve(host: str) -> Sequence[Address]:
    """Answer for addresses alone: what is not served does not exist, and nobody is asked."""
    try:
        return [ip_address(host)]
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None


async def _row(store: Store, site: Site) -> Row:
    rows, _ = await store.named([canonical(site.name)])
    return rows[0]


def _finding(site: Site, row: Row) -> Finding:
    expected: dict[str, Any] = {
        **site.expected,
        "status": (Status.ERROR if site.fails_as else Status.COMPLETED).value,
        "last_error_kind": site.fails_as and site.fails_as.value,
    }
    differences = tuple(
        f"{column} is {row[column]!r}, not {right!r}"
        for column, right in expected.items()
        if row[column] != right
    )
    return Finding(site, row, differences)


def _described(finding: Finding) -> dict[str, Any]:
    row = finding.row
    return {
        "domain": finding.site.name,
        "shows": finding.site.shows,
        "status": row["status"],
        "kind": row["last_error_kind"],
        "title": row["title"],
        "technologies": list((row["tech_stack"] or {}).get("technologies") or {}),
        "ok": not finding.differences,
        "differences": list(finding.differences),
    }
