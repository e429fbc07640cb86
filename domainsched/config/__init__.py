"""What a user may set: options, environment variables, a file .env."""

from __future__ import annotations

from domainsched.config.dotenv import named_file, origin
from domainsched.config.settings import Settings, about, scraper_api_key
from domainsched.config.values import duration, shown, utf8, whole
from domainsched.config.variables import environment, known, unknown

__all__ = [
    "Settings",
    "about",
    "duration",
    "environment",
    "known",
    "named_file",
    "origin",
    "scraper_api_key",
    "shown",
    "unknown",
    "utf8",
    "whole",
]
