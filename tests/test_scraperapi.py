"""ScraperAPI: what is asked and paid for, what an answer means, and that the key stays secret."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scraperapi import (
    EXHAUSTED,
    KEY,
    PROTECTED,
    TOO_MANY,
    UNAUTHORIZED,
    Service,
    running_service,
    scraped,
    told,
)
from sites import Behaviour, Certificate, Exchange, answer, bomb, gzipped, never, page, raw, reset
from sites import sequence as in_turn
from world import World

from domainsched.addresses import Address
from domainsched.credit import CreditBudget, Reservation
from domainsched.errors import ConfigError, DomainschedError, ExitCode
from domainsched.fetch.scraperapi import (
    Mode,
    ScraperApi,
    ScraperSettings,
    ViaScraperApi,
)
from domainsched.fetch.way import GiveWay, nobody_waits
from domainsched.models import Failed, Kind, Page

URL = "https://shop.test/"
SECRET = "s3cr/t+key%!"


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def manner(service: Service, **changes: object) -> ScraperSettings:
    values: dict[str, object] = {
        "key": service.key,
        "endpoint": service.endpoint,
        "timeout": timedelta(seconds=20),
        "trust": (service.sites.ca_file,),
    }
    return ScraperSettings(**(values | changes))  # type: ignore[arg-type] # named above


async def fetched(
    service: Service, budget: CreditBudget | None = None, **changes: object
) -> Page | Failed:
    api = ScraperApi(manner(service, **changes), budget or CreditBudget(1000))
    return await api.fetch(URL)


async def failure(
    service: Service, behaviour: Behaviour, budget: CreditBudget | None = None, **changes: object
) -> Failed:
    service.on(URL, behaviour)
    result = await fetched(service, budget, **changes)
    assert isinstance(result, Failed)
    return result


# --- what is asked ------------------------------------------------------------------------------


async def test_a_page_is_the_sites_own_with_what_it_cost(service: Service) -> None:
    headers = {"Server": "shop", "Set-Cookie": "a=1", "sa-final-url": "https://www.shop.test/de#x"}
    service.on(URL, scraped("<title>Shop</title>", credits_=11, headers=headers))
    page = await fetched(service)
    assert isinstance(page, Page)
    assert (page.url, page.redirects) == ("https://www.shop.test/de", (URL,))
    assert (page.status, page.body, page.credits) == (200, b"<title>Shop</title>", 11)
    assert (page.headers["server"], page.headers["set-cookie"]) == ("shop", "a=1")
    assert not any(name.startswith("sa-") for name in page.headers)
    assert (page.ip_address, page.tls) == ("", None)
    assert page.elapsed > timedelta()


async def test_the_key_travels_in_a_header_and_nowhere_else(service: Service) -> None:
    await fetched(service)
    (asked,) = service.asked
    assert (asked.scheme, asked.url, asked.key) == ("https", URL, KEY)
    assert KEY not in asked.target
    assert asked.wishes == {"max_cost": "11"}


@pytest.mark.parametrize(
    ("wishes", "asked", "price"),
    [
        ({"render": True}, {"render": "true"}, 10),
        ({"premium": True}, {"premium": "true"}, 10),
        ({"premium": True, "render": True}, {"premium": "true", "render": "true"}, 25),
        ({"ultra_premium": True}, {"ultra_premium": "true"}, 30),
        (
            {"ultra_premium": True, "render": True},
            {"ultra_premium": "true", "render": "true"},
            75,
        ),
        ({"country": "de"}, {"country_code": "de"}, 1),
    ],
)
async def test_each_wish_is_asked_for_and_its_documented_price_known(
    service: Service, wishes: dict[str, object], asked: dict[str, str], price: int
) -> None:
    service.on(URL, scraped(credits_=None))
    budget = CreditBudget(1000)
    await fetched(service, budget, **wishes)
    assert service.asked[0].wishes == asked | {"max_cost": str(price + 10)}
    assert budget.spent == price


async def test_a_url_with_a_query_arrives_whole(service: Service) -> None:
    url = "https://shop.test/?a=1&api_key=x&url=b%20c"
    api = ScraperApi(manner(service), CreditBudget(100))
    await api.fetch(url)
    assert service.asked[0].url == url


@pytest.mark.parametrize(
    "final",
    ["", "ftp://a.test/", "https://", "http://[x/", "http://a.test:22/"],
)
async def test_an_unusable_final_url_is_not_believed(service: Service, final: str) -> None:
    service.on(URL, scraped(headers={"sa-final-url": final}))
    page = await fetched(service)
    assert isinstance(page, Page)
    assert (page.url, page.redirects) == (URL, ())


# --- what an answer means -------------------------------------------------------------------------


async def test_a_body_is_decompressed_and_bounded_like_any_other(service: Service) -> None:
    service.on(URL, gzipped(b"<title>Packed</title>" + b"x" * 5000))
    page = await fetched(service, max_body_bytes=1000)
    assert isinstance(page, Page)
    assert (len(page.body), page.truncated) == (1000, True)
    assert (await failure(service, bomb())).kind is Kind.TOO_LARGE


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (scraped(status=404, target_status=404), Kind.HTTP_4XX),
        (scraped(status=404, target_status=None), Kind.HTTP_4XX),
        (scraped(status=500, target_status=503), Kind.HTTP_5XX),
        (scraped(status=500, target_status=403), Kind.BLOCKED),
        (scraped(status=403, target_status=403), Kind.BLOCKED),
        (scraped(status=200, target_status=403), Kind.BLOCKED),
        (scraped(headers={"cf-mitigated": "challenge"}), Kind.CHALLENGE),
        (scraped(headers={"Content-Type": "application/pdf"}), Kind.NOT_HTML),
        (scraped(""), Kind.EMPTY),
    ],
)
async def test_what_a_site_answers_is_judged_as_if_it_had_been_visited(
    service: Service, behaviour: Behaviour, kind: Kind
) -> None:
    failed = await failure(service, behaviour, retries=0)
    assert failed.kind is kind
    assert failed.detail.startswith("through ScraperAPI: ")
    assert not failed.unreachable


async def test_too_many_at_once_is_tried_again_and_costs_nothing(service: Service) -> None:
    service.on(URL, in_turn(told(429, TOO_MANY), scraped()))
    budget = CreditBudget(100)
    assert isinstance(await fetched(service, budget), Page)
    assert (len(service.asked), budget.spent) == (2, 1)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (429, TOO_MANY, Kind.RATE_LIMITED),
        (500, PROTECTED, Kind.HTTP_5XX),
        (503, "", Kind.HTTP_5XX),
    ],
)
async def test_tries_are_counted_and_failures_are_free(
    service: Service, status: int, message: str, kind: Kind
) -> None:
    budget = CreditBudget(100)
    failed = await failure(service, told(status, message), budget, retries=2)
    assert failed.kind is kind
    assert failed.detail.startswith(
        f"through ScraperAPI: HTTP {status}{message and ': '}{message[:100]}"
    )
    assert (len(service.asked), budget.spent) == (3, 0)


@pytest.mark.parametrize("status", [302, 400, 405, 418])
async def test_an_answer_for_good_is_asked_for_once(service: Service, status: int) -> None:
    service.sites.add("elsewhere.test")
    elsewhere = {"Location": service.endpoint + "?url=x"}
    failed = await failure(service, raw(answer(status, elsewhere, b"no")), retries=3)
    assert failed.kind is Kind.PROTOCOL
    assert len(service.asked) == 1


@pytest.mark.parametrize(("status", "message"), [(401, UNAUTHORIZED), (403, EXHAUSTED), (402, "")])
async def test_a_refusal_of_the_account_is_ours_and_ends_the_asking(
    service: Service, status: int, message: str
) -> None:
    service.on(URL, told(status, message))
    budget = CreditBudget(100)
    api = ScraperApi(manner(service, retries=3), budget)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            await api.fetch(URL)
        assert caught.value.what == f"ScraperAPI refuses to serve us (HTTP {status})"
        assert caught.value.why == message
        assert caught.value.exit_code is ExitCode.USAGE
    assert (len(service.asked), budget.spent) == (1, 0)


async def test_a_site_that_costs_more_than_documented_is_refused_alone(service: Service) -> None:
    service.prices[URL] = 500
    budget = CreditBudget(100)
    api = ScraperApi(manner(service, retries=3), budget)
    failed = await api.fetch(URL)
    assert isinstance(failed, Failed)
    assert failed.kind is Kind.BLOCKED
    assert "more than 11 credits" in failed.detail
    assert isinstance(await api.fetch("https://other.test/"), Page)
    assert (len(service.asked), budget.spent) == (2, 1)


async def test_a_service_that_says_nothing_is_left_in_time_and_not_asked_twice(
    service: Service,
) -> None:
    budget = CreditBudget(100)
    limit = timedelta(seconds=2)
    failed = await failure(service, never(), budget, timeout=limit, retries=3)
    assert (failed.kind, failed.unreachable) == (Kind.TIMEOUT, False)
    assert failed.detail == "through ScraperAPI: no page within 2 s"
    assert (len(service.asked), budget.spent) == (1, 11)


async def test_an_answer_that_is_lost_counts_with_the_most_it_may_have_cost(
    service: Service,
) -> None:
    budget = CreditBudget(100)
    failed = await failure(service, reset(), budget, retries=3)
    assert failed.kind is Kind.CONNECT
    assert (len(service.asked), budget.spent) == (1, 11)


async def test_a_page_that_breaks_off_was_paid_for_and_is_not_bought_again(
    service: Service,
) -> None:
    budget = CreditBudget(100)
    head = answer(
        200, {"sa-credit-cost": "3", "Content-Length": "999", "Content-Type": "text/html"}
    )
    failed = await failure(service, reset(head + b"<title>"), budget, retries=3)
    assert failed.kind is Kind.PROTOCOL
    assert (len(service.asked), budget.spent) == (1, 3)


async def test_a_service_that_cannot_be_reached_is_no_fault_of_the_site(service: Service) -> None:
    tries: list[str] = []

    async def nowhere(host: str) -> tuple[Address, ...]:
        tries.append(host)
        raise OSError(111, "no such place")

    budget = CreditBudget(100)
    api = ScraperApi(manner(service), budget, nowhere)
    failed = await api.fetch(URL)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.unreachable) == (Kind.DNS, True)
    assert (len(tries), budget.spent) == (2, 0)


# --- where the key goes ---------------------------------------------------------------------------


async def test_the_key_is_not_sent_to_whom_no_authority_vouches_for(service: Service) -> None:
    service.sites.add("localhost", certificate=Certificate.SELF_SIGNED)
    with pytest.raises(ConfigError, match="cannot be trusted with the key") as caught:
        await fetched(service)
    assert "self-signed certificate" in caught.value.why
    assert service.asked == []


async def test_a_service_at_a_private_address_must_be_allowed(service: Service) -> None:
    async def inside(_: str) -> tuple[Address, ...]:
        return (ip_address("127.0.0.1"),)

    place = f"https://api.test:{service.sites.https_port}/"
    service.sites.add("api.test")
    budget = CreditBudget(100)
    api = ScraperApi(manner(service, endpoint=place), budget, inside)
    for _ in range(2):
        with pytest.raises(ConfigError, match="cannot be trusted with the key") as caught:
            await api.fetch(URL)
        assert "loopback" in caught.value.why
    assert budget.spent == 0
    assert service.sites.received == ()


async def test_a_handshake_that_breaks_off_is_tried_again(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answered: list[int] = []

        def break_off() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                answered.append(len(connection.recv(65536)))
                connection.close()

        thread = Thread(target=break_off, daemon=True)
        thread.start()
        budget = CreditBudget(100)
        place = f"https://localhost:{server.getsockname()[1]}/"
        failed = await fetched(service, budget, endpoint=place)
        thread.join(20)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.unreachable) == (Kind.TLS, True)
    assert (len(answered), budget.spent) == (2, 0)


async def test_on_loopback_it_may_be_plain(service: Service) -> None:
    assert isinstance(await fetched(service, endpoint=service.plain_endpoint), Page)
    assert service.asked[0].scheme == "http"


ENCODED = SECRET.replace("%", "%25").replace("/", "%2f").replace("+", "%2B").replace("!", "%21")


@pytest.mark.parametrize("spelling", [SECRET, ENCODED])
@pytest.mark.parametrize("status", [401, 400, 500])
async def test_a_service_that_repeats_the_key_does_not_make_us_say_it(
    service: Service, spelling: str, status: int
) -> None:
    service.key = SECRET
    service.on(URL, told(status, f"who is {spelling}? "))
    said = ""
    try:
        said = repr(await fetched(service, retries=0))
    except ConfigError as error:
        said = f"{error.what} {error.why} {error.hint} {error!r}"
    assert "who is ***?" in said
    assert SECRET not in said
    assert "s3cr" not in said


async def test_a_page_that_repeats_the_key_is_stored_without_it(service: Service) -> None:
    service.key = SECRET
    echo = {"X-Echo": SECRET, "sa-final-url": f"https://shop.test/{ENCODED}"}
    service.on(
        URL, scraped(f"<title>{SECRET} {ENCODED.replace('%2f', '%2F')}</title>", headers=echo)
    )
    page = await fetched(service)
    assert isinstance(page, Page)
    assert page.body == b"<title>*** ***</title>"
    assert page.url == "https://shop.test/***"
    assert "s3cr" not in repr(page)


async def test_no_log_holds_the_key_not_even_for_developers(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await fetched(service)
    with pytest.raises(ConfigError):
        await fetched(service, key="wrong-0123456789")
    assert KEY not in caplog.text
    assert "wrong-0123456789" not in caplog.text


def test_settings_do_not_show_the_key(service: Service) -> None:
    assert KEY not in repr(manner(service))
    assert KEY not in str(manner(service))


# --- the budget -----------------------------------------------------------------------------------


@dataclass
class Gate:
    """Holds answers back until it is opened."""

    behaviour: Behaviour
    waiting: list[str] = field(default_factory=list)
    opened: Event = field(default_factory=Event)

    def __call__(self, exchange: Exchange) -> None:
        self.waiting.append(exchange.received.path)
        self.opened.wait(20)
        self.behaviour(exchange)


async def until(condition: Callable[[], object]) -> None:
    """Let others work until `condition` holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - threads of the service bring it about
            await asyncio.sleep(0.01)


