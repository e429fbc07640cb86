"""The demo's sites: what each one serves, and what is known to be right about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from domainsched.demo.server import Answer
from domainsched.models import Kind
from domainsched.names import canonical


@dataclass(frozen=True)
class Site:
    """One sample site."""

    name: str
    shows: str
    """What it is an example of, in a few words."""
    answer: Answer | None
    """None: its name does not resolve."""
    expected: Mapping[str, Any] = field(default_factory=dict)
    """Columns that a visit must store, exactly."""
    fails_as: Kind | None = None
    """The kind of failure that is right; None: it completes."""


def _page(text: str, encoding: str = "utf-8", **more: Any) -> Answer:  # noqa: ANN401 - the fields of Answer
    return Answer(text.encode(encoding), **more)


_PLUMBER = """<!doctype html>
<html lang="en-US"><head><meta charset="utf-8">
<title>Acme Plumbing | 24h service in Austin</title>
<meta name="description" content="Licensed plumbers for Austin, Texas. We come within the hour.">
<meta name="generator" content="WordPress 6.8.1">
<meta name="generator" content="Elementor 3.29.0; features: e_font_icon_svg">
<link rel="icon" href="/wp-content/uploads/favicon-32.png" sizes="32x32">
<link rel="stylesheet" href="/wp-content/themes/astra/style.css?ver=4.11.1">
<link rel="stylesheet" href="/wp-content/plugins/elementor/assets/css/frontend.min.css?ver=3.29.0">
</head><body class="home page elementor-default elementor-kit-7 elementor-page elementor-page-12">
<header><a href="/" rel="home"><img class="custom-logo" src="/wp-content/uploads/acme-logo.png"
alt="Acme Plumbing"></a></header>
<main><h1>Burst pipe?</h1><p>Call <a href="tel:+15125550100">(512) 555-0100</a> or write to
<a href="mailto:info@acme-plumbing.test">info@acme-plumbing.test</a>.</p></main>
<footer><a href="https://www.facebook.com/acmeplumbing">Facebook</a>
<a href="https://x.com/acmeplumbing">X</a>
<a href="https://www.facebook.com/sharer/sharer.php?u=https://acme-plumbing.test/">Share</a>
<script src="/wp-includes/js/jquery/jquery.min.js?ver=3.7.1"></script></footer>
</body></html>"""

_SHOP = """<!doctype html>
<html lang="sv"><head><meta charset="utf-8"><title>Lindgren Keramik - handgjort porslin</title>
<meta property="og:description" content="Koppar och fat, drejade för hand i vår verkstad.">
<link rel="shortcut icon" href="//cdn.shopify.com/s/files/1/0001/favicon.png">
<script src="https://cdn.shopify.com/s/files/1/0001/t/3/assets/theme.js"></script>
<script type="application/ld+json">{"@context": "https://schema.org", "@type": "Organization",
"name": "Lindgren Keramik", "logo": "https://shop-lindgren.test/logo.svg",
"telephone": "+46 8 508 290 00", "email": "hej@shop-lindgren.test",
"sameAs": ["https://www.instagram.com/lindgrenkeramik/"]}</script>
</head><body><h1>Handgjort porslin</h1><p>Välkommen till vår butik.</p></body></html>"""

_MUSEUM = """<html lang="ru"><head>
<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">
<title>Городской музей</title>
<meta name="description" content="История города, выставки и экскурсии для всей семьи.">
</head><body><h1>Городской музей</h1><p>Мы рады видеть вас каждый день, кроме понедельника.</p>
</body></html>"""

_NEW_NAME = """<!doctype html><html lang="en"><head><title>New Name Ltd</title></head>
<body><p>We moved here from our old address, and we are glad that you found us.</p></body></html>"""

_PLAIN = """<!doctype html><html lang="en"><head><title>Village choir</title></head>
<body><p>We sing on Tuesdays. No certificate was ever bought for this site.</p></body></html>"""

_SLOW = """<!doctype html><html lang="en"><head><title>Slow Diner</title></head>
<body><p>Good things take time: this page took one second.</p></body></html>"""

_PARKED = """<!doctype html><html lang="en"><head><title>parked.test is for sale</title></head>
<body><h1>parked.test</h1><p>This domain is for sale. Buy this domain now.</p></body></html>"""

_HOSTILE = """<!doctype html><html lang="en"><head>
<title>Nice \x1b]0;owned\x07\x00 title \u202egnp.exe</title></head>
<body><p>A title that would like to drive your terminal and poison your database.</p>
</body></html>"""

_CHALLENGE = """<!doctype html><html lang="en-US"><head><title>Just a moment...</title></head>
<body><script src="/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1"></script></body></html>"""

SITES = (
    Site(
        "acme-plumbing.test",
        "WordPress with Elementor",
        _page(_PLUMBER),
        {
            "title": "Acme Plumbing | 24h service in Austin",
            "description": "Licensed plumbers for Austin, Texas. We come within the hour.",
            "favicon_url": "https://acme-plumbing.test/wp-content/uploads/favicon-32.png",
            "logo_url": "https://acme-plumbing.test/wp-content/uploads/acme-logo.png",
            "email_addresses": ["info@acme-plumbing.test"],
            "phone_numbers": ["+15125550100"],
            "facebook_url": "https://www.facebook.com/acmeplumbing",
            "twitter_url": "https://x.com/acmeplumbing",
            "is_wordpress": True,
            "wordpress_version": "6.8.1",
            "has_elementor": True,
        },
    ),
    Site(
        "shop-lindgren.test",
        "a Shopify shop",
        _page(_SHOP),
        {
            "title": "Lindgren Keramik - handgjort porslin",
            "description": "Koppar och fat, drejade för hand i vår verkstad.",
            "language": "sv",
            "logo_url": "https://shop-lindgren.test/logo.svg",
            "email_addresses": ["hej@shop-lindgren.test"],
            "phone_numbers": ["+46850829000"],
            "instagram_url": "https://www.instagram.com/lindgrenkeramik",
            "is_wordpress": False,
        },
    ),
    Site(
        "музей.test",
        "Cyrillic name and windows-1251",
        _page(_MUSEUM, "windows-1251", headers={"Content-Type": "text/html"}),
        {
            "title": "Городской музей",
            "description": "История города, выставки и экскурсии для всей семьи.",
            "language": "ru",
        },
    ),
    Site(
        "old-name.test",
        "redirects to a new name",
        Answer(status=301, headers={"Location": "https://www.new-name.test/"}),
        {"title": "New Name Ltd"},
    ),
    Site(
        "plain-http.test",
        "speaks only http",
        _page(_PLAIN, https=False),
        {"title": "Village choir"},
    ),
    Site("slow-diner.test", "slow", _page(_SLOW, delay=1.0), {"title": "Slow Diner"}),
    Site("parked.test", "a parked domain", _page(_PARKED), {"title": "parked.test is for sale"}),
    Site("hostile.test", "a hostile title", _page(_HOSTILE), {"is_wordpress": False}),
    Site(
        "not-found.test",
        "no home page",
        _page("<h1>Not here</h1>", status=404),
        fails_as=Kind.HTTP_4XX,
    ),
    Site("no-such-name.test", "does not resolve", None, fails_as=Kind.DNS),
    Site(
        "inward.test",
        "redirects to a private address",
        Answer(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
        fails_as=Kind.PRIVATE_ADDRESS,
    ),
    Site(
        "json-api.test",
        "not a web page",
        _page('{"ok": true}', headers={"Content-Type": "application/json"}),
        fails_as=Kind.NOT_HTML,
    ),
    Site(
        "checked.test",
        "a bot challenge",
        _page(
            _CHALLENGE, status=403, headers={"cf-mitigated": "challenge", "Server": "cloudflare"}
        ),
        fails_as=Kind.CHALLENGE,
    ),
)

SERVED: Mapping[str, Answer] = {
    **{canonical(site.name): site.answer for site in SITES if site.answer is not None},
    "new-name.test": _page(_NEW_NAME),  # another one leads here; it is not added
}
"""What each host name answers."""
