"""Settings: flag > environment > .env > default, read and checked once; secrets never in `repr`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from domainsched import __version__
from domainsched.config.dotenv import origin
from domainsched.config.values import (
    Network,
    Parser,
    any_log_level,
    choice,
    connection_rules,
    country,
    duration,
    flag,
    geotargeting,
    log_level,
    minutes,
    networks,
    parsed,
    positive_duration,
    tries,
    user_agent,
    utf8,
    uuid,
    whole,
)
from domainsched.errors import ConfigError
from domainsched.files import contents

_KEY = re.compile("[!-~]{8,200}")
"""It goes into a header; and what is shorter could not be told from other text, to be taken out."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _setting(
    env: str,
    parse: Parser,
    default: str,
    about: str,
    *,
    aliases: Mapping[str, Parser] | None = None,
    secret: bool = False,
) -> Any:  # noqa: ANN401 - a dataclass field stands for the type written beside it
    return field(
        metadata={
            "env": env,
            "parse": parse,
            "default": default,
            "about": about,
            "aliases": aliases or {},
        },
        repr=not secret,
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting, by one name: `--max-attempts`, `DOMAINSCHED_MAX_ATTEMPTS`, `max_attempts`."""

    database_url: str = _setting(
        "DATABASE_URL", str, "", "PostgreSQL's URL; without it the embedded one serves", secret=True
    )
    database_url_file: str = _setting(
        "DATABASE_URL_FILE", str, "", "a file that holds DATABASE_URL, and nothing else"
    )
    table: str = _setting(
        "DOMAINSCHED_TABLE", utf8, "domains", "the table of domains, or schema.table"
    )
    tenant: UUID | None = _setting(
        "DOMAINSCHED_TENANT", uuid, "", "see and touch only this tenant's domains"
    )
    default_tenant: UUID = _setting(
        "DEFAULT_TENANT_ID",
        uuid,
        "550e8400-e29b-41d4-a716-446655440000",
        "the tenant of added domains, unless --tenant says otherwise",
    )
    limit: int = _setting(
        "DOMAINSCHED_LIMIT",
        whole(0),
        "10",
        "the most domains a run claims; 0 for all that are due",
        aliases={"DOMAIN_SCHEDULER_BATCH_SIZE": whole(0)},
    )
    concurrency: int = _setting(
        "DOMAINSCHED_CONCURRENCY",
        whole(1),
        "20",
        "domains visited at once, besides slow ones",
    )
    processes: int = _setting(
        "DOMAINSCHED_PROCESSES",
        whole(1),
        str(os.cpu_count() or 1),
        "processes that read pages; one a core",
    )
    timeout: timedelta = _setting(
        "DOMAINSCHED_TIMEOUT", positive_duration, "30s", "time for one domain, all requests"
    )
    deadline: timedelta | None = _setting(
        "DOMAINSCHED_DEADLINE", positive_duration, "", "begin no new domain after this time"
    )
    lease: timedelta = _setting(
        "DOMAINSCHED_LEASE",
        positive_duration,
        "15m",
        "how long a claim is good when its worker is not heard of",
    )
    grace: timedelta = _setting(
        "DOMAINSCHED_GRACE", duration, "30s", "time for visits in flight to end after a signal"
    )
    max_attempts: int = _setting(
        "DOMAINSCHED_MAX_ATTEMPTS", whole(1), "3", "attempts before a domain ends as error"
    )
    interval: timedelta = _setting(
        "DOMAINSCHED_INTERVAL",
        positive_duration,
        "60s",
        "the longest pause between the rounds of watch",
        aliases={
            "DOMAIN_SCHEDULER_INTERVAL_MINUTES": minutes,
            "DOMAIN_PROCESSING_INTERVAL_MINUTES": minutes,
        },
    )
    log_format: str | None = _setting(
        "DOMAINSCHED_LOG_FORMAT",
        choice("text", "json"),
        "",
        "say what happens in log lines, text or json",
    )
    log_level: int | None = _setting(
        "DOMAINSCHED_LOG_LEVEL",
        log_level,
        "",
        "the least that is said: debug, info, warning, error",
        aliases={"LOG_LEVEL": any_log_level},
    )
    metrics_file: str = _setting(
        "DOMAINSCHED_METRICS_FILE", str, "", "write Prometheus metrics there after each run"
    )
    user_agent: str = _setting(
        "DOMAINSCHED_USER_AGENT",
        user_agent,
        f"domainsched/{__version__}",
        "how we introduce ourselves to sites",
    )
    allow_private: bool = _setting(
        "DOMAINSCHED_ALLOW_PRIVATE",
        flag,
        "false",
        "contact private and loopback addresses too (intranets, tests)",
    )
    allow_network: tuple[Network, ...] = _setting(
        "DOMAINSCHED_ALLOW_NETWORK", networks, "", "contact these private networks (CIDR, ...)"
    )
    insecure: bool = _setting("DOMAINSCHED_INSECURE", flag, "false", "accept any TLS certificate")
    connect_to: tuple[str, ...] = _setting(
        "DOMAINSCHED_CONNECT_TO",
        connection_rules,
        "",
        "HOST:PORT:TO_HOST:TO_PORT,...: connect elsewhere, as curl's --connect-to",
    )
    per_address: int = _setting(
        "DOMAINSCHED_PER_ADDRESS",
        whole(0),
        "4",
        "connections to one address at the same time; 0 for any number",
    )
    ignore_robots: bool = _setting(
        "DOMAINSCHED_IGNORE_ROBOTS", flag, "false", "visit what robots.txt asks to leave alone"
    )
    contact_pages: int = _setting(
        "DOMAINSCHED_CONTACT_PAGES",
        whole(0),
        "2",
        "contact pages to read where a home page gives no e-mail address or no telephone",
    )
    fingerprints: str = _setting(
        "DOMAINSCHED_FINGERPRINTS",
        str,
        "",
        "tell technologies by this file or folder in Wappalyzer's format, too",
    )
    scraper_api: str = _setting(
        "DOMAINSCHED_SCRAPER_API",
        choice("off", "fallback", "always"),
        "off",
        "pay ScraperAPI for home pages: off, fallback (where a visit was blocked), always",
    )
    scraper_budget: int = _setting(
        "DOMAINSCHED_SCRAPER_BUDGET",
        whole(1),
        "100",
        "the most ScraperAPI credits a command spends",
    )
    scraper_api_key: str = _setting("SCRAPER_API_KEY", str, "", "ScraperAPI's key", secret=True)
    scraper_api_key_file: str = _setting(
        "SCRAPER_API_KEY_FILE", str, "", "a file that holds SCRAPER_API_KEY, and nothing else"
    )
    scraper_api_url: str = _setting(
        "DOMAINSCHED_SCRAPER_API_URL",
        str,
        "https://api.scraperapi.com/",
        "where ScraperAPI is; https, or on loopback",
        secret=True,
    )
    scraper_render: bool = _setting(
        "DOMAINSCHED_SCRAPER_RENDER",
        flag,
        "false",
        "have ScraperAPI run a page's scripts",
        aliases={"SCRAPER_API_ENABLE_JS_RENDERING": flag},
    )
    scraper_premium: bool = _setting(
        "DOMAINSCHED_SCRAPER_PREMIUM",
        flag,
        "false",
        "have ScraperAPI use residential addresses",
        aliases={"SCRAPER_API_ENABLE_PREMIUM": flag},
    )
    scraper_ultra_premium: bool = _setting(
        "DOMAINSCHED_SCRAPER_ULTRA_PREMIUM", flag, "false", "have ScraperAPI use its best addresses"
    )
    scraper_country: str | None = _setting(
        "DOMAINSCHED_SCRAPER_COUNTRY",
        country,
        "",
        "have ScraperAPI use addresses of this country",
        aliases={"SCRAPER_API_ENABLE_GEOTARGETING": geotargeting},
    )
    scraper_retries: int = _setting(
        "DOMAINSCHED_SCRAPER_RETRIES",
        whole(0),
        "1",
        "further tries where ScraperAPI is busy or fails",
        aliases={"SCRAPER_API_MAX_RETRIES": tries},
    )
    scraper_timeout: timedelta = _setting(
        "DOMAINSCHED_SCRAPER_TIMEOUT",
        positive_duration,
        "75s",
        "time for one domain at ScraperAPI, all tries; added to the timeout",
    )

    @classmethod
    def load(cls, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Self:
        """Read every setting; `flags` maps setting names to what the command line gave.

        An empty variable counts as unset.

        Raises:
            ConfigError: a value is unusable; the message names the flag or variable it came from.
        """
        values: dict[str, Any] = {
            name: _value(name, spec.metadata, flags.get(name), environ)
            for name, spec in cls.__dataclass_fields__.items()
        }
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        helped = self.scraper_api != "off"
        visit = self.timeout + (self.scraper_timeout if helped else timedelta())
        if visit * 2 > self.lease:
            raise ConfigError(
                "the lease is too short for the timeout",
                why="a claim must outlive the visit it is for, twice over",
                hint="raise --lease, or lower --timeout"
                + (" or DOMAINSCHED_SCRAPER_TIMEOUT" if helped else ""),
            )
        if helped:
            self._check_scraper()

    def _check_scraper(self) -> None:
        if not (self.scraper_api_key or self.scraper_api_key_file):
            raise ConfigError(
                f"--scraper-api {self.scraper_api} needs a key",
                why="neither SCRAPER_API_KEY nor SCRAPER_API_KEY_FILE is set",
                hint="set one of them, or --scraper-api off",
            )
        if self.scraper_premium and self.scraper_ultra_premium:
            raise ConfigError(
                "premium and ultra premium exclude each other",
                why="ScraperAPI takes one of them",
                hint="unset DOMAINSCHED_SCRAPER_PREMIUM or DOMAINSCHED_SCRAPER_ULTRA_PREMIUM",
            )
        if not _is_safe_endpoint(self.scraper_api_url):
            raise ConfigError(
                "DOMAINSCHED_SCRAPER_API_URL cannot be used",
                why="the key travels there, so it is https:// or on loopback, and nothing but"
                " scheme, host, port and path; it is not shown, since it may hold a key",
                hint="unset it for ScraperAPI's own",
            )


def about(name: str) -> str:
    """Write the help of a setting's flag, with its variable and default."""
    metadata = Settings.__dataclass_fields__[name].metadata
    default = metadata["default"]
    tail = f"; default: {default}" if default and default != "false" else ""
    sentence = metadata["about"][:1].upper() + metadata["about"][1:]
    return f"{sentence}.  [env: {metadata['env']}{tail}]"


def _value(
    name: str, metadata: Mapping[str, Any], given: str | None, environ: Mapping[str, str]
) -> object:
    if given is not None:
        return parsed(f"--{name.replace('_', '-')}", metadata["parse"], given)
    for variable, parse in {metadata["env"]: metadata["parse"], **metadata["aliases"]}.items():
        if value := environ.get(variable, "").strip():
            return parsed(variable, parse, value, origin(environ, variable))
    default = metadata["default"]
    if default or metadata["parse"] is str:
        return metadata["parse"](default)
    return () if metadata["parse"] in {networks, connection_rules} else None


def scraper_api_key(settings: Settings) -> str:
    """Find ScraperAPI's key; empty if there is none.

    Raises:
        ConfigError: two are set, or one that cannot be one; it is not shown.
    """
    key, path = settings.scraper_api_key, settings.scraper_api_key_file
    if key and path:
        raise ConfigError(
            "both SCRAPER_API_KEY and SCRAPER_API_KEY_FILE are set", hint="unset one of them"
        )
    name = "SCRAPER_API_KEY_FILE" if path else "SCRAPER_API_KEY"
    key = _key_file(Path(path)) if path else key
    if (key or path) and not _KEY.fullmatch(key):
        raise ConfigError(
            f"{name} holds no key of ScraperAPI",
            why="one has 8 to 200 visible ASCII characters",
            hint="copy it from the dashboard of ScraperAPI",
        )
    return key


def _key_file(path: Path) -> str:
    try:
        return contents(path).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read SCRAPER_API_KEY_FILE {path}",
            why=reason or "",
            hint="correct the path, or its permissions",
        ) from None


def _is_safe_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # brackets or a port that are none
        return False
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(" ?#@\\")
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return is_plain and secure and bool(parts.hostname) and port != 0
