"""Values of settings as text: what each may be, and what a message may show of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from uuid import UUID

from domainsched import dburl
from domainsched.errors import ConfigError

Network = IPv4Network | IPv6Network
Parser = Callable[[str], Any]

_MAY_HOLD_CREDENTIALS = frozenset({"DATABASE_URL", "DOMAINSCHED_USER_AGENT"})
"""One is for them; in the other the address of a web page may stand beside one of e-mail."""
# a path that begins as one is none of these; Path() makes one slash of two
_CREDENTIALS = re.compile(
    r"(?!/(?!/)|\.{1,2}/|~)(?:[^:]*:.*@|.*\b(?:password|passwd|pwd)\s*=)",
    re.IGNORECASE | re.DOTALL,
)
_HOST = r"(?:\[[^\]]*\]|[^:\[\]]*)"
_CONNECTION_RULE = re.compile(rf"{_HOST}:(\d{{0,6}}):{_HOST}:(\d{{0,6}})", re.ASCII)
_MAX_PORT = 65_535
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_MAX_SHOWN = 200
_DIGITS = 9
"""Any number of so many fits into an integer of PostgreSQL."""

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_LONGEST = timedelta(days=10000)
"""Added to any present date it stays within what PostgreSQL and Python can hold."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def duration(text: str) -> timedelta:
    """Read `30s`, `8m`, `1h30m`, `2d`, `500ms`, or a bare number of seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return _seconds(float(text))
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a duration such as 30s, 8m, 1h30m or 2d")
    return _seconds(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _seconds(number: float) -> timedelta:
    if number > _LONGEST.total_seconds():
        raise ValueError(f"longer than {_LONGEST.days} days")
    return timedelta(seconds=number)


def positive_duration(text: str) -> timedelta:
    """Read a duration above zero."""
    result = duration(text)
    if not result:
        raise ValueError("must be longer than nothing")
    return result


def minutes(text: str) -> timedelta:
    """Read a number of minutes, as the variables of older programs give it."""
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError("not a number of minutes")
    return positive_duration(f"{text}m")


def whole(minimum: int) -> Callable[[str], int]:
    """Make a parser for a whole number from `minimum` up."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text):
            raise ValueError(f"not a whole number from {minimum} up")
        if len(text.lstrip("0")) > _DIGITS:
            raise ValueError(f"must be at most {10**_DIGITS - 1:,}")
        if (number := int(text)) < minimum:
            raise ValueError(f"not a whole number from {minimum} up")
        return number

    return parse


def flag(text: str) -> bool:
    """Read true/false, yes/no, on/off, 1/0."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("neither true nor false")


def choice(*words: str) -> Callable[[str], str]:
    """Make a parser for one of some words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"none of {', '.join(words)}")
        return text.lower()

    return parse


def log_level(text: str) -> int:
    """Read one of the levels that there are."""
    return _LEVELS[choice(*_LEVELS)(text)]


def any_log_level(text: str) -> int | None:
    """Read a level where other programs' words for levels may stand: those change nothing."""
    others = {"warn": logging.WARNING, "critical": logging.ERROR, "fatal": logging.ERROR}
    return (_LEVELS | others).get(text.lower())


def country(text: str) -> str:
    """Read a country's code, two letters (ISO 3166-1)."""
    if not re.fullmatch("[A-Za-z]{2}", text):
        raise ValueError("not a country's code of two letters")
    return text.lower()


def geotargeting(text: str) -> str | None:
    """Read the old switch: on, it meant the United States."""
    return "us" if flag(text) else None


def tries(text: str) -> int:
    """Read the old number of retries, which counted the first try too."""
    return max(whole(0)(text) - 1, 0)


def networks(text: str) -> tuple[Network, ...]:
    """Read networks in CIDR notation, separated by commas."""
    return tuple(ip_network(part) for part in _parts(text))


def connection_rules(text: str) -> tuple[str, ...]:
    """Read rules separated by commas, each of four parts that may be empty, as curl's are."""
    rules = tuple(_parts(utf8(text)))
    for rule in rules:
        found = _CONNECTION_RULE.fullmatch(rule)
        if found is None:
            raise ValueError(f"{rule!r} is not HOST:PORT:TO_HOST:TO_PORT, such as ::127.0.0.1:8080")
        if odd := [port for port in found.groups() if port and not 0 < int(port) <= _MAX_PORT]:
            raise ValueError(f"{odd[0]} is not a port")
    return rules


def utf8(text: str) -> str:
    """Read text, which bytes that are not UTF-8 are not (they come as surrogates)."""
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("it is not UTF-8 text")
    return text


def uuid(text: str) -> UUID:
    """Read a UUID."""
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("not a UUID") from None


def user_agent(text: str) -> str:
    """Read a User-Agent field: printable ASCII (RFC 9110, section 5.5)."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("only printable ASCII may stand in it")
    return text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def parsed(source: str, parse: Parser, text: str, where: str = "") -> object:
    """Read the value of a setting from its `source`, an option or a variable of a file's line.

    Raises:
        ConfigError: it is unusable; a password in it is not shown.
    """
    told = f"{source} ({where})" if where else source
    refuse_misplaced(source, text, told)
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{told}: unusable value {shown(text)!r}", why=str(error)) from None


def shown(text: str) -> str:
    """Make a value fit for a message: what stands where a password may stand is taken out."""
    colon, at = text.find(":"), text.rfind("@")
    masked = f"{text[: colon + 1]}***{text[at:]}" if 0 <= colon < at else text
    return dburl.redact(masked, ())[:_MAX_SHOWN]


def refuse_misplaced(source: str, text: str, told: str = "") -> None:
    """Refuse a database's URL where it does not belong, without a word of it; and NUL."""
    named = told or source
    if source not in _MAY_HOLD_CREDENTIALS and _CREDENTIALS.match(text):
        raise ConfigError(
            f"{named} looks like a database's URL",
            why="its value is not shown, since it may hold a password",
            hint="a database's URL belongs into DATABASE_URL",
        )
    if "\0" in text:
        raise ConfigError(f"{named} holds a NUL character")


def refuse_bytes(source: str, text: str) -> None:
    """Refuse what is not UTF-8, without a word of it."""
    try:
        utf8(text)
    except ValueError as error:
        raise ConfigError(f"{source} cannot be used", why=str(error)) from None
