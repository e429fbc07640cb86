"""When to try again: pure arithmetic for the queue, and patience with a lost database."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from domainsched.errors import DomainschedError
from domainsched.models import Failed

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHORTEST, LONGEST = timedelta(seconds=0.2), timedelta(seconds=3)
SCATTER = timedelta(seconds=0.5)
"""A lost database is asked again after pauses that double, and that differ from one to another."""
TOLD_AFTER = timedelta(seconds=5)
"""A loss that lasts so long is told, unless it is the first: what the next try mends is no news."""
GROWTH = 4
"""Each wait's ceiling is this many times the one before: 4 minutes, 16 minutes, 64 minutes, ..."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how soon a domain is tried again."""

    max_attempts: int = 3
    base: timedelta = timedelta(minutes=1)
    """The shortest wait."""
    cap: timedelta = timedelta(hours=6)
    """The longest wait, whatever a site's Retry-After asks for."""


def backoff(attempt: int, failure: Failed, policy: Policy, chance: float) -> timedelta:
    """Say how long to wait after `attempt` (1 for the first) ended in `failure`.

    Exponential with full jitter between `policy.base` and a ceiling that grows with each attempt,
    so that a thousand sites behind one broken host do not come back together. A site's own
    Retry-After is a lower bound. `chance` is in [0, 1); the result is in [base, cap].
    """
    growth = min(float(GROWTH ** min(attempt, 20)), policy.cap / policy.base)
    ceiling = policy.base * growth
    delay = policy.base + chance * (ceiling - policy.base)
    return min(policy.cap, max(delay, failure.retry_after or timedelta()))


class Outage:
    """Tells each trouble once, and that it is over, if it was told, whoever meets with it.

    Both are warnings: who reads the one, in a mail, is to read the other.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()
        self.is_endless = False
        """Whether it is tried on and on, also when the patience of one operation has ended."""

    def tell(self, error: DomainschedError, patience: timedelta | None = None) -> None:
        """Say what is wrong, and for how long it is tried again."""
        if error.what not in self._told:
            told = ": ".join(filter(None, (error.what, "; ".join(error.why.splitlines()))))
            bound = f" for up to {patience.total_seconds():.0f} s" if patience else ""
            logger.warning("%s; trying again%s", told, "" if self.is_endless else bound)
        self._told.add(error.what)

    def over(self) -> None:
        """Say so, if there is anybody who was told of it."""
        if self._told:
            logger.warning("the trouble is over; going on")
        self._told.clear()


async def repeated(
    operation: Callable[[], Awaitable[T]],
    is_lost: Callable[[BaseException], bool],
    patience: timedelta,
    *,
    tell: Callable[[Any], object],
    over: Callable[[], object],
) -> T:
    """Await `operation`, and again when its connection was lost, for at most `patience`.

    For operations that are safe to repeat: those guarded by a token, and those that only read. By
    hand: tenacity takes 60 us even where nothing fails, an eighth of what a claim does.

    `tell` is called with each loss that is worth telling, `over` when it went well after a loss:
    that another operation goes well says nothing of this one, which may wait for a lock.
    """
    begun = time.monotonic()
    pause, losses = SHORTEST, 0
    while True:
        try:
            result = await operation()
        except Exception as error:
            waited = timedelta(seconds=time.monotonic() - begun)
            if not is_lost(error) or waited >= patience:
                raise
            if losses and waited >= TOLD_AFTER:
                tell(error)
        else:
            if losses:
                over()
            return result
        losses += 1
        await asyncio.sleep((pause + random.random() * SCATTER).total_seconds())  # noqa: S311 - guards nothing
        pause = min(2 * pause, LONGEST)
