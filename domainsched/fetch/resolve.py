"""Host names to addresses, by the machine's own resolver, without holding up anything else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread

from domainsched.addresses import Address

Resolve = Callable[[str], Awaitable[Sequence[Address]]]
"""The addresses of an ASCII host name in the order of preference.

Raises OSError, as `socket.getaddrinfo` does, if there are none.
"""


_IDLE = timedelta(seconds=5)
"""After this time a thread that nobody needs ends."""

_Question = tuple[str, asyncio.AbstractEventLoop, asyncio.Future[Sequence[Address]]]


class SystemResolver:
    """`getaddrinfo` in threads of its own.

    The event loop's default executor has but a handful of threads, which a few dead name servers
    fill; and the threads of any executor are joined at exit, which such a name server delays. These
    are daemons, at most `max_threads` at once, and answer one question after the other: to start
    one takes more CPU time than an answer. Waiting for a free one does not count as waiting for an
    answer.
    """

    def __init__(
        self, *, timeout: timedelta = timedelta(seconds=10), max_threads: int = 1024
    ) -> None:
        self._timeout = timeout
        self._places = asyncio.Semaphore(max_threads)
        self._questions: SimpleQueue[_Question] = SimpleQueue()
        self._idle = Semaphore(0)
        """Threads without a question."""

    async def __call__(self, host: str) -> Sequence[Address]:
        """Look `host` up; no answer in time is a temporary failure (EAI_AGAIN)."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Address]] = loop.create_future()
        try:
            self._ask((host, loop, answer))
        except RuntimeError as error:  # this machine has no thread to spare
            self._places.release()
            raise socket.gaierror(socket.EAI_AGAIN, str(error)) from None
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await answer
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None

    def _ask(self, question: _Question) -> None:
        if not self._idle.acquire(blocking=False):
            Thread(target=self._serve, daemon=True).start()
        self._questions.put(question)

    def _serve(self) -> None:
        while True:
            try:
                question = self._questions.get(timeout=_IDLE.total_seconds())
            except Empty:
                if self._idle.acquire(blocking=False):  # else a question is on its way
                    return
                continue
            self._look_up(*question)

    def _look_up(
        self,
        host: str,
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[Sequence[Address]],
    ) -> None:
        found: Sequence[Address] | Exception
        try:
            found = _addresses_of(host)
        except Exception as error:  # noqa: BLE001 - whatever it is, the visit waits for it
            found = error
        self._idle.release()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(self._settle, answer, found)

    def _settle(
        self, answer: asyncio.Future[Sequence[Address]], found: Sequence[Address] | Exception
    ) -> None:
        self._places.release()
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)


def _addresses_of(host: str) -> Sequence[Address]:
    # As bytes: a str would go through Python's IDNA codec, which raises UnicodeError.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(ip_address(where[0]) for *_, where in found))
