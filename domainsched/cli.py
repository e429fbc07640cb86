"""The command line: parses, calls, renders."""

from __future__ import annotations

import io
import re
import signal
import sys
import traceback
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar
from urllib.parse import urlsplit

import typer
from typer.completion import install_callback, show_callback
from typer.core import TyperGroup

from domainsched import options, starting
from domainsched.config import duration, shown
from domainsched.errors import DomainschedError, ExitCode, UsageError
from domainsched.files import bounded, contents, is_file
from domainsched.reporting.report import Report, written
from domainsched.session import Session

T = TypeVar("T")

_MAX_PAGE_BYTES = 10 * 1024 * 1024

EXIT_CODES = """\b
Exit codes:
  0 done   1 failure   2 usage or configuration
  3 database   4 no network
  5 some domains failed (--strict)
  130, 143 stopped by a signal"""


def _examples(*lines: str) -> str:
    return "\n\n".join(("\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines), EXIT_CODES))


_NAMES = ("add", "process", "inspect", "reset", "watch", "init", "demo")
_COMPLETIONS = {"--install-completion": install_callback, "--show-completion": show_callback}


class _Commands(TyperGroup):
    """The one place where expected errors are told, and turned into exit codes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as below
        """Show the help if nothing is asked for; let the shell be named that is to complete."""
        if not (args or ctx.resilient_parsing):
            typer.echo(ctx.get_help(), err=True)
            ctx.exit(ExitCode.USAGE)
        match "=".join(args).split("="):
            case [option, shell] if option in _COMPLETIONS:
                options.check_shell(shell)
                _COMPLETIONS[option](ctx, self.params[0], shell)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own types of it are private
        try:
            return super().invoke(ctx)
        except DomainschedError as error:
            if not isinstance(ctx.obj, _Speaker):  # the command has not begun
                raise
            ctx.obj.report.error(error)
            raise typer.Exit(error.exit_code) from error

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - as above
        """List commands in the order of their use, not of the alphabet."""
        return list(_NAMES)


@dataclass
class _Speaker:
    """The report that is in use, so that an error is told in the same way."""

    report: Report


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _begun(ctx: typer.Context, parameters: Mapping[str, Any]) -> Session:
    """Begin a command with its parameters; from here on errors are told as it is told to speak."""
    report = starting.speaker(parameters)
    ctx.find_root().obj = _Speaker(report)
    return starting.started(report, parameters)


def _run(session: Session, command: Coroutine[Any, Any, int | None]) -> None:
    """Run a command to its end, and exit with its code; SIGTERM lets it clean up."""
    import asyncio

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
    version: options.Version = False,
) -> None:
    """Work through a PostgreSQL table of web domains: visit each site, store what it is.

    The queue is the table itself: add puts domains in, process takes those that are due, inspect
    shows them. Without DATABASE_URL, an embedded PostgreSQL serves.

    Settings come from options, the environment, and a file .env, in this order; the file
    .env.example lists them all. The shell whose completion is meant may be named: bash, zsh, fish,
    powershell or pwsh.
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
    domains: options.Domains = None,
    file: options.File = None,
    batch: options.Label = None,
    requeue: options.Requeue = False,
    skip_invalid: options.SkipInvalid = False,
    dry_run: options.DryRun = False,
    tenant: options.Tenant = None,
    form: options.InFormat = None,
    json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
    env_file: options.EnvFile = None,
) -> None:
    """Put domains into the queue; a site that is there already is left as it is.

    A DOMAIN is a name or any URL of the site; - reads them from standard input. A file holds one a
    line; or it is CSV whose header has a column domain, url or website; or JSON Lines with such a
    key. Everything is checked first: one invalid line, and nothing is added.
    """
    session = _begun(ctx, locals())
    if not domains and not file:
        raise UsageError("no domain was named", hint="domainsched add example.com, or --file PATH")
    _refuse_empty("--batch", batch)
    from domainsched.intake import read

    def follow(entries: Iterator[T]) -> Iterator[T]:
        return session.report.counted(entries, "checking")

    with closing(read(domains or [], file or [], sys.stdin, follow)) as intake:
        _warn_of_files(session.report, domains or [])
        if intake.rejected and not skip_invalid:
            raise intake.refusal()
        for complaint in intake.complaints():
            session.report.warning(complaint)
        from domainsched import commands

        how = commands.Add(batch or "", requeue=requeue, dry_run=dry_run)
        _run(session, commands.add(session, intake, how))


def _warn_of_files(report: Report, domains: Iterable[str]) -> None:
    """Tell who may have meant a file that its name is taken for a site's."""
    if files := [shown(name) for name in dict.fromkeys(domains) if name != "-" and is_file(name)]:
        what = f"taken for the name of a site, though there is such a file: {', '.join(files)}"
        report.warning(what, f"to read it: domainsched add --file {quote(files[0])}")


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
    limit: options.Limit = None,
    concurrency: options.Concurrency = None,
    processes: options.Processes = None,
    timeout: options.Timeout = None,
    deadline: options.Deadline = None,
    lease: options.Lease = None,
    grace: options.Grace = None,
    max_attempts: options.MaxAttempts = None,
    allow_network: options.AllowNetwork = None,
    allow_private: options.AllowPrivate = False,
    insecure: options.Insecure = False,
    per_address: options.PerAddress = None,
    contact_pages: options.ContactPages = None,
    ignore_robots: options.IgnoreRobots = False,
    fingerprints: options.Fingerprints = None,
    scraper_api: options.ScraperApi = None,
    scraper_budget: options.ScraperBudget = None,
    domain: options.Named = None,
    strict: options.Strict = False,
    dry_run: options.DryRun = False,
    tenant: options.Tenant = None,
    metrics_file: options.MetricsFile = None,
    log_format: options.LogFormat = None,
    json: options.Json = False,
    json_lines: options.JsonLines = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
    env_file: options.EnvFile = None,
) -> None:
    """Claim domains that are due, visit their sites, store what is found.

    Sites that cannot be read are recorded and tried again later; they do not make the command fail.
    Run it from cron or a timer as often as you like: runs never claim the same domain.
    """
    session = _begun(ctx, locals())
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
        "domainsched inspect --technology WordPress --limit 0 --csv > wordpress.csv",
        "domainsched inspect --batch leads-2026-11",
        "domainsched inspect --html page.html --url https://example.com/",
    ),
)
def inspect(
    ctx: typer.Context,
    domains: options.Domains = None,
    status: options.OfStatus = None,
    kind: options.OfKind = None,
    like: options.Like = None,
    batch: options.OfBatch = None,
    technology: options.Technology = None,
    expired: options.Expired = False,
    since: options.Since = None,
    sort: options.Sort = None,
    rows: options.Rows = None,
    check: options.Check = False,
    schema: options.Schema = False,
    html: options.Html = None,
    url: options.Url = None,
    fingerprints: options.Fingerprints = None,
    tenant: options.Tenant = None,
    form: options.InFormat = None,
    json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
    env_file: options.EnvFile = None,
) -> None:
    """Show the queue at a glance, a list of domains, or one domain in full.

    Without a DOMAIN or an option it is the glance; with --batch alone, how far that batch is. A
    DOMAIN that is not there is a failure (exit code 1). Conditions add up.
    """
    session = _begun(ctx, locals())
    for option, text in (("--like", like), ("--batch", batch), ("--technology", technology)):
        _refuse_empty(option, text)
    age = _duration("--since", since)
    _check_sort(sort)
    described = status or kind or like or batch or technology or expired or since or sort
    lonely = {"a DOMAIN": domains, "--check": check, "--schema": schema, "--html": html}
    _refuse_mixture(lonely, described=bool(described) or rows is not None)
    if html is not None or url is not None:
        _inspect_page(session, html, url)
    from domainsched import commands

    chosen = commands.Chosen(
        domains, status, kind, like, batch, technology, expired=expired, since=age
    )
    if check or schema:
        _run(session, commands.check(session) if check else commands.show_schema(session))
    _run(session, commands.inspect(session, commands.Look(chosen.selection(), rows, sort)))


