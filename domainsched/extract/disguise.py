"""E-mail addresses that a page hides from collectors and its own scripts or styles show."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from itertools import islice
from urllib.parse import unquote

from selectolax.lexbor import LexborNode

from domainsched.extract.document import Document

Disguised = tuple[str, LexborNode, str]
"""The rule, the element, and the text in which the address is plain."""

_MAX_SCRIPT = 20_000
_MAX_SCRIPTS = 500
_MAX_MARKED = 500
"""Characters of a script, scripts and elements that are looked at."""

_PROTECTED = re.compile(r"/cdn-cgi/l/email-protection#([0-9a-fA-F]{6,600})")
_ENCRYPTED = re.compile(r"""UnCryptMailto\((?:'|"|%27|%22)([^'"%)]{8,300})""")
_ALPHABETS = (range(0x2B, 0x3B), range(0x40, 0x5B), range(0x61, 0x7B))
"""What TYPO3's mail links rotate: `+` to `:`, `@` to `Z`, `a` to `z`."""

_USERS = ("data-user", "data-name", "data-local", "data-account", "data-mailbox")
_DOMAINS = ("data-domain", "data-website", "data-host", "data-server")
_ENDS = ("data-tld", "data-tl")
_MAX_PARTS = 250
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,200}={0,2}")

# Possessive throughout: a script that fits nowhere is given up at once.
_STRING = r"'(?:[^'\\\n]|\\.){0,1000}+'|\"(?:[^\"\\\n]|\\.){0,1000}+\""
_TERM = rf"(?:{_STRING}|[A-Za-z_$][\w$]{{0,60}}+)"
_EXPRESSION = re.compile(
    rf"(?:\b(?P<name>[A-Za-z_$][\w$]{{0,60}}+)\s?\+?=\s?|document\.write(?:ln)?\s?\(\s?)"
    rf"(?P<sum>{_TERM}(?:\s{{0,9}}\+\s{{0,9}}{_TERM}){{0,60}}+)"
)
_ONE_TERM = re.compile(_TERM)
_ESCAPED = re.compile(r"(?:unescape|decodeURIComponent)\(\s?['\"]([^'\"]{10,4000})['\"]")
_CODES = re.compile(r"fromCharCode\(([\d,\s]{10,4000})\)")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_LAST_CODE = 0xD800
"""Surrogates begin there."""


def disguised(document: Document) -> Iterator[Disguised]:
    """Yield what is behind the disguises in use.

    Those of Cloudflare, TYPO3, Joomla and WordPress, attributes that hold parts or another
    encoding, and scripts that put an address together from literals.
    """
    yield from _in_links(document)
    for node in _marked(document):
        attributes = node.attributes
        for mark, rule, reveal in _MARKS:
            if mark in attributes or mark == node.tag:
                yield rule, node, reveal(attributes)
    scripts = zip(document.script_nodes, document.scripts, strict=True)
    for node, script in islice(scripts, _MAX_SCRIPTS):
        yield from (("script", node, text) for text in _written(script[:_MAX_SCRIPT]))


def _in_links(document: Document) -> Iterator[Disguised]:
    hidden = (
        (href, node)
        for href, node in document.anchors
        if "email-protection#" in href or "UnCryptMailto" in href
    )
    for href, node in islice(hidden, _MAX_MARKED):
        if found := _PROTECTED.search(href):
            yield "cfemail", node, _xored(found[1])
        elif found := _ENCRYPTED.search(href):
            yield "typo3", node, _unrotated(unquote(found[1]))


def _xored(code: str) -> str:
    """Undo Cloudflare's disguise: each byte is xor-ed with the first."""
    try:
        key, *rest = bytes.fromhex(code)
    except ValueError:
        return ""
    return bytes(byte ^ key for byte in rest).decode("utf-8", "replace").split("?")[0]


def _unrotated(code: str) -> str:
    """Undo TYPO3's disguise, whatever its offset: what becomes a `mailto:` is right."""
    plain = _shifted(code, ord("m") - ord(code[0])) if code else ""
    return plain if plain.startswith("mailto:") else ""


