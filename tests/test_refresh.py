"""Pages that send their visitor elsewhere by `<meta http-equiv=refresh>`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import Behaviour, Sites, page, paths, redirect, running_sites
from visits import fail, fetch, home, limits

from domainsched.addresses import Address
from domainsched.fetch import Fetcher
from domainsched.fetch.refresh import refresh_target
from domainsched.models import Failed, Kind

URL = httpx.URL("https://a.test/dir/page")


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    with running_sites() as running:
        yield running


def refresh(content: str) -> str:
    return f'<html><head><meta http-equiv="refresh" content="{content}"></head></html>'


def sends(content: str) -> Behaviour:
    return page(refresh(content))


def target(text: str) -> str | None:
    found = refresh_target(URL, text.encode())
    return str(found) if found else None


# --- the visit ------------------------------------------------------------------------------------


async def test_a_page_that_sends_its_visitor_on_is_a_redirect(sites: Sites) -> None:
    steps = {"/": redirect("/a"), "/a": sends("0; url=/b"), "/b": redirect("/c"), "/c": page()}
    sites.add("sent.test", behaviour=paths(steps))
    found = await fetch(sites, "sent.test")
    assert found.url == "https://sent.test/c"
    assert found.redirects == tuple(f"https://sent.test/{path}" for path in ("", "a", "b"))


async def test_only_one_refresh_is_followed_a_visit(sites: Sites) -> None:
    sites.add("twice.test", behaviour=paths({"/": sends("0;/a"), "/a": sends("0;/b")}))
    assert (await fetch(sites, "twice.test")).url == "https://twice.test/a"


async def test_a_refresh_back_to_where_one_comes_from_is_not_followed(sites: Sites) -> None:
    sites.add("back.test", behaviour=paths({"/": redirect("/a"), "/a": sends("0;/")}))
    assert (await fetch(sites, "back.test")).url == "https://back.test/a"


async def test_where_a_refresh_leads_is_vetted_as_every_hop(sites: Sites) -> None:
    sites.add("inward.test", behaviour=sends("0; url=http://10.0.0.1/"))

    async def resolve(_: str) -> Sequence[Address]:
        return (ip_address("127.0.0.1"),)

    async with Fetcher(limits(sites, connect_to=sites.connect_to_ports), resolve) as fetcher:
        failed = await home(fetcher, "inward.test")
    assert failed == Failed(
        Kind.PRIVATE_ADDRESS,
        "redirected to http://10.0.0.1/: 10.0.0.1 is at 10.0.0.1: private network",
    )


async def test_robots_txt_forbids_where_a_refresh_leads(sites: Sites) -> None:
    rules = page("User-agent: *\nDisallow: /b", content_type="text/plain")
    sites.add("barred.test", behaviour=paths({"/": sends("0;/b"), "/b": page()}), robots=rules)
    assert (await fail(sites, "barred.test")).kind is Kind.ROBOTS


async def test_a_refresh_counts_among_the_redirects(sites: Sites) -> None:
    sites.add("count.test", behaviour=paths({"/": redirect("/a"), "/a": sends("0;/b")}))
    failed = await fail(sites, "count.test", max_redirects=1)
    assert failed.kind is Kind.TOO_MANY_REDIRECTS


# --- the content attribute ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "0; url=/x",
        "0;URL='/x'",
        "0;url=&quot;/x&quot; more",
        "0, url = /x",
        "0 /x",
        "0;/x",
        "  1.5 ; url=/x",
        "0.9.9;url=/x",
        ".5; url=/x",
        "0; '/x'",
        "0; url='/x",
        "000; url=/x#part",
        "0; url= https://user:secret@a.test/x ",
        "10;/x",
    ],
)
def test_a_refresh_is_read_as_html_says(content: str) -> None:
    assert target(refresh(content)) == "https://a.test/x"


@pytest.mark.parametrize(
    "content",
    [
        *("", "0", "5;", "url=/x", "-1;/x", "x;/x", "0x;/x", "0;url=", "0; #here", ".;"),
        *("0; url=/dir/page", "11; /x", f"{'9' * 5000}; /x"),
        *("0;javascript:alert(1)", "0;data:text/html,x", "0;ftp://a/"),
        *("0;https://a.test:8443/", "0;http://[::1/", "0;http:///x"),
    ],
)
def test_what_is_no_refresh_to_another_page_is_none(content: str) -> None:
    assert target(refresh(content)) is None


def test_a_long_page_that_grants_time_to_be_read_is_a_page() -> None:
    filler = "<p>words</p>" * 1000
    assert target(refresh("5;/x") + filler) is None
    assert target(refresh("5;/x") + "<p>You will be redirected") == "https://a.test/x"
    assert target(refresh("1;/x") + filler) == "https://a.test/x"


# --- where it stands ------------------------------------------------------------------------------

META = '<meta http-equiv="refresh" content="0;/x">'


@pytest.mark.parametrize(
    "text",
    [
        META,
        f"<!doctype html><HTML lang=en><Head><!-- > -->{META}",
        META.upper().replace("/X", "/x"),
        "<meta content='0;/x' http-equiv=refresh>",
        "<meta http-equiv=refresh content=0;/x>",
        "<meta\nhttp-equiv = refresh\tname content='0;/x'/>",
        f"<title>a < b</title><script>'<body>'</script><link rel=x>{META}",
        f"<meta charset=utf-8><base href='https://a.test/y/'>{META}",
        f"{META}<meta http-equiv=refresh content='0;/other'>",
        "\ufeff" + META,
    ],
)
def test_a_refresh_in_the_head_is_found(text: str) -> None:
    assert target(text) == "https://a.test/x"


def test_a_refresh_starts_from_the_base_of_the_page() -> None:
    text = "<meta http-equiv=refresh content=0;home><base href='https://b.test/en/'>"
    assert target(text) == "https://b.test/en/home"
    assert str(refresh_target(URL, META.encode("utf-16"))) == "https://a.test/x"


@pytest.mark.parametrize(
    "text",
    [
        f"<!-- {META} -->",
        f"<script>document.write('{META}')</script>",
        f"<noscript>{META}</noscript>",
        f"<template>{META}</template>",
        f"<style>{META}</style>",
        f"<title>{META}</title>",
        f"<body>{META}",
        f"<p>{META}",
        f"Text {META}",
        f"</head>{META}",
        f"<script>{META}",
        "<meta http-equiv=refresh content='0;/x'",
        "<meta name=refresh http-equiv=refreshing content='0;/x'>",
        " " * 17_000 + META,
    ],
)
def test_a_refresh_elsewhere_is_none(text: str) -> None:
    assert target(text) is None


# --- hostile --------------------------------------------------------------------------------------

SIZE = 16 * 1024


@pytest.mark.parametrize(
    "filler",
    [
        *("<", "<meta ", "<meta a=", "<meta a='", '<meta a="', "<!--", "<script>", "a='\" ", " "),
        *("<title><", "<meta http-equiv=refresh content=", "<meta http-equiv=refresh content='"),
        *(META, "<base href=x>", "http-equiv" + " " * 9, "<meta content='0;" + " " * 99, "/", "&"),
    ],
)
def test_no_head_takes_long_to_read(filler: str) -> None:
    text = '<meta name="http-equiv=refresh">' + filler * (SIZE // len(filler))
    started = time.process_time()
    refresh_target(URL, text.encode())
    assert time.process_time() - started < 1


PARTS = st.sampled_from(
    [
        *("<", ">", "<meta ", "http-equiv=refresh ", "content=", "'", '"', "0;", "url=", "/x", " "),
        *("<base href=", "<!--", "-->", "<script>", "</script>", META, "https://b.test/", "&quot;"),
    ]
)


@given(st.one_of(st.lists(PARTS, max_size=20).map("".join), st.text(max_size=50).map(refresh)))
@settings(max_examples=300, deadline=None)
def test_any_page_leads_to_a_web_page_or_nowhere(text: str) -> None:
    found = refresh_target(URL, text.encode("utf-8", "surrogatepass"))
    if found is not None:
        assert found.scheme in {"http", "https"}
        assert found.port in {None, 80, 443}
        assert found != URL
        assert not found.fragment
        assert not found.userinfo
