"""The telephone numbers a page gives to its readers, as E.164, each with where it was found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from selectolax.lexbor import LexborNode

from domainsched.extract.document import Document
from domainsched.extract.place import where
from domainsched.extract.regions import Region, declared_country, regions

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_MAX = 50
"""Numbers kept; a page with more is a directory of other people's."""

_MAX_CANDIDATES = 200
"""Pieces of text, and links, that are read: that takes some 0.2 ms each."""

_MAX_LINE = 20_000
"""Characters of a line that are searched."""

_SEPARATORS = r"\s()./\u00a0\u00ad\u200b\u2010-\u2015\u2060\u2212\u30fc\uff08\uff09\uff0d\uff0e+~-"
_CANDIDATE = re.compile(
    r"(?<![\w@])(?<!\d\.)(?<!\w[-/])(?<!//)"
    rf"[+(\uff0b\uff08]{{0,2}}\d[\d{_SEPARATORS}]{{5,40}}\d(?![\d@]|\.[a-zA-Z]|[a-wyzA-WYZ]\d)"
)
_LEAST_DIGITS = 7
_MANY_DIGITS = re.compile(rf"\d(?:[^\d\n]{{0,5}}+\d){{{_LEAST_DIGITS - 1}}}")
_MERE_DIGITS = re.compile(r"[^\d+(\[\uff0b\uff08\uff3b]*+(\d++)\D*+")
_GLUED_LABEL = re.compile(r"((?:tel|phone|fon|fax|call|mobile)\.?)(?=[+(\d])", re.IGNORECASE)
_SPACED_PLUS = re.compile(r"([+\uff0b]) (?=[(\d])")
_LABEL_BEFORE = 40
_EXTENSION_AFTER = 20
"""Characters before a number that may label it, and behind it that may be its extension."""

_MAX_LABEL = 40
"""Characters of a line that may be the label of the next."""

_FAX = re.compile(
    r"(?:tele)?(?:fax|faks)(?!\w*free)|\bf(?:x)?\s?[:.]|t[eé]l[eé]copie|факс|φαξ|传真|傳真"
    r"|ファックス|ファクス|팩스|פקס|فاكس|فکس",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![a-zA-Z])(?:tel|phone|ph\b|call|mob|cell|hotline|t\s?[:.]|p\s?[:.]|m\s?[:.]|tlf|tfn|toll"
    r"|puh|gsm|natel|handy|ruf|whatsapp|viber|sms|dial|ring|text\b|support|sími|appel|llam|chiam"
    r"|ligue|zadzwo)|telefon|phone|\bfon|тел|моб|звон|τηλ|電話|电话|전화|โทร|هاتف|تلفن|טלפון"
    r"|điện thoại|☎|📞|✆",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"(?:tel\w*|(?:\w*tele)?(?:phone|fon)\w*|ph|t|тел\w*)\.?:?"
    r"(?:\s?[/&+,|-]\s?|\s(?:and|und|et|e|y|i|и)\s)"
    rf"(?:{_FAX.pattern})\W*$",
    re.IGNORECASE,
)
"""A number that is both is a telephone."""

_FAX_BEHIND = re.compile(r"\s?[(\[\u2013-]\s?(?:tele)?(?:fax|f)\s?[)\]]|\s?fax$", re.IGNORECASE)

_OF_THE_LAST = re.compile(r"\d\s?[(\[]\s?[^\W\d_]{1,12}\s?[)\]]")
"""A label that stands behind the number before."""

_SERIES = 4
"""Numbers with one distance that make a series."""

