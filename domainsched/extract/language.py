"""The language of a page: what it declares, checked against the words it uses."""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from domainsched.extract.document import Document

_TAG = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|\d{3}))?(?![a-z0-9])")
_WORD = re.compile(r"[^\W\d_]+")
_ASCII = re.compile(r"[\x00-\x7f]+")
_NO_LETTERS = bytes(
    code if code >= 0x80 or chr(code).isalpha() else 0x20  # noqa: PLR2004 - where ASCII ends
    for code in range(0x100)
)
"""UTF-8 to UTF-8, with a blank for what is no letter of ASCII."""
_MANY_MARKS = 50
"""Of one text; more are not taken out one by one."""
_SAMPLE = 5_000
"""Characters of text that are looked at."""

_ENOUGH = 8
"""Signs of a language below which a text does not contradict a declaration."""

_FEW = 3
"""Signs below which a text that declares nothing says nothing."""

_ALIASES = {
    "in": "id", "iw": "he", "ji": "yi", "nb": "no", "nn": "no", "sh": "sr",
    "jp": "ja", "cz": "cs", "gr": "el", "dk": "da", "us": "en", "gb": "en", "ua": "uk",
    "cn": "zh", "at": "de", "eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr",
    "ita": "it", "spa": "es", "por": "pt", "nld": "nl", "dut": "nl", "rus": "ru", "pol": "pl",
    "jpn": "ja", "zho": "zh", "chi": "zh", "kor": "ko", "tur": "tr", "swe": "sv", "ces": "cs",
}  # fmt: skip
"""Withdrawn codes (RFC 5646, section 4.5), three letters where two exist (section 2.2.1), and
country codes that name no language and are often written instead."""

_MISTAKEN = {"se": "sv", "br": "pt", "kr": "ko", "tw": "zh", "ch": "de", "ee": "et", "si": "sl"}
"""Country codes that do name another language: corrected only if the words say so."""

_REGIONS = {"UK": "GB"}

_BLOCKS = (
    *((0x0370, "el"), (0x0400, "cyrillic"), (0x0530, "hy"), (0x0590, "he"), (0x0600, "arabic")),
    *((0x0700, ""), (0x0750, "arabic"), (0x0780, ""), (0x0900, "devanagari"), (0x0980, "bn")),
    *((0x0A00, "pa"), (0x0A80, "gu"), (0x0B00, ""), (0x0B80, "ta"), (0x0C00, "te")),
    *((0x0C80, "kn"), (0x0D00, "ml"), (0x0D80, "si"), (0x0E00, "th"), (0x0E80, "lo")),
    *((0x0F00, ""), (0x1000, "my"), (0x10A0, "ka"), (0x1100, "ko"), (0x1200, "am")),
    *((0x13A0, ""), (0x1780, "km"), (0x1800, ""), (0x1F00, "el"), (0x2000, "")),
    *((0x3041, "ja"), (0x3100, ""), (0x3130, "ko"), (0x3190, ""), (0x4E00, "zh")),
    *((0xA000, ""), (0xAC00, "ko"), (0xD7B0, ""), (0xFB50, "arabic"), (0xFE00, "")),
)
"""The blocks of Unicode where a script begins, and its only language, or its name."""

_STARTS = [start for start, _ in _BLOCKS]


@dataclass(frozen=True, slots=True)
class _Signs:
    """By which words and letters a language of a script shows itself: `languages.json`.

    Related languages share most of theirs; where two are equal the first counts, or the declared
    one. A letter is there if few languages of its script write it.
    """

    scripts: dict[str, list[str]]
    """The languages of a script that has several."""
    words: dict[str, tuple[str, ...]]
    letters: dict[str, tuple[str, ...]]
    """By word, and by letter, every language that has it."""


@dataclass(frozen=True, slots=True)
class Languages:
    """What is known of a page's language, as BCP 47 tags like `en` or `de-AT`."""

    declared: tuple[str, ...]
    """Every declaration, the most binding first, each once."""
    detected: str | None
    """By the words; None if they do not say it plainly."""
    language: str | None
    """The first declaration, unless the words plainly say otherwise: "en" is what many systems
    declare when nobody chose."""


def languages(document: Document) -> Languages:
    """Compare what the page declares with the words it uses."""
    tags = filter(None, map(normalise, _declarations(document)))
    declared = tuple(dict.fromkeys(tags))
    first = declared[0] if declared else None
    primary = first.split("-")[0] if first else None
    detected = detect(_sample(document), primary)
    agrees = detected is None or detected == primary
    return Languages(declared, detected, first if first and agrees else detected)


