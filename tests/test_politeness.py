"""Connections that are used again, places at an address, cookies, and further pages of a site."""

from __future__ import annotations

import asyncio
import gc
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from ipaddress import ip_address
from threading import Event, Lock
from uuid import uuid4

import h11
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import (
    KEPT,
    Behaviour,
    Exchange,
    Port,
    Sites,
    answer,
    never,
    page,
    paths,
    raw,
    redirect,
    reset,
    running_sites,
    sequence,
)
from visits import fail, fetch, home, limits, visit

from domainsched.addresses import Address
from domainsched.attempt import Visitor
from domainsched.fetch import Fetcher
from domainsched.fetch.budget import Budget
from domainsched.fetch.cookies import Cookies
from domainsched.fetch.places import Places
from domainsched.models import Claim, Failed, Kind, NotTried, Page

HERE = ip_address("127.0.0.1")
NO_ROBOTS = page("", status=404, headers=KEPT)


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    with running_sites() as running:
        yield running


def kept(body: str = "<title>A site</title>") -> Behaviour:
    return page(body, headers=KEPT)


def onward(location: str, *, body: bytes = b"<p>Moved", **fields: str) -> Behaviour:
    """A redirect with a body, as most servers send it, on a connection that stays open."""
    return raw(answer(302, {"Location": location, **KEPT, **fields}, body))


def connections(sites: Sites, *names: str) -> list[int]:
    """The connections that requests came on, numbered in the order of their first."""
    used = [each.connection for each in sites.received if each.host in names]
    order = list(dict.fromkeys(used))
    return [order.index(each) for each in used]


# --- connections ----------------------------------------------------------------------------------


async def test_one_connection_serves_a_visit(sites: Sites) -> None:
    steps = {"/": onward("/en"), "/en": kept(), "/contact": kept()}
    sites.add("one.test", behaviour=paths(steps), robots=NO_ROBOTS)
    async with Fetcher(limits(sites)) as fetcher, fetcher.site("one.test") as site:
        assert isinstance(await site.home(), Page)
        assert isinstance(await site.page("https://one.test/contact"), Page)
    assert connections(sites, "one.test") == [0, 0, 0, 0]
    await asyncio.to_thread(sites.wait_until_idle)


async def test_two_visits_share_no_connection(sites: Sites) -> None:
    sites.add("apart.test", behaviour=kept(), robots=NO_ROBOTS)
    fetcher = Fetcher(limits(sites))
    async with fetcher.site("apart.test") as first, fetcher.site("apart.test") as second:
        assert isinstance(await first.home(), Page)
        assert isinstance(await second.home(), Page)
    assert connections(sites, "apart.test") == [0, 0, 1, 1]


