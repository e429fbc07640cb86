"""Hundreds of real workers, with names, and what they said in files.

with fleet(directory, environment) as ships:
    worker = ships.start("process", "--limit", "0")
    ships.send(worker, SIGKILL)
    ships.wait()
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from zygote import Process, Zygote


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of the fleet; its name is its session's and its User-Agent."""

    number: int
    out: Path
    err: Path
    process: Process

    @property
    def name(self) -> str:
        return _name(self.number)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of JSON on stdout."""
        return [json.loads(line) for line in self.out.read_text().splitlines()]


def _name(number: int) -> str:
    return f"w{number}"


class Fleet:
    """The workers of one zygote."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory, self._environment = directory, dict(environment)
        self._zygote = Zygote(environment)
        self.workers: list[Worker] = []

    @property
    def pid(self) -> int:
        """The zygote's, which adopts what its workers leave behind."""
        return self._zygote.pid

    def start(self, *arguments: str, **variables: str) -> Worker:
        """Start a worker who has its name as session and as User-Agent, and return its handle."""
        number = len(self.workers) + 1
        name = _name(number)
        own = {**self._environment, "DOMAINSCHED_USER_AGENT": name, **variables}
        if url := own.get("DATABASE_URL"):
            own["DATABASE_URL"] = f"{url}&application_name={name}"
        out, err = (self._directory / f"{name}.{stream}" for stream in ("out", "err"))
        with Path(os.devnull).open() as nothing, out.open("ab") as said, err.open("ab") as cried:
            streams = [nothing.fileno(), said.fileno(), cried.fileno()]
            process = self._zygote.start(arguments, own, self._directory, streams)
        self.workers.append(Worker(number, out, err, process))
        return self.workers[-1]

    def send(self, worker: Worker, number: Signals) -> None:
        """Send a signal, unless the worker has ended."""
        worker.process.send_signal(number)

    def kill(self, name: str) -> None:
        """Send SIGKILL to the worker of this name, if it and the fleet are still there."""
        Process(self._zygote, int(name.removeprefix("w"))).kill()  # nobody else starts anything

    def pid_of(self, worker: Worker) -> int:
        return worker.process.pid

    def code(self, worker: Worker) -> int | None:
        """Give the exit code, the negative signal, or None while it lives."""
        return worker.process.poll()

    def wait(self, timeout: float) -> None:
        """Return when a worker ends, or after `timeout` seconds."""
        self._zygote.wait_for_change(timeout)

    def end(self, worker: Worker) -> int:
        """Block until the worker ends by itself."""
        return worker.process.wait()

    def close(self) -> None:
        """Have the zygote end, and with it all that live."""
        self._zygote.close()


@contextmanager
def fleet(directory: Path, environment: Mapping[str, str]) -> Iterator[Fleet]:
    """Start a zygote; nothing of it outlives the block."""
    ships = Fleet(directory, environment)
    try:
        yield ships
    finally:
        ships.close()
