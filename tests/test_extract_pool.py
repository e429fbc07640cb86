"""The extraction pool with real processes: stalls, deaths, secrets, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest

from domainsched import extract_page
from domainsched.errors import DomainschedError
from domainsched.extract.frames import BEGUN, LENGTH, READY, frame
from domainsched.extract.guard import cut
from domainsched.extract.pool import ExtractionPool
from domainsched.models import Failed, Kind, Page

GOOD = b"<title>Acme</title><p>info@acme-tools.com"
POISON = b"<dl a=</dl>" * 180_000
"""2 MB of open elements that look closed: passes the guard, takes the parser over a minute."""

LONG = timedelta(seconds=60)
PATIENCE = 60

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def page(body: bytes = GOOD) -> Page:
    return Page(
        url="https://acme-tools.com/",
        status=200,
        headers={"content-type": "text/html"},
        body=body,
        elapsed=timedelta(),
        ip_address="192.0.2.1",
    )


def children(parent: int | None = None) -> set[int]:
    """The extraction processes whose parent is this one, or `parent`."""
    parent = parent or os.getpid()
    return {pid for pid, parent_pid in _processes() if parent_pid == parent}


def _processes() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"domainsched.extract.child" in command:
            yield int(entry.name), parent


def is_gone(pid: int) -> bool:
    """Gone, or dead and only waiting for whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def until_busy(pid: int) -> None:
    """Wait until the process burns: it is in the midst of a page."""

    began = _spent(pid)
    async with asyncio.timeout(20):
        while _spent(pid) < began + 0.2:  # noqa: ASYNC110 - another process's clock
            await asyncio.sleep(0.01)


def _spent(pid: int) -> float:
    """Seconds of CPU time, in user mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


async def test_a_page_gives_what_extract_page_gives() -> None:
    async with ExtractionPool(1) as pool:
        found = await pool.extract(page())
    assert found == extract_page(GOOD, "https://acme-tools.com/", {"content-type": "text/html"})


@linux_only
async def test_no_process_starts_before_a_page_comes_and_none_is_left_after() -> None:
    async with ExtractionPool(2) as pool:
        assert children() == set()
        await pool.extract(page())
        assert len(children()) == 1
    assert children() == set()


async def test_a_page_that_stalls_the_parser_is_stopped_and_the_next_one_is_fine() -> None:
    assert cut(POISON.decode()) == POISON.decode()
    async with ExtractionPool(1, timeout=timedelta(seconds=4)) as pool:
        began = time.monotonic()
        failed = await pool.extract(page(POISON))
        assert time.monotonic() - began < 30
        assert isinstance(failed, Failed)
        assert failed.kind is Kind.CRASHED
        assert failed.detail == "the extraction of the page took more than 4 s and was stopped"
        assert isinstance(await pool.extract(page()), dict)


async def test_two_megabytes_of_open_elements_end_within_the_limit() -> None:
    async with ExtractionPool(1, timeout=LONG) as pool:
        found = await pool.extract(page(b"<title>Acme</title>" + b"<div>" * 400_000))
    assert isinstance(found, dict)
    assert (found["title"], found["domain_metadata"]["cut"]) == ("Acme", True)


@linux_only
async def test_a_death_in_the_midst_of_a_page_is_charged_to_that_page_alone() -> None:
    async with ExtractionPool(2, timeout=LONG) as pool:
        await pool.extract(page())
        poisoned = asyncio.create_task(pool.extract(page(POISON)))
        (busy,) = children()
        await until_busy(busy)
        others = [asyncio.create_task(pool.extract(page())) for _ in range(12)]
        assert all(isinstance(found, dict) for found in await asyncio.gather(*others))
        os.kill(busy, signal.SIGKILL)
        failed = await poisoned
        assert isinstance(failed, Failed)
        assert failed.kind is Kind.CRASHED
        assert isinstance(await pool.extract(page()), dict)


@linux_only
async def test_the_death_of_an_idle_process_is_charged_to_no_page() -> None:
    async with ExtractionPool(1) as pool:
        await pool.extract(page())
        (idle,) = children()
        os.kill(idle, signal.SIGKILL)
        assert isinstance(await pool.extract(page()), dict)


async def test_a_page_that_needs_too_much_memory_fails_alone() -> None:
    async with ExtractionPool(1, memory_bytes=160 * 1024 * 1024, timeout=LONG) as pool:
        failed = await pool.extract(page(b"<p>x" * 500_000))
        assert isinstance(failed, Failed)
        assert failed.kind is Kind.CRASHED
        assert isinstance(await pool.extract(page()), dict)


@linux_only
async def test_a_cancelled_page_ends_its_process_and_frees_its_place() -> None:
    async with ExtractionPool(1, timeout=LONG) as pool:
        await pool.extract(page())
        (pid,) = children()
        reading = asyncio.create_task(pool.extract(page(POISON)))
        await until_busy(pid)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert is_gone(pid)
        assert isinstance(await pool.extract(page()), dict)


@linux_only
async def test_closing_ends_busy_processes_at_once_and_charges_nobody() -> None:
    async with ExtractionPool(1, timeout=LONG) as pool:
        await pool.extract(page())
        (pid,) = children()
        reading = asyncio.create_task(pool.extract(page(POISON)))
        await until_busy(pid)
        began = time.monotonic()
    assert time.monotonic() - began < LONG.total_seconds() / 2
    assert is_gone(pid)
    with pytest.raises(DomainschedError, match="the extraction pool is closed"):
        await reading
    with pytest.raises(DomainschedError, match="the extraction pool is closed"):
        await pool.extract(page())


@linux_only
async def test_many_pages_share_few_processes() -> None:
    bodies = [f"<title>{n}</title>".encode() for n in range(40)]
    async with ExtractionPool(2) as pool:
        found = await asyncio.gather(*(pool.extract(page(body)) for body in bodies))
        assert len(children()) == 2
    assert [columns["title"] for columns in found if isinstance(columns, dict)] == [
        str(n) for n in range(40)
    ]


async def test_a_handful_of_pages_is_not_worth_a_second_process() -> None:
    async with ExtractionPool(2) as pool:
        await asyncio.gather(*(pool.extract(page()) for _ in range(6)))
        assert len(children()) == 1


@linux_only
async def test_signals_to_the_whole_group_leave_the_processes_to_the_parent() -> None:
    async with ExtractionPool(1) as pool:
        await pool.extract(page())
        (pid,) = children()
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert isinstance(await pool.extract(page()), dict)
        assert children() == {pid}


@linux_only
async def test_no_secret_of_the_environment_reaches_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:tr0ub4dor@db/x")
    monkeypatch.setenv("SCRAPER_API_KEY", "tr0ub4dor")
    async with ExtractionPool(1) as pool:
        await pool.extract(page())
        (pid,) = children()
        environment = environment_of(pid)
    assert b"PYTHONPATH=" in environment
    assert b"tr0ub4dor" not in environment


async def test_a_process_that_cannot_start_is_an_error_of_ours_not_of_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    async with ExtractionPool(1) as pool:
        with pytest.raises(DomainschedError, match="cannot start an extraction process"):
            await pool.extract(page())


PARENT = """
import asyncio, sys
from test_extract_pool import GOOD, LONG, POISON, page
from domainsched.extract.pool import ExtractionPool
async def main():
    async with ExtractionPool(2, timeout=LONG) as pool:
        await pool.extract(page())
        reading = asyncio.create_task(pool.extract(page(POISON)))
        await asyncio.sleep(0)  # it takes the idle process, and so many wait a new one
        await asyncio.gather(*(pool.extract(page()) for _ in range(12)))
        print("both at work", flush=True)
        await reading
