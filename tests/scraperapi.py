"""ScraperAPI on loopback, as its documentation describes it, and otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from sites import Behaviour, Exchange, Sites, answer, raw, running_sites

KEY = "0123456789abcdef"

UNAUTHORIZED = "Unauthorized request, please make sure your API key is valid."
EXHAUSTED = "You have exhausted the API Credits available in this monthly cycle."
OVER_MAX_COST = (
    "This request exceeds your max_cost. You can view the cost per request in your response header"
)
PROTECTED = (
    "Request failed. You will not be charged for this request. Please make sure your url is correct"
    " and try again. Protected domains may require adding premium=true OR ultra_premium=true"
    " parameter to your request."
)
TOO_MANY = "You are sending requests too fast, exceeding your concurrency limit."
PLACE = "localhost"


@dataclass(frozen=True)
class Asked:
    """A request for a page."""

    scheme: str
    url: str
    wishes: Mapping[str, str]
    """Every parameter but the URL."""
    key: str
    target: str
    """The request's own path and query."""


def scraped(
    body: str | bytes = "<title>Scraped</title>",
    *,
    credits_: int | str | None = 1,
    status: int = 200,
    target_status: int | None = 200,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """A page of a site, with what the service says about it."""
    fields = {"Content-Type": "text/html; charset=utf-8", **(headers or {})}
    if credits_ is not None:
        fields["sa-credit-cost"] = str(credits_)
    if target_status is not None:
        fields["sa-statusCode"] = str(target_status)
    return raw(answer(status, fields, body.encode() if isinstance(body, str) else body))


def told(status: int, message: str) -> Behaviour:
    """The service's own words, where no site was reached."""
    return raw(answer(status, {"Content-Type": "text/plain"}, message.encode()))


@dataclass
class Service:
    """The service: it knows one key, and for each URL a behaviour and a price."""

    sites: Sites
    key: str = KEY
    asked: list[Asked] = field(default_factory=list)
    prices: dict[str, int] = field(default_factory=dict)
    """Of URLs that cost more than the documented ten or so; above `max_cost` they are refused."""
    behaviours: dict[str, Behaviour] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sites.add(PLACE)  # for its certificate
        for port in (self.sites.https_port, self.sites.http_port):
            self.sites.add(f"{PLACE}:{port}", behaviour=self._serve)

    @property
    def endpoint(self) -> str:
        return f"https://{PLACE}:{self.sites.https_port}/"

    @property
    def plain_endpoint(self) -> str:
        return f"http://{PLACE}:{self.sites.http_port}/"

    def on(self, url: str, behaviour: Behaviour) -> None:
        """Say what comes of asking for `url`; a page, if nothing is said."""
        self.behaviours[url] = behaviour

    def _serve(self, exchange: Exchange) -> None:
        asked = _asked(exchange)
        self.asked.append(asked)
        self._behaviour(asked)(exchange)

    def _behaviour(self, asked: Asked) -> Behaviour:
        if asked.key != self.key:
            return told(401, UNAUTHORIZED)
        price = self.prices.get(asked.url, 1)
        if price > int(asked.wishes["max_cost"]):
            return told(403, OVER_MAX_COST)
        return self.behaviours.get(asked.url, scraped(credits_=price))


def _asked(exchange: Exchange) -> Asked:
    received = exchange.received
    wishes = dict(parse_qsl(urlsplit(received.path).query, strict_parsing=True))
    url, key = wishes.pop("url"), received.headers.get("x-sapi-api_key", "")
    return Asked(received.scheme, url, wishes, key, received.path)


@contextmanager
def running_service() -> Iterator[Service]:
    """Start the service, and end all of it."""
    with running_sites() as sites:
        yield Service(sites)
