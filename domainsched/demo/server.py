"""A small web server on loopback for the demo's sites, over https and http."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import resources
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What a site answers to every request."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before it is sent."""
    https: bool = True
    """False: connections to port 443 are closed."""


@dataclass(frozen=True)
class Ports:
    """Where the server listens, on 127.0.0.1."""

    https: int
    http: int


def authority() -> Path:
    """Say where the certificate authority of the demo's sites is."""
    return Path(str(resources.files("domainsched").joinpath("demo/authority.pem")))


@asynccontextmanager
async def serving(sites: Mapping[str, Answer]) -> AsyncIterator[Ports]:
    """Serve `sites` (host name to answer; www. is served alike) while the block lasts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority().with_name("server.pem"))
    handler = _Handler(sites)
    secure = await asyncio.start_server(handler.over_https, "127.0.0.1", 0, ssl=context)
    plain = await asyncio.start_server(handler.over_http, "127.0.0.1", 0)
    async with secure, plain:
        yield Ports(_port(secure), _port(plain))


def connections(names: Iterable[str], ports: Ports) -> dict[str, str]:
    """Write the settings that lead these host names to the server, and nothing else anywhere."""
    rules = [
        f"{prefix}{name}:{port}:127.0.0.1:{to_port}"
        for name in names
        for prefix in ("", "www.")
        for port, to_port in ((443, ports.https), (80, ports.http))
    ]
    return {
        "DOMAINSCHED_CONNECT_TO": ",".join(rules),
        "DOMAINSCHED_ALLOW_NETWORK": "127.0.0.1/32",
    }


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


_GONE = (
    OSError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    asyncio.CancelledError,  # by the end of the loop; Python 3.11 logs a cancelled handler as a bug
)
"""What ends a conversation early, and is nobody's concern."""


class _Handler:
    def __init__(self, sites: Mapping[str, Answer]) -> None:
        self._sites = sites

    async def over_https(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(reader, writer, https=True)

    async def over_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(reader, writer, https=False)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, https: bool
    ) -> None:
        with contextlib.suppress(*_GONE):
            request = await reader.readuntil(b"\r\n\r\n")
            answer = self._sites.get(_host(request), Answer(status=404))
            if answer.https or not https:
                await asyncio.sleep(answer.delay)
                writer.write(_response(answer))
                await writer.drain()
        writer.close()


def _host(request: bytes) -> str:
    for line in request.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "host":
            return value.strip().partition(":")[0].removeprefix("www.")
    return ""


def _response(answer: Answer) -> bytes:
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        **answer.headers,
        "Content-Length": str(len(answer.body)),
        "Connection": "close",
    }
    status = HTTPStatus(answer.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + answer.body
