"""The connections of one visit, kept open between its requests and closed with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpcore
import httpx

from domainsched.fetch.budget import Budget
from domainsched.fetch.connect import Dialer, Line, Network, core_url
from domainsched.fetch.failure import WIRE_ERRORS

_MAX_IDLE = 3
"""A bare name, its www, and one more: robots.txt and pages are often redirected alike."""
_MAX_HEAD_BYTES = 128 * 1024
"""Read before a final answer is complete. A flood of 1xx answers is as bad as a long one."""
_MAX_FIELDS = 1000
_MAX_WIRE_BYTES = 8 * 1024 * 1024
"""Of a body, as it comes: what inflates to nothing, or follows its end, is never full."""

Fields = Sequence[tuple[bytes, bytes]]


class Connections:
    """Sends one request at a time, each on a connection to the origin of its URL."""

    def __init__(self, network: Network, budget: Budget) -> None:
        self._idle: dict[str, _Connection] = {}
        self._dialer = Dialer(network, budget, give_way=self.aclose)

    @property
    def heard(self) -> bool:
        """Whether any name was found."""
        return self._dialer.heard

    async def open(self, url: httpx.URL) -> None:
        """See to it that there is a connection to send a request for `url` on."""
        self._idle[_origin(url)] = await self._take(url)

    async def send(self, url: httpx.URL, fields: Fields) -> httpx.Response:
        """Send a GET and read the head of the answer, whose connection is free when it is closed.

        An idle connection that turns out to be broken is replaced. Raises httpcore's exceptions,
        OSError and VisitError. A response's `peer_address` extension is the address.
        """
        connection = await self._take(url)
        try:
            return await self._send(connection, url, fields)
        except WIRE_ERRORS:
            if not connection.was_used:
                raise
        return await self._send(_Connection(url, await self._dialer.dial(url)), url, fields)

    async def _take(self, url: httpx.URL) -> _Connection:
        connection = self._idle.pop(_origin(url), None)
        if connection is not None and connection.is_alive:
            return connection
        if connection is not None:
            await connection.aclose()
        return _Connection(url, await self._dialer.dial(url))

    async def _send(
        self, connection: _Connection, url: httpx.URL, fields: Fields
    ) -> httpx.Response:
        try:
            response = await connection.send(url, fields)
        except BaseException:
            await connection.aclose()
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, lambda: self._keep(connection)),
            extensions={**response.extensions, "peer_address": connection.peer_address},
        )

    async def _keep(self, connection: _Connection) -> None:
        if not connection.is_idle:
            await connection.aclose()
            return
        self._idle[connection.origin] = connection
        if len(self._idle) > _MAX_IDLE:
            await self._idle.pop(next(iter(self._idle))).aclose()

    async def aclose(self) -> None:
        """Close what is open. More may be opened afterwards."""
        while self._idle:
            await self._idle.popitem()[1].aclose()


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


class _Connection:
    """One connection, its place at the address included."""

    def __init__(self, url: httpx.URL, line: Line) -> None:
        self.origin = _origin(url)
        self._line = line
        self._http = httpcore.AsyncHTTP11Connection(core_url(url).origin, line.stream)
        self.peer_address = str(line.address)
        self.was_used = False
        """An answer has come on it."""

    @property
    def is_idle(self) -> bool:
        return self._http.is_idle()

    @property
    def is_alive(self) -> bool:
        return not self._http.is_closed() and not self._http.has_expired()

    async def send(self, url: httpx.URL, fields: Fields) -> httpcore.Response:
        request = httpcore.Request("GET", core_url(url), headers=list(fields))
        self._line.stream.allowance = _MAX_HEAD_BYTES
        response = await self._http.handle_async_request(request)
        self._line.stream.allowance = _MAX_WIRE_BYTES
        self.was_used = True
        if len(response.headers) > _MAX_FIELDS:
            raise httpcore.RemoteProtocolError(f"more than {_MAX_FIELDS} header fields")
        return response

    async def aclose(self) -> None:
        await self._line.aclose()


class _Body(httpx.AsyncByteStream):
    """A response's body, which hands its connection on when it is closed."""

    def __init__(self, response: httpcore.Response, done: Callable[[], Awaitable[None]]) -> None:
        self._response = response
        self._done = done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        finally:
            await self._done()