asyncio.run(main())
"""


@linux_only
async def test_a_parent_killed_outright_leaves_no_process_busy_or_idle() -> None:
    path = [str(Path(__file__).parent), *sys.path]
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"both at work\n"
    orphans = children(parent.pid)
    assert len(orphans) == 2
    await until_busy(min(orphans))
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(10):
        while not all(map(is_gone, orphans)):  # noqa: ASYNC110 - not our children to wait for
            await asyncio.sleep(0.01)


@linux_only
def test_a_page_that_burns_on_is_ended_by_the_kernel_whatever_its_process_used_before() -> None:
    """The kernel's own account of that runs ahead of the one that can be asked for."""
    seconds = 0.2
    with (
        subprocess.Popen(
            [sys.executable, "-P", "-m", "domainsched.extract.child", str(2**29), str(seconds), ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child,
        ExitStack() as stack,
    ):
        stack.callback(child.kill)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.read(LENGTH.size + len(READY)) == frame(READY)
        while _spent(child.pid) < 2 * (seconds + 1):
            _ask(child.stdin, b"<title>Acme</title>" + b"<p>info@acme-tools.com" * 2_000)
            assert child.stdout.read(LENGTH.size + len(BEGUN)) == frame(BEGUN)
            (length,) = LENGTH.unpack(child.stdout.read(LENGTH.size))
            assert json.loads(child.stdout.read(length))["title"] == "Acme"
        ours = resource.getrlimit(resource.RLIMIT_CPU)
        assert resource.prlimit(child.pid, resource.RLIMIT_CPU) == ours
        _ask(child.stdin, POISON)
        assert child.wait(PATIENCE) == -signal.SIGPROF


def _ask(stdin: IO[bytes], body: bytes) -> None:
    request = {"url": "https://acme-tools.com/", "headers": {"content-type": "text/html"}}
    stdin.write(frame(json.dumps(request).encode()) + frame(body))
    stdin.flush()


GARBLING = """#!{python}
import struct, sys
def say(text):
    sys.stdout.buffer.write(struct.pack(">I", len(text)) + text)
    sys.stdout.buffer.flush()
say(b"ready")
for _ in range(2):
    sys.stdin.buffer.read(struct.unpack(">I", sys.stdin.buffer.read(4))[0])
say(b"begun")
{garbage}
sys.stdin.buffer.read()
"""


@pytest.mark.parametrize(
    "garbage",
    ["say(b'[1]')", "say(b'no json')", "say(b'\\xff')", "print('\\xff' * 99, flush=True)"],
)
async def test_a_garbled_answer_fails_the_page_and_ends_the_process(
    garbage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(GARBLING.format(python=sys.executable, garbage=garbage))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    async with ExtractionPool(1, timeout=timedelta(seconds=20)) as pool:
        failed = await pool.extract(page())
        assert isinstance(failed, Failed)
        assert failed.kind is Kind.CRASHED
        assert failed.detail == "the extraction of the page gave no readable answer"


async def test_a_pool_is_busy_while_many_pages_wait() -> None:
    async with ExtractionPool(1) as pool:
        reading = [asyncio.create_task(pool.extract(page())) for _ in range(20)]
        await asyncio.sleep(0)
        while_they_wait = pool.is_busy
        await asyncio.gather(*reading)
        assert (while_they_wait, pool.is_busy) == (True, False)
