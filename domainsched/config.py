"""Settings: flag > environment > .env > default, read and checked once; secrets never in `repr`."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from domainsched import __version__, dburl
from domainsched.errors import ConfigError

Network = IPv4Network | IPv6Network
Parser = Callable[[str], Any]

DATABASE_VARIABLES = frozenset(
    {
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "SUPABASE_POOLER_HOST",
        "SUPABASE_POOLER_PORT",
        "SUPABASE_POOLER_USER",
        "SUPABASE_DB_PASSWORD",
        "SUPABASE_URL",
    }
)
"""What says which database is meant; never a part of it from here and a part from there."""

_PLACES = ("DOMAINSCHED_HOME", "DOMAINSCHED_PG_BIN")
"""Variables that the embedded database reads itself."""
_PREFIX = "DOMAINSCHED_"
_OF_TESTS = frozenset(
    {"DOMAINSCHED_TEST_URL", "DOMAINSCHED_SOAK_MINUTES", "DOMAINSCHED_STORM_SEED"}
)
"""Variables for developers: nothing here reads them, and nobody is to be warned of them."""
_MAY_HOLD_CREDENTIALS = frozenset({"DATABASE_URL", "DOMAINSCHED_USER_AGENT"})
"""One is for them; in the other the address of a web page may stand beside one of e-mail."""
# a path that begins as one is none of these; Path() makes one slash of two
_CREDENTIALS = re.compile(
    r"(?!/(?!/)|\.{1,2}/|~)(?:[^:]*:.*@|.*\b(?:password|passwd|pwd)\s*=)",
    re.IGNORECASE | re.DOTALL,
)
_SCRAPER_KEY_VARIABLES = frozenset({"SCRAPER_API_KEY", "SCRAPER_API_KEY_FILE"})
_KEY = re.compile("[!-~]{8,200}")
"""It goes into a header; and what is shorter could not be told from other text, to be taken out."""
_HOST = r"(?:\[[^\]]*\]|[^:\[\]]*)"
_CONNECTION_RULE = re.compile(rf"{_HOST}:(\d{{0,6}}):{_HOST}:(\d{{0,6}})", re.ASCII)
_MAX_PORT = 65_535
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_MAX_FILE_BYTES = 64 * 1024
_MAX_SHOWN = 200

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_LONGEST = timedelta(days=10000)
"""Added to any present date it stays within what PostgreSQL and Python can hold."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def duration(text: str) -> timedelta:
    """Read `30s`, `8m`, `1h30m`, `2d`, `500ms`, or a bare number of seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return _seconds(float(text))
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a duration such as 30s, 8m, 1h30m or 2d")
    return _seconds(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _seconds(number: float) -> timedelta:
    if number > _LONGEST.total_seconds():
        raise ValueError(f"longer than {_LONGEST.days} days")
    return timedelta(seconds=number)


def positive_duration(text: str) -> timedelta:
    """Read a duration above zero."""
    result = duration(text)
    if not result:
        raise ValueError("must be longer than nothing")
    return result


def minutes(text: str) -> timedelta:
    """Read a number of minutes, as the variables of older programs give it."""
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError("not a number of minutes")
    return positive_duration(f"{text}m")


def whole(minimum: int) -> Callable[[str], int]:
    """Make a parser for a whole number from `minimum` up."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < minimum:
            raise ValueError(f"not a whole number from {minimum} up")
        return int(text)

    return parse


def flag(text: str) -> bool:
    """Read true/false, yes/no, on/off, 1/0."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("neither true nor false")


def choice(*words: str) -> Callable[[str], str]:
    """Make a parser for one of some words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"none of {', '.join(words)}")
        return text.lower()

    return parse


def log_level(text: str) -> int:
    """Read one of the levels that there are."""
    return _LEVELS[choice(*_LEVELS)(text)]


def any_log_level(text: str) -> int | None:
    """Read a level where other programs' words for levels may stand: those change nothing."""
    others = {"warn": logging.WARNING, "critical": logging.ERROR, "fatal": logging.ERROR}
    return (_LEVELS | others).get(text.lower())


def country(text: str) -> str:
    """Read a country's code, two letters (ISO 3166-1)."""
    if not re.fullmatch("[A-Za-z]{2}", text):
        raise ValueError("not a country's code of two letters")
    return text.lower()


def geotargeting(text: str) -> str | None:
    """Read the old switch: on, it meant the United States."""
    return "us" if flag(text) else None


def tries(text: str) -> int:
    """Read the old number of retries, which counted the first try too."""
    return max(whole(0)(text) - 1, 0)


