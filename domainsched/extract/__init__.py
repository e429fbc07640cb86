"""Reads a page: what a visit stores for it. Pure, deterministic, and total on any bytes."""

from __future__ import annotations

from domainsched.extract.page import extract_page

__all__ = ["extract_page"]
