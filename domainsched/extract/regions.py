"""The countries whose way of writing telephone numbers a page follows, and how that is known."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from ahocorasick_rs import AhoCorasick, Implementation

from domainsched.extract.document import Document, split

_MAX = 4
"""Countries tried for a number."""

_GENERIC_CCTLDS = frozenset(
    ["io", "co", "me", "tv", "ai", "fm", "ly", "to", "ws", "cc", "gg", "im", "sh", "ac", "st", "nu"]
) | {"la", "vc", "sx", "eu", "tk", "ml", "ga", "cf", "gq", "pw"}
"""Country codes that are mostly used for their look (and the European Union's)."""

_STATES = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]"
    "|UT|V[AT]|W[AIVY]"
)
_POSTCODES = (
    ("GB", r"\b[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}\b"),
    ("CA", r"\b[ABCEGHJ-NPRSTVXY]\d[A-Z] \d[A-Z]\d\b"),
    ("AU", r"\b(?:NSW|VIC|QLD|TAS|ACT|SA|WA|NT),? \d{4}\b(?!-)"),
    ("IE", r"\b[AC-FHKNPRTV-Y]\d[\dW] [AC-FHKNPRTV-Y\d]{4}\b"),
    ("BR", r"\bCEP:? ?\d{5}-\d{3}\b"),
    ("JP", r"〒 ?\d{3}-\d{4}\b"),
    ("US", rf"\b(?:{_STATES}),?\.? \d{{5}}(?:-\d{{4}})?\b"),
)
_ADDRESS = re.compile("|".join(f"(?P<{country}>{pattern})" for country, pattern in _POSTCODES))
"""Postal codes that only one country writes like that."""

_MAYBE_ADDRESS = re.compile(r"[A-Z\u3012](?=[A-Z\d]{0,2}[,.:]? ?\d)")
"""Where one may begin: found ten times as fast."""

_PREFIXED_POSTCODE = re.compile(r"([A-Z](?<!\w.)[A-Z]{0,2})[-\u2013]\d{4,5}\b")
_COUNTRY_OF_PREFIX = {"A": "AT", "B": "BE", "D": "DE", "F": "FR", "FIN": "FI", "H": "HU", "I": "IT"}
_COUNTRY_OF_PREFIX |= {"L": "LU"} | {code: code for code in ("CH", "CZ", "DK", "NL", "PL", "SK")}
"""The signs of the post are those of cars."""

_LOCALE_PATH = re.compile(r"/([a-z]{2})[-_]([a-z]{2})(?:/|$)", re.IGNORECASE)

_COUNTRY_OF_LANGUAGE = {
    "de": "DE", "fr": "FR", "it": "IT", "es": "ES", "pl": "PL", "ru": "RU", "nl": "NL", "tr": "TR",
    "cs": "CZ", "sk": "SK", "hu": "HU", "ro": "RO", "bg": "BG", "el": "GR", "sv": "SE", "da": "DK",
    "no": "NO", "nb": "NO", "nn": "NO", "fi": "FI", "uk": "UA", "be": "BY", "sr": "RS", "hr": "HR",
    "sl": "SI", "lt": "LT", "lv": "LV", "et": "EE", "ja": "JP", "ko": "KR", "zh": "CN", "vi": "VN",
    "th": "TH", "he": "IL", "id": "ID", "pt": "BR", "ca": "ES", "fa": "IR", "hi": "IN", "mk": "MK",
    "is": "IS", "sq": "AL", "ka": "GE", "hy": "AM", "az": "AZ", "kk": "KZ", "ms": "MY", "eu": "ES",
    "gl": "ES",
}  # fmt: skip

_NAMED = {
    "AU": "Australia|Sydney|Melbourne|Brisbane", "CA": "Canada|Ontario|Quebec|British Columbia",
    "GB": "United Kingdom|UK|England|Scotland|London|Great Britain|£", "IE": "Ireland|Dublin",
    "IN": "India|Mumbai|New Delhi|Bangalore|₹", "NZ": "New Zealand|Auckland", "SG": "Singapore",
    "ZA": "South Africa|Cape Town|Johannesburg", "DE": "Germany|Deutschland", "FR": "France",
    "AT": "Austria|Österreich|Wien", "CH": "Switzerland|Schweiz|Suisse|Zürich", "ES": "Spain",
    "IT": "Italy", "NL": "Netherlands|Amsterdam", "BE": "Belgium|Belgique|België|Bruxelles",
    "MX": "México|Mexico", "AR": "Argentina|Buenos Aires", "CO": "Colombia|Bogotá", "CL": "Chile",
    "PT": "Portugal|Lisboa", "HK": "Hong Kong", "AE": "Dubai|United Arab Emirates",
    "PH": "Philippines|Manila", "MY": "Malaysia|Kuala Lumpur", "IL": "Israel|Tel Aviv",
    "PK": "Pakistan|Karachi|Lahore", "KE": "Kenya|Nairobi", "NG": "Nigeria|Lagos",
}  # fmt: skip
_COUNTRY_OF_NAME = {name: code for code, names in _NAMED.items() for name in names.split("|")}
_NAMES = AhoCorasick(list(_COUNTRY_OF_NAME), implementation=Implementation.DFA)
_NEXT = re.compile(r"\w")
"""Behind a name that is only the beginning of a word."""

