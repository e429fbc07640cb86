"""Hundreds of real processes cheaply: a zygote loads the program once and forks each of them.

    zygote = Zygote(environment)
    process = zygote.start(["process"], environment, directory, streams)
    process.send_signal(SIGTERM)
    process.wait()

Run as a script this file is the zygote, which loads nothing but the program (Android calls such a
process so). Its children run `domainsched` as `python -m` does, with an environment, a directory
and streams of their own. What the interpreter reads when it starts (`INTERPRETER`) they cannot
change. Linux only.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Condition, Thread
from typing import Any

PATIENCE = 120.0
"""Seconds after which what is waited for will not come."""
INTERPRETER = ("PYTHON", "LANG", "LC_")
"""How the names of those variables begin that only the start of an interpreter obeys."""

Message = dict[str, Any]

# --- the side that orders ---------------------------------------------------------------------


class Process:
    """A child of the zygote; as much of `subprocess.Popen` as is needed."""

    def __init__(self, zygote: Zygote, number: int) -> None:
        self._zygote, self._number = zygote, number

    @property
    def pid(self) -> int:
        return self._zygote.pids[self._number]

    def poll(self) -> int | None:
        """Give the exit code, the negative signal, or None while it lives."""
        return self._zygote.codes.get(self._number)

    def wait(self, timeout: float | None = None) -> int:
        """Block until it ends by itself, and give its code."""
        patience = PATIENCE if timeout is None else timeout
        if not self._zygote.wait(lambda: self.poll() is not None, patience):
            raise subprocess.TimeoutExpired("domainsched", patience)
        return self._zygote.codes[self._number]

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended: the zygote knows, no pid is ever mistaken.

        It is sent when this returns.
        """
        self._zygote.send_signal(self._number, number)

    def kill(self) -> None:
        """Send SIGKILL, if it and the zygote are still there."""
        with suppress(OSError):
            self.send_signal(signal.SIGKILL)


class Zygote:
    """Starts processes; those that live when it closes end with it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.pids: dict[int, int] = {}
        self.codes: dict[int, int] = {}
        self._signals = set[int]()
        self._has_ended = False
        self._numbers, self._tickets = count(1), count(1)
        self._changed = Condition()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=self.environment,
                pass_fds=[theirs.fileno()],
            )
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The zygote's, which adopts what its children leave behind."""
        return self._process.pid

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether its own interpreter is as one that starts with this environment."""
        return _of_interpreter(environment) == _of_interpreter(self.environment)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        streams: Sequence[int],
        *,
        new_session: bool = False,
    ) -> Process:
        """Start `domainsched` with copies of these three streams."""
        number = next(self._numbers)
        self._order(
            *streams,
            number=number,
            arguments=list(arguments),
            environment=dict(environment),
            directory=str(directory),
            new_session=new_session,
        )
        assert self.wait(lambda: number in self.pids, PATIENCE), "the zygote does not answer"
        return Process(self, number)

    def send_signal(self, number: int, signal_number: int) -> None:
        """Send a signal to the process of this number, and wait until that is done."""
        sent = next(self._tickets)
        self._order(number=number, signal=int(signal_number), sent=sent)
        self.wait(lambda: self._has_ended or sent in self._signals, PATIENCE)

    def _order(self, *descriptors: int, **order: object) -> None:
        socket.send_fds(self._line, [json.dumps(order).encode()], descriptors)

    def wait(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Wait until something has become true by a start or an end."""
        with self._changed:
            return self._changed.wait_for(predicate, timeout)

    def wait_for_change(self, timeout: float) -> None:
        """Return when a process starts or ends, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait(timeout)

    def close(self) -> None:
        """Have the zygote end, and with it all that live."""
        self._line.shutdown(socket.SHUT_WR)
        self._process.wait(PATIENCE)
        self._listener.join(PATIENCE)
        self._line.close()

    def _listen(self) -> None:
        while data := self._line.recv(LONGEST):
            report = json.loads(data)
            with self._changed:
                match report:
                    case {"number": number, "pid": pid}:
                        self.pids[number] = pid
                    case {"number": number, "code": code}:
                        self.codes[number] = code
                    case {"sent": sent}:
                        self._signals.add(sent)
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


def _of_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(INTERPRETER)}


# --- the zygote's side ------------------------------------------------------------------------

LONGEST = 1 << 17
"""Bytes of a message: an environment is the most of it."""
_PROGRAM = (
    *("domainsched.cli", "domainsched.commands", "domainsched.intake", "domainsched.batch"),
    *("domainsched.running", "domainsched.watching", "domainsched.visiting"),
)
_LATER = ("typer._adapters", "tldextract")
"""What some versions load when there is something to read or to visit."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""


