"""The pages that stand before a site to tell people from programs, and who puts them there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_MARKED_BYTES = 64 * 1024
"""How far marks are looked for; the longest of these pages have some 30 KB."""

_FIELDS: Mapping[str, tuple[str, frozenset[str]]] = {
    # developers.cloudflare.com, "Detect a Challenge Page response"
    "cf-mitigated": ("Cloudflare", frozenset({"challenge"})),
    # docs.aws.amazon.com/waf, "CAPTCHA and Challenge action behavior"
    "x-amzn-waf-action": ("AWS WAF", frozenset({"challenge", "captcha"})),
    # seen on sites in Vercel's Attack Challenge Mode, with 403 and 429
    "x-vercel-mitigated": ("Vercel", frozenset({"challenge"})),
    # seen on sites hosted by SiteGround, with 202
    "sg-captcha": ("SiteGround", frozenset({"challenge"})),
}
"""Fields that are sent with a challenge and with nothing else."""

_REFUSED = frozenset({400, 401, 403, 405, 415, 428, 429, 503})
_POSED = frozenset({200, 202})


@dataclass(frozen=True, slots=True)
class _Challenge:
    """How a vendor's page is known.

    Pages write about challenges, and some of the same scripts are injected into real pages. So a
    mark counts only with the signature of the vendor's server; where the page may come from any
    server, only with a refusal, or if it is an element that nobody else writes (in a text about
    it, `<` is escaped).
    """

    vendor: str
    mark: re.Pattern[bytes]
    signature: Mapping[str, str]
    """By field: what its value holds, in lower case. One of them is enough; empty: any server."""
    statuses: frozenset[int]
    word: bytes
    """In every page with the mark, as it is always written: spares others the closer look."""

    def is_met(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether status, signature and mark are all there."""
        return (
            status in self.statuses
            and self._is_signed(headers)
            and self.word in body
            and self.mark.search(body) is not None
        )

    def _is_signed(self, headers: Mapping[str, str]) -> bool:
        values = ((headers.get(name), value) for name, value in self.signature.items())
        return not self.signature or any(
            sent is not None and value in sent.lower() for sent, value in values
        )


def _element(tags: str, attribute: str) -> str:
    return rf"<(?:{tags})\b[^<>]{{0,300}}?\b{attribute}"


_CHALLENGES = tuple(
    _Challenge(vendor, re.compile(mark.encode(), re.IGNORECASE), signature, statuses, word)
    for vendor, signature, statuses, word, mark in (
        (  # seen. Its challenge-platform/scripts/jsd is injected into ordinary pages, those of
            # errors too (developers.cloudflare.com, "JavaScript detections"): no mark.
            "Cloudflare",
            {"server": "cloudflare"},
            _REFUSED,
            b"",
            (
                r"_cf_chl_opt|cf-chl-|cf-browser-verification"
                r"|/cdn-cgi/challenge-platform/[\w/]{0,20}orchestrate/"
            ),
        ),
        (  # seen. Its pages for servers that are down bear its name too, but not as their title.
            "DDoS-Guard",
            {"server": "ddos-guard"},
            _REFUSED,
            b"",
            r"<title>\s*DDoS-Guard\b|/\.well-known/ddos-guard/|check\.ddos-guard\.net",
        ),
        (  # seen: a script that sets the cookie sucuri_cloudproxy_uuid_… and reloads
            "Sucuri",
            {"server": "sucuri", "x-sucuri-id": ""},
            _REFUSED | _POSED,
            b"sucuri_",
            r"sucuri_cloudproxy_js\s*=\s*''",
        ),
        (  # seen; without an incident the resource is a monitor on real pages
            "Imperva",
            {"x-iinfo": "", "x-cdn": ""},
            _REFUSED | _POSED,
            b"",
            (
                r"Incapsula incident ID: \d|/_Incapsula_Resource\?[^\"'<>]{0,300}?incident_id="
                r"|<title>\s*Pardon Our Interruption"
            ),
        ),
        (  # seen with 200 and 428: the frame of its behavioural and of its crypto challenge
            "Akamai",
            {},
            _REFUSED | _POSED,
            b"sec-",
            _element("div|iframe", r"id=[\"']?sec-(?:if-cpt-container|cpt-if)\b"),
        ),
        (  # seen, beside the field
            "Vercel",
            {"server": "vercel"},
            _REFUSED,
            b"Vercel",
            r"<title>\s*Vercel Security Checkpoint",
        ),
        (  # seen with 202 and 200: it refreshes to its captcha
            "SiteGround",
            {},
            _REFUSED | _POSED,
            b"/.well-known/",
            _element("meta", r"content=[\"']?[^<>]{0,20}?/\.well-known/(?:sg)?captcha/"),
        ),
        (  # docs.rs/perimeterx-fastly-enforcer, block_template; _pxAppId is on real pages too
            "HUMAN",
            {},
            _REFUSED,
            b"px",
            r"window\._pxUuid|\bid=[\"']px-captcha",
        ),
        (  # seen with 403 and 401: its captcha comes from this host
            "DataDome",
            {},
            _REFUSED,
            b"captcha-delivery",
            r"\.captcha-delivery\.com/",
        ),
        (
            "Kasada",
            {},
            _REFUSED,
            b"KPSDK",
            r"window\.KPSDK\s*=",
        ),  # seen with 429, 403, 400: its loader
        (  # seen with 403: "Bot Verification", on shared hosts
            "LiteSpeed",
            {},
            _REFUSED | _POSED,
            b"lsrecaptcha-form",
            _element("form", r"id=[\"']?lsrecaptcha-form\b"),
        ),
        (  # seen with 200: "One moment, please", a script that reports back; and its captcha
            "Imunify360",
            {"server": "imunify360"},
            _REFUSED | _POSED,
            b"",
            (
                r"<title>\s*One moment, please|wsidchk|imunify360-captcha|Imunify360 bot-protection"
                r"|<title>\s*Captcha\b"
            ),
        ),
        (  # seen with 200: the data of its proof of work
            "Anubis",
            {},
            _REFUSED | _POSED,
            b"anubis_challenge",
            _element("script", r"id=[\"']?anubis_challenge\b"),
        ),
        (  # Any page may hold these widgets, for its forms. One that refuses and holds one asks
            # for proof: docs.hcaptcha.com, developers.google.com/recaptcha, and Turnstile's.
            "a captcha",
            {},
            frozenset({403, 405, 429, 503}),
            b"",
            _element(
                "script",
                r"src=[\"']?(?:https:)?//(?:(?:js\.)?hcaptcha\.com/1/api"
                r"|www\.(?:google\.com|recaptcha\.net)/recaptcha/(?:api|enterprise)\.js"
                r"|challenges\.cloudflare\.com/turnstile/)",
            ),
        ),
    )
)


def challenger(status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """Name who asks for proof of a human visitor with this answer; None if nobody does."""
    for field, (vendor, values) in _FIELDS.items():
        if headers.get(field, "").strip().lower() in values:
            return vendor
    marked = body[:_MARKED_BYTES]
    met = (each.vendor for each in _CHALLENGES if each.is_met(status, headers, marked))
    return next(met, None)
