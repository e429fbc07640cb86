from __future__ import annotations

import asyncio
import gc
import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import (
    Behaviour,
    Certificate,
    Exchange,
    Port,
    Sites,
    answer,
    bad_gzip,
    bomb,
    drip,
    gzipped,
    header_flood,
    never,
    page,
    paths,
    raw,
    redirect,
    reset,
    running_sites,
    schemes,
    sequence,
    truncated,
)
from visits import fail, fetch, home, limits, visit

from domainsched.addresses import Address, AddressPolicy
from domainsched.errors import ConfigError
from domainsched.fetch import ConnectTo, Fetcher, FetchSettings, Resolve, SystemResolver
from domainsched.fetch.connect import tls_context
from domainsched.fetch.failure import VisitError, clean_text
from domainsched.fetch.redirect import redirect_target
from domainsched.fetch.verdict import judge
from domainsched.models import Failed, Kind, Page

HERE = ip_address("127.0.0.1")
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_ANSWER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

HTML = {"content-type": "text/html"}

Table = Mapping[str, Sequence[Address] | OSError]


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    with running_sites() as running:
        yield running


class Names:
    """A resolver with a table; it counts how often it is asked."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        found = self.table.get(host, NO_SUCH_NAME)
        if isinstance(found, OSError):
            raise found
        return found


async def resolved(sites: Sites, name: str, names: Resolve, **changes: object) -> Page | Failed:
    """Visit a site by looking its name up in `names`."""
    changed = limits(sites, **{"connect_to": sites.connect_to_ports, **changes})
    async with Fetcher(changed, names) as fetcher:
        return await home(fetcher, name)


# --- a page ---------------------------------------------------------------------------------------


async def test_a_page_comes_with_all_that_is_known_about_it(sites: Sites) -> None:
    fields = {"X-Powered-By": "PHP\r\nX-Powered-By: Plesk", "Set-Cookie": "a=1\r\nSet-Cookie: b=2"}
    sites.add("facts.test", behaviour=page("<title>Facts</title>", headers=fields))
    found = await fetch(sites, "facts.test")
    assert found.url == "https://facts.test/"
    assert found.status == 200
    assert found.body == b"<title>Facts</title>"
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    assert found.headers["x-powered-by"] == "PHP, Plesk"
    assert found.headers["set-cookie"] == "a=1\nb=2"
    assert found.ip_address == "127.0.0.1"
    assert timedelta() < found.elapsed < timedelta(seconds=20)
    assert (found.redirects, found.notes, found.truncated) == ((), (), False)
    assert found.tls is not None
    assert found.tls["version"] == "TLSv1.3"
    assert found.tls["issuer"].startswith("trustme")
    assert datetime.fromisoformat(found.tls["expires"]) > datetime.now(UTC)


async def test_a_request_says_who_asks_and_what_for(sites: Sites) -> None:
    sites.add("asked.test")
    await fetch(sites, "asked.test", user_agent="example-bot/1.0 (+https://example.org/bot)")
    (received,) = sites.received_by("asked.test")
    assert received.path == "/"
    assert received.headers["user-agent"] == "example-bot/1.0 (+https://example.org/bot)"
    assert received.headers["accept-encoding"] == "gzip"
    assert "connection" not in received.headers, "HTTP/1.1 keeps it open by itself"
    assert received.headers["accept"].startswith("text/html")


async def test_proxies_of_the_environment_are_not_used(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    sites.add("direct.test")
    await fetch(sites, "direct.test")


async def test_visits_run_side_by_side(sites: Sites) -> None:
    names = [f"many-{number}.test" for number in range(40)]
    sites.add(*names)
    async with Fetcher(limits(sites)) as fetcher:
        pages = await asyncio.gather(*(home(fetcher, name) for name in names))
    assert [each.url for each in pages if isinstance(each, Page)] == [
        f"https://{name}/" for name in names
    ]
    await asyncio.to_thread(sites.wait_until_idle)


# --- which URL ------------------------------------------------------------------------------------


async def test_where_https_is_refused_http_is_read(sites: Sites) -> None:
    sites.add("plain.test", https=Port.REFUSED)
    found = await fetch(sites, "plain.test")
    assert (found.url, found.tls) == ("http://plain.test/", None)
    assert found.notes[0] == "https: connection refused"


async def test_a_name_with_www_is_not_given_another(sites: Sites) -> None:
    sites.add("www.single.test", https=Port.REFUSED, http=Port.REFUSED)
    failed = await fail(sites, "www.single.test")
    assert failed.detail == "https www, http www: connection refused"


async def test_a_dead_https_port_leaves_time_for_http(sites: Sites) -> None:
    sites.add("dead.test", https=Port.DEAD)
    found = await fetch(sites, "dead.test", connect_timeout=timedelta(seconds=2))
    assert found.url == "http://dead.test/"
    assert found.notes[0] == "https: no connection in time"


async def test_a_silent_https_port_leaves_time_for_http(sites: Sites) -> None:
    sites.add("silent.test", https=Port.SILENT)
    found = await fetch(sites, "silent.test", connect_timeout=timedelta(seconds=2))
    assert found.url == "http://silent.test/"
    assert found.notes[0] == "https: no TLS handshake in time"


async def test_www_is_tried_where_the_bare_name_does_not_resolve(sites: Sites) -> None:
    sites.add("www.apexless.test")
    names = Names({"www.apexless.test": (HERE,)})
    found = await resolved(sites, "apexless.test", names)
    assert isinstance(found, Page)
    assert found.url == "https://www.apexless.test/"
    assert found.notes == ("https: the host name does not resolve: Name or service not known",)


async def test_www_over_https_comes_before_plain_http(sites: Sites) -> None:
    sites.add("order.test", certificate=Certificate.EXPIRED)
    sites.add("www.order.test")
    found = await fetch(sites, "order.test")
    assert found.url == "https://www.order.test/"


async def test_an_answer_speaks_for_the_site(sites: Sites) -> None:
    sites.add("gone.test", behaviour=page(status=404))
    sites.add("www.gone.test")
    failed = await fail(sites, "gone.test")
    assert (failed.kind, failed.detail) == (Kind.HTTP_4XX, "HTTP 404")
    assert len(sites.received_by("gone.test")) == 1
    assert sites.received_by("www.gone.test") == []


async def test_what_a_site_says_over_http_outweighs_that_https_was_refused(sites: Sites) -> None:
    sites.add("half.test", https=Port.REFUSED, behaviour=page(status=500))
    failed = await fail(sites, "half.test")
    assert failed.kind is Kind.HTTP_5XX
    assert "https: connection refused" in failed.detail
    assert failed.detail.endswith("http: HTTP 500")


async def test_without_any_answer_the_first_failure_is_reported(sites: Sites) -> None:
    names = Names({"www.closed.test": (HERE,)})
    sites.add("www.closed.test", certificate=Certificate.EXPIRED, behaviour=raw(b""))
    failed = await resolved(sites, "closed.test", names)
    assert isinstance(failed, Failed)
    assert failed.kind is Kind.TLS
    assert names.asked.count("closed.test") == 1, "a name that does not resolve is asked for once"


# --- TLS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (Certificate.EXPIRED, "certificate has expired"),
        (Certificate.SELF_SIGNED, "self-signed certificate"),
        (Certificate.WRONG_NAME, "Hostname mismatch"),
        (Certificate.UNTRUSTED, "unable to get local issuer certificate"),
        (Certificate.NONE, "TLS failed: tlsv1 unrecognized name"),
    ],
)
async def test_a_bad_certificate_is_noted_and_http_is_read(
    sites: Sites, certificate: Certificate, words: str
) -> None:
    name = f"{certificate.name.lower().replace('_', '-')}.test"
    sites.add(name, f"www.{name}", certificate=certificate)
    found = await fetch(sites, name)
    assert found.url == f"http://{name}/"
    assert words in found.notes[0]


async def test_a_bad_certificate_is_the_failure_where_http_is_closed(sites: Sites) -> None:
    sites.add("late.test", certificate=Certificate.EXPIRED, http=Port.REFUSED)
    failed = await fail(sites, "late.test")
    assert failed.kind is Kind.TLS
    assert "https: certificate has expired" in failed.detail
    assert "http: connection refused" in failed.detail


async def test_an_insecure_visit_takes_any_certificate_and_vouches_for_none(sites: Sites) -> None:
    sites.add("insecure.test", certificate=Certificate.EXPIRED)
    found = await fetch(sites, "insecure.test", verify=False)
    assert (found.url, found.tls, found.notes) == ("https://insecure.test/", None, ())


async def test_ssl_cert_file_adds_to_trust(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    sites.add("private-ca.test")
    assert (await fetch(sites, "private-ca.test", trust=())).tls is None
    monkeypatch.setenv("SSL_CERT_FILE", str(sites.ca_file))
    assert (await fetch(sites, "private-ca.test", trust=())).tls is not None
    assert tls_context(FetchSettings()).cert_store_stats()["x509_ca"] > 50


def test_old_tls_is_not_spoken() -> None:
    assert tls_context(FetchSettings()).minimum_version.name == "TLSv1_2"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_useless_file_of_authorities_is_an_error_of_configuration(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"cannot read certificate authorities from .*ca\.pem"):
        tls_context(FetchSettings(trust=(path,)))


# --- addresses and names --------------------------------------------------------------------------


async def test_a_private_address_ends_the_visit_before_a_connection(sites: Sites) -> None:
    sites.add("inside.test")
    names = Names({"inside.test": (HERE,), "www.inside.test": (HERE,)})
    failed = await resolved(sites, "inside.test", names, addresses=AddressPolicy())
    assert failed == Failed(Kind.PRIVATE_ADDRESS, "inside.test is at 127.0.0.1: loopback")
    assert names.asked == ["inside.test"]
    assert sites.received_by("inside.test") == []


async def test_one_refused_address_among_good_ones_is_enough(sites: Sites) -> None:
    sites.add("mixed.test")
    names = Names({"mixed.test": (HERE, ip_address("::ffff:127.0.0.1"))})
    failed = await resolved(sites, "mixed.test", names)
    assert failed == Failed(Kind.PRIVATE_ADDRESS, "mixed.test is at ::ffff:7f00:1: IPv4-mapped")
    assert sites.received_by("mixed.test") == []


async def test_the_address_policy_applies_to_where_a_rule_leads(sites: Sites) -> None:
    sites.add("routed.test")
    failed = await fail(sites, "routed.test", addresses=AddressPolicy())
    assert failed.kind is Kind.PRIVATE_ADDRESS


async def test_a_connection_goes_to_the_address_that_was_vetted(sites: Sites) -> None:
    """No second look-up in between, which could answer differently (DNS rebinding)."""
    sites.add("rebinding.test")
    names = Names({"rebinding.test": (HERE,)})
    found = await resolved(sites, "rebinding.test", names)
    assert isinstance(found, Page)
    assert names.asked == ["rebinding.test"]


@pytest.mark.parametrize("host", ["2130706434", "0x7f000002", "017700000002", "127.2", "127.0.0.2"])
async def test_every_spelling_of_an_address_is_vetted_at_each_hop(sites: Sites, host: str) -> None:
    sites.add("hop.test", behaviour=redirect(f"http://{host}/"))
    only_here = AddressPolicy(allowed=(ip_network("127.0.0.1/32"),))
    resolver = SystemResolver()

    async def resolve(name: str) -> Sequence[Address]:
        return (HERE,) if name == "hop.test" else await resolver(name)

    changed = limits(sites, connect_to=sites.connect_to_ports, addresses=only_here)
    async with Fetcher(changed, resolve) as fetcher:
        failed = await home(fetcher, "hop.test")
    assert isinstance(failed, Failed)
    assert failed.kind is Kind.PRIVATE_ADDRESS
    assert failed.detail.startswith(f"redirected to http://{host}/: ")
    assert failed.detail.endswith("is at 127.0.0.2: loopback")


async def test_the_next_address_is_tried_where_one_refuses(sites: Sites) -> None:
    sites.add("two.test")
    names = Names({"two.test": (ip_address("127.0.0.2"), HERE)})
    found = await resolved(sites, "two.test", names)
    assert isinstance(found, Page)
    assert found.ip_address == "127.0.0.1"


async def test_a_name_that_does_not_exist_is_no_fault_of_our_network(sites: Sites) -> None:
    failed = await resolved(sites, "nowhere.test", Names({}))
    assert failed == Failed(
        Kind.DNS, "https, https www: the host name does not resolve: Name or service not known"
    )


async def test_a_name_without_addresses_does_not_resolve(sites: Sites) -> None:
    failed = await resolved(sites, "www.void.test", Names({"www.void.test": ()}))
    assert failed == Failed(Kind.DNS, "the host name does not resolve: it has no address")


async def test_a_silent_resolver_may_be_our_networks_fault(sites: Sites) -> None:
    names = Names({"offline.test": NO_ANSWER, "www.offline.test": NO_ANSWER})
    failed = await resolved(sites, "offline.test", names)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.unreachable) == (Kind.DNS, True)
    assert len(names.asked) == 2


async def test_a_name_server_that_outlasts_the_visit_may_be_our_networks_fault(
    sites: Sites,
) -> None:
    async def silent(_: str) -> tuple[()]:
        await asyncio.Event().wait()
        return ()

    failed = await resolved(sites, "silent.test", silent, timeout=timedelta(seconds=0.2))
    assert failed == Failed(Kind.TIMEOUT, "no page within 0.2 s", unreachable=True)


async def test_any_answer_at_all_clears_our_network(sites: Sites) -> None:
    failed = await resolved(sites, "flaky.test", Names({"flaky.test": NO_ANSWER}))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.unreachable) == (Kind.DNS, False)


async def test_no_route_may_be_our_networks_fault(sites: Sites) -> None:
    """TCP to a multicast address is refused by the kernel with ENETUNREACH, on every machine."""
    names = Names({"www.routeless.test": (ip_address("224.0.0.1"),)})
    everything = AddressPolicy(allow_private=True)
    failed = await resolved(sites, "www.routeless.test", names, addresses=everything)
    assert failed == Failed(
        Kind.CONNECT, "https www, http www: network is unreachable", unreachable=True
    )


async def test_one_unreachable_address_says_nothing_about_our_network(sites: Sites) -> None:
    addresses = (ip_address("224.0.0.1"), ip_address("127.0.0.2"))
    names = Names({"www.v6.test": addresses})
    everything = AddressPolicy(allow_private=True)
    failed = await resolved(sites, "www.v6.test", names, addresses=everything)
    assert failed == Failed(Kind.CONNECT, "https www, http www: connection refused")


async def test_the_system_resolver_finds_names_and_tells_unknown_ones() -> None:
    resolve = SystemResolver()
    assert HERE in await resolve("localhost")
    assert await resolve("2130706433") == (HERE,)
    for host in ("a" * 64 + ".test", "a..b", "no-such-name.invalid"):
        with pytest.raises(OSError, match=r"\w"):
            await resolve(host)


async def test_the_system_resolver_uses_no_more_threads_than_allowed() -> None:
    resolve = SystemResolver(max_threads=1)
    answers = await asyncio.gather(*(resolve("localhost") for _ in range(20)))
    assert all(HERE in each for each in answers)


async def test_one_thread_answers_one_question_after_the_other_and_ends_when_there_are_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("domainsched.fetch.resolve._IDLE", timedelta(seconds=2))
    resolve, before = SystemResolver(), set(threading.enumerate())
    started: set[threading.Thread] = set()
    for _ in range(20):
        assert HERE in await resolve("localhost")
        started |= set(threading.enumerate()) - before
    assert len(started) == 1
    (thread,) = started
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    assert HERE in await resolve("localhost")


def test_without_a_thread_to_spare_a_look_up_fails_and_the_next_one_works() -> None:
    """A machine without threads is played: it would have none for the test either."""
    script = """
