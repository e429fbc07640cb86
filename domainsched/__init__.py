"""domainsched works through a PostgreSQL table of web domains and writes back what each site is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domainsched.extract import extract_page as extract_page

__version__ = "0.1.0"
__all__ = ["__version__", "extract_page"]


def __getattr__(name: str) -> object:
    """Import `extract_page` on first use: the command line's `--help` must not pay for a parser."""
    if name == "extract_page":
        from domainsched.extract import extract_page

        return extract_page
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
