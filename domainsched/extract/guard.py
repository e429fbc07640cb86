"""A bound on what a page may cost the parser, from one linear look at its tags."""

from __future__ import annotations

import re

_MAX_STEPS = 20_000_000
"""Open elements walked over, summed over all tags: 0.1 s of lexbor, measured. The worst of 236
real pages needed 0.23 million."""

_MAX_CLONES = 1_000_000
"""Formatting elements that may be open, summed over all tags: each may be cloned once a tag
(HTML, section 13.2.4.3). The worst of 236 real pages needed 0.18 million."""

_MAX_PAIRS = 20_000_000
"""Pairs of attributes in one tag, summed over the tags: each new name is compared with all
before it."""

_LONG_TAG = 1_000
"""Characters; tags below it hold too few attributes to matter."""

_CHEAP = 1_400
"""Tags; with fewer no limit can be reached, whatever they are."""

_FORMATTING = frozenset(["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small"]) | {
    *("strike", "strong", "tt", "u")
}
_SELF_CLOSING = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
        "p",
        "li",
        "dd",
        "dt",
        "option",
        "tr",
        "td",
        "th",
        "tbody",
        "thead",
        "tfoot",
        "colgroup",
    ]  # close one another
)

# Every "<name" counts, in comments and scripts too: a scanner that skips those can be led to skip
# what the parser will see.
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_WITH_ATTRIBUTES = re.compile(
    r"""<[a-zA-Z](?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+'|))*+""", flags=re.DOTALL
)
_VALUE = re.compile(r"""=\s*+(?:"[^"]*+"|'[^']*+'|)""")


def cut(text: str) -> str:
    """Give the longest beginning of `text` that lexbor parses in bounded time; mostly all of it.

    Lexbor is quadratic in open elements and in attributes, and worse in unclosed formatting. The
    count is an estimate from above for markup that nests as it says; markup made to fool it is
    left to the kill timer of the extraction pool.
    """
    return text[: min(_nesting_limit(text), _attribute_limit(text))]


def _nesting_limit(text: str) -> int:
    if text.count("<") <= _CHEAP:
        return len(text)
    open_elements: dict[str, int] = {}
    depth = formatting = steps = clones = 0
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        change = _change(open_elements, name, closing=bool(tag[1]))
        depth += change
        formatting += change * (name in _FORMATTING)
        steps += depth
        clones += formatting
        if steps > _MAX_STEPS or clones > _MAX_CLONES:
            return tag.start()
    return len(text)


def _change(open_elements: dict[str, int], name: str, *, closing: bool) -> int:
    if name in _SELF_CLOSING:
        return 0
    count = open_elements.get(name, 0)
    if not closing:
        open_elements[name] = count + 1
        return 1
    if count and name not in {"html", "body"}:  # their attributes go on being merged
        open_elements[name] = count - 1
        return -1
    return 0


def _attribute_limit(text: str) -> int:
    pairs = 0
    for tag in _WITH_ATTRIBUTES.finditer(text):
        if tag.end() - tag.start() < _LONG_TAG:
            continue
        names = len(_VALUE.sub(" ", tag[0]).replace("/", " ").split())
        pairs += names * names // 2
        if pairs > _MAX_PAIRS:
            return tag.start()
    return len(text)
