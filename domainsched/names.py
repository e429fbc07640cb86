"""Text -> the canonical name of a web site, with where it came from."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import idna

from domainsched.errors import InvalidName

if TYPE_CHECKING:
    from tldextract import TLDExtract

_MAX_NAME = 253
_MAX_LABEL = 63
_MAX_HOST = 1024
"""Characters looked at; UTS #46 drops some, so a host may be longer than its name."""
_MAX_URL = 4096
"""Characters looked at: enough for any host, and a line of gigabytes costs no more."""
MAX_LINE = 65_536
"""Characters; what is longer is no line of names, and need not be read whole."""
TOO_LONG = f"longer than {MAX_LINE:,} characters"
HIDDEN = "…"
"""Stands for a text of which nothing is shown."""
NOT_UTF8 = "bytes that are not UTF-8"
_MAX_SHOWN = 80

_INVISIBLE = (
    " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\xad\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
_WRAPPING = _INVISIBLE + "\"'`<>\u2018\u2019\u201c\u201d\u201e\xab\xbb"


@dataclass(frozen=True, slots=True)
class SourcedName:
    """A canonical name and where it was read: `argument`, `new.txt:17`, `stdin:3`."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A text that is no site's name, safe to print, and why."""

    source: str
    text: str
    reason: str


class _Rejection(Exception):
    """Why a text is no site's name, in words that quote nothing of it but one character."""


def canonical(text: str) -> str:
    """Name the web site that `text` stands for: a bare name or an http(s) URL.

    Lower-case A-labels (IDNA 2008 after the mapping of UTS #46, non-transitional), without scheme,
    port, path, leading `www.` and trailing dot. Hyphens in the third and fourth place are taken, as
    browsers do (WHATWG URL, CheckHyphens=false). Idempotent.

    Raises:
        InvalidName: It is none. What stands before an `@` and after a `?` or `#` is never repeated.
    """
    try:
        return _canonical(text)
    except _Rejection as rejection:
        reason = str(rejection)
    raise InvalidName(
        f'"{_shown(text)}" is not a domain name',
        why=reason,
        hint="write the name of a web site, such as example.com",
    )


def spellings(name: str) -> tuple[str, ...]:
    """List the forms in which an older program may have stored the site `name`, itself first.

    `name` must be canonical; `canonical` of each form is `name` again.
    """
    written = ".".join(map(_u_label, name.split(".")))
    hosts = dict.fromkeys([name, f"www.{name}", written, f"www.{written}"])
    urls = [f"{scheme}{host}" for scheme in ("http://", "https://") for host in hosts]
    return (*hosts, *urls, *(f"{url}/" for url in urls))


def read_names(arguments: Iterable[str]) -> Iterator[SourcedName | RejectedLine]:
    """Read names given on the command line."""
    return (read_name(argument, "argument") for argument in arguments)


def read_lines(lines: Iterable[str], source: str) -> Iterator[SourcedName | RejectedLine]:
    """Read one name a line; empty lines and those that begin with `#` are passed over.

    Lazy: of a million lines one at a time is held.
    """
    for number, line in enumerate(lines, start=1):
        first = beginning(line)
        if len(line) > MAX_LINE and first != "#":  # its `@` may be missing: nothing is shown
            yield RejectedLine(f"{source}:{number}", HIDDEN, TOO_LONG)
        elif first not in {"", "#"}:
            yield read_name(line, f"{source}:{number}")


def beginning(line: str) -> str:
    """Give the first character of a line that can be seen; "" if there is none."""
    return line.lstrip(_INVISIBLE)[:1]


def read_name(text: str, source: str) -> SourcedName | RejectedLine:
    """Read one name, or say why it is none."""
    try:
        return SourcedName(_canonical(text), source)
    except _Rejection as rejection:
        return RejectedLine(source, _shown(text), str(rejection))


def _canonical(text: str) -> str:
    line = text.rstrip("\r\n")
    if _is_canonical(line):
        return line
    name = _without_www(_to_ascii(_host(text)))
    if len(name) > _MAX_NAME:
        raise _Rejection(f"longer than {_MAX_NAME} characters")
    if _is_public_suffix(name):
        raise _Rejection("a public suffix alone")
    if "." not in name:
        raise _Rejection("no dot")
    return name


# --- what is right as it is ------------------------------------------------------------------

_COMMON = re.compile(r"(?!www\.)(?:(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


def _is_canonical(text: str) -> bool:
    """Say of most names that they are canonical, in a tenth of the time; False means nothing.

    Of a million names checked one by one, nearly all are of this kind.
    """
    if len(text) > _MAX_NAME or not _COMMON.fullmatch(text):
        return False
    rules = _suffix_rules()
    return text not in rules and f"*.{text.partition('.')[2]}" not in rules


# --- URL -> host -----------------------------------------------------------------------------

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
_AUTHORITY = re.compile(r"[^/?#]*")
_PORT = re.compile(r"0*(?:80|443)|")
_BRACKETED = re.compile(r"\[[0-9a-f:.]+(?:%\w+)?\](?::\d*)?", re.IGNORECASE | re.ASCII)
_E_MAIL = re.compile(r"(?:mailto:)?[^\s:/@]+@[^\s:/@]+", re.IGNORECASE)
_AT_SIGNS = "@\ufe6b\uff20"  # UTS #46 maps the others to the first


def _host(text: str) -> str:
    stripped = text.lstrip(_WRAPPING)[:_MAX_URL].rstrip(_WRAPPING)
    if not stripped:
        raise _Rejection("nothing there")
    if _E_MAIL.fullmatch(stripped):
        raise _Rejection("an e-mail address")
    rest = _after_scheme(stripped)
    match = _AUTHORITY.match(rest)
    authority = match[0].strip(_WRAPPING) if match else ""
    if any(sign in authority for sign in _AT_SIGNS):
        raise _Rejection("a user name or password in the URL")
    if len(authority) > _MAX_HOST:
        raise _Rejection(f"longer than {_MAX_NAME} characters")
    return _without_port(authority, rest)


def _after_scheme(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return text.removeprefix("//")  # "://" may stand in a path: example.com/https://other.com
    if scheme.lower() not in {"http", "https"}:
        raise _Rejection("a scheme other than http and https")
    return rest


def _without_port(authority: str, rest: str) -> str:
    if _is_ipv6(authority):
        raise _Rejection("an IP address")
    host, colon, port = authority.partition(":")
    slash = rest.startswith("/", len(authority))
    if host.lower() in {"", "http", "https"} and (colon or slash or not host):
        otherwise = "no // after the scheme" if host else "no host"
        raise _Rejection("a slash where the host should be" if slash else otherwise)
    if _PORT.fullmatch(port):
        return host
    if port.isascii() and port.isdigit():
        raise _Rejection("a port other than 80 and 443, and only these are visited")
    raise _Rejection("a port that is not a number")


def _is_ipv6(authority: str) -> bool:
    if _BRACKETED.fullmatch(authority):
        return True
    try:
        ipaddress.IPv6Address(authority)
    except ValueError:
        return False
    return True


# --- host -> A-labels ------------------------------------------------------------------------

_LDH_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
_CODE_POINT = re.compile(r"U\+([0-9A-F]{4,6})")


def _to_ascii(host: str) -> str:
    labels = _mapped(host).removesuffix(".").split(".")
    if "" in labels:
        raise _Rejection(_empty_label(labels))
    if _NUMBER.fullmatch(labels[-1]):  # WHATWG URL, "ends in a number": an IPv4 address or nothing
        numbers = all(map(_NUMBER.fullmatch, labels))
        raise _Rejection("an IP address" if numbers else "a top-level domain that is a number")
    return ".".join(map(_a_label, labels))


def _mapped(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return idna.uts46_remap(host)
    except idna.IDNAError as error:
        raise _Rejection(_idna_reason(str(error))) from None


def _empty_label(labels: list[str]) -> str:
    return "a dot at the beginning" if "" not in labels[1:] else "an empty label between two dots"


def _a_label(label: str) -> str:
    is_plain = label.isascii() and not label.startswith("xn--")
    ascii_label = label if is_plain else _alabel(label)
    if len(ascii_label) > _MAX_LABEL:
        raise _Rejection(f"a label longer than {_MAX_LABEL} characters")
    if not _LDH_LABEL.fullmatch(ascii_label):
        raise _Rejection(_ldh_reason(ascii_label))
    return ascii_label


def _u_label(label: str) -> str:
    return idna.ulabel(label) if label.startswith("xn--") else label


def _alabel(label: str) -> str:
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError as error:
        raise _Rejection(_idna_reason(str(error))) from None


def _ldh_reason(label: str) -> str:
    stranger = re.search(r"[^a-z0-9-]", label)
    return _bad_character(stranger[0]) if stranger else "a label that begins or ends with a hyphen"


def _idna_reason(message: str) -> str:
    if "too long" in message:
        return f"a label longer than {_MAX_LABEL} characters"
    if code_point := _CODE_POINT.search(message):
        return _bad_character(chr(int(code_point[1], 16)))
    return "a label that IDNA 2008 does not allow"


def _bad_character(character: str) -> str:
    if character == "_":
        return "an underscore, which host names cannot have"
    if "\ud800" <= character <= "\udfff":
        return NOT_UTF8
    if character.isspace():
        return "white space inside"
    code_point = f"U+{ord(character):04X}"
    described = f"{code_point} {unicodedata.name(character, '')}".rstrip()
    return f"a character that domain names cannot have ({described})"


# --- public suffixes -------------------------------------------------------------------------


def _without_www(name: str) -> str:
    while name.startswith("www.") and "." in (rest := name[4:]) and not _is_public_suffix(rest):
        name = rest
    return name


def _is_public_suffix(name: str) -> bool:
    return not _public_suffixes().extract_str(name).domain


@cache
def _suffix_rules() -> frozenset[str]:
    """Give the rules of the list, Unicode and all, `*.` and `!` where they have it."""
    return frozenset(_public_suffixes().tlds)


@cache
def _public_suffixes() -> TLDExtract:
    """Load the snapshot that tldextract carries, ICANN section only: no network, no cache file."""
    from tldextract import TLDExtract  # 150 ms

    return TLDExtract(cache_dir=None, suffix_list_urls=())


# --- for messages ----------------------------------------------------------------------------


def _shown(text: str) -> str:
    """Make a rejected text safe to print: no user name or password, no query, no control character.

    What follows a `?` or `#` is never the reason, and may hold a key.
    """
    scheme = re.match(r"\s*https?://", text, re.IGNORECASE)
    start = scheme.end() if scheme else 0
    at = max(text.rfind(sign) for sign in _AT_SIGNS)
    visible = text[max(start, at + 1) :][: _MAX_SHOWN + 1]
    hidden = "***@" if at >= start else ""
    shown = _printable(f"{text[:start].strip()}{hidden}{re.split('[?#]', visible)[0].strip()}")
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 1]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    """Write a character by its number; a byte that is not UTF-8, which came as a surrogate, too."""
    if "\udc80" <= character <= "\udcff":
        character = chr(ord(character) - 0xDC00)
    return character.encode("unicode_escape").decode("ascii")
