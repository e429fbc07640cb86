"""What a visit may cost, whom it may contact, and what it says about itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from domainsched import __version__
from domainsched.addresses import AddressPolicy
from domainsched.errors import ConfigError

_HOST = r"(\[[^\]]*\]|[^:\[\]]*)"
_RULE = re.compile(rf"{_HOST}:(\d*):{_HOST}:(\d*)", re.ASCII)
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class ConnectTo:
    """Send connections meant for one host and port to another, as curl's `--connect-to` does.

    The URL, the Host field and the name in the certificate stay what they were; the address policy
    applies to the target. None matches any host or port, or keeps the one asked for.
    """

    host: str | None = None
    port: int | None = None
    to_host: str | None = None
    to_port: int | None = None

    @classmethod
    def parse(cls, text: str) -> ConnectTo:
        """Read `HOST1:PORT1:HOST2:PORT2`, any part of it empty, IPv6 addresses in brackets.

        Raises:
            ConfigError: it has not four parts, or a port is above 65535.

        """
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise _bad_rule(text, "it has not the form HOST1:PORT1:HOST2:PORT2")
        host, port, to_host, to_port = match.groups()
        return cls(_host(host), _port(text, port), _host(to_host), _port(text, to_port))

    def matches(self, host: str, port: int) -> bool:
        """Tell whether this rule speaks of connections to `host` and `port`."""
        return self.host in {None, host} and self.port in {None, port}


def _host(text: str) -> str | None:
    return text.strip("[]").lower() or None


def _port(rule: str, text: str) -> int | None:
    if not text:
        return None
    if len(text) > len(str(_MAX_PORT)) or int(text) > _MAX_PORT:
        raise _bad_rule(rule, f"{text} is not a port")
    return int(text)


def _bad_rule(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"cannot use the connection rule {text!r}",
        why=why,
        hint="as for curl's --connect-to, for instance ::127.0.0.1:8080",
    )


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """The limits and manners of every visit."""

    timeout: timedelta = timedelta(seconds=30)
    """For a domain: every URL, redirect and retry together."""
    connect_timeout: timedelta = timedelta(seconds=5)
    """For one connection over all addresses of its host, and once more for its TLS handshake. Four
    URLs that time out leave a part of `timeout` over."""
    max_body_bytes: int = 2 * 1024 * 1024
    """After decompression; what goes on past it is cut off."""
    max_redirects: int = 10
    ignore_robots: bool = False
    robots_timeout: timedelta = timedelta(seconds=10)
    """For reading one robots.txt, its redirects included; part of `timeout`."""
    per_address: int = 4
    """Connections to one IP address at once, of all visits together; 0 for any number. Waiting for
    one is no part of `timeout`."""
    user_agent: str = f"domainsched/{__version__}"
    """Printable ASCII."""
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    verify: bool = True
    """Whether a certificate must be valid."""
    trust: tuple[Path, ...] = ()
    """Files of further certificate authorities (PEM)."""
    connect_to: tuple[ConnectTo, ...] = ()
    """The first that matches a connection is applied."""
