"""Why a visit found no page: from the exceptions of the network to `Failed`, in clean words."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import h11

from domainsched.fetch.stream import ConnectionLost
from domainsched.models import Failed, Kind

_MAX_DETAIL = 300
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH})
WIRE_ERRORS = (ConnectionLost, h11.ProtocolError, ssl.SSLError)


class VisitError(Exception):
    """One URL gave no page."""

    def __init__(self, failed: Failed, *, conclusive: bool = False, dropped: bool = False) -> None:
        super().__init__(failed.detail)
        self.failed = failed
        self.conclusive = conclusive
        """The site has spoken, or must not be contacted: its other URLs are not tried."""
        self.dropped = dropped
        """The connection broke, which often passes: the same URL is worth another try."""


def clean_text(text: str, max_length: int = _MAX_DETAIL) -> str:
    """Make text from the wire fit for a terminal and a table: one short printable line."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 2 * max_length])
    line = " ".join(printable.split())
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def fail(kind: Kind, detail: str) -> VisitError:
    """Build the conclusive error for something the site has said."""
    return VisitError(Failed(kind, clean_text(detail)), conclusive=True)


def in_context(error: VisitError, context: str) -> VisitError:
    """Say on the way to what it went wrong, other hosts having answered before."""
    detail = clean_text(f"{context}: {error.failed.detail}")
    failed = replace(error.failed, detail=detail, unreachable=False)
    return VisitError(failed, conclusive=error.conclusive)


def redirected(error: VisitError, target: str) -> VisitError:
    """Say at which redirect a visit ended."""
    return in_context(error, f"redirected to {clean_text(target, 120)}")


def dns_failure(error: OSError) -> VisitError:
    """Translate what the resolver raised; no answer at all may be our own network's fault."""
    unreachable = error.errno == socket.EAI_AGAIN
    detail = f"the host name does not resolve: {error.strerror or 'no address'}"
    return VisitError(Failed(Kind.DNS, clean_text(detail), unreachable=unreachable))


def connect_failure(errors: Sequence[OSError]) -> VisitError:
    """Choose among the failures of a host's addresses the one that says most.

    A machine without IPv6 cannot reach half of a host's addresses: that says nothing of the host.
    """
    failures = [_connect_failure(error) for error in errors]
    return next((each for each in failures if not each.failed.unreachable), failures[0])


def _connect_failure(error: OSError) -> VisitError:
    if isinstance(error, TimeoutError):
        return VisitError(Failed(Kind.TIMEOUT, "no connection in time"))
    detail = os.strerror(error.errno).lower() if error.errno else "no connection"
    return VisitError(Failed(Kind.CONNECT, detail, unreachable=error.errno in _UNREACHABLE))


def tls_failure(error: OSError) -> VisitError:
    """Translate what ended a handshake; in TLS 1.3 a server may refuse us after it."""
    match error:
        case TimeoutError():
            return VisitError(Failed(Kind.TIMEOUT, "no TLS handshake in time"))
        case ssl.SSLCertVerificationError():
            return VisitError(Failed(Kind.TLS, clean_text(error.verify_message.rstrip("."))))
        case ssl.SSLError() if not isinstance(error, ssl.SSLEOFError | ssl.SSLSyscallError):
            reason = (error.reason or "unknown reason").replace("_", " ").lower()
            return VisitError(Failed(Kind.TLS, clean_text(f"TLS failed: {reason}")))
        case _:
            lost = "connection lost during the TLS handshake"
            return VisitError(Failed(Kind.TLS, lost), dropped=True)


@contextmanager
def head_errors() -> Iterator[None]:
    """Translate what may go wrong until the head of an answer has come."""
    try:
        yield
    except WIRE_ERRORS as error:
        raise _head_failure(error) from error


def _head_failure(error: Exception) -> VisitError:
    match error:
        case ssl.SSLError():
            return tls_failure(error)
        case h11.ProtocolError():
            return VisitError(Failed(Kind.PROTOCOL, _protocol_detail(error)))
        case _:
            lost = Failed(Kind.CONNECT, "connection lost before an answer")
            return VisitError(lost, dropped=True)


@contextmanager
def body_errors() -> Iterator[None]:
    """Translate what may go wrong while a body is read."""
    try:
        yield
    except h11.ProtocolError as error:
        raise fail(Kind.PROTOCOL, _protocol_detail(error)) from error
    except WIRE_ERRORS as error:
        broken = Failed(Kind.PROTOCOL, "connection lost in the middle of the page")
        raise VisitError(broken, conclusive=True, dropped=True) from error


def _protocol_detail(error: Exception) -> str:
    return clean_text(f"no valid HTTP: {error}".rstrip("."))