_SAMPLE = 30_000
"""Characters of text that are searched for addresses and countries."""

Region = tuple[str, str]
"""A country's code (ISO 3166-1), and what says it."""


def regions(
    document: Document, language: str | None, dialled: Callable[[], Counter[str]]
) -> Iterator[Region]:
    """Yield the countries, the likeliest first; `dialled` counts those of international numbers."""
    guesses = _guesses(document, language, dialled)
    known = ((code, source) for code, source in guesses if code)
    seen: set[str] = set()
    for code, source in known:
        if code not in seen and len(seen) < _MAX:
            seen.add(code)
            yield code, source


def country(code: str) -> str | None:
    """Give the code of a country that has telephones, in the tables' own spelling."""
    from phonenumbers import SUPPORTED_REGIONS

    code = {"UK": "GB"}.get(code.upper(), code.upper())
    return code if code in SUPPORTED_REGIONS else None


def _guesses(
    document: Document, language: str | None, dialled: Callable[[], Counter[str]]
) -> Iterator[tuple[str | None, str]]:
    tag, _, region = (language or "").partition("-")
    tld = document.host.rsplit(".", 1)[-1]
    at_home = country(tld) if tld not in _GENERIC_CCTLDS else None
    yield at_home, "ccTLD"
    yield from ((code, "address") for code in _declared(document))
    if (tag, region) != ("en", "US"):  # what nobody chose
        yield country(region), "language"
    yield _of_path(document.url, tag), "URL"
    yield from ((code, "other numbers") for code, _ in dialled().most_common(2))
    text = document.text[:_SAMPLE]
    yield from ((code, "address") for code in _of_postcodes(_numbered(document, text)))
    yield _COUNTRY_OF_LANGUAGE.get(tag), "language"
    if tag in {"en", ""} and not at_home:
        yield "US", "language"
    yield from ((code, "country name") for code in _of_names(text))


def _declared(document: Document) -> Iterable[str | None]:
    return [declared_country(item) for item in document.json_ld if "addressCountry" in item]


def declared_country(item: dict[str, object]) -> str | None:
    """Give the country of a schema.org address, if it is a code."""
    value = item.get("addressCountry")
    value = value.get("name") if isinstance(value, dict) else value
    return country(value) if isinstance(value, str) else None


def _of_path(url: str, language: str) -> str | None:
    """Read `/en-gb/`, and `/de-en/` where the language is the second."""
    found = _LOCALE_PATH.match(split(url).path)
    if not found:
        return None
    first, second = found[1].lower(), found[2].lower()
    return country(first if second == language and first != language else second)


def _numbered(document: Document, text: str) -> str:
    """Leave out the lines that hold no digit: no postal code is in them."""
    pairs = zip(text.split("\n"), document.digits, strict=False)
    return "\n".join(line for line, digits in pairs if digits)


def _of_postcodes(text: str) -> Iterator[str]:
    for found in _PREFIXED_POSTCODE.finditer(text):
        if found[1] in _COUNTRY_OF_PREFIX:
            yield _COUNTRY_OF_PREFIX[found[1]]
    starts = (start.start() for start in _MAYBE_ADDRESS.finditer(text))
    addresses = (_ADDRESS.match(text, start) for start in starts)
    yield from _by_count(address.lastgroup for address in addresses if address)


def _of_names(text: str) -> Iterator[str]:
    found = _NAMES.find_matches_as_indexes(text)
    yield from _by_count(
        _COUNTRY_OF_NAME[text[start:end]]
        for _, start, end in found
        if not _NEXT.match(text, end) and not text[max(0, start - 1) : start].isalnum()
    )


def _by_count(codes: Iterable[str | None]) -> Iterator[str]:
    yield from (code for code, _ in Counter(codes).most_common() if code)