def _check_sort(sort: str | None) -> None:
    if sort is not None and sort.removeprefix("-") not in options.SORTS:
        why = f"there are {', '.join(options.SORTS)}"
        raise UsageError(f"--sort: unusable value {shown(sort)!r}", why=why)


def _refuse_mixture(lonely: Mapping[str, object], *, described: bool) -> None:
    """Refuse what would be answered in part only."""
    given = [option for option, value in lonely.items() if value]
    if given and (described or len(given) > 1):
        why = "it was given together with another argument or option"
        raise UsageError(f"{given[0]} stands alone", why=why)


def _inspect_page(session: Session, path: str | None, url: str | None) -> None:
    if not url:
        raise UsageError("--html needs --url", why="links on the page are relative to it")
    if path is None:
        raise UsageError("--url needs --html", why="it says where that page comes from")
    base, body = _base(url), _page(path)
    _check_fingerprints(session)
    from domainsched.extract import extract_page
    from domainsched.reporting.answers import page
    from domainsched.reporting.record import evidence

    columns = extract_page(body, base, fingerprints=session.settings.fingerprints)
    session.report.show(page(columns))
    session.report.details(evidence(columns))
    _exit(session)


def _page(path: str) -> bytes:
    """Read a page from a file, or, as `-`, from standard input."""
    if path == "-" and sys.stdin is None:
        raise UsageError("standard input is closed", hint="name a file: --html FILE")
    try:
        if path == "-":
            return bounded(sys.stdin.buffer, _MAX_PAGE_BYTES)
        return contents(Path(path), _MAX_PAGE_BYTES)
    except OSError as error:
        name = "stdin" if path == "-" else shown(path)
        raise UsageError(f"cannot read {name}", why=error.strerror or "") from None


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
    is_named = "://" not in url
    full = f"https://{url}" if is_named else url
    try:
        parts = urlsplit(full)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        usable = usable and not (is_named and "." not in parts.netloc)  # a mere word
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
    domains: options.Domains = None,
    status: options.OfStatus = None,
    kind: options.OfKind = None,
    like: options.Like = None,
    batch: options.OfBatch = None,
    expired: options.Expired = False,
    older_than: options.OlderThan = None,
    everything: options.Everything = False,
    rows: options.AtMost = None,
    force: options.Force = False,
    clear_metadata: options.ClearMetadata = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    tenant: options.Tenant = None,
    form: options.InFormat = None,
    json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
    env_file: options.EnvFile = None,
) -> None:
    """Make domains pending again, attempts 0; what was found is kept.

    Conditions add up. Domains under a live lease are left alone unless --force is given.
    """
    session = _begun(ctx, locals())
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
        raise UsageError(
            "--all stands alone", why="it was given together with a domain or a condition"
        )


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
    interval: options.Interval = None,
    limit: options.Limit = None,
    concurrency: options.Concurrency = None,
    until_idle: options.UntilIdle = False,
    give_up_after: options.GiveUpAfter = None,
    batch: options.Awaited = None,
    observe: options.Observe = False,
    allow_network: options.AllowNetwork = None,
    allow_private: options.AllowPrivate = False,
    fingerprints: options.Fingerprints = None,
    tenant: options.Tenant = None,
    metrics_file: options.MetricsFile = None,
    log_format: options.LogFormat = None,
    json: options.Json = False,
    json_lines: options.JsonLines = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
    env_file: options.EnvFile = None,
) -> None:
    """Do what process does, whenever domains are due, until stopped.

    The queue is looked at every few seconds, and a round done at least every interval. In a
    terminal a view shows the queue. A database that is lost later on is waited for. SIGTERM ends it
    with exit code 0, after what is in flight.

    With --observe it does nothing itself: it shows the queue, and in a pipe a line for each change
    it sees.
    """
    session = _begun(ctx, locals())
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
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    lease: options.Lease = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
    env_file: options.EnvFile = None,
) -> None:
    """Create the table, or add what an existing one lacks; nothing is ever changed or dropped.

    An existing table is only touched after its statements were shown and agreed to.
    """
    session = _begun(ctx, locals())
    from domainsched import commands

    _run(session, commands.init(session, dry_run=dry_run, yes=yes))


