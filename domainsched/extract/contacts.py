"""The e-mail addresses a page gives to its readers, each with where it was found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from urllib.parse import unquote

from ahocorasick_rs import BytesAhoCorasick
from selectolax.lexbor import LexborNode

from domainsched.extract.disguise import disguised
from domainsched.extract.document import Document
from domainsched.extract.encoding import clean
from domainsched.extract.place import where
from domainsched.extract.suffix import brand, has_suffix, site

_MAX = 50
"""Addresses kept; a page with more is a directory of other people's."""

_MAX_CANDIDATES = 1_000
"""Looked at; beyond them a page only repeats itself."""

_MAX_LINE = 5_000
"""Characters of a line that are searched for disguised addresses."""

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_ADDRESS = re.compile(
    r"(?<![\w.%+/=&?@*\u2022\u2026-])([a-z0-9](?:[a-z0-9._%+'&-]{0,62}[a-z0-9_+-])?)"
    rf"[@\uff20]((?:{_LABEL}\.){{1,8}}[^\W\d_]{{2,24}})",
    re.IGNORECASE,
)
_OPEN, _CLOSE = r"\s?[\[({<\uff08\u3010]{1,2}\s?", r"\s?[\])}>\uff09\u3011]{1,2}\s?"
_AT_WORDS = (
    r"at|@|\uff20|ät|æt|a|arroba|arobase|chez|chiocciola|kukac|zavin[aá][cč]|ma[lł]pa|собака"
    r"|apenstaartje|snabel-?a|alfakrøll|klammeraffe"
)
_SPOKEN_DOTS = ("dot", "punkt", "punto", "ponto", "point", "kropka", "tečka", "pont", "точка")
_DOT_WORDS = rf"{'|'.join(_SPOKEN_DOTS)}|bodka|piste|\."
_AT = rf"{_OPEN}(?:{_AT_WORDS}){_CLOSE}"
_DOT = rf"{_OPEN}(?:{_DOT_WORDS}){_CLOSE}"
_LOCAL = r"(?<![\w.%+-])([a-z0-9][a-z0-9._%+-]{0,63})"
_HOST = r"[\w-]{1,63}"
_SPOKEN_AT = r" (?:at|arroba|arobase|chiocciola|ät|kukac|zavináč|małpa|собака) "
_SPOKEN_DOT = rf" (?:{'|'.join(_SPOKEN_DOTS)}) "
_BRACKETED = re.compile(
    rf"{_LOCAL}{_AT}((?:{_HOST}(?:{_DOT}|\s?\.\s?)){{1,6}}[a-z]{{2,24}})(?!\w)", re.IGNORECASE
)
_DOT_ONLY = re.compile(
    rf"{_LOCAL}@((?:{_HOST}(?:{_DOT}|{_SPOKEN_DOT})){{1,6}}[a-z]{{2,24}})(?!\w)", re.IGNORECASE
)
_SPOKEN = re.compile(
    rf"{_LOCAL}{_SPOKEN_AT}((?:{_HOST}(?:{_SPOKEN_DOT}|\.)){{1,6}}[a-z]{{2,24}})(?!\w)",
    re.IGNORECASE,
)
_SPACED = re.compile(
    rf"{_LOCAL}(?: @ ?| ?@ |_at_)((?:{_HOST}\.){{1,6}}[a-z]{{2,24}})(?!\w)", re.IGNORECASE
)
_CAPITALS = re.compile(
    r"(?<!\w)([a-z0-9._-]{1,64})AT((?:[a-z0-9-]{1,63}DOT){1,4}[a-z]{2,24})(?!\w)"
)
_DOTS = re.compile(rf"{_DOT}|{_SPOKEN_DOT}|\s?\.\s?|DOT", re.IGNORECASE)
_SPOKEN_SIGNS = [f" {word} " for dot in _SPOKEN_DOTS for word in (dot, dot.title(), dot.upper())]
_SIGNS = BytesAhoCorasick(
    [sign.encode() for sign in ("@", "\uff20", *"[({<\uff08\u3010", "_at_", "AT", *_SPOKEN_SIGNS)]
)
"""Without one of these a line holds no address: with "at" alone there is no dot in words."""