async def test_calls_at_the_same_time_do_not_overdraw_the_budget(service: Service) -> None:
    urls = [f"https://n{number}.test/" for number in range(6)]
    service.prices = dict.fromkeys(urls, 11)
    gate = Gate(scraped(credits_=11))
    service.behaviours = dict.fromkeys(urls, gate)
    budget = CreditBudget(25)
    api = ScraperApi(manner(service), budget)
    tasks = [asyncio.create_task(api.fetch(url)) for url in urls]
    await until(lambda: len(gate.waiting) == 2)
    assert len(service.asked) == 2
    gate.opened.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(each, Page) for each in ended) == 2
    refused = [each for each in ended if isinstance(each, DomainschedError)]
    assert {each.what for each in refused} == {"ScraperAPI: the budget of 25 credits is used up"}
    assert len(refused) == 4
    assert budget.spent == 22
    assert {int(each.wishes["max_cost"]) for each in service.asked} == {11, 3}


async def test_what_a_call_did_not_need_is_there_for_the_next(service: Service) -> None:
    gate = Gate(scraped())
    service.on(URL, gate)
    budget = CreditBudget(12)
    api = ScraperApi(manner(service), budget)
    first = asyncio.create_task(api.fetch(URL))
    await until(lambda: gate.waiting)
    second = asyncio.create_task(api.fetch("https://other.test/"))
    gate.opened.set()
    assert isinstance(await first, Page)
    assert isinstance(await second, Page)
    assert budget.spent == 2
    assert [each.wishes["max_cost"] for each in service.asked] == ["11", "11"]


