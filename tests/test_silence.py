"""Sites that keep a visit waiting: it gives way to others, but only where that would help."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from sites import Sites, never
from visits import limits

from domainsched.fetch import Fetcher, silence
from domainsched.fetch.budget import Budget
from domainsched.fetch.silence import Silence

BRIEF = timedelta(milliseconds=100)
PLENTY = 60.0
"""Seconds, for what takes a moment on a machine at rest."""


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENT", BRIEF)


class Noted:
    """What happened, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.asked, self.gave_way = asyncio.Event(), asyncio.Event()
        self.refusals = 0

    def give_way(self) -> bool:
        self.asked.set()
        if self.refusals:
            self.refusals -= 1
            self.events.append("not now")
            return False
        self.events.append("gave way")
        self.gave_way.set()
        return True

    async def until_it_is_asked(self) -> None:
        async with asyncio.timeout(PLENTY):
            await self.asked.wait()

    async def until_it_gives_way(self) -> None:
        async with asyncio.timeout(PLENTY):
            await self.gave_way.wait()


@pytest.fixture
def noted() -> Noted:
    return Noted()


async def test_a_visit_to_a_silent_site_gives_way_and_goes_on(sites: Sites, noted: Noted) -> None:
    sites.add("silence.test", behaviour=never())
    fetcher = Fetcher(limits(sites, ignore_robots=True))
    async with fetcher.site("silence.test", noted.give_way) as site:
        visit = asyncio.create_task(site.home())
        await noted.until_it_gives_way()
        assert not visit.done()
        visit.cancel()
    assert noted.events == ["gave way"]


async def test_one_that_stands_in_line_does_not(noted: Noted) -> None:
    budget = Budget(timedelta(seconds=PLENTY))
    watch = Silence(budget, noted.give_way)
    with budget.standing_still():
        await asyncio.sleep(3 * BRIEF.total_seconds())
        noted.events.append("stood")
    await noted.until_it_gives_way()
    watch.end()
    assert noted.events == ["stood", "gave way"]


async def test_nor_does_one_whose_page_is_being_read(noted: Noted) -> None:
    budget = Budget(timedelta(seconds=PLENTY))
    watch = Silence(budget, noted.give_way)
    with budget.running():
        pass
    await asyncio.sleep(3 * BRIEF.total_seconds())
    noted.events.append("read")
    with budget.running():
        await noted.until_it_gives_way()
    watch.end()
    assert noted.events == ["read", "gave way"]


async def test_nor_then_if_the_page_was_long_in_coming(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "_AGAIN", BRIEF)
    budget = Budget(timedelta(seconds=PLENTY))
    noted.refusals = 1
    watch = Silence(budget, noted.give_way)
    with budget.running():
        await noted.until_it_is_asked()
    await asyncio.sleep(3 * BRIEF.total_seconds())
    watch.end()
    assert noted.events == ["not now"]


async def test_one_that_may_not_give_way_yet_asks_again(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "_AGAIN", BRIEF)
    noted.refusals = 2
    watch = Silence(Budget(timedelta(seconds=PLENTY)), noted.give_way)
    await noted.until_it_gives_way()
    watch.end()
    assert noted.events == ["not now", "not now", "gave way"]


async def test_nor_does_one_that_waits_for_us(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "_AGAIN", timedelta(hours=1))
    watch = Silence(Budget(timedelta(seconds=PLENTY)), noted.give_way)
    time.sleep(3 * BRIEF.total_seconds())  # noqa: ASYNC251 - the loop is busy: that is the point
    await asyncio.sleep(BRIEF.total_seconds())
    watch.end()
    assert noted.events == []


async def test_nor_does_one_that_is_over(noted: Noted) -> None:
    Silence(Budget(timedelta(seconds=PLENTY)), noted.give_way).end()
    await asyncio.sleep(3 * BRIEF.total_seconds())
    assert noted.events == []
