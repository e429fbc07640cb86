"""The telephone numbers a page gives to its readers, as E.164."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from domainsched.extract.document import Document

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_MAX = 50
"""Numbers kept; a page with more is a directory of other people's."""

_CANDIDATE = re.compile(
    r"(?<![\w@/.-])[+(\uff0b]?[(]?\d[\d\s()./\u2010-\u2015\u00a0+-]{5,40}\d(?![\w@])"
)
_MANY_DIGITS = re.compile(r"(?:\d\D{0,5}){6}\d")
_CONTEXT = 40
"""Characters around a candidate that are read with it: its label, its extension."""

_FAX = re.compile(
    r"(?:tele)?fax(?!\w*free)|\bf(?:x)?\s?[:.]|telecopie|télécopie|факс|faks|факс|φαξ",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"tel|phone|ph\b|call|mobil|cell|fon|hotline|\bt\s?[:.]|\bp\s?[:.]|тел|tlf|toll|telefon",
    re.IGNORECASE,
)
_NUMBERS_OF_OTHER_THINGS = (
    r"p\.?\s?iva|partita iva|\bvat\b|ust-?id\w*|steuer\w*|cvr|siret|siren|\brcs\b|\bnip\b|regon",
    r"krs|cnpj|\bab?cn\b|\babn\b|\bičo?|dič|\bico\b|\bcif\b|\bnif\b|инн|огрн|isbn|issn|iban|konto",
    r"order|licen[cs]e\b.{0,8}|reg(?:istration)?\.? ?n[ro]\.?|company n\w+|hrb|\bblz\b|\bid\b",
    r"kvk|btw|item|sku|model|\bupc\b|\bean\b",
)
_NOT_A_PHONE = re.compile(
    rf"(?:{'|'.join(_NUMBERS_OF_OTHER_THINGS)})\W*(?:n[ro°º]?\.?|number|#)?\W*$", re.IGNORECASE
)
_VANITY = re.compile(
    r"(?<![\w.-])(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]"
    r"(?:[2-9]\d\d[ .-][A-Z]{4}|[A-Z]{3}[ .-]?[A-Z]{4})(?!\w)"
)
"""A North American number with a word for its end: `303.555.PAUL`."""

_NOT_DIALLED = re.compile(
    r"\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d|(?:19|20)\d\d[./-]\d{1,2}[./-]\d{1,2}|\d ?/ ?\d+ ?/ ?\d"
)
"""Dates, and lists of amounts."""

_ADDRESSES = (
    ("GB", re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}\b")),
    ("CA", re.compile(r"\b[ABCEGHJ-NPRSTVXY]\d[A-Z] \d[A-Z]\d\b")),
    ("AU", re.compile(r"\b(?:NSW|VIC|QLD|TAS|ACT) \d{4}\b")),
)
"""Postal codes that only one country writes like that."""

_GENERIC_CCTLDS = frozenset(
    ["io", "co", "me", "tv", "ai", "fm", "ly", "to", "ws", "cc", "gg", "im", "sh", "ac", "st", "nu"]
) | {"la", "vc", "sx", "eu", "tk", "ml", "ga", "cf", "gq", "pw"}
"""Country codes that are mostly used for their look (and the European Union's)."""

_COUNTRY_OF_LANGUAGE = {
    "de": "DE", "fr": "FR", "it": "IT", "es": "ES", "pl": "PL", "ru": "RU", "nl": "NL", "tr": "TR",
    "cs": "CZ", "sk": "SK", "hu": "HU", "ro": "RO", "bg": "BG", "el": "GR", "sv": "SE", "da": "DK",
    "no": "NO", "fi": "FI", "uk": "UA", "be": "BY", "sr": "RS", "hr": "HR", "sl": "SI", "lt": "LT",
    "lv": "LV", "et": "EE", "ja": "JP", "ko": "KR", "zh": "CN", "vi": "VN", "th": "TH", "he": "IL",
    "id": "ID", "pt": "BR", "ca": "ES", "fa": "IR", "hi": "IN", "mk": "MK",
}  # fmt: skip


def phone_numbers(document: Document, language: str | None) -> list[str]:
    """Give the valid numbers, as E.164, those behind links first, without faxes and repeats."""
    windows = list(_windows(document.text))
    reader = _Reader(_regions(document, language, windows))
    faxes = {number for text in _fax_texts(document) if (number := reader.read(text))}
    linked = (reader.read(text) for text in _linked(document))
    numbers = dict.fromkeys(number for number in linked if number)
    numbers |= dict.fromkeys(reader.read_vanity(document.text))
    for number, fax in reader.read_windows(windows):
        if fax:
            faxes.add(number)
        else:
            numbers[number] = None
    return [number for number in numbers if number not in faxes][:_MAX]


