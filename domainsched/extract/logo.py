"""The site's logo, found among the images of its own page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from ahocorasick_rs import AhoCorasick
from selectolax.lexbor import LexborNode

from domainsched.extract.document import Attributes, Document, host_of, path_of
from domainsched.extract.head import types
from domainsched.extract.suffix import site

_ENOUGH = 5
"""Points an image needs: one sign alone is not enough, unless it is its name."""

_PLENTY = 8
"""Points an image needs where the place of the logo holds a drawing (inline SVG)."""

_MAX_IMAGES = 150
"""A logo stands near the top; a shop's page may hold thousands of pictures below it."""

_MAX_NAME = 2_000
"""Characters of a source that are looked at: it may be the picture itself, as `data:`."""

_MAX_STYLE = 100_000
_MAX_SELECTOR = 500
"""Characters of style sheets, and of what a rule is for, that are looked at."""

_MOST_AROUND = 11
"""Points that an image can get for where it stands."""

_TELLING = 4
"""Letters the site's name needs before a file that bears it says something."""

Sign = tuple[int, int, int, int]
"""Points for a link home, a brand's place, the top of the page; and against, for elsewhere."""

_NO_SIGN: Sign = (0, 0, 0, 0)
_Seen = dict[tuple[int, int], Sign]
"""By an element's identity, and how many elements from it upwards were looked at."""

_ENDS = frozenset(["html", "body", "-document"])
"""Around all of the page: they say nothing about a part of it."""


@dataclass(frozen=True, slots=True)
class Logo:
    """Where the logo is, if it is a file, and why it is taken for one."""

    url: str | None = None
    evidence: str | None = None
    """`image`, `json-ld`, `meta`, `style`, or `inline svg`, which has no URL."""
    points: int | None = None
    """Of an image: the sum of its signs."""


def _any(*words: str) -> re.Pattern[str]:
    """Match any of the words; in lower case, which is searched several times as fast as any."""
    return re.compile("|".join(words))


_LOGO = _any(
    r"(?<![a-z])(?:site|custom|main|header|brand|navbar|nav|company)?[-_]?logo(?!s|ut|n)",
    "logotype",
    "wordmark",
)
_SITES_LOGO = _any(r"(?<![a-z])(?:site|custom|header|navbar|main|company)[-_]?logo(?!s|ut|n)")
_BRAND = _any(r"(?<![a-z])(?:brand|branding|site-title|identity)(?![a-z])")
_TOP = _any(
    r"(?<![a-z])(?:header|masthead|top|navbar|top-?bar|site-?branding|page-?head|hd)(?![a-z])"
)
_ELSEWHERE = _any(
    *("carousel", "slide", "swiper", "slick", "partner", "client", "customer", "sponsor"),
    *("testimonial", "payment", "(?<!header-)footer", "certif", "award", "(?<!re)member"),
    *("affiliat", "associat", "brands", "logos", "vendor", "(?<![a-z])press", "gallery"),
    *("product", "article", "post-", "social", "(?<!elementor-)widget", "advert", "banner-ad"),
    *("comment", "(?<!s)team", "accredit", "badge", r"\bads?\b", "trusted", "as-seen"),
)
_PLACES = AhoCorasick(
    [
        *("logo", "wordmark", "brand", "site-title", "identity", "header", "masthead", "top", "hd"),
        *("navbar", "page-head", "pagehead", "carousel", "slide", "swiper", "slick", "partner"),
        *("client", "customer", "sponsor", "testimonial", "payment", "footer", "certif", "award"),
        *("member", "affiliat", "associat", "vendor", "press", "gallery", "product", "article"),
        *("post-", "social", "widget", "ad", "banner-ad", "comment", "team", "accredit", "badge"),
        *("trusted", "as-seen"),
    ]
)
"""What the four before cannot do without: most labels have none of it, which is found at once."""

