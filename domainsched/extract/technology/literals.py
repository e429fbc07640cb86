"""Which texts must be there before a regex or a CSS selector can match: food for the prefilter.

Read from the pattern as written, since Python's parser of regexes is private and does not know
JavaScript's. What is not understood promises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHORTEST = 3
"""Shorter texts stand in every page."""
_MOST = 40

_QUANTIFIER = re.compile(r"(?:([*?])|(\+)|\{(\d*)(?:,\d*)?\})[?+]?")
_GROUP = re.compile(r"\?(?::|P?<(?![=!])\w+>|(?=[=!]|<[=!])|[aimsuxL-]+:?|#[^)]*)")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|c[A-Za-z]|[pP]\{\w+\}|\d+|.)", re.DOTALL
)

_RUN = re.compile(r"""(?:[\w/ ,:;=@"'<>&#%!~-]|\\[./?+*(){}|^$\[\]-])+(?![*+?{])""", re.ASCII)
"""Characters that stand for themselves, and are there once."""

_COMMON = frozenset({"/plugins/", "/themes/", "/images/", "/assets/", "/modules/", "/uploads/"})
_COMMON |= {".min.js", "config", "running ", "data-href", "cookieconsent"}
"""In many pages, and beside texts that say more."""

Needs = frozenset[str]
"""Texts in lower case, one of which must occur; none: nothing is certain."""
_NOTHING: Needs = frozenset()


def of_regex(pattern: str) -> Needs:
    """Give the texts one of which is in whatever the regex matches, in any case of letters."""
    try:
        return _Reader(pattern).alternatives()
    except RecursionError:
        return _NOTHING


class _Reader:
    """Reads a regex from left to right, once."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def alternatives(self) -> Needs:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return _any_of(branches)

    def _sequence(self) -> Needs:
        best, run = _NOTHING, ""
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            if plain := _RUN.match(self._pattern, self._at):
                self._at = plain.end()
                run += plain[0].replace("\\", "").lower()
                continue
            atom = self._atom()
            least, is_repeated = self._quantifier()
            if isinstance(atom, str):
                run += atom * min(least, 1)
                atom = _NOTHING
                if least and not is_repeated:
                    continue
            best = _better(best, _kept([run]))
            best = _better(best, atom if least else _NOTHING)
            run = ""
        return _better(best, _kept([run]))

    def _atom(self) -> str | Needs:
        """Read one thing that a quantifier may follow: a character, or what a group needs."""
        if self._take("("):
            return self._group()
        for form in (_CLASS, _ESCAPE):
            if match := form.match(self._pattern, self._at):
                self._at = match.end()
                return _character(match[0])
        self._at += 1
        character = self._pattern[self._at - 1]
        return _character(character) if character not in "^$.*+?" else _NOTHING

    def _group(self) -> Needs:
        kind = _GROUP.match(self._pattern, self._at)
        self._at = kind.end() if kind else self._at
        is_around = self._pattern.startswith(("=", "!", "<=", "<!"), self._at) and bool(kind)
        needs = self.alternatives()
        self._take(")")
        return _NOTHING if is_around else needs

    def _quantifier(self) -> tuple[int, bool]:
        """Read how often the last thing must be there, and whether it may be there more often."""
        match = _QUANTIFIER.match(self._pattern, self._at)
        if not match:
            return 1, False
        self._at = match.end()
        return (0 if match[1] else 1 if match[2] else int(match[3] or 0)), True

    def _take(self, character: str) -> bool:
        if self._pattern.startswith(character, self._at):
            self._at += 1
            return True
        return False


def _character(text: str) -> str | Needs:
    """Give the character that is meant: itself, escaped, or a class of one."""
    character = text if len(text) == 1 else text[1:] if text[0] == "\\" else text[1:-1]
    is_special = text[0] == "\\" and (character.isalnum() or character == "_")
    if len(character) != 1 or is_special or text == "[^]" or not character.isascii():
        return _NOTHING
    return character.lower()


def _kept(texts: Iterable[str]) -> Needs:
    found = frozenset(texts)
    fits = found and len(found) <= _MOST and min(map(len, found)) >= _SHORTEST
    return found if fits else _NOTHING


def _any_of(branches: list[Needs]) -> Needs:
    return _kept(frozenset().union(*branches)) if all(branches) else _NOTHING


def _better(one: Needs, other: Needs) -> Needs:
    if not (one and other):
        return one or other
    return max(one, other, key=_worth)


def _worth(needs: Needs) -> tuple[int, int]:
    """Rank by the length of the shortest, and few before many."""
    return min(map(_length, needs), default=0), -len(needs)


def _length(text: str) -> int:
    """Give the length, with what is in many pages taken for short."""
    return min(len(text), _SHORTEST + 1) if text in _COMMON else len(text)


_FUNCTION = re.compile(r":(?:not|is|where|has|matches|host)\(.*\)")
_PSEUDO = re.compile(r"::?[\w-]+(?:\([^)]*\))?")
_ATTRIBUTE = re.compile(
    r"""\[\s*([\w:-]+)\s*(?:[~|^$*]?=\s*(?:"([^"]*)"|'([^']*)'|([^\]\s]*)))?[^\]]*\]"""
)
_NAME = re.compile(r"[.#]([A-Za-z_-][\w-]*)", re.ASCII)
_TAG = re.compile(r"(?:^|[\s>+~])([a-z][\w-]*)", re.IGNORECASE)
_PLAIN = re.compile(r"[\w./:\[\]-]+", re.ASCII)
_EVERYWHERE = frozenset({"class", "href", "name", "content", "type", "style", "title", "value"})
_ESCAPED = re.compile(r"\\([^0-9a-fA-F\n])")
_UNWRITTEN = frozenset({"html", "head", "body", "tbody", "tr", "colgroup"})
"""Elements that a parser makes without their being written."""


def of_selector(selector: str) -> Needs:
    """Give the texts one of which is in the markup, as written, if the selector matches."""
    plain = _ESCAPED.sub(r"\1", selector)
    alternatives = _split(_FUNCTION.sub("", plain))
    return _any_of([_kept(_longest(_parts(alternative))) for alternative in alternatives])


def _split(selector: str) -> list[str]:
    return re.split(r""",(?=(?:[^"'\]]|"[^"]*"|'[^']*'|\[[^\]]*\])*$)(?![^\[]*\])""", selector)


def _parts(alternative: str) -> list[str]:
    """Give what the markup must hold: words of attributes, classes and ids, else tags."""
    parts: list[str] = []
    for name, *values in _ATTRIBUTE.findall(alternative):
        parts += [] if name.lower() in _EVERYWHERE else [name]
        parts += [word for value in values for word in _PLAIN.findall(value)]
    rest = _PSEUDO.sub("", _ATTRIBUTE.sub("", alternative))
    parts += _NAME.findall(rest)
    if _kept(_longest(parts)):
        return parts
    tags = (tag for tag in _TAG.findall(_NAME.sub("", rest)) if tag.lower() not in _UNWRITTEN)
    return [f"<{tag}" for tag in tags]


def _longest(parts: list[str]) -> list[str]:
    return [max(map(str.lower, parts), key=_length)] if parts else []