import asyncio, socket
from threading import Thread
from domainsched.fetch import SystemResolver

async def main():
    resolve, start = SystemResolver(max_threads=1), Thread.start

    def refuse(self):
        raise RuntimeError("can't start new thread")

    Thread.start = refuse
    try:
        await resolve("localhost")
    except socket.gaierror as error:
        print(error.errno == socket.EAI_AGAIN, error.strerror)
    Thread.start = start
    print(bool(await resolve("localhost")))

asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert (ran.stdout, ran.stderr) == ("True can't start new thread\nTrue\n", "")


def test_a_dead_name_server_holds_up_neither_a_look_up_nor_the_exit() -> None:
    """Its silence is played by a function that sleeps: no name server can be had offline."""
    script = """
import asyncio, socket, time
from datetime import timedelta
from domainsched.fetch import SystemResolver

socket.getaddrinfo = lambda *args, **options: time.sleep(600)
try:
    asyncio.run(SystemResolver(timeout=timedelta(seconds=0.2))("example.test"))
except socket.gaierror as error:
    assert error.errno == socket.EAI_AGAIN, error
    print(error.strerror)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert (ran.stdout, ran.stderr) == ("no answer in time\n", "")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a.test:443:127.0.0.1:8443", ConnectTo("a.test", 443, "127.0.0.1", 8443)),
        ("::127.0.0.1:8080", ConnectTo(None, None, "127.0.0.1", 8080)),
        (" A.test:80:[::1]: ", ConnectTo("a.test", 80, "::1", None)),
        (":::", ConnectTo()),
    ],
)
def test_a_connection_rule_is_read_as_curl_reads_it(text: str, rule: ConnectTo) -> None:
    assert ConnectTo.parse(text) == rule


@pytest.mark.parametrize("text", ["", "a.test", "a:b:c:d", "a:1:b:65536", "a:1:b:2:3", "a:1:b:²"])
def test_a_rule_that_cannot_be_read_is_an_error_of_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot use the connection rule"):
        ConnectTo.parse(text)


# --- redirects ------------------------------------------------------------------------------------


async def test_redirects_are_followed_and_recorded(sites: Sites) -> None:
    sites.add(
        "start.test",
        behaviour=schemes(
            http=redirect("https://user:secret@end.test/a/b#part"), https=redirect("//start.test/x")
        ),
        https=Port.REFUSED,
    )
    steps = {"/a/b": redirect("../c?q=ü 1", status=301), "/c?q=%C3%BC%201": page()}
    sites.add("end.test", behaviour=paths(steps))
    found = await fetch(sites, "start.test")
    assert found.url == "https://end.test/c?q=%C3%BC%201"
    assert found.redirects == ("http://start.test/", "https://end.test/a/b")
    assert all("authorization" not in each.headers for each in sites.received_by("end.test"))


async def test_a_final_dot_is_no_part_of_the_name_in_a_certificate(sites: Sites) -> None:
    sites.add("dot.test", behaviour=sequence(redirect("https://dot.test./x"), page()))
    found = await fetch(sites, "dot.test")
    assert (found.url, found.redirects) == ("https://dot.test./x", ("https://dot.test/",))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_each_redirect_status_is_followed(sites: Sites, status: int) -> None:
    steps = {"/": redirect("/home", status=status), "/home": page()}
    sites.add("statuses.test", behaviour=paths(steps))
    assert (await fetch(sites, "statuses.test")).url == "https://statuses.test/home"


@pytest.mark.parametrize(
    ("location", "detail"),
    [
        ("ftp://a.test/", "a redirect to another protocol: ftp://a.test/"),
        ("javascript:alert(1)", "a redirect to another protocol: javascript:alert(1)"),
        ("https://a.test:8443/", "a redirect to another port: https://a.test:8443/"),
        ("http:///path", "a redirect to no host name: http:///path"),
        ("https://.a.test/", "a redirect to no host name: https://.a.test/"),
        ("https://./", "a redirect to no host name: https://./"),
        ("https://.be/", "a redirect to no host name: https://.be/"),
        ("https://1..2/", "a redirect to no host name: https://1..2/"),
        ("http://xn--/", "a redirect to no host name: http://xn--/"),
        ("http://a.xn--/", "a redirect to no host name: http://a.xn--/"),
        ("http://xn--zzzzzzzzz.test/", "a redirect to no host name: http://xn--zzzzzzzzz.test/"),
        ("http://256.1.1.1/", "a redirect to what is no URL: http://256.1.1.1/"),
        ("http://[::1/", "a redirect to what is no URL: http://[::1/"),
        ("http://a.test/\x0b\x1b[31m", "a redirect to what is no URL: http://a.test/ [31m"),
        ("", "HTTP 302 without a place to go to"),
    ],
)
async def test_a_redirect_to_no_web_page_is_bad(sites: Sites, location: str, detail: str) -> None:
    response = httpx.Response(302, headers={"Location": location})
    start = httpx.URL("https://bad-redirect.test/")
    if location:
        with pytest.raises(VisitError) as caught:
            redirect_target(start, response)
        assert caught.value.failed == Failed(Kind.BAD_REDIRECT, detail)
        assert caught.value.conclusive
    if location.isprintable():  # others never get past the parser of the header
        sites.add("bad-redirect.test", behaviour=redirect(location))
        assert await fail(sites, "bad-redirect.test") == Failed(Kind.BAD_REDIRECT, detail)


async def test_a_name_that_browsers_take_and_idna_2008_does_not_is_visited(sites: Sites) -> None:
    sites.add("heart.test", behaviour=redirect("http://xn--i-7iq.test/"))
    sites.add("xn--i-7iq.test")
    found = await fetch(sites, "heart.test")
    assert found.url == "http://xn--i-7iq.test/"
    assert len(sites.received_by("xn--i-7iq.test")) == 1


async def test_a_circle_of_redirects_is_seen(sites: Sites) -> None:
    steps = {"/": redirect("/a"), "/a": redirect("/b"), "/b": redirect("/a#once-more")}
    sites.add("circle.test", behaviour=paths(steps))
    failed = await fail(sites, "circle.test")
    assert failed.kind is Kind.TOO_MANY_REDIRECTS
    assert failed.detail == "redirects go in a circle: https://circle.test/a"
    assert len(sites.received_by("circle.test")) == 3


@pytest.mark.parametrize(("hops", "fits"), [(3, True), (4, False)])
async def test_only_so_many_redirects_are_followed(sites: Sites, hops: int, *, fits: bool) -> None:
    name = f"chain-{hops}.test"
    steps = {f"/{step}" if step else "/": redirect(f"/{step + 1}") for step in range(hops)}
    sites.add(name, behaviour=paths({**steps, f"/{hops}": page()}))
    outcome = await visit(sites, name, max_redirects=3)
    assert isinstance(outcome, Page) is fits
    if isinstance(outcome, Failed):
        assert outcome.kind is Kind.TOO_MANY_REDIRECTS
        assert outcome.detail.startswith("more than 3 redirects")


async def test_a_failure_after_a_redirect_says_where(sites: Sites) -> None:
    sites.add("moved.test", "www.moved.test", behaviour=redirect("https://broken.test/"))
    sites.add("broken.test", https=Port.REFUSED)
    failed = await fail(sites, "moved.test")
    assert failed.kind is Kind.CONNECT
    assert "redirected to https://broken.test/: connection refused" in failed.detail


LABELS = st.sampled_from(
    ["", "a", "be", "1", "256", "ü", "xn--", "xn--zzz", "xn--i-7iq", "-", "%2e"]
)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.text("[]:.%@0af", max_size=12),
    st.text(max_size=12),
)
LOCATIONS = st.builds(
    lambda scheme, host, rest: f"{scheme}{host}{rest}".encode("utf-8", "surrogatepass"),
    st.sampled_from(["http://", "https://", "HTTPS://", "//", "ftp://", "http:", ""]),
    HOSTS,
    st.sampled_from(["", "/", ":443/", ":", ":-1/", "/a?b#c", "/%zz", "\\"]),
)


@given(st.one_of(LOCATIONS, st.binary(max_size=40)))
@settings(max_examples=500, deadline=None)
def test_any_location_leads_to_a_web_page_or_is_refused(location: bytes) -> None:
    response = httpx.Response(302, headers=[(b"Location", location)])
    target = lead(httpx.URL("https://example.test/a"), response)
    if isinstance(target, Failed):
        assert target.kind is Kind.BAD_REDIRECT
        assert clean_text(target.detail) == target.detail
    elif target is not None:
        assert target.scheme in {"http", "https"}
        assert target.port in {None, 80, 443}
        assert_tls_can_ask_for(target.raw_host.decode("ascii").rstrip("."))
        assert not target.userinfo
        assert not target.fragment


def assert_tls_can_ask_for(host: str) -> None:
    """Raises ValueError otherwise."""
    assert host
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=host
    )


def lead(url: httpx.URL, response: httpx.Response) -> httpx.URL | Failed | None:
    try:
        return redirect_target(url, response)
    except VisitError as error:
        return error.failed


# --- bodies ---------------------------------------------------------------------------------------


async def test_a_compressed_page_is_inflated(sites: Sites) -> None:
    body = b"<title>Packed</title>" + os.urandom(300_000)
    sites.add("packed.test", behaviour=gzipped(body))
    assert (await fetch(sites, "packed.test")).body == body


async def test_a_zlib_body_is_inflated_though_not_asked_for(sites: Sites) -> None:
    fields = {"Content-Encoding": "Deflate"}
    sites.add("deflate.test", behaviour=page(zlib.compress(b"<p>Hello"), headers=fields))
    assert (await fetch(sites, "deflate.test")).body == b"<p>Hello"


async def test_a_chunked_page_is_read(sites: Sites) -> None:
    fields = {"Content-Type": "text/html", "Transfer-Encoding": "chunked"}
    body = b"3\r\n<p>\r\n5\r\nHello\r\n0\r\n\r\n"
    sites.add("chunked.test", behaviour=raw(answer(200, fields, body)))
    assert (await fetch(sites, "chunked.test")).body == b"<p>Hello"


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_page_that_ends_with_its_connection_is_read(sites: Sites, coding: str) -> None:
    """Python's TLS hangs up without close_notify, as many servers do."""
    body = b"<title>Endless</title>"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: {coding}\r\n\r\n"
    data = gzip.compress(body) if coding == "gzip" else body
    sites.add(f"endless-{coding}.test", behaviour=raw(head.encode() + data))
    found = await fetch(sites, f"endless-{coding}.test")
    assert (found.url, found.body) == (f"https://endless-{coding}.test/", body)
    assert found.notes == ()
    assert found.tls is not None
    assert found.tls["version"] == "TLSv1.3"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("size", "truncated"), [(50_000, False), (50_001, True), (500_000, True)])
