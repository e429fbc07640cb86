"""What a process is set to before its first visit."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from domainsched.config import Settings
from domainsched.credit import CreditBudget
from domainsched.job import Job
from domainsched.visiting import visitor


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector as it was."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collector")
async def test_the_collector_is_spared_what_stays_once_and_goes_on() -> None:
    gc.unfreeze()
    settings = Settings.load({}, {})
    async with AsyncExitStack() as stack:
        visitor(settings, Job("test", CreditBudget(0)), stack)
        frozen = gc.get_freeze_count()
        visitor(settings, Job("test", CreditBudget(0)), stack)
    assert frozen > 10_000
    assert gc.get_freeze_count() <= frozen, "what a round of a watch leaves is not kept for ever"
    assert gc.isenabled()
    assert 700 < gc.get_threshold()[0] < 100_000
