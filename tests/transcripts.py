"""Runs the commands of the README's transcripts as a reader would, in a terminal, in their order.

    python tests/transcripts.py      rewrites README.md with what they print now

The sites are those of `domainsched demo`, served on loopback; the database is an embedded one of
its own. What changes from run to run (times, sizes of directories, run ids) is masked when the test
compares.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from domainsched.demo.server import authority, connections, serving
from domainsched.demo.sites import SERVED

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
SHOWN_HOME = "/home/you/.local/share/domainsched"
LEADS = "name,website\nNew Name Ltd,https://old-name.test/\nVillage choir,plain-http.test\n"
"""A file that the transcripts use."""
MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "TIME"),
    (re.compile(r"\b[\w.-]+:\d+:[0-9a-f]{8}\b"), "WORKER"),
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "DURATION"),
    (re.compile(r"\bagain in \S+"), "again in DURATION"),
    (re.compile(r"\bwaiting \d+(\.\d+)? m?s\b"), "waiting DURATION"),
    (re.compile(r"PostgreSQL [\d.]+"), "PostgreSQL VERSION"),
    (re.compile(r'"run_id": "\w+"'), '"run_id": RUN'),
    (re.compile(r"\brun=\w+"), "run=RUN"),
    (re.compile(r'"elapsed_ms": \d+'), '"elapsed_ms": NUMBER'),
    (re.compile(r"\belapsed_ms=\d+"), "elapsed_ms=NUMBER"),
)


def masked(text: str) -> str:
    """Hide what differs from run to run."""
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return re.sub(r" +", " ", text)


def commands(block: str) -> Iterator[str]:
    """Find the commands of a transcript: the lines after a dollar sign."""
    return (line[2:] for line in block.splitlines() if line.startswith("$ "))


def rerun(text: str) -> str:
    """Write `text` with each transcript's output as it is now."""
    with surroundings() as environment:
        return BLOCK.sub(lambda match: f"```console\n{_replayed(match[1], environment)}```", text)


def _replayed(block: str, environment: Mapping[str, str]) -> str:
    parts = []
    for command in commands(block):
        shown = in_terminal(command, environment).replace(environment["HOME"], SHOWN_HOME)
        parts.append(f"$ {command}\n{shown}")
    return "".join(parts)


@contextmanager
def surroundings() -> Iterator[dict[str, str]]:
    """Serve the demo's sites, and give the variables that lead there and to a new database."""
    with tempfile.TemporaryDirectory(prefix="readme-", dir="/tmp") as home, _sites() as to_sites:
        Path(home).chmod(0o711)
        Path(home, "leads.csv").write_text(LEADS, encoding="utf-8")
        yield {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "TERM": "dumb",
            "COLUMNS": "80",
            "LANG": "C.UTF-8",
            "HOME": home,
            "DOMAINSCHED_HOME": home,
            "SSL_CERT_FILE": str(authority()),
            **to_sites,
        }


@contextmanager
def _sites() -> Iterator[dict[str, str]]:
    loop, ready, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: dict[str, str] = {}

    async def serve() -> None:
        async with serving(SERVED) as ports:
            found.update(connections(SERVED, ports))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def in_terminal(command: str, environment: Mapping[str, str]) -> str:
    """Run a command with a terminal of 80 columns for all its streams; return what it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        shlex.split(command),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=dict(environment),
        cwd=environment["HOME"],
        start_new_session=True,
    ):
        os.close(theirs)
        chunks = []
        while chunk := _read(ours):
            chunks.append(chunk)
    os.close(ours)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux: the other side of the terminal is closed
        return b""


if __name__ == "__main__":
    README.write_text(rerun(README.read_text(encoding="utf-8")), encoding="utf-8")
