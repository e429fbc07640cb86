"""The e-mail addresses a page gives to its readers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from domainsched.extract.document import Document
from domainsched.extract.encoding import clean
from domainsched.extract.suffix import has_suffix

_MAX = 50
"""Addresses kept; a page with more is a directory of other people's."""

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_ADDRESS = re.compile(
    r"(?<![\w.%+/=&?-])([a-z0-9](?:[a-z0-9._%+'&-]{0,62}[a-z0-9_+-])?)"
    rf"@((?:{_LABEL}\.)+[^\W\d_]{{2,24}})",
    re.IGNORECASE,
)
_AT = r"\s?[\[({<]\s?(?:at|@|ät|æt|arroba|chez|a)\s?[\])}>]\s?"
_DOT = r"\s?[\[({<]\s?(?:dot|punkt|punto|point|\.)\s?[\])}>]\s?"
_LOCAL = r"(?<![\w.%+-])([a-z0-9][a-z0-9._%+-]{0,63})"
_DISGUISED = re.compile(
    rf"{_LOCAL}{_AT}((?:[\w-]{{1,63}}(?:{_DOT}|\.))+[a-z]{{2,24}})(?!\w)"
    rf"|{_LOCAL} at ((?:[\w-]{{1,63}} dot )+[a-z]{{2,24}})(?!\w)",
    re.IGNORECASE,
)
_MAYBE_DISGUISED = re.compile(rf"{_AT}| at .{{1,80}}? dot ", re.IGNORECASE)
_DOTS = re.compile(rf"{_DOT}| dot ", re.IGNORECASE)
_PROTECTED = re.compile(r"/cdn-cgi/l/email-protection#([0-9a-f]+)")

_MAX_LOCAL = 64
"""RFC 5321, section 4.5.3.1.1."""

_NOBODYS_DOMAIN = re.compile(
    r"(?:.+\.)?(?:example\.\w+|domain\.(?:com|tld|ext|xyz)|(?:sentry|wixpress)\.(?:io|com)"
    r"|(?:your|my|the)-?(?:domain|e?-?mail|site|website|company|business|server|host|name)\.\w+)"
    r"|sentry[\w-]*\..*"
)
_FORMS_DOMAIN = re.compile(r"(?:e?mail|company|site|website|address|host|server|test|abc|xyz)\.\w+")
_NOBODY = re.compile(
    r"your?(?:[._-]?(?:e?-?mail|name|address))?|first[._-]?name.*|username|jane[._-]?doe"
    r"|john[._-]?doe|no[._-]?reply|do[._-]?not[._-]?reply|mailer-daemon|[0-9a-f]{24,}"
)
_ANYBODY = re.compile(r"name|e?-?mail|user|someone|me|test|abc|xyz")
"""Names that stand for nobody at the domains of forms, and may be real elsewhere."""

_FILE = re.compile(
    r"\d+(?:\.\d+)?x(?:\.|$)|.*\.(?:png|jpe?g|gif|webp|svg|avif|ico|css|js|mp4|pdf|woff2?)$"
)
"""`logo@2x.png` is no address."""


def email_addresses(document: Document) -> list[str]:
    """Give the addresses, in lower case, those behind links first, without repeats."""
    host = document.host
    found = (tidy for address in _candidates(document) if (tidy := _tidy(address, host)))
    return list(dict.fromkeys(found))[:_MAX]


def _candidates(document: Document) -> Iterator[str]:
    for href, _ in document.anchors:
        yield from _linked(href)
    for node in document.all("a", "span"):
        code = node.attributes.get("data-cfemail")
        if code:
            yield _deciphered(code)
    yield from _written(document.text)
    for item in document.json_ld:
        if isinstance(item.get("email"), str):
            yield item["email"].removeprefix("mailto:")
    yield from document.metas.get("email", [])


def _written(text: str) -> Iterator[str]:
    """Yield the addresses in a text; most lines are not worth the closer look."""
    for line in text.split("\n"):
        if "@" in line:
            yield from (f"{found[1]}@{found[2]}" for found in _ADDRESS.finditer(line))
        if _MAYBE_DISGUISED.search(line):
            for found in _DISGUISED.finditer(line):
                local, domain = (found[1], found[2]) if found[1] else (found[3], found[4])
                yield f"{local}@{_DOTS.sub('.', domain)}"


def _linked(href: str) -> Iterator[str]:
    if href[:7].lower() == "mailto:":
        target = unquote(unquote(href[7:]).split("?")[0])
        yield from (f"{found[1]}@{found[2]}" for found in _ADDRESS.finditer(target))
    elif found := _PROTECTED.search(href):
        yield _deciphered(found[1])


def _deciphered(code: str) -> str:
    """Undo Cloudflare's disguise: each byte is xor-ed with the first."""
    try:
        key, *rest = bytes.fromhex(code)
    except ValueError:
        return ""
    return bytes(byte ^ key for byte in rest).decode("utf-8", "replace").split("?")[0]


def _tidy(address: str, host: str) -> str | None:
    """Give the address as it is kept; None for what only looks like one.

    The domain of the page itself exists, whatever its suffix.
    """
    found = _ADDRESS.fullmatch(clean(address).strip(" .,;:<>\"'()"))
    if not found:
        return None
    local, domain = found[1].lower(), _known_domain(found[2], host)
    if domain is None or len(local) > _MAX_LOCAL or ".." in local:
        return None
    return None if _is_nobodys(local, domain) else f"{local}@{domain}"


def _is_nobodys(local: str, domain: str) -> bool:
    """Whether it is an example, a machine's or a file's name."""
    if _FILE.match(domain) or _NOBODYS_DOMAIN.fullmatch(domain) or _NOBODY.fullmatch(local):
        return True
    return bool(_FORMS_DOMAIN.fullmatch(domain) and _ANYBODY.fullmatch(local))


def _known_domain(domain: str, host: str) -> str | None:
    """Give the domain if its suffix exists, without the word that may be glued to its end."""
    if has_suffix(domain.lower()) or f".{host}".endswith(f".{domain.lower()}"):
        return domain.lower()
    glued = re.match(r"(.*\.[a-z]{2,})(?=[A-Z])", domain)
    return glued[1].lower() if glued and has_suffix(glued[1]) else None