_NOT_A_LOGO = _any(
    *("visa", "paypal", "mastercard", "amex", "klarna", "spacer", "placeholder", "pixel"),
    *("blank", "1x1", "loading", "avatar", "gravatar", "facebook", "twitter", "instagram"),
    *("youtube", "linkedin", "google", "sprite", "arrow", "flag", "captcha", "bbb", "badge"),
    *("award", "icon-", "-icon", "app-?store", "sponsor", "partner", r"\bicon"),
)
_PLACEHOLDERS = (
    *("spacer", "placeholder", "blank", "lazy", "loading", "pixel", "1x1", "transparent"),
    "mod_pagespeed_static",
)
_NO_SOURCES = ("data:", "about:", "<", "{")
_LAZY = (
    *("data-src", "data-lazy-src", "data-original", "data-lazy", "data-orig-src", "data-cfsrc"),
    *("data-lazyload", "data-wpfc-original-src", "data-breeze", "data-ezsrc", "nitro-lazy-src"),
    *("data-pagespeed-lazy-src", "pagespeed_lazy_src"),
)
_SETS = ("data-srcset", "data-lazy-srcset", "srcset")
_ORGANISATION = _any(
    *("organi[sz]ation", "business", "corporation", "store", "restaurant", "hotel", "ngo"),
    *("company", "brand", "service$", "school"),
)
_NO_LETTERS = re.compile(r"[\W_]+")
_NO_ASCII_LETTERS = bytes(code for code in range(0x80) if not chr(code).isalnum())
_PAINTED = re.compile(r"url\(\s*[\"']?([^\"')]+)", re.IGNORECASE)
_STYLED = '[class*="logo" i][style*="url("], [id*="logo" i][style*="url("]'
_HOME = re.compile(r"/(?:index\.\w+|default\.\w+|home/?|[a-z]{2}(?:-[a-z]{2})?/?)?$")


def logo(document: Document) -> Logo:
    """Give the logo: an image that plainly is one, or what the page declares, or what it paints."""
    drawn = _is_drawn(document)
    best = _best_image(document, _PLENTY if drawn else _ENOUGH)
    return best or _declared(document) or (_DRAWN if drawn else _painted(document)) or Logo()


_DRAWN = Logo(evidence="inline svg")


def _declared(document: Document) -> Logo | None:
    by_id = {item["@id"]: item for item in document.json_ld if isinstance(item.get("@id"), str)}
    for item in document.json_ld:
        if any(_ORGANISATION.search(name.lower()) for name in types(item)) and (
            url := document.resolve(_url_of(item.get("logo"), by_id))
        ):
            return Logo(url, "json-ld")
    links = (link.get("href") for _, link in document.links if link.get("itemprop") == "logo")
    urls = map(document.resolve, (document.meta("og:logo"), document.meta("logo"), *links))
    return next((Logo(url, "meta") for url in urls if url), None)


def _url_of(value: Any, by_id: Mapping[str, Mapping[str, Any]]) -> str | None:  # noqa: ANN401 - JSON is anything
    """Give the URL of an image; it may stand elsewhere, under its `@id`."""
    value = _first(value)
    if isinstance(value, dict):
        name = value.get("@id")
        known = by_id.get(name, value) if isinstance(name, str) else value
        keys = ("url", "contentUrl")
        found = (_first(item.get(key)) for item in (value, known) for key in keys)
        value = next(filter(None, found), None)
    return value if isinstance(value, str) else None


