"""Connections to addresses that were vetted, with certificates that were verified."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import certifi
import httpx

from domainsched.addresses import Address
from domainsched.errors import ConfigError
from domainsched.fetch.budget import Budget
from domainsched.fetch.failure import connect_failure, dns_failure, fail, tls_failure
from domainsched.fetch.places import Crowded, Places
from domainsched.fetch.resolve import Resolve
from domainsched.fetch.settings import FetchSettings
from domainsched.fetch.stream import SocketStream
from domainsched.models import Kind

_MAX_ADDRESSES = 4
"""Of one host: the time to connect is divided among them."""
_LARGE_PAGES = 32
"""At once, from the reading to the end of the visit."""
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
    context.set_alpn_protocols(["http/1.1"])
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


@dataclass(frozen=True, slots=True)
class Network:
    """What all visits of a run share on the way to their sites."""

    settings: FetchSettings
    resolve: Resolve
    tls: ssl.SSLContext
    places: Places
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LARGE_PAGES))
    """For large pages: five hundred of 2 MB, waiting to be read, were 1.3 GB."""


@dataclass(slots=True)
class Line:
    """An open connection, plain or secured."""

    stream: SocketStream
    address: Address
    _places: Places
    _is_open: bool = True

    def close(self) -> None:
        """Hang up without ceremony, and give the place at the address to the next."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self.stream.close()
        finally:
            self._places.give_back(self.address)


class Dialer:
    """Connects for one visit to addresses that were vetted after the look-up.

    Each host is looked up once a visit and nothing looks it up again in between, so a name server
    cannot answer differently to the connection than it did to the check (DNS rebinding).
    `give_way` closes what the visit has open; it is called before it waits for a place.
    """

    def __init__(
        self, network: Network, budget: Budget, *, give_way: Callable[[], Awaitable[None]]
    ) -> None:
        self._network = network
        self._settings = network.settings
        self._budget = budget
        self._give_way = give_way
        self._known: dict[str, Sequence[Address]] = {}

    @property
    def heard(self) -> bool:
        """Whether any name was found: a network is there."""
        return bool(self._known)

    async def dial(self, url: httpx.URL) -> Line:
        """Open a connection to the origin of `url`, with TLS if it is https.

        Raises VisitError and Crowded.
        """
        host, port = self._route(url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])
        addresses = await self._vetted(host)
        line = await self._connect(addresses[:_MAX_ADDRESSES], port)
        if url.scheme == "https":
            try:
                await self._secure(line.stream, url)
            except BaseException:
                line.close()
                raise
        return line

    async def _secure(self, stream: SocketStream, url: httpx.URL) -> None:
        # A name in a certificate or in SNI has no final dot (RFC 6066, section 3).
        name = url.raw_host.decode("ascii").rstrip(".")
        try:
            async with asyncio.timeout(self._settings.connect_timeout.total_seconds()):
                await stream.secure(self._network.tls, name)
        except OSError as error:
            raise tls_failure(error) from error

    def _route(self, host: str, port: int) -> tuple[str, int]:
        for rule in self._settings.connect_to:
            if rule.matches(host, port):
                return rule.to_host or host, rule.to_port or port
        return host, port

    async def _vetted(self, host: str) -> Sequence[Address]:
        if host not in self._known:
            self._known[host] = await self._look_up(host)
        for address in self._known[host]:
            if reason := self._settings.addresses.refusal(address):
                raise fail(Kind.PRIVATE_ADDRESS, f"{host} is at {address}: {reason}")
        return self._known[host]

    async def _look_up(self, host: str) -> Sequence[Address]:
        with suppress(ValueError):
            return (ip_address(host),)
        try:
            addresses = await self._network.resolve(host)
        except OSError as error:
            raise dns_failure(error) from error
        if not addresses:
            raise dns_failure(socket.gaierror(socket.EAI_NONAME, "it has no address"))
        return addresses

    async def _connect(self, addresses: Sequence[Address], port: int) -> Line:
        share = self._settings.connect_timeout.total_seconds() / len(addresses)
        errors: list[OSError] = []
        for address in addresses:
            await self._take_place(address)
            try:
                async with asyncio.timeout(share):
                    stream = await SocketStream.open(address, port)
            except OSError as error:
                self._network.places.give_back(address)
                errors.append(error)
            except BaseException:
                self._network.places.give_back(address)
                raise
            else:
                return Line(stream, address, self._network.places)
        raise connect_failure(errors)

    async def _take_place(self, address: Address) -> None:
        """Wait for a place, holding none: the visits that hold all of them wait for nobody."""
        places = self._network.places
        if places.is_full(address):
            await self._give_way()
        if not places.is_full(address):
            await places.take(address)
            return
        with self._budget.standing_still():
            try:
                async with asyncio.timeout(self._settings.timeout.total_seconds()):
                    await places.take(address)
            except TimeoutError:
                raise Crowded from None
