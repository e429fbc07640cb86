"""One connection a request, to an address that was vetted, with a certificate that was verified."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import certifi
import httpcore
import httpx

from domainsched.addresses import Address
from domainsched.errors import ConfigError
from domainsched.fetch.failure import connect_failure, dns_failure, fail
from domainsched.fetch.resolve import Resolve
from domainsched.fetch.settings import FetchSettings
from domainsched.models import Kind

_MAX_ADDRESSES = 4
"""Of one host: the time to connect is divided among them."""
_PORTS = {"https": 443, "http": 80}


def tls_context(settings: FetchSettings) -> ssl.SSLContext:
    """Build the context that all visits share; building one costs 30 ms, a handshake 1.5.

    Trusted are the system's authorities or, in their place, those of SSL_CERT_FILE and
    SSL_CERT_DIR (OpenSSL); Mozilla's (certifi) where that leaves the usual ones out; and
    `settings.trust`.

    Raises:
        ConfigError: a file of `settings.trust` holds no certificate or cannot be read.

    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if "SSL_CERT_FILE" in os.environ or not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    for path in settings.trust:
        _add_trust(context, path)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _add_trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"cannot read certificate authorities from {path}",
            why=error.strerror or str(error),
            hint="it must be a file of PEM certificates",
        ) from error


class DirectTransport(httpx.AsyncBaseTransport):
    """Opens a connection for each request and closes it with the response.

    A pool is of no use to one request a host, and costs a third of the time. Raises httpcore's
    exceptions, OSError and VisitError. A response's `peer_address` extension is the address.
    """

    def __init__(self, settings: FetchSettings, resolve: Resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._tls = tls_context(settings)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Connect, send `request`, and read the head of the answer."""
        dialer = _Dialer(self._settings, self._resolve)
        url = _core_url(request.url)
        connection = httpcore.AsyncHTTPConnection(
            url.origin, ssl_context=self._tls, network_backend=dialer
        )
        try:
            response = await connection.handle_async_request(self._core_request(request, url))
        except BaseException:
            await dialer.aclose()
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, dialer),
            extensions={**response.extensions, "peer_address": dialer.peer_address},
        )

    def _core_request(self, request: httpx.Request, url: httpcore.URL) -> httpcore.Request:
        return httpcore.Request(
            request.method,
            url,
            headers=request.headers.raw,
            extensions={
                "timeout": {"connect": self._settings.connect_timeout.total_seconds()},
                # A name in a certificate or in SNI has no final dot (RFC 6066, section 3).
                "sni_hostname": url.host.decode("ascii").rstrip("."),
            },
        )


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme,
        host=url.raw_host,
        port=url.port or _PORTS[url.scheme],
        target=url.raw_path,
    )


class _Dialer(httpcore.AsyncNetworkBackend):
    """Connects once, to an address that was vetted after the look-up.

    Nothing looks the name up again in between, so a name server cannot answer differently to the
    connection than it did to the check (DNS rebinding).
    """

    def __init__(self, settings: FetchSettings, resolve: Resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._backend = httpcore.AnyIOBackend()
        self._stream: httpcore.AsyncNetworkStream | None = None
        self.peer_address = ""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del timeout, local_address, socket_options  # ours are in the settings
        host, port = self._route(host, port)
        addresses = await self._vetted(host)
        return await self._connect(addresses[:_MAX_ADDRESSES], port)

    def _route(self, host: str, port: int) -> tuple[str, int]:
        for rule in self._settings.connect_to:
            if rule.matches(host, port):
                return rule.to_host or host, rule.to_port or port
        return host, port

    async def _vetted(self, host: str) -> Sequence[Address]:
        addresses = await self._look_up(host)
        for address in addresses:
            if reason := self._settings.addresses.refusal(address):
                raise fail(Kind.PRIVATE_ADDRESS, f"{host} is at {address}: {reason}")
        return addresses

    async def _look_up(self, host: str) -> Sequence[Address]:
        with suppress(ValueError):
            return (ip_address(host),)
        try:
            addresses = await self._resolve(host)
        except OSError as error:
            raise dns_failure(error) from error
        if not addresses:
            raise dns_failure(socket.gaierror(socket.EAI_NONAME, "it has no address"))
        return addresses

    async def _connect(
        self, addresses: Sequence[Address], port: int
    ) -> httpcore.AsyncNetworkStream:
        share = self._settings.connect_timeout.total_seconds() / len(addresses)
        errors: list[Exception] = []
        for address in addresses:
            try:
                stream = await self._backend.connect_tcp(str(address), port, timeout=share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                errors.append(error)
            else:
                self._stream, self.peer_address = stream, str(address)
                return stream
        raise connect_failure(errors)

    async def aclose(self) -> None:
        """Close what was opened: httpcore forgets a connection whose handshake was cancelled."""
        if self._stream is not None:
            await self._stream.aclose()


class _Body(httpx.AsyncByteStream):
    """A response's body, which takes its connection along when it is closed."""

    def __init__(self, response: httpcore.Response, dialer: _Dialer) -> None:
        self._response = response
        self._dialer = dialer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._dialer.aclose()
