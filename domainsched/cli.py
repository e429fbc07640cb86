"""The command line: parses, calls, renders."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import typer
from typer.core import TyperGroup

from domainsched import __version__
from domainsched.config import (
    Settings,
    about,
    contents,
    duration,
    environment,
    scraper_api_key,
    shown,
    unknown,
    utf8,
)
from domainsched.errors import (
    ConfigError,
    DomainschedError,
    ExitCode,
    UsageError,
)
from domainsched.models import Kind, Status
from domainsched.reporting.formats import Format, asked_format
from domainsched.reporting.report import Report, Style, written
from domainsched.session import Session

T = TypeVar("T")

EXIT_CODES = """\b
Exit codes:
  0 done   1 failure   2 usage or configuration   3 database   4 no network
  5 some domains failed (--strict)   130, 143 stopped by a signal"""


def _examples(*lines: str) -> str:
    return "\n\n".join(("\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines), EXIT_CODES))


class _Commands(TyperGroup):
    """The one place where expected errors are told, and turned into exit codes."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own types of it are private
        try:
            return super().invoke(ctx)
        except DomainschedError as error:
            ctx.ensure_object(_Speaker).report.error(error)
            raise typer.Exit(error.exit_code) from error

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - as above
        """List commands in the order of their use, not of the alphabet."""
        return ["add", "process", "inspect", "reset", "watch", "init", "demo"]


@dataclass
class _Speaker:
    """The report that is in use, so that an error is told in the same way."""

    report: Report


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

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
EnvFile = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Read settings from here.  [env: DOMAINSCHED_ENV_FILE; default: .env]"
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
    typer.Option("--domain", metavar="NAME", help="Do this one now, due or not; and show it."),
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
    typer.Option("--like", metavar="PATTERN", help="Domains like this: *.co.uk, shop."),
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
        autocompletion=lambda: [*_SORTS],
    ),
]
_SORTS = ("domain", "updated", "due", "attempts", "created")
Schema = Annotated[
    bool, typer.Option("--schema", help="Show the table's columns, and what each is used for.")
]
_MAX_ROWS = 999_999_999
Rows = Annotated[
    int | None,
    typer.Option(
        "--limit", "-n", metavar="N", min=1, max=_MAX_ROWS, help="List at most N.  [default: 20]"
    ),
]
AtMost = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        metavar="N",
        min=1,
        max=_MAX_ROWS,
        help="At most N, those visited longest ago.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Check database, table and rights: the smoke test.")
]
_MAX_PAGE_BYTES = 10 * 1024 * 1024
Html = Annotated[
    str | None, typer.Option(metavar="FILE", help="Show what a visit would store of this page.")
]
Url = Annotated[
    str | None, typer.Option(metavar="URL", help="Where the page of --html comes from.")
]
Expired = Annotated[bool, typer.Option("--expired", help="Domains whose lease has run out.")]
OlderThan = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Domains not visited for so long.")
]
Everything = Annotated[bool, typer.Option("--all", help="Every domain.")]
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


Version = Annotated[
    bool,
    typer.Option("--version", "-V", help="Say the version.", callback=_version, is_eager=True),
]


def _run(session: Session, command: Coroutine[Any, Any, int | None]) -> None:
    """Run a command to its end, and exit with its code; SIGTERM lets it clean up."""
    signal.signal(signal.SIGTERM, _terminate)
    _exit(session, asyncio.run(command) or ExitCode.OK)