_AT_SIGN = re.compile("[@\uff20]")
_AT_IN_BRACKETS = re.compile(
    rf"[\[({{<\uff08\u3010]\s?(?:{_AT_WORDS})\s?[\])}}>\uff09\u3011]", re.IGNORECASE
)
_DOT_SIGN = re.compile("DOT")
_DOT_IN_WORDS = re.compile(_SPOKEN_DOT, re.IGNORECASE)
_AT_SPACED = re.compile("@|_at_", re.IGNORECASE)
_PLAIN_FORMS = ((_BRACKETED, _AT_IN_BRACKETS), (_DOT_ONLY, _AT_SIGN), (_CAPITALS, _DOT_SIGN))
_DOUBTFUL_FORMS = ((_SPOKEN, _DOT_IN_WORDS), (_SPACED, _AT_SPACED))
"""The forms of disguise, which are slow to look for, each with what it cannot do without."""

_STAND_IN = re.compile(r"([★☆●◎■◆＃＊#*])\s?を\s?[「『(（]?\s?[@＠]")  # noqa: RUF001 - Japanese
"""Japanese pages write another character, and say which."""

_MAX_LOCAL = 64
"""RFC 5321, section 4.5.3.1.1."""

_NOBODYS_DOMAIN = re.compile(
    r"(?:.+\.)?(?:(?:example|exemple|ejemplo|exemplo|esempio|beispiel|voorbeeld|przyklad|priklad"
    r"|pelda|exempel|eksempel|esimerkki|ornek|contoh|пример|приклад)\d?\.\w+"
    r"|(?:domain|website|sitename|address|reallygreatsite|musterfirma|mustermann|firma-xy)\.\w+"
    r"|(?:sentry|wixpress|sentry-next)\.(?:io|com)|(?:\w+\.)?invalid|(?:\w+\.)?localhost"
    r"|(?:your|my|the|ihre?|deine?|votre|tu|su|twoja?|uw|jouw)[._-]?(?:own)?-?"
    r"(?:domain|e?-?mail|site|website|web|company|business|server|host|hostname|name|store|shop"
    r"|brand|org|organi[sz]ation|firma|domaine?|dominio|entreprise|empresa|bedrijf)(?:name)?\.\w+)"
    r"|sentry[\w-]*\..*|(?:x{2,}|y{2,}|abc|foo|foobar|bar|asdf|qwerty|test|xyz|aaa)\.\w+"
    r"|gmail\.(?!com$)[\w.]+|(?:gmial|gmai|gamil|hotmial|yaho)\.\w+"
)
_FORMS_DOMAIN = re.compile(r"(?:e?mail|company|site|website|address|host|server|test|abc|xyz)\.\w+")
_NOBODY = re.compile(
    r"your?(?:[._-]?(?:e?-?mail|name|address|id))?|(?:first|vor)[._-]?name.*|username|jane[._-]?doe"
    r"|john[._-]?(?:doe|smith)|(?:max|erika|maria)?[._-]?mustermann|jean[._-]?dupont|jan[._-]?kowalski"
    r"|no[._-]?reply|do[._-]?not[._-]?reply|mailer-daemon|e-?mail[._-]?address|[0-9a-f]{24,}|x{3,}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-.*|\d{16,}|filler|(?:deine?|ihre?|votre|tu|twoj)[._-]?(?:e?mail|name)"
)
_ANYBODY = re.compile(r"name|e?-?mail|user|someone|me|test|abc|xyz|you|info|hello|support|contact")
"""Names that stand for nobody at the domains of forms, and may be real elsewhere."""

_FILE = re.compile(
    r"\d+(?:\.\d+)?x(?:\.|$)|.*\.(?:png|jpe?g|gif|webp|svg|avif|ico|css|js|mjs|json|mp4|webm|pdf"
    r"|woff2?|ttf|php|aspx?|html?|exe|docx?|xlsx?)$"
)
"""`logo@2x.png` is no address."""

