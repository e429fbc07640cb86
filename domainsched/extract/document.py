"""A page, decoded and parsed once: what every rule of extraction reads."""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from ahocorasick_rs import BytesAhoCorasick
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from domainsched.extract import guard
from domainsched.extract.encoding import clean, decode

_KNOWN = LexborHTMLParser("")


def _ids(names: str) -> frozenset[int]:
    """Give the numbers by which the parser knows these tags: they are read faster than names."""
    return frozenset(_KNOWN.create_node(name).tag_id for name in names.split())


_INVISIBLE = _ids(
    "script style template svg math iframe object select textarea head title noembed noframes xmp"
    " canvas audio video datalist"
)
_INLINE = _ids(
    "a abbr b bdi bdo big cite code data del em font i ins kbd label mark nobr q s samp small span"
    " strike strong sub sup time tt u var wbr"
)
_FOREIGN = _ids("svg math")
"""What is in them is no HTML: a `<title>` there is a picture's."""

_TEXT = 2
"""Lexbor's number for texts (LXB_TAG__TEXT)."""

_COMMENT = re.compile(r"<!--([^<>]{1,120})")
_JSON_OPENING = re.compile(r"\s*(?:<!--|/\*.*?\*/|//<!\[CDATA\[)")
_ABSOLUTE = re.compile(r"https?://\w", re.IGNORECASE)
_NO_DIGITS = bytes(set(range(0x80)) - set(b"0123456789\n"))
_BREAKS = re.compile(r"[\t\r\n]")

_HOST = "[a-zA-Z0-9][a-zA-Z0-9.-]*+(?::[0-9]{1,4})?+"
_PIECE = r"!-\"$-.0-9<->@-\[\]-~"  # printable ASCII without # / : ; ? and the backslash
_PATH = rf"(?:/(?![./])[:{_PIECE}]*+)++"
_TAIL = r"(?:\?[!-\"$-\[\]-~]++)?+(?:\#[!-\[\]-~]++)?+"
_PLAIN = re.compile(
    rf"(?P<absolute>https?://{_HOST}(?:[/?\#][!-~]*+)?+)"
    rf"|(?P<network>//{_HOST}(?:{_PATH})?+{_TAIL})|(?P<rooted>{_PATH}{_TAIL})"
    rf"|(?P<relative>(?!\.)[{_PIECE}]++(?:/(?![./])[{_PIECE}]*+)*+{_TAIL})"
)
"""References that only need something put before them: no dots to resolve, nothing to escape, and
nothing empty or with parameters, which `urljoin` would write another way."""

_PLAIN_HOST = re.compile(r"https?://([a-zA-Z0-9.-]++)(?::[0-9]{1,4})?+(?=[/?#]|\Z)")
_PLAIN_PATH = re.compile(rf"https?://{_HOST}((?:/[!\"$->@-~]*+)?+)(?:[?\#][!-~]*+)?+")
"""URLs of which a part is what stands there: `urlsplit`, which takes ten times as long, would do
no more."""
_MAX_ASSETS = 500
_MAX_URL = 2_000
"""Characters; longer ones are data, not addresses, and cost every pattern that looks at them."""


Attributes = Mapping[str, str | None]
"""By name, in lower case; None where there is no value."""


Line = tuple[str, LexborNode]
"""A line of text that a reader sees, and the block it stands in."""


