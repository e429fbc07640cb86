"""The second way to a home page: ScraperAPI, paid by the credit, within a budget.

The rules are the service's own (docs.scraperapi.com: status codes, costs, parameters as headers).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from domainsched.addresses import AddressPolicy
from domainsched.credit import CreditBudget, Reservation, counted, used_up
from domainsched.dburl import redact
from domainsched.errors import ConfigError, DomainschedError
from domainsched.fetch.body import Body, read_body
from domainsched.fetch.budget import Budget
from domainsched.fetch.client import joined
from domainsched.fetch.connect import Network, tls_context
from domainsched.fetch.connections import Connections
from domainsched.fetch.failure import VisitError, clean_text, head_errors
from domainsched.fetch.places import Places
from domainsched.fetch.redirect import web_target
from domainsched.fetch.resolve import Resolve, SystemResolver
from domainsched.fetch.settings import FetchSettings
from domainsched.fetch.verdict import judge, may_be_page
from domainsched.fetch.way import Fetches, GiveWay, Visits, nobody_waits
from domainsched.models import Failed, Kind, Page

logger = logging.getLogger(__name__)

_BYPASS_CREDITS = 10
"""What Cloudflare, DataDome and their kin cost on top, without being asked for."""
_MENDABLE = frozenset({Kind.BLOCKED, Kind.CHALLENGE, Kind.RATE_LIMITED, Kind.TIMEOUT, Kind.CONNECT})
"""Failures that may be those of our address alone. Not `tls`: a bad certificate is bad for all, and
ScraperAPI would not mind it."""
_UNTRUSTED = frozenset({Kind.TLS, Kind.PRIVATE_ADDRESS})
_NOT_FOUND = frozenset({404, 410})
_REFUSALS = frozenset({401, 402, 403})
_TOO_MANY = 429
_LOOPBACK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_MESSAGE_BYTES = 4096
_MAX_MESSAGE = 160


class Mode(StrEnum):
    """When ScraperAPI is asked."""

    FALLBACK = "fallback"
    """After a visit that failed in a way that may be our address's fault."""
    ALWAYS = "always"
    """In the place of a visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScraperSettings:
    """How ScraperAPI is asked."""

    key: str = field(repr=False)
    """Visible ASCII. Only ever sent in a header, to `endpoint`."""
    endpoint: str
    """An https URL, or one on loopback."""
    render: bool = False
    premium: bool = False
    ultra_premium: bool = False
    country: str | None = None
    """Two letters."""
    retries: int = 1
    timeout: timedelta = timedelta(seconds=75)
    """For a site, all tries; the service itself tries for 70 s."""
    max_body_bytes: int = 2 * 1024 * 1024
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    """For the connection to `endpoint`; loopback is allowed where that is named in it."""
    trust: tuple[Path, ...] = ()

    @property
    def credits(self) -> int:
        """The documented price of a page that nothing protects."""
        prices = {(False, False): 1, (True, False): 10, (False, True): 30, (True, True): 75}
        if self.premium:
            return 25 if self.render else 10
        return prices[self.render, self.ultra_premium]

    @property
    def parameters(self) -> Mapping[str, str]:
        """What is asked for, but for the URL; without a word about what is not."""
        wishes = {
            "render": self.render,
            "premium": self.premium,
            "ultra_premium": self.ultra_premium,
        }
        wanted = {name: "true" for name, wish in wishes.items() if wish}
        return wanted | ({"country_code": self.country} if self.country else {})


class ScraperApi:
    """Asks ScraperAPI for pages, any number at once, within one event loop."""

    def __init__(
        self, settings: ScraperSettings, budget: CreditBudget, resolve: Resolve | None = None
    ) -> None:
        """Read the certificate authorities.

        Raises:
            ConfigError: that failed, or the budget does not pay for a single page.
        """
        self._settings, self._budget = settings, budget
        if budget.limit < settings.credits:
            raise ConfigError(
                f"the budget of {counted(budget.limit)} does not pay for a page",
                why=f"one costs {settings.credits} with what is asked for",
                hint="raise --scraper-budget, or ask for less",
            )
        self._network = _network(settings, resolve or SystemResolver())
        self._refusal: ConfigError | None = None

    async def fetch(self, url: str) -> Page | Failed:
        """Have `url` fetched; its redirects are followed there.

        Raises:
            ConfigError: key or plan are refused, or the key must not be sent; so are further calls.
            DomainschedError: the budget is used up.
        """
        most = self._settings.credits + _BYPASS_CREDITS
        async with self._budget.reserved(self._settings.credits, most) as reservation:
            if self._refusal is not None:
                raise self._refusal
            try:
                return await self._in_time(url, reservation)
            except VisitError as error:
                detail = clean_text(f"through ScraperAPI: {error.failed.detail}")
                return replace(error.failed, detail=detail)

    async def _in_time(self, url: str, reservation: Reservation) -> Page:
        loop, limit = asyncio.get_running_loop(), self._settings.timeout.total_seconds()
        started = loop.time()
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, VisitError) and error.dropped),
            stop=stop_after_attempt(1 + self._settings.retries),
            wait=wait_random_exponential(max=10),
            reraise=True,
        )
        try:
            async with asyncio.timeout(limit):
                page: Page = await attempts(self._ask, url, reservation)
        except TimeoutError:
            raise VisitError(Failed(Kind.TIMEOUT, f"no page within {limit:g} s")) from None
        elapsed = timedelta(seconds=loop.time() - started)
        return replace(page, elapsed=elapsed, credits=reservation.spent)

    async def _ask(self, url: str, reservation: Reservation) -> Page:
        time = Budget(self._settings.timeout)
        async with aclosing(Connections(self._network, time)) as connections:
            await self._connect(connections)
            response = await self._answer(connections, url, reservation)
            async with aclosing(response):
                reservation.spent = self._price(response)
                target = _target_status(response)
                if target is None:
                    await self._tell_fault(response, reservation)
                return await self._page(url, target, response)

    async def _connect(self, connections: Connections) -> None:
        """Connect; nothing that fails here costs anything, or is the site's fault."""
        try:
            with head_errors():
                await connections.open(httpx.URL(self._settings.endpoint))
        except VisitError as error:
            if error.failed.kind in _UNTRUSTED and not error.dropped:
                raise self._refused(_untrusted(error.failed.detail)) from error
            raise VisitError(replace(error.failed, unreachable=True), dropped=True) from error

    async def _answer(
        self, connections: Connections, url: str, reservation: Reservation
    ) -> httpx.Response:
        """Send the request; until an answer says otherwise it may have cost all that it may."""
        parameters = {"max_cost": str(reservation.credits), "url": url}
        place = httpx.URL(
            self._settings.endpoint, params={**self._settings.parameters, **parameters}
        )
        fields = (
            (b"Host", place.netloc),
            (b"Accept-Encoding", b"gzip"),
            (b"x-sapi-api_key", self._settings.key.encode()),
        )
        reservation.spent = reservation.credits
        try:
            with head_errors():
                return await connections.send(place, fields)
        except VisitError as error:
            raise VisitError(error.failed) from error  # paid for, maybe: not to be bought twice

    def _refused(self, refusal: ConfigError) -> ConfigError:
        self._refusal = refusal
        return refusal

    def _price(self, response: httpx.Response) -> int:
        """Say what an answer cost: only pages, and the news that there is none, are charged."""
        if not _is_charged(response):
            return 0
        told = response.headers.get("sa-credit-cost", "").strip()
        return int(told) if re.fullmatch(r"[0-9]{1,9}", told) else self._settings.credits

    async def _page(self, url: str, status: int, response: httpx.Response) -> Page:
        headers = self._headers(response)
        body = await self._body(response, page=may_be_page(status, headers))
        if failed := judge(status, headers, body.data):
            raise VisitError(failed, dropped=_is_passing(response.status_code))
        final = self._final_url(url, response)
        return Page(
            url=final,
            status=status,
            headers=headers,
            body=self._safe_bytes(body.data),
            elapsed=timedelta(),
            ip_address="",
            redirects=() if final == url else (url,),
            truncated=body.truncated,
        )

    async def _body(self, response: httpx.Response, *, page: bool) -> Body:
        limit = self._settings.max_body_bytes if page else _MESSAGE_BYTES
        try:
            return await read_body(response, limit)
        except VisitError as error:
            raise VisitError(error.failed) from error  # it is paid for: not to be bought twice

    def _headers(self, response: httpx.Response) -> Mapping[str, str]:
        """Take the site's fields and leave out the service's."""
        fields = joined(response.headers).items()
        return {name: self._safe(text) for name, text in fields if not name.startswith("sa-")}

    def _final_url(self, url: str, response: httpx.Response) -> str:
        """Say where the redirects ended, if that is a place where a visit might have gone."""
        told = self._safe(response.headers.get("sa-final-url", "").strip())
        try:
            return str(web_target(httpx.URL(url), told))
        except VisitError:
            return url

    async def _tell_fault(self, response: httpx.Response, reservation: Reservation) -> NoReturn:
        """Raise for an answer that speaks of the service and not of the site.

        Raises:
            VisitError: this site could not be had.
            ConfigError: no site can be had.
            DomainschedError: the budget is too small for this site by now.
        """
        status, message = response.status_code, await self._message(response)
        if status in _REFUSALS and "max_cost" in message:
            self._tell_price(reservation.credits)
        if status in _REFUSALS:
            raise self._refused(_refusal(status, message))
        kinds = {_TOO_MANY: Kind.RATE_LIMITED, **dict.fromkeys(range(500, 600), Kind.HTTP_5XX)}
        failed = Failed(kinds.get(status, Kind.PROTOCOL), f"HTTP {status}: {message}".rstrip(": "))
        raise VisitError(failed, dropped=_is_passing(status))

    def _tell_price(self, max_cost: int) -> NoReturn:
        if max_cost < self._settings.credits + _BYPASS_CREDITS:  # it was the end of the budget
            raise used_up(self._budget.limit)
        raise VisitError(Failed(Kind.BLOCKED, f"it would cost more than {max_cost} credits"))

    async def _message(self, response: httpx.Response) -> str:
        """Read what the service says; a secret that it might repeat is taken out."""
        try:
            body = await read_body(response, _MESSAGE_BYTES)
        except VisitError:
            return "no message"
        return clean_text(self._safe(body.data.decode("utf-8", "replace")), _MAX_MESSAGE)

    def _safe(self, text: str) -> str:
        return redact(text, (self._settings.key,))

    def _safe_bytes(self, data: bytes) -> bytes:
        for spelling in (self._settings.key, quote(self._settings.key, safe="")):
            data = data.replace(spelling.encode(), b"***")
        return data