class _Reader:
    """Reads numbers as they are written in one page's regions, the likeliest first."""

    def __init__(self, regions: list[str]) -> None:
        self._regions = regions

    def read(self, text: str) -> str | None:
        """Read a text that is one number, like the target of a link."""
        from phonenumbers import NumberParseException, is_valid_number, parse

        for region in self._regions or ["ZZ"]:
            try:
                number = parse(text[:60], region)
            except NumberParseException:
                continue
            if is_valid_number(number):
                return _e164(number)
        return None

    def read_windows(self, windows: list[str]) -> Iterator[tuple[str, bool]]:
        """Read the numbers in pieces of text; the second says whether it is labelled a fax."""
        from phonenumbers import Leniency, PhoneNumberMatcher

        for window in windows:
            for region in self._regions or ["ZZ"]:
                matches = list(PhoneNumberMatcher(window, region, Leniency.VALID, max_tries=20))
                for match in matches:
                    before = window[: match.start]
                    if not _NOT_A_PHONE.search(before) and not _NOT_DIALLED.search(
                        match.raw_string
                    ):
                        yield _e164(match.number), _is_fax(before)
                if matches:
                    break

    def read_vanity(self, text: str) -> Iterator[str]:
        """Read the numbers that end in a word, where such are in use."""
        for found in _VANITY.finditer(text) if "US" in self._regions else ():
            if number := self.read(found[0]):
                yield number


def _e164(number: PhoneNumber) -> str:
    from phonenumbers import PhoneNumberFormat, format_number

    return str(format_number(number, PhoneNumberFormat.E164))


def _windows(text: str) -> Iterator[str]:
    """Yield the pieces of text that may hold a number; all else is never shown to the matcher."""
    for line in text.split("\n"):
        if not _MANY_DIGITS.search(line):
            continue
        end = -1
        for found in _CANDIDATE.finditer(line):
            if found.end() <= end or not _MANY_DIGITS.search(found[0]):
                continue
            end = found.end() + _CONTEXT
            yield line[max(0, found.start() - _CONTEXT) : end]


def _is_fax(before: str) -> bool:
    faxes = [found.end() for found in _FAX.finditer(before)]
    phones = [found.end() for found in _PHONE.finditer(before) if found.group().lower() != "fax"]
    return bool(faxes) and faxes[-1] > max(phones, default=-1)


def _linked(document: Document) -> Iterator[str]:
    for href, _ in document.anchors:
        scheme, _, number = href.partition(":")
        if scheme.lower() in {"tel", "callto"}:
            yield unquote(number).split(";")[0].split("?")[0].lstrip("/")
    for item in document.json_ld:
        value = item.get("telephone")
        yield from (
            text
            for text in (value if isinstance(value, list) else [value])
            if isinstance(text, str)
        )
    yield from document.metas.get("telephone", [])


def _fax_texts(document: Document) -> Iterator[str]:
    yield from (unquote(href[4:]) for href, _ in document.anchors if href[:4].lower() == "fax:")
    yield from (
        item["faxNumber"] for item in document.json_ld if isinstance(item.get("faxNumber"), str)
    )


def _regions(document: Document, language: str | None, windows: list[str]) -> list[str]:
    """Give the countries whose way of writing numbers is tried, the likeliest first."""
    tag, _, region = (language or "").partition("-")
    tld = document.host.rsplit(".", 1)[-1]
    at_home = _country(tld) if tld not in _GENERIC_CCTLDS else None
    guesses = [
        at_home,
        *_countries(document),
        _country(region) if (tag, region) != ("en", "US") else None,  # what nobody chose
        *_dialled(windows),
        *(country for country, address in _ADDRESSES if address.search(document.text)),
        _COUNTRY_OF_LANGUAGE.get(tag),
        "US" if tag in {"en", ""} and not at_home else None,
    ]
    return list(dict.fromkeys(guess for guess in guesses if guess))[:3]


def _country(code: str) -> str | None:
    from phonenumbers import SUPPORTED_REGIONS

    code = {"UK": "GB"}.get(code.upper(), code.upper())
    return code if code in SUPPORTED_REGIONS else None


def _countries(document: Document) -> list[str | None]:
    values = [item.get("addressCountry") for item in document.json_ld]
    return [_country(value) for value in values if isinstance(value, str)]


def _dialled(windows: list[str]) -> Iterator[str]:
    """Yield the countries of the international numbers."""
    from phonenumbers import PhoneNumberMatcher, region_code_for_number

    for window in windows:
        for match in PhoneNumberMatcher(window, None) if "+" in window else ():
            region = region_code_for_number(match.number)
            if region and region != "001":
                yield region
