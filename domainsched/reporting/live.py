"""The live view of `watch`: what was seen of the queue, and the lines that draw it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from domainsched.models import Change, Flight, Glance, Status, Upcoming
from domainsched.reporting.wording import ago, fitted, next_at, printable, site, span, width

MEMORY = timedelta(minutes=1)
"""The rate is that of the last minute."""
_SETTLED = 10
"""The last endings that are shown at most."""
_LEAST_DOMAIN = 16
_WORKER = 30


@dataclass
class View:
    """What is known of the queue, and since when."""

    title: str
    glance: Glance | None = None
    flights: Sequence[Flight] = ()
    settled: deque[Change] = field(default_factory=lambda: deque(maxlen=_SETTLED))
    trouble: str = ""
    """Why nothing new is known."""
    seen_at: float = 0.0
    _finished: deque[tuple[float, int]] = field(default_factory=deque)

    def see(self, glance: Glance, flights: Sequence[Flight], changes: Iterable[Change]) -> None:
        """Take in a new look at the queue."""
        self.glance, self.flights, self.trouble = glance, flights, ""
        self.settled.extend(filter(_is_settled, changes))
        self.seen_at = time.monotonic()
        finished = sum(glance.statuses.get(each, 0) for each in (Status.COMPLETED, Status.ERROR))
        self._finished.append((self.seen_at, finished))
        while self.seen_at - self._finished[0][0] > MEMORY.total_seconds():
            self._finished.popleft()

    @property
    def rate(self) -> float:
        """How many domains a second reach their end."""
        if not self._finished:
            return 0.0
        (began, first), (ended, last) = self._finished[0], self._finished[-1]
        return max(last - first, 0) / (ended - began) if ended > began else 0.0

    def lines(self, columns: int, rows: int, now: datetime) -> list[str]:
        """Draw it in so many `columns` and fewer than `rows`, whatever the names in it."""
        room = columns - 1  # a full line would wrap in some terminals
        clock = f"{now.astimezone(UTC):%H:%M:%S} UTC"
        head = [f"{fitted(self.title, room - len(clock) - 1)} {clock}"]
        head += [f"{self.trouble}; trying again"] if self.trouble else []
        if self.glance is not None:
            head += [*_flowing(self._numbers(self.glance), room), _due(self.glance.upcoming)]
        left = rows - 1 - len(head)
        settled = list(_settled(self.settled, room))
        flying = self._flying(room)
        share = max(left - len(settled), left // 2) if settled else left
        body = [*_cut(flying, share), *settled]
        drawn = [fitted(printable(line), room).rstrip() for line in (*head, *body)][: rows - 1]
        if (
            len(drawn) > 1
        ):  # a terminal writes ^C behind it: were that to wrap, the first would stay
            drawn[-1] = fitted(drawn[-1], room - len("^C")).rstrip()
        return drawn

    def _numbers(self, glance: Glance) -> list[str]:
        others = [status for status in glance.statuses if status not in set(Status)]
        told = [f"{each} {glance.statuses.get(each, 0):,}" for each in (*Status, *others)]
        return [*told, f"({self.rate:.1f}/s)"]

    def _flying(self, room: int) -> list[str]:
        if not self.flights:
            return []
        passed = timedelta(seconds=time.monotonic() - self.seen_at)
        cells = [
            (
                printable(site(flight.domain)),
                printable(flight.worker or "not known"),
                "" if flight.since is None else _seconds(flight.since + passed),
                _seconds(flight.lease_left - passed),
            )
            for flight in self.flights
        ]
        return ["", *_table(("PROCESSING", "WORKER", "SINCE", "LEASE LEFT"), cells, room)]


def _table(heads: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> Iterable[str]:
    sizes = [max(map(width, column)) for column in zip(heads, *cells, strict=True)]
    times = sizes[2] + sizes[3]
    sizes[1] = min(sizes[1], _WORKER, max(8, room - times - _LEAST_DOMAIN - 6))
    sizes[0] = min(sizes[0], max(8, room - times - sizes[1] - 6))
    for first, second, *rest in (heads, *cells):
        told = (fitted(first, sizes[0]), fitted(second, sizes[1]))
        yield "  ".join((*told, *map(str.rjust, rest, sizes[2:])))


def _is_settled(change: Change) -> bool:
    """Whether a visit ended: what is pending without a kind was only queued, or released."""
    retried = change.status == Status.PENDING and bool(change.kind)
    return retried or change.status in {Status.COMPLETED, Status.ERROR}


def _settled(changes: Iterable[Change], room: int) -> Iterable[str]:
    recent = [*changes][::-1]
    if not recent:
        return
    yield ""
    yield "JUST SETTLED"
    names = [printable(site(change.domain)) for change in recent]
    size = min(max(map(width, names)), max(_LEAST_DOMAIN, room // 2 - 8))
    for name, change in zip(names, recent, strict=True):
        why = ": ".join(filter(None, (change.kind, change.detail)))
        yield f"{fitted(name, size)}  {fitted(change.status, 9)}  {printable(why)}"


def _due(upcoming: Upcoming) -> str:
    if upcoming.due:
        waiting = ago(upcoming.waiting_since).removesuffix(" ago")
        return f"{upcoming.due:,} due now" + (f", oldest waiting {waiting}" if waiting else "")
    return next_at(upcoming.next_due)


def _flowing(items: Iterable[str], room: int) -> list[str]:
    """Put items on as few lines as hold them whole."""
    lines = [""]
    for item in items:
        if lines[-1] and width(lines[-1]) + 3 + width(item) > room:
            lines.append("")
        lines[-1] += f"   {item}" if lines[-1] else item
    return lines


def _cut(lines: list[str], room: int) -> list[str]:
    """Leave out what does not fit, and say how much that is."""
    if len(lines) <= room:
        return lines
    kept = max(room - 1, 0)
    return [*lines[:kept], f"and {len(lines) - kept:,} more"] if room > 0 else []


def _seconds(duration: timedelta) -> str:
    """Write a duration in whole seconds, and with them where a minute has passed."""
    if duration >= timedelta(hours=1):
        return span(duration)
    minutes, seconds = divmod(max(int(duration.total_seconds()), 0), 60)
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"