def _network(settings: ScraperSettings, resolve: Resolve) -> Network:
    """Say how the endpoint is reached: the key travels there, so it is verified in any case."""
    addresses = settings.addresses
    if httpx.URL(settings.endpoint).host in _LOOPBACK_HOSTS:
        addresses = replace(addresses, allowed=(*addresses.allowed, *_LOOPBACK))
    manner = FetchSettings(addresses=addresses, trust=settings.trust)
    return Network(manner, resolve, tls_context(manner), Places(0))


def _is_charged(response: httpx.Response) -> bool:
    return response.is_success or response.status_code in _NOT_FOUND


def _is_passing(status: int) -> bool:
    return status == _TOO_MANY or status >= 500  # noqa: PLR2004 - RFC 9110, section 15.6


def _target_status(response: httpx.Response) -> int | None:
    """Say how the site answered; None if the answer is the service's own."""
    told = response.headers.get("sa-statuscode", "").strip()
    status = int(told) if re.fullmatch("[1-5][0-9][0-9]", told) else None
    if _is_charged(response):
        return status or response.status_code
    return status if status is not None and status >= 400 else None  # noqa: PLR2004 - RFC 9110


def _refusal(status: int, message: str) -> ConfigError:
    return ConfigError(
        f"ScraperAPI refuses to serve us (HTTP {status})",
        why=message,
        hint="check SCRAPER_API_KEY, the credits that are left, and what the plan includes",
    )


