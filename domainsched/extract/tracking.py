"""The accounts a page reports its visitors to: Google Analytics and Google Tag Manager."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from domainsched.extract.document import Document

# Literals first, then what stands before them: that way they are found fast.
_ANALYTICS = (
    re.compile(r"G-(?<![\w-]G-)(?=[A-Z0-9]*\d)[A-Z0-9]{8,12}(?![\w-])"),
    re.compile(r"UA-(?<![\w-]UA-)\d{4,10}-\d{1,4}(?![\w-])"),
)
"""Today's accounts, and those of Universal Analytics, which stopped in 2023."""

_CONTAINERS = (re.compile(r"GTM-(?<![\w-]GTM-)[A-Z0-9]{4,10}(?![\w-])"),)

_MAX = 10


@dataclass(frozen=True, slots=True)
class Tracking:
    """The accounts, those in use before those of retired products, else in the page's order."""

    analytics: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)


def tracking(document: Document) -> Tracking:
    """Read the accounts where they work: in scripts and in what the page loads, not in its text."""
    text = "\n".join([*document.scripts, *document.assets])
    return Tracking(_all(_ANALYTICS, text), _all(_CONTAINERS, text))


def _all(patterns: Iterable[re.Pattern[str]], text: str) -> list[str]:
    found = (match for pattern in patterns for match in pattern.findall(text))
    return list(dict.fromkeys(found))[:_MAX]
