"""Starts the real program in surroundings of its own, and waits for what it says and does."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from signal import Signals
from threading import Condition, Thread
from typing import IO, Any

import pytest
from conftest import Database
from sites import Sites
from zygote import Process, Zygote

PATIENCE = 60.0
"""Seconds after which what is waited for will not come."""

with_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

DOMAINSCHED = (sys.executable, "-m", "domainsched")
OF_TROUBLE = ("; trying again for up to 30 s\n", "warning: the trouble is over; going on\n")
EXECUTED = ("env",)
"""A wrapper, by which the program is a shell's child and nobody's fork."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program left: its exit code, as a shell sees it, and what it said."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of JSON on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def but_of_trouble(self) -> str:
        """What it said on stderr, but of a database that was away for a while, and is no more."""
        lines = self.err.splitlines(keepends=True)
        return "".join(line for line in lines if not line.endswith(OF_TROUBLE))


class Program:
    """A running program whose streams are pipes, as under cron."""

    def __init__(
        self, surroundings: Surroundings, arguments: Sequence[str], wrapper: Sequence[str]
    ) -> None:
        pipes = {"out": os.pipe(), "err": os.pipe()}
        with Path(os.devnull).open() as nothing:
            ends = [writing for _, writing in pipes.values()]
            streams = [nothing.fileno(), *ends]
            self._process = launch(surroundings, arguments, streams, wrapper=wrapper)
        for end in ends:
            os.close(end)
        self._heard = dict.fromkeys(pipes, "")
        self._changed = Condition()
        self._listeners = [
            Thread(target=self._listen, args=(name, open(reading)), daemon=True)  # noqa: SIM115, PTH123 - closed where it is read
            for name, (reading, _) in pipes.items()
        ]
        for listener in self._listeners:
            listener.start()

    def _listen(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._heard[name] += line
                    self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, text: str) -> None:
        """Block until it has said `text`, on either stream."""
        with self._changed:
            said = self._changed.wait_for(
                lambda: any(text in heard for heard in self._heard.values()), PATIENCE
            )
        assert said, f"{text!r} was never said: {self._heard}"

    def send(self, number: Signals) -> None:
        self._process.send_signal(number)

    def end(self, patience: float = PATIENCE) -> Ended:
        """Block until it ends by itself."""
        code = self._process.wait(patience)
        for listener in self._listeners:
            listener.join(PATIENCE)
        return Ended(code if code >= 0 else 128 - code, self._heard["out"], self._heard["err"])

    def close(self) -> None:
        """End it if it has not ended."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self.end()


@dataclass(frozen=True)
class Surroundings:
    """Where a program runs: nothing of the user's reaches it, and nothing of it the user."""

    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "error",
            **self.variables,
        }

    @contextmanager
    def start(self, *arguments: str, wrapper: Sequence[str] = ()) -> Iterator[Program]:
        """Start `domainsched`; it does not outlive the block."""
        program = Program(self, arguments, wrapper)
        try:
            yield program
        finally:
            program.close()

    def run(self, *arguments: str, wrapper: Sequence[str] = ()) -> Ended:
        """Run `domainsched` to its end."""
        with self.start(*arguments, wrapper=wrapper) as program:
            return program.end()


def launch(
    surroundings: Surroundings,
    arguments: Sequence[str],
    streams: Sequence[int],
    *,
    wrapper: Sequence[str] = (),
    new_session: bool = False,
) -> Process | subprocess.Popen[bytes]:
    """Start `domainsched` with copies of these streams, the cheapest way that is as good."""
    environment, directory = surroundings.environment, surroundings.directory
    if sys.platform == "linux" and not wrapper and zygote().can_start(environment):
        return zygote().start(arguments, environment, directory, streams, new_session=new_session)
    given, said, cried = streams
    return subprocess.Popen(
        [*wrapper, *DOMAINSCHED, *arguments],
        stdin=given,
        stdout=said,
        stderr=cried,
        env=environment,
        cwd=directory,
        start_new_session=new_session,
    )


@cache
def zygote() -> Zygote:
    """Forks most programs of this test process: loading one takes longer than what it then does."""
    made = Zygote(Surroundings(Path.cwd()).environment)
    atexit.register(made.close)
    return made


def to_sites(sites: Sites) -> dict[str, str]:
    """The variables that lead every name to `sites`."""
    return {
        "DOMAINSCHED_CONNECT_TO": sites.connect_to_text,
        "DOMAINSCHED_ALLOW_NETWORK": "127.0.0.0/8",
        "DOMAINSCHED_PER_ADDRESS": "0",  # all of them are at one
        "SSL_CERT_FILE": str(sites.ca_file),
    }


def rows(database: Database) -> dict[str, dict[str, Any]]:
    """The table of domains, by domain."""
    with database.connect() as connection:
        found = connection.execute("SELECT domain, to_jsonb(d) FROM domains d").fetchall()
    return dict(found)


# --- processes, by /proc ----------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """The processes that `pid` started, and those they started."""
    parents = {int(path.name): _parent(path) for path in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def readers(pid: int) -> list[int]:
    """The processes that read pages for `pid`.

    One that has just been forked is not among them: it is still its parent's image, and the parent
    waits in vfork(2) until it is not; who stopped the one would stop both.
    """
    return [child for child in descendants(pid) if b"domainsched.extract.child" in _command(child)]


def _command(pid: int) -> bytes:
    with suppress(OSError):  # gone meanwhile
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _parent(process: Path) -> int:
    with suppress(OSError):  # gone meanwhile
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def has_ended(pid: int) -> bool:
    """Whether the process ends, or has ended; its parent need not have taken notice."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)
