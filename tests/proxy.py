"""A network between client and PostgreSQL that a test can listen to, stop, and break.

It speaks just enough of the protocol (PostgreSQL manual, "Message Formats") to find the statements
of a client and the end of each answer, and forwards whole messages.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from domainsched.dburl import DatabaseUrl

COMMIT = "COMMIT"
_STATEMENTS = {b"Q": 0, b"P": 1}
"""Query, Parse: how many names stand before the text."""


@dataclass
class Proxy:
    """What happens on the way; set while clients are connected."""

    target: Mapping[str, str]
    statements: list[str] = field(default_factory=list)
    """All that clients sent, in order."""
    on_statement: Callable[[str, Link], Awaitable[None]] | None = None
    """Awaited before a statement is forwarded."""
    silent: bool = False
    """Half open: connections are taken, nothing is forwarded either way, nothing is closed."""
    port: int = 0
    links: list[Link] = field(default_factory=list)

    @property
    def url(self) -> DatabaseUrl:
        """Where to connect instead of to the server."""
        plain = {"sslmode": "disable", "gssencmode": "disable", "connect_timeout": "10"}
        place = {"host": "127.0.0.1", "port": str(self.port)}
        return DatabaseUrl({**self.target, **plain, **place})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await _connect(self.target)
        link = Link(self, (reader, writer), server)
        self.links.append(link)
        try:
            await link.forward()
        finally:
            link.close()


class Link:
    """One client's connection, and ours to the server for it."""

    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._deaf = False
        self._answered = asyncio.Event()

    async def forward(self) -> None:
        ways = [asyncio.create_task(way()) for way in (self._requests, self._answers)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def close(self) -> None:
        self._to_client.close()
        self._to_server.close()

    def hang_up(self) -> None:
        """Close the client's side only; the server does not notice."""
        self._deaf = True
        self._to_client.close()

    async def ask(self, statement: str) -> None:
        """Have the server execute a statement in this session; the client does not notice."""
        deaf, self._deaf = self._deaf, True
        self._answered.clear()
        text = statement.encode() + b"\0"
        self._to_server.write(b"Q" + (len(text) + 4).to_bytes(4, "big") + text)
        await self._answered.wait()
        self._deaf = deaf

    async def _requests(self) -> None:
        start_up = await _start_up(self._from_client)
        if not self._proxy.silent:
            self._to_server.write(start_up)
        while True:
            kind, message = await _message(self._from_client)
            if kind in _STATEMENTS:
                await self._statement(message.split(b"\0")[_STATEMENTS[kind]].decode())
            if not self._proxy.silent:
                self._to_server.write(message_of(kind, message))

    async def _statement(self, text: str) -> None:
        self._proxy.statements.append(text)
        if self._proxy.on_statement is not None:
            await self._proxy.on_statement(text, self)

    async def _answers(self) -> None:
        while True:
            kind, message = await _message(self._from_server)
            if not self._deaf and not self._proxy.silent:
                self._to_client.write(message_of(kind, message))
            if kind == b"Z":
                self._answered.set()


def message_of(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    return kind, await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)


async def _start_up(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "big") - 4)


async def _connect(target: Mapping[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = target.get("host", "localhost"), target.get("port", "5432")
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, int(port))


@asynccontextmanager
async def proxied(target: Mapping[str, str]) -> AsyncIterator[Proxy]:
    """Stand between clients and the server of `target`, on a port of our own."""
    proxy, links = Proxy(target), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_quietly(proxy.serve(reader, writer)))
        links.add(task)
        task.add_done_callback(links.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _quietly(link: Awaitable[None]) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await link