@dataclass(frozen=True)
class Document:
    """One page: its tree, and the views of it that several rules share. URLs are as written."""

    tree: LexborHTMLParser
    url: str
    headers: Mapping[str, str]
    """Names in lower case."""
    charset: str
    cut: bool
    """The markup went beyond the guard; only its beginning was parsed."""
    elements: Mapping[str, list[LexborNode]]
    """By tag name, in document order, without what lies in SVG."""
    lines: list[Line]
    """What a reader sees: one line a block, white space collapsed."""
    markup: str
    """What was parsed: for a glance whether a closer look can find anything."""
    folded: bytes
    """The markup in UTF-8, its ASCII letters in lower case: for a glance at names in any case."""

    def all(self, *tags: str) -> list[LexborNode]:
        """Give the elements with one of these tags, tag by tag, each in document order."""
        return [node for tag in tags for node in self.elements.get(tag, [])]

    def read(self, *tags: str) -> list[tuple[LexborNode, Attributes]]:
        """Give those elements, each with its attributes, which are read once: that is slow."""
        known = self._read
        for tag in tags:
            if tag not in known:
                known[tag] = [(node, node.attributes) for node in self.all(tag)]
        return [each for tag in tags for each in known[tag]]

    @cached_property
    def _read(self) -> dict[str, list[tuple[LexborNode, Attributes]]]:
        return {}

    @cached_property
    def text(self) -> str:
        """The lines, one after the other."""
        return "\n".join([line for line, _ in self.lines])

    def lines_with(self, texts: BytesAhoCorasick) -> list[int]:
        """Give the numbers of the lines in which one of these texts stands, after a single scan.

        For a first look: that is ten times as fast as searching for a pattern.
        """
        found = texts.find_matches_as_indexes(self._encoded_text)
        return sorted({bisect(self._line_starts, start) - 1 for _, start, _ in found})

    def lines_with_digits(self, least: int) -> list[int]:
        """Give the numbers of the lines that may hold so many digits: some of them hold fewer.

        What is not ASCII may be a digit of another script.
        """
        return [number for number, length in enumerate(self.digits) if length >= least]

    @cached_property
    def digits(self) -> list[int]:
        """How many characters of each line may be digits: what is not ASCII may be, too."""
        digits = self._encoded_text.translate(None, _NO_DIGITS)
        return [len(line) for line in digits.split(b"\n")]

    @cached_property
    def _encoded_text(self) -> bytes:
        return self.text.encode("utf-8", "replace")

    @cached_property
    def _line_starts(self) -> list[int]:
        lengths = map(len, self._encoded_text.split(b"\n"))
        return list(accumulate((length + 1 for length in lengths), initial=0))

    @cached_property
    def base(self) -> str:
        """What relative URLs are relative to (HTML, section 4.2.3)."""
        hrefs = (node.attributes.get("href") for node in self.all("base"))
        return join(self.url, next((href for href in hrefs if href), "")) or self.url

    @cached_property
    def host(self) -> str:
        """The page's host, in lower case, without `www.`."""
        return host_of(self.url)

    @cached_property
    def metas(self) -> Mapping[str, list[str]]:
        """Non-empty contents by lower-case `name`, `property`, `itemprop` or `http-equiv`."""
        found: dict[str, list[str]] = {}
        for _, attributes in self.read("meta"):
            content = clean(attributes.get("content") or "")
            for key in ("name", "property", "itemprop", "http-equiv"):
                name = (attributes.get(key) or "").strip().lower()
                if name and content:
                    found.setdefault(name, []).append(content)
        return found

    @cached_property
    def links(self) -> list[tuple[frozenset[str], Attributes]]:
        """Each `<link>`: its rel tokens in lower case, and its attributes."""
        return [
            (frozenset((attributes.get("rel") or "").lower().split()), attributes)
            for _, attributes in self.read("link")
        ]

    @cached_property
    def anchors(self) -> list[tuple[str, LexborNode]]:
        """Each `<a>` and `<area>` that leads somewhere: its href, trimmed, and its node."""
        hrefs = (((node.attrs.get("href") or "").strip(), node) for node in self.all("a", "area"))
        return [(href, node) for href, node in hrefs if href]

    @cached_property
    def scripts(self) -> list[str]:
        """The texts of the inline scripts."""
        return [node.text() for node in self.script_nodes]

    @cached_property
    def script_nodes(self) -> list[LexborNode]:
        """The inline scripts."""
        return [node for node, attributes in self.read("script") if not attributes.get("src")]

    @cached_property
    def assets(self) -> list[str]:
        """The URLs of what the page loads, without repeats: what it links to is no part of it."""
        wanted = {"stylesheet", "preload", "modulepreload", "preconnect", "dns-prefetch", "icon"}
        hrefs = [link.get("href") for rel, link in self.links if rel & wanted]
        for _, attributes in self.read("script", "iframe", "img", "embed"):
            hrefs.append(attributes.get("src") or attributes.get("data-src"))
        urls = (self.resolve(href) for href in hrefs if href)
        return list(dict.fromkeys(url for url in urls if url))[:_MAX_ASSETS]

    @cached_property
    def json_ld(self) -> list[dict[str, Any]]:
        """Every object in the page's JSON-LD, nested ones too, in document order."""
        nodes = [
            node
            for node, attributes in self.read("script")
            if "ld+json" in (attributes.get("type") or "").lower()
        ]
        return [item for node in nodes for item in _objects(_json(node.text()))]

    @cached_property
    def comments(self) -> str:
        """The beginnings of the comments, where plugins leave their names; one a line or more."""
        return "\n".join(_COMMENT.findall(self.markup))

    def meta(self, *names: str) -> str | None:
        """Give the first content under the first of these names that has one."""
        return next((self.metas[name][0] for name in names if name in self.metas), None)

    def resolve(self, href: str | None) -> str | None:
        """Give the absolute http(s) URL of a reference in the page, or None."""
        return join(self.base, href or "")


