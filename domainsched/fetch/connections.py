"""The connections of one visit, kept open between its requests and closed with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import h11
import httpx

from domainsched.fetch.budget import Budget
from domainsched.fetch.connect import Dialer, Line, Network
from domainsched.fetch.failure import WIRE_ERRORS

_MAX_IDLE = 3
"""A bare name, its www, and one more: robots.txt and pages are often redirected alike."""
_MAX_HEAD_BYTES = 128 * 1024
"""Read before a final answer is complete. A flood of 1xx answers is as bad as a long one."""
_MAX_UNPARSED_BYTES = 100 * 1024
"""Of a head, or of a line between chunks, that has no end yet."""
_MAX_FIELDS = 1000
_MAX_WIRE_BYTES = 8 * 1024 * 1024
"""Of a body, as it comes: what inflates to nothing, or follows its end, is never full."""
_READ_BYTES = 64 * 1024

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

        An idle connection that turns out to be broken is replaced. Raises WIRE_ERRORS and
        VisitError. Of a response's extensions `peer_address` is the address, and `tls` the
        ssl.SSLObject or None.
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
            connection.close()
        return _Connection(url, await self._dialer.dial(url))

    async def _send(
        self, connection: _Connection, url: httpx.URL, fields: Fields
    ) -> httpx.Response:
        try:
            head = await connection.send(url, fields)
        except BaseException:
            connection.close()
            raise
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=_Body(connection, self._keep),
            extensions={"peer_address": connection.peer_address, "tls": connection.tls},
        )

    def _keep(self, connection: _Connection) -> None:
        if not connection.renew():
            connection.close()
            return
        self._idle[connection.origin] = connection
        if len(self._idle) > _MAX_IDLE:
            self._idle.pop(next(iter(self._idle))).close()

    async def aclose(self) -> None:
        """Close what is open. More may be opened afterwards."""
        while self._idle:
            self._idle.popitem()[1].close()


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


class _Connection:
    """HTTP/1.1 on one connection, its place at the address included."""

    def __init__(self, url: httpx.URL, line: Line) -> None:
        self.origin = _origin(url)
        self._line = line
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_UNPARSED_BYTES)
        self.peer_address = str(line.address)
        self.tls = line.stream.tls
        self.was_used = False
        """An answer has come on it."""

    @property
    def is_alive(self) -> bool:
        """Whether an idle one can still be used: a server has nothing to say but that it ends."""
        return not self._line.stream.has_data

    def renew(self) -> bool:
        """Get ready for the next request, if the last one and its answer are complete.

        What came behind the answer would be taken for the next one.
        """
        if (self._http.our_state, self._http.their_state) != (h11.DONE, h11.DONE):
            return False
        if any(self._http.trailing_data) or self._line.stream.has_read_ahead:
            return False
        self._http.start_next_cycle()
        return True

    async def send(self, url: httpx.URL, fields: Fields) -> h11.Response:
        """Send a GET and read the head of the answer."""
        self._line.stream.allowance = _MAX_HEAD_BYTES
        request = h11.Request(method="GET", target=url.raw_path, headers=list(fields))
        data = [self._http.send(event) or b"" for event in (request, h11.EndOfMessage())]
        await self._line.stream.write(b"".join(data))
        while isinstance(head := await self._next_event(), h11.InformationalResponse):
            pass
        assert isinstance(head, h11.Response)  # noqa: S101 - nothing else comes before a body
        if len(head.headers) > _MAX_FIELDS:
            raise h11.RemoteProtocolError(f"more than {_MAX_FIELDS} header fields")
        self._line.stream.allowance = _MAX_WIRE_BYTES
        self.was_used = True
        return head

    async def body(self) -> AsyncIterator[bytes]:
        """Read the body, piece by piece."""
        while isinstance(piece := await self._next_event(), h11.Data):
            yield bytes(piece.data)

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._line.stream.read(_READ_BYTES)
            if not data and self._http.their_state is h11.SEND_RESPONSE:
                raise h11.RemoteProtocolError("the server ended the connection without an answer")
            self._http.receive_data(data)
        return event  # type: ignore[return-value] # h11 has no type for what is no sentinel

    def close(self) -> None:
        self._line.close()


class _Body(httpx.AsyncByteStream):
    """A response's body, which hands its connection on when it is closed."""

    def __init__(self, connection: _Connection, done: Callable[[_Connection], None]) -> None:
        self._connection = connection
        self._done = done

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.body()

    async def aclose(self) -> None:
        self._done(self._connection)