def _shifted(code: str, offset: int) -> str:
    def shift(character: str) -> str:
        for alphabet in _ALPHABETS:
            if ord(character) in alphabet:
                return chr(alphabet[(ord(character) - alphabet[0] + offset) % len(alphabet)])
        return character

    return "".join(map(shift, code))


def _rot13(text: str) -> str:
    return codecs.decode(text.replace("[at]", "@"), "rot13").replace("[at]", "@")


def _decoded(text: str) -> str:
    """Give the text behind base64; "" for what is none."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _plain(text: str) -> str:
    """Give an attribute's address, which may be plain, backwards or in base64."""
    text = text.strip()[:_MAX_PARTS]
    if "@" in text:
        return f"{text}\n{text[::-1]}"
    return _decoded(text) if _BASE64.fullmatch(text) else ""


def _joined(attributes: Mapping[str, str | None]) -> str:
    """Put name, domain and suffix together; styles may write them backwards."""
    user, domain, end = (
        next((value for name in names if (value := attributes.get(name))), "")
        for names in (_USERS, _DOMAINS, _ENDS)
    )
    if not user or not domain or len(user) + len(domain) + len(end) > _MAX_PARTS:
        return ""
    domain = f"{domain}.{end}" if end else domain
    return f"{user}@{domain}\n{user[::-1]}@{domain[::-1]}"


def _halves(attributes: Mapping[str, str | None]) -> str:
    return "@".join(_decoded(attributes.get(half) or "") for half in ("first", "last"))


_Reveal = Callable[[Mapping[str, str | None]], str]


def _attribute(name: str, reveal: Callable[[str], str]) -> _Reveal:
    return lambda attributes: reveal((attributes.get(name) or "")[:1000])


_MARKS: tuple[tuple[str, str, _Reveal], ...] = (
    ("data-cfemail", "cfemail", _attribute("data-cfemail", _xored)),
    ("data-mailto-token", "typo3", _attribute("data-mailto-token", _unrotated)),
    ("joomla-hidden-mail", "joomla", _halves),
    *((name, "rot13", _attribute(name, _rot13)) for name in ("data-enc-email", "data-rot13")),
    *((name, "data attribute", _attribute(name, _plain)) for name in ("data-email", "data-mail")),
    *((name, "data attribute", _joined) for name in _DOMAINS),
)
_MARKED = ",".join(f"[{mark}]" if mark.startswith("data-") else mark for mark, *_ in _MARKS)
_DATA = "|".join(mark[5:] for mark, *_ in _MARKS if mark.startswith("data-"))
_MAYBE_MARKED = re.compile(rf"data-(?:{_DATA})[\s/>=]".encode())  # one beginning: found fast


def _marked(document: Document) -> list[LexborNode]:
    maybe = document.all("joomla-hidden-mail") or _MAYBE_MARKED.search(document.folded)
    return document.tree.css(_MARKED)[:_MAX_MARKED] if maybe else []


def _written(script: str) -> Iterator[str]:
    """Yield the texts that a script puts together from literals, or takes out of an encoding.

    A literal alone is no such text: most are settings, and nobody reads them.
    """
    if "write" not in script and "mailto" not in script and "innerHTML" not in script:
        return
    known: dict[str, str] = {}
    for found in _EXPRESSION.finditer(script):
        terms = _ONE_TERM.findall(found["sum"])
        text = "".join(_value(term, known) for term in terms)
        if found["name"]:
            known[found["name"]] = text[:1000]
        if len(terms) > 1 or not found["name"]:
            yield unquote(unescape(text))
    yield from (unquote(found[1]) for found in _ESCAPED.finditer(script))
    yield from (_characters(found[1]) for found in _CODES.finditer(script))


def _value(term: str, known: Mapping[str, str]) -> str:
    """Give a literal's or a variable's text; what is not known ends an address."""
    if term[0] not in "'\"":
        return known.get(term, "\n")
    return _ESCAPE.sub(lambda found: _unescaped(*found.groups()), term[1:-1])


def _unescaped(byte: str | None, unit: str | None, character: str | None) -> str:
    return chr(int(byte or unit or "", 16)) if byte or unit else character or ""


def _characters(codes: str) -> str:
    numbers = (int(code) for code in re.findall(r"\d{1,6}", codes))
    return "".join(chr(number) for number in numbers if number < _LAST_CODE)
