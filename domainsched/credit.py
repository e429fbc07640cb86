"""The credits that a command may spend on ScraperAPI; apart from it, since most runs spend none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from domainsched.errors import DomainschedError


@dataclass(slots=True)
class Reservation:
    """Credits set apart for one site."""

    credits: int
    spent: int = 0


class CreditBudget:
    """The credits that may be spent; what is under way counts with the most it may cost."""

    def __init__(self, credits_: int) -> None:
        self.limit = credits_
        self.spent = 0
        self._reserved = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def reserved(self, least: int, most: int) -> AsyncIterator[Reservation]:
        """Set `most` credits apart; near the end of the budget what is left, if `least` is.

        Waits for what others have set apart and may not need.

        Raises:
            DomainschedError: the budget is used up.
        """
        while self._left < most and self._reserved:
            await self._freed.wait()
        if self._left < least:
            raise used_up(self.limit)
        with self._kept(Reservation(min(most, self._left))) as reservation:
            yield reservation

    @contextmanager
    def _kept(self, reservation: Reservation) -> Iterator[Reservation]:
        self._reserved += reservation.credits
        try:
            yield reservation
        finally:
            self._reserved -= reservation.credits
            self.spent += reservation.spent
            self._freed.set()
            self._freed = asyncio.Event()

    @property
    def _left(self) -> int:
        return self.limit - self.spent - self._reserved


def used_up(limit: int) -> DomainschedError:
    """Say that there is nothing left to spend."""
    return DomainschedError(
        f"ScraperAPI: the budget of {counted(limit)} is used up",
        why="it holds for one command, and is not overdrawn",
        hint="raise --scraper-budget, or leave the rest to the next run",
    )


def counted(number: int) -> str:
    """Write `1 credit`, `1,204 credits`."""
    return f"{number:,} credit{'' if number == 1 else 's'}"
