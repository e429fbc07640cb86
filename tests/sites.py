"""Web sites on loopback, well-behaved and otherwise, for tests of anything that visits sites."""

from __future__ import annotations

import gzip
import itertools
import socket
import socketserver
import ssl
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Self

import trustme

from domainsched.fetch import ConnectTo

LOOPBACK = "127.0.0.1"
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_BACKLOG = 512


class Port(Enum):
    """What happens to a connection to a site's port."""

    OPEN = auto()
    REFUSED = auto()
    SILENT = auto()
    """The connection is made, and nobody ever answers on it."""
    DEAD = auto()
    """The connection is never made."""


class Certificate(Enum):
    """What a site shows for itself on its https port."""

    GOOD = auto()
    EXPIRED = auto()
    SELF_SIGNED = auto()
    WRONG_NAME = auto()
    UNTRUSTED = auto()
    NONE = auto()
    """The handshake is refused: the server does not know the name."""


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    scheme: str
    host: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    at: float
    """By `time.monotonic()`."""
    connection: int
    """Requests with the same number came on the same connection."""


class Exchange:
    """One request and the connection to answer it on."""

    def __init__(self, received: Received, connection: socket.socket, stopping: Event) -> None:
        self.received = received
        self.stopping = stopping
        self.goes_on = False
        """The answer says that the connection may be used again."""
        self._connection = connection

    def send(self, data: bytes) -> None:
        """Send `data`, unless the visitor has gone."""
        self.goes_on = b"\r\nconnection: keep-alive\r\n" in data.lower()
        with suppress(OSError):
            self._connection.sendall(data)

    def hang_up(self) -> None:
        """End the connection whatever the answer says."""
        self.goes_on = False

    def drip(self, data: bytes, interval: float) -> None:
        """Send `data` a byte at a time until the visitor has had enough."""
        with suppress(OSError):
            for byte in data:
                self._connection.sendall(bytes([byte]))
                if self.stopping.wait(interval):
                    return

    def drip_pieces(self, piece: bytes) -> None:
        """Send `piece` again and again until the visitor has had enough."""
        with suppress(OSError):
            while not self.stopping.is_set():
                self._connection.sendall(piece)

    def wait_until_closed(self) -> None:
        """Return when the visitor hangs up."""
        with suppress(OSError):
            while self._connection.recv(4096):
                pass

    def reset(self) -> None:
        """End the connection with an RST."""
        linger = struct.pack("ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._connection.close()


Behaviour = Callable[[Exchange], None]


KEPT = {"Connection": "keep-alive"}
"""The header of an answer whose connection may be used again."""


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """A whole response; its `Content-Length` is right unless `headers` say otherwise."""
    fields = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
    if "Transfer-Encoding" in fields:
        del fields["Content-Length"]
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {fields[name]}" for name in fields)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def raw(data: bytes) -> Behaviour:
    """Send exactly these bytes and hang up."""
    return lambda exchange: exchange.send(data)


def page(
    body: str | bytes = "<title>A site</title>",
    *,
    status: int = 200,
    content_type: str | None = "text/html; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """An ordinary page, also for statuses that are errors."""
    fields = {"Content-Type": content_type} if content_type is not None else {}
    data = body.encode() if isinstance(body, str) else body
    return raw(answer(status, {**fields, **(headers or {})}, data))


def gzipped(body: bytes, *, headers: Mapping[str, str] | None = None) -> Behaviour:
    """A page, compressed."""
    fields = {"Content-Encoding": "gzip", **(headers or {})}
    return page(gzip.compress(body, mtime=0), headers=fields)


def redirect(location: str, *, status: int = 302) -> Behaviour:
    """Send the visitor elsewhere."""
    return raw(answer(status, {"Location": location}))


def never() -> Behaviour:
    """Take the request and say nothing."""
    return lambda exchange: exchange.wait_until_closed()


def drip(data: bytes, *, interval: float = 0.05) -> Behaviour:
    """Send `data` a byte at a time."""
    return lambda exchange: exchange.drip(data, interval)


def reset(data: bytes = b"") -> Behaviour:
    """Send `data`, then break the connection off.

    An RST overtakes what the visitor has not read yet, and nobody tells us when it has: `data` gets
    a second, so that a busy machine comes to it, too.
    """

    def behave(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.stopping.wait(1 if data else 0)
        exchange.reset()

    return behave


def truncated() -> Behaviour:
    """Promise more than is sent."""
    return page("<title>Half</title>", headers={"Content-Length": "1000"})


def bad_gzip() -> Behaviour:
    """Say gzip, send something else."""
    return page("<title>Not compressed</title>", headers={"Content-Encoding": "gzip"})


def bomb(size: int = 50 * 1024 * 1024) -> Behaviour:
    """A small body that inflates to `size` bytes."""
    return gzipped(b"<p>" + bytes(size))


def header_flood(size: int = 1024 * 1024) -> Behaviour:
    """Send header fields without end."""
    return raw(b"HTTP/1.1 200 OK\r\n" + b"X-Flood: flood\r\n" * (size // 16))


def sequence(*behaviours: Behaviour) -> Behaviour:
    """Behave differently at each request; the last one is kept."""
    steps = itertools.chain(behaviours, itertools.repeat(behaviours[-1]))

    def behave(exchange: Exchange) -> None:
        behaviour = next(steps)
        behaviour(exchange)

    return behave


def paths(table: Mapping[str, Behaviour]) -> Behaviour:
    """Choose by the path; 404 for others."""
    missing = page("<title>Not found</title>", status=404)
    return lambda exchange: table.get(exchange.received.path, missing)(exchange)


def schemes(*, http: Behaviour, https: Behaviour) -> Behaviour:
    """Choose by the scheme."""
    table = {"http": http, "https": https}
    return lambda exchange: table[exchange.received.scheme](exchange)


@dataclass
class _Site:
    behaviour: Behaviour
    robots: Behaviour | None
    certificate: Certificate
    ports: Mapping[str, Port]


@dataclass
class Sites:
    """Many host names behind one http and one https port, with a certificate authority.

    Its threads serve visitors in this process and in others. Hosts may be added at any time; those
    with a port that is not open must be there before `connect_to` is read.
    """

    ca_file: Path
    address: str = LOOPBACK
    """On which the sites are served."""
    _authority: trustme.CA = field(default_factory=trustme.CA)
    _sites: dict[str, _Site] = field(default_factory=dict)
    _received: list[Received] = field(default_factory=list)
    _open: set[socket.socket] = field(default_factory=set)
    _changed: Condition = field(default_factory=Condition)
    _stopping: Event = field(default_factory=Event)
    _resources: ExitStack = field(default_factory=ExitStack)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.context_for = cache(self._context_for)
        self._servers = {scheme: _Server(self, scheme) for scheme in ("http", "https")}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.sni_callback = self._choose_certificate
        self._targets = {
            Port.REFUSED: self._held(listening=False),
            Port.SILENT: self._held(listening=True),
            Port.DEAD: self._full(),
        }

    def __enter__(self) -> Self:
        self._authority.cert_pem.write_to_path(self.ca_file)
        for server in self._servers.values():
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for server in self._servers.values():
            server.shutdown()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for server in self._servers.values():
            server.server_close()
        self._resources.close()

    def add(
        self,
        *names: str,
        behaviour: Behaviour | None = None,
        robots: Behaviour | None = None,
        certificate: Certificate = Certificate.GOOD,
        http: Port = Port.OPEN,
        https: Port = Port.OPEN,
    ) -> None:
        """Serve `behaviour` (an ordinary page) under each name. `www.` is a name of its own.

        `robots` answers for /robots.txt, which otherwise is not there.
        """
        ports = {"http": http, "https": https}
        for name in names:
            self._sites[name] = _Site(behaviour or page(), robots, certificate, ports)

    @property
    def http_port(self) -> int:
        """The port that speaks http."""
        return self._servers["http"].server_address[1]

    @property
    def https_port(self) -> int:
        """The port that speaks https."""
        return self._servers["https"].server_address[1]

    @property
    def connect_to_text(self) -> str:
        """Rules that lead every name here without a look-up, separated by commas."""
        return ",".join([*self._closed_doors(), *self._rules(self.address)])

    @property
    def connect_to(self) -> tuple[ConnectTo, ...]:
        """The same rules for `FetchSettings`."""
        return tuple(map(ConnectTo.parse, self.connect_to_text.split(",")))

    @property
    def connect_to_ports(self) -> tuple[ConnectTo, ...]:
        """Rules that lead to the ports here, at whatever address a name resolves to."""
        return tuple(map(ConnectTo.parse, self._rules("")))

    def _rules(self, host: str) -> list[str]:
        return [f":443:{host}:{self.https_port}", f":80:{host}:{self.http_port}"]

    def _closed_doors(self) -> Iterator[str]:
        numbers = {"http": 80, "https": 443}
        for name, site in self._sites.items():
            for scheme, port in site.ports.items():
                if port is not Port.OPEN:
                    yield f"{name}:{numbers[scheme]}:{LOOPBACK}:{self._targets[port]}"

    @property
    def received(self) -> tuple[Received, ...]:
        """Every request so far, but for those for a robots.txt that is not there."""
        with self._changed:
            return tuple(self._received)

    def received_by(self, name: str) -> list[Received]:
        """The requests to one host so far."""
        return [each for each in self.received if each.host == name]

    def wait_for_requests(self, name: str, count: int = 1, timeout: float = 60) -> None:
        """Block until a host has had that many requests."""
        self._wait(lambda: sum(each.host == name for each in self._received) >= count, timeout)

    def wait_until_idle(self, timeout: float = 60) -> None:
        """Block until no visitor is connected."""
        self._wait(lambda: not self._open, timeout)

    def _wait(self, predicate: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(predicate, timeout):
                raise TimeoutError(f"open: {len(self._open)}, received: {self._received}")

    def serve(self, connection: socket.socket, scheme: str) -> None:
        """Answer one connection (called by the servers' threads)."""
        with self._registered(connection):
            if scheme == "http":
                self._answer(connection, scheme)
                return
            with (
                self._tls.wrap_socket(connection, server_side=True) as secure,
                self._registered(secure),  # the descriptor is the secure socket's now
            ):
                self._answer(secure, scheme)

    @contextmanager
    def _registered(self, connection: socket.socket) -> Iterator[None]:
        self._register(self._open.add, connection)
        try:
            yield
        finally:
            self._register(self._open.discard, connection)

    def _register(self, change: Callable[[socket.socket], None], connection: socket.socket) -> None:
        with self._changed:
            change(connection)
            self._changed.notify_all()

    def _answer(self, connection: socket.socket, scheme: str) -> None:
        number = next(self._numbers)
        while received := _read_request(connection, scheme, number):
            behaviour = self._behaviour(received)
            exchange = Exchange(received, connection, self._stopping)
            behaviour(exchange)
            if not exchange.goes_on:
                return

    def _behaviour(self, received: Received) -> Behaviour:
        site = self._sites.get(received.host.rstrip("."))
        is_robots = received.path == "/robots.txt"
        if is_robots and (site is None or site.robots is None):
            return raw(answer(404))
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()
        if site is None:
            return raw(b"")
        return site.robots if site.robots and is_robots else site.behaviour

    def _choose_certificate(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> int | None:
        site = self._sites.get(name or "")
        if name is None or site is None or site.certificate is Certificate.NONE:
            return int(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        connection.context = self.context_for(name, site.certificate)
        return None

    def _context_for(self, name: str, certificate: Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        match certificate:
            case Certificate.SELF_SIGNED:
                _show(context, trustme.CA())
            case Certificate.UNTRUSTED:
                trustme.CA().issue_cert(name).configure_cert(context)
            case Certificate.WRONG_NAME:
                self._authority.issue_cert("another.test").configure_cert(context)
            case Certificate.EXPIRED:
                self._authority.issue_cert(name, not_after=_LONG_AGO).configure_cert(context)
            case _:
                self._authority.issue_cert(name).configure_cert(context)
        return context

    def _held(self, *, listening: bool) -> int:
        """Hold a port that nobody accepts connections on."""
        holder = self._resources.enter_context(socket.socket())
        holder.bind((LOOPBACK, 0))
        if listening:
            holder.listen(_BACKLOG)
        return _port_of(holder)

    def _full(self) -> int:
        """Hold a port whose queue is full: Linux drops what more comes to it."""
        holder = self._resources.enter_context(socket.socket())
        holder.bind((LOOPBACK, 0))
        holder.listen(0)
        for _ in range(3):
            waiting = self._resources.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex((LOOPBACK, _port_of(holder)))
        return _port_of(holder)


def _port_of(holder: socket.socket) -> int:
    port: int = holder.getsockname()[1]
    return port


def _show(context: ssl.SSLContext, authority: trustme.CA) -> None:
    """Show an authority's own certificate: it is signed by itself."""
    with authority.cert_pem.tempfile() as cert, authority.private_key_pem.tempfile() as key:
        context.load_cert_chain(cert, key)


def _read_request(connection: socket.socket, scheme: str, number: int) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    start, *lines = data.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    host = headers.get("host", "")
    return Received(scheme, host, start.split(" ")[1], headers, time.monotonic(), number)


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = _BACKLOG
    server_address: tuple[str, int]

    def __init__(self, sites: Sites, scheme: str) -> None:
        super().__init__((sites.address, 0), socketserver.BaseRequestHandler)
        self._sites = sites
        self._scheme = scheme

    def finish_request(self, request: object, client_address: object) -> None:
        del client_address
        assert isinstance(request, socket.socket)
        with suppress(OSError):  # the visitor may leave at any point, also during the handshake
            self._sites.serve(request, self._scheme)


@contextmanager
def running_sites(address: str = LOOPBACK) -> Iterator[Sites]:
    """Start an empty set of sites, and end all of it."""
    with (
        tempfile.TemporaryDirectory(prefix="domainsched-sites-") as directory,
        Sites(Path(directory) / "ca.pem", address) as sites,
    ):
        yield sites