_GLUED_BEFORE = re.compile(
    r"(?:u003[ce]|%20|[\d.-]{7,}(?=[a-z])|(?:e-?mail|mail)(?=(?:info|contact|sales|office|kontakt)$))+"
)
_TWO_GLUED = re.compile(r"(.*?\.[a-z]{2,6})(?=(?:www|https?)\.)", re.IGNORECASE)
_WORD_GLUED = re.compile(r"(.*\.[a-z]{2,})(?=[A-Z])")
_SENTENCE_GLUED = re.compile(r"([^A-Z]*\.[a-z]{2,})\.[A-Z][a-z]*")

_NO_LETTERS = re.compile(r"[\W_]")
_FREE = re.compile(
    r"(?:gmail|googlemail|yahoo|hotmail|outlook|live|msn|aol|icloud|me|gmx|web|t-online|freenet"
    r"|orange|wanadoo|free|libero|virgilio|wp|onet|o2|interia|seznam|mail|yandex|bk|ukr|qq|163"
    r"|126|comcast|verizon|att|sbcglobal|btinternet|bigpond|proton|protonmail)\.(?:\w+\.)?\w+"
)
_ROLE = re.compile(
    r"(?:info|contact|hello|hi|office|mail|e?mail|sales|support|service|enquir(?:y|ies)|inquir\w+"
    r"|admin|team|help|kontakt|contacto|contato|contatti|contatto|biuro|sekretariat|anfrage|post"
    r"|reception|bookings?|reservations?|orders?|shop|accueil|bonjour|hola|ciao|customer\w*)\d?"
)
_OFFICE = re.compile(r"privacy|abuse|webmaster|hostmaster|dpo|gdpr|datenschutz\w*|legal|copyright")
_PLACES = frozenset(["contact section", "footer", "header"])

Evidence = dict[str, str]
"""`rule`: what gave the value; `where`: the part of the page it stands in."""

_Candidate = tuple[str, str, LexborNode | None]
"""An address as it is written, the rule that found it, and its element."""


def email_addresses(document: Document) -> dict[str, Evidence]:
    """Give the addresses, in lower case, the site's likeliest own first, with their evidence."""
    found: dict[str, Evidence] = {}
    for address, rule, node in islice(_candidates(document), _MAX_CANDIDATES):
        tidy = _tidy(address, document.host)
        if tidy and tidy not in found:
            found[tidy] = {"rule": rule, "where": where(node) if node is not None else "head"}
    ranked = sorted(found, key=lambda address: -_likeness(address, found[address], document.host))
    return {address: found[address] for address in ranked[:_MAX]}


def _likeness(address: str, evidence: Evidence, host: str) -> int:
    """Rate how likely the site is its owner's: by domain, by name, by place; ties keep order."""
    local, _, domain = address.partition("@")
    own = site(domain) == site(host)
    alike = not own and bool(brand(host)) and brand(domain) == brand(host)
    name = _NO_LETTERS.sub("", brand(host))
    mine = bool(name and _FREE.fullmatch(domain)) and name in _NO_LETTERS.sub("", local)
    told = evidence["rule"] in {"mailto", "json-ld"}
    points = 8 * own + 6 * alike + 4 * mine + told + (evidence["where"] in _PLACES)
    return points + 2 * bool(_ROLE.fullmatch(local)) - 2 * bool(_OFFICE.match(local))


def _candidates(document: Document) -> Iterator[_Candidate]:
    for href, node in document.anchors:
        if href[:7].lower() == "mailto:":
            yield from ((address, "mailto", node) for address in _addressed(href[7:]))
    for rule, node, text in disguised(document):
        yield from ((address, rule, node) for address in _in_text(text))
    yield from _written(document)
    yield from _structured(document)


def _structured(document: Document) -> Iterator[_Candidate]:
    for item in document.json_ld:
        values = item.get("email")
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                yield value[:300].removeprefix("mailto:"), "json-ld", None
    yield from ((content, "meta", None) for content in document.metas.get("email", []))


def _addressed(target: str) -> Iterator[str]:
    """Yield whom a `mailto:` addresses: before the `?`, or in its `to` (RFC 6068, section 2)."""
    to, _, query = unquote(unquote(target[:2000])).partition("?")
    yield from _in_text(to)
    for field in query.split("&"):
        if field[:3].lower() == "to=":
            yield from _in_text(field[3:])


def _in_text(text: str) -> Iterator[str]:
    yield from (f"{found[1]}@{found[2]}" for found in _ADDRESS.finditer(text))