async def test_a_budget_that_is_used_up_sends_nothing(service: Service) -> None:
    budget = CreditBudget(2)
    api = ScraperApi(manner(service), budget)
    for _ in range(2):
        assert isinstance(await api.fetch(URL), Page)
    with pytest.raises(DomainschedError, match="is used up") as caught:
        await api.fetch(URL)
    assert "--scraper-budget" in caught.value.hint
    assert (len(service.asked), budget.spent) == (2, 2)


@pytest.mark.parametrize(("limit", "told"), [(74, "74 credits"), (1, "1 credit")])
async def test_a_budget_below_the_price_of_a_page_is_refused(
    service: Service, limit: int, told: str
) -> None:
    with pytest.raises(ConfigError, match=f"the budget of {told} does not pay for a page"):
        ScraperApi(manner(service, render=True, ultra_premium=True), CreditBudget(limit))


@pytest.mark.parametrize(
    ("told_price", "spent"), [(None, 1), ("", 1), ("many", 1), ("-5", 1), ("0", 0), ("7", 7)]
)
async def test_the_price_is_what_the_answer_says_or_else_the_documented_one(
    service: Service, told_price: str | None, spent: int
) -> None:
    service.on(URL, scraped(credits_=told_price))
    budget = CreditBudget(100)
    page = await fetched(service, budget)
    assert isinstance(page, Page)
    assert page.credits == budget.spent == spent


