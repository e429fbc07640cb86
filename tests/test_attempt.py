"""One attempt: what becomes of a name, a page, and of failures on the way."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from domainsched.attempt import Visitor
from domainsched.database.queue import RESULT_COLUMNS
from domainsched.fetch.way import GiveWay, nobody_waits
from domainsched.models import Claim, Failed, Found, Kind, Outcome, Page

PAGE = Page(
    url="https://www.a.test/en/",
    status=200,
    headers={"server": "nginx/1.24", "content-type": "text/html"},
    body=b"<title>A site</title>",
    elapsed=timedelta(milliseconds=412.4),
    ip_address="192.0.2.1",
    redirects=("https://a.test/", "https://www.a.test/"),
    tls={"version": "TLSv1.3", "issuer": "An Authority", "expires": "2030-01-01T00:00:00+00:00"},
    notes=("https: connection refused",),
)
PLAIN = Page(
    url="http://a.test/",
    status=203,
    headers={},
    body=b"",
    elapsed=timedelta(),
    ip_address="2001:db8::1",
    truncated=True,
)
NOTHING: Mapping[str, Any] = {}
CONTACTS = {"email_addresses": ["info@a.test"], "phone_numbers": ["+41441234567"]}
EXTRACTED = {"title": "A site", **CONTACTS, "domain_metadata": {"version": 1, "charset": "utf-8"}}


class Fetcher:
    """A site with one home page and some others; it remembers what was asked for."""

    def __init__(self, answer: Page | Failed, pages: Mapping[str, Page | Failed] = NOTHING) -> None:
        self._answer = answer
        self._pages = pages
        self.names: list[str] = []
        self.urls: list[str] = []
        self.open = 0
        self.give_way: GiveWay = nobody_waits

    @asynccontextmanager
    async def site(self, name: str, give_way: GiveWay = nobody_waits) -> AsyncIterator[Fetcher]:
        self.names.append(name)
        self.give_way = give_way
        self.open += 1
        yield self
        self.open -= 1

    async def home(self) -> Page | Failed:
        return self._answer

    async def page(self, url: str) -> Page | Failed:
        assert self.open, "asked within the visit"
        self.urls.append(url)
        return self._pages[url]

    async def refusal(self, url: str) -> Failed | None:
        raise AssertionError(f"an attempt asks for pages, not whether it may have {url}")


class Extractor:
    """Gives one answer for the home page, others by URL, and remembers what it was given."""

    def __init__(
        self,
        answer: dict[str, Any] | Failed,
        answers: Mapping[str, dict[str, Any] | Failed] = NOTHING,
    ) -> None:
        self._answer = answer
        self._answers = answers
        self.pages: list[Page] = []
        self.is_busy = False

    async def extract(self, page: Page) -> dict[str, Any] | Failed:
        self.pages.append(page)
        return self._answers.get(page.url, self._answer)


async def attempt(
    domain: str, fetcher: Fetcher, extractor: Extractor, *, contact_pages: int = 2
) -> Outcome:
    visitor = Visitor(fetcher, extractor, run_id="run7", contact_pages=contact_pages)
    outcome = await visitor(Claim(1, domain, 1, uuid4()))
    assert not fetcher.open
    return outcome


async def columns_of(page: Page) -> dict[str, Any]:
    outcome = await attempt("a.test", Fetcher(page), Extractor(EXTRACTED))
    assert isinstance(outcome, Found)
    return dict(outcome.columns)


async def test_what_the_connection_tells_joins_what_the_page_tells() -> None:
    columns = await columns_of(PAGE)
    del columns["domain_metadata"]
    assert columns == {
        "title": "A site",
        **CONTACTS,
        "has_ssl": True,
        "ssl_issuer": "An Authority",
        "ssl_version": "TLSv1.3",
        "ssl_expiry_date": "2030-01-01T00:00:00+00:00",
        "server_type": "nginx/1.24",
        "ip_address": "192.0.2.1",
        "server_response_time": 412,
    }
    assert columns.keys() <= set(RESULT_COLUMNS), "else they would be dropped in silence"


async def test_without_tls_its_columns_say_so() -> None:
    columns = await columns_of(PLAIN)
    assert columns["has_ssl"] is False
    names = ("ssl_issuer", "ssl_version", "ssl_expiry_date", "server_type")
    assert [columns[name] for name in names] == [None] * 4


async def test_of_a_page_from_scraperapi_only_what_is_known_is_told() -> None:
    columns = await columns_of(replace(PAGE, tls=None, ip_address="", credits=11))
    assert (columns["has_ssl"], columns["ip_address"]) == (None, None)
    visit = columns["domain_metadata"]["visit"]
    assert (visit["via"], visit["credits"], visit["ip_address"]) == ("scraperapi", 11, None)


async def test_the_metadata_tell_of_the_visit_beside_what_the_page_gave() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    metadata = (await columns_of(PAGE))["domain_metadata"]
    visit = metadata.pop("visit")
    assert metadata == EXTRACTED["domain_metadata"]
    assert before <= datetime.fromisoformat(visit.pop("fetched_at")) <= datetime.now(UTC)
    assert visit == {
        "run_id": "run7",
        "url": "https://www.a.test/en/",
        "status": 200,
        "redirects": ["https://a.test/", "https://www.a.test/"],
        "elapsed_ms": 412,
        "bytes": 21,
        "truncated": False,
        "ip_address": "192.0.2.1",
        "tls": PAGE.tls,
        "notes": ["https: connection refused"],
        "via": "direct",
        "credits": 0,
        "pages": [{"url": "https://www.a.test/en/", "status": 200}],
    }


async def test_the_metadata_of_a_plain_visit_hold_no_invented_facts() -> None:
    visit = (await columns_of(PLAIN))["domain_metadata"]["visit"]
    assert (visit["tls"], visit["redirects"], visit["notes"]) == (None, [], [])
    assert (visit["truncated"], visit["bytes"], visit["status"]) == (True, 0, 203)


@pytest.mark.parametrize(
    "stored", ["a.test", "https://www.A.test/about?x=1", "http://a.test/", " a.test. "]
)
async def test_any_spelling_that_is_stored_is_visited_by_its_canonical_name(stored: str) -> None:
    fetcher, extractor = Fetcher(PAGE), Extractor(EXTRACTED)
    assert isinstance(await attempt(stored, fetcher, extractor), Found)
    assert (fetcher.names, extractor.pages) == (["a.test"], [PAGE])


@pytest.mark.parametrize(
    "stored", ["", "no name", "a..test", "-", "localhost:x", "x" * 300 + ".test", "\x1b[31m.test"]
)
async def test_a_stored_name_that_is_none_contacts_nobody(stored: str) -> None:
    fetcher, extractor = Fetcher(PAGE), Extractor(EXTRACTED)
    outcome = await attempt(stored, fetcher, extractor)
    assert isinstance(outcome, Failed)
    assert outcome.kind is Kind.INVALID_DOMAIN
    assert outcome.detail.isprintable()
    assert not outcome.unreachable
    assert (fetcher.names, extractor.pages) == ([], [])


async def test_the_secret_in_a_stored_url_is_not_repeated() -> None:
    stored = "https://user:hunter2@a..test/?token=hunter3"
    outcome = await attempt(stored, Fetcher(PAGE), Extractor(EXTRACTED))
    assert isinstance(outcome, Failed)
    assert "hunter" not in outcome.detail


async def test_a_visit_that_fails_is_the_outcome_and_nothing_is_extracted() -> None:
    failed = Failed(Kind.TIMEOUT, "no page within 30 s", unreachable=True)
    extractor = Extractor(EXTRACTED)
    assert await attempt("a.test", Fetcher(failed), extractor) is failed
    assert not extractor.pages


async def test_an_extraction_that_fails_is_the_outcome() -> None:
    failed = Failed(Kind.CRASHED, "the extraction of the page ended its process")
    assert await attempt("a.test", Fetcher(PAGE), Extractor(failed)) is failed


# --- contact pages --------------------------------------------------------------------------------

CONTACT, IMPRINT, ABOUT = (f"https://a.test/{path}" for path in ("contact", "imprint", "about"))


def extracted(
    emails: list[str],
    phones: list[str],
    links: Mapping[str, str] = NOTHING,
    **metadata: object,
) -> dict[str, Any]:
    """What the extraction of a page gives, contacts and the rest."""
    return {
        "title": "A title",
        "email_addresses": emails,
        "phone_numbers": phones,
        **{f"{name}_url": links.get(name) for name in ("facebook", "twitter", "linkedin")},
        "domain_metadata": {
            "title": "A title",
            "emails": emails,
            "phones": phones,
            "social_links": links,
            "contact_pages": [],
            **metadata,
        },
    }


def at(url: str) -> Page:
    return replace(PAGE, url=url)


async def merged(
    home: dict[str, Any], *answers: dict[str, Any] | Failed, contact_pages: int = 2
) -> tuple[dict[str, Any], list[str]]:
    """Read a site whose contact pages, in order, are extracted to `answers`."""
    urls = [CONTACT, IMPRINT, ABOUT]
    home["domain_metadata"]["contact_pages"] = urls
    fetcher = Fetcher(PAGE, {url: at(url) for url in urls})
    extractor = Extractor(home, dict(zip(urls, answers, strict=False)))
    outcome = await attempt("a.test", fetcher, extractor, contact_pages=contact_pages)
    assert isinstance(outcome, Found)
    return dict(outcome.columns), fetcher.urls


async def test_a_contact_page_tells_what_the_home_page_does_not() -> None:
    home = extracted(["a@a.test"], [], {"facebook": "https://facebook.com/a"}, kept=1)
    contact = extracted(
        ["b@a.test", "a@a.test"],
        ["+41441234567"],
        {"facebook": "https://facebook.com/b", "twitter": "https://x.com/b"},
        kept=2,
    ) | {"title": "Contact", "wordpress_version": "6"}
    columns, urls = await merged(home, contact)
    assert urls == [CONTACT], "the second is not needed any more"
    assert columns["email_addresses"] == ["a@a.test", "b@a.test"]
    assert columns["phone_numbers"] == ["+41441234567"]
    assert columns["facebook_url"] == "https://facebook.com/a"
    assert columns["twitter_url"] == "https://x.com/b"
    assert columns["linkedin_url"] is None
    assert columns["title"] == "A title"
    assert "wordpress_version" not in columns
    metadata = columns["domain_metadata"]
    assert metadata["emails"] == columns["email_addresses"]
    assert metadata["phones"] == columns["phone_numbers"]
    assert metadata["social_links"] == {
        "facebook": "https://facebook.com/a",
        "twitter": "https://x.com/b",
    }
    assert (metadata["title"], metadata["kept"]) == ("A title", 1)
    assert metadata["visit"]["pages"] == [
        {"url": PAGE.url, "status": 200},
        {"url": CONTACT, "status": 200},
    ]
    assert home["email_addresses"] == ["a@a.test"], "what was given is not changed"


async def test_evidence_names_the_page_where_it_is_not_the_home_page() -> None:
    def told(**emails: str) -> dict[str, Any]:
        found = {f"{name}@a.test": {"rule": rule} for name, rule in emails.items()}
        return extracted(list(found), [], contacts={"emails": found, "phones": {}})

    columns, _ = await merged(told(a="text"), told(b="mailto", a="mailto"), told(c="at-form"))
    contacts = columns["domain_metadata"]["contacts"]
    assert contacts == {
        "emails": {
            "a@a.test": {"rule": "text"},
            "b@a.test": {"rule": "mailto", "page": CONTACT},
            "c@a.test": {"rule": "at-form", "page": IMPRINT},
        },
        "phones": {},
    }
    assert list(contacts["emails"]) == columns["email_addresses"]


async def test_contact_pages_are_read_in_order_and_not_more_than_allowed() -> None:
    columns, urls = await merged(
        extracted([], []), extracted(["c@a.test"], []), extracted(["i@a.test"], [])
    )
    assert urls == [CONTACT, IMPRINT]
    assert columns["email_addresses"] == ["c@a.test", "i@a.test"]


async def test_the_home_page_is_let_go_before_another_is_asked_for() -> None:
    """It may be large, there is room for few of them, and a contact page may take long."""
    marked = uuid4().bytes
    held = None

    class OnceOnly(Fetcher):
        async def home(self) -> Page | Failed:
            return replace(PAGE, body=marked)

        async def page(self, url: str) -> Page | Failed:
            nonlocal held
            pages = [each for each in gc.get_objects() if isinstance(each, Page)]
            held = [each for each in pages if each.body == marked]
            return await super().page(url)

    class Forgetful(Extractor):
        async def extract(self, page: Page) -> dict[str, Any] | Failed:
            answer = await super().extract(page)
            self.pages.clear()
            return answer

    home = extracted([], [])
    home["domain_metadata"]["contact_pages"] = [CONTACT]
    contact = replace(PAGE, url=CONTACT)
    await attempt("a.test", OnceOnly(PAGE, {CONTACT: contact}), Forgetful(home))
    assert held == []


OTHER = "https://help.a.test/contact"


async def visited(first: Failed) -> list[str]:
    """Visit a site that names three contact pages, of which the first fails so."""
    home = extracted([], [])
    home["domain_metadata"]["contact_pages"] = [OTHER, CONTACT, IMPRINT]
    fetcher = Fetcher(PAGE, {OTHER: first, CONTACT: at(CONTACT), IMPRINT: at(IMPRINT)})
    further = {CONTACT: extracted([], []), IMPRINT: extracted([], [])}
    await attempt("a.test", fetcher, Extractor(home, further))
    return fetcher.urls


async def test_a_page_of_another_site_takes_no_contact_pages_place() -> None:
    assert await visited(Failed(Kind.BAD_REDIRECT, "not a page of the same site")) == [
        OTHER,
        CONTACT,
        IMPRINT,
    ]
    assert await visited(Failed(Kind.HTTP_4XX, "HTTP 404")) == [OTHER, CONTACT]


async def test_a_site_that_asks_to_wait_is_asked_for_nothing_more() -> None:
    assert await visited(Failed(Kind.RATE_LIMITED, "HTTP 429")) == [OTHER]


async def test_redirects_do_not_swell_the_row() -> None:
    columns = await columns_of(replace(PAGE, redirects=("https://a.test/" + "x" * 60_000,) * 10))
    kept = columns["domain_metadata"]["visit"]["redirects"]
    assert [len(url) for url in kept] == [2048] * 10


async def test_what_a_server_calls_itself_is_one_clean_line() -> None:
    hostile = replace(PAGE, headers={"server": "ng\x1b]0;owned\x07inx \u202egpj" + "x" * 9000})
    outcome = await attempt("a.test", Fetcher(hostile), Extractor(EXTRACTED))
    assert isinstance(outcome, Found)
    kept = outcome.columns["server_type"]
    assert kept.isprintable()
    assert len(kept) <= 300


@pytest.mark.parametrize(
    ("home", "contact_pages"),
    [
        (extracted(["a@a.test"], ["+41441234567"]), 2),
        (extracted([], []), 0),
        (extracted([], [], parked=True), 2),
    ],
    ids=["complete", "off", "parked"],
)
async def test_contact_pages_are_left_alone_where_not_needed(
    home: dict[str, Any], contact_pages: int
) -> None:
    columns, urls = await merged(home, contact_pages=contact_pages)
    assert urls == []
    assert len(columns["domain_metadata"]["visit"]["pages"]) == 1


async def test_a_contact_page_that_fails_is_noted_and_fails_nothing() -> None:
    home = extracted([], [])
    home["domain_metadata"]["contact_pages"] = [CONTACT, IMPRINT]
    fetcher = Fetcher(
        PAGE, {CONTACT: Failed(Kind.ROBOTS, "robots.txt forbids the page"), IMPRINT: at(IMPRINT)}
    )
    crashed = Failed(Kind.CRASHED, "the extraction of the page ended its process")
    outcome = await attempt("a.test", fetcher, Extractor(home, {IMPRINT: crashed}))
    assert isinstance(outcome, Found)
    assert outcome.columns["email_addresses"] == []
    assert outcome.columns["domain_metadata"]["visit"]["pages"] == [
        {"url": PAGE.url, "status": 200},
        {"url": CONTACT, "error": "robots.txt forbids the page"},
        {"url": IMPRINT, "status": 200, "error": crashed.detail},
    ]


@pytest.mark.parametrize(("is_busy", "gave_way"), [(False, [True]), (True, [])])
async def test_a_slow_visit_gives_way_unless_pages_wait_already(
    *, is_busy: bool, gave_way: list[bool]
) -> None:
    fetcher, extractor = Fetcher(PAGE), Extractor(EXTRACTED)
    extractor.is_busy = is_busy
    noted: list[bool] = []
    visitor = Visitor(fetcher, extractor, run_id="run7")
    await visitor(Claim(1, "a.test", 1, uuid4()), lambda: noted.append(True))
    assert fetcher.give_way() is not is_busy
    assert noted == gave_way
