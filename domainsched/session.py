"""What every command has: its settings, and somebody to talk to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domainsched.config import Settings
from domainsched.reporting.report import Report


@dataclass(frozen=True)
class Session:
    """One invocation of the program."""

    settings: Settings
    environ: Mapping[str, str]
    report: Report
    run_id: str
    """Of all that this invocation does: in its log lines, claims, and what it stores."""

    def announce(self, text: str) -> None:
        """Say which database is used; only people want to know."""
        if self.report.is_attended:
            self.report.info(text)

    def warn(self, text: str, hint: str) -> None:
        """Warn of what a person at a terminal was told already."""
        if not self.report.is_interactive:
            self.report.warning(text, hint)
