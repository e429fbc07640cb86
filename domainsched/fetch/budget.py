"""A visit's time, which stands still while the visit waits for its turn at a crowded address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta


class Budget:
    """So much time from now on, within one task."""

    def __init__(self, time: timedelta) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._deadline = self._started + time.total_seconds()
        self._limits: list[asyncio.Timeout] = []
        self._paused: float | None = None

    @property
    def stands_still(self) -> bool:
        """Whether no time passes: nobody waits for the site."""
        return self._paused is not None

    @property
    def elapsed(self) -> timedelta:
        """The time used up, without that spent standing still."""
        return timedelta(seconds=(self._paused or self._loop.time()) - self._started)

    @asynccontextmanager
    async def limit(self, time: timedelta | None = None) -> AsyncIterator[None]:
        """Raise TimeoutError in the block after `time`, or when the whole budget is used up."""
        deadline = self._loop.time() + time.total_seconds() if time else self._deadline
        async with asyncio.timeout_at(deadline) as limit:
            self._limits.append(limit)
            try:
                yield
            finally:
                self._limits.remove(limit)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let time pass in the block; from its end to the next such block there is none."""
        if self._paused is not None:
            self._put_off(self._loop.time() - self._paused)
            self._paused = None
        try:
            yield
        finally:
            self._paused = self._loop.time()

    def _put_off(self, waited: float) -> None:
        self._started += waited
        self._deadline += waited

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let the block take as long as it takes; every limit is put off by that."""
        self._paused, ends = self._loop.time(), [limit.when() for limit in self._limits]
        for limit in self._limits:
            limit.reschedule(None)
        try:
            yield
        finally:
            waited = self._loop.time() - self._paused
            self._paused = None
            self._put_off(waited)
            for limit, end in zip(self._limits, ends, strict=True):
                limit.reschedule(None if end is None else end + waited)
