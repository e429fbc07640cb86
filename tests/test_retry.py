"""The laws of waiting."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched.errors import DatabaseError, NetworkDown
from domainsched.models import Failed, Kind
from domainsched.retry import Outage, Policy, backoff, repeated

NO_WISH = Failed(Kind.TIMEOUT, "no page within 30 s")
JUST_BELOW_ONE = 1 - 2**-53

attempts = st.integers(1, 10**9)
chances = st.floats(0, 1, exclude_max=True)
wishes = st.none() | st.timedeltas(timedelta(), timedelta.max)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    base = draw(st.timedeltas(timedelta(milliseconds=1), timedelta(days=400)))
    cap = draw(st.timedeltas(base, timedelta(days=4000)))
    return Policy(base=base, cap=cap)


def wishing(retry_after: timedelta | None) -> Failed:
    return Failed(Kind.RATE_LIMITED, "429", retry_after)


@settings(deadline=None, database=None)
@given(attempts, wishes, policies(), chances)
def test_a_wait_lies_between_the_base_and_the_cap_whatever_a_site_asks_for(
    attempt: int, wish: timedelta | None, policy: Policy, chance: float
) -> None:
    assert policy.base <= backoff(attempt, wishing(wish), policy, chance) <= policy.cap


@settings(deadline=None, database=None)
@given(attempts, wishes, policies(), chances)
def test_a_wait_is_no_shorter_than_a_site_asks_for_up_to_the_cap(
    attempt: int, wish: timedelta | None, policy: Policy, chance: float
) -> None:
    asked = min(wish or timedelta(), policy.cap)
    wait = backoff(attempt, wishing(wish), policy, chance)
    assert wait == max(asked, backoff(attempt, NO_WISH, policy, chance))


@settings(deadline=None, database=None)
@given(attempts, policies(), chances, chances)
def test_more_chance_never_means_less_wait(
    attempt: int, policy: Policy, one: float, other: float
) -> None:
    low, high = sorted([one, other])
    assert backoff(attempt, NO_WISH, policy, low) <= backoff(attempt, NO_WISH, policy, high)


@settings(deadline=None, database=None)
@given(attempts, policies(), chances)
def test_later_attempts_never_wait_less(attempt: int, policy: Policy, chance: float) -> None:
    after = backoff(attempt + 1, NO_WISH, policy, chance)
    assert backoff(attempt, NO_WISH, policy, chance) <= after


@settings(deadline=None, database=None)
@given(attempts, policies())
def test_the_jitter_is_full(attempt: int, policy: Policy) -> None:
    """It spreads over all of the span, so that those that failed together come back apart."""
    ceiling = backoff(attempt, NO_WISH, policy, JUST_BELOW_ONE)
    middle = backoff(attempt, NO_WISH, policy, 0.5)
    assert backoff(attempt, NO_WISH, policy, 0.0) == policy.base
    assert abs((middle - policy.base) * 2 - (ceiling - policy.base)) <= timedelta(microseconds=10)


@pytest.mark.parametrize(("attempt", "minutes"), [(1, 4), (2, 16), (3, 64), (4, 256), (5, 360)])
def test_each_ceiling_is_four_times_the_one_before_up_to_six_hours(
    attempt: int, minutes: int
) -> None:
    wait = backoff(attempt, NO_WISH, Policy(), JUST_BELOW_ONE)
    assert abs(wait - timedelta(minutes=minutes)) < timedelta(milliseconds=1)


# --- a lost database --------------------------------------------------------------------------


class Lost(Exception):
    pass


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self._failures:
            raise self._failures.pop(0)
        return "answer"


async def retried(
    operation: Flaky, patience: timedelta = timedelta(seconds=30), outage: Outage | None = None
) -> str:
    outage = outage or Outage()
    return await repeated(
        operation,
        lambda error: isinstance(error, Lost),
        patience,
        tell=lambda error: outage.tell(DatabaseError("it is away", why=str(error)), patience),
        over=outage.over,
    )


async def test_an_operation_is_repeated_while_the_database_is_lost() -> None:
    operation = Flaky(Lost(), Lost())
    assert await retried(operation) == "answer"
    assert operation.asked == 3


async def test_an_error_that_no_waiting_mends_is_raised_at_once() -> None:
    operation = Flaky(ValueError("refused"), Lost())
    with pytest.raises(ValueError, match="refused"):
        await retried(operation)
    assert operation.asked == 1


async def test_when_patience_ends_the_last_error_is_raised_as_it_was() -> None:
    last = Lost("last")
    operation = Flaky(Lost("first"), last, Lost("not reached"))
    with pytest.raises(Lost) as caught:
        await retried(operation, timedelta(seconds=0.1))
    assert (caught.value is last, operation.asked) == (True, 2)


# --- what is told of it -----------------------------------------------------------------------

TOLD = "it is away: refused; trying again for up to 30 s"
OVER = "the trouble is over; going on"


def told(log: pytest.LogCaptureFixture) -> list[str]:
    assert {record.levelno for record in log.records} <= {logging.WARNING}
    return [record.getMessage() for record in log.records]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loss lasts long enough to be told."""
    monkeypatch.setattr("domainsched.retry.TOLD_AFTER", timedelta())


async def test_what_is_mended_soon_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    await retried(Flaky(Lost("refused"), Lost("refused")))
    assert told(caplog) == []


@pytest.mark.usefixtures("at_once")
async def test_what_the_first_retry_mends_is_not_told_however_long_the_first_try_took(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await retried(Flaky(Lost("refused")))
    assert told(caplog) == []


@pytest.mark.usefixtures("at_once")
async def test_what_lasts_is_told_once_and_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await retried(Flaky(*[Lost("refused")] * 3))
    assert told(caplog) == [TOLD, OVER]


@pytest.mark.usefixtures("at_once")
async def test_several_that_wait_at_a_time_tell_it_once(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    both = [retried(Flaky(*[Lost("refused")] * 2), outage=outage) for _ in range(2)]
    await asyncio.gather(*both)
    assert told(caplog) == [TOLD, OVER]


@pytest.mark.usefixtures("at_once")
async def test_what_goes_well_meanwhile_does_not_say_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage()
    with pytest.raises(ValueError, match="other"):
        await retried(Flaky(Lost(), Lost("refused"), ValueError("other")), outage=outage)
    await retried(Flaky(), outage=outage)
    assert told(caplog) == [TOLD]


def test_who_tries_on_and_on_does_not_say_for_how_long(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    outage.is_endless = True
    for _ in range(2):
        outage.tell(DatabaseError("it is away", why="refused"), timedelta(seconds=30))
        outage.tell(NetworkDown("no network", why="first: a.test\nwere released"))
    outage.over()
    assert told(caplog) == [
        "it is away: refused; trying again",
        "no network: first: a.test; were released; trying again",
        OVER,
    ]
