"""Which signs a page shows: first what may match, by look-up and one scan; then what does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from domainsched.extract.encoding import clean
from domainsched.extract.technology.index import Index, Scanner, fold
from domainsched.extract.technology.signs import Addresses, Page
from domainsched.extract.technology.table import Sign

_MAX_WHERE = 200
_MAX_UNFILTERED = 100_000
"""Characters in which a pattern is looked for that needs no text for certain; ours all do."""
_MAX_VALUE = 2_000
"""Characters of a header or a meta's content that are looked at."""
_MAX_NODES = 20
"""Selected elements whose text or attribute is looked at."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A sign that a page shows."""

    sign: Sign
    where: str
    """What matched, in short."""
    version: str = ""


def hits(page: Page, index: Index) -> Iterator[Hit]:
    """Yield the signs of the table that the page shows; one may come several times."""
    yield from _of_addresses("host", page.hosts, index)
    yield from _of_addresses("link", page.links, index)
    yield from _of_values("meta", page.document.metas.items(), index)
    yield from _of_values("header", ((n, [v]) for n, v in page.document.headers.items()), index)
    yield from _of_cookies(page, index)
    for place, lines in _LINES.items():
        if scanner := index.scanners.get(place):
            yield from _of_lines(lines(page), scanner)
    yield from _of_text("text", page.text, index)
    yield from _of_text("url", page.document.url, index)
    yield from _of_markup(page, index)


def _of_addresses(place: str, addresses: Addresses, index: Index) -> Iterator[Hit]:
    by_host = index.named.get(place, {})
    for host, paths in addresses.items():
        for sign in (sign for parent in _parents(host) for sign in by_host.get(parent, ())):
            path = next((path for path in paths if _is_below(path, sign.key)), None)
            if path is not None:
                yield Hit(sign, _short(host + path))


def _parents(host: str) -> Iterator[str]:
    while host:
        yield host
        host = host.partition(".")[2]


def _is_below(path: str, key: str) -> bool:
    """Tell whether a path begins with all the segments of a `host/path`."""
    wanted = key.partition("/")[2].lower()
    rest = path[1:].removeprefix(wanted)
    return not wanted or (len(rest) < len(path[1:]) and rest[:1] in {"", "/", "?"})


def _of_values(place: str, values: Iterable[tuple[str, list[str]]], index: Index) -> Iterator[Hit]:
    by_name = index.named.get(place, {})
    for name, texts in values:
        for sign in by_name.get(name, ()):
            found = _search(sign, [text[:_MAX_VALUE] for text in texts], f"{name}: ")
            yield from found if name != "set-cookie" else (replace(h, where=name) for h in found)


def _of_cookies(page: Page, index: Index) -> Iterator[Hit]:
    """Yield what the cookies' names, and for some signs their values, tell."""
    by_beginning, by_name = index.named.get("cookie", {}), index.named.get("cookie-name", {})
    for name, value in page.cookies.items():
        signs = [
            sign for key in filter(name.startswith, by_beginning) for sign in by_beginning[key]
        ]
        for sign in signs + by_name.get(name, []):
            yield from (replace(hit, where=name) for hit in _search(sign, [value]))


def _of_lines(lines: list[str], scanner: Scanner) -> Iterator[Hit]:
    for sign, line in scanner.in_lines(lines):
        yield from _search(sign, [line])


_LINES: Mapping[str, Callable[[Page], list[str]]] = {
    "file": lambda page: page.files,
    "script": lambda page: page.script_urls,
}
"""By place: taken from the page if the table has any signs for it."""


def _of_text(place: str, text: str, index: Index) -> Iterator[Hit]:
    if scanner := index.scanners.get(place):
        for sign in scanner.candidates(fold(text)):
            yield from _search(sign, [text])


def _of_markup(page: Page, index: Index) -> Iterator[Hit]:
    if scanner := index.scanners.get("markup"):
        for sign in scanner.candidates(page.folded):
            if sign.place == "select":
                yield from _selected(sign, page)
            else:
                text = _PARTS[sign.place](page)
                yield from _search(sign, [text if sign.needs else text[:_MAX_UNFILTERED]])


_PARTS: Mapping[str, Callable[[Page], str]] = {
    "inline": lambda page: page.inline,
    "comment": lambda page: page.document.comments,
    "markup": lambda page: page.markup,
}
"""Of the markup, taken apart for the pages that need it."""


def _selected(sign: Sign, page: Page) -> Iterator[Hit]:
    if not sign.part:
        if page.document.tree.css_first(sign.key) is not None:
            yield Hit(sign, _short(sign.key), sign.version(None))
        return
    nodes = page.document.tree.css(sign.key)[:_MAX_NODES]
    name = sign.part.removeprefix("@")
    if sign.part == "text":
        values = [node.text() for node in nodes]
    else:
        found = (node.attributes for node in nodes)
        values = [attributes[name] or "" for attributes in found if name in attributes]
    yield from _search(sign, [value[:_MAX_VALUE] for value in values])


def _search(sign: Sign, texts: Iterable[str], name: str = "") -> Iterator[Hit]:
    for text in texts:
        if sign.pattern is None:
            yield Hit(sign, _short(name + text), sign.version(None))
        elif match := sign.pattern.search(text):
            where = text if name or len(text) <= _MAX_WHERE else match.group() or ""
            yield Hit(sign, _short(name + where), sign.version(match))


def _short(text: str) -> str:
    return clean(text[:_MAX_WHERE])