def _untrusted(why: str) -> ConfigError:
    return ConfigError(
        "ScraperAPI cannot be trusted with the key",
        why=why,
        hint="check DOMAINSCHED_SCRAPER_API_URL, SSL_CERT_FILE, --allow-network",
    )


class ViaScraperApi:
    """Visits sites with ScraperAPI's help; nothing but home pages is paid for."""

    def __init__(self, sites: Fetches, api: ScraperApi, mode: Mode) -> None:
        self._sites, self._api, self._mode = sites, api, mode
        self._gave_up = False

    @asynccontextmanager
    async def site(self, name: str, give_way: GiveWay = nobody_waits) -> AsyncIterator[Visits]:  # noqa: ARG002 - see below
        """Visit the site with this canonical name.

        It gives way to nobody: ScraperAPI's plans bound the requests that are under way.
        """
        async with self._sites.site(name) as direct:
            yield _AssistedSite(name, direct, self)

    async def home(self, name: str, direct: Visits) -> Page | Failed:
        """Read a home page as the mode says.

        Raises:
            DomainschedError: with `always`, what ScraperApi.fetch raises.
        """
        url = f"https://{name}/"
        if self._mode is Mode.ALWAYS:
            return await direct.refusal(url) or await self._api.fetch(url)
        first = await direct.home()
        if isinstance(first, Page) or first.kind not in _MENDABLE or self._gave_up:
            return first
        try:
            second = await self._api.fetch(url)
        except DomainschedError as error:
            self._give_up(error)
            return first
        return _together(first, second)

    def _give_up(self, error: DomainschedError) -> None:
        """Go on without ScraperAPI, and say so once: sites that are reached are no worse for it."""
        if not self._gave_up:
            logger.warning("%s; going on without it: %s", error.what, error.why)
        self._gave_up = True


@dataclass(frozen=True, slots=True)
class _AssistedSite:
    """A site that ScraperAPI may help with."""

    name: str
    direct: Visits
    helper: ViaScraperApi

    async def home(self) -> Page | Failed:
        return await self.helper.home(self.name, self.direct)

    async def page(self, url: str) -> Page | Failed:
        return await self.direct.page(url)

    async def refusal(self, url: str) -> Failed | None:
        return await self.direct.refusal(url)


def _together(first: Failed, second: Page | Failed) -> Page | Failed:
    """Tell of both ways; of two failures the direct one decides what becomes of the domain."""
    if isinstance(second, Page):
        return replace(second, notes=(f"directly: {first.detail}", *second.notes))
    return replace(
        first,
        detail=clean_text(f"{first.detail}; {second.detail}"),
        unreachable=first.unreachable and second.unreachable,
    )