async def test_a_page_is_cut_at_the_limit(
    sites: Sites, size: int, *, truncated: bool, packed: bool
) -> None:
    body = os.urandom(size)
    name = f"size-{size}-{packed}.test".lower()
    sites.add(name, behaviour=gzipped(body) if packed else page(body))
    found = await fetch(sites, name, max_body_bytes=50_000)
    assert (found.truncated, found.body) == (truncated, body[:50_000])
    await asyncio.to_thread(sites.wait_until_idle)


async def test_a_decompression_bomb_is_stopped(sites: Sites) -> None:
    sites.add("bomb.test", behaviour=bomb())
    started = time.process_time()
    failed = await fail(sites, "bomb.test")
    assert failed == Failed(Kind.TOO_LARGE, "a decompression bomb")
    assert time.process_time() - started < 1.5


def endless(head: bytes, piece: bytes) -> Behaviour:
    """Send `head`, then `piece` for as long as somebody reads."""

    def behave(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
        )
        exchange.send(head)
        exchange.drip_pieces(piece)

    return behave


async def test_what_follows_a_compressed_page_is_left(sites: Sites) -> None:
    """zlib would keep all of it, and copy it with each further piece."""
    sites.add("behind.test", behaviour=endless(gzip.compress(b"<p>A page"), bytes(1 << 16)))
    found = await fetch(sites, "behind.test")
    assert (found.body, found.truncated) == (b"<p>A page", False)


