"""A connection: a socket of the event loop's, plain or secured."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from typing import Self, TypeVar

import h11

from domainsched.addresses import Address

_READ_BYTES = 64 * 1024

_Done = TypeVar("_Done")


class ConnectionLost(Exception):
    """The connection broke."""


class SocketStream:
    """TCP, and TLS in memory on top of it. A visit's budget limits every wait."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.tls: ssl.SSLObject | None = None
        """Once it is secured."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unsent: OSError | None = None
        self.allowance: int | None = None
        """How many bytes more may be received, if that is limited."""

    @classmethod
    async def open(cls, address: Address, port: int) -> Self:
        """Connect.

        Raises:
            OSError: there is no connection.

        """
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IP
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            raw.setblocking(False)  # noqa: FBT003 - the socket's own method
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(raw, (str(address), port))
        except BaseException:
            raw.close()
            raise
        return cls(raw)

    async def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Go on in TLS, with the host of that name.

        Raises:
            OSError: the handshake failed; an ssl.SSLError, if not the connection.

        """
        # As bytes: a str would go through Python's IDNA codec, which raises UnicodeError.
        host = name.encode("ascii")
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        await self._secured(self.tls.do_handshake)

    async def read(self, max_bytes: int) -> bytes:
        """Read what there is, up to `max_bytes`; nothing at the end.

        Raises:
            ConnectionLost: it broke, now or when something was to be written.
            h11.RemoteProtocolError: more was received than was allowed.
            ssl.SSLError: the other side breaks the rules of TLS.

        """
        try:
            data = await self._read(max_bytes)
        except ssl.SSLError:
            raise
        except OSError as error:
            raise ConnectionLost from error
        if not data and self._unsent:  # the socket tells only once that it is broken
            raise ConnectionLost from self._unsent
        return data

    async def _read(self, max_bytes: int) -> bytes:
        tls = self.tls
        if tls is None:
            return await self._receive(max_bytes)
        if self._incoming.pending:  # thousands of records of one byte, perhaps
            await asyncio.sleep(0)
        try:
            return await self._secured(lambda: tls.read(max_bytes))
        except ssl.SSLEOFError:  # many servers end a connection without ending TLS
            return b""

    async def write(self, data: bytes) -> None:
        """Write all of `data`; if that fails there may be an answer nevertheless: read it."""
        tls = self.tls
        try:
            if tls is None:
                await self._send(data)
            else:
                await self._secured(lambda: tls.write(data))
        except OSError as error:
            self._unsent = error

    async def _secured(self, operation: Callable[[], _Done]) -> _Done:
        """Do it, and send and receive what it takes."""
        while True:
            try:
                done = operation()
            except ssl.SSLWantReadError:
                await self._send(self._outgoing.read())
                if data := await self._receive(_READ_BYTES):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._send(self._outgoing.read())
                return done

    async def _receive(self, max_bytes: int) -> bytes:
        """Receive what there is; what TLS needs for itself counts, too.

        The event loop gives no turn to others, and to no time-out, where a socket is never empty.
        """
        await asyncio.sleep(0)
        data = await asyncio.get_running_loop().sock_recv(self._socket, max_bytes)
        if self.allowance is not None:
            self.allowance -= len(data)
            if self.allowance < 0:
                raise h11.RemoteProtocolError("the answer has no end")
        return data

    async def _send(self, data: bytes) -> None:
        if data:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    @property
    def has_data(self) -> bool:
        """Whether there is something to read at once, be it the end."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def has_read_ahead(self) -> bool:
        """Whether TLS has received what nobody has read."""
        return self.tls is not None and bool(self._incoming.pending or self.tls.pending())

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