def parse(body: bytes, url: str, headers: Mapping[str, str]) -> Document:
    """Decode and parse a page; total on any bytes, and bounded as far as `guard` can tell."""
    headers = {name.lower(): value for name, value in headers.items()}
    text, charset = decode(body, headers.get("content-type", ""), host_of(url))
    beginning = guard.cut(text)
    encoded = beginning.encode("utf-8", "replace")
    # Mutation events make <select> quadratic in its options, and nothing here listens to them.
    tree = LexborHTMLParser(encoded, options=LexborDocumentOptions.WO_EVENTS)
    elements, lines = _walk(tree)
    return Document(
        tree=tree,
        url=url,
        headers=headers,
        charset=charset,
        cut=len(beginning) < len(text),
        elements=elements,
        lines=lines,
        markup=beginning,
        folded=encoded.lower(),
    )


@lru_cache(128)
def split(url: str) -> SplitResult:
    """Split a URL; one that cannot be split is empty."""
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def host_of(url: str) -> str:
    """Give a URL's host, in lower case, without `www.`; "" if it has none."""
    plain = _PLAIN_HOST.match(url)
    host = plain[1].lower() if plain else split(url).hostname or ""
    return host.removeprefix("www.")


def path_of(url: str) -> str:
    """Give a URL's path, as written."""
    plain = _PLAIN_PATH.fullmatch(url)
    return plain[1] if plain else split(url).path


def join(base: str, href: str) -> str | None:
    """Resolve `href` against `base`; None unless the result is an http(s) URL with a host."""
    href = href.strip()
    if not href or len(href) > _MAX_URL:
        return None
    if plain := _PLAIN.fullmatch(href):
        before = _before(base).get(plain.lastgroup or "")
        if before is not None:
            return before + href
    return _join(base, _BREAKS.sub("", href))


@lru_cache(64)
def _before(base: str) -> Mapping[str, str]:
    """Give what makes a plain reference absolute, by its kind: what `urljoin` would put there."""
    before = {"absolute": ""}
    found = _PLAIN.fullmatch(base)
    if found and found.lastgroup == "absolute":
        parts = urlsplit(base)
        before["network"] = f"{parts.scheme}:"
        before["rooted"] = f"{parts.scheme}://{parts.netloc}"
        before["relative"] = urljoin(base, "x").removesuffix("x")
    return before


