"""What a name server may say, true or not: asked by the machine's own resolver, over the wire."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from network import UNSHARE, in_own_network

from domainsched.models import Kind

RESOLVER = "nameserver 127.0.0.1\noptions timeout:3 attempts:1\n"
"""Seconds that only one name needs, whose server is silent, and a machine under load."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How the visits of lookups.py ended."""
    settings = tmp_path_factory.mktemp("resolver") / "resolv.conf"
    settings.write_text(RESOLVER)
    if (
        UNSHARE is None
        or subprocess.run(  # noqa: PLW1510 - asked whether it works
            in_own_network(str(settings), "true"), capture_output=True, timeout=30
        ).returncode
    ):
        pytest.skip("needs network namespaces (Linux, as root or where users may have them)")
    script = Path(__file__).with_name("lookups.py")
    ran = subprocess.run(
        in_own_network(str(settings), sys.executable, str(script)),
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.fixture
def visits(seen: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = seen["visits"]
    return found


@pytest.mark.parametrize("name", ["fine.test", "alias.test"])
def test_a_name_leads_to_its_site(visits: dict[str, dict[str, Any]], name: str) -> None:
    assert visits[name] == {"url": f"https://{name}/", "ip_address": "127.0.0.1"}


def test_where_only_www_resolves_it_is_visited(visits: dict[str, dict[str, Any]]) -> None:
    assert visits["only.test"]["url"] == "https://www.only.test/"


@pytest.mark.parametrize("name", ["none.test", "empty.test"])
def test_a_name_that_is_not_there_is_no_fault_of_our_network(
    visits: dict[str, dict[str, Any]], name: str
) -> None:
    assert visits[name]["kind"] == Kind.DNS
    assert "does not resolve" in visits[name]["detail"]
    assert not visits[name]["unreachable"]


@pytest.mark.parametrize("name", ["broken.test", "silent.test", "refused.test"])
def test_a_name_server_that_fails_may_be_ours(visits: dict[str, dict[str, Any]], name: str) -> None:
    assert visits[name]["kind"] == Kind.DNS
    assert "emporary failure" in visits[name]["detail"]
    assert visits[name]["unreachable"]


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("private.test", "private network"),
        ("inside.test", "loopback"),
        ("some.test", "loopback"),  # one of its addresses is
        ("mapped.test", "IPv4-mapped"),
        ("metadata.test", "cloud metadata"),
    ],
)
def test_a_name_that_leads_inside_is_refused(
    visits: dict[str, dict[str, Any]], name: str, purpose: str
) -> None:
    assert visits[name]["kind"] == Kind.PRIVATE_ADDRESS
    assert purpose in visits[name]["detail"]


@pytest.mark.parametrize("name", ["rebound.test", "returning.test"])
def test_a_visit_looks_a_name_up_once_and_goes_where_it_was_told(
    seen: dict[str, Any], visits: dict[str, dict[str, Any]], name: str
) -> None:
    """A second question, for the connection or for a redirect's, is answered with a canary's."""
    assert visits[name]["ip_address"] == "127.0.0.1"
    assert seen["asked"][name] == 1
    assert seen["canary"] == 0


def test_a_visit_that_comes_back_by_another_connection_is_among_them(
    visits: dict[str, dict[str, Any]],
) -> None:
    assert visits["returning.test"]["url"] == "http://returning.test/again"