async def test_a_body_that_inflates_to_nothing_has_an_end(sites: Sites) -> None:
    """Blocks of deflate that hold no byte (RFC 1951, section 3.2.4) never fill a page."""
    begun = gzip.compress(b"")[:10]
    sites.add("hollow.test", behaviour=endless(begun, b"\0\0\0\xff\xff" * 10_000))
    failed = await fail(sites, "hollow.test")
    assert failed == Failed(Kind.PROTOCOL, "no valid HTTP: the answer has no end")


@pytest.mark.parametrize("coding", ["none", "utf-8", "identity", "binary, identity"])
async def test_a_coding_that_nobody_knows_is_none(sites: Sites, coding: str) -> None:
    sites.add("word.test", behaviour=page("<p>Plain", headers={"Content-Encoding": coding}))
    assert (await fetch(sites, "word.test")).body == b"<p>Plain"


@pytest.mark.parametrize(
    ("name", "behaviour", "detail"),
    [
        ("truncated", truncated(), "no valid HTTP: peer closed connection"),
        ("bad-gzip", bad_gzip(), "broken compression: "),
        (
            "half-gzip",
            page(gzip.compress(b"<p>" * 99)[:-9], headers={"Content-Encoding": "gzip"}),
            "the compressed body ends in the middle",
        ),
        (
            "brotli",
            page(headers={"Content-Encoding": "br"}),
            "content coding 'br', which was not asked for",
        ),
        (
            "bad-chunks",
            raw(
                answer(
                    200,
                    {"Content-Type": "text/html", "Transfer-Encoding": "chunked"},
                    b"zz\r\n<p>Hello\r\n0\r\n\r\n",
                )
            ),
            "no valid HTTP: illegal chunk header",
        ),
        (
            "crumbs",
            raw(
                answer(
                    200,
                    {"Content-Type": "text/html", "Transfer-Encoding": "chunked"},
                    b"1\r\nx\r\n" * 60_000,
                )
            ),
            "a body in too many small pieces",
        ),
    ],
)
async def test_a_broken_body_ends_the_visit(
    sites: Sites, name: str, behaviour: Behaviour, detail: str
) -> None:
    sites.add(f"{name}.test", behaviour=behaviour)
    failed = await fail(sites, f"{name}.test")
    assert failed.kind is Kind.PROTOCOL
    assert failed.detail.startswith(detail)
    assert len(sites.received_by(f"{name}.test")) == 1