async def test_a_price_beyond_what_was_allowed_is_counted_all_the_same(service: Service) -> None:
    service.on(URL, scraped(credits_=5000))
    budget = CreditBudget(100)
    api = ScraperApi(manner(service), budget)
    await api.fetch(URL)
    with pytest.raises(DomainschedError, match="is used up"):
        await api.fetch(URL)
    assert (len(service.asked), budget.spent) == (1, 5000)


async def test_a_call_that_is_cancelled_counts_with_the_most_it_may_cost(service: Service) -> None:
    service.on(URL, never())
    budget = CreditBudget(100)
    api = ScraperApi(manner(service), budget)
    task = asyncio.create_task(api.fetch(URL))
    await until(lambda: service.asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert budget.spent == 11


Use = tuple[int, int, int, int]
"""The least and more that is set apart, the share that is spent, and how long it takes."""


@given(
    st.integers(1, 60),
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 100), st.integers(0, 3)),
        max_size=12,
    ),
)
@settings(max_examples=100, deadline=None)
def test_no_order_of_calls_overdraws_a_budget(limit: int, uses: list[Use]) -> None:
    budget, held = CreditBudget(limit), 0

    async def use(least: int, more: int, share: int, steps: int) -> None:
        nonlocal held
        with suppress(DomainschedError):
            async with budget.reserved(least, least + more) as reservation:
                assert least <= reservation.credits <= least + more
                held += reservation.credits
                assert budget.spent + held <= limit
                for _ in range(steps):
                    await asyncio.sleep(0)
                reservation.spent = reservation.credits * share // 100
                held -= reservation.credits - reservation.spent
            held -= reservation.spent

    async def use_all() -> None:
        await asyncio.gather(*(use(*each) for each in uses))

    asyncio.run(use_all())
    assert budget.spent <= limit
    assert held == 0


