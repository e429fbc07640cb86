"""One attempt: what becomes of a name, a page, and of failures on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from domainsched.models import Claim, Failed, Found, Kind, Outcome, Page
from domainsched.queue import RESULT_COLUMNS
from domainsched.visit import Visitor

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
EXTRACTED = {"title": "A site", "domain_metadata": {"version": 1, "charset": "utf-8"}}


class Fetcher:
    """Gives one answer, and remembers what was asked for."""

    def __init__(self, answer: Page | Failed) -> None:
        self._answer = answer
        self.names: list[str] = []

    async def visit(self, name: str) -> Page | Failed:
        self.names.append(name)
        return self._answer


class Extractor:
    """Gives one answer, and remembers what it was given."""

    def __init__(self, answer: dict[str, Any] | Failed) -> None:
        self._answer = answer
        self.pages: list[Page] = []

    async def extract(self, page: Page) -> dict[str, Any] | Failed:
        self.pages.append(page)
        return self._answer


async def attempt(domain: str, fetcher: Fetcher, extractor: Extractor) -> Outcome:
    visitor = Visitor(fetcher, extractor, run_id="run7")
    return await visitor(Claim(1, domain, 1, uuid4()))


async def columns_of(page: Page) -> dict[str, Any]:
    outcome = await attempt("a.test", Fetcher(page), Extractor(EXTRACTED))
    assert isinstance(outcome, Found)
    return dict(outcome.columns)


async def test_what_the_connection_tells_joins_what_the_page_tells() -> None:
    columns = await columns_of(PAGE)
    del columns["domain_metadata"]
    assert columns == {
        "title": "A site",
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
