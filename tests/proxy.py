"""A network between client and PostgreSQL that a test can listen to, stop, and break.

It speaks just enough of the protocol (PostgreSQL manual, "Message Formats") to find the statements
of a client and the end of each answer, and forwards whole messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from domainsched.dburl import DatabaseUrl

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which what is waited for will not come."""

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
    on_connect: Callable[[], Awaitable[None]] | None = None
    """Awaited before the server is connected to, for a client that is."""
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
        try:
            if self.on_connect is not None:
                await self.on_connect()
            link = Link(self, (reader, writer), await _connect(self.target))
        except BaseException:
            await _close(writer)
            raise
        self.links.append(link)
        try:
            await link.forward()
            if link.muted:  # nor does the server hear that its client is gone
                await asyncio.Event().wait()
        finally:
            await link.close()


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
        self._answer: bytes | None = None
        """To what was executed before it was to be forwarded."""
        self.muted = False
        """Half open for ever, also when the network is sound again."""
        self._answered = asyncio.Event()
        self._has_ended = False

    async def forward(self) -> None:
        ways = [asyncio.create_task(way()) for way in (self._requests, self._answers)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._has_ended = True
            self._answered.set()

    @property
    def _is_silent(self) -> bool:
        return self.muted or self._proxy.silent

    @property
    def is_closed(self) -> bool:
        """Whether the server has been told that its client is gone."""
        return self._to_server.is_closing()

    async def close(self) -> None:
        await _close(self._to_client, self._to_server)

    def hang_up(self) -> None:
        """Close the client's side only; the server does not notice."""
        self._deaf = True
        self._to_client.close()

    def reset(self) -> None:
        """End the client's side with an RST."""
        connection = self._to_client.get_extra_info("socket")
        with contextlib.suppress(OSError):  # closed already, for the client is gone
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._to_client.transport.abort()

    async def ask(self, statement: str) -> None:
        """Have the server execute a statement in this session; the client does not notice."""
        if self._has_ended:  # and nobody would hear the answer
            return
        deaf, self._deaf = self._deaf, True
        self._answered.clear()
        text = statement.encode() + b"\0"
        self._to_server.write(b"Q" + (len(text) + 4).to_bytes(4, "big") + text)
        await self._answered.wait()
        self._deaf = deaf

    async def execute(self, statement: str) -> None:
        """Have the server execute what is to be forwarded; its answer is forwarded instead."""
        self._answer = b""
        await self.ask(statement)

    async def _requests(self) -> None:
        start_up = await _start_up(self._from_client)
        if not self._is_silent:
            self._to_server.write(start_up)
        while True:
            kind, message = await _message(self._from_client)
            if kind in _STATEMENTS:
                await self._statement(message.split(b"\0")[_STATEMENTS[kind]].decode())
            self._forward(message_of(kind, message))

    def _forward(self, request: bytes) -> None:
        answer, self._answer = self._answer, None
        if self._is_silent:
            return
        if answer is None:
            self._to_server.write(request)
        else:
            self._to_client.write(answer)

    async def _statement(self, text: str) -> None:
        self._proxy.statements.append(text)
        if self._proxy.on_statement is not None:
            await self._proxy.on_statement(text, self)

    async def _answers(self) -> None:
        while True:
            kind, message = await _message(self._from_server)
            if not self._deaf and not self._is_silent:
                self._to_client.write(message_of(kind, message))
            elif self._answer is not None:
                self._answer += message_of(kind, message)
            if kind == b"Z":
                self._answered.set()


async def _close(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:  # all, before any wait, in which we may be cancelled
        writer.close()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


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


# --- for programs -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """Where a client is held up: at the last of these statements, when they came in this order."""

    statements: tuple[str, ...] = ()
    """Parts of statements; without any, it is held before it is connected."""
    committed: bool = False
    """The statement is executed; what is held up is its answer."""


class Hold:
    """A network that holds its first client up at one point, for a test in another thread."""

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop, point: Point) -> None:
        self.port, self._proxy, self._loop, self._point = proxy.port, proxy, loop, point
        self._awaited = deque(point.statements)
        self._held, self._let_go = threading.Event(), asyncio.Event()
        self.connections = 0
        self._connected = threading.Condition()
        proxy.on_connect, proxy.on_statement = self._on_connect, self._on_statement

    def wait(self) -> None:
        """Block until the client is held up."""
        assert self._held.wait(PATIENCE), f"it never came to {self._point}: {self.statements}"

    def wait_for_connection(self, number: int) -> None:
        """Block until there were so many connections."""
        with self._connected:
            came = self._connected.wait_for(lambda: self.connections >= number, PATIENCE)
        assert came, "it never connected"

    @property
    def statements(self) -> list[str]:
        return list(self._proxy.statements)

    def let_go(self) -> None:
        """Let the client go on."""
        self._do(self._open())

    def swallow(self) -> None:
        """From now on the network is half open: nothing arrives, on old connections or new."""
        self._do(self._mute(everything=True))

    def forget(self) -> None:
        """The connections of now are half open for ever; new ones are sound."""
        self._do(self._mute(everything=False))

    def cut(self) -> None:
        """End the connections of now; transactions of clients that wait are rolled back before."""
        self._do(self._cut())

    def _do(self, change: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(change, self._loop).result(PATIENCE)

    async def _open(self) -> None:
        self._let_go.set()

    async def _mute(self, *, everything: bool) -> None:
        self._proxy.silent = everything
        for link in self._proxy.links:
            link.muted = True
        self._let_go.set()

    async def _cut(self) -> None:
        for link in [link for link in self._proxy.links if not link.is_closed]:
            await link.ask("ROLLBACK")
            link.reset()
            await link.close()
        self._let_go.set()

    async def _on_connect(self) -> None:
        with self._connected:
            self.connections += 1
            self._connected.notify_all()
        if not self._point.statements:
            self._held.set()
            await self._let_go.wait()

    async def _on_statement(self, text: str, link: Link) -> None:
        if not self._awaited or self._awaited[0] not in text:
            return
        self._awaited.popleft()
        if self._awaited:
            return
        if self._point.committed:
            await link.execute(text)
        self._held.set()
        await self._let_go.wait()


@contextmanager
def held_up(target: Mapping[str, str], point: Point) -> Iterator[Hold]:
    """Stand between programs and the server of `target`, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    standing = proxied(target)
    try:
        proxy = asyncio.run_coroutine_threadsafe(standing.__aenter__(), loop).result(PATIENCE)
        try:
            yield Hold(proxy, loop, point)
        finally:
            leaving = standing.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(leaving, loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
