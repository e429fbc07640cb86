"""A visit: the URLs that may be a domain's home page, in order, until one of them is."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from domainsched.fetch.body import Body, read_body
from domainsched.fetch.budget import Budget
from domainsched.fetch.client import Client, joined, once_more
from domainsched.fetch.connect import Network, tls_context
from domainsched.fetch.failure import VisitError, clean_text, fail, redirected
from domainsched.fetch.places import Crowded, Places
from domainsched.fetch.redirect import Step, check_trail, redirect_target, web_target
from domainsched.fetch.refresh import refresh_target
from domainsched.fetch.resolve import Resolve, SystemResolver
from domainsched.fetch.robots import Robots
from domainsched.fetch.settings import FetchSettings
from domainsched.fetch.silence import Silence
from domainsched.fetch.verdict import judge, may_be_page
from domainsched.fetch.way import GiveWay, nobody_waits
from domainsched.models import Failed, Kind, Page

_Answer = TypeVar("_Answer")

_GLANCE_BYTES = 64 * 1024
"""Of what is not a page: enough to know a challenge by."""


class Fetcher:
    """Visits sites, any number of them at once, within one event loop.

    Making one reads the certificate authorities (ConfigError if that fails).
    """

    def __init__(self, settings: FetchSettings, resolve: Resolve | None = None) -> None:
        self._network = Network(
            settings,
            resolve or SystemResolver(),
            tls_context(settings),
            Places(settings.per_address),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to do: what is open belongs to the visits."""

    @asynccontextmanager
    async def site(self, name: str, give_way: GiveWay = nobody_waits) -> AsyncIterator[Site]:
        """Begin a visit to `name`, a canonical host name; its connections end with the block."""
        budget = Budget(self._network.settings.timeout)
        client = Client(self._network, budget)
        silence = Silence(budget, give_way)
        try:
            yield Site(name, self._network.settings, client, budget)
        finally:
            silence.end()
            await client.aclose()


class Site:
    """One visit to one site, with one budget of time. Nothing a site does raises.

    Crowded is raised where other visits hold every place at its address for too long.
    """

    def __init__(self, name: str, settings: FetchSettings, client: Client, budget: Budget) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._budget = budget
        self._robots = None if settings.ignore_robots else Robots(client, settings, budget)
        self._hosts = {name, f"www.{name}", name.removeprefix("www.")}

    async def home(self) -> Page | Failed:
        """Fetch the home page.

        https, https of www., http, http of www.: each is tried if the one before gave no answer. An
        HTTP answer, whatever it says, speaks for the site and ends the visit, as does an address
        that must not be contacted.
        """
        tries: list[_Try] = []
        for url in _front_doors(self._name):
            if _is_pointless(url, tries):
                continue
            try:
                page = await self._within_budget(self._enter(url))
            except VisitError as error:
                tries.append(_Try(url, error.failed, error.conclusive))
                # Tenacity keeps it in a circle; with this frame, whose page is yet to come, in it.
                error.__traceback__ = None
                if error.conclusive:
                    break
            else:
                self._hosts.add(_host(httpx.URL(page.url)))
                return replace(page, elapsed=self._budget.elapsed, notes=tuple(_notes(tries)))
        return _summary(tries)

    async def page(self, url: str) -> Page | Failed:
        """Fetch a further page of the site, within what is left of the time.

        `url` and what it redirects to must be on the site's own hosts: its name, the same with or
        without www., and where the home page was found. The page before must not be held any more:
        there is room for so many large ones only.
        """
        self._client.give_room_back()
        before = self._budget.elapsed
        try:
            page = await self._within_budget(self._further(url))
        except VisitError as error:
            return error.failed
        except Crowded:
            return Failed(Kind.TIMEOUT, "no free place at its address")
        return replace(page, elapsed=self._budget.elapsed - before)

    async def refusal(self, url: str) -> Failed | None:
        """Say whether robots.txt or its address forbids `url`, whoever may bring the page.

        A site that does not answer us, or not with its robots.txt, has not forbidden anything.
        """
        if self._robots is None:
            return None
        try:
            allowed = await self._within_budget(self._robots.allow(httpx.URL(url)))
        except VisitError as error:
            return error.failed if error.failed.kind is Kind.PRIVATE_ADDRESS else None
        return None if allowed else _forbidden("the home page").failed

    async def _within_budget(self, answer: Awaitable[_Answer]) -> _Answer:
        try:
            with self._budget.running():
                async with self._budget.limit():
                    return await answer
        except TimeoutError:
            detail = f"no page within {self._settings.timeout.total_seconds():g} s"
            failed = Failed(Kind.TIMEOUT, detail, unreachable=not self._client.heard)
            raise VisitError(failed, conclusive=True) from None

    async def _enter(self, door: httpx.URL) -> Page:
        """Come to the home page, sent on once by a page that is none in its own right."""
        trail: list[Step] = []
        page = await self._follow(door, trail)
        here = httpx.URL(page.url)
        target = refresh_target(here, page.body)
        if target is None or target in {step.url for step in trail}:
            return page
        self._step(trail, here, target, self._client.cookie(here))
        return await self._follow(target, trail)

    async def _further(self, url: str) -> Page:
        return await self._follow(web_target(httpx.URL(), url), [], within=True)

    async def _follow(self, url: httpx.URL, trail: list[Step], *, within: bool = False) -> Page:
        """Ask for `url` and what it redirects to; `trail` is what led there, and grows."""
        while True:
            cookie = self._client.cookie(url)
            try:
                answer = await self._ask(url, within=within)
            except VisitError as error:
                raise (redirected(error, str(url)) if trail else error) from error
            if isinstance(answer, Page):
                return replace(answer, redirects=tuple(str(step.url) for step in trail))
            self._step(trail, url, answer, cookie)
            url = answer

    def _step(self, trail: list[Step], url: httpx.URL, target: httpx.URL, cookie: bytes) -> None:
        """Go on from `url`, which was asked for with `cookie`."""
        trail.append(Step(url, cookie))
        check_trail(trail, Step(target, self._client.cookie(target)), self._settings.max_redirects)

    async def _ask(self, url: httpx.URL, *, within: bool) -> Page | httpx.URL:
        """Ask for one URL, if it may be asked for; the answer is a page or another URL."""
        if within and _host(url) not in self._hosts:
            raise fail(Kind.BAD_REDIRECT, "not a page of the same site")
        if self._robots and not await self._robots.allow(url):
            raise _forbidden("the page" if within else "the home page")
        return await self._get(url)

    @once_more
    async def _get(self, url: httpx.URL) -> Page | httpx.URL:
        async with self._client.get(url) as response:
            if target := redirect_target(url, response):
                await self._client.skip(response)
                return target
            return await self._read(url, response)

    async def _read(self, url: httpx.URL, response: httpx.Response) -> Page:
        headers = joined(response.headers)
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
            return await read_body(response, self._settings.max_body_bytes, self._client.make_room)
        with suppress(VisitError):  # the status says more than the fault of an error page
            return await read_body(response, _GLANCE_BYTES)
        return Body(b"", truncated=False)


