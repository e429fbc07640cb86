"""Places at an address: how many connections the visits of a run may hold to it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass


class Crowded(Exception):
    """There was no place at an address for as long as a visit may take: better later."""


@dataclass(slots=True)
class _Gate:
    places: asyncio.Semaphore
    users: int = 0
    """Who holds a place or waits for one."""


class Places:
    """At most `limit` at once for each key (0: any number), first come, first served.

    Who waits must hold no place itself, or two that hold what the other wants wait for ever.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gates: dict[Hashable, _Gate] = {}

    def __len__(self) -> int:
        """Count the keys that somebody holds a place of or waits for."""
        return len(self._gates)

    def is_full(self, key: Hashable) -> bool:
        """Whether one would have to wait."""
        gate = self._gates.get(key)
        return gate is not None and gate.places.locked()

    async def take(self, key: Hashable) -> None:
        """Take a place, which must be given back; returns at once if one is free."""
        if not self._limit:
            return
        gate = self._gates.setdefault(key, _Gate(asyncio.Semaphore(self._limit)))
        gate.users += 1
        try:
            await gate.places.acquire()
        except BaseException:
            self._leave(key, gate)
            raise

    def give_back(self, key: Hashable) -> None:
        """End a hold that `take` began."""
        if not self._limit:
            return
        gate = self._gates[key]
        gate.places.release()
        self._leave(key, gate)

    def _leave(self, key: Hashable, gate: _Gate) -> None:
        gate.users -= 1
        if not gate.users:
            del self._gates[key]