@app.command(
    short_help="Process a dozen sample sites on this machine; needs no network.",
    epilog=_examples("domainsched demo", "domainsched demo --json"),
)
def demo(
    ctx: typer.Context,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
    env_file: options.EnvFile = None,
) -> None:
    """Serve a dozen sample sites on this machine, process them, and check what was found.

    Needs no network and no database of yours, and leaves your queue untouched. Exits with 1 if
    anything differs from what is known to be right.
    """
    from domainsched.demo import demonstrate

    session = _begun(ctx, locals())
    _run(session, demonstrate(session.environ, session.report))


def main() -> None:
    """Run the command line; the entry point of the `domainsched` program."""
    _use_utf8()
    try:
        code = app(prog_name="domainsched", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the last place where it can be told
        code = _told(error)
    raise SystemExit(code)


def _told(error: Exception) -> int:
    """Tell what no command expects: misuse, a bug, or help that could not be written."""
    report = starting.early_speaker(sys.argv[1:])
    if isinstance(error, typer.TyperException):
        error = _misuse(error)
    # A line, since a long text that was refused may have left nothing behind to try again with.
    loss = written(sys.stdout, "\n") if sys.stdout and isinstance(error, OSError) else None
    if loss is not None:
        error = DomainschedError("cannot write the answer", why=loss.strerror or str(loss))
    if isinstance(error, DomainschedError):
        report.error(error)
        return error.exit_code
    report.trace("error: unexpected; this is a bug, please report it with what follows")
    report.trace("".join(traceback.format_exception(error)))
    return ExitCode.FAILURE


_VALUE = re.compile(
    r"(\b[A-Z][A-Z0-9_]*=|://[^\s:/@]*:|[^\s:/@('\"]+:(?!//)(?=\S*@)).+?(?=[')]?\Z)", re.DOTALL
)
"""Of a variable, or behind a URL's or anybody's user: written where a command should be."""


def _misuse(error: typer.TyperException) -> UsageError:
    """Say as we say it what the parser refused: the types that it raises are Typer's own."""
    parameter, near = getattr(error, "param", None), getattr(error, "possibilities", None)
    what, _, why = _VALUE.sub(r"\1***", error.message.rstrip(".?")).partition(". ")
    if parameter is not None:
        what, why = f"{parameter.opts[0]}: unusable value", what
    if near:
        why = f"is it {' or '.join(sorted(near))}?"
    why = re.sub("^Did you mean (.*)", r"is it \1?", why)
    command = [name for name in sys.argv[1:2] if name in _NAMES]
    hint = " ".join(("domainsched", *command, "--help"))
    if what.startswith("Got unexpected extra argument") and command == ["process"]:
        hint = f"--domain NAME does a domain now; {hint}"
    if what.startswith("No such option") and sys.argv[1:2] and sys.argv[1].startswith("-"):
        hint = f"options stand behind the command; {hint}"
    return UsageError(_lowered(what), why=_lowered(why), hint=hint)


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _use_utf8() -> None:
    """Read and write UTF-8 whatever the locale: under cron there is none."""
    streams = (sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "replace")
    for stream, errors in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