class _Nursery:
    """Forks a child for each order, passes signals on, reaps, and reports."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._pids: dict[int, int] = {}
        self._wakeups = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakeups[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # what is ignored wakes nobody
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> Message | None:
        """Return in a child, with its order; in the zygote when no more orders come."""
        while True:
            ready, _, _ = select.select([self._line.fileno(), self._wakeups[0]], [], [])
            if self._wakeups[0] in ready:
                os.read(self._wakeups[0], 4096)
                self._reap()
            if self._line.fileno() in ready:
                data, streams, _, _ = socket.recv_fds(self._line, LONGEST, 3)
                if not data:
                    return None
                if self._obey(order := json.loads(data), streams):
                    return dict(order)

    def _obey(self, order: Message, streams: Sequence[int]) -> bool:
        """Do as ordered; say whether this is the new child."""
        if "signal" in order:
            with suppress(KeyError):  # it has ended
                os.kill(self._pids[order["number"]], order["signal"])
            self._report(sent=order["sent"])
            return False
        zygote = os.getpid()
        pid = os.fork()
        if not pid:
            _bind_to_parent(zygote)
            self._leave()
            _take(streams)
            return True
        self._pids[order["number"]] = pid
        self._report(number=order["number"], pid=pid)
        for stream in streams:
            os.close(stream)
        return False

    def _leave(self) -> None:
        """Be a zygote no more."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._line.close()
        for descriptor in self._wakeups:
            os.close(descriptor)

    def _reap(self) -> None:
        """Take notice of all that ended: children, and what they left behind."""
        numbers = {pid: number for number, pid in self._pids.items()}
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if number := numbers.get(ended[0]):
                    del self._pids[number]
                    self._report(number=number, code=os.waitstatus_to_exitcode(ended[1]))

    def _report(self, **report: int) -> None:
        with suppress(BrokenPipeError):  # nobody is there to be told
            self._line.send(json.dumps(report).encode())


def _bind_to_parent(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we were bound to it
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _take(streams: Sequence[int]) -> None:
    """Make these stdin, stdout and stderr."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


def _become(order: Message) -> None:
    """Take on an order's environment, directory and arguments, as an interpreter that starts."""
    if order["new_session"]:
        os.setsid()
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    sys.argv[1:] = order["arguments"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open_anew(number, name)


def _open_anew(number: int, name: str) -> None:
    """A stream knows from its opening whether it can seek and is a terminal."""
    old = getattr(sys, name)
    how = {"encoding": old.encoding, "errors": old.errors, "closefd": False}
    new = open(number, old.mode, buffering=1 if name == "stderr" else -1, **how)  # noqa: SIM115 - for as long as the process
    setattr(sys, name, new)
    setattr(sys, f"__{name}__", new)


def _main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    line.set_inheritable(False)
    for module in _PROGRAM:
        import_module(module)
    for module in _LATER:
        with suppress(ImportError):
            import_module(module)
    gc.freeze()  # what is shared stays shared: a collection writes to every object
    if order := _Nursery(line).serve():
        _become(order)
        runpy.run_module("domainsched", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