async def test_redirects_to_and_fro_keep_both_connections(sites: Sites) -> None:
    sites.add("fro.test", robots=NO_ROBOTS, behaviour=onward("https://www.fro.test/"))
    steps = {"/": onward("https://fro.test/b"), "/c": kept()}
    sites.add("www.fro.test", robots=NO_ROBOTS, behaviour=paths(steps))
    table = {"/": onward("https://www.fro.test/"), "/b": onward("https://www.fro.test/c")}
    sites.add("fro.test", robots=NO_ROBOTS, behaviour=paths(table))
    await fetch(sites, "fro.test")
    assert connections(sites, "fro.test", "www.fro.test") == [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize("end", [reset(), raw(b"")], ids=["reset", "closed"])
async def test_an_idle_connection_that_breaks_is_replaced_once(
    sites: Sites, end: Behaviour, request: pytest.FixtureRequest
) -> None:
    name = f"stale-{request.node.callspec.id}.test"
    sites.add(name, behaviour=sequence(end, page()), robots=NO_ROBOTS)
    assert (await fetch(sites, name)).notes == ()
    assert connections(sites, name) == [0, 0, 1]


async def test_an_idle_connection_that_was_closed_is_not_used(sites: Sites) -> None:
    def leave(exchange: Exchange) -> None:
        NO_ROBOTS(exchange)
        exchange.hang_up()

    sites.add("left.test", behaviour=page(), robots=leave)
    assert (await fetch(sites, "left.test")).notes == ()
    assert connections(sites, "left.test") == [0, 1]


FORGED = answer(200, {"Content-Type": "text/html", **KEPT}, b"<title>Forged</title>")


def one_record(exchange: Exchange) -> None:
    exchange.send(answer(404, KEPT) + FORGED)


def two_records(exchange: Exchange) -> None:
    exchange.send(answer(404, KEPT))
    exchange.send(FORGED)


@pytest.mark.parametrize("robots", [one_record, two_records])
async def test_what_follows_an_answer_is_no_answer_to_the_next_request(
    sites: Sites, robots: Behaviour, request: pytest.FixtureRequest
) -> None:
    name = f"forged-{request.node.callspec.id.replace('_', '-')}.test"
    sites.add(name, behaviour=page("<title>Asked for</title>"), robots=robots)
    assert b"Asked for" in (await fetch(sites, name)).body
    assert connections(sites, name) == [0, 1]


async def test_a_page_that_is_not_read_to_its_end_costs_its_connection(sites: Sites) -> None:
    steps = {"/": page("x" * 200_000, headers=KEPT), "/b": kept()}
    sites.add("cut.test", behaviour=paths(steps), robots=NO_ROBOTS)
    fetcher = Fetcher(limits(sites, max_body_bytes=100_000))
    async with fetcher, fetcher.site("cut.test") as site:
        found = await site.home()
        assert isinstance(found, Page)
        assert found.truncated
        assert isinstance(await site.page("https://cut.test/b"), Page)
    assert connections(sites, "cut.test") == [0, 0, 1]


@pytest.mark.parametrize("size", ["100000", "9" * 15])
async def test_the_long_body_of_a_redirect_is_not_waited_for(sites: Sites, size: str) -> None:
    name = f"wordy-{len(size)}.test"
    steps = {"/": onward("/b", body=b"x", **{"Content-Length": size}), "/b": page()}
    sites.add(name, behaviour=paths(steps), robots=NO_ROBOTS)
    await fetch(sites, name)
    assert connections(sites, name) == [0, 0, 1]


async def test_the_crumbs_of_a_redirect_are_not_picked_up(sites: Sites) -> None:
    crumbs = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    chunked = onward("/b", body=crumbs, **{"Transfer-Encoding": "chunked"})
    sites.add("crumbs.test", behaviour=paths({"/": chunked, "/b": page()}), robots=NO_ROBOTS)
    await fetch(sites, "crumbs.test")
    assert connections(sites, "crumbs.test") == [0, 0, 1]


async def test_the_slow_body_of_a_redirect_is_not_waited_for(sites: Sites) -> None:
    def dawdle(exchange: Exchange) -> None:
        exchange.send(answer(302, {"Location": "/b", "Content-Length": "99"}, b"x"))
        exchange.wait_until_closed()

    sites.add("dawdle.test", behaviour=paths({"/": dawdle, "/b": page()}))
    assert (await fetch(sites, "dawdle.test")).url == "https://dawdle.test/b"


async def test_a_host_is_looked_up_once_a_visit(sites: Sites) -> None:
    """So that a name server can send a visit nowhere else half-way, and has less to do."""
    asked: list[str] = []

    async def resolve(host: str) -> Sequence[Address]:
        asked.append(host)
        return (HERE,) if len(asked) == 1 else (ip_address("10.0.0.1"),)

    sites.add("again.test", behaviour=paths({"/": redirect("/b"), "/b": page()}))
    async with Fetcher(limits(sites, connect_to=sites.connect_to_ports), resolve) as fetcher:
        assert isinstance(await home(fetcher, "again.test"), Page)
    assert asked == ["again.test"]


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 20_000, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50_000],
    ids=["many fields", "many heads"],
)
async def test_a_head_without_end_is_stopped(sites: Sites, head: bytes) -> None:
    rest = answer(200, {"Content-Type": "text/html"}, b"<p>Hello")
    rest = rest.partition(b"\r\n")[2] if head.startswith(b"HTTP/1.1 200") else rest
    sites.add("www.head.test", behaviour=raw(head + rest))
    failed = await fail(sites, "www.head.test")
    assert failed.kind is Kind.PROTOCOL
    await asyncio.to_thread(sites.wait_until_idle)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("first", [1, 2, 1000])
async def test_deflate_is_inflated_with_and_without_its_wrapping(
    sites: Sites, first: int, *, wrapped: bool
) -> None:
    body = b"<title>Packed</title>" * 50
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
    data = packer.compress(body) + packer.flush()
    parts = [part for part in (data[:first], data[first:]) if part]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
    fields = {"Content-Encoding": "deflate", "Transfer-Encoding": "chunked"}
    sites.add(
        "packed.test", behaviour=raw(answer(200, {"Content-Type": "text/html", **fields}, chunks))
    )
    assert (await fetch(sites, "packed.test")).body == body


