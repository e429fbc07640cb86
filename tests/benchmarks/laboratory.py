"""What all benchmarks share: a network and a database of their own, and fair measuring.

Contenders run as processes of their own, in turns; the CPU time of each is its user and system
time with that of the children it waited for. Figures are medians, ratios are of one run.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from network import UNSHARE, in_own_network

from domainsched.embedded import EmbeddedServer

HERE = Path(__file__).parent
CONTENDERS = HERE / "contenders"
DOMAINSCHED = (sys.executable, "-m", "domainsched")
_INSIDE = "BENCHMARK_NETWORK"
_RESOLVER = "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n"


def enter_own_network() -> None:
    """Begin this program anew where it has a loopback and a name server of its own (Linux)."""
    if os.environ.pop(_INSIDE, None):
        return
    if UNSHARE is None:
        sys.exit("error: benchmarks need unshare (util-linux) for a network of their own")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
        resolver.write(_RESOLVER)
        resolver.flush()
        command = in_own_network(resolver.name, sys.executable, *sys.argv)
        ended = subprocess.run(command, env={**os.environ, _INSIDE: "yes"}, check=False)
    sys.exit(ended.returncode)


@dataclass(frozen=True)
class Result:
    """One run of one contender."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system, children included."""
    peak: float
    """Megabytes of the largest process."""
    output: str


def run(command: Sequence[str], environ: Mapping[str, str]) -> Result:
    """Run a contender to its end; it must succeed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begun = time.monotonic()
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=err, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begun
        out.seek(0)
        err.seek(0)
        if process.returncode:
            sys.exit(f"error: {' '.join(command)} ended with {process.returncode}\n{err.read()}")
        return Result(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read())


@dataclass
class Laboratory:
    """A folder, a database server and, where it is wished for, a farm."""

    folder: Path
    keywords: dict[str, str]
    database: str = "bench"

    @property
    def url(self) -> str:
        """Of the database, for DATABASE_URL and for any other client of libpq's."""
        host, user = self.keywords["host"], self.keywords["user"]
        return f"postgresql://{user}@/{self.database}?host={host}"

    @property
    def environ(self) -> dict[str, str]:
        """What domainsched needs to work here."""
        return {
            **os.environ,
            "DATABASE_URL": self.url,
            "SSL_CERT_FILE": str(self.folder / "ca.pem"),
            "DOMAINSCHED_ALLOW_NETWORK": "127.10.0.0/16",
            "DOMAINSCHED_HOME": str(self.folder / "home"),
        }

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self, hosts: int) -> None:
        """Make a table of that many sites, all due."""
        self.recreate()
        subprocess.run([*DOMAINSCHED, "init", "--yes"], env=self.environ, check=True)
        self.execute(
            "INSERT INTO domains (domain)"
            " SELECT 'site' || lpad(n::text, greatest(5, length(n::text)), '0') || '.bench.test'"
            f" FROM generate_series(1, {hosts}) n"
        )
        self.execute("VACUUM ANALYZE domains")

    def recreate(self) -> None:
        """Have an empty database."""
        others = self.url.replace(f"/{self.database}?", "/postgres?")
        with psycopg.connect(others, autocommit=True) as maintenance:
            maintenance.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)".encode())
            maintenance.execute(f"CREATE DATABASE {self.database}".encode())


@contextmanager
def laboratory(*, farm: bool = False, latency: bool = False) -> Iterator[Laboratory]:
    """Set all up, and take it down again."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")))
        folder.chmod(0o755)
        server = stack.enter_context(EmbeddedServer.at(folder / "server", os.environ))
        if farm:
            stack.enter_context(_farm(folder, latency=latency))
        yield Laboratory(folder, server.connection_keywords)


@contextmanager
def _farm(folder: Path, *, latency: bool) -> Iterator[None]:
    command = [
        sys.executable,
        str(HERE / "farm.py"),
        str(folder),
        *(["--latency"] if latency else []),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as farm:
        assert farm.stdout is not None
        assert farm.stdin is not None
        if farm.stdout.readline() != "ready\n":
            sys.exit("error: the farm did not start")
        try:
            yield
        finally:
            farm.stdin.close()
            farm.wait()


Measured = dict[str, list[Result]]


def alternate(contenders: Mapping[str, Callable[[], Result]], rounds: int) -> Measured:
    """Let each run once in each round."""
    results: Measured = {name: [] for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            results[name].append(contender())
            last = results[name][-1]
            print(
                f"  round {number + 1} {name}: {last.wall:.1f} s, CPU {last.cpu:.1f} s",
                file=sys.stderr,
            )
    return results


def table(results: Measured, work: int, ours: str, unit: str = "domain") -> str:
    """Draw medians, and ratios to ours taken within each round."""
    lines = [
        f"| | CPU-ms a {unit} | ours takes, of its CPU | {unit}s/s | peak MB |",
        "|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        cpu = median(each.cpu for each in runs) * 1000 / work
        ratio = median(own.cpu / each.cpu for own, each in zip(results[ours], runs, strict=True))
        rate = median(work / each.wall for each in runs)
        peak = median(each.peak for each in runs)
        lines.append(f"| {name} | {cpu:.2f} | {ratio:.2f} | {rate:.0f} | {peak:.0f} |")
    return "\n".join(lines)


def machine() -> str:
    """Say where and with what this was measured."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    python = platform.python_version()
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {python}"
