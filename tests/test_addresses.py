from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainsched.addresses import AddressPolicy

PUBLIC = AddressPolicy()
ANY_ADDRESS = st.ip_addresses()

REFUSED = {
    "0.0.0.0": "this network",  # noqa: S104 - an address, not one to listen on
    "10.0.0.1": "private network",
    "100.64.0.1": "shared address space of a provider",
    "100.100.100.200": "shared address space of a provider",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "cloud metadata",
    "169.254.169.254": "link-local / cloud metadata",
    "172.16.0.1": "private network",
    "172.31.255.255": "private network",
    "192.0.0.8": "protocol assignments",
    "192.0.0.192": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.1.1": "private network",
    "198.18.0.1": "benchmarking",
    "198.51.100.7": "documentation",
    "203.0.113.5": "documentation",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "IPv4-compatible",
    "::808:808": "IPv4-compatible",
    "::ffff:127.0.0.1": "IPv4-mapped",
    "::ffff:8.8.8.8": "IPv4-mapped",
    "::ffff:0:8.8.8.8": "IPv4-translated",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b::808:808": "NAT64",
    "64:ff9b:1::7f00:1": "NAT64",
    "100::1": "discard-only",
    "100:0:0:1::1": "not global unicast",
    "2001:0:7f00:1::": "Teredo",
    "2001:2::1": "protocol assignments",
    "2001:20::1": "protocol assignments",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "4000::1": "not global unicast",
    "5f00::1": "not global unicast",
    "fc00::1": "private network",
    "fd00:ec2::254": "private network",
    "fe80::1": "link-local",
    "fe80::1%eth0": "address of one network interface",
    "2606:4700::1111%eth0": "address of one network interface",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}


@pytest.mark.parametrize(("address", "reason"), REFUSED.items())
def test_an_address_with_a_special_purpose_is_refused_by_name(address: str, reason: str) -> None:
    assert PUBLIC.refusal(ip_address(address)) == reason


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "168.63.129.17",
        "172.15.255.255",
        "172.32.0.0",
        "192.88.98.255",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450::1",
    ],
)
def test_a_public_address_may_be_contacted(address: str) -> None:
    assert PUBLIC.refusal(ip_address(address)) is None


@given(ANY_ADDRESS)
def test_no_more_is_contacted_than_python_calls_global_unicast(
    address: IPv4Address | IPv6Address,
) -> None:
    if PUBLIC.refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved
        assert not address.is_unspecified


@given(ANY_ADDRESS)
def test_everything_may_be_contacted_where_private_addresses_are_allowed(
    address: IPv4Address | IPv6Address,
) -> None:
    assert AddressPolicy(allow_private=True).refusal(address) is None


@given(st.ip_addresses(v=4))
def test_no_form_that_embeds_an_ipv4_address_is_contacted(address: IPv4Address) -> None:
    number = int(address)
    everything = AddressPolicy(allowed=(IPv4Network("0.0.0.0/0"),))
    for form in (
        IPv6Address(number),
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0xFFFF << 48 | number),
        IPv6Address(0x64_FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80),
        IPv6Address(0x2001 << 112 | (number ^ 0xFFFF_FFFF)),
    ):
        assert everything.refusal(form)


@given(st.ip_addresses(), st.integers(0, 32))
def test_an_allowed_network_adds_its_own_addresses_and_no_others(
    address: IPv4Address | IPv6Address, prefix: int
) -> None:
    network = IPv4Network((10 << 24, prefix), strict=False)
    policy = AddressPolicy(allowed=(network,))
    if address in network:
        assert policy.refusal(address) is None
    else:
        assert policy.refusal(address) == PUBLIC.refusal(address)


def test_an_allowed_network_may_be_ipv6() -> None:
    policy = AddressPolicy(allowed=(IPv6Network("fd00::/8"),))
    assert policy.refusal(ip_address("fd12::1")) is None
    assert policy.refusal(ip_address("fc12::1")) == "private network"
    assert policy.refusal(ip_address("fd12::1%eth0"))
