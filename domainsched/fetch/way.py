"""What every way to sites offers: the direct one, and the one with ScraperAPI's help."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domainsched.models import Failed, Page

GiveWay = Callable[[], bool]
"""Lets others begin; False: not now, they would but wait."""


def nobody_waits() -> bool:
    """Give way to nobody."""
    return True


class Visits(Protocol):
    """One visit to a site, which ends with its context."""

    async def home(self) -> Page | Failed:
        """Get the site's home page, or say why not."""

    async def page(self, url: str) -> Page | Failed:
        """Get a further page of the same site, or say why not; the one before is read and gone."""

    async def refusal(self, url: str) -> Failed | None:
        """Say why `url` must not be asked for on any way; None if nothing is known against it."""


class Fetches(Protocol):
    """Gets the pages of sites."""

    def site(
        self, name: str, give_way: GiveWay = nobody_waits
    ) -> AbstractAsyncContextManager[Visits]:
        """Begin a visit to the site with this canonical name.

        `give_way` is called where the site keeps it waiting for so long that others may go first;
        again, if they may not yet.
        """