async def test_an_error_page_with_a_broken_body_is_still_that_error(sites: Sites) -> None:
    fields = {"Content-Encoding": "gzip"}
    sites.add("broken-404.test", behaviour=page("not compressed", status=404, headers=fields))
    assert await fail(sites, "broken-404.test") == Failed(Kind.HTTP_4XX, "HTTP 404")


async def test_of_what_is_no_page_only_the_beginning_is_read(sites: Sites) -> None:
    sites.add("film.test", behaviour=page(bytes(30_000_000), content_type="video/mp4"))
    assert await fail(sites, "film.test") == Failed(Kind.NOT_HTML, "not a page but video/mp4")
    await asyncio.to_thread(sites.wait_until_idle)


# --- broken and slow servers ----------------------------------------------------------------------


async def test_a_flood_of_header_fields_is_stopped(sites: Sites) -> None:
    sites.add("flood.test", "www.flood.test", behaviour=header_flood())
    failed = await fail(sites, "flood.test")
    assert failed.kind is Kind.PROTOCOL


async def test_what_is_not_http_is_a_broken_protocol(sites: Sites) -> None:
    sites.add("ssh.test", behaviour=raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), https=Port.REFUSED)
    failed = await fail(sites, "ssh.test")
    assert "http: no valid HTTP: illegal status line" in failed.detail


