"""A visit: the URLs that may be a domain's home page, in order, until one of them is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from domainsched.fetch.body import Body, read_body
from domainsched.fetch.connect import DirectTransport
from domainsched.fetch.failure import VisitError, clean_text, head_errors
from domainsched.fetch.redirect import check_trail, redirect_target
from domainsched.fetch.resolve import Resolve, SystemResolver
from domainsched.fetch.settings import FetchSettings
from domainsched.fetch.verdict import judge, may_be_page
from domainsched.models import Failed, Kind, Page

_GLANCE_BYTES = 64 * 1024
"""Of what is not a page: enough to know a challenge by."""


class Fetcher:
    """Visits sites, any number of them at once, within one event loop.

    Making one reads the certificate authorities (ConfigError if that fails).
    """

    def __init__(self, settings: FetchSettings, resolve: Resolve | None = None) -> None:
        self._settings = settings
        self._transport = DirectTransport(settings, resolve or SystemResolver())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.aclose()

    async def visit(self, name: str) -> Page | Failed:
        """Fetch the home page of `name`, a canonical host name.

        https, https of www., http, http of www.: each is tried if the one before gave no answer. An
        HTTP answer, whatever it says, speaks for the site and ends the visit, as does an address
        that must not be contacted. Nothing a site does raises.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        tries: list[_Try] = []
        for url in _front_doors(name):
            if _is_pointless(url, tries):
                continue
            try:
                page = await self._within(started + self._settings.timeout.total_seconds(), url)
            except VisitError as error:
                tries.append(_Try(url, error))
                if error.conclusive:
                    break
            else:
                elapsed = timedelta(seconds=loop.time() - started)
                return replace(page, elapsed=elapsed, notes=tuple(_notes(tries)))
        return _summary(tries)

    async def _within(self, deadline: float, url: httpx.URL) -> Page:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._follow(url)
        except TimeoutError:
            detail = f"no page within {self._settings.timeout.total_seconds():g} s"
            raise VisitError(Failed(Kind.TIMEOUT, detail), conclusive=True) from None

    async def _follow(self, url: httpx.URL) -> Page:
        trail: list[httpx.URL] = []
        while True:
            try:
                answer = await self._ask(url)
            except VisitError as error:
                raise _in_context(error, trail, url) from error
            if isinstance(answer, Page):
                return replace(answer, redirects=tuple(map(str, trail)))
            trail.append(url)
            check_trail(trail, answer, self._settings.max_redirects)
            url = answer

    @retry(
        retry=retry_if_exception(lambda error: isinstance(error, VisitError) and error.dropped),
        stop=stop_after_attempt(2),
        wait=wait_random(0.1, 0.5),
        reraise=True,
    )
    async def _ask(self, url: httpx.URL) -> Page | httpx.URL:
        """Ask for one URL; the answer is a page or another URL."""
        request = httpx.Request("GET", url, headers=self._headers(url))
        with head_errors():
            response = await self._transport.handle_async_request(request)
        async with aclosing(response):
            target = redirect_target(url, response)
            return target or await self._page(url, response)

    def _headers(self, url: httpx.URL) -> Mapping[str, str]:
        return {
            # httpx would add it, but raises for names that are not of IDNA 2008.
            "Host": url.netloc.decode("ascii"),
            "User-Agent": self._settings.user_agent,
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1",
            "Accept-Encoding": "gzip",
            "Connection": "close",
        }

    async def _page(self, url: httpx.URL, response: httpx.Response) -> Page:
        headers = _joined(response.headers)
        tls = _tls_facts(response)  # a body may end the session, which then tells nothing more
        body = await self._body(response, headers)
        if failed := judge(response.status_code, headers, body.data):
            raise VisitError(failed, conclusive=True)
        return Page(
            url=str(url),
            status=response.status_code,
            headers=headers,
            body=body.data,
            elapsed=timedelta(),
            ip_address=response.extensions["peer_address"],
            truncated=body.truncated,
            tls=tls,
        )

    async def _body(self, response: httpx.Response, headers: Mapping[str, str]) -> Body:
        if may_be_page(response.status_code, headers):
            return await read_body(response, self._settings.max_body_bytes)
        with suppress(VisitError):  # the status says more than the fault of an error page
            return await read_body(response, _GLANCE_BYTES)
        return Body(b"", truncated=False)


@dataclass(frozen=True, slots=True)
class _Try:
    """A URL that gave no page."""

    url: httpx.URL
    error: VisitError

    @property
    def label(self) -> str:
        is_www = self.url.raw_host.startswith(b"www.")
        return f"{self.url.scheme} www" if is_www else self.url.scheme


def _front_doors(name: str) -> Iterator[httpx.URL]:
    hosts = [name] if name.startswith("www.") else [name, f"www.{name}"]
    for scheme in ("https", "http"):
        for host in hosts:
            yield httpx.URL(f"{scheme}://{host}/")


def _is_pointless(url: httpx.URL, tries: Sequence[_Try]) -> bool:
    """A host that did not resolve for https will not for http."""
    return any(each.url.raw_host == url.raw_host and _is_dns(each) for each in tries)


def _is_dns(each: _Try) -> bool:
    return each.error.failed.kind is Kind.DNS


def _in_context(error: VisitError, trail: Sequence[httpx.URL], url: httpx.URL) -> VisitError:
    """Say at which redirect a visit ended."""
    if not trail:
        return error
    detail = clean_text(f"redirected to {clean_text(str(url), 120)}: {error.failed.detail}")
    failed = replace(error.failed, detail=detail)
    return VisitError(failed, conclusive=error.conclusive)


def _notes(tries: Sequence[_Try]) -> Iterator[str]:
    """One line for each way to fail, after the names of the tries that failed so."""
    labels: dict[str, list[str]] = {}
    for each in tries:
        labels.setdefault(each.error.failed.detail, []).append(each.label)
    return (f"{', '.join(names)}: {detail}" for detail, names in labels.items())


def _summary(tries: Sequence[_Try]) -> Failed:
    """Report the failure that says most: what the site said, else the first that is not DNS."""
    conclusive = (each for each in tries if each.error.conclusive)
    reached = (each for each in tries if not _is_dns(each))
    chosen = next(conclusive, None) or next(reached, None) or tries[0]
    failed = chosen.error.failed
    detail = failed.detail if len(tries) == 1 else clean_text("; ".join(_notes(tries)))
    unreachable = all(each.error.failed.unreachable for each in tries)
    return replace(failed, detail=detail, unreachable=unreachable)


def _joined(headers: httpx.Headers) -> Mapping[str, str]:
    """Join repeated fields as `Page.headers` says."""
    values: dict[str, list[str]] = {}
    for name, value in headers.multi_items():
        values.setdefault(name, []).append(value)
    return {name: ("\n" if name == "set-cookie" else ", ").join(values[name]) for name in values}


def _tls_facts(response: httpx.Response) -> Mapping[str, str] | None:
    tls: ssl.SSLObject | None = response.extensions["network_stream"].get_extra_info("ssl_object")
    certificate: Mapping[str, Any] | None = tls.getpeercert() if tls else None
    if not tls or not certificate:  # plain http, or not verified
        return None
    issuer = {key: value for part in certificate["issuer"] for key, value in part}
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    return {
        "version": tls.version() or "",
        "issuer": clean_text(issuer.get("organizationName") or issuer.get("commonName", "")),
        "expires": expires.isoformat(),
    }