# --- cookies --------------------------------------------------------------------------------------


def wall(*, path: str = "/", cookie: str = "seen=1") -> Behaviour:
    """Send the visitor to the same URL until it brings the cookie along."""

    def behave(exchange: Exchange) -> None:
        if cookie in exchange.received.headers.get("cookie", ""):
            page()(exchange)
        else:
            fields = {"Location": path, "Set-Cookie": f"{cookie}; Path=/; HttpOnly"}
            exchange.send(answer(302, fields))

    return behave


async def test_a_wall_that_asks_for_its_cookie_back_is_passed(sites: Sites) -> None:
    sites.add("wall.test", behaviour=wall())
    found = await fetch(sites, "wall.test")
    assert (found.url, found.redirects) == ("https://wall.test/", ("https://wall.test/",))


async def test_a_wall_that_never_has_enough_is_a_circle(sites: Sites) -> None:
    same = raw(answer(302, {"Location": "/", "Set-Cookie": "a=1"}))
    sites.add("enough.test", behaviour=same)
    failed = await fail(sites, "enough.test")
    assert failed.detail == "redirects go in a circle: https://enough.test/"
    numbers = iter(range(1000))

    def other(exchange: Exchange) -> None:
        exchange.send(answer(302, {"Location": "/", "Set-Cookie": f"a={next(numbers)}"}))

    sites.add("other.test", behaviour=other)
    failed = await fail(sites, "other.test")
    assert failed.detail.startswith("more than 10 redirects")


async def test_cookies_stay_with_their_host_and_their_visit(sites: Sites) -> None:
    fields = {"Location": "https://www.jar.test/", "Set-Cookie": "a=1; Domain=.jar.test"}
    sites.add("jar.test", behaviour=raw(answer(302, fields)))
    sites.add("www.jar.test", behaviour=page(headers={"Set-Cookie": "b=2"}))
    for _ in range(2):
        await fetch(sites, "jar.test")
    assert not any("cookie" in each.headers for each in sites.received if "jar" in each.host)


@pytest.mark.parametrize(
    ("fields", "https", "http"),
    [
        ([b"a=1"], b"a=1", b"a=1"),
        ([b" a = 1 ; Path=/x; Domain=b.test", b"b=2"], b"a=1; b=2", b"a=1; b=2"),
        ([b"a=1; Secure"], b"a=1", b""),
        ([b"a=1", b"a=2"], b"a=2", b"a=2"),
        ([b"a=1", b"a=; Max-Age=0"], b"", b""),
        ([b"a", b"=1", b"", b";", b"  "], b"", b""),
        ([b"a=" + b"x" * 9000], b"", b""),
    ],
)
def test_cookies_are_kept_by_the_rules(fields: list[bytes], https: bytes, http: bytes) -> None:
    cookies = Cookies()
    cookies.store(httpx.URL("https://a.test/x"), fields)
    assert cookies.header(httpx.URL("https://a.test/")) == https
    assert cookies.header(httpx.URL("http://a.test/y")) == http
    assert cookies.header(httpx.URL("https://www.a.test/")) == b""


HEADER_VALUES = st.binary(max_size=40).filter(lambda value: not set(value) & {0, 10, 13})


