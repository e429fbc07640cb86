"""Hundreds of real workers cheaply: a zygote loads the program once and forks each of them.

    with fleet(directory, environment) as ships:
        worker = ships.start("process", "--limit", "0")
        ships.send(worker, SIGKILL)
        ships.wait()

Run as a script this file is the zygote, which loads nothing but the program (PEP 3143 calls such
a process a daemon's parent; Android the zygote). Its children run `domainsched` as `python -m`
does, with an environment, a directory and streams of their own.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from signal import Signals
from threading import Condition, Thread
from typing import Any

PATIENCE = 120.0
"""Seconds after which what is waited for will not come; a storm is a load of its own."""

# --- the supervisor's side --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of the fleet; its name is its session's and its User-Agent."""

    number: int
    out: Path
    err: Path

    @property
    def name(self) -> str:
        return f"w{self.number}"

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of JSON on stdout."""
        return [json.loads(line) for line in self.out.read_text().splitlines()]


class Fleet:
    """The workers of one zygote."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory, self._environment = directory, dict(environment)
        self._changed = Condition()
        self._pids: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self.workers: list[Worker] = []
        self._zygote = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            cwd=directory,
        )
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The zygote's, which adopts what its workers leave behind."""
        return self._zygote.pid

    def start(self, *arguments: str, **variables: str) -> Worker:
        """Start a worker who has its name as session and as User-Agent, and return its handle."""
        number = len(self.workers) + 1
        files = [self._directory / f"w{number}.{stream}" for stream in ("out", "err")]
        worker = Worker(number, *files)
        self.workers.append(worker)
        own = {**self._environment, "DOMAINSCHED_USER_AGENT": worker.name, **variables}
        if url := own.get("DATABASE_URL"):
            own["DATABASE_URL"] = f"{url}&application_name={worker.name}"
        streams = [os.devnull, *map(str, files)]
        self._order(name=worker.name, arguments=arguments, environment=own, streams=streams)
        self._wait(lambda: worker.name in self._pids)
        return worker

    def send(self, worker: Worker, number: Signals) -> None:
        """Send a signal, unless the worker has ended: the zygote knows, no pid is ever mistaken."""
        self._order(name=worker.name, signal=int(number))

    def kill(self, name: str) -> None:
        """Send SIGKILL to the worker of this name, if it and the fleet are still there."""
        with suppress(ValueError, BrokenPipeError):
            self._order(name=name, signal=int(signal.SIGKILL))

    def pid_of(self, worker: Worker) -> int:
        return self._pids[worker.name]

    def code(self, worker: Worker) -> int | None:
        """Give the exit code, the negative signal, or None while it lives."""
        return self._codes.get(worker.name)

    def wait(self, timeout: float) -> None:
        """Return when a worker ends, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait(timeout)

    def end(self, worker: Worker) -> int:
        """Block until the worker ends by itself."""
        self._wait(lambda: worker.name in self._codes)
        return self._codes[worker.name]

    def close(self) -> None:
        """Have the zygote end, and with it all that live."""
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(PATIENCE)
        self._listener.join(PATIENCE)
        self._zygote.stdout.close()

    def _order(self, **order: object) -> None:
        assert self._zygote.stdin is not None
        with self._changed:
            self._zygote.stdin.write(json.dumps(order).encode() + b"\n")
            self._zygote.stdin.flush()

    def _listen(self) -> None:
        assert self._zygote.stdout is not None
        for line in self._zygote.stdout:
            report = json.loads(line)
            kept = self._pids if "pid" in report else self._codes
            with self._changed:
                kept[report["name"]] = report.get("pid", report.get("code"))
                self._changed.notify_all()

    def _wait(self, predicate: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(predicate, PATIENCE), self._codes


@contextmanager
def fleet(directory: Path, environment: Mapping[str, str]) -> Iterator[Fleet]:
    """Start a zygote; nothing of it outlives the block."""
    ships = Fleet(directory, environment)
    try:
        yield ships
    finally:
        ships.close()


# --- the zygote's side ------------------------------------------------------------------------

_PROGRAM = ("domainsched.cli", "domainsched.commands", "domainsched.intake", "domainsched.batch")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""

Order = dict[str, Any]


class _Zygote:
    """Forks a worker for each order, passes signals on, reaps, and reports."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._wakeups = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakeups[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # what is ignored wakes nobody
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> Order | None:
        """Return in a worker, with its order; in the zygote when no more orders come."""
        rest = b""
        while True:
            ready, _, _ = select.select([0, self._wakeups[0]], [], [])
            if self._wakeups[0] in ready:
                os.read(self._wakeups[0], 4096)
                self._reap()
            if 0 in ready:
                data = os.read(0, 1 << 20)
                if not data:
                    return None
                *orders, rest = (rest + data).split(b"\n")
                for order in map(json.loads, orders):
                    if self._obey(order):
                        return dict(order)

    def _obey(self, order: Order) -> bool:
        """Do as ordered; say whether this is the new worker."""
        if "signal" in order:
            with suppress(KeyError):  # it has ended
                os.kill(self._pids[order["name"]], order["signal"])
            return False
        zygote = os.getpid()
        pid = os.fork()
        if pid:
            self._pids[order["name"]] = pid
            _report(name=order["name"], pid=pid)
            return False
        _bind_to_parent(zygote)
        self._leave()
        return True

    def _leave(self) -> None:
        """Be a zygote no more."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in self._wakeups:
            os.close(descriptor)

    def _reap(self) -> None:
        """Take notice of all that ended: workers, and what they left behind."""
        names = {pid: name for name, pid in self._pids.items()}
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if name := names.get(ended[0]):
                    del self._pids[name]
                    _report(name=name, code=os.waitstatus_to_exitcode(ended[1]))


def _report(**report: object) -> None:
    os.write(1, json.dumps(report).encode() + b"\n")  # past Python's buffers, which a fork copies


def _bind_to_parent(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we were bound to it
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _become(order: Order) -> None:
    """Take on a worker's streams, environment and arguments."""
    flags = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2)
    for number, (path, flag) in enumerate(zip(order["streams"], flags, strict=True)):
        opened = os.open(path, flag, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["arguments"]


def _main() -> None:
    _bind_to_parent(os.getppid())
    for module in _PROGRAM:
        import_module(module)
    gc.freeze()  # what is shared stays shared: a collection writes to every object
    if order := _Zygote().serve():
        _become(order)
        runpy.run_module("domainsched", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