def test_a_reservation_begins_unspent() -> None:
    assert Reservation(5).spent == 0


# --- together with direct visits ------------------------------------------------------------------

PAGE = Page(
    url=URL,
    status=200,
    headers={"content-type": "text/html"},
    body=b"<title>Direct</title>",
    elapsed=timedelta(seconds=1),
    ip_address="192.0.2.1",
)
BLOCKED = Failed(Kind.BLOCKED, "HTTP 403")
MENDABLE = {Kind.BLOCKED, Kind.CHALLENGE, Kind.RATE_LIMITED, Kind.TIMEOUT, Kind.CONNECT}


@dataclass
class Direct:
    """Visits that end as the test says."""

    result: Page | Failed
    visited: list[str] = field(default_factory=list)
    forbidden: Failed | None = None

    @asynccontextmanager
    async def site(self, name: str, give_way: GiveWay = nobody_waits) -> AsyncIterator[DirectSite]:
        assert give_way is nobody_waits
        yield DirectSite(name, self)


@dataclass
class DirectSite:
    name: str
    direct: Direct

    async def home(self) -> Page | Failed:
        self.direct.visited.append(f"home of {self.name}")
        return self.direct.result

    async def page(self, url: str) -> Page | Failed:
        self.direct.visited.append(url)
        return self.direct.result

    async def refusal(self, url: str) -> Failed | None:
        del url
        return self.direct.forbidden


