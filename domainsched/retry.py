"""When to try again: pure arithmetic for the queue, and tenacity's policy for a lost database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from domainsched.models import Failed

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


def backoff(attempt: int, failure: Failed, policy: Policy, random: float) -> timedelta:
    """Say how long to wait after `attempt` (1 for the first) ended in `failure`.

    Exponential with full jitter between `policy.base` and a ceiling that grows with each attempt,
    so that a thousand sites behind one broken host do not come back together. A site's own
    Retry-After is a lower bound. `random` is in [0, 1); the result is in [base, cap].
    """
    growth = min(float(GROWTH ** min(attempt, 20)), policy.cap / policy.base)
    ceiling = policy.base * growth
    delay = policy.base + random * (ceiling - policy.base)
    return min(policy.cap, max(delay, failure.retry_after or timedelta()))


def database_retrying(
    is_lost: Callable[[BaseException], bool], patience: timedelta
) -> AsyncRetrying:
    """Repeat an operation whose connection was lost, for at most `patience`.

    For operations that are safe to repeat: those guarded by a token, and those that only read.
    """
    return AsyncRetrying(
        retry=retry_if_exception(is_lost),
        wait=wait_exponential(multiplier=0.2, max=3) + wait_random(0, 0.5),
        stop=stop_after_delay(patience.total_seconds()),
        reraise=True,
    )
