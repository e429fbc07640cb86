"""How far a run is: what has ended, what is in flight, and the line that draws both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from domainsched.models import Claim, RowId, Settled
from domainsched.reporting.wording import ending, fitted, printable, site, span, width

_WORDS = {"completed": "ok", "retry": "to retry", "error": "failed", "lost": "lost"}
_SLOW_SECONDS = 2.0
"""A visit that takes longer is named."""
_BAR = 24
_LEAST_BAR = 8
_LEAST_NAME = 12
"""Columns in which a name can be told at all."""
_ROOM_FOR_NAME = 30
_MINUTE = 60


@dataclass
class Progress:
    """What a run has done so far; `total` is None when nobody knows how much there is."""

    total: int | None
    begun_at: float = field(default_factory=time.monotonic)
    done: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    flying: dict[tuple[UUID, RowId], tuple[str, float]] = field(default_factory=dict)
    """By claim: its domain, and since when it flies."""

    def begun(self, claim: Claim) -> None:
        """Note that a visit begins."""
        self.flying[claim.token, claim.id] = claim.domain, time.monotonic()

    def settled(self, settled: Settled) -> None:
        """Note that one has ended."""
        self.flying.pop((settled.claim.token, settled.claim.id), None)
        word, _ = ending(settled)
        self.outcomes[word] = self.outcomes.get(word, 0) + 1
        self.done += 1

    def line(self, columns: int, now: float | None = None) -> str:
        """Draw it in fewer than so many `columns`: a line that is full may wrap."""
        moment = time.monotonic() if now is None else now
        told = self._told(moment)
        room = columns - 1 - len("processing ")
        while len(told) > 1 and width("".join(told)) > room - self._has_total * (_LEAST_BAR + 1):
            told.pop()
        rest = room - width("".join(told))
        slowest = self._slowest(moment)
        wanted = rest - 1 - _ROOM_FOR_NAME * (slowest is not None)
        bar = self._bar(min(_BAR, columns // 4, rest - 1, max(_LEAST_BAR, wanted)))
        named = _named(slowest, rest - len(bar)) if slowest else ""
        return fitted(f"processing {bar}{''.join(told)}{named}", columns - 1).rstrip()

    @property
    def _has_total(self) -> bool:
        return bool(self.total)

    def _told(self, now: float) -> list[str]:
        """Say the numbers, the most important first."""
        elapsed = max(now - self.begun_at, 0.001)
        counts = ", ".join(f"{n:,} {_WORDS[w]}" for w in _WORDS if (n := self.outcomes.get(w, 0)))
        return [
            f"{self.done:,}/{self.total:,}" if self.total else f"{self.done:,}",
            f"  {counts}" if counts else "",
            f"  {timedelta(seconds=int(elapsed))}",
            f"  {self.done / elapsed:.1f}/s" if self.done else "",
        ]

    def _bar(self, size: int) -> str:
        if not self.total or size < _LEAST_BAR:
            return ""
        full = min(size, size * self.done // self.total)
        return "━" * full + "─" * (size - full) + " "

    def _slowest(self, now: float) -> tuple[str, int] | None:
        """Find the domain that is longest in flight, and its seconds, if it is slow."""
        flying = list(self.flying.values())  # a copy: another thread draws
        domain, since = min(flying, key=lambda flight: flight[1], default=("", now))
        return (domain, int(now - since)) if now - since >= _SLOW_SECONDS else None


def _named(slowest: tuple[str, int], room: int) -> str:
    domain, seconds = slowest
    time_text = f"  {seconds} s" if seconds < _MINUTE else f"  {span(timedelta(seconds=seconds))}"
    left = room - width(time_text) - 2
    if left < _LEAST_NAME:
        return ""
    return f"  {fitted(printable(site(domain)), left).rstrip()}{time_text}"
