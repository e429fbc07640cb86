"""Reading a response's body within bounds of size, of expansion and of pieces."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from domainsched.fetch.failure import body_errors, fail
from domainsched.models import Kind

_CODINGS = frozenset(
    {"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz"}
)
"""Those that IANA has registered and that would have to be undone."""
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_BARE = -zlib.MAX_WBITS
_MAX_REST_BYTES = 64 * 1024
_BOMB_RATIO = 100
"""Markup packs 5 to 20 times; only a body made for it comes past 100 (deflate's limit is 1032)."""
_MAX_PIECES = 50_000
"""Each chunk costs some 10 microseconds to parse, however small it is."""
_FEW_PIECES = 2_000
_MIN_PIECE_BYTES = 16
"""On average, where there are more than a few: no server sends less, but to keep us busy."""
LARGE_BYTES = 128 * 1024
"""A page of more has to wait until there is room for it."""
_TURN = 200
"""Pieces after which others have theirs."""


@dataclass(frozen=True, slots=True)
class Body:
    """What was read, decompressed."""

    data: bytes
    truncated: bool
    """It went on past the limit."""


async def read_body(
    response: httpx.Response, max_bytes: int, make_room: Callable[[], Awaitable[None]] | None = None
) -> Body:
    """Read up to `max_bytes`, counted after decompression.

    `make_room` is awaited when it turns out to be a large one.

    Raises:
        VisitError: `protocol` for a body that is broken or in an unknown coding, `too_large` for a
            decompression bomb; conclusive.

    """
    sink = _Sink(_inflater(response), max_bytes + 1)
    with body_errors():
        async for piece in response.aiter_raw():
            sink.write(piece)
            if sink.is_full or sink.is_done:
                break
            if make_room and len(sink.data) > LARGE_BYTES:
                await make_room()
                make_room = None
            if sink.pieces % _TURN == 0:
                await asyncio.sleep(0)
    if not sink.is_full:
        sink.check_end()
    return Body(bytes(sink.data[:max_bytes]), truncated=sink.is_full)


async def read_rest(response: httpx.Response) -> None:
    """Read a body of which nothing is wanted, unless it is long or in many small pieces.

    Raises:
        VisitError: it broke off.

    """
    if len(response.headers.get("content-length", "")) > len(str(_MAX_REST_BYTES)):
        return
    size = pieces = 0
    with body_errors():
        async for piece in response.aiter_raw():
            size, pieces = size + len(piece), pieces + 1
            if size > _MAX_REST_BYTES or pieces > _FEW_PIECES:
                return


def _inflater(response: httpx.Response) -> zlib._Decompress | _Deflate | None:
    codings = response.headers.get("content-encoding", "").lower().split(",")
    applied = [coding.strip() for coding in codings if coding.strip() in _CODINGS]
    if not applied:  # "none", "utf-8": words that mean nothing, as browsers see it
        return None
    if len(applied) == 1 and applied[0] in _GZIP:
        return zlib.decompressobj(_GZIP_OR_ZLIB)
    if applied == ["deflate"]:
        return _Deflate()
    raise fail(Kind.PROTOCOL, f"content coding {', '.join(applied)!r}, which was not asked for")


class _Deflate:
    """Inflates zlib's format, and bare deflate, which some send in its place.

    RFC 9110, section 8.4.1.2.
    """

    def __init__(self) -> None:
        self._zlib: zlib._Decompress | None = None
        self._head = b""

    @property
    def eof(self) -> bool:
        return self._zlib is not None and self._zlib.eof

    @property
    def unconsumed_tail(self) -> bytes:
        return self._zlib.unconsumed_tail if self._zlib else b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._zlib:
            return self._zlib.decompress(data, max_length)
        self._head += data
        if len(self._head) < len(b"\x78\x9c"):
            return b""
        self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB if _is_wrapped(self._head) else _BARE)
        return self._zlib.decompress(self._head, max_length)


def _is_wrapped(head: bytes) -> bool:
    """Whether a stream begins as RFC 1950 or RFC 1952, each in its section 2, says."""
    is_zlib = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
    return is_zlib or head.startswith(b"\x1f\x8b")


class _Sink:
    """Takes a body piece by piece and never inflates more of it than there is room for."""

    def __init__(self, inflater: zlib._Decompress | _Deflate | None, max_bytes: int) -> None:
        self.data = bytearray()
        self._inflater = inflater
        self._max_bytes = max_bytes
        self._wire_bytes = 0
        self._raw_bytes = 0
        self._bytes_behind = 0
        self.pieces = 0

    @property
    def is_full(self) -> bool:
        return len(self.data) >= self._max_bytes

    @property
    def is_done(self) -> bool:
        """Whether nothing but rubbish comes, behind the end of a compressed body."""
        return self._bytes_behind > _MAX_REST_BYTES

    def write(self, piece: bytes) -> None:
        self.pieces += 1
        self._raw_bytes += len(piece)
        if self.pieces > min(_MAX_PIECES, _FEW_PIECES + self._raw_bytes // _MIN_PIECE_BYTES):
            raise fail(Kind.PROTOCOL, "a body in too many small pieces")
        if self._inflater is not None and self._inflater.eof:
            self._bytes_behind += len(piece)  # zlib would keep it all, and copy it each time
            return
        room = self._max_bytes - len(self.data)
        self.data += self._inflate(self._inflater, piece, room) if self._inflater else piece[:room]

    def _inflate(self, inflater: zlib._Decompress | _Deflate, piece: bytes, room: int) -> bytes:
        try:
            data = inflater.decompress(piece, room)
        except zlib.error as error:
            raise fail(Kind.PROTOCOL, f"broken compression: {error}") from error
        self._wire_bytes += len(piece) - len(inflater.unconsumed_tail)
        if len(data) == room and room + len(self.data) > _BOMB_RATIO * self._wire_bytes:
            raise fail(Kind.TOO_LARGE, "a decompression bomb")
        return data

    def check_end(self) -> None:
        """Refuse a compressed body that ended early; what follows its end is ignored."""
        if self._inflater and self._wire_bytes and not self._inflater.eof:
            raise fail(Kind.PROTOCOL, "the compressed body ends in the middle")
