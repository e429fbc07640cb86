"""A transaction pooler as nasty as poolers may be, in front of a real PostgreSQL.

Every transaction goes to another backend than the one before, and nothing is reset in between: what
depends on a session breaks at once. Like Supavisor and PgBouncer it refuses start-up options and
cannot carry named prepared statements; unlike them it says loudly when it is sent one. Clear text
only, on loopback.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
PROTOCOL = 196608
ENDS_A_REQUEST = (b"Q", b"S")
"""Query and Sync: after these, and only these, the server answers ReadyForQuery."""


@dataclass
class Backend:
    """One server connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes
    number: int


@dataclass
class Pooler:
    """A running pooler; `violations` says what a client did that no pooler carries."""

    upstream: Mapping[str, str]
    size: int = 4
    port: int = 0
    transactions: int = 0
    violations: list[str] = field(default_factory=list)
    _idle: dict[str, deque[Backend]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def keywords(self) -> dict[str, str]:
        """Connection keywords that lead through the pooler."""
        kept = {key: value for key, value in self.upstream.items() if key in {"user", "dbname"}}
        return {**kept, "host": "127.0.0.1", "port": str(self.port), "sslmode": "disable"}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Look after one client from its first byte to its last."""
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                parameters = await _start_up(reader, writer)
                if parameters is not None and self._admits(parameters, writer):
                    await self._greet(writer, parameters)
                    await self._converse(reader, writer, parameters)
        finally:
            writer.close()

    async def _greet(self, writer: asyncio.StreamWriter, parameters: Mapping[str, str]) -> None:
        backend = await self._acquire(parameters)
        writer.write(_message(b"R", struct.pack("!I", 0)) + backend.greeting)
        writer.write(_message(b"K", struct.pack("!II", 1, 1)) + _message(b"Z", b"I"))
        self._release(parameters["database"], backend)

    def _admits(self, parameters: Mapping[str, str], writer: asyncio.StreamWriter) -> bool:
        if "options" not in parameters:
            return True
        self.violations.append(f"start-up options: {parameters['options']}")
        writer.write(_error("08P01", "unsupported startup parameter: options"))
        return False

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        parameters: Mapping[str, str],
    ) -> None:
        """Carry requests, each transaction to another backend."""
        backend: Backend | None = None
        try:
            while request := await self._request(reader):
                if backend is None:
                    backend = await self._acquire(parameters)
                    self.transactions += 1
                backend.writer.write(request)
                if await _relay(backend, writer) == b"I":
                    self._release(parameters["database"], backend)
                    backend = None
        finally:
            if backend is not None:
                backend.writer.close()  # left in a transaction: the server rolls it back

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        """Collect messages up to the one that will be answered; b"" when the client leaves."""
        request = b""
        while True:
            kind, body, raw = await _read(reader)
            if kind == b"X":
                return b""
            if kind == b"P" and body[:1] != b"\0":
                self.violations.append(f"named prepared statement: {body.split(bytes(1))[0]!r}")
            if kind == b"H":
                self.violations.append("a pipeline")
            request += raw
            if kind in ENDS_A_REQUEST:
                return request

    async def _acquire(self, parameters: Mapping[str, str]) -> Backend:
        idle = self._idle.setdefault(parameters["database"], deque())
        if len(idle) >= self.size:
            return idle.popleft()
        return await self._connect(parameters)

    def _release(self, database: str, backend: Backend) -> None:
        self._idle[database].append(backend)

    async def close(self) -> None:
        """End every server connection."""
        for backend in itertools.chain.from_iterable(self._idle.values()):
            backend.writer.close()
            with suppress(OSError):
                await backend.writer.wait_closed()

    async def _connect(self, parameters: Mapping[str, str]) -> Backend:
        host, port = self.upstream["host"], self.upstream.get("port", "5432")
        if host.startswith("/"):
            reader, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            reader, writer = await asyncio.open_connection(host, int(port))
        wanted = {key: parameters[key] for key in ("user", "database") if key in parameters}
        fields = b"".join(f"{key}\0{value}\0".encode() for key, value in wanted.items()) + b"\0"
        writer.write(struct.pack("!II", len(fields) + 8, PROTOCOL) + fields)
        greeting = b""
        while True:
            kind, body, raw = await _read(reader)
            if kind == b"E":
                raise ConnectionRefusedError(body.decode(errors="replace"))
            if kind == b"S":
                greeting += raw
            if kind == b"Z":
                return Backend(reader, writer, greeting, next(self._numbers))


async def _start_up(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> dict[str, str] | None:
    """Read the start-up packet; None for a request to cancel, which poolers take elsewhere."""
    while True:
        length, code = struct.unpack("!II", await reader.readexactly(8))
        rest = await reader.readexactly(length - 8)
        if code in {SSL_REQUEST, GSS_REQUEST}:
            writer.write(b"N")
        elif code == CANCEL_REQUEST:
            return None
        else:
            words = rest.decode().split("\0")
            found = dict(zip(words[::2], words[1::2], strict=False))
            return {"database": found["user"], **found}


async def _relay(backend: Backend, writer: asyncio.StreamWriter) -> bytes:
    """Pass the server's answer on; return the state of the transaction at its end."""
    while True:
        kind, body, raw = await _read(backend.reader)
        writer.write(raw)
        if kind == b"Z":
            await writer.drain()
            return body


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    head = await reader.readexactly(5)
    body = await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
    return head[:1], body, head + body


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _error(code: str, text: str) -> bytes:
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": text}
    body = b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0"
    return _message(b"E", body)


@contextmanager
def pooling(upstream: Mapping[str, str], size: int = 4) -> Iterator[Pooler]:
    """Run a pooler in front of the server that `upstream` leads to, in a thread of its own."""
    pooler, ready = Pooler(upstream, size), threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
        pooler.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await done.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=1)  # clients that have left are about to be noticed
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await pooler.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    ready.wait()
    try:
        yield pooler
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
