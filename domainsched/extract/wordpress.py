"""Whether a site runs on WordPress, in which version, with what, and whether Elementor built it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from domainsched.extract.document import Document, host_of, path_of
from domainsched.extract.suffix import brand

_VERSION = r"(\d{1,2}\.\d{1,2}(?:\.\d{1,2})?(?:-(?:alpha|beta|rc)\.?\d*)?)"
_GENERATOR = re.compile(
    r"WordPress(?:\.com|\s+\d[\w.-]*|\s*$)|https?://wordpress\.org/\?v=\d", re.IGNORECASE
)
_STATED = re.compile(rf"WordPress {_VERSION}|wordpress\.org/\?v={_VERSION}", re.IGNORECASE)
_CORE_NAMES = (
    r"css/dist/[\w-]+/[\w.-]+?|blocks/[\w-]+/[\w.-]+?\.css"
    r"|js/wp-(?:embed|emoji-release|util|api|lists|pointer|ajax-response|auth-check)"
    r"|js/(?:comment-reply|admin-bar|quicktags|wplink|autosave|heartbeat|shortcode)"
    r"|js/mediaelement/wp-(?:mediaelement|playlist)"
    r"|css/(?:dashicons|classic-themes|admin-bar|buttons|media-views|wp-auth-check|editor)"
)
_CORE_FILE = re.compile(
    rf"/wp-includes/(?:{_CORE_NAMES})(?:\.min)?(?:\.js|\.css)?"
    rf"\?(?:[^#]*&)?ver={_VERSION}(?:$|[-&#])"
)
"""Files that core hands out under its own version; jQuery, for one, has a version of its own."""

_JETPACK = re.compile(rf"^https?://c\d+\.wp\.com/c/{_VERSION}/wp-includes/")
_EMOJI = re.compile(rf"wp-emoji-release(?:\.min)?\.js\?ver={_VERSION}[\"'&]")
_SETTINGS = "_wpemojiSettings"
"""What core writes into each page's head; its own addresses stand in it, slashes escaped."""

_CORE_STYLES = frozenset(
    f"{name}-inline-css"
    for name in (
        *("global-styles", "wp-block-library", "classic-theme-styles", "wp-emoji-styles"),
        *("core-block-supports", "wp-img-auto-sizes-contain"),
    )
)
"""The `id` of style sheets that core writes into a page."""

_ASSET = re.compile(r"/(?:wp-includes/|wp-content/[\w.-]+/)")
_ROOTS = re.compile(r"/app/(?:(?:mu-)?(plugin|theme)s/[\w.-]+/|(upload)s/20\d\d/\d\d/)")
"""Where Bedrock (roots.io) keeps what others keep in `wp-content`; one such folder alone may be
anybody's."""

_CODE = re.compile(r"\.(?:css|js)(?:$|[?#])")
_BACKEND = re.compile(
    r"(?:cms|content|wp|wordpress|admin|backend|api|cdn|static|media|assets|im(?:g|ages?))\d*\."
)
_CONTENT = r"/(?:wp-content|app)/"
# WordPress.com sorts its themes into folders.
_THEME = re.compile(rf"{_CONTENT}themes/(?:(?:pub|premium|vip|a8c|h4)/)?([\w.-]+)/")
_PLUGIN = re.compile(rf"{_CONTENT}(?:mu-)?plugins/([\w.-]+)/")
_THEME_CLASS = re.compile(r"wp-(?:child-)?theme-([\w-]+)")
_CHILD = re.compile(r"[-_]child(?:[-_]theme)?$|^child[-_]", re.IGNORECASE)
_THEIRS = re.compile(r"[?&]ver=(\d{1,4}(?:\.\d{1,4}){1,3}(?:-?(?:alpha|beta|rc)[\w.]*)?)(?:$|[&#])")
_ELEMENTOR_CLASS = re.compile(r"elementor-(?:default|kit-\d+|page(?:-\d+)?|template-[\w-]+)")
_ELEMENTOR_ASSET = re.compile(r"/plugins/elementor(?:-pro)?/|/uploads/elementor/css/")
_ELEMENTOR_GENERATOR = re.compile(r"Elementor\s+(\d[\w.-]*)")
_ELEMENTOR_CONFIG = "elementorFrontendConfig"
_ELEMENTOR_VERSION = re.compile(r'elementorFrontendConfig\s*=\s*\{.*?"version":"(\d[\w.-]*)"')
_ELEMENTOR_FILE = re.compile(
    r"/plugins/elementor/assets/(?:css|js)/frontend[\w.-]*\?(?:[^#]*&)?ver=(\d[\w.-]*)"
)


