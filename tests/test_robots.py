"""robots.txt: what it forbids, what its absence means, and what a hostile one costs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import (
    KEPT,
    Behaviour,
    Port,
    Sites,
    answer,
    bomb,
    gzipped,
    never,
    page,
    paths,
    raw,
    redirect,
    reset,
    running_sites,
    sequence,
    truncated,
)
from visits import fail, fetch, home, limits, visit

from domainsched.addresses import AddressPolicy
from domainsched.fetch import ConnectTo, Fetcher
from domainsched.fetch.robots import Rules
from domainsched.models import Failed, Kind

HERE = ip_address("127.0.0.1")
EVERYTHING = "User-agent: *\nDisallow: /\n"
FORBIDDEN = Failed(Kind.ROBOTS, "robots.txt forbids the home page")


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    with running_sites() as running:
        yield running


def robots(text: str | bytes, *, status: int = 200, content_type: str = "text/plain") -> Behaviour:
    return page(text, status=status, content_type=content_type)


def asked(sites: Sites, name: str) -> list[str]:
    return [f"{each.scheme} {each.path}" for each in sites.received_by(name)]


# --- what it forbids ------------------------------------------------------------------------------


async def test_a_home_page_that_is_forbidden_is_not_asked_for(sites: Sites) -> None:
    sites.add("forbidden.test", "www.forbidden.test", robots=robots(EVERYTHING))
    assert await fail(sites, "forbidden.test") == FORBIDDEN
    assert asked(sites, "forbidden.test") == ["https /robots.txt"]
    assert asked(sites, "www.forbidden.test") == []
    assert not Kind.ROBOTS.is_transient


async def test_robots_txt_is_read_once_a_visit_and_not_sent_a_page_for(sites: Sites) -> None:
    steps = {"/": redirect("/a"), "/a": redirect("/b"), "/b": page()}
    sites.add("once.test", behaviour=paths(steps), robots=robots("User-agent: *\nDisallow: /c"))
    await fetch(sites, "once.test")
    assert asked(sites, "once.test") == ["https /robots.txt", "https /", "https /a", "https /b"]


async def test_a_setting_ignores_robots_txt(sites: Sites) -> None:
    sites.add("ignored.test", robots=robots(EVERYTHING))
    await fetch(sites, "ignored.test", ignore_robots=True)
    assert asked(sites, "ignored.test") == ["https /"]


@pytest.mark.parametrize("agent", ["domainsched/1", "domainsched", "DomainSched/2.0 (+http://x)"])
async def test_the_product_token_of_the_user_agent_chooses_the_rules(
    sites: Sites, agent: str
) -> None:
    text = f"{EVERYTHING}\nUser-agent: Domainsched\nUser-agent: other\nDisallow: /private\n"
    sites.add("token.test", robots=robots(text))
    await fetch(sites, "token.test", user_agent=agent)
    assert await fail(sites, "token.test", user_agent="domainsched-x/1") == FORBIDDEN


async def test_a_redirect_target_is_asked_about_too(sites: Sites) -> None:
    rules = robots("User-agent: *\nDisallow: /in")
    sites.add("same.test", behaviour=redirect("/in"), robots=rules)
    sites.add("there.test", robots=robots(EVERYTHING))
    sites.add("leads.test", behaviour=redirect("https://there.test/x"))
    failed = await fail(sites, "same.test")
    assert failed.kind is Kind.ROBOTS
    assert failed.detail.startswith("redirected to https://same.test/in: robots.txt forbids")
    assert (await fail(sites, "leads.test")).kind is Kind.ROBOTS
    assert asked(sites, "there.test") == ["https /robots.txt"]


async def test_each_origin_has_rules_of_its_own(sites: Sites) -> None:
    sites.add("plain.test", https=Port.REFUSED, robots=robots(EVERYTHING))
    sites.add("secure.test", robots=robots("User-agent: *\nAllow: /"))
    failed = await fail(sites, "plain.test")
    assert (failed.kind, failed.detail[-len(FORBIDDEN.detail) :]) == (
        Kind.ROBOTS,
        FORBIDDEN.detail,
    )
    await fetch(sites, "secure.test")


# --- where it is ----------------------------------------------------------------------------------


async def test_robots_txt_may_be_redirected_even_to_another_host(sites: Sites) -> None:
    sites.add("apex.test", robots=redirect("https://www.apex.test/robots.txt"))
    sites.add("www.apex.test", robots=robots(EVERYTHING))
    assert await fail(sites, "apex.test") == FORBIDDEN
    assert asked(sites, "apex.test") == ["https /robots.txt"]


@pytest.mark.parametrize(("redirects", "read"), [(5, True), (6, False)])
async def test_five_redirects_are_followed_and_then_there_is_no_robots_txt(
    sites: Sites, redirects: int, *, read: bool
) -> None:
    name = f"far-{redirects}.test"
    steps = {f"/{step}": redirect(f"/{step + 1}") for step in range(1, redirects)}
    sites.add(
        name,
        behaviour=paths({**steps, f"/{redirects}": robots(EVERYTHING), "/": page()}),
        robots=redirect("/1"),
    )
    assert isinstance(await visit(sites, name), Failed) is read


@pytest.mark.parametrize("location", ["ftp://x.test/", "https://x.test:8443/", "/robots.txt"])
async def test_a_redirect_that_leads_nowhere_leads_to_no_robots_txt(
    sites: Sites, location: str
) -> None:
    sites.add("astray.test", robots=redirect(location))
    await fetch(sites, "astray.test")


async def test_a_redirect_of_robots_txt_into_the_private_network_is_refused(sites: Sites) -> None:
    sites.add("tunnel.test", robots=redirect("https://10.0.0.1/robots.txt"))
    changed = limits(sites, connect_to=sites.connect_to_ports)

    async def resolve(_: str) -> list[object]:
        return [HERE]

    async with Fetcher(changed, resolve) as fetcher:  # type: ignore[arg-type]
        failed = await home(fetcher, "tunnel.test")
    assert failed == Failed(
        Kind.PRIVATE_ADDRESS,
        "robots.txt: redirected to https://10.0.0.1/robots.txt: "
        "10.0.0.1 is at 10.0.0.1: private network",
    )


# --- not there, broken, hostile -------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 451])
async def test_without_a_robots_txt_everything_is_allowed(sites: Sites, status: int) -> None:
    empty = raw(answer(status)) if status in {204, 304} else robots(EVERYTHING, status=status)
    sites.add("absent.test", robots=empty)
    await fetch(sites, "absent.test")


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (500, {}, Failed(Kind.HTTP_5XX, "robots.txt: HTTP 500")),
        (503, {}, Failed(Kind.HTTP_5XX, "robots.txt: HTTP 503")),
        (429, {}, Failed(Kind.RATE_LIMITED, "robots.txt: HTTP 429")),
        (
            429,
            {"Retry-After": "120"},
            Failed(Kind.RATE_LIMITED, "robots.txt: HTTP 429", timedelta(minutes=2)),
        ),
        (
            503,
            {"Retry-After": "60"},
            Failed(Kind.RATE_LIMITED, "robots.txt: HTTP 503", timedelta(minutes=1)),
        ),
        (999, {}, Failed(Kind.PROTOCOL, "robots.txt: HTTP 999")),
    ],
)
async def test_a_server_that_cannot_give_its_robots_txt_now_is_left_alone(
    sites: Sites, status: int, headers: dict[str, str], expected: Failed
) -> None:
    sites.add("down.test", "www.down.test", robots=page("", status=status, headers=headers))
    before = len(sites.received)
    assert await fail(sites, "down.test") == expected
    assert expected.kind.is_transient
    assert len(sites.received) == before + 1, "no other door is tried, nothing is repeated"


async def test_a_robots_txt_that_never_comes_ends_the_visit_early(sites: Sites) -> None:
    sites.add("mute.test", "www.mute.test", robots=never())
    failed = await fail(sites, "mute.test", robots_timeout=timedelta(seconds=2))
    assert failed == Failed(Kind.TIMEOUT, "robots.txt: no answer within 2 s")
    assert asked(sites, "mute.test") == ["https /robots.txt"]
    await asyncio.to_thread(sites.wait_until_idle)


async def test_the_budget_of_the_visit_ends_robots_txt_too(sites: Sites) -> None:
    sites.add("mute-too.test", robots=never())
    failed = await fail(sites, "mute-too.test", timeout=timedelta(seconds=0.5))
    assert failed == Failed(Kind.TIMEOUT, "no page within 0.5 s")


async def test_a_connection_lost_over_robots_txt_is_tried_once_more(sites: Sites) -> None:
    sites.add("hiccup.test", robots=sequence(reset(), robots(EVERYTHING)))
    assert await fail(sites, "hiccup.test") == FORBIDDEN
    sites.add("www.lost.test", robots=reset())
    failed = await fail(sites, "www.lost.test")
    assert failed.kind is Kind.CONNECT
    assert failed.detail == "https www, http www: robots.txt: connection lost before an answer"
    assert len(sites.received_by("www.lost.test")) == 4


async def test_a_robots_txt_that_breaks_off_forbids_everything_for_now(sites: Sites) -> None:
    sites.add("half.test", robots=truncated())
    failed = await fail(sites, "half.test")
    assert failed.kind is Kind.PROTOCOL
    assert failed.detail.startswith("robots.txt: no valid HTTP")
    assert asked(sites, "half.test") == ["https /robots.txt"]


async def test_a_bomb_for_a_robots_txt_is_stopped(sites: Sites) -> None:
    sites.add("bomb.test", robots=bomb())
    assert await fail(sites, "bomb.test") == Failed(
        Kind.TOO_LARGE, "robots.txt: a decompression bomb"
    )


async def test_a_door_that_is_closed_is_not_knocked_on_again_for_the_page(sites: Sites) -> None:
    knocks = 0

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        knocks += 1
        writer.close()

    sites.add("www.shut.test", robots=robots(""))
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        rule = ConnectTo.parse(f"www.shut.test:443:127.0.0.1:{port}")
        found = await fetch(sites, "www.shut.test", connect_to=(rule, *sites.connect_to))
    assert found.url == "http://www.shut.test/"
    assert found.notes == ("https www: connection lost during the TLS handshake",)
    assert knocks == 2, "once, and once more because the connection was lost"


async def test_a_robots_txt_of_any_length_is_read_to_its_limit(sites: Sites) -> None:
    beginning, filler = (
        "User-agent: *\nDisallow: /x\n",
        "".join(f"# {os.urandom(9).hex()}\n" for _ in range(30_000)),
    )
    late = (beginning + filler + "Disallow: /\n").encode()
    sites.add("long.test", robots=robots(late))
    sites.add("long-packed.test", robots=gzipped(late))
    sites.add("early.test", robots=robots((EVERYTHING + filler).encode()))
    await fetch(sites, "long.test")
    assert (await fetch(sites, "long-packed.test")).notes == ()
    assert await fail(sites, "early.test") == FORBIDDEN
    await asyncio.to_thread(sites.wait_until_idle)


@pytest.mark.parametrize(
    "text",
    [
        "<!doctype html><pre>\nUser-agent: *\nDisallow: /\n</pre>",
        b"\xef\xbb\xbf \n<html>\nUser-agent: *\nDisallow: /",
        b"\x89PNG\r\n\x1a\n\x00\xff",
        "Disallow: /\nUser-agent: *",
        "User-agent: *\nDisallow:\n",
        "",
    ],
)
def test_what_is_no_robots_txt_holds_no_rules(text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    assert Rules(data, "domainsched").allow(httpx.URL("https://a.test/"))


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/c", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nDisallow: /$", "/", False),
        ("User-agent: *\nDisallow: /$", "/x", True),
        ("User-agent: *\nDisallow: /*.php", "/x/y.php?z", False),
        ("User-agent: *\nDisallow: /\nAllow: /", "/", True),
        ("\ufeffUser-agent:*\rDisallow:/ # all", "/", False),
        ("user-AGENT : domainsched/1.0\ndisallow : /", "/", False),
        ("User-agent: x\nUser-agent: *\nCrawl-delay: 9\nDisallow: /", "/", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: domainsched\nAllow: /", "/", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: domainsched\n", "/", True),
        ("User-agent: domain\nDisallow: /", "/", True),
        ("User-agent: *\nDisallow: /a%3cd", "/a%3Cd", False),
        ("User-agent: *\nDisallow: /ü", "/%C3%BC", False),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
    ],
)
def test_rules_are_read_as_rfc_9309_says(text: str, path: str, *, allowed: bool) -> None:
    rules = Rules(text.encode(), "domainsched")
    assert rules.allow(httpx.URL(f"https://a.test{path}")) is allowed


@pytest.mark.parametrize(
    ("filler", "allowed"),
    [
        ("User-agent: x\n" * 10_000, False),
        ("User-agent: x\n" * 20_000, True),
        ("User-agent: *\n" + "Disallow: /x\n" * 2_000, False),
        ("User-agent: *\n" + "Disallow: /x\n" * 3_000, True),
    ],
)
def test_rules_beyond_all_measure_are_not_read(filler: str, *, allowed: bool) -> None:
    rules = Rules(f"{filler}{EVERYTHING}".encode(), "domainsched")
    assert rules.allow(httpx.URL("https://a.test/")) is allowed


SIZE = 500 * 1024
HOSTILE = {
    "one line": "User-agent: *\nDisallow: /" + "a" * SIZE,
    "stars": "User-agent: *\nDisallow: /" + "*" * SIZE,
    "wildcards": "User-agent: *\nDisallow: /" + "*a" * 10_000,
    "rules": "User-agent: *\n" + "".join(f"Disallow: /{n}\n" for n in range(50_000)),
    "wild rules": "User-agent: *\n" + "Disallow: /*a*a*a*a*a*b\n" * 20_000,
    "long wild rules": "User-agent: *\n" + f"Disallow: /{'*a' * 1000}b\n" * 250,
    "robots": "".join(f"User-agent: a{n}\n" for n in range(40_000)) + "Disallow: /\n",
    "robots and rules": "".join(f"User-agent: {n}\n" for n in range(12_000))
    + "Disallow: /\n" * 20_000,
    "blanks": "\r" * SIZE,
    "escapes": "User-agent: *\n" + f"Disallow: /{'%61' * 600}$\n" * 250,
    "digits": "User-agent: *\nCrawl-delay: " + "9" * SIZE,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_robots_txt_costs_little(text: str) -> None:
    """By itself Protego takes minutes, and gigabytes, for some of these; most take 30 ms here."""
    started = time.process_time()
    Rules(text.encode()[:SIZE], "domainsched").allow(httpx.URL("https://a.test/" + "a" * 2000))
    assert time.process_time() - started < 1


# --- laws -----------------------------------------------------------------------------------------

PATHS = st.text("ab/%*$.?=ü ", max_size=8).map("/{}".format)
PATTERNS = st.text("ab/%*$.", max_size=6).map("/{}".format)
LINES = st.one_of(
    st.builds("{}: {}".format, st.sampled_from(["Allow", "Disallow", "allow "]), PATTERNS),
    st.builds("User-agent: {}".format, st.sampled_from(["*", "domainsched", "x", ""])),
    st.text(max_size=20),
)


@given(st.lists(LINES, max_size=12).map("\n".join), PATHS)
@settings(max_examples=200, deadline=None)
def test_any_text_gives_an_answer_for_any_url(text: str, path: str) -> None:
    url = httpx.URL(f"https://a.test{path}")
    data = text.encode("utf-8", "surrogatepass")
    assert Rules(data, "domainsched").allow(url) in {True, False}
    assert Rules(data, "domainsched").allow(url) == Rules(data, "DomainSched").allow(url)


@given(st.lists(LINES, max_size=8), PATHS)
@settings(max_examples=200, deadline=None)
def test_a_group_of_its_own_is_all_that_counts_for_a_robot(others: list[str], path: str) -> None:
    kept = [line for line in others if "domainsched" not in line.lower()]
    text = "\n".join([*kept, "User-agent: domainsched", "Disallow: /a"])
    alone = Rules(b"User-agent: domainsched\nDisallow: /a", "domainsched")
    url = httpx.URL(f"https://a.test{path}")
    if not text.lstrip().startswith("<"):
        assert Rules(text.encode(errors="replace"), "domainsched").allow(url) == alone.allow(url)


@given(st.binary(max_size=300), st.sampled_from([b"", KEPT["Connection"].encode()]))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read(data: bytes, end: bytes) -> None:
    assert Rules(data + end, "domainsched").allow(httpx.URL("https://a.test/")) in {True, False}


async def test_a_visit_follows_few_redirects_of_robots_txt_however_many_there_are(
    sites: Sites,
) -> None:
    """Every hop of a visit may be an origin with a robots.txt that leads to somebody else."""
    for number in range(10):
        onward = redirect(f"https://hop{number + 1}.test/")
        sites.add(f"hop{number}.test", behaviour=onward, robots=redirect("https://victim.test/0"))
    sites.add("hop10.test")
    steps = {f"/{number}": redirect(f"/{number + 1}") for number in range(5)}
    sites.add("victim.test", behaviour=paths(steps))
    await fetch(sites, "hop0.test")
    assert len(asked(sites, "victim.test")) <= 8


# --- for another way to the page ------------------------------------------------------------------


async def refusal(sites: Sites, name: str, **changes: object) -> Failed | None:
    async with Fetcher(limits(sites, **changes)) as fetcher, fetcher.site(name) as site:
        return await site.refusal(f"https://{name}/")


async def test_what_is_forbidden_is_so_on_any_way(sites: Sites) -> None:
    sites.add("any.test", robots=robots(EVERYTHING))
    assert await refusal(sites, "any.test") == FORBIDDEN
    assert await refusal(sites, "any.test", ignore_robots=True) is None
    private = await refusal(sites, "any.test", addresses=AddressPolicy())
    assert private is not None
    assert private.kind is Kind.PRIVATE_ADDRESS


@pytest.mark.parametrize("behaviour", [robots("", status=503), reset(), robots("Allow: /")])
async def test_who_does_not_say_so_forbids_nothing_on_another_way(
    sites: Sites, behaviour: Behaviour
) -> None:
    sites.add("other.test", robots=behaviour)
    assert await refusal(sites, "other.test") is None