async def test_a_lost_connection_is_tried_once_more(sites: Sites) -> None:
    sites.add("hiccup.test", behaviour=sequence(reset(), page()))
    found = await fetch(sites, "hiccup.test")
    assert (found.url, found.notes) == ("https://hiccup.test/", ())
    assert len(sites.received_by("hiccup.test")) == 2


async def test_a_connection_lost_in_the_middle_of_a_page_is_tried_once_more(sites: Sites) -> None:
    half = reset(answer(200, {"Content-Type": "text/html", "Content-Length": "999"}, b"<p>Hel"))
    sites.add("cut.test", behaviour=sequence(half, page()))
    sites.add("always-cut.test", behaviour=half, https=Port.REFUSED)
    await fetch(sites, "cut.test")
    failed = await fail(sites, "always-cut.test")
    assert failed.kind is Kind.PROTOCOL
    assert failed.detail.endswith("http: connection lost in the middle of the page")
    assert len(sites.received_by("always-cut.test")) == 2


async def test_a_connection_that_is_always_lost_is_given_up(sites: Sites) -> None:
    sites.add("www.reset.test", behaviour=reset())
    failed = await fail(sites, "www.reset.test")
    assert failed == Failed(Kind.CONNECT, "https www, http www: connection lost before an answer")
    assert len(sites.received_by("www.reset.test")) == 4


def stall(head: bytes) -> Behaviour:
    """Send `head` at once and then a byte now and then."""

    def behave(exchange: Exchange) -> None:
        exchange.send(head)
        exchange.drip(b"x" * 10_000, interval=0.05)

    return behave


@pytest.mark.parametrize(
    ("name", "behaviour"),
    [
        ("never", never()),
        ("slow-head", stall(b"HTTP/1.1 200 OK\r\nX-Slow: ")),
        ("slow-body", stall(answer(200, {**HTML, "Content-Length": "10000"}))),
        ("slow-error", stall(answer(500, {"Content-Length": "10000"}))),
        ("hints", drip(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, interval=0.001)),
    ],
)
async def test_a_slow_site_ends_with_its_budget(
    sites: Sites, name: str, behaviour: Behaviour
) -> None:
    sites.add(f"{name}.test", behaviour=behaviour)
    started = time.monotonic()
    failed = await fail(sites, f"{name}.test", timeout=timedelta(seconds=1))
    assert failed == Failed(Kind.TIMEOUT, "no page within 1 s")
    assert time.monotonic() - started < 10
    await asyncio.to_thread(sites.wait_until_idle)


async def test_a_budget_that_runs_out_names_what_failed_before(sites: Sites) -> None:
    sites.add("expired-slow.test", certificate=Certificate.EXPIRED, behaviour=never())
    failed = await fail(sites, "expired-slow.test", timeout=timedelta(seconds=4))
    assert failed.kind is Kind.TIMEOUT
    assert failed.detail.startswith("https: certificate has expired; ")
    assert failed.detail.endswith("; http: no page within 4 s")


# --- being stopped --------------------------------------------------------------------------------


async def test_a_cancelled_visit_closes_its_connection(sites: Sites) -> None:
    sites.add("cancelled.test", behaviour=never())
    async with Fetcher(limits(sites)) as fetcher:
        running = asyncio.create_task(home(fetcher, "cancelled.test"))
        await asyncio.to_thread(sites.wait_for_requests, "cancelled.test")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    await asyncio.to_thread(sites.wait_until_idle)


def descriptors() -> set[str]:
    return {path.name for path in Path("/dev/fd").iterdir()}


async def test_a_visit_stopped_in_the_handshake_leaves_no_socket(sites: Sites) -> None:
    sites.add("mute.test", https=Port.SILENT)
    before = descriptors()
    failed = await fail(sites, "mute.test", timeout=timedelta(seconds=0.3))
    assert failed.kind is Kind.TIMEOUT
    gc.collect()
    assert descriptors() <= before