def networks(text: str) -> tuple[Network, ...]:
    """Read networks in CIDR notation, separated by commas."""
    return tuple(ip_network(part) for part in _parts(text))


def connection_rules(text: str) -> tuple[str, ...]:
    """Read rules separated by commas, each of four parts that may be empty, as curl's are."""
    rules = tuple(_parts(utf8(text)))
    for rule in rules:
        found = _CONNECTION_RULE.fullmatch(rule)
        if found is None:
            raise ValueError(f"{rule!r} is not HOST:PORT:TO_HOST:TO_PORT, such as ::127.0.0.1:8080")
        if odd := [port for port in found.groups() if port and not 0 < int(port) <= _MAX_PORT]:
            raise ValueError(f"{odd[0]} is not a port")
    return rules


def utf8(text: str) -> str:
    """Read text, which bytes that are not UTF-8 are not (they come as surrogates)."""
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("it is not UTF-8 text")
    return text


def uuid(text: str) -> UUID:
    """Read a UUID."""
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("not a UUID") from None


def user_agent(text: str) -> str:
    """Read a User-Agent field: printable ASCII (RFC 9110, section 5.5)."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("only printable ASCII may stand in it")
    return text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


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


def about(name: str) -> str:
    """Write the help of a setting's flag, with its variable and default."""
    metadata = Settings.__dataclass_fields__[name].metadata
    default = metadata["default"]
    tail = f"; default: {default}" if default and default != "false" else ""
    sentence = metadata["about"][:1].upper() + metadata["about"][1:]
    return f"{sentence}.  [env: {metadata['env']}{tail}]"


def known() -> frozenset[str]:
    """Name every variable that we read."""
    specs = [spec.metadata for spec in Settings.__dataclass_fields__.values()]
    ours = {name for spec in specs for name in (spec["env"], *spec["aliases"])}
    return DATABASE_VARIABLES | ours | {*_PLACES, "DOMAINSCHED_ENV_FILE"}


def unknown(environ: Mapping[str, str]) -> dict[str, str]:
    """Find variables that are none of ours: each with the nearest one that is.

    They bear our name; or they stand in our file, and are nearly what is not set.
    """
    given = sorted(name for name, value in environ.items() if value)
    strange = [name for name in given if name not in known() | _OF_TESTS]
    ours = {name: _nearest(name, _PREFIX, 0.6) for name in strange if name.startswith(_PREFIX)}
    others = {name: _nearest(name, "", _ALIKE) for name in strange if origin(environ, name)}
    misspelt = {name: near for name, near in others.items() if near and not environ.get(near)}
    return misspelt | ours


_ALIKE = 0.9
"""From here on a name of another program's style is taken for one of ours: DATABSE_URL."""


def _nearest(name: str, prefix: str, likeness: float) -> str:
    """Find what a name is nearest to, but for a prefix that would make all of them near."""
    from difflib import get_close_matches

    short = {each.removeprefix(prefix): each for each in sorted(known())}
    near = get_close_matches(name.removeprefix(prefix), short, n=1, cutoff=likeness)
    return short[near[0]] if near else ""


class Environment(dict[str, str]):
    """Variables, of which some stand in a file."""

    def __init__(self, values: Mapping[str, str], origins: Mapping[str, str]) -> None:
        super().__init__(values)
        self.origins = origins
        """Where those of the file stand in it: `.env, line 3`."""


def origin(environ: Mapping[str, str], name: str) -> str:
    """Say where in a file a variable stands; nothing of one that was given otherwise."""
    return environ.origins.get(name, "") if isinstance(environ, Environment) else ""


def environment(environ: Mapping[str, str], env_file: Path | None) -> Environment:
    """Lay `environ` over the .env file: the one named, or ./.env if it is there."""
    present = {key: value for key, value in environ.items() if value}
    outvoted = {key for group in _same_things() if group & present.keys() for key in group}
    file = _env_file(environ, env_file)
    lower = {key: value for key, value in file.items() if key not in outvoted}
    merged = Environment(
        {**lower, **present}, {key: file.origins[key] for key in lower.keys() - present.keys()}
    )
    for name in _PLACES:
        _refuse_misplaced(name, merged.get(name, ""))
    for name in DATABASE_VARIABLES - {"DATABASE_URL_FILE"}:
        _refuse_bytes(name, merged.get(name, ""))
    return merged