def _terminate(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _exit(session: Session, code: int = ExitCode.OK) -> None:
    """Exit with `code`, unless the answer could not be written; a reader who left knows."""
    loss = session.report.loss
    if loss is not None and not isinstance(loss, BrokenPipeError):
        raise DomainschedError("cannot write the answer", why=loss.strerror or str(loss))
    raise typer.Exit(code if loss is None else code or ExitCode.FAILURE)


def _session(ctx: typer.Context, parameters: Mapping[str, Any]) -> Session:
    """Set up a command from its parameters: those named like settings are settings."""
    verbosity = -1 if parameters["quiet"] else parameters["verbose"]
    color = not (parameters["no_color"] or os.environ.get("NO_COLOR"))
    report = Report(Style(verbosity=verbosity, color=color))
    ctx.find_root().obj = _Speaker(report)
    report.style = replace(report.style, format=_form(parameters))
    _refuse_bytes(parameters)
    environ = environment(os.environ, parameters["env_file"])
    flags = {
        name: "true" if value is True else value
        for name, value in parameters.items()
        if name in Settings.__dataclass_fields__ and value is not False
    }
    settings = Settings.load(flags, environ)
    run_id = uuid4().hex[:8]
    if "log_format" in parameters:
        report.style = replace(
            report.style,
            run_id=run_id,
            log_format=settings.log_format,
            log_level=settings.log_level,
        )
    _log_to(report)
    _warn_of_unknown(report, environ)
    if report.threshold <= logging.DEBUG:
        from domainsched.connect import secrets  # it loads psycopg

        report.secrets = (*secrets(settings, environ), *_scraper_secrets(settings))
    return Session(settings, environ, report, run_id)


def _warn_of_unknown(report: Report, environ: Mapping[str, str]) -> None:
    """Tell of a setting that was misspelt: the default would be used in silence."""
    odd = [f"{name} (is it {near}?)" if near else name for name, near in unknown(environ).items()]
    if odd:
        report.warning(
            f"no such setting: {', '.join(odd)}", "it changes nothing; .env.example lists them all"
        )


def _form(parameters: Mapping[str, Any]) -> Format | None:
    """Find the format that was asked for; `--format` comes as `form`."""
    shorthands = {"json": "json", "json_lines": "jsonl", "as_csv": "csv"}
    options = {word: parameters.get(name) for name, word in shorthands.items()}
    return asked_format({**options, "format": parameters.get("form")})


def _scraper_secrets(settings: Settings) -> tuple[str, ...]:
    try:
        key = scraper_api_key(settings)
    except ConfigError:  # it is told where the key is needed
        return ()
    return (key,) if key else ()


class _ToReport(logging.Handler):
    """Has the report write what libraries log: it may hold what a site or server said."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report.relay(record.levelno, self.format(record))


def _log_to(report: Report) -> None:
    level = report.threshold
    if level > logging.DEBUG:  # what libraries say at INFO is no news to an operator
        level = max(level, logging.WARNING)
    logging.basicConfig(
        level=level, format="%(name)s: %(message)s", handlers=[_ToReport(report)], force=True
    )
    if level > logging.DEBUG:  # its warnings are about connections whose loss we tell in words
        logging.getLogger("psycopg").setLevel(logging.ERROR)


def _refuse_bytes(parameters: Mapping[str, Any]) -> None:
    """Refuse what no database can be asked for; domains and settings are checked where read."""
    for name in ("status", "kind", "like", "batch", "technology"):
        try:
            utf8("".join(parameters.get(name) or ()))
        except ValueError as error:
            raise UsageError(f"--{name}: unusable value", why=str(error)) from None


@app.callback(
    epilog=_examples(
        "domainsched demo",
        "domainsched add example.com example.org",
        "domainsched process --limit 10",
        "domainsched inspect",
    )
)
def root(
    *,
    version: Version = False,
) -> None:
    """Work through a PostgreSQL table of web domains: visit each site, store what it is.

    The queue is the table itself: add puts domains in, process takes those that are due, inspect
    shows them. Without DATABASE_URL, an embedded PostgreSQL serves.

    Settings come from options, the environment, and a file .env, in this order; the file
    .env.example lists them all.
    """


@app.command(
    short_help="Put domains into the queue.",
    epilog=_examples(
        "domainsched add example.com https://www.example.org/",
        "domainsched add --file leads.csv --skip-invalid --batch leads-2026-11",
        "psql -At -c 'SELECT site FROM leads' | domainsched add -",
    ),
)
def add(
    ctx: typer.Context,
    domains: Domains = None,
    file: File = None,
    batch: Label = None,
    requeue: Requeue = False,
    skip_invalid: SkipInvalid = False,
    dry_run: DryRun = False,
    tenant: Tenant = None,
    form: InFormat = None,
    json: Json = False,
    json_lines: JsonLines = False,
    as_csv: Csv = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Put domains into the queue; a site that is there already is left as it is.

    A DOMAIN is a name or any URL of the site; - reads them from standard input. A file holds one a
    line; or it is CSV whose header has a column domain, url or website; or JSON Lines with such a
    key. Everything is checked first: one invalid line, and nothing is added.
    """
    session = _session(ctx, locals())
    if not domains and not file:
        raise UsageError("no domain was named", hint="domainsched add example.com, or --file PATH")
    _refuse_empty("--batch", batch)
    from domainsched.intake import read

    def follow(entries: Iterator[T]) -> Iterator[T]:
        return session.report.counted(entries, "checking")

    with closing(read(domains or [], file or [], sys.stdin, follow)) as intake:
        if intake.rejected and not skip_invalid:
            raise intake.refusal()
        for complaint in intake.complaints():
            session.report.warning(complaint)
        from domainsched import commands

        how = commands.Add(batch or "", requeue=requeue, dry_run=dry_run)
        _run(session, commands.add(session, intake, how))


def _refuse_empty(option: str, text: str | None) -> None:
    """Refuse an option without its value: a script's variable may be unset."""
    if text is not None and not text.strip():
        raise UsageError(f"{option}: unusable value {text!r}", why="it is empty")


@app.command(
    short_help="Claim domains that are due, visit their sites, store what is found.",
    epilog=_examples(
        "domainsched process --limit 10",
        "domainsched process --limit 0 --concurrency 100 --deadline 50m",
        "domainsched process --domain example.com",
        "domainsched process --json | jq -c 'select(.outcome == \"error\")'",
    ),
)
def process(
    ctx: typer.Context,
    limit: Limit = None,
    concurrency: Concurrency = None,
    processes: Processes = None,
    timeout: Timeout = None,
    deadline: Deadline = None,
    lease: Lease = None,
    grace: Grace = None,
    max_attempts: MaxAttempts = None,
    allow_network: AllowNetwork = None,
    allow_private: AllowPrivate = False,
    insecure: Insecure = False,
    per_address: PerAddress = None,
    contact_pages: ContactPages = None,
    ignore_robots: IgnoreRobots = False,
    fingerprints: Fingerprints = None,
    scraper_api: ScraperApi = None,
    scraper_budget: ScraperBudget = None,
    domain: Named = None,
    strict: Strict = False,
    dry_run: DryRun = False,
    tenant: Tenant = None,
    metrics_file: MetricsFile = None,
    log_format: LogFormat = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Claim domains that are due, visit their sites, store what is found.

    Sites that cannot be read are recorded and tried again later; they do not make the command fail.
    Run it from cron or a timer as often as you like: runs never claim the same domain.
    """
    session = _session(ctx, locals())
    _check_fingerprints(session)
    from domainsched import running

    names = domain or []
    if dry_run:
        _run(session, running.preview(session, names))
    else:
        _run(session, running.process(session, names, strict=strict))


@app.command(
    short_help="Show the queue, a list of domains, or one domain in full.",
    epilog=_examples(
        "domainsched inspect",
        "domainsched inspect example.com",
        "domainsched inspect --status error --like '*.co.uk' --limit 50",
        "domainsched inspect --technology WordPress --csv > wordpress.csv",
        "domainsched inspect --batch leads-2026-11",
        "domainsched inspect --html page.html --url https://example.com/",
    ),
)
def inspect(
    ctx: typer.Context,
    domains: Domains = None,
    status: OfStatus = None,
    kind: OfKind = None,
    like: Like = None,
    batch: OfBatch = None,
    technology: Technology = None,
    expired: Expired = False,
    since: Since = None,
    sort: Sort = None,
    rows: Rows = None,
    check: Check = False,
    schema: Schema = False,
    html: Html = None,
    url: Url = None,
    fingerprints: Fingerprints = None,
    tenant: Tenant = None,
    form: InFormat = None,
    json: Json = False,
    json_lines: JsonLines = False,
    as_csv: Csv = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Show the queue at a glance, a list of domains, or one domain in full.

    Without a DOMAIN or an option it is the glance; with --batch alone, how far that batch is. A
    DOMAIN that is not there is a failure (exit code 1). Conditions add up.
    """
    session = _session(ctx, locals())
    for option, text in (("--like", like), ("--batch", batch), ("--technology", technology)):
        _refuse_empty(option, text)
    if html is not None or url is not None:
        _inspect_page(session, html, url)
    age = _duration("--since", since)
    _check_sort(sort)
    described = status or kind or like or batch or technology or expired or since or sort or rows
    _refuse_mixture(domains, described=bool(described), check=check, schema=schema)
    from domainsched import commands

    chosen = commands.Chosen(
        domains, status, kind, like, batch, technology, expired=expired, since=age
    )
    if check or schema:
        _run(session, commands.check(session) if check else commands.show_schema(session))
    _run(session, commands.inspect(session, commands.Look(chosen.selection(), rows, sort)))


def _check_sort(sort: str | None) -> None:
    if sort is not None and sort.removeprefix("-") not in _SORTS:
        why = f"there are {', '.join(_SORTS)}"
        raise UsageError(f"--sort: unusable value {shown(sort)!r}", why=why)


def _refuse_mixture(
    domains: list[str] | None, *, described: bool, check: bool, schema: bool
) -> None:
    """Refuse what would be answered in part only."""
    lonely = {"--check": check, "--schema": schema, "a DOMAIN": bool(domains)}
    given = [option for option, is_given in lonely.items() if is_given]
    if given and (described or len(given) > 1):
        why = "it was given together with another argument or option"
        raise UsageError(f"{given[0]} stands alone", why=why)


def _inspect_page(session: Session, path: str | None, url: str | None) -> None:
    if not url:
        raise UsageError("--html needs --url", why="links on the page are relative to it")
    if path is None:
        raise UsageError("--url needs --html", why="it says where that page comes from")
    base = _base(url)
    try:
        body = contents(Path(path), _MAX_PAGE_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read {shown(path)}", why=error.strerror or "") from None
    _check_fingerprints(session)
    from domainsched.extract import extract_page
    from domainsched.reporting.answers import page
    from domainsched.reporting.record import evidence

    columns = extract_page(body, base, fingerprints=session.settings.fingerprints)
    session.report.show(page(columns))
    session.report.details(evidence(columns))
    _exit(session)


def _check_fingerprints(session: Session) -> None:
    """Try the user's own fingerprints before any domain is claimed.

    Raises:
        ConfigError: they cannot be used.
    """
    path = session.settings.fingerprints
    if not path:
        return
    from domainsched.extract.technology import refused

    if left_out := refused(path):
        session.report.warning(
            f"some patterns of {shown(path)} cannot be used: {len(left_out):,}, the first of them"
            f" {left_out[0][:80]!r}",
            "they run in RE2, which has no look-around and no back-references",
        )


def _base(url: str) -> str:
    """Read the URL of a page; a bare name is an https one.

    Raises:
        UsageError: it is no http or https URL with a host.
    """
    full = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # brackets or a port that are none
        usable = False
    if not usable or not full.isprintable() or any(map(str.isspace, full)):
        raise UsageError("--url is not an http or https URL with a host")
    return full


@app.command(
    short_help="Make domains pending again.",
    epilog=_examples(
        "domainsched reset example.com",
        "domainsched reset --status error",
        "domainsched reset --kind dns --kind timeout --dry-run",
        "domainsched reset --status completed --older-than 30d --limit 1000 --yes",
    ),
)
def reset(
    ctx: typer.Context,
    domains: Domains = None,
    status: OfStatus = None,
    kind: OfKind = None,
    like: Like = None,
    batch: OfBatch = None,
    expired: Expired = False,
    older_than: OlderThan = None,
    everything: Everything = False,
    rows: AtMost = None,
    force: Force = False,
    clear_metadata: ClearMetadata = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    tenant: Tenant = None,
    form: InFormat = None,
    json: Json = False,
    json_lines: JsonLines = False,
    as_csv: Csv = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Make domains pending again, attempts 0; what was found is kept.

    Conditions add up. Domains under a live lease are left alone unless --force is given.
    """
    session = _session(ctx, locals())
    for option, text in (("--like", like), ("--batch", batch)):
        _refuse_empty(option, text)
    age = _duration("--older-than", older_than)
    narrowed = domains or status or kind or like or batch or expired or older_than
    _check_reach(narrowed=bool(narrowed), everything=everything)
    from domainsched import commands

    chosen = commands.Chosen(domains, status, kind, like, batch, expired=expired, older_than=age)
    how = commands.Reset(
        chosen.selection(), rows, force=force, clear=clear_metadata, yes=yes, dry_run=dry_run
    )
    _run(session, commands.reset(session, how))


def _check_reach(*, narrowed: bool, everything: bool) -> None:
    """Refuse a reset that does not say what it is for."""
    if not narrowed and not everything:
        raise UsageError(
            "no domain was named",
            hint="name one, or give --status, --kind, --like, --batch, --expired, --older-than"
            " or --all",
        )
    if narrowed and everything:
        raise UsageError("--all stands alone", why="it was given together with a condition")


def _duration(option: str, text: str | None) -> timedelta | None:
    try:
        return None if text is None else duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: unusable value {text!r}", why=str(error)) from None


@app.command(
    short_help="Do what process does, whenever domains are due, until stopped.",
    epilog=_examples(
        "domainsched watch",
        "domainsched watch --interval 5m --limit 100",
        "domainsched watch --until-idle --batch spring --timeout 10m",
        "domainsched watch --observe",
    ),
)
def watch(
    ctx: typer.Context,
    interval: Interval = None,
    limit: Limit = None,
    concurrency: Concurrency = None,
    until_idle: UntilIdle = False,
    give_up_after: GiveUpAfter = None,
    batch: Awaited = None,
    observe: Observe = False,
    allow_network: AllowNetwork = None,
    allow_private: AllowPrivate = False,
    fingerprints: Fingerprints = None,
    tenant: Tenant = None,
    metrics_file: MetricsFile = None,
    log_format: LogFormat = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Do what process does, whenever domains are due, until stopped.

    The queue is looked at every few seconds, and a round done at least every interval. In a
    terminal a view shows the queue. A database that is lost later on is waited for. SIGTERM ends it
    with exit code 0, after what is in flight.

    With --observe it does nothing itself: it shows the queue, and in a pipe a line for each change.
    """
    session = _session(ctx, locals())
    patience = _duration("--timeout", give_up_after)
    _check_fingerprints(session)
    _refuse_empty("--batch", batch)
    if batch and not until_idle:
        raise UsageError("--batch needs --until-idle", why="it says what is waited for")
    from domainsched import watching

    pace = session.settings.interval if interval else None
    wish = watching.Wish(patience, until_idle, observe, batch or "", pace)
    _run(session, watching.watch(session, wish))


@app.command(
    short_help="Create the table, or add what an existing one lacks.",
    epilog=_examples("domainsched init --dry-run", "domainsched init", "domainsched init --yes"),
)
def init(
    ctx: typer.Context,
    dry_run: DryRun = False,
    yes: Yes = False,
    lease: Lease = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Create the table, or add what an existing one lacks; nothing is ever changed or dropped.

    An existing table is only touched after its statements were shown and agreed to.
    """
    session = _session(ctx, locals())
    from domainsched import commands

    _run(session, commands.init(session, dry_run=dry_run, yes=yes))


@app.command(
    short_help="Process a dozen sample sites on this machine; needs no network.",
    epilog=_examples("domainsched demo", "domainsched demo --json"),
)
def demo(
    ctx: typer.Context,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Serve a dozen sample sites on this machine, process them, and check what was found.

    Needs no network and no database of yours, and leaves your queue untouched. Exits with 1 if
    anything differs from what is known to be right.
    """
    from domainsched.demo import demonstrate

    session = _session(ctx, locals())
    _run(session, demonstrate(session.environ, session.report))


def main() -> None:
    """Run the command line; the entry point of the `domainsched` program."""
    _use_utf8()
    try:
        app(prog_name="domainsched")
    except Exception as error:  # noqa: BLE001 - the last place where it can be told
        raise SystemExit(_told(error)) from None


def _told(error: Exception) -> int:
    """Tell what no command expects: a bug, or help that could not be written."""
    report = Report(Style())
    # A line, since a long text that was refused may have left nothing behind to try again with.
    loss = written(sys.stdout, "\n") if sys.stdout and isinstance(error, OSError) else None
    if loss is not None:
        report.error(DomainschedError("cannot write the answer", why=loss.strerror or str(loss)))
    else:
        report.trace("error: unexpected; this is a bug, please report it with what follows")
        report.trace("".join(traceback.format_exception(error)))
    return ExitCode.FAILURE


def _use_utf8() -> None:
    """Read and write UTF-8 whatever the locale: under cron there is none."""
    streams = (sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "replace")
    for stream, errors in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