async def test_a_visit_may_be_cancelled_at_any_moment(sites: Sites) -> None:
    sites.add("anytime.test", behaviour=gzipped(os.urandom(500_000)))
    async with Fetcher(limits(sites)) as fetcher:
        for milliseconds in range(25):
            running = asyncio.create_task(home(fetcher, "anytime.test"))
            await asyncio.wait([running], timeout=milliseconds / 1000)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    await asyncio.to_thread(sites.wait_until_idle)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, Kind.EMPTY),
        (304, Kind.BAD_REDIRECT),
        (400, Kind.HTTP_4XX),
        (401, Kind.BLOCKED),
        (403, Kind.BLOCKED),
        (404, Kind.HTTP_4XX),
        (410, Kind.HTTP_4XX),
        (429, Kind.RATE_LIMITED),
        (451, Kind.BLOCKED),
        (500, Kind.HTTP_5XX),
        (503, Kind.HTTP_5XX),
        (599, Kind.HTTP_5XX),
        (999, Kind.PROTOCOL),
    ],
)
async def test_a_status_has_its_kind(sites: Sites, status: int, kind: Kind) -> None:
    sites.add("status.test", behaviour=page("" if status in {204, 304} else "No", status=status))
    failed = await fail(sites, "status.test")
    assert failed.kind is kind
    assert str(status) in failed.detail


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("120", 120, 120),
        (" 0 ", 0, 0),
        ("9" * 5000, 86_400, 86_400),
        (timedelta(hours=1), 3000, 3600),
        (timedelta(days=400), 86_400, 86_400),
        (timedelta(days=-1), 0, 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_site_that_asks_to_wait_is_heard(
    status: int, text: str | timedelta, low: int, high: int
) -> None:
    if isinstance(text, timedelta):
        text = format_datetime(datetime.now(UTC) + text, usegmt=True)
    failed = judge(status, {**HTML, "retry-after": text}, b"Later")
    assert failed is not None
    assert failed.kind is Kind.RATE_LIMITED
    assert failed.retry_after is not None
    assert low <= failed.retry_after.total_seconds() <= high


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-5",
        "1.5",
        "²",
        "Mon, 99 Foo 2026 00:00:00 GMT",
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +99999999999999999999",
    ],
)
def test_a_wait_that_cannot_be_read_is_none(text: str) -> None:
    assert judge(429, {"retry-after": text}, b"") == Failed(Kind.RATE_LIMITED, "HTTP 429")
    assert judge(503, {"retry-after": text}, b"") == Failed(Kind.HTTP_5XX, "HTTP 503")


CLOUDFLARE = {**HTML, "server": "cloudflare"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "vendor"),
    [
        (403, {"cf-mitigated": "challenge"}, b"", "Cloudflare"),
        (403, CLOUDFLARE, b"<script>window._cf_chl_opt={}</script>", "Cloudflare"),
        (503, CLOUDFLARE, b'<form id="challenge-form" action="/?__cf-chl-jschl', "Cloudflare"),
        (403, {"server": "ddos-guard"}, b"<title>DDoS-Guard</title>", "DDoS-Guard"),
        (200, {**HTML, "server": "Sucuri/Cloudproxy"}, b"sucuri_cloudproxy_js=''", "Sucuri"),
        (
            200,
            {**HTML, "x-iinfo": "1-2-3"},
            b'<iframe src="/_Incapsula_Resource?SWUDNSAI=31&incident_id=1"></iframe>',
            "Imperva",
        ),
        (403, {"x-iinfo": "1"}, b"Request unsuccessful. Incapsula incident ID: 1", "Imperva"),
        (202, {"x-amzn-waf-action": "challenge"}, b"", "AWS WAF"),
        (405, {"x-amzn-waf-action": "captcha"}, b"", "AWS WAF"),
        (429, {"x-vercel-mitigated": "challenge"}, b"", "Vercel"),
        (202, {**HTML, "sg-captcha": "challenge"}, b"", "SiteGround"),
    ],
)
def test_a_challenge_is_told_from_a_page(
    status: int, headers: Mapping[str, str], body: bytes, vendor: str
) -> None:
    failed = judge(status, headers, body)
    assert failed is not None
    assert failed.kind is Kind.CHALLENGE
    assert failed.detail.startswith(vendor)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, CLOUDFLARE, b"<script src=/cdn-cgi/challenge-platform/scripts/jsd/main.js></script>"),
        (200, {**HTML, "x-iinfo": "1"}, b"<script src='/_Incapsula_Resource?SWJIYLWA=5'></script>"),
        (200, HTML, b"<p>How to get past Just a moment... and _cf_chl_opt"),
        (200, HTML, b"<p>What sucuri_cloudproxy_js does"),
        (403, HTML, b"<p>This server writes _cf_chl_opt, but is not Cloudflare's"),
        (200, {**HTML, "server": "ddos-guard"}, b"<p>Hosted behind DDoS-Guard"),
        (403, {**CLOUDFLARE, "cf-mitigated": ""}, b"<title>Attention Required!</title>"),
    ],
)
def test_a_page_is_not_taken_for_a_challenge(
    status: int, headers: Mapping[str, str], body: bytes
) -> None:
    failed = judge(status, headers, body)
    assert failed is None or failed.kind is Kind.BLOCKED


async def test_a_challenge_is_recognised_by_its_page(sites: Sites) -> None:
    fields = {"Server": "cloudflare", "Content-Encoding": "gzip"}
    body = gzip.compress(b"<title>Just a moment...</title><script>_cf_chl_opt</script>")
    behaviour = page(body, status=403, headers=fields)
    sites.add("challenge.test", behaviour=behaviour)
    assert await fail(sites, "challenge.test") == Failed(
        Kind.CHALLENGE, "Cloudflare asks for proof of a human visitor (HTTP 403)"
    )


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/html", b"anything", None),
        ("TEXT/HTML;charset=x", b"anything", None),
        ("text/html, text/html; charset=utf-8", b"anything", None),
        ("text/html, application/json", b"{}", Kind.NOT_HTML),
        ("application/xhtml+xml", b"<html/>", None),
        ("", b" \r\n\t<!DocType html>", None),
        ("", b"\xef\xbb\xbf<HTML >", None),
        ("html", b"<p>", None),
        ("*/*", b"<!-- a page -->", None),
        ("unknown/unknown", b"<body>", None),
        ("", b"<abbr>", Kind.NOT_HTML),
        ("", b"hello", Kind.NOT_HTML),
        ("", b'{"json": true}', Kind.NOT_HTML),
        ("text/plain", b"<html>", Kind.NOT_HTML),
        ("text/plain", b'{"json": true}', Kind.NOT_HTML),
        ("application/json", b"{}", Kind.NOT_HTML),
        ("image/png", b"\x89PNG", Kind.NOT_HTML),
        ("text/html", b"", Kind.EMPTY),
        ("text/html", b" \r\n\t", Kind.EMPTY),
        ("", b"", Kind.EMPTY),
    ],
)
def test_a_page_is_html_by_its_type_or_by_its_look(
    content_type: str, body: bytes, expected: Kind | None
) -> None:
    failed = judge(200, {"content-type": content_type}, body)
    assert (failed.kind if failed else None) == expected