def normalise(text: str) -> str | None:
    """Give language and region of a tag in its usual writing, or None if it is none."""
    found = _TAG.match(text.strip().lower())
    if not found:
        return None
    primary = _ALIASES.get(found[1], found[1])
    region = (found[3] or "").upper()
    return f"{primary}-{_REGIONS.get(region, region)}" if region else primary


def detect(text: str, declared: str | None = None) -> str | None:
    """Give the language of a text, or None if it is not plain.

    `declared` is what the text must contradict plainly; its signs count as much as any others.
    """
    text = text.lower()
    characters = Counter(_ASCII.sub("", text))  # no language is known by those
    script = _script(characters, text)
    candidates = _table().scripts.get(script)
    if candidates is None:
        return script
    signs = _signs(text, characters)
    best = max(candidates, key=signs.__getitem__)
    if script != "latin" and not signs[best]:
        return declared if declared in candidates else best
    return _weigh(signs, best, declared)


def _weigh(signs: Counter[str], best: str, declared: str | None) -> str | None:
    if declared is None:
        return best if signs[best] >= _FEW else None
    if not any(declared in languages for languages in _table().scripts.values()):
        return best if _MISTAKEN.get(declared) == best and signs[best] >= _FEW else None
    contradicts = signs[best] >= _ENOUGH and signs[best] > 2 * signs[declared]
    return best if contradicts else declared if signs[declared] else None


def _declarations(document: Document) -> list[str]:
    roots = [node.attributes for node in (document.tree.root, document.tree.body) if node]
    attributes = [root.get(name) for root in roots for name in ("lang", "xml:lang")]
    names = ("content-language", "og:locale", "language", "dc.language", "inlanguage")
    metas = [document.meta(name) for name in names]
    header = document.headers.get("content-language")
    return [part for value in (*attributes, *metas, header) if value for part in value.split(",")]


def _sample(document: Document) -> str:
    """Give the page's words; the description helps where there are few."""
    return f"{document.text[:_SAMPLE]}\n{document.meta('description') or ''}"


def _signs(text: str, characters: Counter[str]) -> Counter[str]:
    """Count each language's words and letters."""
    table = _table()
    # By the languages that share them: those are few, and C counts them.
    found = Counter(map(table.words.get, _words(text, characters)))
    for letter in table.letters.keys() & characters.keys():
        found[table.letters[letter]] += characters[letter]
    del found[None]
    signs: Counter[str] = Counter()
    for languages, count in found.items():
        for language in languages or ():
            signs[language] += count
    return signs


def _words(text: str, characters: Collection[str]) -> list[str]:
    """Give the words of a text in lower case; `characters` are those beyond ASCII."""
    marks = [mark for mark in characters if not mark.isalnum() or mark.isdecimal()]
    if len(marks) > _MANY_MARKS:
        return _WORD.findall(text)
    for mark in marks:
        text = text.replace(mark, " ")
    # as the pattern would, in half the time
    return text.encode("utf-8", "replace").translate(_NO_LETTERS).decode().split()


def _script(characters: Counter[str], text: str) -> str:
    """Give the script of at least a third of the letters, or its only language; else `latin`."""
    found: Counter[str] = Counter()
    for character, count in characters.items():
        if character >= "\u0370":
            found[_BLOCKS[bisect(_STARTS, ord(character)) - 1][1]] += count
    del found[""]
    if not found:
        return "latin"
    letters = sum(map(len, _words(text, characters)))
    if found["ja"] >= _ENOUGH and 10 * found["ja"] > letters:  # among Chinese characters
        return "ja"
    script, count = found.most_common(1)[0]
    return script if count >= 2 * _ENOUGH and 3 * count > letters else "latin"


@cache
def _table() -> _Signs:
    text = files("domainsched.extract").joinpath("languages.json").read_text("utf-8")
    table = _Signs({}, {}, {})
    for script, languages in json.loads(text).items():
        table.scripts[script] = list(languages)
        for language, signs in languages.items():
            for word in signs["words"].split():
                table.words[word] = (*table.words.get(word, ()), language)
            for letter in signs["letters"]:
                table.letters[letter] = (*table.letters.get(letter, ()), language)
    return table
