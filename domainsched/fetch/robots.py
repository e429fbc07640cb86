"""robots.txt: which of a site's URLs a robot may ask for (RFC 9309)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import httpx
from protego import Protego

from domainsched.fetch.body import read_body
from domainsched.fetch.budget import Budget
from domainsched.fetch.client import Client, joined, once_more
from domainsched.fetch.failure import VisitError, in_context, redirected
from domainsched.fetch.redirect import redirect_target
from domainsched.fetch.settings import FetchSettings
from domainsched.fetch.verdict import judge
from domainsched.models import Failed, Kind

_MAX_BYTES = 500 * 1024
"""RFC 9309, section 2.5; the rest is ignored."""
_MAX_REDIRECTS = 5
"""RFC 9309, section 2.3.1.2."""
_MAX_REDIRECTS_OF_ALL = 8
"""Of one visit, whose every hop may be an origin with a robots.txt of its own: redirects of these
could aim fifty requests of one visit at somebody else."""
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500

# Protego takes time and memory for every rule of every group. It is given the rules of ours only.
_MAX_LINES = 20_000
_MAX_RULES = 3_000
_MAX_PATTERN = 2_048
_LINE = re.compile(
    r"^[ \t]*+(user-agent|allow|disallow)[ \t]*+:([^\n#]*+)", re.IGNORECASE | re.MULTILINE
)
_TOKEN = re.compile(r"[^\s/*]++|\*")
_ANY_ROBOT = "*"


class Rules:
    """What one robots.txt says to one robot."""

    def __init__(self, data: bytes, robot: str) -> None:
        """Read `data`; what is no robots.txt, a page of HTML for one, holds no rules.

        `robot` is the product token of a user agent, in whatever case.
        """
        text = data[:_MAX_BYTES].decode("utf-8-sig", "replace").replace("\r", "\n")
        rules = [] if text.lstrip().startswith("<") else _rules_for(robot.lower(), text)
        self._protego = Protego.parse("\n".join(["User-agent: *", *rules])) if rules else None

    def allow(self, url: httpx.URL) -> bool:
        """Whether the robot may ask for `url`, of this origin."""
        return self._protego is None or self._protego.can_fetch(str(url), _ANY_ROBOT)


def _rules_for(robot: str, text: str) -> list[str]:
    """Pick the rules of the groups that name `robot`; if none does, of those for any."""
    chosen: dict[str, list[str]] = {}
    for agents, rule in _grouped(text, frozenset({robot, _ANY_ROBOT})):
        for agent in agents:
            rules = chosen.setdefault(agent, [])
            if rule and len(rules) < _MAX_RULES:
                rules.append(rule)
    return chosen.get(robot, chosen.get(_ANY_ROBOT, []))


def _grouped(text: str, known: frozenset[str]) -> Iterator[tuple[frozenset[str], str]]:
    """Yield each rule with those of `known` it is for, and an empty one where they are named."""
    agents: frozenset[str] = frozenset()
    in_rules = False
    for line in islice(_LINE.finditer(text), _MAX_LINES):
        field, value = line[1].lower(), line[2].strip()
        if field != "user-agent":
            in_rules = True
            if value and len(value) <= _MAX_PATTERN:
                yield agents, f"{field}: {value}"
            continue
        agents = frozenset() if in_rules else agents
        in_rules = False
        if token := _TOKEN.match(value):
            agents |= known & {token[0].lower()}
            yield agents, ""


_NO_RULES = Rules(b"", "")


class Robots:
    """The rules of the origins that one visit comes to."""

    def __init__(self, client: Client, settings: FetchSettings, budget: Budget) -> None:
        self._client = client
        self._timeout = settings.robots_timeout
        self._budget = budget
        self._robot = settings.user_agent.partition(" ")[0].partition("/")[0]
        self._known: dict[httpx.URL, Rules] = {}
        self._redirects_left = _MAX_REDIRECTS_OF_ALL

    async def allow(self, url: httpx.URL) -> bool:
        """Whether `url` may be asked for; its origin's robots.txt is read if it was not yet.

        Raises:
            VisitError: it could not be read, by a fault of the site's, which forbids everything
                (RFC 9309, section 2.3.1.4). If there was no connection, nothing is said of
                robots.txt: the page cannot be had either.

        """
        source = url.copy_with(raw_path=b"/robots.txt")
        if source not in self._known:
            await self._client.connect(source)
            self._known[source] = await self._read(source)
        return self._known[source].allow(url)

    async def _read(self, source: httpx.URL) -> Rules:
        try:
            async with self._budget.limit(self._timeout):
                return await self._follow(source)
        except VisitError as error:
            raise in_context(error, "robots.txt") from error
        except TimeoutError:
            detail = f"robots.txt: no answer within {self._timeout.total_seconds():g} s"
            raise VisitError(Failed(Kind.TIMEOUT, detail), conclusive=True) from None

    async def _follow(self, source: httpx.URL) -> Rules:
        url = source
        for _ in range(1 + _MAX_REDIRECTS):
            try:
                answer = await self._get(url)
            except VisitError as error:
                raise (error if url == source else redirected(error, str(url))) from error
            if isinstance(answer, Rules):
                return answer
            if not self._redirects_left:
                break
            self._redirects_left -= 1
            url = answer
        return _NO_RULES

    @once_more
    async def _get(self, url: httpx.URL) -> Rules | httpx.URL:
        async with self._client.get(url) as response:
            if response.is_success:
                body = await read_body(response, _MAX_BYTES)
                return Rules(body.data, self._robot)
            if response.status_code == _TOO_MANY_REQUESTS or response.status_code >= _SERVER_ERRORS:
                raise _refusal(response)
            await self._client.skip(response)
            with suppress(VisitError):  # a redirect to nowhere leads to no robots.txt
                return redirect_target(url, response) or _NO_RULES
            return _NO_RULES


def _refusal(response: httpx.Response) -> VisitError:
    status = response.status_code
    failed = judge(status, joined(response.headers), b"")
    return VisitError(failed or Failed(Kind.PROTOCOL, f"HTTP {status}"), conclusive=True)
