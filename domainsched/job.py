"""What a run is for, and in which surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from domainsched.credit import CreditBudget
from domainsched.models import RowId

if TYPE_CHECKING:  # the HTTP client is loaded with the first visit
    from domainsched.fetch import Resolve


@dataclass(frozen=True)
class Surroundings:
    """What the demo puts in the place of the internet."""

    resolve: Resolve | None = None
    """Names to addresses; the machine's resolver when None."""
    trust: tuple[Path, ...] = ()
    """Further certificate authorities, PEM."""


INTERNET = Surroundings()


@dataclass(frozen=True)
class Job:
    """What a run is for; the runs of one command share `run_id` and `credit_budget`."""

    run_id: str
    credit_budget: CreditBudget
    wanted: Sequence[RowId] | None = None
    """The rows to take, all of them; those that are due when None."""
    surroundings: Surroundings = INTERNET
    until: float | None = None
    """By the event loop's clock: nothing is begun after it, and what is in flight is released."""
