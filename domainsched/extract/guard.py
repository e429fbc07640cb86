"""A bound on what a page may cost the parser, from one linear look at its tags."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import islice

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
_ROOTS = frozenset(["html", "body"])
"""Their end tags end nothing: attributes go on being merged into them."""

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
_TAG = re.compile(r"<(/?[a-zA-Z][^\s/>]*+)")
_FORMATTING_TAG = re.compile(
    r"<(?=[aAbBcCeEfFiInNsStTuU])(?:[aAbBiIsSuU]|[bB][iI][gG]|[eE][mM]|[tT][tT]|[cC][oO][dD][eE]|[fF][oO][nN][tT]"
    r"|[nN][oO][bB][rR]|[sS][mM][aA][lL]{2}|[sS][tT][rR][iI][kK][eE]|[sS][tT][rR][oO][nN][gG])"
    r"[\s/>]"
)
"""All of `_FORMATTING`; the flag for either case would cost three times as much."""

_WITH_ATTRIBUTES = re.compile(r"""<[a-zA-Z][^>=]*+(?:=\s*+(?:"[^"]*+"|'[^']*+'|)[^>=]*+)*+""")
_VALUE = re.compile(r"""=\s*+(?:"[^"]*+"|'[^']*+'|)""")


def cut(text: str) -> str:
    """Give the longest beginning of `text` that lexbor parses in bounded time; mostly all of it.

    Lexbor is quadratic in open elements and in attributes, and worse in unclosed formatting. The
    count is an estimate from above for markup that nests as it says; markup made to fool it is
    left to the kill timer of the extraction pool.
    """
    return text[: min(_nesting_limit(text), _attribute_limit(text))]


def _nesting_limit(text: str) -> int:
    if _is_harmless(text):
        return len(text)
    tags = _TAG.findall(text)
    effects = {tag: _effect(tag) for tag in set(tags)}
    number = _too_many(tags, effects)
    return len(text) if number is None else next(islice(_TAG.finditer(text), number, None)).start()


def _is_harmless(text: str) -> bool:
    """Whether no limit could be reached, even if nothing that opens were ever closed."""
    tags = text.count("<")
    if tags <= _CHEAP:
        return True
    if tags * tags > _MAX_STEPS and tags * (tags - text.count("</")) > _MAX_STEPS:
        return False
    return tags * len(_FORMATTING_TAG.findall(text)) <= _MAX_CLONES


def _effect(tag: str) -> tuple[str, int, bool]:
    """Give the name, by how much a tag opens or closes it, and whether it is formatting."""
    name = tag.removeprefix("/").lower()
    ends = name != tag.lower()
    if name in _SELF_CLOSING or (ends and name in _ROOTS):
        return name, 0, False
    return name, -1 if ends else 1, name in _FORMATTING


def _too_many(tags: list[str], effects: Mapping[str, tuple[str, int, bool]]) -> int | None:
    """Give the number of the tag that goes beyond a limit. The loop is the guard's whole cost."""
    open_elements: defaultdict[str, int] = defaultdict(int)
    depth = formatting = steps = clones = 0
    for number, tag in enumerate(tags):
        name, change, formats = effects[tag]
        if change > 0 or (change and open_elements[name]):
            open_elements[name] += change
            depth += change
            if formats:
                formatting += change
        steps += depth
        clones += formatting
        if steps > _MAX_STEPS or clones > _MAX_CLONES:
            return number
    return None


def _attribute_limit(text: str) -> int:
    # Few pages have long tags, and next to none too many pairs: those are looked at a second time.
    long_tags = [tag for tag in _WITH_ATTRIBUTES.findall(text) if len(tag) >= _LONG_TAG]
    if sum(map(_pairs, long_tags)) <= _MAX_PAIRS:
        return len(text)
    pairs = 0
    for tag in _WITH_ATTRIBUTES.finditer(text):
        pairs += _pairs(tag[0]) if len(tag[0]) >= _LONG_TAG else 0
        if pairs > _MAX_PAIRS:
            return tag.start()
    return len(text)


def _pairs(tag: str) -> int:
    names = len(_VALUE.sub(" ", tag).replace("/", " ").split())
    return names * names // 2