def _join(base: str, href: str) -> str | None:
    try:
        url = href if _ABSOLUTE.match(href) else urljoin(base, href.replace("\\", "/"))
    except ValueError:
        return None
    parts = split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return clean(url).replace(" ", "%20")


def ancestors(node: LexborNode, limit: int = 12) -> Iterator[LexborNode]:
    """Yield the elements around `node`, nearest first; far ones say little about it."""
    parent = node.parent
    while parent is not None and limit and parent.tag != "-document":
        yield parent
        parent = parent.parent
        limit -= 1


def _walk(tree: LexborHTMLParser) -> tuple[dict[str, list[LexborNode]], list[Line]]:
    """Sort elements by their names, and visible text into lines, in one pass and document order.

    Pages nest deeper than Python's stack: what ends is known by the node that comes after it.
    """
    elements: defaultdict[int, list[LexborNode]] = defaultdict(list)
    lines = _Lines()
    foreign_until = hidden_until = 0
    nodes = iter(()) if tree.root is None else tree.root.traverse(include_text=True)
    next(nodes, None)  # the root itself
    for node in nodes:
        if hidden_until:
            identity = node.mem_id
            if foreign_until and identity != foreign_until:
                continue
            foreign_until = 0
            hidden_until = 0 if identity == hidden_until else hidden_until
        kind = node.tag_id
        if kind == _TEXT:
            if not hidden_until:
                lines.add(node)
            continue
        elements[kind].append(node)
        if kind not in _INLINE:
            lines.end()
            if kind in _INVISIBLE:
                hidden_until = hidden_until or _following(node)
                foreign_until = _following(node) if kind in _FOREIGN else 0
    lines.end()
    return {nodes[0].tag or "": nodes for nodes in elements.values()}, lines.done


def _following(node: LexborNode) -> int:
    """Give the identity of the first node behind all that `node` holds; 1, nobody's, if none."""
    around: LexborNode | None = node
    while around is not None:
        if (after := around.next) is not None:
            return after.mem_id
        around = around.parent
    return 1


class _Lines:
    """Puts text together: a line ends where a block begins or ends."""

    __slots__ = ("_around", "_block", "_parent", "done", "pieces")

    def __init__(self) -> None:
        self.done: list[Line] = []
        self.pieces: list[str] = []
        self._block: LexborNode | None = None
        self._parent = self._around = 0
        """Identities of the last text's parent and block."""

    def add(self, node: LexborNode) -> None:
        """Add a text to the line, or begin one with it."""
        text = node.text_content
        if not text or text.isspace():
            if self.pieces:
                self.pieces.append(" ")  # trimmed if the line ends here
            return
        parent = node.parent
        if parent is not None and (identity := parent.mem_id) != self._parent:
            self._parent = identity
            self._enter(parent)
        self.pieces.append(text)

    def _enter(self, block: LexborNode) -> None:
        while block.tag_id in _INLINE and (around := block.parent) is not None:
            block = around
        if (identity := block.mem_id) != self._around:
            self.end()
            self._around, self._block = identity, block

    def end(self) -> None:
        """End the line, if one has begun."""
        if not self.pieces:
            return
        text = clean("".join(self.pieces))
        self.pieces.clear()
        if text and self._block is not None:
            self.done.append((text, self._block))


def _json(text: str) -> Any:  # noqa: ANN401 - JSON is anything
    opening = _JSON_OPENING.match(text)
    text = text[opening.end() :].rstrip() if opening else text.rstrip()
    text = text.removesuffix("-->") if text.endswith("-->") else text.removesuffix("//]]>")
    try:
        return json.loads(text.rstrip().rstrip(";"), strict=False)
    except (ValueError, RecursionError):
        return None


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON is anything
    queue = deque([value])
    while queue:
        item = queue.popleft()
        if isinstance(item, dict):
            yield item
            queue.extendleft(reversed(item.values()))
        elif isinstance(item, list):
            queue.extendleft(reversed(item))
