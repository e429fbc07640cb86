"""Where a redirect leads, and whether a visit goes there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from domainsched.fetch.failure import VisitError, clean_text, fail
from domainsched.models import Kind

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = frozenset({None, 80, 443})
_NAME = re.compile(r"(?=.{1,253}\.?$)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_IPV6 = re.compile(r"[0-9a-f]*:[0-9a-f:.]*")
_ACE_PREFIX = "xn--"
_MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Step:
    """A URL as it was asked for; with another cookie it may answer otherwise."""

    url: httpx.URL
    cookie: bytes = b""


def redirect_target(url: httpx.URL, response: httpx.Response) -> httpx.URL | None:
    """Resolve the Location of a redirect against `url`; None if it is none.

    Raises:
        VisitError: as `web_target` does.

    """
    location = response.headers.get("location", "").strip()
    if response.status_code not in _REDIRECTS or not location:
        return None
    return web_target(url, location)


def web_target(url: httpx.URL, location: str) -> httpx.URL:
    """Resolve what leads on from `url` (RFC 3986), without user information and fragment.

    Raises:
        VisitError: `bad_redirect`, if it leads nowhere a visit goes: another scheme, another port,
            no host.

    """
    target = _join(url, location)
    if reason := _objection(target):
        raise fail(Kind.BAD_REDIRECT, f"a redirect to {reason}: {clean_text(location, _MAX_SHOWN)}")
    return target.copy_with(userinfo=b"", fragment=None)


def _join(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise _not_a_url(location) from error


def _not_a_url(location: str) -> VisitError:
    shown = clean_text(location, _MAX_SHOWN)
    return fail(Kind.BAD_REDIRECT, f"a redirect to what is no URL: {shown}")


def _objection(target: httpx.URL) -> str | None:
    if target.scheme not in {"http", "https"}:
        return "another protocol"
    if target.port not in _PORTS:
        return "another port"
    if not _is_host(target.raw_host.decode("ascii")):
        return "no host name"
    return None


def _is_host(host: str) -> bool:
    if _NAME.fullmatch(host):
        return all(map(_is_label, host.split(".")))
    return _IPV6.fullmatch(host) is not None


def _is_label(label: str) -> bool:
    """Whether an A-label encodes anything; as to what, browsers are laxer than IDNA 2008."""
    if not label.startswith(_ACE_PREFIX):
        return True
    encoded = label.removeprefix(_ACE_PREFIX)
    try:
        return bool(encoded.encode("ascii").decode("punycode"))
    except UnicodeError:
        return False


def check_trail(trail: Sequence[Step], target: Step, max_redirects: int) -> None:
    """Refuse to go from the last step of `trail` to `target` in a circle or for ever.

    Raises:
        VisitError: `too_many_redirects`.

    """
    shown = clean_text(str(target.url), _MAX_SHOWN)
    if target in trail:
        raise fail(Kind.TOO_MANY_REDIRECTS, f"redirects go in a circle: {shown}")
    if len(trail) > max_redirects:
        raise fail(Kind.TOO_MANY_REDIRECTS, f"more than {max_redirects} redirects, up to {shown}")
