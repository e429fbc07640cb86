"""A site that keeps its visit waiting for long holds nobody else up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from domainsched.fetch.budget import Budget

SILENT = timedelta(seconds=1)
"""Of a visit's own time: most sites have answered by then (tests/benchmarks/tail.py)."""
_AGAIN = timedelta(seconds=0.5)
_LATE = timedelta(milliseconds=50)
"""A clock that calls so late is ours to blame: we are busy, and more visits would not help."""


class Silence:
    """Calls `give_way` once, when the visit has used up SILENT of its budget.

    Waiting in line, for a place at an address or for an extraction process, takes none of it.
    """

    def __init__(self, budget: Budget, give_way: Callable[[], None]) -> None:
        self._budget = budget
        self._give_way = give_way
        self._loop = asyncio.get_running_loop()
        self._timer = self._look_after(SILENT)

    def _look_after(self, time: timedelta) -> asyncio.TimerHandle:
        return self._loop.call_later(time.total_seconds(), self._look)

    def _look(self) -> None:
        late = timedelta(seconds=self._loop.time() - self._timer.when())
        if late < _LATE and self._budget.elapsed >= SILENT:
            self._give_way()
        else:
            self._timer = self._look_after(_AGAIN)

    def end(self) -> None:
        """Look no longer: the visit is over."""
        self._timer.cancel()
