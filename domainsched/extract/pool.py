"""Extraction in processes of its own: other cores are used, and a page that stalls is ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from domainsched.errors import DomainschedError
from domainsched.extract.frames import BEGUN, LENGTH, MAX_ANSWER_BYTES, READY, frame
from domainsched.models import Failed, Kind, Page

_START = timedelta(seconds=30)
"""A child imports its libraries in 0.2 s; a machine under load may take long."""

_END = timedelta(seconds=5)
"""A killed process is gone in milliseconds, unless the kernel holds it."""

_WORTH = 8
"""Pages that must wait for each process there is before another one starts, which takes as much CPU
time as fifty pages do."""

_STARTS = 3
"""Children that may die in a row before they have a page: one by bad luck, all by a fault."""

_MEMORY_BYTES = 512 * 1024 * 1024
"""Of address space. Measured: 66 MB after 236 real pages, 274 MB for 2 MB of `<p>x`."""

_INHERITED = ("PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What an interpreter may need to start at all. All else stays here: it may be a secret."""


class _Died(Exception):
    """The child is of no more use; `begun` says whether a page was being read."""

    def __init__(self, reason: str, *, begun: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.begun = begun


class ExtractionPool:
    """An async context manager with at most `processes` children, started when needed."""

    def __init__(
        self,
        processes: int,
        *,
        timeout: timedelta = timedelta(seconds=5),
        memory_bytes: int = _MEMORY_BYTES,
        fingerprints: str = "",
    ) -> None:
        self._fingerprints = fingerprints
        self._timeout = timeout
        self._memory_bytes = memory_bytes
        self._most = processes
        self._opened = 1
        self._waiting = 0
        self._places = asyncio.Semaphore(self._opened)
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all children at once; they hold nothing worth keeping."""
        self._closed = True
        for child in self._children:
            child.kill()
        if self._children:
            await asyncio.wait(
                [asyncio.ensure_future(child.ended()) for child in self._children],
                timeout=_END.total_seconds(),
            )

    @property
    def is_busy(self) -> bool:
        """Whether so many pages wait that more of them would not be read any sooner."""
        return self._waiting > _WORTH * self._opened

    async def extract(self, page: Page) -> dict[str, Any] | Failed:
        """Give the page's columns, or why its extraction was ended; others are not harmed.

        Raises:
            DomainschedError: no child can be started, or the pool was closed meanwhile.
        """
        async with self._place():
            try:
                return await self._extract(page)
            except _Died as died:
                if self._closed:
                    raise DomainschedError("the extraction pool is closed") from None
                return Failed(Kind.CRASHED, f"the extraction of the page {died.reason}")

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for a process; where many wait, allow for one more."""
        self._waiting += 1
        if self.is_busy and self._opened < self._most:
            self._opened += 1
            self._places.release()
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()

    async def _extract(self, page: Page) -> dict[str, Any]:
        """Try anew what died before it began: an idle child may be killed by anyone."""
        for _ in range(_STARTS):
            child = await self._take()
            try:
                columns = await child.read(page, self._timeout)
            except BaseException as error:  # a cancelled page's child is in its midst, too
                await self._discard(child)
                if isinstance(error, _Died) and not error.begun and not self._closed:
                    continue
                raise
            self._idle.append(child)
            return columns
        raise DomainschedError(
            "cannot keep an extraction process", why="each died before it had its page"
        )

    async def _take(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            await self._discard(child)
        if self._closed:
            raise DomainschedError("the extraction pool is closed")
        child = await _start(self._memory_bytes, self._timeout, self._fingerprints)
        self._children.add(child)
        try:
            await child.wait_until_ready()
        except BaseException:
            await self._discard(child)
            raise
        return child

    async def _discard(self, child: _Child) -> None:
        """End a child. One that hung up is ending: Popen, asked to kill it, would reap it first.

        asyncio then misses it, and says so on standard error.
        """
        self._children.discard(child)
        if not child.has_hung_up:
            child.kill()
        for _ in range(2):
            with suppress(TimeoutError):
                async with asyncio.timeout(_END.total_seconds()):
                    await child.ended()
                    return
            child.kill()


class _Child:
    """One process, and the conversation with it."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101 - both are pipes: see _start
        assert process.stdout is not None  # noqa: S101
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def has_hung_up(self) -> bool:
        return self._stdout.at_eof()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> None:
        """Wait until the process is reaped, and close its pipes, read to the end or not."""
        await self._process.wait()
        self._process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 - no other way

    async def wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(_START.total_seconds()):
                ready = await self._receive()
        except (TimeoutError, EOFError, OSError) as error:
            why = str(error) or f"it was not ready after {_START.total_seconds():.0f} s"
            raise DomainschedError("cannot start an extraction process", why=why) from None
        if ready != READY:
            raise DomainschedError("cannot start an extraction process", why="it spoke nonsense")

    async def read(self, page: Page, limit: timedelta) -> dict[str, Any]:
        """Send a page and await its columns."""
        begun = False
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await self._send(page)
                begun = await self._receive() == BEGUN
                return _columns(await self._receive())
        except TimeoutError:
            reason = f"took more than {limit.total_seconds():g} s and was stopped"
            raise _Died(reason, begun=True) from None
        except ValueError:
            raise _Died("gave no readable answer", begun=True) from None
        except (EOFError, OSError):
            raise _Died("ended its process", begun=begun) from None

    async def _send(self, page: Page) -> None:
        request = {"url": page.url, "headers": dict(page.headers)}
        self._stdin.write(frame(json.dumps(request).encode()))
        self._stdin.write(frame(page.body))
        await self._stdin.drain()

    async def _receive(self) -> bytes:
        (length,) = LENGTH.unpack(await self._stdout.readexactly(LENGTH.size))
        if length > MAX_ANSWER_BYTES:
            raise ValueError
        return await self._stdout.readexactly(length)


async def _start(memory_bytes: int, cpu_time: timedelta, fingerprints: str) -> _Child:
    command = ["-P", "-m", "domainsched.extract.child"]
    arguments = [str(memory_bytes), str(cpu_time.total_seconds()), fingerprints]
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, *arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
            env=_environment(),
        )  # fmt: skip
    except OSError as error:
        raise DomainschedError("cannot start an extraction process", why=str(error)) from error
    return _Child(process)


def _environment() -> dict[str, str]:
    """Give what a child needs: our module path, however we were installed, and no secret."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _columns(answer: bytes) -> dict[str, Any]:
    columns = json.loads(answer)
    if not isinstance(columns, dict):
        raise ValueError  # noqa: TRY004 - one kind of garbage among others
    return columns
