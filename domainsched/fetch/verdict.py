"""What an answer is: the site's own page, or one of the many things that are sent in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from domainsched.fetch.failure import clean_text
from domainsched.models import Failed, Kind

_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_UNKNOWN_TYPES = frozenset({"", "unknown/unknown", "application/unknown", "*/*"})
_BLOCKED = frozenset({401, 403, 451})
_MAX_RETRY_AFTER = timedelta(days=1)
_MARKED_BYTES = 64 * 1024
_MAX_TYPE = 100

# WHATWG MIME Sniffing, section 7.1: the patterns of text/html, each up to a tag-terminating byte.
_LOOKS_LIKE_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\x0c\r ]*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a"
    rb"|style|title|b|body|br|p|!--)[ >]",
    re.IGNORECASE,
)

_CHALLENGE_FIELDS: Mapping[str, tuple[str, frozenset[str]]] = {
    "cf-mitigated": ("Cloudflare", frozenset({"challenge"})),
    "x-amzn-waf-action": ("AWS WAF", frozenset({"challenge", "captcha"})),
    "x-vercel-mitigated": ("Vercel", frozenset({"challenge"})),
    "sg-captcha": ("SiteGround", frozenset({"challenge"})),
}
"""Fields that nobody sends but with a challenge, as their makers document them."""


@dataclass(frozen=True, slots=True)
class _Interstitial:
    """A page put before a site.

    Its marks count only with its server's signature: pages write about challenges, and some of the
    same scripts are injected into real pages.
    """

    vendor: str
    field: str
    value: str
    marks: re.Pattern[bytes]
    refuses: bool
    """It never comes with a 2xx status."""


_INTERSTITIALS = (
    _Interstitial(
        "Cloudflare",
        "server",
        "cloudflare",
        re.compile(rb"_cf_chl_opt|cf-chl-|/cdn-cgi/challenge-platform/|cf-browser-verification"),
        refuses=True,
    ),
    _Interstitial(
        "DDoS-Guard", "server", "ddos-guard", re.compile(rb"(?i)ddos-guard"), refuses=True
    ),
    _Interstitial(
        "Sucuri", "server", "sucuri", re.compile(rb"sucuri_cloudproxy_js"), refuses=False
    ),
    _Interstitial(
        "Imperva",
        "x-iinfo",
        "",
        re.compile(rb"Incapsula incident ID|/_Incapsula_Resource\?[^\"'<>]{0,300}incident_id="),
        refuses=False,
    ),
)


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Failed | None:
    """Say why an answer is not the site's own page; None if it is.

    `headers` has its names in lower case. Redirects that are followed do not come here.
    """
    return (
        _challenge(status, headers, body[:_MARKED_BYTES])
        or _refusal(status, headers)
        or _no_page(status, headers, body)
    )


def may_be_page(status: int, headers: Mapping[str, str]) -> bool:
    """Tell from the head of an answer whether its whole body is worth reading."""
    return _is_success(status) and _media_type(headers) in _HTML_TYPES | _UNKNOWN_TYPES


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - RFC 9110, section 15.3


def _challenge(status: int, headers: Mapping[str, str], body: bytes) -> Failed | None:
    vendor = _challenge_by_field(headers) or _challenge_by_page(status, headers, body)
    if vendor is None:
        return None
    return Failed(Kind.CHALLENGE, f"{vendor} asks for proof of a human visitor (HTTP {status})")


def _challenge_by_field(headers: Mapping[str, str]) -> str | None:
    for field, (vendor, values) in _CHALLENGE_FIELDS.items():
        if headers.get(field, "").strip().lower() in values:
            return vendor
    return None


def _challenge_by_page(status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    for each in _INTERSTITIALS:
        signed = each.field in headers and each.value in headers[each.field].lower()
        if signed and not (each.refuses and _is_success(status)) and each.marks.search(body):
            return each.vendor
    return None


def _refusal(status: int, headers: Mapping[str, str]) -> Failed | None:
    if _is_success(status):
        return None
    wait = _retry_after(headers.get("retry-after", ""))
    kind = _kind_of(status, asked_to_wait=wait is not None)
    addition = " without a place to go to" if kind is Kind.BAD_REDIRECT else ""
    return Failed(kind, f"HTTP {status}{addition}", wait)


def _kind_of(status: int, *, asked_to_wait: bool) -> Kind:
    if status in _BLOCKED:
        return Kind.BLOCKED
    if status == 429 or (status == 503 and asked_to_wait):  # noqa: PLR2004 - RFC 6585, RFC 9110
        return Kind.RATE_LIMITED
    by_class = {3: Kind.BAD_REDIRECT, 4: Kind.HTTP_4XX, 5: Kind.HTTP_5XX}
    return by_class.get(status // 100, Kind.PROTOCOL)


def _retry_after(text: str) -> timedelta | None:
    """Read Retry-After, seconds or a date (RFC 9110, section 10.2.3), as 0 to 1 day."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = int(text) if len(text) < len(str(10**9)) else 10**9
        return min(timedelta(seconds=seconds), _MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year of twenty digits overflows
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(date - datetime.now(UTC), timedelta()), _MAX_RETRY_AFTER)


def _no_page(status: int, headers: Mapping[str, str], body: bytes) -> Failed | None:
    media_type = _media_type(headers)
    if media_type not in _HTML_TYPES | _UNKNOWN_TYPES:
        return Failed(Kind.NOT_HTML, f"not a page but {clean_text(media_type, _MAX_TYPE)}")
    if not body.strip():
        return Failed(Kind.EMPTY, f"an empty page (HTTP {status})")
    if media_type in _UNKNOWN_TYPES and not _LOOKS_LIKE_HTML.match(body):
        return Failed(Kind.NOT_HTML, "not a page, and of no known type")
    return None


def _media_type(headers: Mapping[str, str]) -> str:
    """The type without its parameters; empty if there is none or it is malformed."""
    essence = headers.get("content-type", "").partition(";")[0].strip().lower()
    return essence if "/" in essence else ""