def _first(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    return next(iter(value), None) if isinstance(value, list) else value


def _painted(document: Document) -> Logo | None:
    """Look for a background of the page's own styles on something called a logo."""
    if "url(" not in document.markup or b"logo" not in document.folded:
        return None
    styles = [node.attributes.get("style") or "" for node in document.tree.css(_STYLED)]
    for node in document.all("style"):
        styles += _rules_of_logos(node.text()[:_MAX_STYLE])
    sources = (found[1] for style in styles for found in _PAINTED.finditer(style))
    urls = (
        document.resolve(source) for source in sources if not _NOT_A_LOGO.search(source.lower())
    )
    return next((Logo(url, "style") for url in urls if url), None)


def _rules_of_logos(style: str) -> Iterator[str]:
    for rule in style.split("}"):
        selector, _, declarations = rule.rpartition("{")
        selector = selector[-_MAX_SELECTOR:].lower()
        if "url(" in declarations and "logo" in selector and not _ELSEWHERE.search(selector):
            yield declarations


def _is_drawn(document: Document) -> bool:
    """Whether the link home, or what is called a logo, holds an inline SVG at the page's top."""
    return any(
        home + brand >= 4 and top and not elsewhere  # noqa: PLR2004 - one plain sign
        for node in document.all("svg")[:20]
        for home, brand, top, elsewhere in [_signs_around(document, node, {}, 5)]
    )


def _best_image(document: Document, enough: int) -> Logo | None:
    best: tuple[int, str | None] = (enough - 1, None)
    seen: _Seen = {}
    for node, attributes in islice(_images(document), _MAX_IMAGES):
        source = _source(attributes)
        if not source:
            continue
        points, words = _own_points(document, attributes, source)
        if points + _MOST_AROUND <= best[0]:
            continue
        points += _surroundings(document, node, seen)
        if points <= best[0]:
            continue
        points -= 6 * _is_something_else(document, words)
        if points > best[0] and (url := document.resolve(source)):
            best = (points, url)
    return Logo(best[1], "image", best[0]) if best[1] else None


def _images(document: Document) -> Iterator[tuple[LexborNode, Attributes]]:
    yield from document.read("img", "amp-img")
    for node, attributes in document.read("object"):
        if "svg" in (attributes.get("type") or ""):
            yield node, {**attributes, "src": attributes.get("data")}


def _source(attributes: Attributes) -> str | None:
    """Give where the image really is: `src` may hold a place keeper until it is scrolled to."""
    source = (attributes.get("src") or "").strip()
    if source and not _keeps_place(source[:_MAX_NAME].lower()):
        return source
    if lazy := next((value for name in _LAZY if (value := attributes.get(name))), None):
        return lazy.strip()
    choices = next((value for name in _SETS if (value := attributes.get(name))), "").split()
    if choices:
        return choices[0].rstrip(",")
    return source if source and source[0] not in "<{" else None


def _keeps_place(source: str) -> bool:
    return source.startswith(_NO_SOURCES) or any(word in source for word in _PLACEHOLDERS)


def _own_points(document: Document, attributes: Attributes, source: str) -> tuple[int, str]:
    """Add up what speaks for an image by itself, and give the words that may speak against it."""
    name = source[:_MAX_NAME].partition("?")[0].rpartition("/")[2].lower()
    labels = _labels(attributes)
    alt = f"{attributes.get('alt') or ''} {attributes.get('title') or ''}"[:_MAX_NAME].lower()
    points = 5 * (_is_called_logo(labels) or attributes.get("itemprop") == "logo")
    points += 4 * _is_called_logo(name) + 3 * _is_called_logo(alt)
    points += 2 * _names_site(document, name, alt)
    return points, f"{name} {alt} {labels}"


def _is_called_logo(text: str) -> bool:
    """Look for the words themselves first: most texts have none, and that is seen at once."""
    return ("logo" in text or "wordmark" in text) and _LOGO.search(text) is not None


def _labels(attributes: Attributes) -> str:
    return f"{attributes.get('class') or ''} {attributes.get('id') or ''}"[:_MAX_NAME].lower()


def _is_something_else(document: Document, text: str) -> bool:
    """Whether the words speak of another thing, and not because the site itself is called so."""
    label = _label(document.host)
    return any(found[0].strip("-") not in label for found in _NOT_A_LOGO.finditer(text))


@lru_cache(16)
def _label(host: str) -> str:
    return _squeeze(host.partition(".")[0])


def _names_site(document: Document, name: str, alt: str) -> bool:
    label = _label(document.host)
    return len(label) >= _TELLING and (label in _squeeze(name) or label in _squeeze(alt))


def _squeeze(text: str) -> str:
    text = text.lower()
    if text.isascii():
        # what the pattern would do, several times as fast
        return text.encode().translate(None, _NO_ASCII_LETTERS).decode()
    return _NO_LETTERS.sub("", text)


def _surroundings(document: Document, node: LexborNode, seen: _Seen) -> int:
    """Add up the best sign of each sort; `seen` spares elements that hold many images."""
    home, brand, top, elsewhere = _signs_around(document, node, seen, 8)
    return home + brand + top - elsewhere


def _signs_around(document: Document, node: LexborNode, seen: _Seen, levels: int) -> Sign:
    """Give the best sign of each sort among the nearest elements around a node."""
    parent = node.parent
    if parent is None or not levels or parent.tag in _ENDS:
        return _NO_SIGN
    key = parent.mem_id, levels
    if key not in seen:
        further = _signs_around(document, parent, seen, levels - 1)
        home, brand, top, elsewhere = map(max, _sign(document, parent), further)
        seen[key] = home, brand, top, elsewhere
    return seen[key]


def _sign(document: Document, parent: LexborNode) -> Sign:
    """Give the points of one element around an image."""
    attributes, tag = parent.attributes, parent.tag
    home = tag == "a" and _is_home(document, attributes.get("href"))
    brand, top, elsewhere = _sign_of(_labels(attributes))
    top = top or tag in {"header", "nav"}
    elsewhere = elsewhere or tag in {"footer", "article", "aside"}
    return 4 * home, brand, 2 * top, 6 * elsewhere


@lru_cache(500)
def _sign_of(labels: str) -> tuple[int, bool, bool]:
    """Give what the labels say: points for a brand, whether for the top, whether for elsewhere."""
    if not _PLACES.find_matches_as_indexes(labels):
        return 0, False, False
    brand = 0
    if _is_called_logo(labels):
        brand = 5 if _SITES_LOGO.search(labels) else 4
    elif _BRAND.search(labels):
        brand = 3
    return brand, _TOP.search(labels) is not None, _ELSEWHERE.search(labels) is not None


def _is_home(document: Document, href: str | None) -> bool:
    """Whether a link leads to the site's front page, or from a sub-domain to the main one's."""
    url = document.resolve(href or "")
    if url is None or _HOME.sub("", path_of(url).lower()):
        return False
    host = host_of(url)
    return host == document.host or site(host) == site(document.host)
