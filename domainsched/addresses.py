"""Which network addresses a visit may contact: the guard against server-side request forgery."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's special-purpose registries plus what `ipaddress.is_global` lets through: NAT64, translated
# and compatible forms, multicast, site-local, Azure's host agent; and its answers differ between
# patch releases of Python. The first match gives the reason, so narrower networks stand first.
_SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private network"),
        ("100.64.0.0/10", "shared address space of a provider"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),
        ("169.254.0.0/16", "link-local / cloud metadata"),
        ("172.16.0.0/12", "private network"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private network"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private network"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only part of IPv6 that has been given out for public use (RFC 4291, section 2.4)."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which addresses may be contacted: public ones, and those an operator has allowed."""

    allow_private: bool = False
    """Every address may be contacted, whatever it is."""
    allowed: tuple[Network, ...] = ()
    """Networks that may be contacted although they are not public; an address that merely embeds
    one of theirs (mapped, 6to4, NAT64) stays refused."""

    def refusal(self, address: Address) -> str | None:
        """Say why `address` must not be contacted; None if it may be."""
        if self.allow_private:
            return None
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "address of one network interface"
        if any(address in network for network in self.allowed):
            return None
        return _special_purpose(address)


def _special_purpose(address: Address) -> str | None:
    """Name the purpose for which `address` is set aside; None if it is a public one."""
    for network, reason in _SPECIAL:
        if address in network:
            return reason
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "not global unicast"
    return None