def ways(
    service: Service,
    direct: Direct,
    mode: Mode,
    budget: CreditBudget | None = None,
    **changes: object,
) -> ViaScraperApi:
    api = ScraperApi(manner(service, **changes), budget or CreditBudget(100))
    return ViaScraperApi(direct, api, mode)


async def home(way: ViaScraperApi, name: str = "shop.test") -> Page | Failed:
    async with way.site(name) as site:
        return await site.home()


@pytest.mark.parametrize("kind", Kind)
async def test_only_what_another_address_may_mend_is_paid_for(service: Service, kind: Kind) -> None:
    direct = Direct(Failed(kind, "why"))
    way = ways(service, direct, Mode.FALLBACK)
    result = await home(way)
    assert [each.url for each in service.asked] == ([URL] if kind in MENDABLE else [])
    assert isinstance(result, Page) is (kind in MENDABLE)
    assert direct.visited == ["home of shop.test"]


async def test_a_page_that_was_visited_is_not_paid_for(service: Service) -> None:
    way = ways(service, Direct(PAGE), Mode.FALLBACK)
    assert await home(way) is PAGE
    assert service.asked == []


async def test_a_mended_visit_tells_what_went_wrong_before(service: Service) -> None:
    way = ways(service, Direct(BLOCKED), Mode.FALLBACK)
    page = await home(way)
    assert isinstance(page, Page)
    assert (page.notes, page.credits) == (("directly: HTTP 403",), 1)


async def test_when_both_ways_fail_the_direct_one_decides_and_both_are_told(
    service: Service,
) -> None:
    service.on(URL, scraped(status=404, target_status=404))
    wait = timedelta(minutes=1)
    limited = Failed(Kind.RATE_LIMITED, "HTTP 429", wait, unreachable=True)
    way = ways(service, Direct(limited), Mode.FALLBACK)
    failed = await home(way)
    assert failed == Failed(
        Kind.RATE_LIMITED, "HTTP 429; through ScraperAPI: HTTP 404", wait, unreachable=False
    )


async def test_always_means_that_the_home_page_is_not_visited(service: Service) -> None:
    direct = Direct(PAGE)
    way = ways(service, direct, Mode.ALWAYS)
    assert isinstance(await home(way), Page)
    assert direct.visited == []


async def test_what_robots_txt_forbids_is_not_paid_for_either(service: Service) -> None:
    forbidden = Failed(Kind.ROBOTS, "robots.txt forbids the home page")
    way = ways(service, Direct(PAGE, forbidden=forbidden), Mode.ALWAYS)
    assert await home(way) == forbidden
    assert service.asked == []


@pytest.mark.parametrize("mode", Mode)
async def test_other_pages_than_the_home_page_are_never_paid_for(
    service: Service, mode: Mode
) -> None:
    direct = Direct(BLOCKED)
    async with ways(service, direct, mode).site("shop.test") as site:
        assert await site.page(URL + "contact") == BLOCKED
    assert direct.visited == [URL + "contact"]
    assert service.asked == []


@pytest.mark.parametrize("spoiler", ["key", "budget"])
async def test_as_a_fallback_it_is_given_up_with_one_warning(
    service: Service, spoiler: str, caplog: pytest.LogCaptureFixture
) -> None:
    budget = CreditBudget(100)
    if spoiler == "key":
        service.key = "another-0123456789"
    else:
        budget.spent = 100
    way = ways(service, Direct(BLOCKED), Mode.FALLBACK, budget, key=KEY)
    results = await asyncio.gather(*(home(way, f"n{number}.test") for number in range(3)))
    before = len(service.asked)
    assert await home(way) == BLOCKED
    assert results == [BLOCKED] * 3
    assert len(service.asked) == before
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "going on without it" in warnings[0].getMessage()
    assert KEY not in caplog.text


@pytest.mark.parametrize("spoiler", ["key", "budget"])
async def test_where_it_is_always_asked_its_end_is_an_error_of_the_run(
    service: Service, spoiler: str
) -> None:
    budget = CreditBudget(100)
    if spoiler == "key":
        service.key = "another-0123456789"
    else:
        budget.spent = 100
    way = ways(service, Direct(PAGE), Mode.ALWAYS, budget, key=KEY)
    with pytest.raises(DomainschedError):
        await home(way)


