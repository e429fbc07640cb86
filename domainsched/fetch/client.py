"""One visit's requests: who asks, with which cookies, on which connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta

import httpx
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from domainsched.fetch.body import read_rest
from domainsched.fetch.budget import Budget
from domainsched.fetch.connect import Network
from domainsched.fetch.connections import Connections
from domainsched.fetch.cookies import Cookies
from domainsched.fetch.failure import VisitError, head_errors

_REST = timedelta(seconds=0.5)

once_more = retry(
    retry=retry_if_exception(lambda error: isinstance(error, VisitError) and error.dropped),
    stop=stop_after_attempt(2),
    wait=wait_random(0.1, 0.5),
    reraise=True,
)
"""What breaks in the middle often does not the second time."""


class Client:
    """Sends one request at a time and keeps cookies and connections from one to the next."""

    def __init__(self, network: Network, budget: Budget) -> None:
        self._user_agent = network.settings.user_agent.encode("ascii")
        self._budget = budget
        self._connections = Connections(network, budget)
        self._cookies = Cookies()
        self._room = network.room
        self._has_room = False

    @property
    def heard(self) -> bool:
        """Whether any name was found."""
        return self._connections.heard

    @once_more
    async def connect(self, url: httpx.URL) -> None:
        """See to it that there is a connection for `url`.

        Raises:
            VisitError: there can be none.

        """
        with head_errors():
            await self._connections.open(url)

    @asynccontextmanager
    async def get(self, url: httpx.URL) -> AsyncIterator[httpx.Response]:
        """Ask for `url`; the head of the answer is read, the body may be.

        Raises:
            VisitError: there was no answer.

        """
        with head_errors():
            response = await self._connections.send(url, list(self._fields(url)))
        async with aclosing(response):
            self._cookies.store(url, _set_cookies(response))
            yield response

    def _fields(self, url: httpx.URL) -> Iterator[tuple[bytes, bytes]]:
        yield b"Host", url.netloc
        yield b"User-Agent", self._user_agent
        yield b"Accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.1"
        yield b"Accept-Encoding", b"gzip"
        if cookie := self.cookie(url):
            yield b"Cookie", cookie

    def cookie(self, url: httpx.URL) -> bytes:
        """Say which cookies a request to `url` would send now."""
        return self._cookies.header(url)

    async def skip(self, response: httpx.Response) -> None:
        """Take in the short rest of an answer, so that its connection can be used again.

        What is long, slow or broken is left; the connection is closed then.
        """
        with suppress(VisitError, TimeoutError):
            async with self._budget.limit(_REST):
                await read_rest(response)

    async def make_room(self) -> None:
        """Wait for room for a large page, which the visit then has until it gives it back."""
        if not self._has_room:
            with self._budget.standing_still():
                await self._room.acquire()
            self._has_room = True

    def give_room_back(self) -> None:
        """Let another visit have a large page: what this one read is gone."""
        if self._has_room:
            self._room.release()
            self._has_room = False

    async def aclose(self) -> None:
        """Close all connections."""
        self.give_room_back()
        await self._connections.aclose()


def _set_cookies(response: httpx.Response) -> Iterator[bytes]:
    return (value for name, value in response.headers.raw if name.lower() == b"set-cookie")


def joined(headers: httpx.Headers) -> Mapping[str, str]:
    """Join repeated fields as `Page.headers` says."""
    values: dict[str, list[str]] = {}
    for name, value in headers.multi_items():
        values.setdefault(name, []).append(value)
    return {name: ("\n" if name == "set-cookie" else ", ").join(values[name]) for name in values}