@dataclass(frozen=True, slots=True)
class _Try:
    """A URL that gave no page."""

    url: httpx.URL
    failed: Failed
    conclusive: bool

    @property
    def label(self) -> str:
        is_www = self.url.raw_host.startswith(b"www.")
        return f"{self.url.scheme} www" if is_www else self.url.scheme


def _forbidden(page: str) -> VisitError:
    return fail(Kind.ROBOTS, f"robots.txt forbids {page}")


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").rstrip(".")


def _front_doors(name: str) -> Iterator[httpx.URL]:
    hosts = [name] if name.startswith("www.") else [name, f"www.{name}"]
    for scheme in ("https", "http"):
        for host in hosts:
            yield httpx.URL(f"{scheme}://{host}/")


def _is_pointless(url: httpx.URL, tries: Sequence[_Try]) -> bool:
    """A host that did not resolve for https will not for http."""
    return any(each.url.raw_host == url.raw_host and _is_dns(each) for each in tries)


def _is_dns(each: _Try) -> bool:
    return each.failed.kind is Kind.DNS


def _notes(tries: Sequence[_Try]) -> Iterator[str]:
    """One line for each way to fail, after the names of the tries that failed so."""
    labels: dict[str, list[str]] = {}
    for each in tries:
        labels.setdefault(each.failed.detail, []).append(each.label)
    return (f"{', '.join(names)}: {detail}" for detail, names in labels.items())


def _summary(tries: Sequence[_Try]) -> Failed:
    """Report the failure that says most: what the site said, else the first that is not DNS."""
    conclusive = (each for each in tries if each.conclusive)
    reached = (each for each in tries if not _is_dns(each))
    chosen = next(conclusive, None) or next(reached, None) or tries[0]
    failed = chosen.failed
    detail = failed.detail if len(tries) == 1 else clean_text("; ".join(_notes(tries)))
    unreachable = all(each.failed.unreachable for each in tries)
    return replace(failed, detail=detail, unreachable=unreachable)


def _tls_facts(response: httpx.Response) -> Mapping[str, str] | None:
    tls: ssl.SSLObject | None = response.extensions["tls"]
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
