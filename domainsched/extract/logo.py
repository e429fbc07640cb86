"""The site's logo, found among the images of its own page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from selectolax.lexbor import LexborNode

from domainsched.extract.document import Document, ancestors, join, split

_ENOUGH = 5
"""Points an image needs: one sign alone is not enough, unless it is its name."""

_MAX_IMAGES = 150
"""A logo stands near the top; a shop's page may hold thousands of pictures below it."""

_MAX_NAME = 2_000
"""Characters of a source that are looked at: it may be the picture itself, as `data:`."""

_TELLING = 4
"""Letters the site's name needs before a file that bears it says something."""

Sign = tuple[int, int, int, int]
"""Points for a link home, a brand's place, the top of the page; and against, for elsewhere."""


def _any(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


_LOGO = _any(
    r"(?<![a-z])(?:site|custom|main|header|brand|navbar|nav|company)?[-_]?logo(?!s|ut|n)",
    "logotype",
    "wordmark",
)
_BRAND = _any(r"(?<![a-z])(?:brand|branding|site-title|identity)(?![a-z])")
_TOP = _any(r"(?<![a-z])(?:header|masthead|navbar|top-?bar|site-?branding|page-?head|hd)(?![a-z])")
_ELSEWHERE = _any(
    *[
        "carousel",
        "slide",
        "swiper",
        "slick",
        "partner",
        "client",
        "customer",
        "sponsor",
        "testimonial",
        "payment",
    ],
    *[
        "footer",
        "certif",
        "award",
        "member",
        "affiliat",
        "associat",
        "brands",
        "logos",
        "vendor",
        "press",
        "gallery",
    ],
    *[
        "product",
        "article",
        "post-",
        "social",
        "widget",
        "advert",
        "banner-ad",
        "comment",
        "team",
        "accredit",
        "badge",
    ],
    r"\bads?\b",
)
_NOT_A_LOGO = _any(
    *[
        "visa",
        "paypal",
        "mastercard",
        "amex",
        "klarna",
        "spacer",
        "placeholder",
        "pixel",
        "blank",
        "1x1",
        "loading",
    ],
    *[
        "avatar",
        "gravatar",
        "facebook",
        "twitter",
        "instagram",
        "youtube",
        "linkedin",
        "google",
        "sprite",
        "arrow",
    ],
    *[
        "flag",
        "captcha",
        "bbb",
        "badge",
        "award",
        "icon-",
        "-icon",
        "app-?store",
        "sponsor",
        "partner",
    ],
    r"\bicon",
)
_PLACEHOLDER = _any(
    *["^data:", "spacer", "placeholder", "blank", "lazy", "loading", "pixel", "1x1", "transparent"]
)
_LAZY = ("data-src", "data-lazy-src", "data-original", "data-lazy", "data-srcset", "srcset")
_ORGANISATION = _any(
    *[
        "Organi[sz]ation",
        "Business",
        "Corporation",
        "Store",
        "Restaurant",
        "Hotel",
        "NGO",
        "Company",
        "Brand",
    ],
    "Service$",
    "School",
)


def logo_url(document: Document) -> str | None:
    """Give the URL of the logo, or None if nothing on the page is plainly one."""
    return _best_image(document) or _declared(document)


def _declared(document: Document) -> str | None:
    urls = [_url_of(item.get("logo")) for item in document.json_ld if _is_organisation(item)]
    urls += [document.meta("og:logo", "logo")]
    resolved = (join(document.url, url) for url in urls if url)
    return next((url for url in resolved if url), None)


def _is_organisation(item: Mapping[str, Any]) -> bool:
    return bool(_ORGANISATION.search(str(item.get("@type") or "")))


def _url_of(value: Any) -> str | None:  # noqa: ANN401 - JSON is anything
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = value.get("url") or value.get("contentUrl") or value.get("@id")
    return value if isinstance(value, str) else None


def _best_image(document: Document) -> str | None:
    best: tuple[int, str | None] = (_ENOUGH - 1, None)
    seen: dict[int, Sign] = {}
    for node in document.all("img")[:_MAX_IMAGES]:
        attributes = node.attributes
        source = _source(attributes)
        if not source:
            continue
        points = _own_points(document, attributes, source) + _surroundings(document, node, seen)
        if points > best[0] and (url := document.resolve(source)):
            best = (points, url)
    return best[1]


def _source(attributes: Mapping[str, str | None]) -> str | None:
    """Give where the image really is: `src` may hold a place keeper until it is scrolled to."""
    source = (attributes.get("src") or "").strip()
    if source and not _PLACEHOLDER.search(source):
        return source
    lazy = next((value for name in _LAZY if (value := attributes.get(name))), source)
    return lazy.split(",")[0].split()[0] if lazy.split(",")[0].split() else None


def _own_points(document: Document, attributes: Mapping[str, str | None], source: str) -> int:
    name = source[:_MAX_NAME].partition("?")[0].rpartition("/")[2]
    labels = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
    alt = f"{attributes.get('alt') or ''} {attributes.get('title') or ''}"
    points = 5 * bool(_LOGO.search(labels) or attributes.get("itemprop") == "logo")
    points += 4 * bool(_LOGO.search(name)) + 3 * bool(_LOGO.search(alt))
    points += 2 * _names_site(document, name, alt)
    return points - 6 * bool(_NOT_A_LOGO.search(f"{name} {alt} {labels}"))


def _names_site(document: Document, name: str, alt: str) -> bool:
    label = _squeeze(document.host.split(".")[0])
    return len(label) >= _TELLING and (label in _squeeze(name) or label in _squeeze(alt))


def _squeeze(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _surroundings(document: Document, node: LexborNode, seen: dict[int, Sign]) -> int:
    """Add up the best sign of each sort; `seen` spares elements that hold many images."""
    signs = [(0, 0, 0, 0)]
    for parent in ancestors(node, 8):
        if parent.tag in {"html", "body"}:
            break
        if parent.mem_id not in seen:
            seen[parent.mem_id] = _sign(document, parent)
        signs.append(seen[parent.mem_id])
    home, brand, top, elsewhere = (max(sign[sort] for sign in signs) for sort in range(4))
    return home + brand + top - elsewhere


def _sign(document: Document, parent: LexborNode) -> Sign:
    """Give the points of one element around an image."""
    attributes = parent.attributes
    labels = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
    home = parent.tag == "a" and _is_home(document, attributes.get("href"))
    brand = 4 * bool(_LOGO.search(labels)) or 3 * bool(_BRAND.search(labels))
    top = parent.tag in {"header", "nav"} or bool(_TOP.search(labels))
    elsewhere = parent.tag in {"footer", "article", "aside"} or bool(_ELSEWHERE.search(labels))
    return 4 * home, brand, 2 * top, 6 * elsewhere


def _is_home(document: Document, href: str | None) -> bool:
    url = document.resolve(href or "")
    if url is None:
        return False
    parts = split(url)
    same = (parts.hostname or "").removeprefix("www.") == document.host
    path = re.sub(
        r"/(?:index\.\w+|default\.\w+|home/?|[a-z]{2}(?:-[a-z]{2})?/?)?$", "", parts.path.lower()
    )
    return same and path == ""
