"""One polite, bounded visit to one site; the only package that speaks HTTP."""

from __future__ import annotations

from domainsched.fetch.resolve import Resolve, SystemResolver
from domainsched.fetch.settings import ConnectTo, FetchSettings
from domainsched.fetch.visit import Fetcher, Site

__all__ = ["ConnectTo", "FetchSettings", "Fetcher", "Resolve", "Site", "SystemResolver"]