_NUMBERS_OF_OTHER_THINGS = (
    r"p\.?\s?iva|partita iva|\bvat\b|ust-?id\w*|steuer\w*|cvr|siret|siren|\brcs\b|\bnip\b|regon",
    r"krs|cnpj|\bab?cn\b|\babn\b|\bičo?|dič|\bico\b|\bcif\b|\bnif\b|инн|огрн|кпп|isbn|issn|iban",
    r"konto|licen[cs]e\b.{0,8}|\blic\b|reg(?:istration|istered|istrační)?\.? ?n[ro]\.?",
    r"company n\w+|hrb|\bblz\b|\bid\b|kvk|btw|\bsku\b|\bupc\b|\bean\b|gtin|\btin\b|\bein\b|\bnpi\b",
    r"gstin|\bcin\b|duns|charity|\bbic\b|swift|sort code|c\.?c\.?p\b|\brut\b|\bruc\b|\bnit\b",
    r"adószám|org\.? ?n[ro]\.?|orgn\w*|y-tunnus|cégjegyzékszám|едрпоу|бик|окпо|bankleitzahl",
    r"handelsreg\w*",
)  # fmt: skip
_NUMBERED_THINGS = (
    r"(?:order|item|model|invoice|customer|account|article|part|ref(?:erence)?|case|ticket|policy"
    r"|claim|serial|tracking|product|member|entity|registration|reg)\.?\W{0,2}(?:n[ro°º]|num|number|code|#|id)"
)
_NOT_A_PHONE = re.compile(
    rf"(?:(?:{'|'.join(_NUMBERS_OF_OTHER_THINGS)})\W*(?:n[ro°º]?\.?|number|num|code|#)?"
    rf"|{_NUMBERED_THINGS})\W*(?:[A-Z]{{2}}\W?)?$",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
"""An IBAN (ISO 13616)."""

_VANITY = re.compile(
    r"(?<![\w.-])(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]"
    r"(?:[2-9]\d\d[ .-][A-Z]{4}|[A-Z]{3}[ .-]?[A-Z]{4})(?!\w)"
    r"|(?<![\w.-])(?:1[ .-])?\(?8(?:00|33|44|55|66|77|88)\)?[ .-](?=[A-Z\d-]*[A-Z]{3})"
    r"[A-Z\d](?:-?[A-Z\d]){6,9}(?!\w)"
)
"""A North American number with a word in it: `303.555.PAUL`, `1-800-FLOWERS`."""

_VANITY_DIGITS = 3
_VANITY_HINT = re.compile(r"\d\d\d\)?[ .-][A-Z\d-]{0,12}[A-Z]{3}")

_NOT_DIALLED = re.compile(
    r"\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d|(?:19|20)\d\d[./-]\d{1,2}[./-]\d{1,2}"
    r"|\d ?/ ?\d+ ?/ ?\d|^\d{1,3}\.\d{4,}$|^(?:\d{1,3}\.){3}\d{1,3}$"
    r"|\b\d{1,2}[.:h]\d\d\s?[-\u2013]\s?\d{1,2}[.:h]\d\d\b|^(?:\d ){6,}\d$|^97[89][- ]\d"
    r"|^(?:19|20)\d\d\s?[-\u2013/]\s?(?:19|20)\d\d$"
)
"""Dates, hours, years, lists of amounts, coordinates, addresses of machines, books."""

_MONEY_BEHIND = re.compile(
    r",\d\d(?!\d)|\s?(?:€|£|kr\b|zł|Kč|₽|USD|EUR|GBP|CHF|Ft\b|lei\b|%)"
    r"|\s?руб"  # noqa: RUF001 - roubles
)


class Found(NamedTuple):
    """A number as it was read."""

    number: str
    extension: str | None
    region_from: str
    fax: bool | None
    """Whether a label says so; None: there is no label."""
    rule: str
    node: LexborNode | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A piece of text that may hold a number."""

    text: str
    label: str
    """What stands before it, in its line or, if that is all there is, in the line before."""
    behind: str
    alone: bool
    """There is nothing else in the line."""
    block: LexborNode


Evidence = dict[str, str]
"""`rule`, `where`, what told the country (`region_from`), and the `extension` if there is one."""


def phone_numbers(document: Document, language: str | None) -> dict[str, Evidence]:
    """Give the valid numbers, as E.164, those behind links first, without faxes, with evidence."""
    found: dict[str, list[Found]] = {}
    for each in _found(document, language):
        found.setdefault(each.number, []).append(each)
    kept = [number for number, readings in found.items() if not _is_fax(readings)]
    return {number: _evidence(found[number]) for number in kept[:_MAX]}


def _is_fax(readings: list[Found]) -> bool:
    """Whether it is called a fax, and nowhere a telephone."""
    labels = {reading.fax for reading in readings}
    return True in labels and False not in labels


def _evidence(readings: list[Found]) -> Evidence:
    first = next((each for each in readings if not each.fax), readings[0])
    extension = next((each.extension for each in readings if each.extension), None)
    evidence = {
        "rule": first.rule,
        "where": where(first.node) if first.node is not None else "head",
        "region_from": first.region_from,
    }
    return evidence | ({"extension": extension} if extension else {})


def _found(document: Document, language: str | None) -> Iterator[Found]:
    links = list(islice(_linked(document), _MAX_CANDIDATES))
    candidates = list(islice(_candidates(document), _MAX_CANDIDATES))
    vanities = list(islice(_vanities(document), _MAX_CANDIDATES))
    if not (links or candidates or vanities):
        return
    _keep_patterns()
    texts = [text for text, *_ in links] + [each.text for each in candidates]
    reader = _Reader(regions(document, language, lambda: Counter(_dialled(texts))))
    for text, rule, fax, home, node in links:
        if read := reader.read(text, home):
            yield Found(*read, fax, rule, node)
    for text, node in vanities:
        if reader.is_in("US") and (read := reader.read(text, None)):
            yield Found(*read, None, "vanity", node)
    for candidate in candidates:
        yield from reader.match(candidate)


@cache
def _keep_patterns() -> None:
    """Let the library keep what it compiles, where it can: `re` forgets some of 512 patterns."""
    import phonenumbers

    if keep := getattr(phonenumbers, "enable_pattern_cache", None):
        keep()


def _vanities(document: Document) -> Iterator[tuple[str, LexborNode]]:
    for number in document.lines_with_digits(_VANITY_DIGITS):
        line, block = document.lines[number]
        if _VANITY_HINT.search(line):
            yield from ((found[0], block) for found in _VANITY.finditer(line[:_MAX_LINE]))


def _dialled(texts: list[str]) -> Iterator[str]:
    """Yield the countries of the numbers that name theirs."""
    from phonenumbers import PhoneNumberMatcher, region_code_for_number

    for text in texts:
        for match in PhoneNumberMatcher(text, None) if _has_plus(text) else ():
            region = region_code_for_number(match.number)
            if region and region != "001":
                yield region


_NO_REGION: list[Region] = [("ZZ", "country code")]


def _has_plus(text: str) -> bool:
    return "+" in text or "\uff0b" in text


def _names_country(text: str, *prefixes: str) -> bool:
    return text.lstrip("([ ").startswith(("+", "\uff0b", *prefixes))


class _Reader:
    """Reads numbers as they are written in one page's regions, the likeliest first."""

    def __init__(self, known: Iterator[Region]) -> None:
        self._unread = known
        self._read: list[Region] = []

    @property
    def _known(self) -> Iterator[Region]:
        """The regions, looked for only as far as they are needed."""
        yield from self._read
        for region in self._unread:
            self._read.append(region)
            yield region

    def is_in(self, code: str) -> bool:
        """Whether the country is among those tried."""
        return any(region == code for region, _ in self._known)

    def read(self, text: str, home: str | None) -> tuple[str, str | None, str] | None:
        """Read a text that is one number: give it, its extension and what told the country."""
        text = _SPACED_PLUS.sub(r"\1", text.strip()[:60])
        for region, source in self._tried(text, home):
            if (number := _parsed(text, region)) is not None:
                return _e164(number), number.extension, source
        digits = re.sub(r"\D", "", text)
        international = f"+{digits.removeprefix('00')}"
        if len(digits) > 10 and (number := _parsed(international, "ZZ")):  # noqa: PLR2004 - with code
            return _e164(number), None, "country code"
        return None

    def _tried(self, text: str, home: str | None) -> Iterable[Region]:
        if _names_country(text):
            return _NO_REGION
        return chain([(home, "address")] if home else [], self._known)

    def match(self, candidate: _Candidate) -> Iterator[Found]:
        """Find the numbers in a piece of text; what one country's way leaves, another's takes."""
        from phonenumbers import Leniency, PhoneNumberMatcher

        text = candidate.text
        if _is_mere_digits(candidate):
            return
        for region, source in chain(_NO_REGION * _has_plus(text), self._known):
            for match in list(PhoneNumberMatcher(text, region, Leniency.VALID, max_tries=20)):
                if _is_telephone(match.raw_string, match.start, candidate):
                    origin = "country code" if _names_country(match.raw_string, "00") else source
                    fax = _fax_label(candidate, match.start, match.end)
                    number = match.number
                    yield Found(
                        _e164(number), number.extension, origin, fax, "text", candidate.block
                    )
                text = text[: match.start] + " " * (match.end - match.start) + text[match.end :]
            if not _MANY_DIGITS.search(text):
                return


def _is_mere_digits(candidate: _Candidate) -> bool:
    """Whether all that could be found are digits in a row, which need a word for them."""
    found = _MERE_DIGITS.fullmatch(candidate.text)
    if found is None or candidate.alone:
        return False
    return not _PHONE.search(candidate.label + candidate.text[: found.start(1)])


def _parsed(text: str, region: str) -> PhoneNumber | None:
    from phonenumbers import NumberParseException, is_valid_number, parse

    try:
        number = parse(text, region)
    except NumberParseException:
        return None
    return number if is_valid_number(number) else None


def _is_telephone(written: str, start: int, candidate: _Candidate) -> bool:
    """Whether label and form allow it; digits without any form need a word for them."""
    label = candidate.label + candidate.text[:start]
    if _NOT_A_PHONE.search(label) or _NOT_DIALLED.search(written) or _is_series(written):
        return False
    if _MONEY_BEHIND.match(candidate.text[start + len(written) :] + candidate.behind):
        return False
    return not written.isdigit() or candidate.alone or _PHONE.search(label) is not None


def _is_series(written: str) -> bool:
    """Whether it counts: pages of a list, days of a calendar."""
    numbers = [int(group) for group in re.findall(r"\d+", written)]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    return len(numbers) >= _SERIES and len(steps) == 1 and steps != {0}


def _fax_label(candidate: _Candidate, start: int, end: int) -> bool | None:
    label = _OF_THE_LAST.sub("", candidate.label + candidate.text[:start])
    if _FAX_BEHIND.match(candidate.text[end:] + candidate.behind):
        return True
    if _BOTH.search(label):
        return False
    faxes = [found.end() for found in _FAX.finditer(label)]
    phones = [found.end() for found in _PHONE.finditer(label)]
    if not faxes:
        return False if phones else None
    return faxes[-1] > max(phones, default=-1)


def _e164(number: PhoneNumber) -> str:
    from phonenumbers import PhoneNumberFormat, format_number

    return str(format_number(number, PhoneNumberFormat.E164))


def _candidates(document: Document) -> Iterator[_Candidate]:
    """Yield the pieces that may hold a number; all else is never shown to the matcher."""
    lines = document.lines
    for number in document.lines_with_digits(_LEAST_DIGITS):
        line, block = lines[number]
        if _MANY_DIGITS.search(line):
            yield from _in_line(line[:_MAX_LINE], lines[number - 1][0] if number else "", block)


def _in_line(line: str, before: str, block: LexborNode) -> Iterator[_Candidate]:
    line = _SPACED_PLUS.sub(r"\1", _GLUED_LABEL.sub(r"\1 ", line))
    line = _ACCOUNT.sub(lambda found: "x" * len(found[0]), line)
    pieces = list(_CANDIDATE.finditer(line))
    for number, found in enumerate(pieces):
        if not _MANY_DIGITS.search(found[0]):
            continue
        limit = pieces[number + 1].start() if number + 1 < len(pieces) else len(line)
        end = (
            found.end()
            if line[found.end() : found.end() + 1].isupper()
            else found.end() + _EXTENSION_AFTER
        )
        start, end = max(0, found.start() - 1), min(end, limit)
        label = line[max(0, start - _LABEL_BEFORE) : start]
        if (
            not re.search(r"\w", line[:start])
            and len(before) <= _MAX_LABEL
            and not _MANY_DIGITS.search(before)
        ):
            label = f"{before} {label}"
        yield _Candidate(
            line[start:end], label, line[end : end + 10], found[0].strip() == line.strip(), block
        )


_Link = tuple[str, str, bool | None, str | None, LexborNode | None]
"""A number's text, the rule, whether it is a fax, the country of its address, its element."""


def _linked(document: Document) -> Iterator[_Link]:
    for href, node in document.anchors:
        scheme, colon, number = href[:200].partition(":")
        if colon and scheme.lower() in {"tel", "callto", "sms", "fax"}:
            number = re.split(r"[;?,]", unquote(number))[0].lstrip("/")
            yield number, "tel", scheme.lower() == "fax" or _is_fax_link(node), None, node
    for item in document.json_ld:
        yield from _of_item(item)
    yield from ((text, "meta", None, None, None) for text in document.metas.get("telephone", []))
    yield from ((text, "meta", True, None, None) for text in document.metas.get("faxnumber", []))


def _is_fax_link(node: LexborNode) -> bool:
    """Some pages link their fax as a telephone."""
    label = node.text().strip()[:40]
    return bool(_FAX.match(label)) and not _PHONE.match(label)


def _of_item(item: dict[str, object]) -> Iterator[_Link]:
    address = item.get("address")
    home = declared_country(address) if isinstance(address, dict) else None
    for name, fax in (("telephone", False), ("faxNumber", True)):
        values = item.get(name)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                yield value, "json-ld", fax, home, None