def _env_file(environ: Mapping[str, str], env_file: Path | None) -> Environment:
    variable = environ.get("DOMAINSCHED_ENV_FILE")
    named = env_file or (Path(variable) if variable else None)
    path = named or Path(".env")
    _refuse_misplaced("--env-file" if env_file else "DOMAINSCHED_ENV_FILE", str(path))
    try:
        text = contents(path, _MAX_FILE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        if named is None and (isinstance(error, FileNotFoundError) or _is_venv(path)):
            return Environment({}, {})
        if isinstance(error, FileNotFoundError):
            hint = "correct --env-file or DOMAINSCHED_ENV_FILE"
            raise ConfigError(f"there is no file {path}", hint=hint) from None
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}", why=str(reason)) from None
    return _dotenv(text, path)


def _is_venv(path: Path) -> bool:
    """Tell Python's virtual environment, which some call so, from a file that was not mounted."""
    return (path / "pyvenv.cfg").is_file()


def contents(path: Path, limit_bytes: int = _MAX_FILE_BYTES) -> bytes:
    """Read a whole regular file (or /dev/null, which stands for an empty one).

    Raises:
        OSError: it cannot be read, is something else, or is larger than `limit_bytes`.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        is_devnull = os.path.samestat(status, Path(os.devnull).stat())
        if not stat.S_ISREG(status.st_mode) and not is_devnull:
            raise OSError(errno.EINVAL, "it is not a regular file")
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {limit_bytes // 1024:,} KB")
    return data


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else a fifo waits for somebody to write


def _same_things() -> Iterator[frozenset[str]]:
    """Group the variables that decide the same thing: one of them outvotes all of a lower layer."""
    yield DATABASE_VARIABLES
    yield _SCRAPER_KEY_VARIABLES
    for spec in Settings.__dataclass_fields__.values():
        yield frozenset({spec.metadata["env"], *spec.metadata["aliases"]})


def _dotenv(text: str, path: Path) -> Environment:
    """Read `KEY=value` lines as sh, systemd's EnvironmentFile= and we read them alike.

    Comments begin a line; a value may stand in quotes; nothing is expanded.
    """
    values, origins = {}, {}
    for number, line in enumerate(re.split(r"\r\n?|\n", text), 1):
        content = re.sub(r"^export\s+", "", line.strip())
        if not content or content.startswith("#"):
            continue
        key, separator, value = content.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", key):
            raise ConfigError(
                f"{path}: line {number} is not KEY=value",  # the line itself may hold a secret
                hint="comment it out with # or correct it",
            )
        if "\0" in value:
            raise ConfigError(f"{path}: line {number} holds a NUL character")
        values[key], origins[key] = _unquoted(value.strip()), f"{path}, line {number}"
    return Environment(values, origins)


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _value(
    name: str, metadata: Mapping[str, Any], given: str | None, environ: Mapping[str, str]
) -> object:
    if given is not None:
        return _parsed(f"--{name.replace('_', '-')}", metadata["parse"], given)
    for variable, parse in {metadata["env"]: metadata["parse"], **metadata["aliases"]}.items():
        if value := environ.get(variable, "").strip():
            return _parsed(variable, parse, value, origin(environ, variable))
    default = metadata["default"]
    if default or metadata["parse"] is str:
        return metadata["parse"](default)
    return () if metadata["parse"] in {networks, connection_rules} else None


def _parsed(source: str, parse: Parser, text: str, where: str = "") -> object:
    told = f"{source} ({where})" if where else source
    _refuse_misplaced(source, text, told)
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{told}: unusable value {shown(text)!r}", why=str(error)) from None


def shown(text: str) -> str:
    """Make a value fit for a message: what stands where a password may stand is taken out."""
    colon, at = text.find(":"), text.rfind("@")
    masked = f"{text[: colon + 1]}***{text[at:]}" if 0 <= colon < at else text
    return dburl.redact(masked, ())[:_MAX_SHOWN]


def _refuse_misplaced(source: str, text: str, told: str = "") -> None:
    """Refuse a database's URL where it does not belong, without a word of it; and NUL."""
    named = told or source
    if source not in _MAY_HOLD_CREDENTIALS and _CREDENTIALS.match(text):
        raise ConfigError(
            f"{named} looks like a database's URL",
            why="its value is not shown, since it may hold a password",
            hint="a database's URL belongs into DATABASE_URL",
        )
    if "\0" in text:
        raise ConfigError(f"{named} holds a NUL character")


def _refuse_bytes(source: str, text: str) -> None:
    try:
        utf8(text)
    except ValueError as error:
        raise ConfigError(f"{source} cannot be used", why=str(error)) from None