def _written(document: Document) -> Iterator[_Candidate]:
    """Yield the addresses in the text; most lines are not worth the closer look."""
    lines = document.lines
    signed = [lines[number] for number in document.lines_with(_SIGNS)]
    for line, block in signed:
        if not _AT_SIGN.search(line):
            continue
        yield from ((address, "text", block) for address in _in_text(line))
        yield from ((a, "reversed", block) for a in _backwards(document, line[:_MAX_LINE]))
    for line, block in signed:
        yield from ((a, "at-form", block) for a in _spelled(line[:_MAX_LINE], document.host))
    if "を" in document.text and (stand_in := _STAND_IN.search(document.text)):
        for line, block in lines:
            if stand_in[1] in line:
                yield from ((a, "at-form", block) for a in _in_text(line.replace(stand_in[1], "@")))


def _backwards(document: Document, line: str) -> Iterator[str]:
    """Yield what a style shows the other way round; without it in the page, only own addresses."""
    for address in _in_text(line[::-1]):
        if _is_of(address, document.host) or "bidi-override" in document.markup:
            yield address


def _spelled(line: str, host: str) -> Iterator[str]:
    """Yield the addresses whose signs are words.

    Words that sentences use too ("sales at acme dot com") count for the site's own domain, and
    where both are words for that of a great mail host.
    """
    for form in (form for form, sign in _PLAIN_FORMS if sign.search(line)):
        yield from (_spoken(*found.groups()) for found in form.finditer(line))
    for form in (form for form, sign in _DOUBTFUL_FORMS if sign.search(line)):
        for found in form.finditer(line):
            address = _spoken(*found.groups())
            known = _is_of(address, host) or _FREE.fullmatch(address.rpartition("@")[2].lower())
            if known and (form is _SPACED or _DOT_IN_WORDS.search(found[0])):
                yield address


def _spoken(local: str, domain: str) -> str:
    return f"{local}@{_DOTS.sub('.', domain)}"


def _is_of(address: str, host: str) -> bool:
    return site(address.rpartition("@")[2].lower()) == site(host)


def _tidy(address: str, host: str) -> str | None:
    """Give the address as it is kept; None for what only looks like one.

    The domain of the page itself exists, whatever its suffix.
    """
    found = _ADDRESS.fullmatch(clean(address).strip(" .,;:<>\"'()"))
    if not found:
        return None
    local = _GLUED_BEFORE.sub("", found[1].lower(), count=1) or found[1].lower()
    domain = _known_domain(found[2], host)
    if domain is None or len(local) > _MAX_LOCAL or ".." in local:
        return None
    return None if _is_nobodys(local, domain, host) else f"{local}@{domain}"


def _is_nobodys(local: str, domain: str, host: str) -> bool:
    """Whether it is an example, a machine's, a file's name, or mistyped."""
    if _FILE.match(domain) or _NOBODY.fullmatch(local):
        return True
    if f".{host}".endswith(f".{domain}"):
        return False
    if _NOBODYS_DOMAIN.fullmatch(domain):
        return True
    if host.endswith(".com") and re.sub(r"\.[co]m$", ".com", domain) == site(host):
        return True  # Oman's and Cameroon's domains of that name are slips
    return bool(_FORMS_DOMAIN.fullmatch(domain) and _ANYBODY.fullmatch(local))


def _known_domain(domain: str, host: str) -> str | None:
    """Give the domain as readers see it if its suffix exists, without words glued to its end."""
    for glued in (_TWO_GLUED, _SENTENCE_GLUED):
        if (found := glued.match(domain)) and has_suffix(found[1].lower()):
            return _readable(found[1].lower())
    if has_suffix(domain.lower()) or f".{host}".endswith(f".{domain.lower()}"):
        return _readable(domain.lower())
    found = _WORD_GLUED.match(domain)
    return _readable(found[1].lower()) if found and has_suffix(found[1]) else None


def _readable(domain: str) -> str:
    """Undo the ASCII form of an internationalised domain (RFC 5891, section 5.4)."""
    if "xn--" in domain:
        import idna

        with suppress(idna.IDNAError, UnicodeError):
            return idna.decode(domain)
    return domain
