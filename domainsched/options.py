"""The options of the commands: how each is written, and what its help says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from domainsched import __version__
from domainsched.config import about, shown, whole
from domainsched.errors import UsageError
from domainsched.models import Kind, Status
from domainsched.reporting.formats import Format

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only errors.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, show_default=False, help="Say more; -vv for developers."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="Answer in JSON, an object a line.")]
Csv = Annotated[bool, typer.Option("--csv", help="Answer in CSV.")]
InFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Answer as table, plain, json, jsonl or csv.  [default: table; in a pipe plain]",
        autocompletion=lambda: list(Format),
    ),
]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours.  [env: NO_COLOR]")]


def _settings_file(text: str) -> Path:
    if not text:
        raise UsageError("--env-file: unusable value ''", why="it is empty")
    return Path(text)


EnvFile = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        parser=_settings_file,
        help="Read settings from here.  [env: DOMAINSCHED_ENV_FILE; default: .env]",
    ),
]
# Typer would list the type, "list[str]"; what a DOMAIN is stands in each command's text.
Domains = Annotated[list[str] | None, typer.Argument(metavar="DOMAIN", hidden=True)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _flag(name: str, metavar: str, *also: str, words: Iterable[str] = ()) -> Any:  # noqa: ANN401 - Typer's own type is private
    """Make the option for a setting; its text is read and checked by the settings.

    A shell completes it from `words`.
    """
    flag = f"--{name.replace('_', '-')}"
    return typer.Option(
        flag, *also, metavar=metavar, help=about(name), autocompletion=_completing(words)
    )


def _completing(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Complete from `words`; what stands in the table is not asked for."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


Tenant = Annotated[str | None, _flag("tenant", "UUID")]
Limit = Annotated[str | None, _flag("limit", "N", "-n")]
Concurrency = Annotated[str | None, _flag("concurrency", "N", "-c")]
Processes = Annotated[str | None, _flag("processes", "N")]
Timeout = Annotated[str | None, _flag("timeout", "DURATION")]
Deadline = Annotated[str | None, _flag("deadline", "DURATION")]
Lease = Annotated[str | None, _flag("lease", "DURATION")]
Grace = Annotated[str | None, _flag("grace", "DURATION")]
MaxAttempts = Annotated[str | None, _flag("max_attempts", "N")]
Interval = Annotated[str | None, _flag("interval", "DURATION")]
LogFormat = Annotated[str | None, _flag("log_format", "FORM", words=("text", "json"))]
MetricsFile = Annotated[str | None, _flag("metrics_file", "PATH")]
AllowNetwork = Annotated[str | None, _flag("allow_network", "CIDR,...")]
AllowPrivate = Annotated[bool, typer.Option("--allow-private", help=about("allow_private"))]
Insecure = Annotated[bool, typer.Option("--insecure", help=about("insecure"))]
PerAddress = Annotated[str | None, _flag("per_address", "N")]
ContactPages = Annotated[str | None, _flag("contact_pages", "N")]
IgnoreRobots = Annotated[bool, typer.Option("--ignore-robots", help=about("ignore_robots"))]
Fingerprints = Annotated[str | None, _flag("fingerprints", "PATH")]
ScraperApi = Annotated[
    str | None, _flag("scraper_api", "WHEN", words=("off", "fallback", "always"))
]
ScraperBudget = Annotated[str | None, _flag("scraper_budget", "CREDITS")]

File = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="PATH",
        help="Lines, CSV or JSON Lines; - for stdin. May be repeated.",
    ),
]
Label = Annotated[
    str | None, typer.Option("--batch", metavar="LABEL", help="Keep this label with what is added.")
]
Requeue = Annotated[
    bool, typer.Option("--requeue", help="Have sites that are there already visited again.")
]
SkipInvalid = Annotated[
    bool, typer.Option("--skip-invalid", help="Leave invalid lines out, and say so.")
]
Named = Annotated[
    list[str] | None,
    typer.Option(
        "--domain",
        metavar="NAME",
        help="Do this one now, due or not; and show it. May be repeated.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 5 if a domain failed for good.")]
OfStatus = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Domains with this status. May be repeated.",
        autocompletion=lambda: list(Status),
    ),
]
OfKind = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="Domains that failed like this. May be repeated.",
        autocompletion=lambda: list(Kind),
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="PATTERN",
        help="Domains like this: *.co.uk, sho?.test; without * or ?, a part of the name.",
    ),
]
OfBatch = Annotated[
    str | None, typer.Option("--batch", metavar="LABEL", help="Domains added with this label.")
]
Technology = Annotated[
    str | None, typer.Option("--technology", metavar="NAME", help="Domains that run on this.")
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="DURATION", help="Domains updated within this time."),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="KEY",
        help="By domain, updated, due, attempts or created; -KEY for the reverse."
        "  [default: -updated]",
        autocompletion=lambda: [*SORTS],
    ),
]
SORTS = ("domain", "updated", "due", "attempts", "created")
Schema = Annotated[
    bool, typer.Option("--schema", help="Show the table's columns, and what each is used for.")
]


def _row_count(text: str, minimum: int = 1) -> int:
    try:
        return whole(minimum)(text)
    except ValueError as error:
        raise UsageError(f"--limit: unusable value {shown(text)!r}", why=str(error)) from None


def _row_count_or_all(text: str) -> int:
    return _row_count(text, minimum=0)


Rows = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        metavar="N",
        parser=_row_count_or_all,
        help="List at most N; 0: all.  [default: 20]",
    ),
]
AtMost = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        metavar="N",
        parser=_row_count,
        help="At most N, those visited longest ago.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Check database, table and rights: the smoke test.")
]
Html = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Show what a visit would store of this page; - for stdin."),
]
Url = Annotated[
    str | None, typer.Option(metavar="URL", help="Where the page of --html comes from.")
]
Expired = Annotated[bool, typer.Option("--expired", help="Domains whose lease has run out.")]
OlderThan = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Domains not visited for so long.")
]
Everything = Annotated[bool, typer.Option("--all", help="Every domain with a status of ours.")]
Force = Annotated[
    bool, typer.Option("--force", help="Those being processed too; their results are refused.")
]
ClearMetadata = Annotated[
    bool, typer.Option("--clear-metadata", help="Forget what was found, too.")
]
UntilIdle = Annotated[
    bool, typer.Option("--until-idle", help="End when nothing is pending or processing.")
]
GiveUpAfter = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="End after this time, with exit code 1."),
]
Observe = Annotated[bool, typer.Option("--observe", help="Only show the queue and its changes.")]
Awaited = Annotated[
    str | None,
    typer.Option("--batch", metavar="LABEL", help="With --until-idle: wait for this batch alone."),
]


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if wanted:
        typer.echo(f"domainsched {__version__}")
        raise typer.Exit


_SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def check_shell(name: str) -> None:
    """Refuse a shell that nothing is known to complete for.

    Raises:
        UsageError: it is none of those that Typer writes a script for.
    """
    if name not in _SHELLS:
        raise UsageError(f"no such shell: {name}", why=f"there are {', '.join(_SHELLS)}")


Version = Annotated[
    bool,
    typer.Option("--version", "-V", help="Say the version.", callback=_version, is_eager=True),
]