@dataclass(frozen=True, slots=True)
class WordPress:
    """What is known of a WordPress site."""

    version: str | None
    version_from: str | None
    """`generator`, `core files` or `emoji script`; None without a version."""
    theme: str | None
    """Its directory's name; where a child theme stands on another, the other's."""
    theme_version: str | None
    child_theme: str | None
    plugins: dict[str, str | None]
    """Directory name to version, in the order of the page."""
    elementor: bool
    elementor_version: str | None
    evidence: list[str]
    """What shows WordPress: `generator`, `interfaces`, `core styles`, `files`."""


def wordpress(document: Document) -> WordPress | None:
    """Give what is known, or None for a site that does not run on WordPress.

    The word alone proves nothing, nor does a picture that lies on another site.
    """
    evidence = list(_evidence(document))
    if not evidence:
        return None
    version, version_from = _version(document)
    theme, child = _themes(document)
    plugins = dict.fromkeys(_names(_PLUGIN, document.assets))
    return WordPress(
        version=version,
        version_from=version_from,
        theme=theme,
        theme_version=_version_of(f"themes/{theme}/", document.assets, version),
        child_theme=child,
        plugins={
            name: _version_of(f"plugins/{name}/", document.assets, version) for name in plugins
        },
        elementor=_has_elementor(document),
        elementor_version=_elementor_version(document),
        evidence=evidence,
    )


def _evidence(document: Document) -> Iterator[str]:
    if any(_GENERATOR.match(text) for text in document.metas.get("generator", [])):
        yield "generator"
    if _is_announced(document):
        yield "interfaces"
    if any(node.attributes.get("id") in _CORE_STYLES for node in document.all("style")) or any(
        _SETTINGS in text for text in document.scripts
    ):
        yield "core styles"
    if _is_served(document):
        yield "files"


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


def _is_served(document: Document) -> bool:
    """Whether the site's own files lie where WordPress puts them, here or on its other hosts."""
    files = [url for url in document.assets if "/wp-" in url and _ASSET.search(path_of(url))]
    if any(_CODE.search(url) and _is_ours(document, url) for url in files):
        return True
    if sum(_is_own(document, url) or _is_backend(document, url) for url in files) > 1:
        return True
    found = filter(None, map(_ROOTS.search, document.assets))
    return len({match.groups() for match in found if _is_ours(document, match.string)}) > 1


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


def _version(document: Document) -> tuple[str | None, str | None]:
    """Give core's version, and where it stands."""
    if stated := _first(_STATED, document.metas.get("generator", [])):
        return stated, "generator"
    if loaded := _first(_JETPACK, document.assets) or _first(_CORE_FILE, document.assets):
        return loaded, "core files"
    scripts = (text.replace("\\/", "/") for text in document.scripts if "wp-emoji-release" in text)
    emoji = _first(_EMOJI, scripts)
    return emoji, "emoji script" if emoji else None


def _themes(document: Document) -> tuple[str | None, str | None]:
    """Give the theme, and the child theme that changes it."""
    classes = (
        found[1] for name in _body_classes(document) if (found := _THEME_CLASS.fullmatch(name))
    )
    names = list(dict.fromkeys([*_names(_THEME, document.assets), *classes]))
    children = [name for name in names if _CHILD.search(name)]
    parents = [name for name in names if name not in children]
    child = next(iter(children), None)
    return next(iter(parents), child), child


def _version_of(folder: str, assets: Iterable[str], core: str | None) -> str | None:
    """Give the version that most files of a theme or plugin bear.

    Core's is what stands there when the author named none; some are those of libraries within.
    """
    found = (_THEIRS.search(url) for url in assets if f"/{folder}" in url)
    versions = Counter(match[1] for match in found if match and match[1] != core)
    return max(versions, key=versions.__getitem__, default=None)


def _body_classes(document: Document) -> list[str]:
    body = document.tree.body
    return ((body.attributes.get("class") or "") if body else "").split()


def _has_elementor(document: Document) -> bool:
    return (
        any(_ELEMENTOR_CLASS.fullmatch(name) for name in _body_classes(document))
        or any(map(_ELEMENTOR_GENERATOR.match, document.metas.get("generator", [])))
        or any(map(_ELEMENTOR_ASSET.search, document.assets))
        or any(f"var {_ELEMENTOR_CONFIG}" in text for text in document.scripts)
    )


def _elementor_version(document: Document) -> str | None:
    configs = (text for text in document.scripts if _ELEMENTOR_CONFIG in text)
    return (
        _first(_ELEMENTOR_GENERATOR, document.metas.get("generator", []))
        or _first(_ELEMENTOR_VERSION, configs)
        or _first(_ELEMENTOR_FILE, document.assets)
    )


def _names(pattern: re.Pattern[str], assets: Iterable[str]) -> Iterator[str]:
    yield from (found[1] for url in assets if (found := pattern.search(url)))


def _first(pattern: re.Pattern[str], texts: Iterable[str]) -> str | None:
    """Give the first group that any text fills."""
    matches = (found for text in texts if (found := pattern.search(text)))
    return next((group for found in matches for group in found.groups() if group), None)