def test_a_scraped_page_stays_one_when_it_is_changed() -> None:
    page = Page(URL, 200, {}, b"", timedelta(), "", credits=5)
    assert replace(page, notes=("a",)) == Page(
        URL, 200, {}, b"", timedelta(), "", notes=("a",), credits=5
    )


# --- the real program -----------------------------------------------------------------------------

PROGRAM = {"SCRAPER_API_KEY": KEY, "DOMAINSCHED_SCRAPER_RETRIES": "0"}


def of_program(world: World, mode: str, **changes: str) -> tuple[Service, dict[str, str]]:
    service = Service(world.sites)
    variables = {
        **PROGRAM,
        "DOMAINSCHED_SCRAPER_API": mode,
        "DOMAINSCHED_SCRAPER_API_URL": service.endpoint,
    }
    return service, variables | changes


def test_the_program_mends_a_blocked_visit_and_the_key_is_nowhere(world: World) -> None:
    world.add("fine.test")
    world.add("shop.test", behaviour=page("no", status=403))
    service, variables = of_program(world, "fallback")
    ended = world.run("process", "-vv", **variables)
    assert ended.code == 0
    assert world.column("status") == {"fine.test": "completed", "shop.test": "completed"}
    assert world.column("title")["shop.test"] == "Scraped"
    assert [(each.url, each.key) for each in service.asked] == [(URL, KEY)]
    assert KEY not in ended.out + ended.err + repr(world.rows())


def test_the_program_spends_nothing_without_a_word(world: World) -> None:
    world.add("shop.test", behaviour=page("no", status=403))
    service, variables = of_program(world, "off")
    assert world.run("process", **variables).code == 0
    assert world.column("last_error_kind") == {"shop.test": "blocked"}
    assert service.asked == []


def test_a_bad_key_charges_nobody_an_attempt(world: World) -> None:
    world.add("shop.test")
    _, variables = of_program(world, "always", SCRAPER_API_KEY="wrong-0123456789")
    ended = world.run("process", **variables)
    assert ended.code == 2
    assert "ScraperAPI refuses to serve us (HTTP 401)" in ended.err
    assert "wrong-0123456789" not in ended.out + ended.err
    (row,) = world.rows().values()
    assert (row["status"], row["attempts"]) == ("pending", 0)


def test_a_bad_key_leaves_what_is_visited_as_it_is(world: World) -> None:
    world.add("fine.test")
    world.add("shop.test", behaviour=page("no", status=403))
    _, variables = of_program(world, "fallback", SCRAPER_API_KEY="wrong-0123456789")
    ended = world.run("process", **variables)
    assert ended.code == 0
    (warning,) = ended.err.splitlines()
    assert warning.startswith(
        "warning: ScraperAPI refuses to serve us (HTTP 401); going on without it: "
    )
    assert world.column("status") == {"fine.test": "completed", "shop.test": "error"}


def test_a_budget_of_one_credit_is_told_as_that(world: World) -> None:
    world.add("a.test", "b.test")
    _, variables = of_program(world, "always")
    ended = world.run("process", "--scraper-budget", "1", **variables)
    assert ended.code == 1
    assert ended.err == (
        "error: ScraperAPI: the budget of 1 credit is used up\n"
        "  it holds for one command, and is not overdrawn\n"
        "hint: raise --scraper-budget, or leave the rest to the next run\n"
    )


@pytest.mark.parametrize("mode", ["fallback", "always"])
def test_the_programs_budget_is_kept(world: World, mode: str) -> None:
    names = [f"n{number}.test" for number in range(4)]
    world.add(*names, behaviour=page("no", status=403))
    service, variables = of_program(world, mode)
    ended = world.run("process", "--scraper-budget", "2", **variables)
    assert ended.code == (0 if mode == "fallback" else 1)
    assert "the budget of 2 credits is used up" in ended.err
    assert len(service.asked) == 2
    assert Counter(world.column("status").values())["completed"] == 2