@given(
    st.lists(
        st.one_of(
            HEADER_VALUES,
            st.binary(max_size=3000).map(bytes.hex).map(lambda text: f"{text[:9]}={text}".encode()),
        ),
        max_size=80,
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_cookies_come_a_short_and_valid_field_is_sent(fields: list[bytes]) -> None:
    cookies, url = Cookies(), httpx.URL("https://a.test/")
    valid = [field for field in fields if _passes(b"Set-Cookie", field)]
    cookies.store(url, valid)
    header = cookies.header(url)
    assert len(header) <= 8 * 1024
    assert not header or _passes(b"Cookie", header)


def _passes(name: bytes, value: bytes) -> bool:
    """Whether h11 takes a field, as it does every one that comes and goes."""
    try:
        h11.Request(method="GET", target="/", headers=[(b"Host", b"a"), (name, value)])
    except h11.LocalProtocolError:
        return False
    return True


def test_only_so_many_hosts_have_cookies() -> None:
    cookies = Cookies()
    for number in range(1000):
        cookies.store(httpx.URL(f"https://n{number}.test/"), [b"a=1"])
    kept_by = [n for n in range(1000) if cookies.header(httpx.URL(f"https://n{n}.test/"))]
    assert kept_by == list(range(20))


# --- further pages --------------------------------------------------------------------------------


async def test_further_pages_are_of_the_same_site(sites: Sites) -> None:
    sites.add("start.test", behaviour=paths({"/": redirect("https://end.test/"), "/a": page()}))
    sites.add("www.start.test", behaviour=paths({"/a": page()}))
    sites.add("end.test", behaviour=paths({"/": page(), "/a": page(), "/b": redirect("/a")}))
    sites.add("else.test")
    async with Fetcher(limits(sites)) as fetcher, fetcher.site("start.test") as site:
        assert isinstance(await site.home(), Page)
        for host in ("start.test", "www.start.test", "end.test"):
            assert isinstance(await site.page(f"https://{host}/a"), Page)
        led = await site.page("https://end.test/b")
        assert isinstance(led, Page)
        assert led.redirects == ("https://end.test/b",)
        for url in ("https://else.test/", "https://x.end.test/", "ftp://end.test/", "/a", "", "x:"):
            failed = await site.page(url)
            assert isinstance(failed, Failed)
            assert failed.kind is Kind.BAD_REDIRECT
    assert sites.received_by("else.test") == []


async def test_a_further_page_that_leads_off_the_site_is_not_followed(sites: Sites) -> None:
    sites.add("off.test", behaviour=paths({"/": page(), "/a": redirect("https://away.test/")}))
    sites.add("away.test")
    async with Fetcher(limits(sites)) as fetcher, fetcher.site("off.test") as site:
        assert isinstance(await site.home(), Page)
        failed = await site.page("https://off.test/a")
    assert failed == Failed(
        Kind.BAD_REDIRECT, "redirected to https://away.test/: not a page of the same site"
    )
    assert sites.received_by("away.test") == []


async def test_further_pages_obey_robots_txt_and_the_budget(sites: Sites) -> None:
    rules = page("User-agent: *\nDisallow: /a", content_type="text/plain")
    sites.add("rest.test", behaviour=paths({"/": page(), "/b": never()}), robots=rules)
    fetcher = Fetcher(limits(sites, timeout=timedelta(seconds=5)))
    async with fetcher, fetcher.site("rest.test") as site:
        assert isinstance(await site.home(), Page)
        barred = await site.page("https://rest.test/a")
        slow = await site.page("https://rest.test/b")
        late = await site.page("https://rest.test/")
    assert barred == Failed(Kind.ROBOTS, "robots.txt forbids the page")
    assert slow == late == Failed(Kind.TIMEOUT, "no page within 5 s")
    assert [each.path for each in sites.received_by("rest.test")] == ["/robots.txt", "/", "/b"]


# --- places at an address -------------------------------------------------------------------------


class Crowd:
    """A page that counts how many visitors it has at once."""

    def __init__(self, gate: Event | None = None) -> None:
        self.gate = gate or Event()
        self.now = self.most = 0
        self._one = Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._one:
            self.now += 1
            self.most = max(self.most, self.now)
        exchange.stopping.wait(0.02)
        with self._one:
            self.now -= 1
        page()(exchange)


async def test_an_address_has_only_so_many_visitors_at_once(sites: Sites) -> None:
    names, crowd = [f"crowd-{number}.test" for number in range(12)], Crowd()
    sites.add(*names, behaviour=crowd)
    async with Fetcher(limits(sites, per_address=2)) as fetcher:
        found = await asyncio.gather(*(home(fetcher, name) for name in names))
        assert all(isinstance(each, Page) for each in found)
        assert not fetcher._network.places  # noqa: SLF001 - nothing is left behind
    assert 1 <= crowd.most <= 2


async def test_waiting_for_a_place_costs_a_visit_none_of_its_time(sites: Sites) -> None:
    names = [f"patient-{number}.test" for number in range(6)]

    def slowly(exchange: Exchange) -> None:
        exchange.stopping.wait(0.4)
        page()(exchange)

    sites.add(*names, behaviour=slowly)
    began = time.monotonic()
    async with Fetcher(limits(sites, per_address=1, timeout=timedelta(minutes=1))) as fetcher:
        found = await asyncio.gather(*(home(fetcher, name) for name in names))
    took = timedelta(seconds=time.monotonic() - began)
    assert all(isinstance(each, Page) for each in found), found
    spent = sum((each.elapsed for each in found if isinstance(each, Page)), timedelta())
    assert min(each.elapsed for each in found if isinstance(each, Page)) > timedelta(seconds=0.4)
    assert spent < 2 * took, "with the time of those before it, it would be three and a half"


async def test_visits_that_hold_what_the_other_wants_do_not_wait_for_ever(sites: Sites) -> None:
    other = ip_address("127.0.0.2")
    hosts = {"left.test": HERE, "right.test": HERE}
    sites.add("left.test", behaviour=paths({"/": onward("https://right.test/a"), "/a": kept()}))
    sites.add("right.test", behaviour=paths({"/": onward("https://left.test/a"), "/a": kept()}))

    async def resolve(host: str) -> Sequence[Address]:
        return (hosts[host], other) if host == "right.test" else (hosts[host],)

    changed = limits(sites, per_address=1, connect_to=sites.connect_to_ports)
    async with Fetcher(changed, resolve) as fetcher:
        pairs = [home(fetcher, name) for name in list(hosts) * 4]
        found = await asyncio.wait_for(asyncio.gather(*pairs), 60)
    assert all(isinstance(each, Page) for each in found), found


async def test_a_visit_that_is_stopped_while_it_waits_leaves_no_trace(sites: Sites) -> None:
    sites.add("holder.test", behaviour=never())
    sites.add("waiter.test")
    async with Fetcher(limits(sites, per_address=1)) as fetcher:
        holder = asyncio.create_task(home(fetcher, "holder.test"))
        await asyncio.to_thread(sites.wait_for_requests, "holder.test")
        waiters = [asyncio.create_task(home(fetcher, "waiter.test")) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        holder.cancel()
        ended = await asyncio.gather(holder, *waiters, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * 2 + [Page] * 2
        assert not fetcher._network.places  # noqa: SLF001 - nothing is left behind


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "cancel", "give"]), st.integers(0, 9), st.integers(0, 1)),
    max_size=60,
)


