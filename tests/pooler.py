"""A transaction pooler as nasty as poolers may be, in front of a real PostgreSQL.

Each of a client's transactions goes to another backend than the one before, and nothing is reset in
between, as behind Supavisor: what depends on a session breaks. When a backend is put back, it is
asked whether the transaction left something of a session in it; that, and whatever poolers cannot
carry, is a violation. Clear text and trust only, on a Unix socket.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryDirectory

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
PROTOCOL = 196608
PORT = "5432"
"""Only names the socket."""
ENDS_A_REQUEST = (b"Q", b"S")
"""Query and Sync: after these, and only these, the server answers ReadyForQuery."""
REFUSED = {b"H": "a pipeline (Flush)", b"F": "a function call"}

LEFT_BEHIND = b"""
SELECT format('setting %s = %s', name, setting) FROM pg_settings
    WHERE source = 'session' AND name NOT LIKE 'transaction%'
UNION ALL SELECT 'role ' || current_user WHERE current_user <> session_user
UNION ALL SELECT 'prepared statement ' || name FROM pg_prepared_statements
UNION ALL SELECT 'channel ' || channel FROM pg_listening_channels() AS channel
UNION ALL SELECT 'cursor ' || name FROM pg_cursors
UNION ALL SELECT 'advisory lock ' || objid FROM pg_locks
    WHERE locktype = 'advisory' AND pid = pg_backend_pid()
UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
"""


class RefusedByPoolerError(Exception):
    """What a client gets instead of an answer, and the end of its connection."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.message = message


@dataclass(eq=False)
class Backend:
    """One server connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes = b""
    statement: str = ""
    """The last one."""
    left_behind: set[str] = field(default_factory=set)
    _end: asyncio.Task[bytes] | None = None

    async def answer(self, request: bytes, to: asyncio.StreamWriter) -> bytes:
        """Pass a request on, and its answer but for the ReadyForQuery, whose state is returned."""
        self.writer.write(request)
        while True:
            kind, body, raw = await _read(self.reader)
            if kind == b"Z":
                return body
            to.write(raw)
            await to.drain()

    async def what_is_left(self) -> set[str]:
        """Say what there is of a session that was not there when this was asked last."""
        self.writer.write(_message(b"Q", LEFT_BEHIND + b"\0"))
        found, kind = set(), b""
        while kind != b"Z":
            kind, body, _ = await _read(self.reader)
            if kind == b"E":
                raise ConnectionResetError(body)
            if kind == b"D":
                found.add(body[6:].decode())  # after the number of columns and the length of one
        new, self.left_behind = found - self.left_behind, found
        return new

    def rest(self) -> None:
        """Listen for its end: nothing else comes unasked."""
        self._end = asyncio.create_task(self.reader.read(1))

    async def wake(self) -> bool:
        """Say whether it is still there."""
        assert self._end is not None
        is_there = not self._end.done()
        await _ended(self._end)
        return is_there

    def close(self) -> None:
        """End it; a transaction that is open is rolled back."""
        self.writer.close()


@dataclass(eq=False)
class Client:
    """Who is connected to the pooler."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    user: str
    database: str
    last: Backend | None = None


