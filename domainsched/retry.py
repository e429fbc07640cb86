"""When to try again: pure arithmetic for the queue, and patience with a lost database."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from domainsched.models import Failed

T = TypeVar("T")

SHORTEST, LONGEST = timedelta(seconds=0.2), timedelta(seconds=3)
SCATTER = timedelta(seconds=0.5)
"""A lost database is asked again after pauses that double, and that differ from one to another."""
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


async def repeated(
    operation: Callable[[], Awaitable[T]],
    is_lost: Callable[[BaseException], bool],
    patience: timedelta,
) -> T:
    """Await `operation`, and again when its connection was lost, for at most `patience`.

    For operations that are safe to repeat: those guarded by a token, and those that only read. By
    hand: tenacity takes 60 us even where nothing fails, an eighth of what a claim does.
    """
    begun = time.monotonic()
    pause = SHORTEST
    while True:
        try:
            return await operation()
        except Exception as error:
            if not is_lost(error) or time.monotonic() - begun >= patience.total_seconds():
                raise
        await asyncio.sleep((pause + random.random() * SCATTER).total_seconds())  # noqa: S311 - guards nothing
        pause = min(2 * pause, LONGEST)