@given(STEPS, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_places_are_never_lost_nor_given_twice(
    steps: list[tuple[str, int, int]], limit: int
) -> None:
    """Whatever is taken, cancelled and given back: in turn, never too many, nothing left over."""
    asyncio.run(_play(steps, limit))


async def _play(steps: list[tuple[str, int, int]], limit: int) -> None:
    places = Places(limit)
    lines = [_Line(places, key, limit) for key in range(2)]
    for number, (step, which, key) in enumerate(steps):
        lines[key].do(step, number)
        if which % 2:  # otherwise several things happen at once
            await _settle()
            for line in lines:
                line.check()
    for line in lines:
        await line.end()
    assert len(places) == 0


class _Line:
    """Those who hold a place at one key, and those who wait for one."""

    def __init__(self, places: Places, key: int, limit: int) -> None:
        self._places, self._key, self._limit = places, key, limit
        self._held: list[int] = []
        self._tasks: list[tuple[int, asyncio.Task[None]]] = []

    def do(self, step: str, number: int) -> None:
        if step == "take":
            self._tasks.append((number, asyncio.create_task(self._take(number))))
        elif step == "cancel" and self._tasks:
            self._tasks.pop(number % len(self._tasks))[1].cancel()
        elif step == "give" and self._held:
            self._give()

    async def _take(self, number: int) -> None:
        await self._places.take(self._key)
        self._held.append(number)

    def _give(self) -> None:
        self._held.pop(0)
        self._places.give_back(self._key)

    def check(self) -> None:
        assert len(self._held) <= self._limit
        queue = [number for number, task in self._tasks if not task.done()]
        assert not queue or len(self._held) == self._limit, "nobody waits while there is a place"
        assert max(self._held, default=0) <= min(queue, default=99), "first come, first served"

    async def end(self) -> None:
        await _settle()
        while self._held:
            self._give()
            await _settle()
        assert all(task.done() for _, task in self._tasks)


async def _settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


async def test_any_number_of_places_is_no_limit() -> None:
    places = Places(0)
    for _ in range(100):
        await places.take("here")
    assert not places.is_full("here")
    places.give_back("here")
    assert len(places) == 0


# --- the budget -----------------------------------------------------------------------------------


async def test_a_budget_stands_still_while_one_waits() -> None:
    budget = Budget(timedelta(seconds=1))
    async with budget.limit(), budget.limit(timedelta(seconds=0.9)):
        with budget.standing_still():
            await asyncio.sleep(1.1)
        assert budget.elapsed < timedelta(seconds=1)
    with pytest.raises(TimeoutError):
        async with budget.limit():
            await asyncio.sleep(60)


async def test_the_shorter_limit_ends_first_and_the_budget_after_it() -> None:
    budget = Budget(timedelta(seconds=30))
    async with budget.limit():
        with pytest.raises(TimeoutError):
            async with budget.limit(timedelta(seconds=0.05)):
                await asyncio.sleep(60)
        assert budget.elapsed < timedelta(seconds=30)


# --- room for large pages -------------------------------------------------------------------------


async def test_only_so_many_large_pages_are_held_at_once(sites: Sites) -> None:
    """A visit has its page until it asks for the next or ends: five hundred were 1.3 GB."""
    large, small = page("<p>" + "x" * 200_000), page("<p>small")
    names = [f"large{number}.test" for number in range(33)]
    sites.add(*names, behaviour=large, robots=NO_ROBOTS)
    sites.add(names[31], behaviour=sequence(large, small), robots=NO_ROBOTS)
    sites.add("small.test", behaviour=small)
    async with Fetcher(limits(sites)) as fetcher, AsyncExitStack() as visits:
        held = [await visits.enter_async_context(fetcher.site(name)) for name in names[:32]]
        for site in held:
            assert isinstance(await site.home(), Page)
        waiting = asyncio.create_task(home(fetcher, names[32]))
        await asyncio.to_thread(sites.wait_for_requests, names[32])
        assert isinstance(await home(fetcher, "small.test"), Page)
        assert not waiting.done()
        assert isinstance(await held[31].page(f"https://{names[31]}/contact"), Page)
        assert isinstance(await waiting, Page)


async def test_time_between_the_pages_of_a_visit_is_not_the_visits(sites: Sites) -> None:
    """What was read waits for a free process; the time of the next page does not run then."""
    sites.add("between.test", behaviour=page("<p>home"))
    limited = limits(sites, timeout=timedelta(seconds=5))
    async with Fetcher(limited) as fetcher, fetcher.site("between.test") as site:
        assert isinstance(await site.home(), Page)
        await asyncio.sleep(5.1)  # what is tested is that time passes
        assert isinstance(await site.page("https://between.test/contact"), Page)


async def test_a_visit_that_finds_no_place_for_too_long_is_not_begun(sites: Sites) -> None:
    """Else the visits to one address that never answers would hold every other site's place."""
    sites.add("crowding.test", "crowded.test", robots=NO_ROBOTS, behaviour=kept())
    settings = limits(sites, per_address=1, timeout=timedelta(seconds=5))
    async with Fetcher(settings) as fetcher, fetcher.site("crowding.test") as holder:
        assert isinstance(await holder.home(), Page)
        visitor = Visitor(fetcher, NoExtraction(), run_id="run")
        assert await visitor(Claim(1, "crowded.test", 1, uuid4())) == NotTried()
        assert sites.received_by("crowded.test") == []
    async with Fetcher(settings) as fetcher:
        assert isinstance(await home(fetcher, "crowded.test"), Page)


class NoExtraction:
    is_busy = False

    async def extract(self, page: Page) -> dict[str, object] | Failed:
        raise AssertionError(f"nothing was read, and yet there is {page.url}")


async def test_a_page_is_gone_with_its_visit(sites: Sites) -> None:
    """Five hundred of 2 MB that wait for the garbage collector were 1.1 GB."""
    sites.add("gone.test", https=Port.REFUSED)
    gc.collect()
    gc.disable()
    try:
        assert isinstance(await visit(sites, "gone.test"), Page)
        pages = [each for each in gc.get_objects() if isinstance(each, Page)]
        assert [each.url for each in pages if "gone.test" in each.url] == []
    finally:
        gc.enable()


async def test_a_flood_of_tiny_tls_records_is_cut_off_in_time(sites: Sites) -> None:
    """Its data is always there: nothing waits, so nothing else, nor a time-out, has its turn."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1;" + b"x" * 16_000 + b"\r\na\r\n"

    def flood(exchange: Exchange) -> None:
        exchange.send(head)
        exchange.drip(chunk * 200, 0)

    sites.add("records.test", behaviour=flood)
    failed = await fail(sites, "records.test", timeout=timedelta(seconds=3), ignore_robots=True)
    assert failed.kind is Kind.TIMEOUT