async def test_a_type_that_is_not_html_is_named(sites: Sites) -> None:
    sites.add("json.test", behaviour=page("{}", content_type="application/json"))
    assert await fail(sites, "json.test") == Failed(
        Kind.NOT_HTML, "not a page but application/json"
    )


async def test_a_page_without_a_type_is_recognised(sites: Sites) -> None:
    sites.add("typeless.test", behaviour=page("<!doctype html><p>Hello", content_type=None))
    assert (await fetch(sites, "typeless.test")).status == 200


# --- anything at all ------------------------------------------------------------------------------


WAITS = st.one_of(
    st.text(max_size=20),
    st.builds(
        "{}, {} {} {} {} {}".format,
        st.sampled_from(["Sun", "", "Sunday"]),
        st.sampled_from(["06", "99", "06-Nov-94", "9" * 20]),
        st.sampled_from(["Nov", "Foo", ""]),
        st.sampled_from(["1994", "0", "9999", "-1", "9" * 20, "9" * 5000]),
        st.sampled_from(["08:49:37", "25:61:61", "8.4", f"{'9' * 20}:0", ":"]),
        st.sampled_from(["GMT", "", "+9999", "-0000", "+" + "9" * 20]),
    ),
)


@given(
    status=st.integers(100, 999),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "retry-after": WAITS,
            **dict.fromkeys(["content-type", "server", "x-iinfo", "cf-mitigated"], st.text()),
        },
    ),
    body=st.binary(max_size=200),
)
@settings(max_examples=200, deadline=None)
def test_any_answer_gets_a_verdict(status: int, headers: dict[str, str], body: bytes) -> None:
    failed = judge(status, headers, body)
    assert failed is None or clean_text(failed.detail) == failed.detail


@given(st.text(max_size=1000))
def test_clean_text_is_one_short_printable_line(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.isprintable()
    assert len(cleaned) <= 300
    assert clean_text(cleaned) == cleaned


FIELDS = st.sampled_from(
    [
        b"Content-Type: text/html",
        b"Content-Encoding: gzip",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5",
        b"Content-Length: 99999999999999999999",
        b"Location: http://other.test/",
        b"Location: \xff\xfe%%%",
        b"Set-Cookie: \x80\x81",
        b"\xffbad field",
    ]
)
RESPONSES = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda start, fields, body: b"\r\n".join([start, *fields, b"", body]),
        st.sampled_from(
            [b"HTTP/1.1 200 OK", b"HTTP/1.0 302 \xff", b"HTTP/1.1 101 Up", b"HTTP/9.9 999"]
        ),
        st.lists(FIELDS, max_size=4),
        st.one_of(
            st.binary(max_size=300),
            st.binary(max_size=300).map(gzip.compress),
            st.just(b"5\r\nhello\r\n0\r\n\r\n"),
        ),
    ),
)


def test_no_bytes_from_a_server_raise(sites: Sites) -> None:
    sites.add("any.test", "www.any.test", https=Port.REFUSED)
    sites.add("www.any.test", "other.test", https=Port.REFUSED)
    with asyncio.Runner() as runner:
        fetcher = Fetcher(limits(sites))

        @given(RESPONSES)
        @settings(max_examples=150, deadline=None)
        def check(response: bytes) -> None:
            sites.add("www.any.test", behaviour=raw(response), https=Port.REFUSED)
            outcome = runner.run(home(fetcher, "www.any.test"))
            assert isinstance(outcome, Page | Failed)

        check()


ODD = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20).map(
    lambda text: text.encode("latin-1")
)
"""Bytes that get past the parser of a header."""
STATUS_LINES = st.builds(
    b"%b %d%b".__mod__,
    st.tuples(
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]),
        st.sampled_from([200, 204, 301, 302, 308, 404, 429, 503, 999]),
        st.one_of(st.just(b""), ODD.map(b" ".__add__)),
    ),
)
FIELD_VALUES = {
    b"Location": LOCATIONS,
    b"Retry-After": WAITS.map(str.encode),
    b"Content-Type": st.sampled_from([b"text/html", b"text/html; charset=\xff", b"/", b"a/b"]),
    b"Content-Encoding": st.sampled_from([b"gzip", b"deflate", b"identity", b"gzip, gzip"]),
    b"Server": st.just(b"cloudflare"),
    b"Set-Cookie": ODD,
}
HEADS = st.builds(
    lambda start, fields: b"\r\n".join(
        [start, *(b"%b: %b" % each for each in fields.items()), b"", b""]
    ),
    STATUS_LINES,
    st.fixed_dictionaries(
        {}, optional={name: st.one_of(usual, ODD) for name, usual in FIELD_VALUES.items()}
    ),
)


def test_no_head_from_a_server_raises(sites: Sites) -> None:
    sites.add("www.head.test")
    with asyncio.Runner() as runner:
        fetcher = Fetcher(limits(sites))

        @given(
            HEADS, st.one_of(st.binary(max_size=100), st.just(gzip.compress(b"<p>Hello", mtime=0)))
        )
        @settings(max_examples=60, deadline=None)
        def check(head: bytes, body: bytes) -> None:
            sites.add("www.head.test", behaviour=raw(head + body))
            outcome = runner.run(home(fetcher, "www.head.test"))
            assert isinstance(outcome, Page | Failed)

        check()