@dataclass
class Pooler:
    """A running pooler; `violations` says what clients did that no pooler carries."""

    upstream: Mapping[str, str]
    directory: str
    """Of its socket."""
    transactions: int = 0
    violations: list[str] = field(default_factory=list)
    _idle: dict[tuple[str, str], deque[Backend]] = field(default_factory=dict)

    @property
    def keywords(self) -> dict[str, str]:
        """Connection keywords that lead through the pooler."""
        kept = {key: value for key, value in self.upstream.items() if key in {"user", "dbname"}}
        return {**kept, "host": self.directory, "port": PORT}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Look after one client from its first byte to its last."""
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                parameters = await _start_up(reader, writer)
                if parameters is not None:
                    client = self._admitted(reader, writer, parameters)
                    await self._greet(client)
                    await self._converse(client)
        except RefusedByPoolerError as refused:
            writer.write(refused.message)
        finally:
            writer.close()

    def _admitted(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, given: Mapping[str, str]
    ) -> Client:
        if "options" in given:
            reason = "unsupported startup parameter: options"
            raise self._violation(f"options {given['options']}", "08P01", reason)
        return Client(reader, writer, given["user"], given.get("database", given["user"]))

    async def _greet(self, client: Client) -> None:
        """Log in: nothing that a client is told is true of the backends it will get."""
        backend = await self._acquire(client)
        client.writer.write(_message(b"R", struct.pack("!I", 0)) + backend.greeting + OWN_STATUS)
        client.writer.write(_message(b"K", struct.pack("!II", 424242, 7)) + _message(b"Z", b"I"))
        self._release(client, backend)

    async def _converse(self, client: Client) -> None:
        """Carry requests, each transaction to another backend than the one before."""
        backend: Backend | None = None
        following = asyncio.create_task(self._request(client))
        try:
            while request := await following:
                if backend is None:
                    backend = await self._acquire(client)
                    self.transactions += 1
                backend.statement = _statement(request) or backend.statement
                following = asyncio.create_task(self._request(client))
                state = await self._answered(backend, request, client, following)
                if state == b"I":
                    await self._put_back(client, backend)
                    backend = None
                client.writer.write(_message(b"Z", state))
        finally:
            if backend is not None:
                backend.close()
            await _ended(following)

    async def _answered(
        self, backend: Backend, request: bytes, client: Client, following: asyncio.Task[bytes]
    ) -> bytes:
        """Let a request be answered, unless meanwhile the client leaves, or sends another."""
        answer = asyncio.create_task(backend.answer(request, client.writer))
        done, _ = await asyncio.wait({answer, following}, return_when=asyncio.FIRST_COMPLETED)
        if answer in done:
            return answer.result()
        await _ended(answer)
        if following.result():
            raise self._violation("a pipeline of several requests")
        raise ConnectionResetError

    async def _request(self, client: Client) -> bytes:
        """Collect messages up to the one that will be answered; b"" when the client leaves."""
        request = b""
        while True:
            kind, body, raw = await _read(client.reader)
            if kind == b"X":
                return b""
            if kind == b"P" and body[:1] != b"\0":
                raise self._violation(f"a named prepared statement: {body.split(bytes(1))[0]!r}")
            if kind in REFUSED:
                raise self._violation(REFUSED[kind])
            request += raw
            if kind in ENDS_A_REQUEST:
                return request

    def _violation(self, what: str, code: str = "0A000", reason: str = "") -> RefusedByPoolerError:
        self.violations.append(what)
        return RefusedByPoolerError(_error(code, reason or f"the pooler does not carry {what}"))

    async def _put_back(self, client: Client, backend: Backend) -> None:
        try:
            left = await backend.what_is_left()
        except (OSError, asyncio.IncompleteReadError):
            backend.close()  # ended just now; the client has its answer
            return
        self.violations += [f"{each} was left by {backend.statement!r}" for each in sorted(left)]
        client.writer.write(OWN_STATUS)
        self._release(client, backend)

    async def _acquire(self, client: Client) -> Backend:
        idle = self._idle.setdefault((client.user, client.database), deque())
        while others := [backend for backend in idle if backend is not client.last]:
            idle.remove(others[0])
            if await others[0].wake():
                return others[0]
            others[0].close()
        return await self._connect(client)

    def _release(self, client: Client, backend: Backend) -> None:
        client.last = backend
        backend.rest()
        self._idle[client.user, client.database].append(backend)

    async def close(self) -> None:
        """End every server connection."""
        for backend in list(itertools.chain.from_iterable(self._idle.values())):
            backend.close()
            with suppress(OSError):
                await backend.writer.wait_closed()

    async def _connect(self, client: Client) -> Backend:
        host, port = self.upstream["host"], self.upstream.get("port", "5432")
        if host.startswith("/"):
            backend = Backend(*await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}"))
        else:
            backend = Backend(*await asyncio.open_connection(host, int(port)))
        fields = f"user\0{client.user}\0database\0{client.database}\0\0".encode()
        backend.writer.write(struct.pack("!II", len(fields) + 8, PROTOCOL) + fields)
        kind = b""
        while kind != b"Z":
            kind, body, raw = await _read(backend.reader)
            if kind == b"E":
                backend.close()
                why = f"server login failed: {_text_of(body)}"  # as PgBouncer puts it
                raise RefusedByPoolerError(_error("08P01", why))
            if kind == b"S":
                backend.greeting += raw
        return backend


async def _ended(task: asyncio.Task[bytes]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _start_up(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> dict[str, str] | None:
    """Read the start-up packet; None for a request to cancel, which goes nowhere."""
    while True:
        length, code = struct.unpack("!II", await reader.readexactly(8))
        rest = await reader.readexactly(length - 8)
        if code in {SSL_REQUEST, GSS_REQUEST}:
            writer.write(b"N")
        elif code == CANCEL_REQUEST:
            return None
        else:
            words = rest.decode().split("\0")
            return dict(zip(words[::2], words[1::2], strict=False))


def _statement(request: bytes) -> str:
    """The text of a Query, or of the Parse that a request begins with."""
    start = {b"Q": 5, b"P": 6}.get(request[:1])
    return "" if start is None else request[start:].split(b"\0")[0].decode(errors="replace")


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    head = await reader.readexactly(5)
    body = await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
    return head[:1], body, head + body


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


OWN_STATUS = _message(b"S", b"application_name\0pooler\0")
"""Said unasked, as Supavisor does."""


def _error(code: str, text: str) -> bytes:
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": text}
    body = b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0"
    return _message(b"E", body)


def _text_of(error: bytes) -> str:
    fields = error.decode(errors="replace").split("\0")
    return next(field[1:] for field in fields if field.startswith("M"))


@contextmanager
def pooling(upstream: Mapping[str, str]) -> Iterator[Pooler]:
    """Run a pooler in front of the server that `upstream` leads to, in a thread of its own."""
    with TemporaryDirectory(prefix="domainsched-", dir="/tmp") as directory:
        pooler, started = Pooler(upstream, directory), Future[Callable[[], object]]()
        thread = threading.Thread(target=asyncio.run, args=(_run(pooler, started),))
        thread.start()
        stop = started.result()
        try:
            yield pooler
        finally:
            stop()
            thread.join()


async def _run(pooler: Pooler, started: Future[Callable[[], object]]) -> None:
    """Serve until the function is called that `started` is given."""
    done = asyncio.Event()
    socket = f"{pooler.directory}/.s.PGSQL.{PORT}"
    server = await asyncio.start_unix_server(pooler.serve, socket, backlog=100)
    started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, done.set))
    await done.wait()
    server.close()
    await pooler.close()


@contextmanager
def through_the_double(keywords: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Lead to a database through a pooler of its own, and let it vouch for all it carried."""
    with pooling(keywords) as pooler:
        yield pooler.keywords
    assert pooler.violations == []
