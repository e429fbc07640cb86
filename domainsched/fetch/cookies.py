"""The cookies of one visit: sent back to the host that set them, and to no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import httpx

_MAX_HOSTS = 20
_MAX_COOKIES = 50
"""Of one host (RFC 6265, section 6.1)."""
_MAX_HEADER_BYTES = 8 * 1024
"""Of one host's; servers refuse longer fields."""


@dataclass(frozen=True, slots=True)
class _Cookie:
    value: bytes
    secure: bool


class Cookies:
    """A jar without `Domain`, `Path` and `Expires`: a visit lasts seconds and tells no secret.

    So no cookie ever travels from one host to another, whatever its suffix.
    """

    def __init__(self) -> None:
        self._hosts: dict[bytes, dict[bytes, _Cookie]] = {}

    def store(self, url: httpx.URL, fields: Iterable[bytes]) -> None:
        """Take what the Set-Cookie fields of the answer from `url` say."""
        for field in fields:
            if len(self._hosts) < _MAX_HOSTS or url.raw_host in self._hosts:
                _store(self._hosts.setdefault(url.raw_host, {}), field)

    def header(self, url: httpx.URL) -> bytes:
        """Write the Cookie field for a request to `url`; empty if there is nothing to send."""
        jar = self._hosts.get(url.raw_host, {})
        secure = url.scheme == "https"
        return b"; ".join(
            b"%b=%b" % (name, cookie.value)
            for name, cookie in jar.items()
            if secure or not cookie.secure
        )


def _store(jar: dict[bytes, _Cookie], field: bytes) -> None:
    pair, *attributes = (part.strip() for part in field.split(b";"))
    name, separator, value = (part.strip() for part in pair.partition(b"="))
    if not name or not separator:
        return
    jar.pop(name, None)
    flags = {attribute.lower().replace(b" ", b"") for attribute in attributes}
    if b"max-age=0" not in flags and _has_room(jar, pair):
        jar[name] = _Cookie(value, secure=b"secure" in flags)


def _has_room(jar: dict[bytes, _Cookie], pair: bytes) -> bool:
    used = sum(len(name) + len(cookie.value) + len(b"=; ") for name, cookie in jar.items())
    return len(jar) < _MAX_COOKIES and used + len(pair) <= _MAX_HEADER_BYTES
