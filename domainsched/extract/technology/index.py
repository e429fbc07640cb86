"""The table turned round: from what a page holds to the signs that may match it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, product

from ahocorasick_rs import BytesAhoCorasick, Implementation

from domainsched.extract.technology.table import Sign, Technology

_SCANNED = {"inline": "markup", "comment": "markup", "select": "markup"}
"""Places that are part of another one, so that one scan serves for all."""


@dataclass(frozen=True)
class Index:
    """The signs of a table by what leads to them."""

    technologies: Mapping[str, Technology]
    named: Mapping[str, Mapping[str, list[Sign]]]
    """By place, then by key; those of addresses by host alone."""
    scanners: Mapping[str, Scanner]
    """By place."""


class Scanner:
    """Finds which signs may match a text, in one pass for all their literals (Aho-Corasick)."""

    def __init__(self, signs: Iterable[Sign]) -> None:
        by_text: dict[bytes, list[Sign]] = {}
        self._always: list[Sign] = []
        for sign in signs:
            for text in sign.needs:
                by_text.setdefault(text.encode(), []).append(sign)
            self._always += [] if sign.needs else [sign]
        self._signs = list(by_text.values())
        # a DFA is twice as fast as what it would choose by itself, and small for what we ask
        self._automaton = BytesAhoCorasick(list(by_text), implementation=Implementation.DFA)

    def candidates(self, folded: bytes) -> Iterator[Sign]:
        """Yield each sign that may match the text, given as `fold` does."""
        yield from self._always
        hits = {hit for hit, _, _ in self._hits(folded)}
        found = {id(sign): sign for hit in sorted(hits) for sign in self._signs[hit]}
        yield from found.values()

    def in_lines(self, lines: list[str]) -> Iterator[tuple[Sign, str]]:
        """Yield each sign that may match with each of the lines that it may match."""
        yield from product(self._always, lines)
        folded = fold("\n".join(lines))
        starts = list(accumulate((len(line) + 1 for line in folded.split(b"\n")), initial=0))
        found: dict[tuple[int, int], Sign] = {}
        for hit, start, _ in self._hits(folded):
            at = bisect_right(starts, start) - 1
            found |= {(id(sign), at): sign for sign in self._signs[hit]}
        yield from ((sign, lines[at]) for (_, at), sign in found.items())

    def _hits(self, text: bytes) -> list[tuple[int, int, int]]:
        return self._automaton.find_matches_as_indexes(text, overlapping=True)


def fold(text: str) -> bytes:
    """Give the text with its ASCII letters in lower case: no literal has any other."""
    return text.encode("utf-8", "replace").lower()


def index(technologies: Mapping[str, Technology]) -> Index:
    """Turn a table round."""
    named: dict[str, dict[str, list[Sign]]] = {}
    scanned: dict[str, list[Sign]] = {}
    for sign in (sign for technology in technologies.values() for sign in technology.signs):
        if sign.key and sign.place != "select":
            key = sign.key.partition("/")[0] if sign.place in {"host", "link"} else sign.key
            named.setdefault(sign.place, {}).setdefault(key, []).append(sign)
        else:
            scanned.setdefault(_SCANNED.get(sign.place, sign.place), []).append(sign)
    scanners = {place: Scanner(signs) for place, signs in scanned.items()}
    return Index(technologies, named, scanners)
