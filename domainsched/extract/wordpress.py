"""Whether a site runs on WordPress, in which version, and whether Elementor built it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from domainsched.extract.document import Document, host_of, split
from domainsched.extract.suffix import brand

_GENERATOR = re.compile(r"WordPress(?:\.com|\s+(\d[\w.-]*)|\s*$)", re.IGNORECASE)
_VERSION = r"(\d{1,2}\.\d{1,2}(?:\.\d{1,2})?(?:-(?:alpha|beta|rc)[\w.-]*)?)"
_CORE_FILE = re.compile(
    r"/wp-includes/(?:css/dist/block-library/[\w.-]+|js/wp-(?:embed|emoji-release|util)(?:\.min)?|"
    r"js/comment-reply(?:\.min)?|css/dashicons(?:\.min)?|css/classic-themes(?:\.min)?|js/admin-bar(?:\.min)?|css/admin-bar(?:\.min)?)"
    rf"\.?(?:js|css)?\?(?:[^#]*&)?ver={_VERSION}(?:$|[&#])"
)
_JETPACK = re.compile(rf"^https?://c\d+\.wp\.com/c/{_VERSION}/wp-includes/")
_EMOJI = re.compile(rf"wp-emoji-release\.min\.js\?ver={_VERSION}[\"'&]")
_ASSET = re.compile(r"/(?:wp-includes/|wp-content/(?:themes|plugins|mu-plugins|cache|uploads)/)")
_CODE = re.compile(r"\.(?:css|js)(?:$|[?#])")
_BACKEND = re.compile(
    r"(?:cms|content|wp|wordpress|admin|backend|api|cdn|static|media|assets|im(?:g|ages?))\d*\."
)
_THEME = re.compile(r"/wp-content/themes/([\w.-]+)/")
_PLUGIN = re.compile(r"/wp-content/(?:mu-)?plugins/([\w.-]+)/")
_ELEMENTOR_CLASS = re.compile(r"elementor-(?:default|kit-\d+|page(?:-\d+)?|template-[\w-]+)")
_ELEMENTOR_ASSET = re.compile(r"/plugins/elementor(?:-pro)?/|/uploads/elementor/css/")
_ELEMENTOR_GENERATOR = re.compile(r"Elementor\s+(\d[\w.-]*)")


@dataclass(frozen=True, slots=True)
class WordPress:
    """What is known of a WordPress site."""

    version: str | None
    theme: str | None
    plugins: list[str]
    """Directory names, in the order of the page."""
    elementor: bool
    elementor_version: str | None


def wordpress(document: Document) -> WordPress | None:
    """Give what is known, or None for a site that does not run on WordPress.

    The word alone proves nothing, nor does a picture that lies on another site.
    """
    assets = document.assets
    if not (_is_generated(document) or _is_announced(document) or _is_served(document, assets)):
        return None
    return WordPress(
        version=_version(document, assets),
        theme=next(_names(_THEME, assets), None),
        plugins=list(dict.fromkeys(_names(_PLUGIN, assets))),
        elementor=_has_elementor(document, assets),
        elementor_version=_first(_ELEMENTOR_GENERATOR, document.metas.get("generator", [])),
    )


def _is_generated(document: Document) -> bool:
    return any(_GENERATOR.match(text) for text in document.metas.get("generator", []))


def _is_announced(document: Document) -> bool:
    """Whether the site offers WordPress's own interfaces."""
    for rel, link in document.links:
        href = link.get("href") or ""
        if "https://api.w.org/" in rel or ("edituri" in rel and "xmlrpc.php?rsd" in href):
            return True
        if "pingback" in rel and _is_own(document, href) and href.endswith("/xmlrpc.php"):
            return True
    headers = document.headers
    return "api.w.org" in headers.get("link", "") or "xmlrpc.php" in headers.get("x-pingback", "")


def _is_served(document: Document, assets: list[str]) -> bool:
    """Whether the site's own files lie where WordPress puts them, here or on its other hosts."""
    files = [url for url in assets if _ASSET.search(split(url).path)]
    if any(_CODE.search(url) and _is_ours(document, url) for url in files):
        return True
    return sum(_is_own(document, url) or _is_backend(document, url) for url in files) > 1


def _is_own(document: Document, href: str) -> bool:
    host = host_of(document.resolve(href) or "")
    return bool(host) and host == document.host


def _is_ours(document: Document, url: str) -> bool:
    """Whether the host bears the site's name: `cdn.acme.net` does for `acme.com`."""
    host = host_of(url)
    return host == document.host or brand(host) == brand(document.host)


def _is_backend(document: Document, url: str) -> bool:
    """Whether the pictures come from the WordPress behind a site with a front of its own."""
    return bool(_BACKEND.match(host_of(url))) and _is_ours(document, url)


def _version(document: Document, assets: list[str]) -> str | None:
    stated = _first(
        re.compile(rf"WordPress {_VERSION}", re.IGNORECASE), document.metas.get("generator", [])
    )
    return (
        stated
        or _first(_JETPACK, assets)
        or _first(_CORE_FILE, assets)
        or _first(_EMOJI, (script.replace("\\/", "/") for script in document.scripts))
    )


def _has_elementor(document: Document, assets: list[str]) -> bool:
    body = document.tree.body
    classes = ((body.attributes.get("class") or "") if body else "").split()
    return (
        any(_ELEMENTOR_CLASS.fullmatch(name) for name in classes)
        or any(map(_ELEMENTOR_GENERATOR.match, document.metas.get("generator", [])))
        or any(map(_ELEMENTOR_ASSET.search, assets))
    )


def _names(pattern: re.Pattern[str], assets: list[str]) -> Iterator[str]:
    yield from (found[1] for url in assets if (found := pattern.search(url)))


def _first(pattern: re.Pattern[str], texts: Iterator[str] | list[str]) -> str | None:
    return next((found[1] for text in texts if (found := pattern.search(text))), None)
