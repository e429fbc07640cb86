"""A name server on loopback that says what a test wants, true or not."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

PORT = 53

Records = Mapping[str, str]
"""Type to data: {"A": "127.0.0.1 127.0.0.2", "CNAME": "other.test."}."""
Answer = Records | dns.rcode.Rcode | None
"""Records (none of the wanted type: no data), an error, or silence."""
Name = Callable[[int], Answer]
"""What a name answers to the n-th question of a type, from 0."""


def always(answer: Answer) -> Name:
    """Give the same answer to every question."""
    return lambda _: answer


NOWHERE = always(dns.rcode.NXDOMAIN)


@dataclass
class NameServer:
    """Answers on UDP port 53 of 127.0.0.1, which must be free: in a network namespace it is.

    What is said of a name holds for www. of it too, of which nothing is said.
    """

    names: Mapping[str, Name]
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Name and type to how often."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", PORT))
        Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                data, peer = self._socket.recvfrom(4096)
                with suppress(dns.exception.DNSException):
                    if answer := self._answer(dns.message.from_wire(data)):
                        self._socket.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        (question,) = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name
        behaviour = self.names.get(name) or self.names.get(name.removeprefix("www."), NOWHERE)
        found = behaviour(self.asked[name, kind])
        self.asked[name, kind] += 1
        if found is None:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if isinstance(found, dns.rcode.Rcode):
            reply.set_rcode(found)
        else:
            reply.answer += self._records(name, kind, found)
        return reply

    def _records(self, name: str, kind: str, found: Records) -> list[dns.rrset.RRset]:
        alias = found.get("CNAME")
        if alias is not None:
            target = self.names[alias.rstrip(".")](0)
            assert isinstance(target, Mapping)
            rest = self._records(alias, kind, target)
            return [dns.rrset.from_text(f"{name}.", 0, "IN", "CNAME", alias), *rest]
        data = found.get(kind, "").split()
        return [dns.rrset.from_text(f"{name.rstrip('.')}.", 0, "IN", kind, *data)] if data else []
