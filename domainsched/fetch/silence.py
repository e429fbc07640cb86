"""A site that keeps its visit waiting for long holds nobody else up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from domainsched.fetch.budget import Budget
from domainsched.fetch.way import GiveWay

SILENT = timedelta(seconds=1)
"""Of a visit's own time: most sites have answered by then (tests/benchmarks/tail.py)."""
_AGAIN = timedelta(seconds=0.5)
_LATE = timedelta(milliseconds=50)
"""A clock that calls so late is ours to blame: we are busy, and more visits would not help."""


class Silence:
    """Calls `give_way` when the visit has used up SILENT of its budget, until it is accepted.

    Not while it waits in line, for a place at an address or for an extraction process: that takes
    none of its time, nor is it the site that keeps it.
    """

    def __init__(self, budget: Budget, give_way: GiveWay) -> None:
        self._budget = budget
        self._give_way = give_way
        self._loop = asyncio.get_running_loop()
        self._timer = self._look_after(SILENT)

    def _look_after(self, time: timedelta) -> asyncio.TimerHandle:
        return self._loop.call_later(time.total_seconds(), self._look)

    def _look(self) -> None:
        late = timedelta(seconds=self._loop.time() - self._timer.when())
        is_silent = self._budget.elapsed >= SILENT and not self._budget.stands_still
        if late >= _LATE or not is_silent or not self._give_way():
            self._timer = self._look_after(_AGAIN)

    def end(self) -> None:
        """Look no longer: the visit is over."""
        self._timer.cancel()
